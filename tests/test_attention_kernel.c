/* test_attention_kernel.c - tiled attention against naive f64, causality in bits, every ISA level, any sizes. */
#ifndef T
#include "harness.h"
#include "kernels/attention.h"
#include "kernels/convert.h"
#include "kernels/isa.h"
#include <math.h>
#include <retort/base/mem.h>
#include <retort/base/rng.h>
#include <string.h>

/* length, head_dim, query heads per key-value head */
typedef struct attention_case {
    int64_t n, d, group;
} attention_case;
static const attention_case cases[] = {{1, 8, 1},    {2, 1, 2},    {17, 8, 2},    {31, 12, 1},
                                       {33, 16, 3},  {64, 20, 1},  {65, 24, 2},   {100, 64, 1},
                                       {257, 33, 1}, {300, 16, 2}, {545, 128, 1}, {1100, 5, 1}};
static const char *const levels[] = {"v2", "v3", "v4", "base"};
#define COUNT(a) ((int)(sizeof(a) / sizeof *(a)))

typedef struct naive {
    double *o, *lse, *dq, *dk, *dv, top; /* top: the largest score */
} naive;

static double *zeros(int64_t n) { return rt_zalloc((size_t)n * sizeof(double)); }
static naive naive_new(attention_case c) {
    int64_t q = c.n * c.d * c.group, k = c.n * c.d;
    return (naive){zeros(q), zeros(c.n * c.group), zeros(q), zeros(k), zeros(k), 0};
}
static void naive_free(naive *r) { rt_free(r->o), rt_free(r->lse), rt_free(r->dq), rt_free(r->dk), rt_free(r->dv); }

#define RT_BODY "test_attention_kernel.c"
#include "kernels/for_each_type.h"
#else

typedef struct F(data) {
    attention_case c;
    int64_t ldq, ldkv;
    T scale, *q, *k, *v, *o, *lse, *d_o, *dq, *dk, *dv;
} F(data);

static T *F(normal)(int64_t n, uint64_t stream, double scale) {
    rt_rng r = rt_rng_make(7, "attention", stream);
    T *x = rt_alloc((size_t)n * sizeof(T));
    for (int64_t i = 0; i < n; i++) x[i] = (T)(scale * rt_rng_normal(r, (uint64_t)i));
    return x;
}
static F(data) F(data_new)(attention_case c) { /* rows lie apart, as in a fused qkv array */
    F(data) a = {.c = c, .ldq = c.group * c.d + 3, .ldkv = c.d + 5, .scale = (T)(1 / sqrt((double)c.d))};
    a.q = F(normal)(c.n * a.ldq, 1, 1.5), a.k = F(normal)(c.n * a.ldkv, 2, 1.5), a.v = F(normal)(c.n * a.ldkv, 3, 1);
    a.d_o = F(normal)(c.n * a.ldq, 4, 1), a.o = F(normal)(c.n * a.ldq, 5, 0), a.lse = F(normal)(c.n * c.group, 6, 0);
    a.dq = F(normal)(c.n * a.ldq, 7, 0), a.dk = F(normal)(c.n * a.ldkv, 8, 0), a.dv = F(normal)(c.n * a.ldkv, 9, 0);
    return a;
}
static void F(data_free)(F(data) * a) {
    void *all[] = {a->q, a->k, a->v, a->o, a->lse, a->d_o, a->dq, a->dk, a->dv};
    for (int i = 0; i < COUNT(all); i++) rt_free(all[i]);
}

