/* test_rows.c - row kernels against f64 formulas, at every ISA level, for every length up to 70; places do not matter.
 */
#ifndef T
#include "harness.h"
#include "kernels/isa.h"
#include "kernels/rows.h"
#include <float.h>
#include <math.h>
#include <retort/base/mem.h>
#include <retort/base/rng.h>
#include <string.h>

static const char *const levels[] = {"v2", "v3", "v4", "base"};
#define COUNT(a) ((int)(sizeof(a) / sizeof *(a)))
#define EACH_LEVEL(l)                                                                                                  \
    for (int l = 0; l < COUNT(levels); l++)                                                                            \
        if (rt_isa_force(levels[l]))
enum { LONGEST = 200 };
static int64_t next_length(int64_t n) { return n < 70 ? n + 1 : n + 43; }

/* The distance of y from the exact value in units of the last place of the exact value's f32. */
static double ulps(float y, double exact) {
    float f = (float)exact;
    double ulp = fmax((double)(nextafterf(fabsf(f), INFINITY) - fabsf(f)), 0x1p-149);
    return fabs((double)y - exact) / ulp;
}
static void exp_is_within_1_01_ulp(void) {
    enum { N = 1 << 20 };
    float *x = rt_alloc(N * 4), *y = rt_alloc(N * 4);
    for (int i = 0; i < N; i++) x[i] = -87.3f + (float)i * (176.0f / N);
    EACH_LEVEL(l) {
        double worst = 0,
               limit = strcmp(levels[l], "v2") == 0 || strcmp(levels[l], "base") == 0 ? 2 : 1.01; /* no FMA there */
        rt_rows_f32()->exp(0, x, y, N);
        for (int i = 0; i < N; i++) worst = fmax(worst, ulps(y[i], exp((double)x[i])));
        RT_CHECK(worst <= limit, "%s: exp is off by %g ulp", levels[l], worst);
        float edge[8] = {-INFINITY, -1000, -87.31f, 88.73f, 1e9f, INFINITY, NAN, 0}, out[8];
        rt_rows_f32()->exp(0, edge, out, 8);
        CU_ASSERT_TRUE(out[0] == 0 && out[1] == 0 && out[2] == 0 && isinf(out[3]) && isinf(out[4]) && isinf(out[5]) &&
                       isnan(out[6]) && out[7] == 1);
        edge[0] = 88.72283f;
        rt_rows_f32()->exp(0, edge, out, 1);
        CU_ASSERT_TRUE(out[0] > 3.4e38f && isfinite(out[0]));
    }
    rt_isa_force(NULL);
    rt_free(x), rt_free(y);
}

/* silu over all that f32 can hold: at most 4 ulp where the exponential is finite, no more than -2^-120 lost beyond, and what is no number or
 * has no limit stays so. */
static void check_silu(float g, const char *level) {
    float a, one = 1, dg, du;
    rt_rows_f32()->swiglu(&g, &one, &a, 1);
    rt_rows_f32()->swiglu_backward(&g, &one, &one, &dg, &du, 1, false);
    double x = (double)g, want = x / (1 + exp(-x)), slope = (1 + x / (1 + exp(x))) / (1 + exp(-x));
    bool within = isnan(g) || g == -INFINITY ? isnan(a) && isnan(dg) && isnan(du)
                  : isinf(g)                 ? a == g && du == g
                  : g < -88.7f               ? fabs((double)a - want) < 0x1p-120 && fabs((double)du - want) < 0x1p-120 && fabs((double)dg - slope) < 0x1p-110
                                             : ulps(a, want) <= 4 && ulps(du, want) <= 4 && fabs((double)dg - slope) < 1e-6;
    RT_CHECK(within, "%s: silu(%a) = %a, %a, slope %a", level, (double)g, (double)a, (double)du, (double)dg);
}
static void silu_is_sound_everywhere(void) {
    static const float edges[] = {0, -0.0f, 0x1p-149f, -0x1p-149f, -64, 88.72283f, -88.72283f, -88.722846f, -89, -90, -1e30f, -FLT_MAX, FLT_MAX, INFINITY,
                                  -INFINITY, NAN};
    uint32_t odd[] = {0x7f800001, 0xff800001, 0x7fffffff, 0xffffffff}; /* NaNs with a payload */
    EACH_LEVEL(l) {
        for (int i = 0; i < COUNT(edges); i++) check_silu(edges[i], levels[l]);
        for (int i = 0; i < COUNT(odd); i++) {
            float g;
            memcpy(&g, &odd[i], sizeof g);
            check_silu(g, levels[l]);
        }
        for (float g = -100; g < 100; g += 0.0137f) check_silu(g, levels[l]);
    }
    rt_isa_force(NULL);
}

