/* kernels_attention.c - causal attention (kernels/attention.h), heads of 64 in a fused qkv array, one task a head and window. */
#ifndef T
#include "kernels.h"
#include "kernels/attention.h"
#include <retort/base/threads.h>
#include <retort/tensor/dtype.h>

enum { HEAD = 64 };
typedef struct attention_shape {
    int64_t length, heads; /* heads of all windows together */
} attention_shape;

#define RT_BODY "bench/kernels_attention.c"
#include "kernels/for_each_type.h"

rt_status kernels_attention(kernels *k, rt_error *err) {
    static const attention_shape f32[] = {{256, 64}, {1024, 16}, {4096, 4}, {0, 0}}, f64[] = {{256, 16}, {0, 0}};
    RT_TRY(add_attention_f32(k, f32, err));
    return add_attention_f64(k, f64, err);
}
#else

typedef struct F(attention_case) {
    attention_shape s;
    T *q, *k, *v, *o, *d_o, *dq, *dk, *dv, *lse; /* [heads, length, HEAD]; lse [heads, length] */
    bool backward;
} F(attention_case);

static rt_head_rows F(rows)(T *x) { return (rt_head_rows){x, HEAD, RT_T}; }
static void F(forward_head)(void *context, int64_t head, int worker) {
    const F(attention_case) *c = context;
    int64_t at = head * c->s.length * HEAD;
    F(rt_attention_forward)(&(F(rt_attention_forward_call)){.length = c->s.length, .head_dim = HEAD, .group = 1, .scale = (T)0.125, .q = F(rows)(c->q + at),
                                                            .k = F(rows)(c->k + at), .v = F(rows)(c->v + at), .o = F(rows)(c->o + at),
                                                            .lse = c->lse + head * c->s.length, .ldlse = 1}, rt_scratch(worker));
}
static void F(backward_head)(void *context, int64_t head, int worker) {
    const F(attention_case) *c = context;
    int64_t at = head * c->s.length * HEAD;
    F(rt_attention_backward)(&(F(rt_attention_backward_call)){.length = c->s.length, .head_dim = HEAD, .group = 1, .scale = (T)0.125, .q = F(rows)(c->q + at),
                                                              .k = F(rows)(c->k + at), .v = F(rows)(c->v + at), .o = F(rows)(c->o + at), .d_o = F(rows)(c->d_o + at),
                                                              .lse = c->lse + head * c->s.length, .ldlse = 1, .dq = c->dq + at, .lddq = HEAD, .dk = c->dk + at,
                                                              .dv = c->dv + at, .lddkv = HEAD}, rt_scratch(worker));
}
static rt_status F(run_attention)(void *context, rt_error *err) {
    F(attention_case) *c = context;
    (void)err;
    rt_parallel(c->s.heads, c->backward ? F(backward_head) : F(forward_head), c);
    return RT_OK;
}

static rt_status F(add_attention)(kernels *k, const attention_shape *shapes, rt_error *err) {
    for (const attention_shape *s = shapes; s->length; s++) {
        double flop = 2.0 * HEAD * (double)(s->heads * s->length * (s->length + 1)); /* two products over the causal half */
        int64_t n = s->heads * s->length * HEAD;
        T *in = (T *)k->a, *out = (T *)k->zeros;
        F(attention_case) c = {.s = *s, .q = in, .k = in + n, .v = in + 2 * n, .d_o = in + 3 * n, .o = out, .dq = out + n, .dk = out + 2 * n,
                               .dv = out + 3 * n, .lse = out + 4 * n};
        RT_TRY(rt_scratch_reserve(F(rt_attention_forward_workspace)(s->length, HEAD), err));
        RT_TRY(rt_scratch_reserve(F(rt_attention_backward_workspace)(s->length, HEAD), err));
        for (int backward = 0; backward < 2; backward++) {
            bench_case b = {.flop = flop * (backward ? 2.5 : 1), .limit = RT_T == RT_F64 ? BENCH_PRODUCT_F64 : BENCH_PRODUCT, .run = F(run_attention)};
            c.backward = backward;
            snprintf(b.name, sizeof b.name, "attention.T %d%s %s", (int)s->length, backward ? " backward" : "", sizeof(T) == 8 ? "f64" : "f32");
            RT_TRY(kernels_add(k, b, &c, sizeof c, err));
        }
    }
    return RT_OK;
}
#endif
