/* fullest.c - which buffers share the arena when most of it is in use: read off the plan, by role. */
#include "graph/internal.h"

static int64_t in_use(const rt_graph *g, int step) {
    int64_t bytes = 0;
    for (int i = 0; i < g->n_buffers; i++)
        if (g->buffers[i].from <= step && step <= g->buffers[i].to) bytes += (int64_t)g->buffers[i].bytes;
    return bytes;
}

/* Who makes a value; of a parameter, whose gradient the plan may hold, its first reader. */
static const char *role_of(const rt_graph *g, int value) {
    if (g->values[value].producer >= 0) return g->nodes[g->values[value].producer].role;
    for (int i = 0; i < g->n_nodes; i++)
        for (int k = 0; k < g->nodes[i].op->n_in; k++)
            if (g->nodes[i].in[k].id == value) return g->nodes[i].role;
    return g->values[value].name; /* nobody reads it */
}
/* A buffer is known by the pointer it fills. */
static const char *value_of(const rt_graph *g, void *const *slot, rt_held *what) {
    for (int i = 1; i < g->n_values; i++) {
        const rt_value *v = &g->values[i];
        *what = slot == &v->d.data ? RT_HELD_GRADIENT : RT_HELD_VALUE;
        if (slot == &v->t.data || slot == &v->replay || slot == &v->d.data) return role_of(g, i);
    }
    return NULL;
}
static const char *owner(const rt_graph *g, void *const *slot, rt_held *what) {
    const char *role = value_of(g, slot, what);
    if (role) return role;
    *what = RT_HELD_SCRATCH;
    return g->nodes[g->order[slot - g->scratch]].role;
}

rt_graph_moment rt_graph_fullest(const rt_graph *g, void (*fn)(void *, const char *, rt_held, int64_t), void *context) {
    static const char *const phases[] = {"forward", "again", "backward"};
    rt_graph_moment most = {0, "", phases[0]};
    int at = -1;
    for (int t = 0; g->planned && t < g->n_steps; t++) {
        int64_t bytes = in_use(g, t);
        if (bytes > most.bytes) most.bytes = bytes, at = t;
    }
    if (at < 0) return most;
    most.role = g->nodes[g->order[g->steps[at].first]].role;
    most.phase = phases[g->steps[at].kind];
    for (int i = 0; i < g->n_buffers; i++) {
        const rt_buffer *b = &g->buffers[i];
        rt_held what;
        const char *role = b->from <= at && at <= b->to ? owner(g, b->slot, &what) : NULL;
        if (role) fn(context, role, what, (int64_t)b->bytes);
    }
    return most;
}
