/* head_products.c - the head's matrices, tile by tile of the vocabulary (T the compute type, C the chunk's rows):
 *
 *   z^T [ids,C] = W [ids,D] H^T [D,C]     dW [ids,D] += dz^T [ids,C] H [C,D]     dH [C,D] += dz [C,ids] W [ids,D]
 *
 * A tile is one task's; dH is summed per segment of tiles, then over the segments in order. Column n of a product with C
 * columns has the same bits for every C that is a multiple of 16 (tests/test_head.c). */
#ifndef T
#include "ops/head_run.h"
#include <retort/base/threads.h>
#include "kernels/convert.h"
#include "kernels/gemm.h"
#include "kernels/rows.h"
#include <string.h>

static const char *row_at(const rt_tensor *t, int64_t row) {
    return (const char *)t->data + (size_t)(row * t->dim[1]) * rt_dtype_size(t->dtype);
}
#define RT_BODY "ops/head_products.c"
#include "kernels/for_each_type.h"
#else

/* ------------------------------------------------------------------------------- rows */

static void F(load_block)(const rt_head_run *r, int s, int64_t n0, int worker) {
    const rt_tensor *h = &r->call->in[s * IN_SIDE + IN_HIDDEN];
    int64_t D = r->a->D[s], left = r->n - n0, n = left < RT_HEAD_BLOCK ? left : RT_HEAD_BLOCK;
    int64_t lanes = r->C - n0 < RT_HEAD_BLOCK ? r->C - n0 : RT_HEAD_BLOCK;
    const T *rows = (const T *)(const void *)row_at(h, r->r0 + n0);
    if (h->dtype != RT_T) {
        T *copy = s == RT_HEAD_STUDENT ? (T *)rt_head_at(r, r->at.hidden, n0 * D) : (T *)(void *)((char *)rt_scratch(worker) + r->at.panel);
        F(rt_rows_load)(h->dtype, row_at(h, r->r0 + n0), copy, n * D);
        rows = copy;
    }
    T *out = rt_head_at(r, r->at.hidden_t[s], n0);
    F(rt_transpose)(rows, D, n, D, out, r->C);
    for (int64_t d = 0; d < D && n < lanes; d++) memset(out + d * r->C + n, 0, (size_t)(lanes - n) * sizeof(T));
}
static void F(load_task)(void *context, int64_t task, int worker) {
    const rt_head_run *r = context;
    for (int s = 0; s < 2; s++)
        if (r->plan.used[s] && !r->a->given[s]) F(load_block)(r, s, task * RT_HEAD_BLOCK, worker);
}
static void F(load)(const rt_head_run *r) {
    rt_parallel((r->C + RT_HEAD_BLOCK - 1) / RT_HEAD_BLOCK, F(load_task), (void *)r);
}

/* ----------------------------------------------------------------------------- logits */

/* Ids of a tile whose weights are seen at once: all where they are stored as T, a panel's worth where they are converted. */
static int64_t F(panel_ids)(const rt_head_run *r, int s, int64_t ids) {
    return r->call->in[s * IN_SIDE + IN_WEIGHT].dtype == RT_T || ids < RT_HEAD_PANEL ? ids : RT_HEAD_PANEL;
}
static const T *F(weights)(const rt_head_run *r, int s, int64_t id, int64_t count, int worker) {
    const rt_tensor *w = &r->call->in[s * IN_SIDE + IN_WEIGHT];
    if (w->dtype == RT_T) return (const T *)(const void *)row_at(w, id);
    T *panel = (T *)(void *)((char *)rt_scratch(worker) + r->at.panel);
    F(rt_rows_load)(w->dtype, row_at(w, id), panel, count * r->a->D[s]);
    return panel;
}
static void F(product)(const rt_head_run *r, int s, int64_t tile, T *z, int worker) {
    int64_t D = r->a->D[s], ids = rt_head_ids(r, tile), step = F(panel_ids)(r, s, ids);
    const T *h = rt_head_at(r, r->at.hidden_t[s], 0);
    for (int64_t v = 0; v < ids; v += step) {
        int64_t count = ids - v < step ? ids - v : step;
        const T *w = F(weights)(r, s, tile * RT_HEAD_TILE + v, count, worker);
        F(rt_gemm)('N', 'N', count, r->C, D, 1, w, D, h, r->C, 0, z + v * r->C, r->C);
    }
}
static void F(take_given)(const rt_head_run *r, int s, int64_t tile, T *z) {
    const rt_tensor *given = &r->call->in[s * IN_SIDE + IN_LOGITS];
    int64_t ids = rt_head_ids(r, tile);
    const T *rows = (const T *)(const void *)row_at(given, r->r0);
    F(rt_transpose)(rows + tile * RT_HEAD_TILE, given->dim[1], r->n, ids, z, r->C);
    for (int64_t v = 0; v < ids && r->n < r->C; v++) memset(z + v * r->C + r->n, 0, (size_t)(r->C - r->n) * sizeof(T));
}
static void F(logits_task)(void *context, int64_t tile, int worker) {
    const rt_head_run *r = context;
    for (int s = 0; s < 2; s++) {
        if (!r->plan.used[s]) continue;
        T *z = rt_head_logits_at(r, s, tile);
        if (r->a->given[s]) F(take_given)(r, s, tile, z);
        else F(product)(r, s, tile, z, worker);
    }
    rt_head_tile_sums(r, tile);
}
static void F(logits)(const rt_head_run *r) { rt_parallel(r->tiles, F(logits_task), (void *)r); }

