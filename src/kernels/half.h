/* half.h - products of half operands by the processor's own half instructions: y[f32] = x[half] W[half]^T.
 *
 * The contract is that of every half product: operands are exact in f32, so are products of two of them, and sums are f32.
 * Only the order of the sums differs from the f32 kernels, and numbers below the least normal f32 (1.2e-38) may count as 0.
 *
 * Which processor: bf16 where it has AVX512-BF16 or AMX-BF16, f16 where it has AMX-FP16, and the library has a product for it.
 * That is a choice by instruction set, never by a clock: a machine whose timing decided would not give the same bits twice.
 * And only for a shape whose rows have the same bits in whatever company, which is tried out once, when it is first asked for.
 *
 * A product is at most RT_HALF_COLUMNS outputs wide (callers cut wider weights), and takes rows in sixteens. */
#ifndef RETORT_KERNELS_HALF_H
#define RETORT_KERNELS_HALF_H
#include <retort/tensor/dtype.h>

enum { RT_HALF_COLUMNS = 512, RT_HALF_LD = RT_HALF_COLUMNS + 16, /* of y; see rt_panel_ld */
       RT_HALF_LEAST = 64 /* of a weight's sizes; smaller ones gain nothing */ };

typedef struct rt_half_product rt_half_product; /* of one type, N and K; lives as long as the process */

/* "avx512_bf16", "amx_bf16", "amx_fp16": what products of this type use; NULL: they run in f32. Static text. */
const char *rt_half_instructions(rt_dtype half);
/* For reports, all types: "bf16 (avx512_bf16), others in f32", or "in f32". Static text. */
const char *rt_half_summary(void);
/* *out = NULL: this machine has none for this shape. Fails only without memory. */
rt_status rt_half_find(rt_dtype half, int64_t N, int64_t K, const rt_half_product **out, rt_error *err) RT_NODISCARD;
/* One that was found before. Any thread. */
const rt_half_product *rt_half_known(rt_dtype half, int64_t N, int64_t K);
size_t rt_half_panel_bytes(const rt_half_product *p);
size_t rt_half_scratch(const rt_half_product *p); /* of one call */
/* W [N,K] as in model files -> panel (64-byte aligned), in the library's own order. False: the library had no memory. */
bool rt_half_pack(const rt_half_product *p, const void *w, void *panel);
/* Rows 0..m of y, ld RT_HALF_LD; m a multiple of 16. x [m,K] without gaps. On the calling thread. */
bool rt_half_rows(const rt_half_product *p, int64_t m, const void *x, const void *panel, float *y, void *scratch);
/* For tests: as on a machine without such instructions, for graphs that are planned from now on. */
void rt_half_disable(bool disabled);

/* ------------------------------------------------ the library's part (gemm_onednn.c); one product of fixed m, n, k */
typedef struct rt_half_primitive {
    void *primitive, *description;
    size_t panel_bytes, scratch_bytes;
} rt_half_primitive;
const char *rt_half_library_instructions(rt_dtype half);
/* x [m,k] packed, y [m, ld]. `like`: the panel is in that primitive's order; NULL: in the order that is best. False: no memory;
 * p->primitive stays NULL where there is no such product. */
bool rt_half_primitive_make(rt_half_primitive *p, rt_dtype half, int64_t m, int64_t n, int64_t k, int64_t ld, const rt_half_primitive *like);
void rt_half_primitive_free(rt_half_primitive *p);
bool rt_half_primitive_pack(const rt_half_primitive *p, rt_dtype half, int64_t n, int64_t k, const void *w, void *panel);
bool rt_half_primitive_run(const rt_half_primitive *p, const void *x, const void *panel, float *y, void *scratch);
#endif
