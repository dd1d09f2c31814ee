/* balance: E sum_e f_e P_e over valid rows, f_e = count_e / (n k), P_e = mean softmax(scores)_e; 1 when uniform.
 *   scores [N,E], ids i32 [N,k], valid i32 [N] -> f64 [1], and c [E] f64 with c_e = E f_e / n, so that the value is
 *   sum_e c_e sum_n p_ne. No valid row: 0.
 *
 * f is a constant in backward (it is a count): ds = dy p (c - sum_e c_e p_e); backward keeps the scores and c. Counts are
 * int64; probabilities are summed in f64 over fixed blocks of rows.   Fedus et al. 2021 (Switch, arXiv 2101.03961), eq. 4-6. */
#ifndef T
#include "ops/common.h"
#include "ops/scores.h"
#include <retort/ops/ops.h>
#include <string.h>

static size_t counts_bytes(int64_t E) { return rt_align64((size_t)E * sizeof(int64_t)); }
static rt_status infer(rt_graph *g, rt_node *n) {
    RT_TRY(rt_infer_scores(g, n, 0, 2));
    const rt_tensor *s = rt_infer_in(g, n, 0);
    RT_TRY(rt_infer_dtype(g, n, 1, RT_I32));
    RT_TRY(rt_infer_shape(g, n, 1, 2, (int64_t[]){s->dim[0], -1}));
    n->scratch = counts_bytes(s->dim[1]) + (size_t)(rt_score_blocks(s) * s->dim[1]) * sizeof(double);
    n->worker_scratch = (size_t)s->dim[1] * rt_compute_size(n);
    int64_t E = s->dim[1]; /* s moves when an output is added */
    RT_TRY(rt_infer_out(g, n, 0, RT_F64, 1, (int64_t[]){1}));
    return rt_infer_out(g, n, 1, RT_F64, 1, &E);
}

static double *block_sums(const rt_call *c, int64_t b) {
    int64_t E = c->in[0].dim[1];
    return (double *)((char *)c->scratch + counts_bytes(E)) + b * E;
}
/* c_e. False when an id is outside. */
static bool coefficients(const rt_call *c) {
    int64_t N = c->in[0].dim[0], E = c->in[0].dim[1], k = c->in[1].dim[1], n = rt_count_valid(&c->in[2]), *count = c->scratch;
    const int32_t *id = c->in[1].data;
    memset(count, 0, (size_t)E * sizeof *count);
    for (int64_t i = 0; i < N * k; i++) {
        if (id[i] < 0 || id[i] >= E) return false;
        count[id[i]] += rt_is_valid(&c->in[2], i / k);
    }
    double *out = c->out[1].data, dn = (double)n;
    for (int64_t e = 0; e < E; e++) out[e] = n ? (double)E * ((double)count[e] / (dn * (double)k)) / dn : 0;
    return true;
}

#define RT_BODY "ops/balance.c"
#include "kernels/for_each_type.h"

static void forward(const rt_call *c) {
    int64_t E = c->in[0].dim[1], blocks = rt_score_blocks(&c->in[0]);
    if (!coefficients(c)) {
        rt_call_fail(c, RT_E_INPUT, "an expert id is outside 0..%lld", (long long)E - 1);
        return;
    }
    rt_parallel(blocks, c->node->prec.acc == RT_F64 ? block_f64 : block_f32, (void *)(uintptr_t)c);
    double *sum = block_sums(c, 0);
    for (int64_t b = 1; b < blocks; b++) rt_rows_f64()->add(sum, block_sums(c, b), sum, E);
    *(double *)c->out[0].data = rt_rows_f64()->dot(c->out[1].data, sum, E);
}
static void backward(const rt_call *c) {
    rt_parallel(rt_score_blocks(&c->in[0]), c->node->prec.acc == RT_F64 ? back_f64 : back_f32, (void *)(uintptr_t)c);
}

const rt_op rt_op_balance = {.name = "balance", .n_in = 3, .n_out = 2, .diff = RT_IN(0), .saves = RT_IN(0) | RT_IN(2) | RT_OUT(1),
                             .infer = infer, .work = rt_work_operands, .forward = forward, .backward = backward};

rt_ref rt_balance(rt_graph *g, rt_ref scores, rt_ref ids, rt_ref valid, rt_prec p, const char *role) {
    return rt_graph_add(g, &rt_op_balance, role, p, NULL, 0, (rt_ref[]){scores, ids, valid}, 3, NULL);
}
#else
static void F(block)(void *context, int64_t b, int worker) {
    const rt_call *c = context;
    rt_span rows = rt_score_block(&c->in[0], b);
    int64_t E = c->in[0].dim[1];
    T *p = rt_scratch(worker);
    double *sum = block_sums(c, b);
    memset(sum, 0, (size_t)E * sizeof *sum);
    for (int64_t r = rows.from; r < rows.to; r++) {
        if (!rt_is_valid(&c->in[2], r)) continue;
        F(rt_rows)()->softmax(rt_row_ptr(&c->in[0], r), p, E);
        for (int64_t e = 0; e < E; e++) sum[e] += (double)p[e];
    }
}
static void F(back)(void *context, int64_t b, int worker) {
    const rt_call *c = context;
    rt_span rows = rt_score_block(&c->in[0], b);
    int64_t E = c->in[0].dim[1];
    T *p = rt_scratch(worker);
    const double *coefficient = c->out[1].data, dy = *(const double *)c->dout[0].data;
    for (int64_t r = rows.from; r < rows.to; r++) {
        if (!rt_is_valid(&c->in[2], r)) continue;
        F(rt_rows)()->softmax(rt_row_ptr(&c->in[0], r), p, E);
        double mean = 0;
        for (int64_t e = 0; e < E; e++) mean += coefficient[e] * (double)p[e];
        T *ds = rt_row_ptr(&c->din[0], r);
        for (int64_t e = 0; e < E; e++) ds[e] += (T)(dy * (double)p[e] * (coefficient[e] - mean));
    }
}
#endif
