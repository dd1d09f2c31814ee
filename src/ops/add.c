/* add: y = round_out(a + b).   a, b [N,D] of dtype `in` -> y [N,D]. da += dy, db += dy; backward keeps nothing. */
#ifndef T
#include "ops/common.h"
#include <retort/ops/ops.h>

static rt_status infer(rt_graph *g, rt_node *n) {
    rt_dtype compute;
    n->prec.weight = RT_NONE;
    RT_TRY(rt_infer_compute(g, n, &compute));
    RT_TRY(rt_infer_dtype(g, n, 0, n->prec.in));
    RT_TRY(rt_infer_dtype(g, n, 1, n->prec.in));
    const rt_tensor *a = rt_infer_in(g, n, 0);
    RT_TRY(rt_infer_shape(g, n, 0, 2, (int64_t[]){-1, -1}));
    RT_TRY(rt_infer_shape(g, n, 1, 2, a->dim));
    n->worker_scratch = 3 * rt_align64((size_t)(RT_ROWS_MAX * a->dim[1]) * rt_compute_size(n));
    n->kernel = "row loop";
    return rt_infer_out(g, n, 0, n->prec.out, 2, a->dim);
}

#define RT_BODY "ops/add.c"
#include "kernels/for_each_type.h"

static void forward_rows(const rt_call *c, int64_t r0, int64_t r1, int worker) {
    for (RT_HOT_ROWS(r, r0, r1)) RT_BY_TYPE(c, rows, c, r, rt_hot_end(r, r1), worker);
}
static void backward(const rt_call *c) {
    for (int k = 0; k < 2; k++)
        if (c->din[k].data) rt_add_gradient(c, k, &c->dout[0]);
}

const rt_op rt_op_add = {.name = "add", .n_in = 2, .n_out = 1, .row_in = RT_IN(0) | RT_IN(1), .diff = RT_IN(0) | RT_IN(1), .overwrites = RT_IN(0) | RT_IN(1),
                         .infer = infer, .work = rt_work_operands, .forward_rows = forward_rows, .backward = backward};

rt_ref rt_add(rt_graph *g, rt_ref a, rt_ref b, rt_prec p, const char *role) {
    return rt_graph_add(g, &rt_op_add, role, p, NULL, 0, (rt_ref[]){a, b}, 2, NULL);
}
#else
static void F(rows)(const rt_call *c, int64_t r0, int64_t r1, int worker) {
    char *s = rt_scratch(worker);
    int64_t n = r1 - r0;
    const T *a = F(rt_tile_in)(&c->in[0], r0, n, &s), *b = F(rt_tile_in)(&c->in[1], r0, n, &s);
    T *y = F(rt_tile_out)(&c->out[0], r0, n, &s);
    F(rt_rows)()->add(a, b, y, n * c->out[0].dim[1]);
    F(rt_tile_done)(c, &c->out[0], r0, n, y);
}
#endif
