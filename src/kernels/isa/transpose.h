/* transpose.h - 16 x 16 blocks transposed in registers, and 16 rows of any length. Included by isa/ files only.
 *
 * A transpose is bound by its strided side; writing whole 64-byte lines of the destination is what makes it fast. */
#ifndef RETORT_KERNELS_TRANSPOSE_H
#define RETORT_KERNELS_TRANSPOSE_H
#include "kernels/isa/lanes.h"
#if defined __x86_64__
#include <immintrin.h>
#endif

#if defined __AVX512F__
/* Pairs of rows, then of pairs, inside 128-bit lanes; then the lanes themselves. */
INLINE void transpose_block_f32(const float *const *row, int64_t column, float *dst, int64_t ldd) {
    __m512 r[16], t[16];
    for (int i = 0; i < 16; i++) r[i] = _mm512_loadu_ps(row[i] + column);
    for (int i = 0; i < 8; i++) {
        t[2 * i] = _mm512_unpacklo_ps(r[2 * i], r[2 * i + 1]);
        t[2 * i + 1] = _mm512_unpackhi_ps(r[2 * i], r[2 * i + 1]);
    }
    for (int i = 0; i < 4; i++)
        for (int j = 0; j < 2; j++) {
            __m512d a = _mm512_castps_pd(t[4 * i + j]), b = _mm512_castps_pd(t[4 * i + 2 + j]);
            r[4 * i + 2 * j] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, b));
            r[4 * i + 2 * j + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, b));
        }
    for (int i = 0; i < 4; i++) {
        __m512 ab_even = _mm512_shuffle_f32x4(r[i], r[4 + i], 0x88),
               ab_odd = _mm512_shuffle_f32x4(r[i], r[4 + i], 0xdd);
        __m512 cd_even = _mm512_shuffle_f32x4(r[8 + i], r[12 + i], 0x88),
               cd_odd = _mm512_shuffle_f32x4(r[8 + i], r[12 + i], 0xdd);
        _mm512_storeu_ps(dst + i * ldd, _mm512_shuffle_f32x4(ab_even, cd_even, 0x88));
        _mm512_storeu_ps(dst + (8 + i) * ldd, _mm512_shuffle_f32x4(ab_even, cd_even, 0xdd));
        _mm512_storeu_ps(dst + (4 + i) * ldd, _mm512_shuffle_f32x4(ab_odd, cd_odd, 0x88));
        _mm512_storeu_ps(dst + (12 + i) * ldd, _mm512_shuffle_f32x4(ab_odd, cd_odd, 0xdd));
    }
}
#elif defined __x86_64__
INLINE void transpose_block_f32(const float *const *row, int64_t column, float *dst, int64_t ldd) {
    for (int i = 0; i < 16; i += 4)
        for (int j = 0; j < 16; j += 4) {
            __m128 a = _mm_loadu_ps(row[i] + column + j), b = _mm_loadu_ps(row[i + 1] + column + j);
            __m128 c = _mm_loadu_ps(row[i + 2] + column + j), d = _mm_loadu_ps(row[i + 3] + column + j);
            _MM_TRANSPOSE4_PS(a, b, c, d);
            _mm_storeu_ps(dst + j * ldd + i, a);
            _mm_storeu_ps(dst + (j + 1) * ldd + i, b);
            _mm_storeu_ps(dst + (j + 2) * ldd + i, c);
            _mm_storeu_ps(dst + (j + 3) * ldd + i, d);
        }
}
#else
INLINE void transpose_block_f32(const float *const *row, int64_t column, float *dst, int64_t ldd) {
    for (int j = 0; j < 16; j++)
        for (int i = 0; i < 16; i++) dst[j * ldd + i] = row[i][column + j];
}
#endif
INLINE void transpose_block_f64(const double *const *row, int64_t column, double *dst, int64_t ldd) {
    for (int j = 0; j < 16; j++)
        for (int i = 0; i < 16; i++) dst[j * ldd + i] = row[i][column + j];
}
#endif
