/* kernels.h - the list that bench_kernels runs: one file a family of kernels, each adds its cases. */
#ifndef BENCH_KERNELS_H
#define BENCH_KERNELS_H
#include "harness.h"
#include <retort/base/mem.h>

enum { KERNELS_POOL = 5, KERNELS_POOL_BYTES = 64 << 20 };
typedef struct kernels {
    bench *b;
    bench_case cases[BENCH_CASES_MAX];
    int count;
    rt_arena contexts;
    /* What kernels work on, larger than the caches: values in [-1, 1] (as f64 finite and small); zeros; halves in [-1, 1] (bits of
     * f16, as bf16 finite). Outputs may be `c`, `d` and the first half of `zeros`; cases overwrite each other's. */
    union {
        struct {
            float *a, *c, *d, *zeros;
            uint16_t *half;
        };
        void *pool[KERNELS_POOL];
    };
} kernels;

/* A case of which the context is a copy of `context`; dropped where --only asks for others. */
rt_status kernels_add(kernels *k, bench_case c, const void *context, size_t bytes, rt_error *err) RT_NODISCARD;

rt_status kernels_products(kernels *k, rt_error *err) RT_NODISCARD;
rt_status kernels_attention(kernels *k, rt_error *err) RT_NODISCARD;
rt_status kernels_rows(kernels *k, rt_error *err) RT_NODISCARD;
rt_status kernels_conversions(kernels *k, rt_error *err) RT_NODISCARD;
rt_status kernels_optimizer(kernels *k, rt_error *err) RT_NODISCARD;
#endif
