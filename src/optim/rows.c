/* rows.c - the loops all optimizers share: sum of squares, rounding to half types. */
#include "optim/method.h"
#include <string.h>

/* Eight lanes, added as a tree; the tail goes to lane 0. Vectors of the compiler, so that the order is written down. */
typedef float f32x8 __attribute__((vector_size(32)));
typedef double f64x8 __attribute__((vector_size(64)));

RT_OPTIM_LEVELS
double rt_optim_sum_squares(int64_t n, const float *x) {
    f64x8 s = {0};
    int64_t i = 0;
    for (; i + 8 <= n; i += 8) {
        f32x8 f;
        memcpy(&f, x + i, sizeof f);
        f64x8 d = __builtin_convertvector(f, f64x8);
        s += d * d;
    }
    for (; i < n; i++) s[0] += (double)x[i] * (double)x[i];
    return ((s[0] + s[1]) + (s[2] + s[3])) + ((s[4] + s[5]) + (s[6] + s[7]));
}

RT_OPTIM_LEVELS
static void round_bf16(int64_t n, const uint32_t *restrict x, uint16_t *restrict y) {
#pragma omp simd
    for (int64_t i = 0; i < n; i++) {
        uint32_t rounded = (x[i] + 0x7fffu + (x[i] >> 16 & 1u)) >> 16, nan = x[i] >> 16 | 0x40u;
        y[i] = (uint16_t)((x[i] & 0x7fffffffu) > 0x7f800000u ? nan : rounded);
    }
}

/* Three results, one chosen. Subnormals: adding 0.5 aligns the significand and lets the addition round it. */
RT_OPTIM_LEVELS
static void round_f16(int64_t n, const uint32_t *restrict x, uint16_t *restrict y) {
#pragma omp simd
    for (int64_t i = 0; i < n; i++) {
        uint32_t sign = x[i] >> 16 & 0x8000u, a = x[i] & 0x7fffffffu;
        union {
            uint32_t u;
            float f;
        } small = {.u = a < 0x38800000u ? a : 0u};
        small.f += 0.5f;
        uint32_t normal = (a - 0x38000000u + 0xfffu + (a >> 13 & 1u)) >> 13, subnormal = small.u - 0x3f000000u;
        uint32_t special = a > 0x7f800000u ? 0x7e00u | (a >> 13 & 0x1ffu) : 0x7c00u;
        uint32_t h = a >= 0x477ff000u ? special : a < 0x38800000u ? subnormal : normal;
        y[i] = (uint16_t)(sign | h);
    }
}

void rt_optim_round(rt_dtype to, int64_t n, const float *x, void *y) {
    const uint32_t *bits = (const uint32_t *)(const void *)x;
    if (to == RT_F16) round_f16(n, bits, y);
    else if (to == RT_BF16) round_bf16(n, bits, y);
    else memcpy(y, x, (size_t)n * sizeof *x);
}
