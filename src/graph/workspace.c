/* workspace.c - a block that the plans of several graphs share, one after another. */
#include "graph/internal.h"
#include <string.h>

struct rt_workspace {
    void *block;
    size_t bytes, needed; /* of the block; of the largest plan */
    rt_graph *graphs;
    const rt_graph *last; /* that ran */
};

rt_workspace *rt_workspace_new(void) { return rt_zalloc(sizeof(rt_workspace)); }
void rt_workspace_free(rt_workspace *w) {
    if (!w) return;
    rt_free(w->block);
    rt_free(w);
}
int64_t rt_workspace_bytes(const rt_workspace *w) { return (int64_t)w->needed; }

/* What the old block holds is nobody's any more: it goes before the new one is touched, so that never both are resident. */
static bool grow(rt_workspace *w) {
    void *block = rt_alloc(w->needed);
    if (!block) return false;
    rt_free(w->block);
    w->block = block;
    w->bytes = w->needed;
    w->last = NULL;
    memset(block, 0xff, w->bytes); /* as rt_graph_place does, and for the same reasons */
    for (rt_graph *g = w->graphs; g; g = g->next) rt_graph_lay(g, block);
    return true;
}

rt_status rt_workspace_join(rt_workspace *w, rt_graph *g, rt_error *err) {
    if (g->memory_bytes > w->needed) w->needed = g->memory_bytes;
    if (g->sketch) return RT_OK;
    g->next = w->graphs;
    w->graphs = g;
    if (w->needed > w->bytes && !grow(w)) return rt_fail(err, RT_E_NOMEM, "%s: out of memory: %zu bytes of activations", g->name, w->needed);
    rt_graph_lay(g, w->block);
    return RT_OK;
}
void rt_workspace_leave(rt_workspace *w, rt_graph *g) {
    rt_graph **at = &w->graphs;
    while (*at && *at != g) at = &(*at)->next;
    if (*at) *at = g->next;
    if (w->last == g) w->last = NULL;
}

void rt_workspace_enter(rt_workspace *w, const rt_graph *g) {
    if (w) w->last = g;
}
bool rt_workspace_holds(const rt_workspace *w, const rt_graph *g) { return !w || w->last == g; }
