/* bench_kernels.c - every kernel alone, at the sizes of R1 or on arrays larger than the caches, on all threads: products and attention
 * as a share of the products' rate, row loops, conversions and the optimizer as a share of the rate of copying. */
#include "kernels.h"
#include "kernels/measure.h"
#include <retort/base/rng.h>
#include <retort/base/threads.h>
#include <retort/tensor/dtype.h>
#include <string.h>

static rt_status fill_pool(kernels *k, rt_error *err) {
    enum { BLOCK = 4096 };
    static float values[BLOCK];
    static uint16_t halves[BLOCK];
    rt_rng r = rt_rng_make(1, "bench.pool", 0);
    for (int i = 0; i < BLOCK; i++) {
        values[i] = (float)(2 * rt_rng_uniform(r, (uint64_t)i) - 1);
        halves[i] = rt_f32_to_f16(values[i]).bits;
    }
    for (int i = 0; i < KERNELS_POOL; i++)
        if (!(k->pool[i] = rt_zalloc(KERNELS_POOL_BYTES))) return rt_fail(err, RT_E_NOMEM, "out of memory: 320 MiB of operands");
    for (size_t i = 0; i < KERNELS_POOL_BYTES / sizeof values; i++) {
        memcpy(k->a + i * BLOCK, values, sizeof values), memcpy(k->c + i * BLOCK, values, sizeof values), memcpy(k->d + i * BLOCK, values, sizeof values);
        memcpy(k->half + 2 * i * BLOCK, halves, sizeof halves), memcpy(k->half + (2 * i + 1) * BLOCK, halves, sizeof halves);
    }
    return RT_OK;
}

rt_status kernels_add(kernels *k, bench_case c, const void *context, size_t bytes, rt_error *err) {
    if (!bench_wanted(k->b, c.name)) return RT_OK;
    if (k->count == BENCH_CASES_MAX) return rt_fail(err, RT_E_ARG, "more than %d kernels", BENCH_CASES_MAX);
    if (!(c.context = rt_arena_alloc(&k->contexts, bytes))) return rt_fail(err, RT_E_NOMEM, "out of memory: cases");
    memcpy(c.context, context, bytes);
    k->cases[k->count++] = c;
    return RT_OK;
}

/* The limits themselves. */
static rt_status machine(bench *b, rt_error *err) {
    double x;
    if (!bench_wanted(b, "machine")) return RT_OK;
    RT_TRY(rt_measure_product_rate(&x, err));
    bench_number(b, "machine.product_rate", "GFLOP/s", x);
    RT_TRY(rt_measure_panel_rate(&x, err));
    bench_number(b, "machine.panel_rate", "GFLOP/s", x);
    RT_TRY(rt_measure_f64_rate(&x, err));
    bench_number(b, "machine.f64_rate", "GFLOP/s", x);
    bench_number(b, "machine.fma_peak", "GFLOP/s", rt_measure_fma_peak() * rt_threads());
    RT_TRY(rt_measure_copy_rate(&x, err));
    bench_number(b, "machine.copy_rate", "GB/s", x);
    return RT_OK;
}

static rt_status measure(kernels *k, rt_error *err) {
    RT_TRY(machine(k->b, err));
    RT_TRY(fill_pool(k, err));
    RT_TRY(kernels_products(k, err));
    RT_TRY(kernels_attention(k, err));
    RT_TRY(kernels_rows(k, err));
    RT_TRY(kernels_conversions(k, err));
    RT_TRY(kernels_optimizer(k, err));
    if (k->count == 0) return RT_OK;
    RT_TRY(bench_sample(k->b, k->cases, k->count, false, err));
    bench_report_all(k->b, k->cases, k->count);
    return RT_OK;
}

static rt_status run(bench *b, rt_error *err) {
    static kernels k;
    k.b = b;
    rt_status s = measure(&k, err);
    for (int i = 0; i < KERNELS_POOL; i++) rt_free(k.pool[i]);
    rt_arena_free(&k.contexts);
    return s;
}
BENCH("kernels", 9, run)