#define RT_BODY "test_rows.c"
#include "kernels/for_each_type.h"
#else

typedef struct F(rows) {
    T x[LONGEST], y[LONGEST], z[LONGEST], w[LONGEST], out[4][LONGEST + 1];
} F(rows);
static void F(fill)(F(rows) * r) {
    rt_rng g = rt_rng_make(5, "rows", 0);
    for (int i = 0; i < LONGEST; i++) {
        r->x[i] = (T)(2 * rt_rng_normal(g, (uint64_t)i)), r->y[i] = (T)rt_rng_normal(g, (uint64_t)i + 1000);
        r->z[i] = (T)rt_rng_normal(g, (uint64_t)i + 2000), r->w[i] = (T)rt_rng_normal(g, (uint64_t)i + 3000);
    }
    for (int k = 0; k < 4; k++)
        for (int i = 0; i <= LONGEST; i++) r->out[k][i] = (T)0.5;
}
/* |got - want| <= tolerance * size; the margin is some roundings of T. */
static bool F(near)(T got, double want, double size) {
    return fabs((double)got - want) <= 16 * (sizeof(T) == 4 ? 0x1p-24 : 0x1p-53) * (fabs(want) + size);
}

static void F(check_sums)(const F(rt_row_kernels) * k, const F(rows) * r, int64_t n, const char *level) {
    double dot = 0, size = 0, sq = 0, sum = 0, sizes = 0, top = -INFINITY, e = 0;
    for (int64_t i = 0; i < n; i++) {
        double x = (double)r->x[i], y = (double)r->y[i];
        dot += x * y, size += fabs(x * y), sq += x * x, sum += x, sizes += fabs(x), top = fmax(top, x);
    }
    for (int64_t i = 0; i < n; i++) e += exp((double)r->x[i] - top);
    RT_CHECK(F(near)(k->dot(r->x, r->y, n), dot, size) && F(near)(k->sumsq(r->x, n), sq, 0) &&
                 F(near)(k->sum(r->x, n), sum, sizes) && (double)k->max(r->x, n) == top &&
                 (n == 0 ? isinf(k->logsumexp(r->x, 0)) : F(near)(k->logsumexp(r->x, n), top + log(e), 1)),
             "%s: a sum of %ld elements", level, (long)n);
}
static void F(check_elements)(const F(rt_row_kernels) * k, F(rows) * r, int64_t n, const char *level) {
    bool good = true;
    F(fill)(r);
    k->axpy((T)1.5, r->x, r->out[0], n), k->add(r->x, r->y, r->out[1], n), k->mul(r->x, r->y, r->out[2], n),
        k->scale((T)-3, r->x, r->out[3], n);
    for (int64_t i = 0; i < n; i++) {
        double x = (double)r->x[i], y = (double)r->y[i];
        good &= F(near)(r->out[0][i], 0.5 + 1.5 * x, fabs(x)) && F(near)(r->out[1][i], x + y, 0) &&
                F(near)(r->out[2][i], x * y, 0) && F(near)(r->out[3][i], -3 * x, 0);
    }
    for (int j = 0; j < 4; j++) good &= r->out[j][n] == (T)0.5; /* nothing written behind the row */
    RT_CHECK(good, "%s: element-wise kernels, n %ld", level, (long)n);
}
static void F(check_softmax)(const F(rt_row_kernels) * k, F(rows) * r, int64_t n, const char *level) {
    if (n == 0) return;
    F(fill)(r);
    T lse = k->softmax(r->x, r->out[0], n);
    memcpy(r->out[1], r->x, (size_t)n * sizeof(T));
    bool good = k->softmax(r->out[1], r->out[1], n) == lse && memcmp(r->out[0], r->out[1], (size_t)n * sizeof(T)) == 0;
    k->exp(lse, r->x, r->out[2], n);
    for (int64_t i = 0; i < n; i++) {
        double p = exp((double)r->x[i] - (double)lse);
        good &= F(near)(r->out[0][i], p, p) && F(near)(r->out[2][i], p, p);
    }
    RT_CHECK(good && r->out[0][n] == (T)0.5 && r->out[2][n] == (T)0.5, "%s: softmax, n %ld", level, (long)n);
}
static void F(check_rms)(const F(rt_row_kernels) * k, F(rows) * r, int64_t n, const char *level) {
    if (n == 0) return;
    double sq = 0, s = 0, size = 0;
    F(fill)(r);
    for (int64_t i = 0; i < n; i++) sq += (double)r->x[i] * (double)r->x[i];
    double scale = 1 / sqrt(sq / (double)n + 1e-5);
    T rr = k->rms(r->x, r->w, (T)1e-5, r->out[0], n);
    for (int64_t i = 0; i < n; i++) {
        double t = (double)r->y[i] * (double)r->w[i] * (double)r->x[i];
        s += t, size += fabs(t);
    }
    k->rms_backward(r->x, r->w, rr, r->y, r->out[1], r->out[2], n);
    bool good = F(near)(rr, scale, 0);
    for (int64_t i = 0; i < n; i++) {
        double x = (double)r->x[i], w = (double)r->w[i], dy = (double)r->y[i],
               c = x * scale * scale * scale / (double)n;
        good &= F(near)(r->out[0][i], x * scale * w, 0) && F(near)(r->out[2][i], 0.5 + dy * x * scale, 1) &&
                F(near)(r->out[1][i], 0.5 + scale * w * dy - c * s, 1 + fabs(scale * w * dy) + fabs(c) * size);
    }
    for (int j = 0; j < 3; j++) good &= r->out[j][n] == (T)0.5;
    RT_CHECK(good, "%s: rms, n %ld", level, (long)n);
}
static void F(check_swiglu)(const F(rt_row_kernels) * k, F(rows) * r, int64_t n, const char *level) {
    T g[LONGEST], u[LONGEST];
    F(fill)(r);
    memcpy(g, r->x, sizeof g), memcpy(u, r->y, sizeof u);
    k->swiglu(r->x, r->y, r->out[0], n);
    k->swiglu_backward(r->x, r->y, r->z, r->out[1], r->out[2], n, true);
    k->swiglu_backward(g, u, r->z, g, u, n, false); /* in place */
    bool good = true;
    for (int64_t i = 0; i < n; i++) {
        double x = (double)r->x[i], y = (double)r->y[i], d = (double)r->z[i], sigma = 1 / (1 + exp(-x)),
               slope = sigma * (1 + x * (1 - sigma));
        good &= F(near)(r->out[0][i], x * sigma * y, 0) && F(near)(g[i], d * y * slope, fabs(d * y)) &&
                F(near)(u[i], d * x * sigma, 0);
        good &= r->out[1][i] == (T)0.5 + g[i] && r->out[2][i] == (T)0.5 + u[i];
    }
    for (int j = 0; j < 3; j++) good &= r->out[j][n] == (T)0.5;
    good &= n == LONGEST || (g[n] == r->x[n] && u[n] == r->y[n]);
    RT_CHECK(good, "%s: swiglu, n %ld", level, (long)n);
}
static void F(check_expert)(const F(rt_row_kernels) * k, F(rows) * r, int64_t n,
                            const char *level) { /* = swiglu and its backward, weighted */
    T g[LONGEST], u[LONGEST], wd[LONGEST];
    F(fill)(r);
    memcpy(g, r->x, sizeof g), memcpy(u, r->y, sizeof u);
    k->expert_backward(g, u, r->z, r->w, r->out[0], r->out[1], n);
    k->mul(r->w, r->z, wd, n), k->swiglu(r->x, r->y, r->out[2], n),
        k->swiglu_backward(r->x, r->y, wd, r->out[3], wd, n, false);
    bool good = true;
    for (int64_t i = 0; i < n; i++)
        good &= F(near)(g[i], (double)r->out[3][i], 0.1) && F(near)(u[i], (double)wd[i], 0.1) &&
                F(near)(r->out[0][i], (double)r->w[i] * (double)r->out[2][i], 0) &&
                F(near)(r->out[1][i], 0.5 + (double)r->z[i] * (double)r->out[2][i], 1);
    RT_CHECK(good && r->out[0][n] == (T)0.5 && r->out[1][n] == (T)0.5, "%s: expert backward, n %ld", level, (long)n);
}
static void F(check_rope)(const F(rt_row_kernels) * k, F(rows) * r, int64_t half, const char *level) {
    T c[LONGEST / 2], s[LONGEST / 2], x[LONGEST];
    F(fill)(r);
    memcpy(x, r->x, sizeof x);
    for (int64_t i = 0; i < half; i++) c[i] = (T)cos(0.3 * (double)i), s[i] = (T)sin(0.3 * (double)i);
    k->rope(x, c, s, half, 1, 1);
    bool good = true;
    for (int64_t i = 0; i < half; i++) {
        double a = (double)r->x[i], b = (double)r->x[half + i], cs = cos(0.3 * (double)i), sn = sin(0.3 * (double)i);
        good &= F(near)(x[i], a * cs - b * sn, fabs(a) + fabs(b)) &&
                F(near)(x[half + i], b * cs + a * sn, fabs(a) + fabs(b));
    }
    k->rope(x, c, s, half, 1, -1); /* and back */
    for (int64_t i = 0; i < 2 * half; i++) good &= F(near)(x[i], (double)r->x[i], 4);
    int64_t width = half ? 2 * half : 1, heads = LONGEST / width; /* together as one by one */
    T apart[LONGEST];
    memcpy(x, r->x, sizeof x), memcpy(apart, r->x, sizeof apart);
    k->rope(x, c, s, half, heads, 1);
    for (int64_t h = 0; h < heads; h++) k->rope(apart + h * width, c, s, half, 1, 1);
    good &= memcmp(x, apart, sizeof x) == 0;
    RT_CHECK(good, "%s: rope, half %ld", level, (long)half);
}

