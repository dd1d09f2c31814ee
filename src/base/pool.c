/* pool.c - a fixed set of threads that share one list of tasks.
 *
 * Why not OpenMP's: libgomp's threads either spin without end between regions, which on a shared machine takes the
 * processor from whoever has work (a step ran 5 to 10 times slower beside one other program), or sleep at once, which costs a
 * wake-up a region; and only an environment variable chooses. These spin for about 50 us, then sleep in the kernel. */
#include "base/pool.h"
#include <errno.h>
#include <linux/futex.h>
#include <omp.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { MAX_THREADS = 256, SPINS = 400 };

static struct {
    pthread_t thread[MAX_THREADS]; /* [1, count): worker 0 is the caller */
    int count;
    bool prepared;
    _Atomic uint32_t round;  /* a new value: a new list, or the end */
    _Atomic uint32_t busy;   /* threads that have not finished the list */
    _Atomic int sleepers;    /* threads waiting in the kernel for a round */
    _Atomic int64_t next;
    int workers; /* of this list: threads [1, workers) take part */
    int64_t tasks;
    rt_task_fn fn;
    void *context;
    bool end;
} pool;

static void pause_briefly(void) {
#if defined __x86_64__
    __builtin_ia32_pause();
#endif
}
static void sleep_while(_Atomic uint32_t *word, uint32_t value) { syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, NULL, NULL, 0); }
static void wake(_Atomic uint32_t *word) { syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, MAX_THREADS, NULL, NULL, 0); }

/* What tasks wait for in tasks. A waiter counts itself among the sleepers before the kernel compares the word, an announcer changes the word before it
 * counts them: so either sees the other. */
static struct {
    _Atomic uint32_t word;
    _Atomic int sleepers;
} news;
uint32_t rt_pool_news(void) { return atomic_load(&news.word); }
void rt_pool_announce(void) {
    atomic_fetch_add(&news.word, 1);
    if (atomic_load(&news.sleepers) > 0) wake(&news.word);
}
void rt_pool_await(uint32_t seen, int *tries) {
    if ((*tries)++ < SPINS) {
        pause_briefly();
        return;
    }
    atomic_fetch_add(&news.sleepers, 1);
    sleep_while(&news.word, seen);
    atomic_fetch_sub(&news.sleepers, 1);
}

static void work(int worker) {
    for (int64_t i; (i = atomic_fetch_add(&pool.next, 1)) < pool.tasks;) pool.fn(pool.context, i, worker);
}

static uint32_t wait_for_round(uint32_t seen) {
    for (int i = 0; i < SPINS && atomic_load(&pool.round) == seen; i++) pause_briefly();
    while (atomic_load(&pool.round) == seen) {
        atomic_fetch_add(&pool.sleepers, 1);
        sleep_while(&pool.round, seen);
        atomic_fetch_sub(&pool.sleepers, 1);
    }
    return atomic_load(&pool.round);
}

typedef struct start {
    int worker;
    uint32_t round;
} start;
static start starts[MAX_THREADS];

static void *run(void *given) {
    const start *s = given;
    uint32_t seen = s->round;
    omp_set_num_threads(1); /* libraries called from here stay on this thread */
    while (true) {
        seen = wait_for_round(seen);
        if (pool.end) return NULL;
        if (s->worker < pool.workers) work(s->worker);
        if (atomic_fetch_sub(&pool.busy, 1) == 1) wake(&pool.busy);
    }
}

/* A forked child has none of the threads. */
static void in_child(void) {
    pool.count = 0;
    atomic_store(&pool.sleepers, 0);
}

static void grow(int n) {
    sigset_t all, before;
    if (!pool.prepared) pool.prepared = true, pool.count = 0, pthread_atfork(NULL, NULL, in_child);
    if (pool.count == 0) pool.count = 1, pool.end = false;
    sigfillset(&all); /* signals are the main thread's business */
    pthread_sigmask(SIG_SETMASK, &all, &before);
    for (; pool.count < n; pool.count++) {
        starts[pool.count] = (start){pool.count, atomic_load(&pool.round)};
        if (pthread_create(&pool.thread[pool.count], NULL, run, &starts[pool.count]) != 0) break;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

static void publish(void) {
    atomic_store(&pool.busy, (uint32_t)(pool.count - 1));
    atomic_fetch_add(&pool.round, 1);
    if (atomic_load(&pool.sleepers) > 0) wake(&pool.round);
}

void rt_pool_run(int n, int64_t tasks, rt_task_fn fn, void *context) {
    if (n > MAX_THREADS) n = MAX_THREADS;
    if (pool.count < n) grow(n);
    pool.workers = n, pool.tasks = tasks, pool.fn = fn, pool.context = context;
    atomic_store(&pool.next, 0);
    publish();
    work(0);
    for (int i = 0; i < SPINS && atomic_load(&pool.busy) != 0; i++) pause_briefly();
    for (uint32_t left; (left = atomic_load(&pool.busy)) != 0;) sleep_while(&pool.busy, left);
}

void rt_pool_stop(void) {
    if (pool.count > 1) {
        pool.end = true;
        publish();
        for (int i = 1; i < pool.count; i++) pthread_join(pool.thread[i], NULL);
    }
    pool.count = 0;
}
