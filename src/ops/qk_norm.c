/* qk_norm: RMSNorm of the groups (heads) of a row's query and key columns; the value columns are copied.
 *   x [N,C], wq [q], wk [k] -> y [N,C], r [N, queries/q + keys/k] (compute type): what each group was multiplied by.
 * One rounding, to `out`. Backward keeps x and r and is rmsnorm's, group by group; dwq and dwk are sums over rows and groups,
 * in fixed blocks of 64 rows summed in order. */
#ifndef T
#include "ops/common.h"
#include <retort/ops/ops.h>
#include <string.h>

enum { X, WQ, WK };
enum { BLOCK = 64 };
typedef struct attr {
    double eps;
    int64_t queries, keys; /* columns */
} attr;

static int64_t groups(const rt_call *c) {
    const attr *a = RT_ATTR(attr, c);
    return a->queries / c->in[WQ].dim[0] + a->keys / c->in[WK].dim[0];
}

static rt_status check_groups(rt_graph *g, const rt_node *n) {
    const attr *a = n->attr;
    int64_t q = rt_infer_in(g, n, WQ)->dim[0], k = rt_infer_in(g, n, WK)->dim[0], columns = rt_infer_in(g, n, X)->dim[1];
    if (a->queries >= q && a->queries % q == 0 && a->keys >= k && a->keys % k == 0 && a->queries + a->keys <= columns) return RT_OK;
    return rt_infer_fail(g, n, RT_E_SHAPE, "%lld query columns in groups of %lld and %lld key columns in groups of %lld do not fit rows of %lld columns",
                         (long long)a->queries, (long long)q, (long long)a->keys, (long long)k, (long long)columns);
}
static rt_status infer(rt_graph *g, rt_node *n) {
    rt_dtype compute;
    RT_TRY(rt_infer_compute(g, n, &compute));
    RT_TRY(rt_infer_dtype(g, n, X, n->prec.in));
    RT_TRY(rt_infer_shape(g, n, X, 2, (int64_t[]){-1, -1}));
    for (int k = WQ; k <= WK; k++) {
        RT_TRY(rt_infer_dtype(g, n, k, n->prec.weight));
        RT_TRY(rt_infer_shape(g, n, k, 1, (int64_t[]){-1}));
    }
    RT_TRY(check_groups(g, n));
    const attr *a = n->attr;
    int64_t N = rt_infer_in(g, n, X)->dim[0], C = rt_infer_in(g, n, X)->dim[1];
    int64_t q = rt_infer_in(g, n, WQ)->dim[0], k = rt_infer_in(g, n, WK)->dim[0];
    size_t size = rt_compute_size(n), weights = rt_align64((size_t)(q + k) * size);
    n->worker_scratch = 2 * weights + 2 * RT_ROWS_MAX * rt_align64((size_t)C * size);
    n->scratch = (size_t)((N + BLOCK - 1) / BLOCK) * weights;
    n->kernel = "row loop";
    RT_TRY(rt_infer_out(g, n, 0, n->prec.out, 2, (int64_t[]){N, C}));
    return rt_infer_out(g, n, 1, compute, 2, (int64_t[]){N, a->queries / q + a->keys / k});
}

#define RT_BODY "ops/qk_norm.c"
#include "kernels/for_each_type.h"

static void forward_rows(const rt_call *c, int64_t r0, int64_t r1, int worker) {
    for (RT_HOT_ROWS(r, r0, r1)) RT_BY_TYPE(c, rows, c, r, rt_hot_end(r, r1), worker);
}
static void backward(const rt_call *c) { RT_BY_TYPE(c, back, c); }

const rt_op rt_op_qk_norm = {.name = "qk_norm", .n_in = 3, .n_out = 2, .row_in = RT_IN(X), .diff = RT_IN(X) | RT_IN(WQ) | RT_IN(WK),
                             .overwrites = RT_IN(X), .saves = RT_IN(X) | RT_IN(WQ) | RT_IN(WK) | RT_OUT(1), .infer = infer, .work = rt_work_operands,
                             .forward_rows = forward_rows, .backward = backward};

rt_ref rt_qk_norm(rt_graph *g, rt_ref x, rt_ref wq, rt_ref wk, int64_t queries, int64_t keys, double eps, rt_prec p, const char *role) {
    return rt_graph_add(g, &rt_op_qk_norm, role, p, &(attr){eps, queries, keys}, sizeof(attr), (rt_ref[]){x, wq, wk}, 3, NULL);
}
#else
typedef struct F(sides) { /* the two weights, and the columns of a group of each */
    const T *w[2];
    int64_t width[2], groups[2];
} F(sides);

