/* run.c - planning, and running the steps. After planning nothing is allocated. */
#include "graph/chain.h"
#include "graph/flow.h"
#include <retort/base/threads.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* --------------------------------------------------------------------- plan */

static rt_status grant_caches(rt_graph *g, rt_error *err) {
    g->cache = rt_arena_alloc(&g->arena, (size_t)g->n_nodes * sizeof *g->cache);
    g->cache_ready = rt_arena_alloc(&g->arena, (size_t)g->n_nodes);
    g->cache_granted = rt_arena_alloc(&g->arena, (size_t)g->n_nodes);
    if (!g->cache || !g->cache_ready || !g->cache_granted) return rt_graph_nomem(g, err);
    for (int i = 0; i < g->n_nodes; i++) {
        int64_t bytes = (int64_t)g->nodes[i].cache;
        if (!g->used[i] || bytes == 0 || (g->cache_budget > 0 && g->cache_bytes + bytes > g->cache_budget)) continue;
        if (!g->sketch && !(g->cache[i] = rt_alloc((size_t)bytes))) return rt_graph_nomem(g, err);
        g->cache_granted[i] = true;
        g->cache_bytes += bytes;
    }
    return RT_OK;
}

static rt_status check_states(const rt_graph *g, rt_error *err) {
    for (int i = 1; i < g->n_values; i++)
        if (g->values[i].leaf == RT_LEAF_STATE) return rt_fail(err, RT_E_ARG, "%s: state '%s': such a graph is planned forward-only", g->name, g->values[i].name);
    return RT_OK;
}

size_t rt_graph_worker_bytes(const rt_graph *g) {
    size_t tiles = 0;
    for (int t = 0; t < g->n_steps; t++)
        if (g->steps[t].tile_bytes > tiles) tiles = g->steps[t].tile_bytes;
    return g->worker_scratch + tiles;
}

rt_status rt_graph_plan(rt_graph *g, bool train, rt_error *err) {
    if (g->error.status) return rt_fail(err, g->error.status, "%s", g->error.text);
    if (g->planned) return rt_fail(err, RT_E_ARG, "%s: planned already", g->name);
    if (train) RT_TRY(check_states(g, err));
    g->train = train;
    RT_TRY(rt_graph_schedule(g, err));
    RT_TRY(rt_graph_place(g, err));
    RT_TRY(grant_caches(g, err));
    RT_TRY(rt_flow_plan(g, err));
    g->planned = true;
    return g->sketch ? RT_OK : rt_scratch_reserve(rt_graph_worker_bytes(g), err);
}

/* ------------------------------------------------------------------- faults */

void rt_call_fail(const rt_call *c, rt_status s, const char *format, ...) {
    if (atomic_exchange(&c->fault->taken, 1)) return;
    va_list args;
    va_start(args, format);
    rt_vfail(&c->fault->error, s, format, args);
    va_end(args);
    rt_error_prefix(&c->fault->error, "%s (%s)", c->node->role, c->node->op->name);
}

static rt_status take_fault(rt_graph *g, rt_error *err) {
    if (!atomic_load(&g->fault.taken)) return RT_OK;
    rt_status s = rt_fail(err, g->fault.error.status, "%s", g->fault.error.text);
    rt_error_clear(&g->fault.error);
    atomic_store(&g->fault.taken, 0);
    return s;
}

/* --------------------------------------------------------------------- steps */

enum { CLEAR = 1 << 18 };
static void clear_block(void *context, int64_t task, int worker) {
    (void)worker;
    const rt_tensor *d = context;
    size_t bytes = rt_tensor_bytes(d), at = (size_t)task * CLEAR;
    memset((char *)d->data + at, 0, bytes - at < CLEAR ? bytes - at : CLEAR);
}
static bool given_once(const rt_node *n, int k) {
    int count = 0;
    for (int i = 0; i < n->op->n_in; i++) count += n->in[i].id == n->in[k].id;
    return count == 1;
}
/* The first step that adds to a gradient finds it cleared, or overwrites it where the operation can (the bits returned). */
static unsigned begin_gradients(rt_graph *g, int t, const rt_node *n) {
    unsigned fresh = 0;
    for (int k = 0; k < n->op->n_in; k++) {
        rt_value *v = &g->values[n->in[k].id];
        bool anew = v->leaf == RT_NOT_LEAF || (v->leaf == RT_LEAF_TRAINED && (g->fresh || g->plans_gradients));
        bool first = n->in[k].id > 0 && v->d_from == t && v->d.data && anew;
        if (!first || !(n->op->diff & RT_IN(k))) continue;
        if ((n->op->overwrites & RT_IN(k)) && given_once(n, k)) fresh |= RT_IN(k);
        else rt_parallel((int64_t)((rt_tensor_bytes(&v->d) + CLEAR - 1) / CLEAR), clear_block, &v->d);
    }
    return fresh;
}