static rt_head_rows F(rows_of)(const T *x, int64_t ld) { return (rt_head_rows){(T *)x, ld, RT_T}; }
/* Query heads [h, h + heads) of rows [past, past + n). */
static F(rt_attention_forward_call) F(call_of)(const F(data) * a, int64_t h, int64_t heads, int64_t past, int64_t n) {
    int64_t at = past * a->ldq + h * a->c.d;
    return (F(rt_attention_forward_call)){.past = past, .length = n, .head_dim = a->c.d, .group = heads, .scale = a->scale, .q = F(rows_of)(a->q + at, a->ldq),
                                          .k = F(rows_of)(a->k, a->ldkv), .v = F(rows_of)(a->v, a->ldkv), .o = F(rows_of)(a->o + at, a->ldq),
                                          .lse = a->lse + past * a->c.group + h, .ldlse = a->c.group};
}
static void F(forward)(const F(data) * a, int64_t n) {
    void *w = rt_alloc(F(rt_attention_forward_workspace)(n, a->c.d));
    F(rt_attention_forward_call) c = F(call_of)(a, 0, a->c.group, 0, n);
    CU_ASSERT_FALSE(F(rt_attention_forward)(&c, w));
    rt_free(w);
}
static void F(backward_of)(const F(data) * a, bool add) {
    void *w = rt_alloc(F(rt_attention_backward_workspace)(a->c.n, a->c.d));
    F(rt_attention_backward_call) c = {.length = a->c.n, .head_dim = a->c.d, .group = a->c.group, .scale = a->scale, .q = F(rows_of)(a->q, a->ldq),
                                       .k = F(rows_of)(a->k, a->ldkv), .v = F(rows_of)(a->v, a->ldkv), .o = F(rows_of)(a->o, a->ldq),
                                       .d_o = F(rows_of)(a->d_o, a->ldq), .lse = a->lse, .ldlse = a->c.group, .add = add, .dq = a->dq, .lddq = a->ldq,
                                       .dk = a->dk, .dv = a->dv, .lddkv = a->ldkv};
    F(rt_attention_backward)(&c, w);
    rt_free(w);
}
static void F(backward)(const F(data) * a) { F(backward_of)(a, true); }

/* One row of one head, straight from the formulas in attention.h. p is scratch [n]. */
static void F(naive_row)(const F(data) * a, naive *r, int64_t h, int64_t i, double *p) {
    int64_t d = a->c.d, at = i * a->ldq + h * d, out = (i * a->c.group + h) * d;
    double top = -INFINITY, sum = 0, o_do = 0;
    for (int64_t j = 0; j <= i; j++) {
        p[j] = 0;
        for (int64_t x = 0; x < d; x++) p[j] += (double)a->q[at + x] * (double)a->k[j * a->ldkv + x];
        top = fmax(top, p[j] *= (double)a->scale);
    }
    for (int64_t j = 0; j <= i; j++) sum += exp(p[j] - top);
    r->lse[i * a->c.group + h] = top + log(sum);
    for (int64_t j = 0; j <= i; j++) r->top = fmax(r->top, fabs(p[j]));
    for (int64_t j = 0; j <= i; j++) {
        p[j] = exp(p[j] - top) / sum;
        for (int64_t x = 0; x < d; x++) r->o[out + x] += p[j] * (double)a->v[j * a->ldkv + x];
    }
    for (int64_t x = 0; x < d; x++) o_do += r->o[out + x] * (double)a->d_o[at + x];
    for (int64_t j = 0; j <= i; j++) {
        double dp = 0, ds;
        for (int64_t x = 0; x < d; x++) dp += (double)a->d_o[at + x] * (double)a->v[j * a->ldkv + x];
        ds = p[j] * (dp - o_do) * (double)a->scale;
        for (int64_t x = 0; x < d; x++) {
            r->dq[out + x] += ds * (double)a->k[j * a->ldkv + x];
            r->dk[j * d + x] += ds * (double)a->q[at + x];
            r->dv[j * d + x] += p[j] * (double)a->d_o[at + x];
        }
    }
}

/* max |x - y| / max |y|, x [rows, width] with stride ld, y packed. */
static double F(distance)(const T *x, int64_t ld, const double *y, int64_t rows, int64_t width) {
    double worst = 0, largest = 1e-30;
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < width; j++) {
            worst = fmax(worst, fabs((double)x[i * ld + j] - y[i * width + j]));
            largest = fmax(largest, fabs(y[i * width + j]));
        }
    return worst / largest;
}