static F(sides) F(sides_of)(const rt_call *c, char **s) {
    const attr *a = RT_ATTR(attr, c);
    F(sides) f = {.width = {c->in[WQ].dim[0], c->in[WK].dim[0]}};
    f.groups[0] = a->queries / f.width[0], f.groups[1] = a->keys / f.width[1];
    for (int i = 0; i < 2; i++) {
        const rt_tensor *w = &c->in[WQ + i];
        f.w[i] = w->data;
        if (w->dtype == RT_T) continue;
        T *copy = rt_take(s, (size_t)f.width[i] * sizeof(T));
        F(rt_rows_load)(w->dtype, w->data, copy, f.width[i]);
        f.w[i] = copy;
    }
    return f;
}

static void F(rows)(const rt_call *c, int64_t r0, int64_t r1, int worker) {
    char *s = rt_scratch(worker);
    int64_t C = c->in[X].dim[1], n = r1 - r0;
    F(sides) f = F(sides_of)(c, &s);
    const T *x = F(rt_tile_in)(&c->in[X], r0, n, &s);
    T *y = F(rt_tile_out)(&c->out[0], r0, n, &s), *r = rt_row_ptr(&c->out[1], r0);
    for (int64_t i = 0; i < n; i++) {
        const T *from = x + i * C;
        T *to = y + i * C;
        for (int side = 0; side < 2; side++)
            for (int64_t h = 0; h < f.groups[side]; h++, from += f.width[side], to += f.width[side])
                *r++ = F(rt_rows)()->rms(from, f.w[side], (T)RT_ATTR(attr, c)->eps, to, f.width[side]);
        memcpy(to, from, (size_t)(y + (i + 1) * C - to) * sizeof(T));
    }
    F(rt_tile_done)(c, &c->out[0], r0, n, y);
}

static int64_t F(partial_width)(const rt_call *c) {
    return (int64_t)(rt_align64((size_t)(c->in[WQ].dim[0] + c->in[WK].dim[0]) * sizeof(T)) / sizeof(T));
}
/* One row; dw are the block's sums. What is not a query or a key passes its gradient on. */
static void F(back_row)(const F(sides) * f, const T *x, const T *r, const T *dy, T *dx, T *const dw[2], int64_t columns) {
    int64_t at = 0;
    for (int side = 0; side < 2; side++)
        for (int64_t h = 0; h < f->groups[side]; h++, at += f->width[side])
            F(rt_rows)()->rms_backward(x + at, f->w[side], *r++, dy + at, dx ? dx + at : NULL, dw[side], f->width[side]);
    if (dx) F(rt_rows)()->add(dx + at, dy + at, dx + at, columns - at);
}
static void F(back_block)(void *context, int64_t task, int worker) {
    const rt_call *c = context;
    char *s = rt_scratch(worker);
    int64_t C = c->in[X].dim[1], N = c->in[X].dim[0], r0 = task * BLOCK, n = N - r0 < BLOCK ? N - r0 : BLOCK, all = groups(c);
    F(sides) f = F(sides_of)(c, &s);
    const T *x = F(rt_tile_in)(&c->in[X], r0, n, &s), *r = rt_row_ptr(&c->out[1], r0), *dy = rt_row_ptr(&c->dout[0], r0);
    T *dx = c->din[X].data ? rt_row_ptr(&c->din[X], r0) : NULL, *partial = (T *)c->scratch + task * F(partial_width)(c);
    T *dw[2] = {c->din[WQ].data ? partial : NULL, c->din[WK].data ? partial + f.width[0] : NULL};
    memset(partial, 0, (size_t)F(partial_width)(c) * sizeof(T));
    if (dx && rt_is_fresh(c, X)) memset(dx, 0, (size_t)(n * C) * sizeof(T)); /* in the cache for what follows */
    for (int64_t i = 0; i < n; i++) F(back_row)(&f, x + i * C, r + i * all, dy + i * C, dx ? dx + i * C : NULL, dw, C);
}

static void F(back)(const rt_call *c) {
    int64_t blocks = (c->in[X].dim[0] + BLOCK - 1) / BLOCK, q = c->in[WQ].dim[0];
    rt_parallel(blocks, F(back_block), (void *)(uintptr_t)c);
    T *dq = c->din[WQ].data, *dk = c->din[WK].data;
    for (int64_t b = 0; b < blocks; b++) {
        const T *partial = (const T *)c->scratch + b * F(partial_width)(c);
        if (dq) F(rt_rows)()->add(dq, partial, dq, q);
        if (dk) F(rt_rows)()->add(dk, partial + q, dk, c->in[WK].dim[0]);
    }
}
#endif
