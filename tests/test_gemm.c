/* test_gemm.c - products: exact on small integers, near naive f64 on others, row-invariant, the same bits on any number
 * of threads. */
#ifndef T
#include "harness.h"
#include "kernels/contract.h"
#include "kernels/gemm.h"
#include "kernels/isa.h"
#include "kernels/matmul.h"
#include "kernels/measure.h"
#include <math.h>
#include <retort/base/mem.h>
#include <retort/base/rng.h>
#include <retort/base/threads.h>
#include <stdio.h>
#include <signal.h>
#include <string.h>
#include <sys/time.h>

typedef struct shape {
    int64_t M, K, N;
} shape;
/* Every M from 1 to 600 for the first ones; a selection of M for the large ones. */
static const shape small_shapes[] = {{600, 64, 48}, {600, 65, 33}, {600, 7, 5}, {600, 1, 1}, {600, 33, 130}};
static const shape large_shapes[] = {{600, 512, 64},   {600, 300, 700}, {600, 1408, 512},
                                     {600, 512, 1408}, {600, 2048, 96}, {600, 999, 17}};
static const int64_t some_rows[] = {1,  2,   3,   8,   15,  16,  17,  31,  33,  48,  63, 64,
                                    65, 100, 127, 129, 255, 256, 257, 300, 511, 513, 600};
#define COUNT(a) ((int)(sizeof(a) / sizeof *(a)))

static double small_integer(rt_rng r, int64_t i) { return (double)rt_rng_below(r, (uint64_t)i, 9) - 4; }

#define RT_BODY "test_gemm.c"
#include "kernels/for_each_type.h"
#else

static T *F(random)(int64_t n, uint64_t stream, bool integers) {
    rt_rng r = rt_rng_make(1, "gemm", stream);
    T *x = rt_alloc((size_t)n * sizeof(T));
    for (int64_t i = 0; i < n; i++) x[i] = (T)(integers ? small_integer(r, i) : rt_rng_normal(r, (uint64_t)i));
    return x;
}
static T *F(panel)(const shape *s, uint64_t stream, bool integers) { /* the padding is NaN: it must not be read */
    int64_t ld = rt_panel_ld(s->N);
    T *w = F(random)(s->K * s->N, stream, integers), *p = rt_alloc((size_t)(s->K * ld) * sizeof(T));
    for (int64_t i = 0; i < s->K * ld; i++) p[i] = i % ld < s->N ? w[i / ld * s->N + i % ld] : (T)NAN;
    rt_free(w);
    return p;
}

static double F(element)(const T *a, int64_t step_a, const T *b, int64_t step_b, int64_t n) {
    double s = 0;
    for (int64_t i = 0; i < n; i++) s += (double)a[i * step_a] * (double)b[i * step_b];
    return s;
}

/* The three forms on one shape, against naive sums of a sample of elements. */
static void F(check_forms)(const shape *s, bool integers) {
    int64_t M = s->M, K = s->K, N = s->N, ld = rt_panel_ld(N);
    T *x = F(random)(M * K, 1, integers), *p = F(panel)(s, 2, integers), *y = F(random)(M * N, 3, integers),
      *old = F(random)(M * N, 3, integers);
    T *dy = F(random)(M * N, 4, integers), *dw = rt_zalloc((size_t)(N * K) * sizeof(T)),
      *dx = rt_alloc((size_t)(M * K) * sizeof(T));
    T *w = F(random)(N * K, 5, integers);
    F(rt_rows_product)(&(F(rt_product)){M, N, K, x, K, p, ld, y, N, .add = true});
    F(rt_rows_product)(&(F(rt_product)){M, K, N, dy, N, w, K, dx, K, .add = false});
    F(rt_weights_product)(&(F(rt_product)){M, N, K, x, K, dy, N, dw, K, .add = true});
    double worst = 0, eps = sizeof(T) == 4 ? 1.2e-7 : 2.3e-16;
    for (int64_t t = 0; t < 500; t++) {
        int64_t i = t * 7919 % M, n = t * 104729 % N, k = t * 1299709 % K;
        double tol = integers ? 0 : 4 * eps;
        double e = fabs((double)y[i * N + n] - (double)old[i * N + n] - F(element)(x + i * K, 1, p + n, ld, K));
        double f = fabs((double)dx[i * K + k] - F(element)(dy + i * N, 1, w + k, K, N));
        double g = fabs((double)dw[n * K + k] - F(element)(dy + n, N, x + k, K, M));
        worst = fmax(worst, fmax(e - tol * (double)K, fmax(f - tol * (double)N, g - tol * (double)M)));
    }
    RT_CHECK(worst <= 0, "%ld x %ld x %ld (%s): %g beyond the tolerance", (long)M, (long)K, (long)N,
             integers ? "integers" : "normal", worst);
    void *all[] = {x, p, y, old, dy, dw, dx, w};
    for (int i = 0; i < COUNT(all); i++) rt_free(all[i]);
}

