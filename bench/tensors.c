/* tensors.c - see tensors.h. */
#include "tensors.h"
#include <retort/base/rng.h>
#include <retort/graph/op.h>

rt_tensor bench_tensor(rt_dtype t, int ndim, const int64_t *dim, double scale) {
    rt_tensor x = rt_tensor_make(t, ndim, dim, NULL);
    x.data = rt_zalloc(rt_tensor_bytes(&x));
    rt_rng r = rt_rng_make(1, "bench", (uint64_t)ndim);
    for (int64_t i = 0; x.data && scale > 0 && i < rt_tensor_count(&x); i++) {
        double v = scale * (2 * rt_rng_uniform(r, (uint64_t)i) - 1);
        if (t == RT_F64) ((double *)x.data)[i] = v;
        if (t == RT_F32) ((float *)x.data)[i] = (float)v;
        if (t == RT_F16) ((rt_f16 *)x.data)[i] = rt_f32_to_f16((float)v);
        if (t == RT_BF16) ((rt_bf16 *)x.data)[i] = rt_f32_to_bf16((float)v);
    }
    return x;
}
rt_status bench_filled(const rt_tensor *t, int n, rt_error *err) {
    for (int i = 0; i < n; i++)
        if (!t[i].data) return rt_fail(err, RT_E_NOMEM, "out of memory: tensors of a bench");
    return RT_OK;
}

static rt_status ones_infer(rt_graph *g, rt_node *n) { return rt_infer_out(g, n, 0, RT_F64, 1, (int64_t[]){1}); }
static void ones_forward(const rt_call *c) { *(double *)c->out[0].data = 0; }
static void ones_backward(const rt_call *c) {
    bool f64 = c->din[0].dtype == RT_F64;
    for (int64_t i = 0; i < rt_tensor_count(&c->din[0]); i++)
        if (f64) ((double *)c->din[0].data)[i] += 0.01;
        else ((float *)c->din[0].data)[i] += 0.01f;
}
static const rt_op ones = {.name = "ones", .n_in = 1, .n_out = 1, .diff = RT_IN(0), .infer = ones_infer, .forward = ones_forward, .backward = ones_backward};

void bench_loss(rt_graph *g, rt_ref x, const double *gain) {
    rt_graph_loss(g, rt_graph_add(g, &ones, "ones", rt_prec_uniform(RT_F64), NULL, 0, &x, 1, NULL), gain);
}
