/* print.c - the tape as text: what `retort show tape` prints. */
#include "graph/internal.h"
#include <string.h>

/* As a tape, and as planned: who trains or caches a weight is no part of the tape. */
static const char *leaf_names[2][6] = {{"", "input", "weight", "weight", "weight", "state"}, {"", "input", "constant", "variable", "parameter", "state"}};

static void describe_leaves(const rt_graph *g, bool planned, rt_buf *out) {
    char b[96];
    for (int i = 1; i < g->n_values; i++) {
        const rt_value *v = &g->values[i];
        if (v->leaf != RT_NOT_LEAF) rt_buf_printf(out, "%%%-4d %-9s %-48s %s\n", i, leaf_names[planned][v->leaf], v->name, rt_tensor_text(&v->t, b));
    }
}

/* Bytes are what a forward keeps for its own backward: how many is the plan's affair. */
static const char *shape_text(const rt_tensor *t, bool planned, char b[96]) {
    return t->dtype == RT_U8 && !planned ? "u8" : rt_tensor_text(t, b);
}

static void describe_node(const rt_graph *g, const rt_node *n, bool planned, rt_buf *out) {
    char b[96], p[48];
    rt_buf_printf(out, "%%%-4d %-9s %-48s", n->out[0].id, n->op->name, n->role);
    for (int k = 0; k < n->op->n_in; k++)
        if (rt_infer_has(n, k)) rt_buf_printf(out, " %%%d", n->in[k].id);
    rt_buf_puts(out, " ->");
    for (int k = 0; k < n->op->n_out; k++) rt_buf_printf(out, "%s %s", k ? "," : "", shape_text(&g->values[n->out[k].id].t, planned, b));
    rt_buf_printf(out, " | %s | acc %s | %s\n", rt_prec_text(n->prec, p), rt_dtype_name(n->prec.acc), n->kernel);
}

static void describe_schedule(const rt_graph *g, rt_buf *out) {
    static const char *kinds[] = {"forward", "again", "backward"};
    for (int t = 0; t < g->n_steps; t++) {
        const rt_step *s = &g->steps[t];
        rt_buf_printf(out, "step %-4d %-9s", t, kinds[s->kind]);
        for (int i = 0; i < s->count; i++) rt_buf_printf(out, "%s%s", i ? " + " : "", g->nodes[g->order[s->first + i]].role);
        if (s->tile_rows > 0) rt_buf_printf(out, " (tiles of up to %lld rows)", (long long)s->tile_rows);
        if (s->flows) rt_buf_puts(out, ", flows on");
        rt_buf_putc(out, '\n');
    }
}

void rt_graph_describe(const rt_graph *g, bool schedule, rt_buf *out) {
    describe_leaves(g, schedule, out);
    for (int i = 0; i < g->n_nodes; i++) describe_node(g, &g->nodes[i], schedule, out);
    if (schedule) describe_schedule(g, out);
}

void rt_graph_unreached(const rt_graph *g, void (*fn)(void *, const char *), void *context) {
    for (int i = 1; i < g->n_values; i++)
        if (g->values[i].leaf == RT_LEAF_TRAINED && !g->values[i].live) fn(context, g->values[i].name);
}

/* Every reader of the leaf has its packed form. */
static bool stands_in_caches(const rt_graph *g, int leaf) {
    for (int i = 0; i < g->n_nodes; i++)
        for (int k = 0; g->used[i] && !g->cache_granted[i] && k < g->nodes[i].op->n_in; k++)
            if (g->nodes[i].in[k].id == leaf) return false;
    return true;
}
rt_graph_stats rt_graph_stats_get(const rt_graph *g) {
    rt_graph_stats s = {.nodes = g->n_nodes, .steps = g->n_steps, .arena_bytes = (int64_t)(g->memory_bytes + g->own_bytes), .cache_bytes = g->cache_bytes,
                        .worker_scratch_bytes = (int64_t)rt_graph_worker_bytes(g), .own_bytes = (int64_t)g->own_bytes, .least_bytes = (int64_t)g->live_bytes};
    for (int i = 1; g->planned && i < g->n_values; i++) {
        const rt_value *v = &g->values[i];
        if (v->leaf == RT_LEAF_CONSTANT && !v->pieces && !stands_in_caches(g, i)) s.constant_bytes += (int64_t)rt_tensor_bytes(&v->t);
    }
    return s;
}