/* Rows [r0, r0 + m) alone have the bits they have within all 600. */
static bool F(same_rows)(const shape *s, const T *x, const T *p, const T *whole, T *y, const T *residual, int64_t r0,
                         int64_t m, void *scratch) {
    F(rt_product) part = {m, s->N, s->K, x + r0 * s->K, s->K, p, rt_panel_ld(s->N), y, s->N, .add = residual != NULL};
    if (residual) memcpy(y, residual + r0 * s->N, (size_t)(m * s->N) * sizeof(T));
    F(rt_rows_range)(&part, 0, m, scratch);
    return memcmp(y, whole + r0 * s->N, (size_t)(m * s->N) * sizeof(T)) == 0;
}
static void F(check_invariance)(const shape *s, const int64_t *rows, int count, bool add) {
    T *x = F(random)(s->M * s->K, 1, false), *p = F(panel)(s, 2, false),
      *residual = add ? F(random)(s->M * s->N, 3, false) : NULL;
    T *whole = rt_alloc((size_t)(s->M * s->N) * sizeof(T)), *y = rt_alloc((size_t)(s->M * s->N) * sizeof(T));
    void *scratch = rt_alloc(F(rt_rows_scratch)(s->K));
    F(rt_product) all = {s->M, s->N, s->K, x, s->K, p, rt_panel_ld(s->N), whole, s->N, .add = add};
    if (add) memcpy(whole, residual, (size_t)(s->M * s->N) * sizeof(T));
    for (int64_t t = F(rt_rows_tiles)(&all); t-- > 0;) F(rt_rows_tile)(&all, t, scratch);
    for (int i = 0; i < count; i++) {
        int64_t m = rows ? rows[i] : i + 1, r0 = (s->M - m) * (i % 3) / 2;
        RT_CHECK(F(same_rows)(s, x, p, whole, y, residual, r0, m, scratch),
                 "rows %ld..%ld differ (K %ld, N %ld, add %d)", (long)r0, (long)(r0 + m), (long)s->K, (long)s->N, add);
    }
    void *blocks[] = {x, p, residual, whole, y, scratch};
    for (int i = 0; i < COUNT(blocks); i++) rt_free(blocks[i]);
}

static void F(check_permutation)(const shape *s) {
    T *x = F(random)(s->M * s->K, 1, false), *z = rt_alloc((size_t)(s->M * s->K) * sizeof(T)),
      *p = F(panel)(s, 2, false);
    T *y = rt_alloc((size_t)(2 * s->M * s->N) * sizeof(T)), *yp = y + s->M * s->N;
    void *scratch = rt_alloc(F(rt_rows_scratch)(s->K));
    rt_rng r = rt_rng_make(3, "rows", 0);
    size_t row = (size_t)s->K * sizeof(T);
    for (int64_t i = 0; i < s->M; i++)
        memcpy(z + i * s->K, x + (int64_t)rt_rng_permute(r, (uint64_t)i, (uint64_t)s->M) * s->K, row);
    F(rt_rows_range)
    (&(F(rt_product)){s->M, s->N, s->K, x, s->K, p, rt_panel_ld(s->N), y, s->N, false}, 0, s->M, scratch);
    F(rt_rows_range)
    (&(F(rt_product)){s->M, s->N, s->K, z, s->K, p, rt_panel_ld(s->N), yp, s->N, false}, 0, s->M, scratch);
    bool same = true;
    for (int64_t i = 0; i < s->M; i++)
        same &= memcmp(yp + i * s->N, y + (int64_t)rt_rng_permute(r, (uint64_t)i, (uint64_t)s->M) * s->N,
                       (size_t)s->N * sizeof(T)) == 0;
    RT_CHECK(same, "permuted rows differ (M %ld, K %ld, N %ld)", (long)s->M, (long)s->K, (long)s->N);
    void *blocks[] = {x, z, p, y, scratch};
    for (int i = 0; i < COUNT(blocks); i++) rt_free(blocks[i]);
}

