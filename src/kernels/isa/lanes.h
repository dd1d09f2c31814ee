/* lanes.h - what the row kernels of every level share: blocks of 16 lanes, multiply-add, exp.
 *
 * Sums are kept in 16 lanes by hand: the compiler may not reassociate, and a fixed order gives the same bits for 4, 8
 * and 16 lanes of hardware. The loops over lanes are `omp simd` so that the compiler makes whole vectors of them; a
 * loop with a run-time bound would get a scalar tail, which for exp costs as much as a whole row
 * (design/performance.md), so tails go through a padded copy. */
#ifndef T
#ifndef RETORT_KERNELS_LANES_H
#define RETORT_KERNELS_LANES_H
#include "kernels/isa.h"
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

enum { LANES = 16 };
#define EACH_LANE(l) _Pragma("omp simd") for (int l = 0; l < LANES; l++)
#define INLINE       static inline __attribute__((always_inline, unused))

/* a b + c: fused where the processor can (v3, v4), else two roundings; calling libm's fmaf on v2 is far slower. */
INLINE float fma_f32(float a, float b, float c) {
#ifdef __FMA__
    return __builtin_fmaf(a, b, c);
#else
    return a * b + c;
#endif
}
INLINE double fma_f64(double a, double b, double c) {
#ifdef __FMA__
    return __builtin_fma(a, b, c);
#else
    return a * b + c;
#endif
}

/* exp for f32: x = n ln2 + r, |r| <= ln2/2; exp r = 1 + r + r^2 p by the polynomial of Cephes' expf (Moshier); 2^n by adding n to the
 * exponent. At most 1.01 ulp. 0 below -87.3 (the true value nears the subnormals), infinite above 88.72283, NaN stays
 * NaN. */
typedef struct exp_parts_f32 {
    uint32_t exponent; /* n, in the place of the exponent */
    float r, p;
} exp_parts_f32;
/* -87.3 <= x <= 88.72283. `shift` is 1.5 2^23 + k: adding it rounds to an integer; the exponent is then that of 2^k exp x. */
INLINE exp_parts_f32 exp_parts_scaled_f32(float x, float shift) {
    union {
        float f;
        uint32_t u;
    } n = {fma_f32(x, 1.44269504088896341f, shift)};
    float whole = n.f - shift;
    float r = fma_f32(whole, 2.12194440e-4f, fma_f32(whole, -0.693359375f, x)); /* ln2 in two parts */
    float p = 1.9875691500e-4f;
    p = fma_f32(p, r, 1.3981999507e-3f);
    p = fma_f32(p, r, 8.3334519073e-3f);
    p = fma_f32(p, r, 4.1665795894e-2f);
    p = fma_f32(p, r, 1.6666665459e-1f);
    p = fma_f32(p, r, 5.0000001201e-1f);
    return (exp_parts_f32){n.u << 23, r, p};
}
INLINE exp_parts_f32 exp_parts_of_f32(float x) { return exp_parts_scaled_f32(x, 0x1.8p23f); }
INLINE float exp_scaled_f32(float x, float shift) {
    exp_parts_f32 a = exp_parts_scaled_f32(x, shift);
    union {
        float f;
        uint32_t u;
    } y = {fma_f32(a.p, a.r * a.r, a.r) + 1.0f};
    y.u += a.exponent;
    return y.f;
}
INLINE float exp_in_range_f32(float x) { return exp_scaled_f32(x, 0x1.8p23f); }
INLINE float exp_f32(float x) {
    const float lowest = -87.3f, highest = 88.72283f;
    float y = exp_in_range_f32(x < lowest ? lowest : x > highest ? highest : x);
    return x < lowest ? 0.0f : x > highest ? INFINITY : y;
}
/* The same values for x <= 0 (unspecified for x > 88). */
INLINE float exp_below_f32(float x) { return x < -87.3f ? 0.0f : exp_in_range_f32(x); }
/* 1 + exp x, which a logistic function divides by: infinite above 88.72283; of a NaN it is some number, so the numerator must carry NaN on. The
 * polynomial makes half of exp x, so that what is out of range becomes infinite in the last addition, without a selection; below -64 the sum is 1
 * anyhow. The bounds are those of the bits: as integers with a sign positive numbers come in their order, without one negative ones do. */
INLINE float one_plus_exp_f32(float x) {
    union {
        float f;
        uint32_t u;
        int32_t i;
    } b = {x};
    const int32_t most = 0x42b20000;   /* 89 */
    const uint32_t least = 0xc2800000; /* -64 */
    b.i = b.i < most ? b.i : most;
    b.u = b.u < least ? b.u : least;
    return fma_f32(exp_scaled_f32(b.f, 0x1.8p23f - 1), 2.0f, 1.0f);
}
INLINE double one_plus_exp_f64(double x) { return 1 + exp(x); }
INLINE double exp_f64(double x) { return exp(x); }
INLINE double exp_below_f64(double x) { return exp(x); }

#define RT_BODY "kernels/isa/lanes.h"
#include "kernels/for_each_type.h"
#endif
#else
/* The lanes' sum and maximum, always by the same tree. */
INLINE T F(lanes_sum)(const T *lane) {
    T s[LANES];
    memcpy(s, lane, sizeof s);
    for (int width = LANES / 2; width; width /= 2)
        for (int l = 0; l < width; l++) s[l] += s[l + width];
    return s[0];
}
INLINE T F(lanes_max)(const T *lane) {
    T m = lane[0];
    for (int l = 1; l < LANES; l++) m = lane[l] > m ? lane[l] : m;
    return m;
}
/* The last n % 16 elements of a row as a block of 16, filled up with `pad`. */
INLINE const T *F(lanes_tail)(const T *x, int64_t whole, int64_t n, T pad, T block[LANES]) {
    for (int l = 0; l < LANES; l++) block[l] = whole + l < n ? x[whole + l] : pad;
    return block;
}
/* sum x y, in 16 lanes. */
INLINE T F(lanes_dot)(const T *x, const T *y, int64_t n) {
    T s[LANES] = {0}, a[LANES], b[LANES];
    int64_t whole = n / LANES * LANES;
    for (int64_t i = 0; i < whole; i += LANES) EACH_LANE(l) s[l] = F(fma)(x[i + l], y[i + l], s[l]);
    if (whole < n) {
        F(lanes_tail)(x, whole, n, 0, a), F(lanes_tail)(y, whole, n, 0, b);
        EACH_LANE(l) s[l] = F(fma)(a[l], b[l], s[l]);
    }
    return F(lanes_sum)(s);
}
#endif
