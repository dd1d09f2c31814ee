/* rmsnorm: y = x r w with r = 1/sqrt(mean(x^2) + eps), row by row.   x [N,D], w [D] -> y [N,D], r [N] (compute type).
 * One rounding, to `out`. Backward keeps x and r:
 * dx = r w dy - x r^3/D sum(w dy x);  dw = sum_n dy x r, in fixed blocks of 64 rows summed in order.
 * Zhang & Sennrich 2019, eq. 4. */
#ifndef T
#include "ops/common.h"
#include <retort/ops/ops.h>
#include <string.h>

enum { BLOCK = 64 };
typedef struct attr {
    double eps;
} attr;

static rt_status infer(rt_graph *g, rt_node *n) {
    rt_dtype compute;
    RT_TRY(rt_infer_compute(g, n, &compute));
    RT_TRY(rt_infer_dtype(g, n, 0, n->prec.in));
    RT_TRY(rt_infer_dtype(g, n, 1, n->prec.weight));
    RT_TRY(rt_infer_shape(g, n, 0, 2, (int64_t[]){-1, -1}));
    int64_t N = rt_infer_in(g, n, 0)->dim[0], D = rt_infer_in(g, n, 0)->dim[1];
    RT_TRY(rt_infer_shape(g, n, 1, 1, (int64_t[]){D}));
    size_t row = rt_align64((size_t)D * rt_compute_size(n));
    n->worker_scratch = row + 2 * BLOCK * row; /* forward goes by fewer rows */
    n->scratch = (size_t)((N + BLOCK - 1) / BLOCK) * row;
    n->kernel = "row loop";
    RT_TRY(rt_infer_out(g, n, 0, n->prec.out, 2, (int64_t[]){N, D}));
    return rt_infer_out(g, n, 1, compute, 1, (int64_t[]){N});
}

#define RT_BODY "ops/rmsnorm.c"
#include "kernels/for_each_type.h"

static void forward_rows(const rt_call *c, int64_t r0, int64_t r1, int worker) {
    for (RT_HOT_ROWS(r, r0, r1)) RT_BY_TYPE(c, rows, c, r, rt_hot_end(r, r1), worker);
}
static void backward(const rt_call *c) { RT_BY_TYPE(c, back, c); }

const rt_op rt_op_rmsnorm = {.name = "rmsnorm", .n_in = 2, .n_out = 2, .row_in = RT_IN(0), .diff = RT_IN(0) | RT_IN(1), .overwrites = RT_IN(0),
                             .flags = RT_OP_CHEAP, .saves = RT_IN(0) | RT_IN(1) | RT_OUT(1), .infer = infer, .work = rt_work_operands,
                             .forward_rows = forward_rows, .backward = backward};

rt_ref rt_rmsnorm(rt_graph *g, rt_ref x, rt_ref w, double eps, rt_prec p, const char *role) {
    return rt_graph_add(g, &rt_op_rmsnorm, role, p, &(attr){eps}, sizeof(attr), (rt_ref[]){x, w}, 2, NULL);
}
#else
static const T *F(weight)(const rt_call *c, char **s) {
    int64_t D = c->in[1].dim[0];
    if (c->in[1].dtype == RT_T) return c->in[1].data;
    T *w = rt_take(s, (size_t)D * sizeof(T));
    F(rt_rows_load)(c->in[1].dtype, c->in[1].data, w, D);
    return w;
}

static void F(rows)(const rt_call *c, int64_t r0, int64_t r1, int worker) {
    char *s = rt_scratch(worker);
    int64_t D = c->in[0].dim[1], n = r1 - r0;
    const T *w = F(weight)(c, &s), *x = F(rt_tile_in)(&c->in[0], r0, n, &s);
    T *y = F(rt_tile_out)(&c->out[0], r0, n, &s), *r = rt_row_ptr(&c->out[1], r0);
    for (int64_t i = 0; i < n; i++) r[i] = F(rt_rows)()->rms(x + i * D, w, (T)RT_ATTR(attr, c)->eps, y + i * D, D);
    F(rt_tile_done)(c, &c->out[0], r0, n, y);
}

static void F(back_block)(void *context, int64_t task, int worker) {
    const rt_call *c = context;
    char *s = rt_scratch(worker);
    int64_t D = c->in[0].dim[1], N = c->in[0].dim[0], r0 = task * BLOCK, n = N - r0 < BLOCK ? N - r0 : BLOCK;
    const T *w = F(weight)(c, &s), *x = F(rt_tile_in)(&c->in[0], r0, n, &s), *r = c->out[1].data, *dy = c->dout[0].data;
    T *dx = c->din[0].data, *dw = c->din[1].data ? (T *)c->scratch + task * (int64_t)(rt_align64((size_t)D * sizeof(T)) / sizeof(T)) : NULL;
    if (dw) memset(dw, 0, (size_t)D * sizeof(T));
    if (dx && rt_is_fresh(c, 0)) memset(dx + r0 * D, 0, (size_t)(n * D) * sizeof(T)); /* in the cache for what follows */
    for (int64_t i = 0; i < n; i++)
        F(rt_rows)()->rms_backward(x + i * D, w, r[r0 + i], dy + (r0 + i) * D, dx ? dx + (r0 + i) * D : NULL, dw, D);
}

static void F(back)(const rt_call *c) {
    int64_t D = c->in[0].dim[1], blocks = (c->in[0].dim[0] + BLOCK - 1) / BLOCK;
    rt_parallel(blocks, F(back_block), (void *)(uintptr_t)c);
    T *dw = c->din[1].data;
    const T *partial = c->scratch;
    for (int64_t b = 0; dw && b < blocks; b++) F(rt_rows)()->add(dw, partial + b * (int64_t)(rt_align64((size_t)D * sizeof(T)) / sizeof(T)), dw, D);
}
#endif