static void F(equal_the_formulas)(void) {
    F(rows) r;
    F(fill)(&r);
    EACH_LEVEL(l) for (int64_t n = 0; n <= LONGEST; n = next_length(n)) {
        const F(rt_row_kernels) *k = F(rt_rows)();
        F(check_sums)
        (k, &r, n, levels[l]), F(check_elements)(k, &r, n, levels[l]), F(check_softmax)(k, &r, n, levels[l]);
        F(check_rms)(k, &r, n, levels[l]), F(check_swiglu)(k, &r, n, levels[l]), F(check_expert)(k, &r, n, levels[l]);
        F(check_rope)(k, &r, n / 2, levels[l]);
    }
    rt_isa_force(NULL);
}

/* An element's exp or SwiGLU is the same anywhere in the row; a sum is the same at any address. */
static void F(places_do_not_matter)(void) {
    F(rows) r;
    F(fill)(&r);
    EACH_LEVEL(l) {
        const F(rt_row_kernels) *k = F(rt_rows)();
        bool same = true;
        k->exp(1, r.x, r.out[0], LONGEST), k->swiglu(r.x, r.y, r.out[1], LONGEST);
        for (int at = 0; at < 40; at++) {
            T one[2], moved[LONGEST + 64];
            k->exp(1, r.x + at, one, 1), k->swiglu(r.x + at, r.y + at, one + 1, 1);
            same &= memcmp(&one[0], &r.out[0][at], sizeof(T)) == 0 && memcmp(&one[1], &r.out[1][at], sizeof(T)) == 0;
            memcpy(moved + at, r.x, sizeof r.x);
            T a = k->sumsq(r.x, 117), b = k->sumsq(moved + at, 117), c = k->logsumexp(r.x, 117),
              d = k->logsumexp(moved + at, 117);
            same &= memcmp(&a, &b, sizeof a) == 0 && memcmp(&c, &d, sizeof c) == 0;
        }
        RT_CHECK(same, "%s: bits depend on the place", levels[l]);
    }
    rt_isa_force(NULL);
}
#endif

