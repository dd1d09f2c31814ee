/* convert.c - conversions and transposes of whole arrays, out of the kernels of isa/convert.c. */
#ifndef T
#include "kernels/convert.h"
#include "kernels/isa.h"
#include "kernels/isa/convert.h"
#include <assert.h>
#include <string.h>

RT_ISA_DECLARE(const rt_convert_kernels, rt_convert_table);
static const rt_convert_kernels *kernels(void) { return RT_ISA_PICK(rt_convert_table); }
static int half_index(rt_dtype t) {
    assert(rt_dtype_is_half(t));
    return t == RT_BF16;
}

enum { BLOCK = 16 };

bool rt_round_rows(rt_dtype to, float *x, int64_t n) {
    return rt_dtype_is_half(to) && kernels()->round[half_index(to)](x, n);
}

void rt_rows_load_f32(rt_dtype dtype, const void *src, float *dst, int64_t n) {
    if (dtype == RT_F32)
        memmove(dst, src, (size_t)n * sizeof *dst);
    else
        kernels()->load[half_index(dtype)](src, dst, n);
}
void rt_rows_load_f64(rt_dtype dtype, const void *src, double *dst, int64_t n) {
    float block[BLOCK];
    if (dtype == RT_F64) {
        memmove(dst, src, (size_t)n * sizeof *dst);
        return;
    }
    for (int64_t i = 0; i < n; i += BLOCK) {
        int64_t m = n - i < BLOCK ? n - i : BLOCK;
        rt_rows_load_f32(dtype, (const char *)src + (size_t)i * rt_dtype_size(dtype), block, m);
        for (int64_t j = 0; j < m; j++) dst[i + j] = (double)block[j];
    }
}

bool rt_rows_store_f32(rt_dtype dtype, const float *src, void *dst, int64_t n) {
    if (dtype != RT_F32) return kernels()->store[half_index(dtype)](src, dst, n);
    memmove(dst, src, (size_t)n * sizeof *src);
    return false;
}
bool rt_rows_store_f64(rt_dtype dtype, const double *src, void *dst, int64_t n) {
    assert(dtype == RT_F64 || dtype == RT_F32);
    if (dtype == RT_F64) {
        memmove(dst, src, (size_t)n * sizeof *src);
        return false;
    }
    float *out = dst;
    bool over = false;
    for (int64_t i = 0; i < n; i++) {
        out[i] = (float)src[i];
        over |= __builtin_isinf(out[i]) && !__builtin_isinf(src[i]);
    }
    return over;
}

/* --------------------------------------------------------------- panels */

void rt_panel_from_packed(rt_dtype half, const void *src, int64_t K, int64_t N, float *panel, int64_t ld) {
    const uint16_t *row = src;
    for (int64_t k = 0; k < K; k++) kernels()->load[half_index(half)](row + k * N, panel + k * ld, N);
}

void rt_panel_from_natural(rt_dtype half, const void *src, int64_t lds, int64_t N, int64_t K, float *panel,
                           int64_t ld) {
    const uint16_t *w = src, *row[BLOCK];
    float one;
    int64_t n = 0;
    for (; n + BLOCK <= N; n += BLOCK) {
        for (int i = 0; i < BLOCK; i++) row[i] = w + (n + i) * lds;
        kernels()->transpose_half[half_index(half)](row, K, panel + n, ld);
    }
    for (; n < N; n++)
        for (int64_t k = 0; k < K; k++) {
            kernels()->load[half_index(half)](w + n * lds + k, &one, 1);
            panel[k * ld + n] = one;
        }
}

void rt_transpose_half(const void *src, int64_t rows, int64_t columns, void *dst) {
    const uint16_t *s = src;
    uint16_t *d = dst;
    for (int64_t r0 = 0; r0 < rows; r0 += 2 * BLOCK) /* a 64-byte line of each side */
        for (int64_t c0 = 0; c0 < columns; c0 += 2 * BLOCK)
            for (int64_t c = c0; c < c0 + 2 * BLOCK && c < columns; c++)
                for (int64_t r = r0; r < r0 + 2 * BLOCK && r < rows; r++) d[c * rows + r] = s[r * columns + c];
}

static void transpose16_f32(const float *const *row, int64_t n, float *dst, int64_t ldd) {
    kernels()->transpose(row, n, dst, ldd);
}
static void transpose16_f64(const double *const *row, int64_t n, double *dst, int64_t ldd) {
    for (int64_t c = 0; c < n; c++)
        for (int i = 0; i < BLOCK; i++) dst[c * ldd + i] = row[i][c];
}

#define RT_BODY "kernels/convert.c"
#include "kernels/for_each_type.h"
#else
/* Rows in order, or those of `index`. */
static void F(transpose_rows)(const T *src, int64_t lds, const int32_t *index, int64_t rows, int64_t columns, T *dst,
                              int64_t ldd) {
    const T *row[BLOCK];
    int64_t r = 0;
    for (; r + BLOCK <= rows; r += BLOCK) {
        for (int i = 0; i < BLOCK; i++) row[i] = src + (index ? index[r + i] : r + i) * lds;
        F(transpose16)(row, columns, dst + r, ldd);
    }
    for (; r < rows; r++)
        for (int64_t c = 0; c < columns; c++) dst[c * ldd + r] = src[(index ? index[r] : r) * lds + c];
}
void F(rt_transpose)(const T *src, int64_t lds, int64_t rows, int64_t columns, T *dst, int64_t ldd) {
    F(transpose_rows)(src, lds, NULL, rows, columns, dst, ldd);
}
void F(rt_gather_transpose)(const T *src, int64_t lds, const int32_t *index, int64_t rows, int64_t columns, T *dst,
                            int64_t ldd) {
    F(transpose_rows)(src, lds, index, rows, columns, dst, ldd);
    int64_t padded = (rows + BLOCK - 1) / BLOCK * BLOCK;
    for (int64_t c = 0; rows < padded && c < columns; c++)
        memset(dst + c * ldd + rows, 0, (size_t)(padded - rows) * sizeof(T));
}
#endif