static void prepare(rt_chain *ch) {
    rt_parallel(rt_chain_prepares(ch), rt_chain_prepare, ch);
    rt_chain_ready(ch);
}
static void compute_step(rt_graph *g, int t) {
    const rt_step *s = &g->steps[t];
    const rt_node *n = &g->nodes[g->order[s->first]];
    int64_t since = g->profile ? rt_profile_now() : 0;
    unsigned fresh = s->kind == RT_BACKWARD || rt_is_terminal(g, n) ? begin_gradients(g, t, n) : 0;
    rt_chain ch;
    rt_chain_open(g, t, fresh, &ch);
    prepare(&ch);
    if (s->kind == RT_BACKWARD) n->op->backward(&ch.call[0]);
    else if (rt_step_has_tasks(g, s)) rt_parallel(rt_chain_tasks(&ch), rt_chain_task, &ch);
    else n->op->forward(&ch.call[0]);
    if (g->profile) rt_profile_steps(g, t, t + 1, since);
}
static rt_status run_step(rt_graph *g, int t, rt_error *err) {
    compute_step(g, t);
    rt_graph_guard_check(g, t);
    return take_fault(g, err);
}

/* Steps from t that flow. With guards they run one by one: dead memory is filled after each. */
static int flow_end(const rt_graph *g, int t) {
    int end = t + 1;
    (void)g;
#ifndef RT_MEMCHECK
    while (end < g->n_forward && g->steps[end].flows) end++;
#endif
    return end;
}
static rt_status run_flow(rt_graph *g, int from, int to, rt_error *err) {
    int64_t since = g->profile ? rt_profile_now() : 0;
    rt_flow_run(g, from, to);
    if (g->profile) rt_profile_steps(g, from, to, since);
    return take_fault(g, err);
}

static rt_status ready(rt_graph *g, rt_error *err) {
    if (!g->planned || g->sketch) return rt_fail(err, RT_E_ARG, "%s: %s", g->name, g->sketch ? "a sketch cannot run" : "run before planning");
    for (int i = 1; i < g->n_values; i++)
        if (g->values[i].leaf != RT_NOT_LEAF && !g->values[i].t.data && !g->values[i].pieces)
            return rt_fail(err, RT_E_ARG, "%s: input '%s' has no data", g->name, g->values[i].name);
    return rt_scratch_reserve(rt_graph_worker_bytes(g), err); /* the number of threads may have changed */
}

rt_status rt_graph_forward(rt_graph *g, rt_error *err) {
    RT_TRY(ready(g, err));
    rt_workspace_enter(g->space, g);
    rt_graph_guard_reset(g);
    for (int t = 0, end; t < g->n_forward; t = end) {
        end = flow_end(g, t);
        if (end == t + 1) RT_TRY(run_step(g, t, err));
        else RT_TRY(run_flow(g, t, end, err));
    }
    return RT_OK;
}

rt_status rt_graph_backward(rt_graph *g, rt_error *err) {
    RT_TRY(ready(g, err));
    if (!g->train) return rt_fail(err, RT_E_ARG, "%s: planned without backward", g->name);
    if (!rt_workspace_holds(g->space, g))
        return rt_fail(err, RT_E_ARG, "%s: backward after another graph of its workspace, expected right after its own forward", g->name);
    for (int i = 1; i < g->n_values; i++)
        if (g->values[i].gain && g->values[i].live) *(double *)g->values[i].d.data = *g->values[i].gain;
    for (int t = g->n_forward; t < g->n_steps; t++) RT_TRY(run_step(g, t, err));
    g->fresh = false;
    return RT_OK;
}

