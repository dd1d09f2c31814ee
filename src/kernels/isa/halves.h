/* halves.h - blocks of 16 halves and floats: loads, stores with rounding, and the test for what becomes infinite. Included by isa/ files only.
 *
 * f16 uses the instructions of F16C or AVX-512 where they exist (gcc 12 does not vectorise _Float16 casts), else
 * integer arithmetic; bf16 is integer arithmetic everywhere. The same bits as the scalar functions of tensor/dtype.c.
 */
#ifndef RETORT_KERNELS_ISA_HALVES_H
#define RETORT_KERNELS_ISA_HALVES_H
#include "kernels/isa/lanes.h"
#if defined __F16C__
#include <immintrin.h>
#endif

typedef union bits {
    float f;
    uint32_t u;
} bits;

#if defined __AVX512F__
INLINE void load_block_f16(const uint16_t *x, float *y) {
    _mm512_storeu_ps(y, _mm512_cvtph_ps(_mm256_loadu_si256((const void *)x)));
}
INLINE void store_block_f16(const float *x, uint16_t *y) {
    _mm256_storeu_si256((void *)y, _mm512_cvtps_ph(_mm512_loadu_ps(x), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
#elif defined __F16C__
INLINE void load_block_f16(const uint16_t *x, float *y) {
    for (int i = 0; i < LANES; i += 8) _mm256_storeu_ps(y + i, _mm256_cvtph_ps(_mm_loadu_si128((const void *)(x + i))));
}
INLINE void store_block_f16(const float *x, uint16_t *y) {
    for (int i = 0; i < LANES; i += 8)
        _mm_storeu_si128((void *)(y + i), _mm256_cvtps_ph(_mm256_loadu_ps(x + i), _MM_FROUND_TO_NEAREST_INT));
}
#else
INLINE void load_block_f16(const uint16_t *x, float *y) {
    EACH_LANE(l) {
        uint32_t h = x[l], sign = (h & 0x8000u) << 16, m = h & 0x7fffu;
        bits finite = {.u = m << 13},
             out; /* the exponent is 112 too small: a multiplication sets it right, subnormals too */
        finite.f *= 0x1p112f;
        uint32_t special = 0x7f800000u | (m > 0x7c00u ? 0x400000u : 0) | m << 13;
        out.u = sign | (m >= 0x7c00u ? special : finite.u);
        y[l] = out.f;
    }
}
INLINE void store_block_f16(const float *x, uint16_t *y) {
    EACH_LANE(l) {
        bits b = {.f = x[l]}, small;
        uint32_t sign = b.u >> 16 & 0x8000u, a = b.u & 0x7fffffffu;
        small.u = a;
        small.f += 0.5f; /* aligns and rounds the significand of a subnormal */
        uint32_t nan = 0x7e00u | (a >> 13 & 0x1ffu), normal = (a - 0x38000000u + 0xfffu + (a >> 13 & 1)) >> 13;
        uint32_t finite = a < 0x38800000u ? small.u - 0x3f000000u : normal;
        uint32_t h = a > 0x7f800000u ? nan : a >= 0x477ff000u ? 0x7c00u : finite;
        y[l] = (uint16_t)(sign | h);
    }
}
#endif

INLINE void load_block_bf16(const uint16_t *x, float *y) {
    EACH_LANE(l) {
        bits b = {.u = (uint32_t)x[l] << 16};
        y[l] = b.f;
    }
}
INLINE void store_block_bf16(const float *x, uint16_t *y) {
    EACH_LANE(l) {
        bits b = {.f = x[l]};
        uint32_t rounded = (b.u + 0x7fffu + (b.u >> 16 & 1)) >> 16, nan = b.u >> 16 | 0x40u;
        y[l] = (uint16_t)((b.u & 0x7fffffffu) > 0x7f800000u ? nan : rounded);
    }
}

/* y = the nearest half, still in f32. y may be x. */
#if defined __AVX512F__
INLINE void round_block_f16(const float *x, float *y) {
    _mm512_storeu_ps(y, _mm512_cvtph_ps(_mm512_cvtps_ph(_mm512_loadu_ps(x), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)));
}
#else
INLINE void round_block_f16(const float *x, float *y) {
    uint16_t h[LANES];
    store_block_f16(x, h);
    load_block_f16(h, y);
}
#endif
INLINE void round_block_bf16(const float *x, float *y) {
    EACH_LANE(l) {
        bits b = {.f = x[l]};
        uint32_t rounded = b.u + 0x7fffu + (b.u >> 16 & 1), nan = b.u | 0x400000u;
        b.u = ((b.u & 0x7fffffffu) > 0x7f800000u ? nan : rounded) & 0xffff0000u;
        y[l] = b.f;
    }
}

/* Ors into `over` a bit of every finite value whose magnitude has at least the bits `limit`: it will round to infinity.
 */
INLINE void overflow_block(const float *x, uint32_t limit, uint32_t *over) {
    EACH_LANE(l) {
        bits b = {.f = x[l]};
        over[l] |= (b.u & 0x7fffffffu) - limit < 0x7f800000u - limit;
    }
}
enum { F16_LIMIT = 0x477ff000, BF16_LIMIT = 0x7f7f8000 }; /* 65520; half way from the largest bf16 to 2^128 */
INLINE bool any_lane(const uint32_t *over) {
    uint32_t any = 0;
    for (int l = 0; l < LANES; l++) any |= over[l];
    return any != 0;
}

typedef void load_block(const uint16_t *, float *);
typedef void store_block(const float *, uint16_t *);
typedef void round_block(const float *, float *);
#endif
