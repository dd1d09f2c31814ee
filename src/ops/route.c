/* route: the k highest of E scores a row.   scores [N,E] -> weights [N,k] (compute type), ids i32 [N,k].
 * ids by descending score, ties to the lower id, unique; p = softmax(scores) over all E; weights = p at ids, divided by
 * their sum when renormalise (Mixtral, Qwen3-MoE), else as they are (Qwen2-MoE, OLMoE).
 *
 * A row depends on its own scores alone. Chosen routes are kept, not chosen again, on recomputation. Backward keeps scores,
 * weights and ids; with dw the gradient of the weights:
 *   renormalised (a softmax over the chosen): ds_i = w_i (dw_i - sum_j w_j dw_j) at the chosen ids, 0 elsewhere;
 *   else:                                     ds_e = p_e (dw_e - sum_j w_j dw_j), dw_e = 0 where not chosen.
 * Shazeer et al. 2017 (arXiv 1701.06538), eq. 3-5. */
#ifndef T
#include "ops/common.h"
#include <retort/ops/ops.h>

enum { SCORES_MAX = 1024, BLOCK = 64 };
typedef struct attr {
    int64_t k;
    bool renormalise;
} attr;

static rt_status infer(rt_graph *g, rt_node *n) {
    rt_dtype compute;
    n->prec.weight = RT_NONE;
    RT_TRY(rt_infer_compute(g, n, &compute));
    RT_TRY(rt_infer_dtype(g, n, 0, n->prec.in));
    RT_TRY(rt_infer_shape(g, n, 0, 2, (int64_t[]){-1, -1}));
    char b[48];
    if (n->prec.in != compute || n->prec.out != compute)
        return rt_infer_fail(g, n, RT_E_PREC, "scores and weights are %s, the contract says '%s'", rt_dtype_name(compute), rt_prec_text(n->prec, b));
    int64_t N = rt_infer_in(g, n, 0)->dim[0], E = rt_infer_in(g, n, 0)->dim[1], k = ((const attr *)n->attr)->k;
    if (E > SCORES_MAX) return rt_infer_fail(g, n, RT_E_SHAPE, "%lld experts, at most %d", (long long)E, SCORES_MAX);
    if (k < 1 || k > E) return rt_infer_fail(g, n, RT_E_ARG, "%lld of %lld experts cannot be chosen", (long long)k, (long long)E);
    n->kernel = "row loop";
    RT_TRY(rt_infer_out(g, n, 0, compute, 2, (int64_t[]){N, k}));
    return rt_infer_out(g, n, 1, RT_I32, 2, (int64_t[]){N, k});
}

#define RT_BODY "ops/route.c"
#include "kernels/for_each_type.h"

static void forward_rows(const rt_call *c, int64_t r0, int64_t r1, int worker) {
    (void)worker;
    RT_BY_TYPE(c, rows, c, r0, r1);
}
static void backward(const rt_call *c) {
    rt_parallel((c->in[0].dim[0] + BLOCK - 1) / BLOCK, c->node->prec.acc == RT_F64 ? back_f64 : back_f32, (void *)(uintptr_t)c);
}

const rt_op rt_op_route = {.name = "route", .n_in = 1, .n_out = 2, .row_in = RT_IN(0), .diff = RT_IN(0),
                           .saves = RT_IN(0) | RT_OUT(0) | RT_OUT(1), .flags = RT_OP_KEEP, .infer = infer, .work = rt_work_operands,
                           .forward_rows = forward_rows, .backward = backward};

rt_routing rt_route(rt_graph *g, rt_ref scores, int64_t k, bool renormalise, rt_prec p, const char *role) {
    rt_ref out[2];
    rt_graph_add(g, &rt_op_route, role, p, &(attr){k, renormalise}, sizeof(attr), &scores, 1, out);
    return (rt_routing){.weights = out[0], .ids = out[1]};
}
#else
/* Insertion into a list of k kept in order: an equal score stays behind the lower id that came first. */
static void F(choose)(const T *score, int64_t E, int64_t k, int32_t *id) {
    int64_t n = 0;
    for (int64_t e = 0; e < E; e++) {
        if (n == k && !(score[e] > score[id[k - 1]])) continue;
        int64_t i = n < k ? n++ : k - 1;
        for (; i > 0 && score[e] > score[id[i - 1]]; i--) id[i] = id[i - 1];
        id[i] = (int32_t)e;
    }
}
static void F(rows)(const rt_call *c, int64_t r0, int64_t r1) {
    int64_t E = c->in[0].dim[1], k = c->out[0].dim[1];
    T p[SCORES_MAX];
    for (int64_t r = r0; r < r1; r++) {
        const T *score = rt_row_ptr(&c->in[0], r);
        T *w = rt_row_ptr(&c->out[0], r);
        double sum = 0;
        int32_t *id = rt_row_ptr(&c->out[1], r);
        F(choose)(score, E, k, id);
        F(rt_rows)()->softmax(score, p, E);
        for (int64_t i = 0; i < k; i++) w[i] = p[id[i]], sum += (double)w[i];
        for (int64_t i = 0; i < k && RT_ATTR(attr, c)->renormalise; i++) w[i] = (T)((double)w[i] / sum);
    }
}
static void F(back_row)(const T *score, const T *w, const int32_t *id, const T *dw, int64_t E, int64_t k, bool renormalised, T *ds) {
    T p[SCORES_MAX];
    double sum = 0;
    for (int64_t i = 0; i < k; i++) sum += (double)w[i] * (double)dw[i];
    T mean = (T)sum;
    for (int64_t i = 0; i < k; i++) ds[id[i]] += w[i] * (renormalised ? dw[i] - mean : dw[i]);
    if (renormalised) return;
    F(rt_rows)()->softmax(score, p, E);
    F(rt_rows)()->axpy(-mean, p, ds, E);
}
static void F(back)(void *context, int64_t task, int worker) {
    (void)worker;
    const rt_call *c = context;
    int64_t N = c->in[0].dim[0], E = c->in[0].dim[1], k = c->out[0].dim[1];
    for (int64_t r = task * BLOCK; r < N && r < (task + 1) * BLOCK; r++)
        F(back_row)(rt_row_ptr(&c->in[0], r), rt_row_ptr(&c->out[0], r), rt_row_ptr(&c->out[1], r), rt_row_ptr(&c->dout[0], r), E, k,
                    RT_ATTR(attr, c)->renormalise, rt_row_ptr(&c->din[0], r));
}
#endif
