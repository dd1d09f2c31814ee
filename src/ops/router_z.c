/* router_z: mean over valid rows of logsumexp(scores)^2.   scores [N,E], valid i32 [N] -> f64 [1]; 0 without a valid row.
 * d/ds = 2 lse p / count, p = softmax(scores), which backward makes again from the scores it keeps. Row values in the
 * compute type, sums in f64 over fixed blocks of rows.   Zoph et al. 2022 (ST-MoE, arXiv 2202.08906), eq. 5. */
#ifndef T
#include "ops/common.h"
#include "ops/scores.h"
#include <retort/ops/ops.h>

static rt_status infer(rt_graph *g, rt_node *n) {
    RT_TRY(rt_infer_scores(g, n, 0, 1));
    const rt_tensor *s = rt_infer_in(g, n, 0);
    n->scratch = (size_t)rt_score_blocks(s) * sizeof(double);
    n->worker_scratch = (size_t)s->dim[1] * rt_compute_size(n);
    return rt_infer_out(g, n, 0, RT_F64, 1, (int64_t[]){1});
}

#define RT_BODY "ops/router_z.c"
#include "kernels/for_each_type.h"

static void forward(const rt_call *c) {
    int64_t blocks = rt_score_blocks(&c->in[0]), count = rt_count_valid(&c->in[1]);
    rt_parallel(blocks, c->node->prec.acc == RT_F64 ? block_f64 : block_f32, (void *)(uintptr_t)c);
    double sum = 0;
    for (int64_t b = 0; b < blocks; b++) sum += ((const double *)c->scratch)[b];
    *(double *)c->out[0].data = count ? sum / (double)count : 0;
}
static void backward(const rt_call *c) {
    rt_parallel(rt_score_blocks(&c->in[0]), c->node->prec.acc == RT_F64 ? back_f64 : back_f32, (void *)(uintptr_t)c);
}

const rt_op rt_op_router_z = {.name = "router_z", .n_in = 2, .n_out = 1, .diff = RT_IN(0), .saves = RT_IN(0) | RT_IN(1),
                              .infer = infer, .work = rt_work_operands, .forward = forward, .backward = backward};

rt_ref rt_router_z(rt_graph *g, rt_ref scores, rt_ref valid, rt_prec p, const char *role) {
    return rt_graph_add(g, &rt_op_router_z, role, p, NULL, 0, (rt_ref[]){scores, valid}, 2, NULL);
}
#else
static void F(block)(void *context, int64_t b, int worker) {
    (void)worker;
    const rt_call *c = context;
    rt_span rows = rt_score_block(&c->in[0], b);
    double sum = 0;
    for (int64_t r = rows.from; r < rows.to; r++) {
        if (!rt_is_valid(&c->in[1], r)) continue;
        double lse = (double)F(rt_rows)()->logsumexp(rt_row_ptr(&c->in[0], r), c->in[0].dim[1]);
        sum += lse * lse;
    }
    ((double *)c->scratch)[b] = sum;
}
static void F(back)(void *context, int64_t b, int worker) {
    const rt_call *c = context;
    rt_span rows = rt_score_block(&c->in[0], b);
    int64_t E = c->in[0].dim[1], count = rt_count_valid(&c->in[1]);
    T *p = rt_scratch(worker), factor = count ? (T)(2 * *(const double *)c->dout[0].data / (double)count) : 0;
    for (int64_t r = rows.from; r < rows.to; r++) {
        if (!rt_is_valid(&c->in[1], r)) continue;
        T lse = F(rt_rows)()->softmax(rt_row_ptr(&c->in[0], r), p, E);
        F(rt_rows)()->axpy(factor * lse, p, rt_row_ptr(&c->din[0], r), E);
    }
}
#endif