void rt_graph_fresh_gradients(rt_graph *g) { g->fresh = true; }

/* ----------------------------------------------------------------- diagnosis */

static bool finite_at(const rt_tensor *t, int64_t i) {
    switch (t->dtype) {
    case RT_F64: return isfinite(((const double *)t->data)[i]);
    case RT_F32: return isfinite(((const float *)t->data)[i]);
    case RT_F16: return (((const rt_f16 *)t->data)[i].bits & 0x7c00) != 0x7c00;
    case RT_BF16: return (((const rt_bf16 *)t->data)[i].bits & 0x7f80) != 0x7f80;
    default: return true;
    }
}
/* What only backward reads may hold rows nobody wrote. */
static bool is_read(const rt_graph *g, int id) {
    bool read = g->values[id].output;
    for (int i = 0; i < g->n_nodes && !read; i++)
        for (int k = 0; k < g->nodes[i].op->n_in; k++) read |= g->nodes[i].in[k].id == id;
    return read;
}
/* Where a number that is not finite was first seen: place in the chain, output, row, column. */
typedef struct sighting {
    int at, output;
    int64_t row, column;
} sighting;
/* Rows [r0, r1) of each output; r1 < 0: all. Keeps the earliest operation; tiles come in order, so of one operation the first row. */
static bool see_nonfinite(const rt_chain *ch, const rt_call *c, int at, int64_t r0, int64_t r1) {
    sighting *seen = ch->looker;
    for (int k = 0; k < c->node->op->n_out; k++) {
        const rt_tensor *t = &c->out[k];
        if (!t->data || !is_read(ch->g, c->node->out[k].id)) continue;
        int64_t columns = rt_tensor_count(t) / t->dim[0], end = (r1 < 0 ? t->dim[0] : r1) * columns;
        for (int64_t i = r0 * columns; i < end; i++) {
            if (finite_at(t, i)) continue;
            if (seen->at < 0 || at < seen->at) *seen = (sighting){at, k, i / columns, i % columns};
            return true;
        }
    }
    return false;
}
static rt_status report(const rt_graph *g, const rt_step *s, const sighting *seen, rt_error *err) {
    if (seen->at < 0) return RT_OK;
    const rt_node *n = &g->nodes[g->order[s->first + seen->at]];
    return rt_fail(err, RT_E_NUMERIC, "%s (%s): output %d is not finite at row %lld, column %lld", n->role, n->op->name, seen->output,
                   (long long)seen->row, (long long)seen->column);
}
/* A chain's inner values live in tile memory: they are looked at while they are there, one tile after another. */
static rt_status watch_rows(rt_chain *ch, rt_error *err) {
    int64_t tiles = rt_chain_tasks(ch);
    prepare(ch);
    for (int64_t task = 0; task < tiles; task++) rt_chain_task(ch, task, 0);
    return take_fault(ch->g, err);
}
static rt_status watch_whole(rt_chain *ch, rt_error *err) {
    compute_step(ch->g, ch->t);
    RT_TRY(take_fault(ch->g, err));
    see_nonfinite(ch, &ch->call[0], 0, 0, -1);
    return RT_OK;
}
rt_status rt_graph_find_nonfinite(rt_graph *g, rt_error *err) {
    RT_TRY(ready(g, err));
    rt_workspace_enter(g->space, g);
    rt_graph_guard_reset(g);
    for (int t = 0; t < g->n_forward; t++) {
        const rt_step *s = &g->steps[t];
        sighting seen = {.at = -1};
        rt_chain ch;
        rt_chain_open(g, t, 0, &ch);
        ch.look = see_nonfinite, ch.looker = &seen;
        RT_TRY(s->tile_rows > 0 ? watch_rows(&ch, err) : watch_whole(&ch, err));
        rt_graph_guard_check(g, t); /* after the look: what dies here is filled with NaN */
        RT_TRY(report(g, s, &seen, err));
    }
    return RT_OK;
}
