/* schedule.c - which nodes run, in which order, and which run together as a chain of rows.
 *
 * Forward: the nodes that reach an output or a loss. Backward, segment by segment from the end; a node that recomputation must run
 * again (only those whose values this segment's backward reads) runs as late as it can: before the first that reads of it. */
#include "graph/flow.h"
#include <string.h>

static bool any_output(const rt_graph *g, const rt_node *n, bool (*has)(const rt_value *)) {
    for (int k = 0; k < n->op->n_out; k++)
        if (n->out[k].id > 0 && has(&g->values[n->out[k].id])) return true;
    return false;
}
static bool is_wanted(const rt_value *v) { return v->output; }
static bool is_live(const rt_value *v) { return v->live; }

static void find_used(rt_graph *g, bool *value_used) {
    for (int i = g->n_nodes - 1; i >= 0; i--) {
        const rt_node *n = &g->nodes[i];
        g->used[i] = any_output(g, n, is_wanted);
        for (int k = 0; k < n->op->n_out; k++) g->used[i] |= value_used[n->out[k].id];
        for (int k = 0; g->used[i] && k < n->op->n_in; k++) value_used[n->in[k].id] = true;
        value_used[0] = false;
    }
}

/* Backwards from the losses: a value is live when a used node differentiates it towards one. */
static void find_live(rt_graph *g) {
    for (int i = 0; i < g->n_values; i++) g->values[i].live = g->train && g->values[i].gain && g->values[i].needs_grad;
    for (int i = g->n_nodes - 1; i >= 0 && g->train; i--) {
        const rt_node *n = &g->nodes[i];
        bool flows = g->used[i] && (any_output(g, n, is_live) || rt_is_terminal(g, n));
        g->back[i] = flows && !rt_is_terminal(g, n) && n->op->backward;
        for (int k = 0; flows && k < n->op->n_in; k++) {
            rt_value *v = &g->values[n->in[k].id];
            if (n->in[k].id > 0 && (n->op->diff & RT_IN(k)) && v->needs_grad) v->live = true;
        }
    }
}

/* A value read outside its segment is not recomputed. */
static void keep_across_segments(rt_graph *g) {
    for (int i = 0; i < g->n_nodes; i++)
        for (int k = 0; k < g->nodes[i].op->n_in; k++) {
            rt_value *v = &g->values[g->nodes[i].in[k].id];
            if (v->producer >= 0 && g->nodes[v->producer].segment != g->nodes[i].segment) v->kept = true;
        }
}

/* ------------------------------------------------------------------ chains */

static bool in_chain(const rt_graph *g, const rt_step *s, int node) {
    for (int i = 0; i < s->count; i++)
        if (g->order[s->first + i] == node) return true;
    return false;
}
static bool by_rows(const rt_node *n) { return n->op->forward_rows && !n->few; }
/* Rows of this node may follow the chain's rows tile by tile. */
static bool joins(const rt_graph *g, const rt_step *s, const rt_node *n) {
    if (g->no_chains || s->count == RT_CHAIN_MAX || !by_rows(n) || s->tile_rows == 0 || g->nodes[g->order[s->first]].rows != n->rows) return false;
    for (int k = 0; k < n->op->n_in; k++) {
        int producer = g->values[n->in[k].id].producer;
        if (rt_infer_has(n, k) && producer >= 0 && !(n->op->row_in & RT_IN(k)) && in_chain(g, s, producer)) return false;
    }
    return true;
}
/* At most 128 rows: what a tile passes from one operation to the next then stays in a second cache of 1 MiB, for R1. */
static int64_t tile_rows(int64_t rows) { return rows < 128 ? (rows + 15) / 16 * 16 : 128; }
static void append(rt_graph *g, rt_kind kind, int node) {
    const rt_node *n = &g->nodes[node];
    rt_step *last = g->n_steps ? &g->steps[g->n_steps - 1] : NULL;
    bool join = last && kind != RT_BACKWARD && last->kind == kind && joins(g, last, n);
    g->order[g->n_order++] = node;
    if (join) last->count++;
    else g->steps[g->n_steps++] = (rt_step){kind, g->n_order - 1, 1, kind != RT_BACKWARD && by_rows(n) ? tile_rows(n->rows) : 0, 0};
}