static void F(check_case)(attention_case c, const char *level) {
    F(data) a = F(data_new)(c);
    naive r = naive_new(c);
    double *p = zeros(c.n), eps = sizeof(T) == 4 ? 0x1p-24 : 0x1p-53;
    for (int64_t h = 0; h < c.group; h++)
        for (int64_t i = 0; i < c.n; i++) F(naive_row)(&a, &r, h, i, p);
    F(forward)(&a, c.n);
    F(backward)(&a);
    double tol = 8 * eps * (2 + r.top); /* a probability is as exact as its score: eps times the score */
    int64_t width = c.group * c.d;
    double e[5] = {F(distance)(a.o, a.ldq, r.o, c.n, width), F(distance)(a.lse, c.group, r.lse, c.n, c.group),
                   F(distance)(a.dq, a.ldq, r.dq, c.n, width), F(distance)(a.dk, a.ldkv, r.dk, c.n, c.d),
                   F(distance)(a.dv, a.ldkv, r.dv, c.n, c.d)};
    for (int i = 0; i < 5; i++)
        RT_CHECK(e[i] <= tol, "%s n %ld d %ld group %ld: %s differs by %g", level, (long)c.n, (long)c.d, (long)c.group,
                 ((const char *[]){"o", "lse", "dq", "dk", "dv"})[i], e[i]);
    rt_free(p);
    naive_free(&r);
    F(data_free)(&a);
}
static void F(equals_naive)(void) {
    for (int l = 0; l < COUNT(levels); l++)
        for (int i = 0; rt_isa_force(levels[l]) && i < COUNT(cases); i++) F(check_case)(cases[i], levels[l]);
    rt_isa_force(NULL);
}

/* Rows of a prefix have the bits they have in the whole; dq too, which also depends on earlier rows alone. */
static void F(causal_in_bits)(void) {
    attention_case c = {700, 24, 1};
    for (int l = 0; l < COUNT(levels); l++) {
        if (!rt_isa_force(levels[l])) continue;
        F(data) whole = F(data_new)(c), part = F(data_new)(c);
        F(forward)(&whole, c.n);
        F(backward)(&whole);
        for (int64_t n = 1; n < c.n; n += n < 70 ? 1 : 61) {
            part.c.n = n;
            F(forward)(&part, n);
            memset(part.dq, 0, (size_t)(n * part.ldq) * sizeof(T));
            F(backward)(&part);
            bool same = true;
            for (int64_t i = 0; i < n; i++)
                same &= memcmp(whole.o + i * whole.ldq, part.o + i * part.ldq, (size_t)c.d * sizeof(T)) == 0 &&
                        whole.lse[i] == part.lse[i] &&
                        memcmp(whole.dq + i * whole.ldq, part.dq + i * part.ldq, (size_t)c.d * sizeof(T)) == 0;
            RT_CHECK(same, "%s: a prefix of %ld rows has other bits", levels[l], (long)n);
        }
        F(data_free)(&whole), F(data_free)(&part);
    }
    rt_isa_force(NULL);
}

