/* convert.h - rows between storage types and f32, transposes, and the making of panels.
 *
 * All results equal the scalar conversions of <retort/tensor/dtype.h> bit for bit, at every ISA level: round to nearest
 * even, subnormals kept, NaN stays NaN. Counts are elements, leading dimensions elements. */
#ifndef T
#ifndef RETORT_KERNELS_CONVERT_H
#define RETORT_KERNELS_CONVERT_H
#include <retort/tensor/dtype.h>
#include <stdbool.h>
#include <stdint.h>

/* In place: x = the nearest value of `to` (f16 or bf16; f32 leaves x alone). True when a finite value became infinite.
 */
bool rt_round_rows(rt_dtype to, float *x, int64_t n);

/* half [K,N] packed -> f32 panel [K, ld]: the straight conversion of a pre-transposed weight. `half`: RT_F16 or
 * RT_BF16. */
void rt_panel_from_packed(rt_dtype half, const void *src, int64_t K, int64_t N, float *panel, int64_t ld);
/* half [N,K] (as in model files, row stride lds) -> f32 panel [K, ld]: converts and transposes. */
void rt_panel_from_natural(rt_dtype half, const void *src, int64_t lds, int64_t N, int64_t K, float *panel, int64_t ld);
/* 16-bit elements [rows, columns] -> [columns, rows], both packed. */
void rt_transpose_half(const void *src, int64_t rows, int64_t columns, void *dst);

#define RT_BODY "kernels/convert.h"
#include "kernels/for_each_type.h"
#endif
#else
/* src in `dtype` -> T. For T = float: f32, f16, bf16; for T = double: f64, f32, f16, bf16 (all exact). */
void F(rt_rows_load)(rt_dtype dtype, const void *src, T *dst, int64_t n);
/* T -> dst in `dtype`, one rounding. float: f32, f16, bf16; double: f64, f32. True when a finite value became infinite.
 */
bool F(rt_rows_store)(rt_dtype dtype, const T *src, void *dst, int64_t n);
/* dst[c, r] = src[r, c] for [rows, columns]; must not overlap. */
void F(rt_transpose)(const T *src, int64_t lds, int64_t rows, int64_t columns, T *dst, int64_t ldd);
/* The same for chosen rows: dst[c, r] = src[index[r], c]; columns rows..round16(rows) of dst are set to 0, so ldd >=
 * round16(rows). */
void F(rt_gather_transpose)(const T *src, int64_t lds, const int32_t *index, int64_t rows, int64_t columns, T *dst,
                            int64_t ldd);
#endif
