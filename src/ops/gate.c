/* gate: y = s z with s = sigmoid(w x), one number a row.   x [N,K], w [1,K], z [N,D] -> y [N,D], s [N] (compute type).
 * One rounding, to `out`; the score itself is never rounded. Backward keeps x, w, z and s:
 * dz = s dy;  dt = (dy . z) s (1 - s);  dx = dt w;  dw = sum_n dt x, in fixed blocks of 64 rows summed in order. */
#ifndef T
#include "ops/common.h"
#include <math.h>
#include <retort/ops/ops.h>
#include <string.h>

enum { X, W, Z };
enum { BLOCK = 64 };

static rt_status infer(rt_graph *g, rt_node *n) {
    rt_dtype compute;
    RT_TRY(rt_infer_compute(g, n, &compute));
    RT_TRY(rt_infer_dtype(g, n, X, n->prec.in));
    RT_TRY(rt_infer_dtype(g, n, W, n->prec.weight));
    RT_TRY(rt_infer_dtype(g, n, Z, n->prec.out));
    RT_TRY(rt_infer_shape(g, n, X, 2, (int64_t[]){-1, -1}));
    int64_t N = rt_infer_in(g, n, X)->dim[0], K = rt_infer_in(g, n, X)->dim[1];
    RT_TRY(rt_infer_shape(g, n, W, 2, (int64_t[]){1, K}));
    RT_TRY(rt_infer_shape(g, n, Z, 2, (int64_t[]){N, -1}));
    int64_t D = rt_infer_in(g, n, Z)->dim[1];
    size_t size = rt_compute_size(n), weight = rt_align64((size_t)K * size), row = rt_align64((size_t)D * size);
    n->worker_scratch = weight + RT_ROWS_MAX * (weight + 2 * row);
    n->scratch = (size_t)((N + BLOCK - 1) / BLOCK) * weight;
    n->kernel = "row loop";
    RT_TRY(rt_infer_out(g, n, 0, n->prec.out, 2, (int64_t[]){N, D}));
    return rt_infer_out(g, n, 1, compute, 1, (int64_t[]){N});
}

#define RT_BODY "ops/gate.c"
#include "kernels/for_each_type.h"

static void forward_rows(const rt_call *c, int64_t r0, int64_t r1, int worker) {
    for (RT_HOT_ROWS(r, r0, r1)) RT_BY_TYPE(c, rows, c, r, rt_hot_end(r, r1), worker);
}
static void backward(const rt_call *c) { RT_BY_TYPE(c, back, c); }

/* w x, a product of one column; dx += ds w, dw += ds x. */
static void work(const rt_graph *g, const rt_node *n, rt_work *forward, rt_work *backward) {
    double product = 2 * (double)rt_tensor_count(rt_infer_in(g, n, X));
    rt_work_operands(g, n, forward, backward);
    forward->flops = product;
    backward->flops = product * (rt_work_wants(g, n, X) + rt_work_wants(g, n, W));
}

const rt_op rt_op_gate = {.name = "gate", .n_in = 3, .n_out = 2, .row_in = RT_IN(X) | RT_IN(Z), .diff = RT_IN(X) | RT_IN(W) | RT_IN(Z),
                          .overwrites = RT_IN(X) | RT_IN(Z), .saves = RT_IN(X) | RT_IN(W) | RT_IN(Z) | RT_OUT(1), .infer = infer, .work = work,
                          .forward_rows = forward_rows, .backward = backward};

rt_ref rt_gate(rt_graph *g, rt_ref x, rt_ref w, rt_ref z, rt_prec p, const char *role) {
    return rt_graph_add(g, &rt_op_gate, role, p, NULL, 0, (rt_ref[]){x, w, z}, 3, NULL);
}
#else
static const T *F(weight)(const rt_call *c, char **s) {
    int64_t K = c->in[W].dim[1];
    if (c->in[W].dtype == RT_T) return c->in[W].data;
    T *w = rt_take(s, (size_t)K * sizeof(T));
    F(rt_rows_load)(c->in[W].dtype, c->in[W].data, w, K);
    return w;
}

static void F(rows)(const rt_call *c, int64_t r0, int64_t r1, int worker) {
    char *scratch = rt_scratch(worker);
    int64_t K = c->in[X].dim[1], D = c->in[Z].dim[1], n = r1 - r0;
    const T *w = F(weight)(c, &scratch), *x = F(rt_tile_in)(&c->in[X], r0, n, &scratch), *z = F(rt_tile_in)(&c->in[Z], r0, n, &scratch);
    T *y = F(rt_tile_out)(&c->out[0], r0, n, &scratch), *s = rt_row_ptr(&c->out[1], r0);
    for (int64_t i = 0; i < n; i++) {
        s[i] = (T)(1 / (1 + exp(-(double)F(rt_rows)()->dot(w, x + i * K, K))));
        F(rt_rows)()->scale(s[i], z + i * D, y + i * D, D);
    }
    F(rt_tile_done)(c, &c->out[0], r0, n, y);
}

static T *F(partial)(const rt_call *c, int64_t block) {
    return (T *)c->scratch + block * (int64_t)(rt_align64((size_t)c->in[X].dim[1] * sizeof(T)) / sizeof(T));
}
static void F(back_block)(void *context, int64_t task, int worker) {
    const rt_call *c = context;
    char *scratch = rt_scratch(worker);
    int64_t K = c->in[X].dim[1], D = c->in[Z].dim[1], N = c->in[X].dim[0], r0 = task * BLOCK, n = N - r0 < BLOCK ? N - r0 : BLOCK;
    const T *w = F(weight)(c, &scratch), *x = F(rt_tile_in)(&c->in[X], r0, n, &scratch), *z = F(rt_tile_in)(&c->in[Z], r0, n, &scratch);
    const T *dy = rt_row_ptr(&c->dout[0], r0), *s = rt_row_ptr(&c->out[1], r0);
    T *dx = c->din[X].data ? rt_row_ptr(&c->din[X], r0) : NULL, *dz = c->din[Z].data ? rt_row_ptr(&c->din[Z], r0) : NULL;
    T *dw = c->din[W].data ? F(partial)(c, task) : NULL;
    if (dw) memset(dw, 0, (size_t)K * sizeof(T));
    if (dx && rt_is_fresh(c, X)) memset(dx, 0, (size_t)(n * K) * sizeof(T));
    if (dz && rt_is_fresh(c, Z)) memset(dz, 0, (size_t)(n * D) * sizeof(T));
    for (int64_t i = 0; i < n; i++) {
        T dt = F(rt_rows)()->dot(dy + i * D, z + i * D, D) * s[i] * (1 - s[i]);
        if (dz) F(rt_rows)()->axpy(s[i], dy + i * D, dz + i * D, D);
        if (dx) F(rt_rows)()->axpy(dt, w, dx + i * K, K);
        if (dw) F(rt_rows)()->axpy(dt, x + i * K, dw, K);
    }
}

static void F(back)(const rt_call *c) {
    int64_t K = c->in[X].dim[1], blocks = (c->in[X].dim[0] + BLOCK - 1) / BLOCK;
    rt_parallel(blocks, F(back_block), (void *)(uintptr_t)c);
    T *dw = c->din[W].data;
    for (int64_t b = 0; dw && b < blocks; b++) F(rt_rows)()->add(dw, F(partial)(c, b), dw, K);
}
#endif
