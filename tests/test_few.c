/* test_few.c - products of few rows against f64, for every storage type and level; a row's bits depend on nothing else. */
#include "harness.h"
#include "kernels/few.h"
#include "kernels/isa.h"
#include <retort/base/mem.h>
#include <math.h>
#include <string.h>

static const char *const levels[] = {"v2", "v3", "v4", "base"};
static const rt_dtype types[] = {RT_F32, RT_F16, RT_BF16, RT_F64};
static const int64_t sizes[] = {1, 5, 16, 17, 31, 32, 33, 47, 64, 100, 530};
enum { LEVELS = 4, TYPES = 4, SIZES = 11, ROWS = 11, MOST = 530 };

typedef struct product {
    bool sums;
    int64_t M, N, K, ldw;
    rt_tensor x, w, y, want, terms; /* x [M,K]; w [N,ldw] or [K,ldw]; y, want, terms (sums of sizes) [M,N] */
} product;

static rt_tensor matrix(rt_dtype t, int64_t rows, int64_t columns, double scale, uint64_t stream) {
    rt_tensor m = rt_tensor_2d(t, NULL, rows, columns);
    m.data = rt_zalloc(rt_tensor_bytes(&m));
    if (scale > 0) rt_fill_normal(&m, scale, stream);
    return m;
}
static void open_product(product *p, bool sums, rt_dtype t, int64_t M, int64_t N, int64_t K) {
    rt_dtype wide = t == RT_F64 ? RT_F64 : RT_F32;
    *p = (product){.sums = sums, .M = M, .N = N, .K = K, .ldw = (sums ? N : K) + 3};
    p->x = matrix(wide, M, K, 1, 1), p->w = matrix(t, sums ? K : N, p->ldw, 1, 2), p->y = matrix(wide, M, N, 1, 3);
    p->want = matrix(RT_F64, M, N, 0, 0), p->terms = matrix(RT_F64, M, N, 0, 0);
    for (int64_t m = 0; m < M; m++)
        for (int64_t n = 0; n < N; n++) {
            double *want = (double *)p->want.data + m * N + n, *terms = (double *)p->terms.data + m * N + n;
            if (sums) *want = rt_get(&p->y, m * N + n), *terms = fabs(*want);
            for (int64_t k = 0; k < K; k++) {
                double term = rt_get(&p->x, m * K + k) * rt_get(&p->w, sums ? k * p->ldw + n : n * p->ldw + k);
                *want += term, *terms += fabs(term);
            }
        }
}
static void close_product(product *p) {
    rt_tensor *all[] = {&p->x, &p->w, &p->y, &p->want, &p->terms};
    for (int i = 0; i < 5; i++) rt_free(all[i]->data);
}
/* Rows [first, first + count) of x. */
static void run(const product *p, int64_t first, int64_t count) {
    size_t wide = rt_dtype_size(p->x.dtype);
    char *x = (char *)p->x.data + (size_t)(first * p->K) * wide, *y = (char *)p->y.data + (size_t)(first * p->N) * wide;
    if (p->x.dtype == RT_F64) {
        rt_few_f64 f = {count, p->N, p->K, (double *)(void *)x, p->K, p->w.dtype, p->w.data, p->ldw, (double *)(void *)y, p->N};
        p->sums ? rt_few_sums_f64(&f) : rt_few_dots_f64(&f);
        return;
    }
    rt_few_f32 f = {count, p->N, p->K, (float *)(void *)x, p->K, p->w.dtype, p->w.data, p->ldw, (float *)(void *)y, p->N};
    p->sums ? rt_few_sums_f32(&f) : rt_few_dots_f32(&f);
}

/* A chain of n roundings: n 2^-24 of the terms' sum at most (f64: 2^-53). */
static void check(const product *p, const char *level) {
    double unit = p->x.dtype == RT_F64 ? 0x1p-53 : 0x1p-24, worst = 0;
    for (int64_t i = 0; i < p->M * p->N; i++) {
        double terms = ((double *)p->terms.data)[i], off = fabs(rt_get(&p->y, i) - ((double *)p->want.data)[i]);
        worst = fmax(worst, isfinite(off) ? off / (terms * unit) : (double)INFINITY);
    }
    RT_CHECK(worst <= (double)p->K + 8, "%s %s %s, M %lld N %lld K %lld: off by %g units of the terms", level, p->sums ? "sums" : "dots",
             rt_dtype_name(p->w.dtype), (long long)p->M, (long long)p->N, (long long)p->K, worst);
}

