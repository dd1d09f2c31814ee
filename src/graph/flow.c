/* flow.c - a run of steps without a barrier between them.
 *
 * Every thread walks through the steps in order, taking tasks from each until none is left, and goes on to the next without waiting for
 * the others. There a task waits until the rows it reads are written: usually long ago, since tasks are taken in order. Without this, two threads
 * lose 0.5 to 4 % of a teacher's forward pass at the ends of its steps, and more beside other programs (docs/log.md).
 *
 * A thread enters step t when step t-2 is complete: so at most two steps run at a time, and memory has to outlive its last reader by one.
 * A thread waits only for tasks that another has taken and runs, so there is always one that goes on. */
#include "graph/flow.h"
#include "base/pool.h"
#include "graph/chain.h"
#include <retort/base/threads.h>

enum { BLOCK = 32, SMALLEST = 64, CLOSED = 0, OPENING, OPEN, SLOTS = 3 };

struct rt_flow_step {
    atomic_int opened;
    int64_t prepares, tasks; /* once open */
    _Atomic int64_t next_prepare, prepared, next, done;
};
typedef struct flow {
    rt_graph *g;
    int from;
    rt_chain chain[2]; /* of step t: t % 2 */
} flow;

/* --------------------------------------------------------------------- plan */

static bool in_step(const rt_graph *g, const rt_step *s, int node) {
    for (int i = 0; i < s->count; i++)
        if (g->order[s->first + i] == node) return true;
    return false;
}
/* All that `n` reads of step s it reads by rows. */
static bool reads_by_rows(const rt_graph *g, const rt_node *n, const rt_step *s) {
    for (int k = 0; k < n->op->n_in; k++) {
        int producer = rt_infer_has(n, k) ? g->values[n->in[k].id].producer : -1;
        if (producer >= 0 && !(n->op->row_in & RT_IN(k)) && in_step(g, s, producer)) return false;
    }
    return true;
}
bool rt_flows(const rt_graph *g, int t) {
    if (g->no_chains || t < 1 || t >= g->n_forward) return false;
    const rt_step *s = &g->steps[t], *before = s - 1;
    int64_t rows = g->nodes[g->order[s->first]].rows;
    if (!rt_step_has_tasks(g, s) || !rt_step_has_tasks(g, before) || rows < SMALLEST || rows != g->nodes[g->order[before->first]].rows) return false;
    for (int i = 0; i < s->count; i++)
        if (!reads_by_rows(g, &g->nodes[g->order[s->first + i]], before)) return false;
    return true;
}

static int64_t blocks(int64_t rows) { return (rows + BLOCK - 1) / BLOCK; }
rt_status rt_flow_plan(rt_graph *g, rt_error *err) {
    int64_t rows = 0;
    for (int t = 1; t < g->n_forward; t++)
        if (g->steps[t].flows && g->nodes[g->order[g->steps[t].first]].rows > rows) rows = g->nodes[g->order[g->steps[t].first]].rows;
    if (rows == 0) return RT_OK;
    g->flow = rt_arena_alloc(&g->arena, (size_t)g->n_forward * sizeof *g->flow);
    for (int i = 0; i < SLOTS; i++)
        if (!(g->unwritten[i] = rt_arena_alloc(&g->arena, (size_t)blocks(rows) * sizeof *g->unwritten[i]))) return rt_graph_nomem(g, err);
    return g->flow ? RT_OK : rt_graph_nomem(g, err);
}

/* --------------------------------------------------------------------- rows */

/* How many tasks of step t have still to write to each block of rows. Three steps have one at a time: that which runs, that before it, of which rows
 * are waited for, and that after it. */
static atomic_int *unwritten(const flow *f, int t) { return f->g->unwritten[t % SLOTS]; }

static bool written(const flow *f, int t, rt_rows r) {
    const atomic_int *left = unwritten(f, t);
    for (int64_t b = r.from / BLOCK; b < blocks(r.to); b++)
        if (atomic_load(&left[b]) > 0) return false;
    return true;
}
static void count_rows(const flow *f, int t, rt_rows r, int by) {
    atomic_int *left = unwritten(f, t);
    for (int64_t b = r.from / BLOCK; b < blocks(r.to); b++) atomic_fetch_add(&left[b], by);
}

