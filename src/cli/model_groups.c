/* model_groups.c - layers that hold the same kinds of weights in the same shapes and dtypes. */
#include "cli/model_page.h"
#include <string.h>

int64_t rt_row_elements(const rt_weight_row *r) { return r->ndim == 2 ? r->dim[0] * r->dim[1] : r->dim[0]; }

static rt_weight_row row_of(const rt_weight_spec *w, rt_dtype dtype) {
    rt_weight_row r;
    memset(&r, 0, sizeof r); /* padding too: rows are compared as bytes */
    r.kind = w->kind, r.dtype = dtype, r.ndim = w->ndim, r.dim[0] = w->dim[0], r.dim[1] = w->ndim == 2 ? w->dim[1] : 0;
    return r;
}
/* Experts of one kind are one row with many tensors. */
static rt_status add_row(rt_layer_group *g, const rt_weight_spec *w, rt_dtype dtype, rt_error *err) {
    rt_weight_row r = row_of(w, dtype);
    for (int i = 0; i < g->rows; i++) {
        r.tensors = g->row[i].tensors;
        if (memcmp(&g->row[i], &r, sizeof r) == 0) return g->row[i].tensors++, RT_OK;
    }
    if (g->rows == RT_GROUP_ROWS) return rt_fail(err, RT_E_UNSUPPORTED, "layer %d has weights of too many dtypes to be listed", w->layer);
    r.tensors = 1;
    g->row[g->rows++] = r;
    return RT_OK;
}

static bool alike(const rt_layer_group *a, const rt_layer_group *b) {
    return a->layers && b->layers && a->rows == b->rows && memcmp(a->row, b->row, (size_t)a->rows * sizeof *a->row) == 0;
}
/* What was gathered becomes a group, or joins one that is alike. */
static rt_status close_group(rt_layer_groups *g, rt_layer_group *now, int64_t layers, int layer, rt_error *err) {
    if (now->rows == 0) return RT_OK;
    now->layers = layer >= 0;
    rt_layer_group *to = NULL;
    for (int64_t i = 0; i < g->count && !to; i++)
        if (alike(&g->of[i], now)) to = &g->of[i];
    if (!to) {
        to = &g->of[g->count++];
        *to = *now;
        to->layers = 0;
        if (!(to->layer = rt_arena_alloc(&g->arena, (size_t)layers * sizeof *to->layer))) return rt_fail(err, RT_E_NOMEM, "out of memory: layers");
    }
    if (layer >= 0) to->layer[to->layers++] = layer;
    now->rows = 0;
    return RT_OK;
}

static rt_status gather(rt_layer_groups *g, const rt_hf *m, rt_layer_group *now, rt_error *err) {
    const rt_model_config *c = rt_hf_config(m);
    int layer = -1;
    for (int64_t i = 0, n = rt_weight_count(c); i < n; i++) {
        rt_weight_spec w = rt_weight_at(c, i);
        if (w.layer != layer) RT_TRY(close_group(g, now, c->layers, layer, err));
        layer = w.layer;
        RT_TRY(add_row(now, &w, rt_hf_weight(m, i)->dtype, err));
    }
    return close_group(g, now, c->layers, layer, err);
}
rt_status rt_layer_groups_make(rt_layer_groups *g, const rt_hf *m, rt_error *err) {
    *g = (rt_layer_groups){0};
    g->of = rt_arena_alloc(&g->arena, rt_array_bytes((size_t)rt_hf_config(m)->layers + 2, sizeof *g->of));
    rt_layer_group *now = rt_arena_alloc(&g->arena, sizeof *now);
    if (!g->of || !now) return rt_fail(err, RT_E_NOMEM, "out of memory: layers");
    return gather(g, m, now, err);
}
void rt_layer_groups_free(rt_layer_groups *g) {
    rt_arena_free(&g->arena);
    *g = (rt_layer_groups){0};
}
