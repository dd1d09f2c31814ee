/* rows.c - the row kernels of one ISA level. See rows.h for the formulas, lanes.h for the technique.
 *
 * Each kernel is a block function on 16 elements; rows are whole blocks and one padded copy for the rest. */
#ifndef T
#include "kernels/isa/lanes.h"
#include "kernels/rows.h"

static int64_t whole_blocks(int64_t n) { return n / LANES * LANES; }

#define RT_BODY "kernels/isa/rows.c"
#include "kernels/for_each_type.h"
#else

/* --------------------------------------------------------------- sums */

static T F(dot)(const T *x, const T *y, int64_t n) { return F(lanes_dot)(x, y, n); }
static T F(sumsq)(const T *x, int64_t n) { return F(lanes_dot)(x, x, n); }

static T F(sum)(const T *x, int64_t n) {
    T s[LANES] = {0}, a[LANES];
    int64_t whole = whole_blocks(n);
    for (int64_t i = 0; i < whole; i += LANES) EACH_LANE(l) s[l] += x[i + l];
    F(lanes_tail)(x, whole, n, 0, a);
    EACH_LANE(l) s[l] += a[l];
    return F(lanes_sum)(s);
}

static T F(max)(const T *x, int64_t n) {
    T m[LANES], a[LANES];
    int64_t whole = whole_blocks(n);
    EACH_LANE(l) m[l] = (T)-INFINITY;
    for (int64_t i = 0; i < whole; i += LANES) EACH_LANE(l) m[l] = x[i + l] > m[l] ? x[i + l] : m[l];
    F(lanes_tail)(x, whole, n, (T)-INFINITY, a);
    EACH_LANE(l) m[l] = a[l] > m[l] ? a[l] : m[l];
    return F(lanes_max)(m);
}

/* --------------------------------------------------------------- element by element */

static void F(axpy)(T a, const T *x, T *y, int64_t n) {
#pragma omp simd
    for (int64_t i = 0; i < n; i++) y[i] = F(fma)(a, x[i], y[i]);
}
static void F(add)(const T *x, const T *y, T *z, int64_t n) {
#pragma omp simd
    for (int64_t i = 0; i < n; i++) z[i] = x[i] + y[i];
}
static void F(mul)(const T *x, const T *y, T *z, int64_t n) {
#pragma omp simd
    for (int64_t i = 0; i < n; i++) z[i] = x[i] * y[i];
}
static void F(scale)(T a, const T *x, T *y, int64_t n) {
#pragma omp simd
    for (int64_t i = 0; i < n; i++) y[i] = a * x[i];
}

INLINE void F(rope_block)(T *a, T *b, const T *c, const T *s) {
    EACH_LANE(l) {
        T p = a[l], q = b[l];
        a[l] = p * c[l] - q * s[l];
        b[l] = q * c[l] + p * s[l];
    }
}
static void F(rope)(T *x, const T *c, const T *s, int64_t half, int64_t heads, T dir) {
    int64_t whole = whole_blocks(half), end = 2 * half * heads;
    for (int64_t i = 0; i < whole; i += LANES) {
        T cosine[LANES], sine[LANES]; /* in registers for all heads */
        EACH_LANE(l) cosine[l] = c[i + l], sine[l] = dir * s[i + l];
        for (int64_t j = i; j < end; j += 2 * half) F(rope_block)(x + j, x + j + half, cosine, sine);
    }
    for (int64_t h = 0; h < end; h += 2 * half)
        for (int64_t i = whole; i < half; i++) {
            T p = x[h + i], q = x[h + half + i], sine = dir * s[i];
            x[h + i] = p * c[i] - q * sine;
            x[h + half + i] = q * c[i] + p * sine;
        }
}

/* --------------------------------------------------------------- exp and softmax */

INLINE void F(exp_block)(T shift, const T *x, T *y) { EACH_LANE(l) y[l] = F(exp)(x[l] - shift); }

