/* scores.c - checks that the losses on router scores share. */
#include "ops/scores.h"

rt_status rt_infer_scores(rt_graph *g, rt_node *n, int scores, int valid) {
    rt_dtype compute;
    n->prec.weight = RT_NONE;
    RT_TRY(rt_infer_compute(g, n, &compute));
    char b[48];
    if (n->prec.in != compute)
        return rt_infer_fail(g, n, RT_E_PREC, "scores are %s, the contract says '%s'", rt_dtype_name(compute), rt_prec_text(n->prec, b));
    RT_TRY(rt_infer_dtype(g, n, scores, compute));
    RT_TRY(rt_infer_shape(g, n, scores, 2, (int64_t[]){-1, -1}));
    RT_TRY(rt_infer_dtype(g, n, valid, RT_I32));
    n->kernel = "row loop";
    return rt_infer_shape(g, n, valid, 1, rt_infer_in(g, n, scores)->dim);
}

int64_t rt_count_valid(const rt_tensor *valid) {
    int64_t count = 0;
    for (int64_t i = 0; i < valid->dim[0]; i++) count += rt_is_valid(valid, i);
    return count;
}