/* -------------------------------------------------------------------------- gradients */

static void F(add_given)(const rt_head_run *r, int64_t tile, const T *dz) {
    const rt_tensor *d = &r->call->din[IN_LOGITS];
    int64_t ids = rt_head_ids(r, tile);
    for (int64_t n = 0; n < r->n; n++) {
        T *row = (T *)d->data + (r->r0 + n) * d->dim[1] + tile * RT_HEAD_TILE;
        for (int64_t v = 0; v < ids; v++) row[v] += dz[v * r->C + n];
    }
}
static void F(add_weight)(const rt_head_run *r, int64_t tile, const T *dz) {
    int64_t D = r->a->D[0];
    const rt_tensor *h = &r->call->in[IN_HIDDEN];
    const T *rows = h->dtype == RT_T ? (const T *)h->data + r->r0 * D : rt_head_at(r, r->at.hidden, 0);
    T *dw = (T *)r->call->din[IN_WEIGHT].data + tile * RT_HEAD_TILE * D;
    F(rt_gemm)('N', 'N', rt_head_ids(r, tile), D, r->n, 1, dz, r->C, rows, D, r->r0 == 0 && (r->call->fresh & RT_IN(IN_WEIGHT)) ? 0 : 1, dw, D);
}
static void F(add_hidden)(const rt_head_run *r, int64_t tile, const T *dz, bool first, T *sum, int worker) {
    int64_t D = r->a->D[0], ids = rt_head_ids(r, tile), step = F(panel_ids)(r, RT_HEAD_STUDENT, ids);
    for (int64_t v = 0; v < ids; v += step) {
        int64_t count = ids - v < step ? ids - v : step;
        const T *w = F(weights)(r, RT_HEAD_STUDENT, tile * RT_HEAD_TILE + v, count, worker);
        F(rt_gemm)('T', 'N', r->C, D, count, 1, dz + v * r->C, r->C, w, D, first && v == 0 ? 0 : 1, sum, D);
    }
}

static void F(segment_task)(void *context, int64_t segment, int worker) {
    const rt_head_run *r = context;
    T *dz = (T *)(void *)((char *)rt_scratch(worker) + r->at.dz);
    int64_t first = segment * r->segment_tiles, last = first + r->segment_tiles;
    for (int64_t tile = first; tile < last && tile < r->tiles; tile++) {
        rt_head_dz(r, tile, dz);
        if (r->call->din[IN_LOGITS].data) F(add_given)(r, tile, dz);
        if (r->call->din[IN_WEIGHT].data) F(add_weight)(r, tile, dz);
        if (r->call->din[IN_HIDDEN].data)
            F(add_hidden)(r, tile, dz, tile == first, rt_head_at(r, r->at.d_hidden, segment * r->C * r->a->D[0]), worker);
    }
}
static void F(reduce_task)(void *context, int64_t task, int worker) {
    (void)worker;
    const rt_head_run *r = context;
    int64_t D = r->a->D[0], n0 = task * RT_HEAD_BLOCK, n1 = n0 + RT_HEAD_BLOCK < r->n ? n0 + RT_HEAD_BLOCK : r->n;
    for (int64_t n = n0; n < n1; n++) {
        T *d = (T *)r->call->din[IN_HIDDEN].data + (r->r0 + n) * D;
        for (int64_t s = 0; s < r->segments; s++) {
            const T *sum = rt_head_at(r, r->at.d_hidden, (s * r->C + n) * D);
            F(rt_rows)()->add(d, sum, d, D);
        }
    }
}
static void F(backward)(const rt_head_run *r) {
    rt_parallel(r->segments, F(segment_task), (void *)r);
    if (r->call->din[IN_HIDDEN].data) rt_parallel((r->n + RT_HEAD_BLOCK - 1) / RT_HEAD_BLOCK, F(reduce_task), (void *)r);
}

const rt_head_products F(rt_head_products) = {F(load), F(logits), F(backward)};
#endif
