/* threads.c - how many workers, their scratch, and the number of threads that libraries see. */
#include <retort/base/mem.h>
#include <retort/base/threads.h>
#include "base/pool.h"
#include <omp.h>
#include <sched.h>
#include <string.h>

enum { MAX_WORKERS = 256 };
static int workers;
static void *scratch[MAX_WORKERS];
static size_t scratch_size;

static int cores(void) {
    cpu_set_t set;
    int n = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
    return n < 1 ? 1 : n > MAX_WORKERS ? MAX_WORKERS : n;
}

int rt_threads(void) {
    if (workers == 0) workers = cores();
    return workers;
}

void rt_threads_set(int count) {
    int n = count <= 0 ? cores() : count > MAX_WORKERS ? MAX_WORKERS : count;
    if (n != workers) {
        rt_scratch_release();
        rt_pool_stop();
    }
    workers = n;
}

void rt_parallel(int64_t tasks, rt_task_fn fn, void *context) {
    int n = rt_threads();
    if (tasks < n) n = (int)tasks;
    if (n > 1) rt_pool_run(n, tasks, fn, context);
    else
        for (int64_t i = 0; i < tasks; i++) fn(context, i, 0);
}

enum { FILL = 2 << 20 };
typedef struct filling {
    char *memory;
    int byte;
    size_t bytes;
} filling;
static void fill_task(void *context, int64_t task, int worker) {
    (void)worker;
    const filling *f = context;
    size_t at = (size_t)task * FILL;
    memset(f->memory + at, f->byte, f->bytes - at < FILL ? f->bytes - at : FILL);
}
void rt_parallel_fill(void *memory, int byte, size_t bytes) {
    filling f = {memory, byte, bytes};
    rt_parallel((int64_t)((bytes + FILL - 1) / FILL), fill_task, &f);
}

/* A library asks omp_in_parallel() and omp_get_max_threads(); in a region of one thread, or in none, only the second says "one". */
int rt_solo_begin(void) {
    int before = omp_get_max_threads();
    if (before != 1) omp_set_num_threads(1);
    return before;
}
void rt_solo_end(int before) {
    if (before != 1) omp_set_num_threads(before);
}

rt_status rt_scratch_reserve(size_t bytes, rt_error *err) {
    if (bytes <= scratch_size) return RT_OK;
    rt_scratch_release();
    for (int w = 0; w < rt_threads(); w++)
        if (!(scratch[w] = rt_alloc(bytes))) {
            rt_scratch_release();
            return rt_fail(err, RT_E_NOMEM, "out of memory: %zu bytes of scratch for each of %d threads", bytes, rt_threads());
        }
    scratch_size = bytes;
    return RT_OK;
}
void *rt_scratch(int worker) { return scratch[worker]; }
size_t rt_scratch_bytes(void) { return scratch_size; }
void rt_scratch_release(void) {
    for (int w = 0; w < MAX_WORKERS; w++) rt_free(scratch[w]), scratch[w] = NULL;
    scratch_size = 0;
}