static void F(exp_row)(T shift, const T *x, T *y, int64_t n) {
    int64_t whole = whole_blocks(n);
    T a[LANES];
    for (int64_t i = 0; i < whole; i += LANES) F(exp_block)(shift, x + i, y + i);
    if (whole == n) return;
    F(lanes_tail)(x, whole, n, shift, a);
    F(exp_block)(shift, a, a);
    memcpy(y + whole, a, (size_t)(n - whole) * sizeof(T));
}

/* exp(x - m) summed, and stored where `p` is given. */
INLINE T F(exp_sum)(T m, const T *x, T *p, int64_t n) {
    T s[LANES] = {0}, a[LANES];
    int64_t whole = whole_blocks(n);
    for (int64_t i = 0; i < whole; i += LANES) {
        F(exp_block)(m, x + i, a);
        if (p) memcpy(p + i, a, sizeof a);
        EACH_LANE(l) s[l] += a[l];
    }
    if (whole < n) {
        F(lanes_tail)(x, whole, n, (T)-INFINITY, a);
        F(exp_block)(m, a, a);
        if (p) memcpy(p + whole, a, (size_t)(n - whole) * sizeof(T));
        EACH_LANE(l) s[l] += a[l];
    }
    return F(lanes_sum)(s);
}
static T F(logsumexp)(const T *x, int64_t n) {
    T m = F(max)(x, n);
    return m == (T)-INFINITY ? m : m + M(log)(F(exp_sum)(m, x, NULL, n));
}
static T F(softmax)(const T *x, T *p, int64_t n) {
    T m = F(max)(x, n), s = F(exp_sum)(m, x, p, n);
    F(scale)(1 / s, p, p, n);
    return m + M(log)(s);
}

/* --------------------------------------------------------------- rmsnorm */

static T F(rms)(const T *x, const T *w, T eps, T *y, int64_t n) {
    T r = 1 / M(sqrt)(F(sumsq)(x, n) / (T)n + eps);
#pragma omp simd
    for (int64_t i = 0; i < n; i++) y[i] = x[i] * r * w[i];
    return r;
}

static T F(dot3)(const T *x, const T *y, const T *z, int64_t n) { /* sum x y z */
    T s[LANES] = {0}, a[LANES], b[LANES], c[LANES];
    int64_t whole = whole_blocks(n);
    for (int64_t i = 0; i < whole; i += LANES) EACH_LANE(l) s[l] = F(fma)(x[i + l] * y[i + l], z[i + l], s[l]);
    if (whole < n) {
        F(lanes_tail)(x, whole, n, 0, a), F(lanes_tail)(y, whole, n, 0, b), F(lanes_tail)(z, whole, n, 0, c);
        EACH_LANE(l) s[l] = F(fma)(a[l] * b[l], c[l], s[l]);
    }
    return F(lanes_sum)(s);
}
static void F(rms_backward)(const T *x, const T *w, T r, const T *dy, T *dx, T *dw, int64_t n) {
    T c = F(dot3)(dy, w, x, n) * r * r * r / (T)n;
    if (dx) {
#pragma omp simd
        for (int64_t i = 0; i < n; i++) dx[i] += dy[i] * w[i] * r - x[i] * c;
    }
    if (dw) {
#pragma omp simd
        for (int64_t i = 0; i < n; i++) dw[i] += dy[i] * x[i] * r;
    }
}

/* --------------------------------------------------------------- SwiGLU */

INLINE void F(swiglu_block)(const T *g, const T *u, T *a) { EACH_LANE(l) a[l] = g[l] / F(one_plus_exp)(-g[l]) * u[l]; }
static void F(swiglu)(const T *g, const T *u, T *a, int64_t n) {
    int64_t whole = whole_blocks(n);
    T tg[LANES], tu[LANES];
    for (int64_t i = 0; i < whole; i += LANES) F(swiglu_block)(g + i, u + i, a + i);
    if (whole == n) return;
    F(lanes_tail)(g, whole, n, 0, tg), F(lanes_tail)(u, whole, n, 0, tu);
    F(swiglu_block)(tg, tu, tg);
    memcpy(a + whole, tg, (size_t)(n - whole) * sizeof(T));
}