/* Rows on their own, keys converted at once or by tiles, later rows not finite: the bits of the whole. */
static void F(check_rows)(const F(data) * whole, F(data) * part, int64_t past, int64_t n, bool by_tile) {
    int64_t rows = past + n, keys = by_tile && rows > RT_ATTENTION_KEYS ? RT_ATTENTION_KEYS : rows;
    F(rt_attention_forward_call) c = F(call_of)(part, 0, 1, past, n);
    void *w = rt_alloc(F(rt_attention_forward_workspace)(keys, c.head_dim));
    c.by_tile = by_tile;
    memcpy(part->k, whole->k, (size_t)(part->c.n * part->ldkv) * sizeof(T));
    memcpy(part->v, whole->v, (size_t)(part->c.n * part->ldkv) * sizeof(T));
    for (int64_t i = rows * part->ldkv; i < part->c.n * part->ldkv; i++) part->k[i] = part->v[i] = (T)NAN;
    memset(part->o, 0, (size_t)(part->c.n * part->ldq) * sizeof(T));
    F(rt_attention_forward)(&c, w);
    bool same = true;
    for (int64_t i = past; i < rows; i++)
        same &= memcmp(whole->o + i * whole->ldq, part->o + i * part->ldq, (size_t)c.head_dim * sizeof(T)) == 0 && whole->lse[i] == part->lse[i];
    RT_CHECK(same, "rows %ld to %ld alone%s have other bits", (long)past, (long)rows, by_tile ? ", keys by tile" : "");
    rt_free(w);
}
static void F(rows_alone_have_the_same_bits)(void) {
    static const int64_t past[] = {0, 1, 15, 16, 31, 32, 33, 480, 495, 511, 512, 513, 544, 1023, 1024, 1090};
    for (int l = 0; l < COUNT(levels); l++) {
        if (!rt_isa_force(levels[l])) continue;
        F(data) whole = F(data_new)((attention_case){1100, 24, 1}), part = F(data_new)((attention_case){1100, 24, 1});
        F(forward)(&whole, whole.c.n);
        for (int i = 0; i < COUNT(past); i++)
            for (int64_t n = 1; past[i] + n <= 1100; n = 4 * n + 1)
                for (int by_tile = 0; by_tile < 2; by_tile++) F(check_rows)(&whole, &part, past[i], n, by_tile);
        F(data_free)(&whole), F(data_free)(&part);
    }
    rt_isa_force(NULL);
}

/* Overwriting finds nothing there; adding adds. */
static void F(overwrites_or_adds)(void) {
    F(data) a = F(data_new)((attention_case){77, 20, 2}), b = F(data_new)((attention_case){77, 20, 2});
    F(forward)(&a, 77), F(forward)(&b, 77);
    F(backward)(&a); /* onto zeros */
    for (int64_t i = 0; i < 77 * b.ldq; i++) b.dq[i] = (T)NAN;
    for (int64_t i = 0; i < 77 * b.ldkv; i++) b.dk[i] = b.dv[i] = (T)NAN;
    F(backward_of)(&b, false);
    int wrong = 0;
    for (int64_t i = 0; i < 77; i++)
        for (int64_t j = 0; j < 40; j++) {
            wrong += a.dq[i * a.ldq + j] != b.dq[i * b.ldq + j];
            if (j < 20) wrong += a.dk[i * a.ldkv + j] != b.dk[i * b.ldkv + j] || a.dv[i * a.ldkv + j] != b.dv[i * b.ldkv + j];
        }
    F(backward)(&b);
    for (int64_t i = 0; i < 77; i++)
        for (int64_t j = 0; j < 40; j++) wrong += b.dq[i * b.ldq + j] != 2 * a.dq[i * a.ldq + j];
    RT_CHECK(wrong == 0, "%d elements", wrong);
    F(data_free)(&a), F(data_free)(&b);
}

static void F(large_scores)(void) { /* scores of +-1000: one key takes all, nothing overflows */
    F(data) a = F(data_new)((attention_case){600, 16, 1});
    for (int64_t i = 0; i < 600 * a.ldq; i++) a.q[i] *= 200;
    F(forward)(&a, 600);
    F(backward)(&a);
    bool finite = true;
    for (int64_t i = 0; i < 600; i++)
        for (int64_t j = 0; j < 16; j++)
            finite &= isfinite(a.o[i * a.ldq + j]) && isfinite(a.dq[i * a.ldq + j]) && isfinite(a.dk[i * a.ldkv + j]) &&
                      isfinite(a.dv[i * a.ldkv + j]);
    CU_ASSERT_TRUE(finite);
    F(data_free)(&a);
}
#endif

