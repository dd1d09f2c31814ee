/* work.c - what each node has to do at least: the operation's own `work`, and what the plan says of it.
 *
 * A value that lives in tile memory is counted apart (rt_work.inner). Recomputation runs a node's forward again before its
 * segment's backward; what that makes lies in the arena, also where forward had it in tile memory. */
#include "graph/internal.h"

static int id_of(const rt_node *n, int k) { return k < RT_MAX_IN ? n->in[k].id : n->out[k - RT_MAX_IN].id; }
static bool there(const rt_node *n, unsigned bits, int k) {
    return (bits & 1u << k) && (k < RT_MAX_IN ? k < n->op->n_in : k - RT_MAX_IN < n->op->n_out) && id_of(n, k) > 0;
}

void rt_work_values(const rt_graph *g, const rt_node *n, unsigned bits, rt_work *w) {
    for (int k = 0; k < RT_MAX_IN + RT_MAX_OUT; k++) {
        if (!there(n, bits, k)) continue;
        const rt_value *v = &g->values[id_of(n, k)];
        *(v->tile_step < 0 ? &w->bytes : &w->inner) += (double)rt_tensor_bytes(&v->t);
    }
}
bool rt_work_wants(const rt_graph *g, const rt_node *n, int k) { return there(n, n->op->diff, k) && g->values[id_of(n, k)].live; }
void rt_work_gradients(const rt_graph *g, const rt_node *n, unsigned bits, rt_work *w) {
    for (int k = 0; k < RT_MAX_IN + RT_MAX_OUT; k++) {
        if (!there(n, bits, k) || !g->values[id_of(n, k)].live) continue;
        if (k < RT_MAX_IN && !(n->op->diff & RT_IN(k))) continue;
        w->bytes += (double)rt_tensor_bytes(&g->values[id_of(n, k)].d);
    }
}
void rt_work_operands(const rt_graph *g, const rt_node *n, rt_work *forward, rt_work *backward) {
    rt_work_values(g, n, ~0u, forward);
    rt_work_values(g, n, n->op->saves, backward);
    rt_work_gradients(g, n, ~0u, backward);
}

static int replays(const rt_graph *g, int node) {
    int count = 0;
    for (int t = g->n_forward; t < g->n_steps; t++)
        for (int i = 0; g->steps[t].kind == RT_REPLAY && i < g->steps[t].count; i++) count += g->order[g->steps[t].first + i] == node;
    return count;
}

void rt_graph_works(const rt_graph *g, void (*fn)(void *, const rt_graph_work *), void *context) {
    for (int i = 0; g->planned && i < g->n_nodes; i++) {
        const rt_node *n = &g->nodes[i];
        rt_work forward = {0}, backward = {0};
        rt_graph_work w = {.role = n->role, .op = n->op->name};
        if (n->op->work) n->op->work(g, n, &forward, &backward);
        double again = replays(g, i);
        if (g->used[i]) w.forward = forward;
        if (g->back[i]) w.backward = (rt_work){.flops = backward.flops, .bytes = backward.bytes + backward.inner, .exps = backward.exps};
        w.backward.flops += again * forward.flops;
        w.backward.bytes += again * (forward.bytes + forward.inner);
        w.backward.exps += again * forward.exps;
        fn(context, &w);
    }
}