/* sigma = 1/(1+e^-g), silu = g sigma, silu' = sigma (1 + g (1 - sigma)). */
INLINE void F(swiglu_back_block)(const T *g, const T *u, const T *da, T *dg, T *du) {
    EACH_LANE(l) {
        T sigma = 1 / F(one_plus_exp)(-g[l]), d = da[l];
        T slope = sigma * F(fma)(g[l], 1 - sigma, 1), silu = g[l] * sigma;
        dg[l] = d * u[l] * slope;
        du[l] = d * silu;
    }
}
static void F(swiglu_backward)(const T *g, const T *u, const T *da, T *dg, T *du, int64_t n, bool add) {
    T tg[LANES], tu[LANES], td[LANES];
    for (int64_t i = 0; i < n; i += LANES) {
        int64_t m = n - i < LANES ? n - i : LANES;
        if (m == LANES && !add) {
            F(swiglu_back_block)(g + i, u + i, da + i, dg + i, du + i);
            continue;
        }
        F(lanes_tail)(g, i, n, 0, tg), F(lanes_tail)(u, i, n, 0, tu), F(lanes_tail)(da, i, n, 0, td);
        F(swiglu_back_block)(tg, tu, td, tg, tu);
        for (int64_t l = 0; l < m; l++) {
            dg[i + l] = add ? dg[i + l] + tg[l] : tg[l];
            du[i + l] = add ? du[i + l] + tu[l] : tu[l];
        }
    }
}

INLINE void F(expert_back_block)(T *g, T *u, const T *da, const T *w, T *aw, T *dot) {
    EACH_LANE(l) {
        T sigma = 1 / F(one_plus_exp)(-g[l]), silu = g[l] * sigma, a = silu * u[l], d = da[l];
        dot[l] = F(fma)(a, d, dot[l]);
        aw[l] = w[l] * a;
        d *= w[l];
        g[l] = d * u[l] * (sigma * F(fma)(g[l], 1 - sigma, 1));
        u[l] = d * silu;
    }
}
static void F(expert_backward)(T *g, T *u, const T *da, const T *w, T *aw, T *dot, int64_t n) {
    int64_t i = 0, whole = whole_blocks(n);
    for (; i < whole; i += LANES) F(expert_back_block)(g + i, u + i, da + i, w + i, aw + i, dot + i);
    if (i == n) return;
    T t[6][LANES];
    T *row[6] = {g, u, (T *)da, (T *)w, aw, dot};
    for (int j = 0; j < 6; j++) F(lanes_tail)(row[j], i, n, 0, t[j]);
    F(expert_back_block)(t[0], t[1], t[2], t[3], t[4], t[5]);
    for (int j = 0; j < 6; j++)
        if (j != 2 && j != 3) memcpy(row[j] + i, t[j], (size_t)(n - i) * sizeof(T));
}

extern const F(rt_row_kernels) RT_ISA_NAME(F(rt_row_table));
const F(rt_row_kernels) RT_ISA_NAME(F(rt_row_table)) = {
    .dot = F(dot),
    .sumsq = F(sumsq),
    .sum = F(sum),
    .max = F(max),
    .axpy = F(axpy),
    .add = F(add),
    .mul = F(mul),
    .scale = F(scale),
    .exp = F(exp_row),
    .softmax = F(softmax),
    .logsumexp = F(logsumexp),
    .rms = F(rms),
    .rms_backward = F(rms_backward),
    .rope = F(rope),
    .swiglu = F(swiglu),
    .swiglu_backward = F(swiglu_backward),
    .expert_backward = F(expert_backward),
};
#endif
