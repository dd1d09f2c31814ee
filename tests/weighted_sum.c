/* weighted_sum.c - an operation of the tests alone: sum_i w[i] x[i] in f64;  dx = w. */
#include "weighted_sum.h"
#include "harness.h"
#include <retort/graph/op.h>

static rt_status infer(rt_graph *g, rt_node *n) { return rt_infer_out(g, n, 0, RT_F64, 1, (int64_t[]){1}); }

static void forward(const rt_call *c) {
    double sum = 0;
    for (int64_t i = 0; i < rt_tensor_count(&c->in[0]); i++) sum += rt_get(&c->in[0], i) * rt_get(&c->in[1], i);
    *(double *)c->out[0].data = sum;
}
static void backward(const rt_call *c) {
    rt_tensor dx = c->din[0];
    double gain = *(double *)c->dout[0].data;
    for (int64_t i = 0; i < rt_tensor_count(&dx); i++) rt_put(&dx, i, rt_get(&dx, i) + gain * rt_get(&c->in[1], i));
}
static const rt_op op = {.name = "weighted_sum", .n_in = 2, .n_out = 1, .diff = RT_IN(0), .saves = RT_IN(1),
                         .infer = infer, .forward = forward, .backward = backward};

rt_ref rt_weighted_sum(rt_graph *g, rt_ref x, rt_ref w) {
    return rt_graph_add(g, &op, "loss", rt_prec_uniform(RT_F64), NULL, 0, (rt_ref[]){x, w}, 2, NULL);
}