static uint64_t F(hash_of_products)(const shape *s, int threads) {
    rt_error err = {0};
    rt_threads_set(threads);
    RT_OK_OR_FAIL(rt_scratch_reserve(F(rt_rows_scratch)(s->K), &err));
    T *x = F(random)(s->M * s->K, 1, false), *p = F(panel)(s, 2, false),
      *y = rt_alloc((size_t)(s->M * s->N) * sizeof(T));
    T *dw = rt_alloc((size_t)(s->N * s->K) * sizeof(T));
    F(rt_rows_product)(&(F(rt_product)){s->M, s->N, s->K, x, s->K, p, rt_panel_ld(s->N), y, s->N, false});
    F(rt_weights_product)(&(F(rt_product)){s->M, s->N, s->K, x, s->K, y, s->N, dw, s->K, false});
    rt_tensor a = rt_tensor_2d(RT_T, y, s->M, s->N), b = rt_tensor_2d(RT_T, dw, s->N, s->K);
    uint64_t h = rt_tensor_hash(&a) * 31 + rt_tensor_hash(&b);
    void *blocks[] = {x, p, y, dw};
    for (int i = 0; i < COUNT(blocks); i++) rt_free(blocks[i]);
    return h;
}

static void F(forms)(void) {
    rt_error err = {0};
    RT_OK_OR_FAIL(rt_scratch_reserve(F(rt_rows_scratch)(2048), &err));
    for (int integers = 0; integers < 2; integers++) {
        for (int i = 0; i < COUNT(small_shapes); i++) F(check_forms)(&small_shapes[i], integers);
        F(check_forms)(&(shape){5, 40, 700}, integers);
        F(check_forms)(&(shape){270, 520, 530}, integers);
    }
    rt_scratch_release();
}
static void F(rows_are_invariant)(void) {
    for (int add = 0; add < 2; add++) {
        for (int i = 0; i < COUNT(small_shapes); i++) F(check_invariance)(&small_shapes[i], NULL, 600, add);
        for (int i = 0; i < COUNT(large_shapes); i++)
            F(check_invariance)(&large_shapes[i], some_rows, COUNT(some_rows), add);
    }
    F(check_permutation)(&small_shapes[1]);
    F(check_permutation)(&(shape){333, 512, 96});
}
static void F(threads_do_not_matter)(void) {
    static const shape shapes[] = {{600, 512, 520}, {40, 65, 33}, {256, 64, 512}}; /* the last: a single task */
    for (int i = 0; i < COUNT(shapes); i++) {
        uint64_t one = F(hash_of_products)(&shapes[i], 1);
        for (int n = 2; n <= 3; n++)
            RT_CHECK(F(hash_of_products)(&shapes[i], n) == one, "%d threads give other bits (shape %d)", n, i);
    }
    rt_threads_set(0);
}
static void F(gemm_edges)(void) { /* empty sums, beta 0 over NaN, alpha, both transposes */
    T a[6] = {1, 2, 3, 4, 5, 6}, b[6] = {1, 0, 2, 1, 0, 3}, c[4] = {(T)NAN, (T)NAN, (T)NAN, (T)NAN};
    F(rt_gemm)('N', 'T', 2, 2, 3, 2, a, 3, b, 3, 0, c, 2); /* a [2,3], b [2,3] */
    CU_ASSERT_TRUE(c[0] == 14 && c[1] == 20 && c[2] == 32 && c[3] == 44);
    F(rt_gemm)('T', 'N', 2, 2, 3, 1, a, 2, b, 2, 1, c, 2); /* a [3,2], b [3,2] */
    CU_ASSERT_TRUE(c[0] == 14 + 7 && c[1] == 20 + 18 && c[2] == 32 + 10 && c[3] == 44 + 22);
    F(rt_gemm)('N', 'N', 2, 2, 0, 1, a, 3, b, 2, 1, c, 2);
    CU_ASSERT_TRUE(c[0] == 21 && c[3] == 66);
    F(rt_gemm)('N', 'N', 2, 2, 0, 1, a, 3, b, 2, 0, c, 2);
    CU_ASSERT_TRUE(c[0] == 0 && c[3] == 0);
    F(rt_gemm)('N', 'N', 0, 2, 3, 1, a, 3, b, 2, 0, c, 2);
}
#endif