#ifndef T
static void v3_and_v4_agree_in_bits(void) {
    attention_case c = {333, 40, 2};
    if (!rt_isa_force("v4")) {
        rt_test_skip("this processor has no AVX-512");
        return;
    }
    data_f32 a = data_new_f32(c), b = data_new_f32(c);
    forward_f32(&a, c.n), backward_f32(&a);
    CU_ASSERT_TRUE(rt_isa_force("v3"));
    forward_f32(&b, c.n), backward_f32(&b);
    rt_isa_force(NULL);
    size_t q = (size_t)(c.n * a.ldq) * 4, k = (size_t)(c.n * a.ldkv) * 4;
    CU_ASSERT_TRUE(memcmp(a.o, b.o, q) == 0 && memcmp(a.dq, b.dq, q) == 0 && memcmp(a.dk, b.dk, k) == 0 &&
                   memcmp(a.dv, b.dv, k) == 0);
    data_free_f32(&a), data_free_f32(&b);
}
static void workspace_is_linear_and_checked(void) {
    size_t one = rt_attention_forward_workspace_f32(1000, 64), two = rt_attention_forward_workspace_f32(2000, 64);
    CU_ASSERT_EQUAL(two - one, 1000u * 64 * 2 * 4);
    CU_ASSERT_EQUAL(rt_attention_backward_workspace_f64(INT64_MAX / 8, 64), SIZE_MAX);
}
/* Half rows: the bits of the same numbers in f32, o rounded once; what exceeds f16 is reported. */
static void half_rows(void) {
    attention_case c = {150, 24, 2};
    for (int bf = 0; bf < 2; bf++) {
        rt_dtype t = bf ? RT_BF16 : RT_F16;
        data_f32 a = data_new_f32(c);
        int64_t nq = c.n * a.ldq, nk = c.n * a.ldkv;
        rt_f16 *q = rt_alloc((size_t)nq * 2), *k = rt_alloc((size_t)nk * 2), *v = rt_alloc((size_t)nk * 2), *o = rt_zalloc((size_t)nq * 2), *x = rt_zalloc((size_t)nq * 2);
        rt_rows_store_f32(t, a.q, q, nq), rt_rows_store_f32(t, a.k, k, nk), rt_rows_store_f32(t, a.v, v, nk);
        rt_rows_load_f32(t, q, a.q, nq), rt_rows_load_f32(t, k, a.k, nk), rt_rows_load_f32(t, v, a.v, nk);
        forward_f32(&a, c.n);
        rt_rows_store_f32(t, a.o, x, nq);
        rt_attention_forward_call_f32 call = call_of_f32(&a, 0, c.group, 0, c.n);
        call.q = (rt_head_rows){q, a.ldq, t}, call.k = (rt_head_rows){k, a.ldkv, t}, call.v = (rt_head_rows){v, a.ldkv, t}, call.o = (rt_head_rows){o, a.ldq, t};
        void *w = rt_alloc(rt_attention_forward_workspace_f32(c.n, c.d));
        CU_ASSERT_FALSE(rt_attention_forward_f32(&call, w));
        for (int64_t i = 0; i < c.n; i++) CU_ASSERT_EQUAL(memcmp(o + i * a.ldq, x + i * a.ldq, (size_t)(c.group * c.d) * 2), 0);
        for (int64_t i = 0; i < nk; i++) a.v[i] = 3e38f;
        call.v = rows_of_f32(a.v, a.ldkv);
        CU_ASSERT_EQUAL(rt_attention_forward_f32(&call, w), t == RT_F16); /* 3e38 is a bf16 */
        rt_free(w), rt_free(q), rt_free(k), rt_free(v), rt_free(o), rt_free(x);
        data_free_f32(&a);
    }
}
RT_SUITE(attention_kernel) {
    RT_TEST(equals_naive_f32);
    RT_TEST(equals_naive_f64);
    RT_TEST(causal_in_bits_f32);
    RT_TEST(causal_in_bits_f64);
    RT_TEST(rows_alone_have_the_same_bits_f32);
    RT_TEST(rows_alone_have_the_same_bits_f64);
    RT_TEST(large_scores_f32);
    RT_TEST(large_scores_f64);
    RT_TEST(overwrites_or_adds_f32);
    RT_TEST(overwrites_or_adds_f64);
    RT_TEST(half_rows);
    RT_TEST(v3_and_v4_agree_in_bits);
    RT_TEST(workspace_is_linear_and_checked);
}
#endif