#ifndef T
static void v3_and_v4_agree_in_bits(void) {
    rows_f32 a, b;
    fill_f32(&a);
    b = a;
    if (!rt_isa_force("v4")) {
        rt_test_skip("this processor has no AVX-512");
        return;
    }
    rows_f32 *r[2] = {&a, &b};
    float sums[2][5];
    for (int i = 0; i < 2; i++) {
        CU_ASSERT_TRUE(rt_isa_force(i ? "v3" : "v4"));
        const rt_row_kernels_f32 *k = rt_rows_f32();
        float s[5] = {k->dot(a.x, a.y, 199), k->softmax(a.x, r[i]->out[0], 199),
                      k->rms(a.x, a.w, 1e-5f, r[i]->out[1], 199), k->max(a.x, 199), 0};
        k->swiglu(a.x, a.y, r[i]->out[2], 199);
        k->rms_backward(a.x, a.w, s[2], a.y, r[i]->out[3], r[i]->out[2], 199);
        memcpy(sums[i], s, sizeof s);
    }
    rt_isa_force(NULL);
    CU_ASSERT_TRUE(memcmp(a.out, b.out, sizeof a.out) == 0 && memcmp(sums[0], sums[1], sizeof sums[0]) == 0);
}
static void levels_are_forced_and_refused(void) {
    CU_ASSERT_FALSE(rt_isa_force("v9"));
    rt_isa own = rt_isa_level();
    CU_ASSERT_TRUE(rt_isa_force(rt_isa_name(own)));
    CU_ASSERT_TRUE(rt_isa_force(NULL) && rt_isa_level() == own);
}
RT_SUITE(rows) {
    RT_TEST(levels_are_forced_and_refused);
    RT_TEST(exp_is_within_1_01_ulp);
    RT_TEST(silu_is_sound_everywhere);
    RT_TEST(equal_the_formulas_f32);
    RT_TEST(equal_the_formulas_f64);
    RT_TEST(places_do_not_matter_f32);
    RT_TEST(places_do_not_matter_f64);
    RT_TEST(v3_and_v4_agree_in_bits);
}
#endif