/* ------------------------------------------------------------ recomputation */

static void need(bool *needed, const rt_ref *refs, int count, unsigned mask, unsigned first_bit) {
    for (int k = 0; k < count; k++)
        if (mask & (first_bit << k)) needed[refs[k].id] = true;
}
enum { NOT_AGAIN, NEXT, DONE };
static bool makes_needed(const rt_graph *g, const rt_node *n, const bool *needed) {
    bool makes = false;
    for (int k = 0; k < n->op->n_out; k++) makes |= needed[n->out[k].id] && rt_replayed(g, &g->values[n->out[k].id]);
    return makes;
}
/* What the backward of node i reads and no earlier one has had made, and what making that reads in turn; in the order of the nodes. */
static void append_again(rt_graph *g, int lo, int hi, int i, bool *needed, char *again) {
    const rt_node *n = &g->nodes[i];
    memset(needed, 0, (size_t)g->n_values);
    need(needed, n->in, n->op->n_in, n->op->saves, RT_IN(0));
    need(needed, n->out, n->op->n_out, n->op->saves, RT_OUT(0));
    for (int j = hi - 1; j >= lo; j--) {
        if (!g->used[j] || again[j] == DONE || !makes_needed(g, &g->nodes[j], needed)) continue;
        again[j] = NEXT;
        need(needed, g->nodes[j].in, g->nodes[j].op->n_in, ~0u, RT_IN(0));
    }
    for (int j = lo; j < hi; j++)
        if (again[j] == NEXT) append(g, RT_REPLAY, j), again[j] = DONE;
}

static int segment_start(const rt_graph *g, int hi) {
    int lo = hi;
    while (lo > 0 && g->nodes[lo - 1].segment == g->nodes[hi - 1].segment) lo--;
    return lo;
}
static void schedule_backward(rt_graph *g, bool *needed, char *again) {
    for (int hi = g->n_nodes, lo; hi > 0; hi = lo) {
        lo = segment_start(g, hi);
        for (int i = hi - 1; i >= lo; i--) {
            if (!g->back[i]) continue;
            append_again(g, lo, hi, i, needed, again);
            append(g, RT_BACKWARD, i);
        }
    }
}

rt_status rt_graph_schedule(rt_graph *g, rt_error *err) {
    size_t n = (size_t)g->n_nodes, values = (size_t)g->n_values;
    g->used = rt_arena_alloc(&g->arena, n);
    g->back = rt_arena_alloc(&g->arena, n);
    g->order = rt_arena_alloc(&g->arena, 3 * n * sizeof *g->order);
    g->steps = rt_arena_alloc(&g->arena, 3 * n * sizeof *g->steps);
    g->scratch = rt_arena_alloc(&g->arena, 3 * n * sizeof *g->scratch);
    g->handed = rt_arena_alloc(&g->arena, 3 * n);
    bool *value_flag = rt_arena_alloc(&g->arena, values);
    char *again = rt_arena_alloc(&g->arena, n); /* zero: NOT_AGAIN */
    if (!g->used || !g->back || !g->order || !g->steps || !g->scratch || !g->handed || !value_flag || !again) return rt_graph_nomem(g, err);
    find_used(g, value_flag);
    find_live(g);
    keep_across_segments(g);
    for (int i = 0; i < g->n_nodes; i++)
        if (g->used[i]) append(g, RT_FORWARD, i);
    g->n_forward = g->n_steps;
    for (int t = 0; t < g->n_forward; t++) g->steps[t].flows = rt_flows(g, t);
    if (g->train) schedule_backward(g, value_flag, again);
    return RT_OK;
}