#ifndef T
/* Our own kernel is a chain in the order of k: equal to the naive loop with fma in every bit, and at every level with
 * FMA. */
static void own_product_is_a_chain(void) {
    shape s = {37, 515, 61};
    float *x = random_f32(s.M * s.K, 1, false), *w = random_f32(s.K * s.N, 2, false),
          *y = rt_zalloc((size_t)(s.M * s.N) * 4);
    static const char *const levels[] = {"v4", "v3"};
    for (int l = 0; l < COUNT(levels); l++) {
        if (!rt_isa_force(levels[l])) continue;
        bool same = true;
        for (int t = 0; t < 4; t++) { /* all transposes; the operands are read as what they then mean */
            bool a_t = t & 1, b_t = t & 2;
            rt_gemm_own_f32(a_t ? 'T' : 'N', b_t ? 'T' : 'N', s.M, s.N, s.K, 1, x, a_t ? s.M : s.K, w, b_t ? s.K : s.N,
                            0, y, s.N);
            for (int64_t i = 0; i < s.M * s.N; i++) {
                float c = 0;
                for (int64_t k = 0; k < s.K; k++)
                    c = fmaf(x[a_t ? k * s.M + i / s.N : i / s.N * s.K + k],
                             w[b_t ? i % s.N * s.K + k : k * s.N + i % s.N], c);
                same &= memcmp(&c, &y[i], 4) == 0;
            }
        }
        CU_ASSERT_TRUE(same);
    }
    rt_isa_force(NULL);
    rt_free(x), rt_free(w), rt_free(y);
}
static void contracts_are_exact(void) {
    int count;
    const rt_contract *table = rt_contract_table(&count);
    for (int i = 0; i < count; i++)
        for (int j = 0; j < count; j++)
            CU_ASSERT_EQUAL(i == j, rt_prec_equal(table[i].prec, table[j].prec)); /* no row twice */
    for (rt_dtype t = RT_F64; t <= RT_BF16; t++) CU_ASSERT_PTR_NOT_NULL(rt_contract_find(rt_prec_uniform(t)));
    CU_ASSERT_PTR_NOT_NULL(rt_contract_find((rt_prec){RT_F32, RT_F16, RT_F32, RT_F32, RT_F32}));
    rt_prec wrong = {RT_F16, RT_F16, RT_F16, RT_F16, RT_F32};
    rt_error err = {0};
    CU_ASSERT_PTR_NULL(rt_contract_find(wrong));
    CU_ASSERT_EQUAL(rt_contract_check(wrong, &err), RT_E_PREC);
    CU_ASSERT_STRING_EQUAL(err.text,
                           "no kernel for f16 f16 f16 f16 f32 (in weight acc out grad); nearest: f16 f16 f32 f16 f32");
}
static void measuring_survives_any_failed_allocation(void) {
    int64_t live = rt_mem_stats_get().live_blocks;
    double rate = -1;
    for (int64_t nth = 1; nth <= 6; nth++) {
        rt_error err = {0};
        rt_mem_fail_at(nth);
        CU_ASSERT_EQUAL(rt_measure_product_rate(&rate, &err), RT_E_NOMEM);
        rt_mem_fail_at(0);
        CU_ASSERT_EQUAL(rt_mem_stats_get().live_blocks, live);
    }
    rt_error err = {0};
    RT_OK_OR_FAIL(rt_measure_f64_rate(&rate, &err));
    CU_ASSERT_TRUE(rate > 0 && rt_measure_fma_peak() > 0);
}
static void libraries_have_names(void) {
    CU_ASSERT_TRUE(strlen(rt_gemm_f32_library()) > 5 && strcmp(rt_gemm_f64_library(), "retort") == 0 &&
                   strlen(rt_openblas_core()) > 2);
}
/* A signal's handler runs on the stack of the thread it stops. The products of some libraries use the stack pointer for their data,
 * so that the handler's frame would be written there. */
