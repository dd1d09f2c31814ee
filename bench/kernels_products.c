/* kernels_products.c - products of layers (kernels/matmul.h) at R1's sizes: 2048 rows. */
#ifndef T
#include "kernels.h"
#include "kernels/matmul.h"
#include <retort/base/threads.h>
#include <retort/tensor/dtype.h>

typedef struct product_shape {
    const char *name;
    bool weights; /* dW = dy^T x; else y = x P */
    int64_t N, K;
} product_shape;
static const product_shape r1_shapes[] = {
    {"teacher qkv", false, 1536, 512}, {"teacher attn_out", false, 512, 512}, {"teacher gate_up", false, 2816, 512}, {"teacher down", false, 512, 1408},
    {"student qkv", false, 512, 256},  {"student qkv dX", false, 256, 512},   {"student qkv dW", true, 512, 256},     {"student attn_out", false, 256, 256},
    {"student attn_out dW", true, 256, 256}, {"head", false, 8192, 256},      {"head dW", true, 8192, 256},          {NULL, false, 0, 0}};
static const product_shape f64_shapes[] = {{"student qkv", false, 512, 256}, {"student qkv dW", true, 512, 256}, {NULL, false, 0, 0}};
enum { ROWS = 2048 };

#define RT_BODY "bench/kernels_products.c"
#include "kernels/for_each_type.h"

rt_status kernels_products(kernels *k, rt_error *err) {
    RT_TRY(add_products_f32(k, r1_shapes, err));
    return add_products_f64(k, f64_shapes, err);
}
#else

typedef struct F(product_case) {
    F(rt_product) p;
    bool weights;
} F(product_case);

static rt_status F(run_product)(void *context, rt_error *err) {
    const F(product_case) *c = context;
    (void)err;
    if (c->weights) F(rt_weights_product)(&c->p);
    else F(rt_rows_product)(&c->p);
    return RT_OK;
}

static rt_status F(add_products)(kernels *k, const product_shape *shapes, rt_error *err) {
    for (const product_shape *s = shapes; s->name; s++) {
        int64_t ldw = s->weights ? s->N : rt_panel_ld(s->N), ldy = s->weights ? s->K : s->N;
        F(product_case) c = {.weights = s->weights};
        c.p = (F(rt_product)){.M = ROWS, .N = s->N, .K = s->K, .x = (T *)k->a, .ldx = s->K, .w = (T *)k->c, .ldw = ldw, .y = (T *)k->d, .ldy = ldy};
        bench_case b = {.flop = 2.0 * ROWS * (double)(s->N * s->K), .limit = RT_T == RT_F64 ? BENCH_PRODUCT_F64 : BENCH_PRODUCT, .run = F(run_product)};
        snprintf(b.name, sizeof b.name, "product.%s %s", s->name, sizeof(T) == 8 ? "f64" : "f32");
        RT_TRY(rt_scratch_reserve(F(rt_rows_scratch)(s->K), err));
        RT_TRY(kernels_add(k, b, &c, sizeof c, err));
    }
    return RT_OK;
}
#endif
