/* profile.c - where a graph's time goes: wall seconds per node, forward and backward.
 *
 * A step's wall time belongs to its node. In a chain of rows, and in steps that flow, it is shared out by the time that the workers spent in
 * each node (its panels included), so that the figures add up to the time of the runs, waiting at the end of a step included.
 * Reading the clock changes no bit; with the profile off there is one test of a pointer a step. */
#include "graph/internal.h"
#include <time.h>

typedef struct spent {
    double seconds[2];  /* forward; backward, with what recomputation runs again */
    atomic_llong busy;  /* nanoseconds of all workers in the step in progress */
} spent;
struct rt_profile {
    int nodes;
    spent node[];
};

static _Atomic clockid_t used = CLOCK_MONOTONIC;
void rt_graph_profile_clock(bool processor) { used = processor ? CLOCK_PROCESS_CPUTIME_ID : CLOCK_MONOTONIC; }
int64_t rt_profile_now(void) {
    struct timespec t;
    clock_gettime(used, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

rt_status rt_graph_profile(rt_graph *g, bool on, rt_error *err) {
    rt_free(g->profile);
    g->profile = NULL;
    if (!on) return RT_OK;
    g->profile = rt_zalloc(sizeof *g->profile + (size_t)g->n_nodes * sizeof(spent));
    if (!g->profile) return rt_graph_nomem(g, err);
    g->profile->nodes = g->n_nodes;
    return RT_OK;
}

void rt_profile_part(rt_graph *g, int node, int64_t since) {
    atomic_fetch_add_explicit(&g->profile->node[node].busy, rt_profile_now() - since, memory_order_relaxed);
}

void rt_profile_move(rt_graph *g, int from, int to, int64_t since) {
    int64_t time = rt_profile_now() - since;
    atomic_fetch_sub_explicit(&g->profile->node[from].busy, time, memory_order_relaxed);
    atomic_fetch_add_explicit(&g->profile->node[to].busy, time, memory_order_relaxed);
}

static double take_busy(rt_graph *g, int at) {
    return (double)atomic_exchange_explicit(&g->profile->node[g->order[at]].busy, 0, memory_order_relaxed);
}
void rt_profile_steps(rt_graph *g, int from, int to, int64_t since) {
    double wall = 1e-9 * (double)(rt_profile_now() - since), all = 0;
    int first = g->steps[from].first, end = g->steps[to - 1].first + g->steps[to - 1].count, kind = g->steps[from].kind != RT_FORWARD;
    for (int i = first; i < end; i++) all += (double)atomic_load_explicit(&g->profile->node[g->order[i]].busy, memory_order_relaxed);
    for (int i = first; i < end; i++) {
        double busy = take_busy(g, i);
        g->profile->node[g->order[i]].seconds[kind] += end - first == 1 || all <= 0 ? wall / (end - first) : wall * busy / all;
    }
}

void rt_graph_costs(const rt_graph *g, void (*fn)(void *context, const rt_graph_cost *c), void *context) {
    for (int i = 0; g->profile && i < g->profile->nodes; i++) {
        const spent *n = &g->profile->node[i];
        rt_graph_cost c = {g->nodes[i].role, g->nodes[i].op->name, n->seconds[0], n->seconds[1]};
        fn(context, &c);
    }
}