static volatile sig_atomic_t signals_seen;
static void count_signal(int number) {
    (void)number;
    signals_seen = signals_seen + 1;
}
static void signals_do_not_disturb(void) {
    enum { M = 256, N = 512, K = 512, GUARD = 1 << 16 };
    struct sigaction act = {.sa_handler = count_signal, .sa_flags = SA_RESTART}, old;
    struct itimerval often = {{0, 200}, {0, 200}}, never = {{0, 0}, {0, 0}};
    float *x = random_f32(M * K + 2 * GUARD, 1, false), *w = random_f32(K * N + 2 * GUARD, 2, false), *y = random_f32(M * N + 2 * GUARD, 3, false);
    float *kept[3] = {rt_alloc((M * K + 2 * GUARD) * 4), rt_alloc((K * N + 2 * GUARD) * 4), rt_alloc((M * N + 2 * GUARD) * 4)};
    rt_gemm_f32('N', 'N', M, N, K, 1, x + GUARD, K, w + GUARD, N, 0, y + GUARD, N);
    memcpy(kept[0], x, (M * K + 2 * GUARD) * 4), memcpy(kept[1], w, (K * N + 2 * GUARD) * 4), memcpy(kept[2], y, (M * N + 2 * GUARD) * 4);
    signals_seen = 0;
    sigaction(SIGALRM, &act, &old);
    setitimer(ITIMER_REAL, &often, NULL);
    bool same = true;
    for (int i = 0; i < 20000 && same && signals_seen < 200; i++) {
        rt_gemm_f32('N', 'N', M, N, K, 1, x + GUARD, K, w + GUARD, N, 0, y + GUARD, N);
        if (i % 8 == 0) same = memcmp(kept[0], x, (M * K + 2 * GUARD) * 4) == 0 && memcmp(kept[1], w, (K * N + 2 * GUARD) * 4) == 0 && memcmp(kept[2], y, (M * N + 2 * GUARD) * 4) == 0;
    }
    setitimer(ITIMER_REAL, &never, NULL);
    sigaction(SIGALRM, &old, NULL);
    CU_ASSERT_TRUE(same);
    CU_ASSERT_TRUE(signals_seen > 0);
    rt_free(x), rt_free(w), rt_free(y);
    for (int i = 0; i < 3; i++) rt_free(kept[i]);
}
RT_SUITE(gemm) {
    RT_TEST(own_product_is_a_chain);
    RT_TEST(contracts_are_exact);
    RT_TEST(libraries_have_names);
    RT_TEST(measuring_survives_any_failed_allocation);
    RT_TEST(signals_do_not_disturb);
    RT_TEST(gemm_edges_f32);
    RT_TEST(gemm_edges_f64);
    RT_TEST(forms_f32);
    RT_TEST(forms_f64);
    RT_TEST(rows_are_invariant_f32);
    RT_TEST(rows_are_invariant_f64);
    RT_TEST(threads_do_not_matter_f32);
    RT_TEST(threads_do_not_matter_f64);
}
#endif
