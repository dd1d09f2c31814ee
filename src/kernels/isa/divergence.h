/* divergence.h - what a divergence of two distributions is made of, one id at a time. Included by isa/head.c only.
 *
 * Of the two probabilities of an id let L be the larger and S = L s the smaller, s = exp(-x), x = |log p - log q| >= 0. Then, with
 *   e = s - 1,   g = x + e,   h = 1 - s (1 + x),   u = b e  (b: the weight of S in the mixture M = L (1 + u)),
 *   L log(L/S) - L + S = L g      S log(S/L) - S + L = L h      the terms of a KL, none negative
 *   b S log(S/M) + (1-b) L log(L/M) = L (b h - G(u))            G(u) = (1+u) log(1+u) - u
 * and h is G(e), so that the last is not negative either (G is convex, G(0) = 0). Near x = 0, g and h are x^2/2 to first order
 * and must not be differences of numbers near 1. One exp of L and one of -x serve every divergence. */
#ifndef T
#ifndef RETORT_KERNELS_DIVERGENCE_H
#define RETORT_KERNELS_DIVERGENCE_H
#include "kernels/isa/lanes.h"

typedef struct ratio_f32 {
    float s, e, g, h;
} ratio_f32;
typedef struct ratio_f64 {
    double s, e, g, h;
} ratio_f64;

/* exp(-x) = 2^k (1 + r + t), t = r^2 P(r): every value is the exact one of 2^k = 1, without a difference of near numbers, where x
 * < ln2/2 (k = 0, r = -x), and the general one elsewhere, by the same operations:
 *   e = 2^k (r + t) + (2^k - 1)      g = 2^k t + (2^k r + x + (2^k - 1))      h = -(2^k (r + x + r x + t (1+x)) + (2^k - 1))
 * Beyond 87, where s is nothing beside 1, it stays; only g goes on to grow. */
INLINE ratio_f32 ratio_of_f32(float d) {
    float minus_x = -__builtin_fabsf(d), y = -87.0f > minus_x ? -87.0f : minus_x;
    exp_parts_f32 a = exp_parts_of_f32(y);
    union {
        uint32_t u;
        float f;
    } power = {a.exponent + 0x3f800000u};
    float below = power.f - 1, t = a.p * (a.r * a.r), w = a.r + t, v = fma_f32(t, 1 - y, fma_f32(-a.r, y, a.r - y));
    return (ratio_f32){.s = fma_f32(power.f, w, power.f), .e = fma_f32(power.f, w, below),
                       .g = fma_f32(power.f, t, fma_f32(power.f, a.r, -minus_x) + below), .h = -fma_f32(power.f, v, below)};
}
/* (exp(d) - 1 - d)/d^2 = 1/2! + d/3! + d^2/4! + ... for |d| < 1/2, to the last bit. */
INLINE double exp_tail_f64(double d) {
    double p = 1;
    for (int k = 17; k > 2; k--) p = fma_f64(p, d / k, 1);
    return p * 0.5;
}
INLINE ratio_f64 ratio_of_f64(double d) {
    double x = fabs(d), s = exp(-x), e = expm1(-x), near_g = x * x * exp_tail_f64(-x), near_h = s * (x * x * exp_tail_f64(x));
    double far_h = x > 700 ? 1 : 1 - s * (1 + x);
    return (ratio_f64){s, e, x < 0.5 ? near_g : e + x, x < 0.5 ? near_h : far_h};
}

typedef struct mixture_f32 {
    float log, rise; /* log(1+u), G(u) */
} mixture_f32;
typedef struct mixture_f64 {
    double log, rise;
} mixture_f64;

/* For u > -1. 1 + u = 2^k (1 + z); log(1+z) = z - gap, gap = z^2 (1/2 - z P(z)), by the polynomial of Cephes' logf (Moshier) on
 * [sqrt(1/2), sqrt(2)); G = u y + (y - u) - (1+u) gap, y = z + k ln2, where y - u is 0 near u = 0. */
INLINE mixture_f32 mixture_of_f32(float u) {
    union {
        float f;
        int32_t i;
    } whole = {1 + u}, power;
    int32_t k = (whole.i - 0x3f3504f3) & (int32_t)0xff800000; /* in the place of the exponent; 1+z >= sqrt(1/2) */
    power.i = 0x3f800000 - k;                                  /* 2^-k */
    float z = fma_f32(power.f, u, power.f - 1);
    float p = 7.0376836292e-2f;
    p = fma_f32(p, z, -1.1514610310e-1f);
    p = fma_f32(p, z, 1.1676998740e-1f);
    p = fma_f32(p, z, -1.2420140846e-1f);
    p = fma_f32(p, z, 1.4249322787e-1f);
    p = fma_f32(p, z, -1.6668057665e-1f);
    p = fma_f32(p, z, 2.0000714765e-1f);
    p = fma_f32(p, z, -2.4999993993e-1f);
    p = fma_f32(p, z, 3.3333331174e-1f);
    float gap = z * z * fma_f32(-z, p, 0.5f);
    float line = fma_f32((float)k, 0.69314718056f * 0x1p-23f, z);
    return (mixture_f32){line - gap, fma_f32(-whole.f, gap, fma_f32(u, line, line - u))};
}
INLINE mixture_f64 mixture_of_f64(double u) {
    double log = log1p(u), gap = u - log;
    return (mixture_f64){log, fma_f64(-(1 + u), gap < 0 ? 0 : gap, u * u)};
}

#define RT_BODY "kernels/isa/divergence.h"
#include "kernels/for_each_type.h"
#endif
#else
/* L and the rest of one id, from its two log-probabilities; d = log p - log q. */
typedef struct F(pair) {
    T d, large;
    F(ratio) r;
} F(pair);
INLINE F(pair) F(pair_of)(T log_p, T log_q) {
    T d = log_p - log_q;
    return (F(pair)){d, F(exp_below)(log_p > log_q ? log_p : log_q), F(ratio_of)(d)};
}
/* JSD's term over L, and log(q/M); beta is the weight of p and `rest` that of q. With b near 1, b h and G(b e) are near, too; then
 * the mixture is seen from S:  M = S (1 + u), u = (1-b) (1/s - 1), and the term over L is (1-b) g - s G(u). At equal weights that
 * never happens (`even`: known when compiled). */
typedef struct F(jsd_parts) {
    T value, log_q;
} F(jsd_parts);
INLINE F(jsd_parts) F(jsd_of)(F(pair) a, T beta, T rest, bool even) {
    T b = a.d < 0 ? beta : rest;
    if (even) {
        F(mixture) m = F(mixture_of)(b * a.r.e);
        T value = F(fma)(b, a.r.h, -m.rise);
        return (F(jsd_parts)){value < 0 ? 0 : value, -(a.d < 0 ? 0 : a.d) - m.log};
    }
    T c = a.d < 0 ? rest : beta, x = a.d < 0 ? -a.d : a.d;
    bool small = (b > (T)0.5) & (x < 8); /* beyond, 1/s grows and b h - G(b e) is no longer small */
    T weight = small ? c : b;
    F(mixture) m = F(mixture_of)(weight * (small ? -a.r.e / a.r.s : a.r.e));
    T value = F(fma)(weight, small ? a.r.g : a.r.h, -(small ? a.r.s * m.rise : m.rise)), other = small ? x : 0;
    return (F(jsd_parts)){value < 0 ? 0 : value, (a.d < 0 ? other : other - x) - m.log};
}
#endif