/* --------------------------------------------------------------------- waits */

static rt_chain *chain_of(flow *f, int t) { return &f->chain[t % 2]; }
static bool is_open(const flow *f, int t) { return atomic_load(&f->g->flow[t].opened) == OPEN; }
static bool is_prepared(const flow *f, int t) { return atomic_load(&f->g->flow[t].prepared) >= f->g->flow[t].prepares; }
static bool is_complete(const flow *f, int t) { return is_open(f, t) && atomic_load(&f->g->flow[t].done) >= f->g->flow[t].tasks; }

static void wait_until(bool (*holds)(const flow *, int t), const flow *f, int t) {
    int tries = 0;
    for (uint32_t seen = rt_pool_news(); !holds(f, t); seen = rt_pool_news()) rt_pool_await(seen, &tries);
}
static void wait_for_rows(const flow *f, int t, rt_rows r) {
    int tries = 0;
    for (uint32_t seen = rt_pool_news(); !written(f, t, r); seen = rt_pool_news()) rt_pool_await(seen, &tries);
}

/* --------------------------------------------------------------------- walk */

static void open_step(flow *f, int t) {
    struct rt_flow_step *s = &f->g->flow[t];
    rt_chain *ch = chain_of(f, t);
    rt_chain_open(f->g, t, 0, ch);
    s->prepares = rt_chain_prepares(ch);
    s->tasks = rt_chain_tasks(ch);
    for (int64_t i = 0; i < s->tasks; i++) count_rows(f, t, rt_chain_task_rows(ch, i).writes, 1);
    atomic_store(&s->opened, OPEN);
    rt_pool_announce();
}
/* The first thread to come opens it. */
static void enter(flow *f, int t) {
    struct rt_flow_step *s = &f->g->flow[t];
    int expected = CLOSED;
    if (t - 2 >= f->from) wait_until(is_complete, f, t - 2);
    if (atomic_compare_exchange_strong(&s->opened, &expected, OPENING)) open_step(f, t);
    wait_until(is_open, f, t);
}

static void prepare(flow *f, int t, int worker) {
    struct rt_flow_step *s = &f->g->flow[t];
    for (int64_t i; (i = atomic_fetch_add(&s->next_prepare, 1)) < s->prepares;) {
        rt_chain_prepare(chain_of(f, t), i, worker);
        if (atomic_fetch_add(&s->prepared, 1) + 1 == s->prepares) rt_pool_announce();
    }
}
/* After a failure what is left is counted as done, and nothing is computed. */
static void run_task(flow *f, int t, int64_t task, int worker) {
    struct rt_flow_step *s = &f->g->flow[t];
    rt_task_rows rows = rt_chain_task_rows(chain_of(f, t), task);
    wait_until(is_prepared, f, t);
    if (t > f->from) wait_for_rows(f, t - 1, rows.reads);
    if (!atomic_load(&f->g->fault.taken)) rt_chain_task(chain_of(f, t), task, worker);
    count_rows(f, t, rows.writes, -1);
    atomic_fetch_add(&s->done, 1);
    rt_pool_announce();
}

typedef struct walkers {
    flow *f;
    int to;
} walkers;
static void walk(void *context, int64_t walker, int worker) {
    const walkers *w = context;
    (void)walker;
    for (int t = w->f->from; t < w->to; t++) {
        enter(w->f, t);
        prepare(w->f, t, worker);
        struct rt_flow_step *s = &w->f->g->flow[t];
        for (int64_t i; (i = atomic_fetch_add(&s->next, 1)) < s->tasks;) run_task(w->f, t, i, worker);
    }
}

void rt_flow_run(rt_graph *g, int from, int to) {
    flow f = {.g = g, .from = from};
    for (int t = from; t < to; t++) {
        struct rt_flow_step *s = &g->flow[t];
        atomic_store(&s->opened, CLOSED);
        s->next_prepare = s->prepared = s->next = s->done = 0;
    }
    rt_parallel(rt_threads(), walk, &(walkers){&f, to});
    for (int i = g->steps[from].first; i < g->steps[to - 1].first + g->steps[to - 1].count; i++)
        if (g->cache[g->order[i]]) g->cache_ready[g->order[i]] = true;
}