static void each(void (*fn)(product *p, const char *level)) {
    for (int l = 0; l < LEVELS; l++)
        for (int t = 0; rt_isa_force(levels[l]) && t < TYPES; t++)
            for (int i = 0; i < SIZES; i++)
                for (int sums = 0; sums < 2; sums++) {
                    product p;
                    open_product(&p, sums, types[t], 1 + i % ROWS, sizes[(i * 3 + 2) % SIZES], sizes[i]);
                    fn(&p, levels[l]);
                    close_product(&p);
                }
    rt_isa_force(NULL);
}

static void formula(product *p, const char *level) {
    run(p, 0, p->M);
    check(p, level);
}
static void they_follow_the_formula(void) { each(formula); }

static void alone(product *p, const char *level) {
    char start[ROWS * MOST * 8], together[ROWS * MOST * 8];
    size_t bytes = rt_tensor_bytes(&p->y);
    memcpy(start, p->y.data, bytes);
    run(p, 0, p->M);
    memcpy(together, p->y.data, bytes);
    memcpy(p->y.data, start, bytes);
    for (int64_t m = 0; m < p->M; m++) run(p, m, 1);
    RT_CHECK(memcmp(together, p->y.data, bytes) == 0, "%s %s: a row's bits depend on the others", level, rt_dtype_name(p->w.dtype));
}
static void a_row_does_not_depend_on_the_others(void) { each(alone); }

static void levels_with_fma_agree(void) {
    if (!rt_isa_force("v4")) {
        rt_test_skip("this processor has no v4");
        return;
    }
    for (int t = 0; t < TYPES; t++)
        for (int sums = 0; sums < 2; sums++) {
            product a, b;
            open_product(&a, sums, types[t], 5, 100, 530), open_product(&b, sums, types[t], 5, 100, 530);
            rt_isa_force("v4"), run(&a, 0, 5);
            rt_isa_force("v3"), run(&b, 0, 5);
            RT_CHECK(memcmp(a.y.data, b.y.data, rt_tensor_bytes(&a.y)) == 0, "%s: v3 and v4 differ", rt_dtype_name(types[t]));
            close_product(&a), close_product(&b);
        }
    rt_isa_force(NULL);
}

/* Every half number comes through as it is: also subnormals, infinities, NaN. */
static void every_half_is_converted_exactly(void) {
    for (int l = 0; l < LEVELS; l++)
        for (int t = 1; rt_isa_force(levels[l]) && t < 3; t++) {
            int bad = 0;
            for (uint32_t bits = 0; bits < 65536; bits += 32) {
                uint16_t w[32];
                float one = 1, y[32];
                for (uint32_t i = 0; i < 32; i++) w[i] = (uint16_t)(bits + i), y[i] = -0.0f;
                rt_few_sums_f32(&(rt_few_f32){1, 32, 1, &one, 1, types[t], w, 32, y, 32});
                for (int i = 0; i < 32; i++) {
                    float want = types[t] == RT_F16 ? rt_f16_to_f32((rt_f16){w[i]}) : rt_bf16_to_f32((rt_bf16){w[i]});
                    bad += !(isnan(want) ? isnan(y[i]) : memcmp(&want, &y[i], sizeof want) == 0);
                }
            }
            RT_CHECK(bad == 0, "%s %s: %d numbers differ", levels[l], rt_dtype_name(types[t]), bad);
        }
    rt_isa_force(NULL);
}

RT_SUITE(few) {
    RT_TEST(they_follow_the_formula);
    RT_TEST(a_row_does_not_depend_on_the_others);
    RT_TEST(levels_with_fma_agree);
    RT_TEST(every_half_is_converted_exactly);
}
