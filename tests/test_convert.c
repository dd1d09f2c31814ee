/* test_convert.c - half conversions equal the scalar ones for every f16, bf16 and a dense set of f32; transposes and
 * panels. */
#ifndef T
#include "harness.h"
#include "kernels/convert.h"
#include "kernels/isa.h"
#include <math.h>
#include <retort/base/mem.h>
#include <retort/base/rng.h>
#include <string.h>

static const char *const levels[] = {"v2", "v3", "v4", "base"};
#define COUNT(a) ((int)(sizeof(a) / sizeof *(a)))
#define EACH_LEVEL(l)                                                                                                  \
    for (int l = 0; l < COUNT(levels); l++)                                                                            \
        if (rt_isa_force(levels[l]))

static uint16_t scalar_half(rt_dtype t, float x) {
    return t == RT_F16 ? rt_f32_to_f16(x).bits : rt_f32_to_bf16(x).bits;
}
static float scalar_float(rt_dtype t, uint16_t h) {
    return t == RT_F16 ? rt_f16_to_f32((rt_f16){h}) : rt_bf16_to_f32((rt_bf16){h});
}
static float from_bits(uint32_t u) {
    float f;
    memcpy(&f, &u, 4);
    return f;
}

static void every_half_loads(void) {
    uint16_t *h = rt_alloc(65536 * 2);
    float *x = rt_alloc(65536 * 4);
    for (int i = 0; i < 65536; i++) h[i] = (uint16_t)i;
    EACH_LEVEL(l) for (rt_dtype t = RT_F16; t <= RT_BF16; t++) {
        bool same = true;
        rt_rows_load_f32(t, h, x, 65536);
        for (int i = 0; i < 65536; i++) {
            float y = scalar_float(t, h[i]);
            same &= memcmp(&x[i], &y, 4) == 0;
        }
        RT_CHECK(same, "%s: %s loads differ", levels[l], rt_dtype_name(t));
    }
    rt_isa_force(NULL);
    rt_free(h), rt_free(x);
}

/* Every exponent and sign with the significands around each rounding decision, and pseudo-random ones: 2 M values. */
static int64_t interesting(float *x) {
    static const uint32_t tails[] = {0, 1, 0xfff, 0x1000, 0x1001, 0x1fff, 0x7fff, 0x8000, 0x8001, 0xffff};
    rt_rng r = rt_rng_make(1, "floats", 0);
    int64_t n = 0;
    for (uint32_t top = 0; top < 65536; top++)
        for (int k = 0; k < COUNT(tails); k++) x[n++] = from_bits(top << 16 | tails[k]);
    for (uint32_t top = 0; top < 65536; top++)
        for (int k = 0; k < 22; k++, n++) x[n] = from_bits(top << 16 | (uint32_t)(rt_rng_u64(r, (uint64_t)n) & 0xffff));
    return n;
}
static void every_rounding_stores(void) {
    float *x = rt_alloc(65536 * 32 * 4), *y = rt_alloc(65536 * 32 * 4);
    uint16_t *h = rt_alloc(65536 * 32 * 2);
    int64_t n = interesting(x);
    EACH_LEVEL(l) for (rt_dtype t = RT_F16; t <= RT_BF16; t++) {
        bool same = true, round = true;
        CU_ASSERT_TRUE(rt_rows_store_f32(t, x, h, n)); /* some overflow */
        memcpy(y, x, (size_t)n * 4);
        CU_ASSERT_TRUE(rt_round_rows(t, y, n));
        for (int64_t i = 0; i < n; i++) {
            float back = scalar_float(t, h[i]);
            same &= h[i] == scalar_half(t, x[i]);
            round &= memcmp(&back, &y[i], 4) == 0;
        }
        RT_CHECK(same, "%s: stores to %s differ", levels[l], rt_dtype_name(t));
        RT_CHECK(round, "%s: rounding to %s differs", levels[l], rt_dtype_name(t));
    }
    rt_isa_force(NULL);
    rt_free(x), rt_free(y), rt_free(h);
}
static void
overflow_is_told(void) { /* at any place of any length; infinities and NaNs that were there already do not count */
    float x[40];
    uint16_t h[40];
    EACH_LEVEL(l) for (int n = 1; n <= 40; n++) for (int at = 0; at < n; at += 3) {
        for (int i = 0; i < n; i++) x[i] = i % 3 == 0 ? INFINITY : i % 3 == 1 ? NAN : -65504.0f;
        CU_ASSERT_FALSE(rt_rows_store_f32(RT_F16, x, h, n));
        x[at] = 65519.99f;
        CU_ASSERT_FALSE(rt_rows_store_f32(RT_F16, x, h, n));
        x[at] = -65520.0f;
        CU_ASSERT_TRUE(rt_rows_store_f32(RT_F16, x, h, n));
        CU_ASSERT_FALSE(rt_rows_store_f32(RT_BF16, x, h, n));
        CU_ASSERT_TRUE(rt_round_rows(RT_F16, x, n));
    }
    rt_isa_force(NULL);
}
static void tails_stay_inside(void) { /* nothing beyond n is written */
    float x[48], y[48];
    uint16_t h[48];
    EACH_LEVEL(l) for (int n = 0; n <= 33; n++) for (rt_dtype t = RT_F16; t <= RT_BF16; t++) {
        for (int i = 0; i < 48; i++) x[i] = (float)i, y[i] = -1, h[i] = 0x1234;
        rt_rows_store_f32(t, x, h, n);
        rt_rows_load_f32(t, h, y, n);
        for (int i = 0; i < 48; i++) CU_ASSERT_TRUE(i < n ? y[i] == x[i] : y[i] == -1 && h[i] == 0x1234);
    }
    rt_isa_force(NULL);
}
static void panels_equal_their_definition(void) {
    static const int64_t shapes[][2] = {{1, 1}, {16, 16}, {33, 50}, {64, 48}, {100, 7}, {15, 130}}; /* N, K */
    EACH_LEVEL(l) for (rt_dtype t = RT_F16; t <= RT_BF16; t++) for (int s = 0; s < COUNT(shapes); s++) {
        int64_t N = shapes[s][0], K = shapes[s][1], lds = K + 3, ld = N + 21;
        uint16_t *w = rt_alloc((size_t)(N * lds) * 2), *tight = rt_alloc((size_t)(N * K) * 2),
                 *packed = rt_alloc((size_t)(N * K) * 2);
        float *a = rt_alloc((size_t)(K * ld) * 4), *b = rt_alloc((size_t)(K * ld) * 4);
        for (int64_t i = 0; i < N * lds; i++) w[i] = scalar_half(t, (float)i * 0.37f - 100);
        for (int64_t i = 0; i < N * K; i++) tight[i] = w[i / K * lds + i % K];
        rt_transpose_half(tight, N, K, packed);
        rt_panel_from_natural(t, w, lds, N, K, a, ld);
        rt_panel_from_packed(t, packed, K, N, b, ld);
        bool same = true;
        for (int64_t k = 0; k < K; k++)
            for (int64_t n = 0; n < N; n++)
                same &= a[k * ld + n] == scalar_float(t, w[n * lds + k]) && b[k * ld + n] == a[k * ld + n];
        RT_CHECK(same, "%s: panel of %s [%ld,%ld]", levels[l], rt_dtype_name(t), (long)N, (long)K);
        rt_free(w), rt_free(tight), rt_free(packed), rt_free(a), rt_free(b);
    }
    rt_isa_force(NULL);
}
static void f64_rows(void) {
    double x[20], y[20];
    float f[20];
    uint16_t h[20];
    for (int i = 0; i < 20; i++) h[i] = rt_f32_to_bf16((float)i - 7).bits, x[i] = i + 1e-12;
    rt_rows_load_f64(RT_BF16, h, y, 20);
    CU_ASSERT_TRUE(y[0] == -7 && y[19] == 12);
    CU_ASSERT_FALSE(rt_rows_store_f64(RT_F32, x, f, 20));
    CU_ASSERT_TRUE(f[3] == 3);
    x[19] = 1e300;
    CU_ASSERT_TRUE(rt_rows_store_f64(RT_F32, x, f, 20));
    CU_ASSERT_FALSE(rt_rows_store_f64(RT_F64, x, y, 20));
    CU_ASSERT_EQUAL(y[19], 1e300);
}

#define RT_BODY "test_convert.c"
#include "kernels/for_each_type.h"
#else
static void F(transposes)(void) {
    static const int64_t shapes[][2] = {{1, 1}, {16, 16}, {33, 50}, {64, 48}, {100, 7}, {15, 130}};
    EACH_LEVEL(l) for (int s = 0; s < COUNT(shapes); s++) {
        int64_t R = shapes[s][0], C = shapes[s][1], lds = C + 3, ldd = (R + 15) / 16 * 16 + 5;
        T *x = rt_alloc((size_t)(R * lds) * sizeof(T)), *y = rt_alloc((size_t)(C * ldd) * sizeof(T)),
          *z = rt_alloc((size_t)(C * ldd) * sizeof(T));
        int32_t index[128];
        for (int64_t i = 0; i < R * lds; i++) x[i] = (T)i;
        for (int64_t i = 0; i < C * ldd; i++) y[i] = z[i] = -1;
        for (int32_t i = 0; i < R; i++) index[i] = (int32_t)((i * 7 + 3) % R);
        F(rt_transpose)(x, lds, R, C, y, ldd);
        F(rt_gather_transpose)(x, lds, index, R, C, z, ldd);
        bool same = true;
        for (int64_t c = 0; c < C; c++)
            for (int64_t r = 0; r < ldd; r++) {
                same &= y[c * ldd + r] == (r < R ? x[r * lds + c] : -1);
                same &= z[c * ldd + r] == (r < R ? x[index[r] * lds + c] : r < (R + 15) / 16 * 16 ? 0 : -1);
            }
        RT_CHECK(same, "%s: transpose of [%ld,%ld]", levels[l], (long)R, (long)C);
        rt_free(x), rt_free(y), rt_free(z);
    }
    rt_isa_force(NULL);
}
#endif

#ifndef T
RT_SUITE(convert) {
    RT_TEST(every_half_loads);
    RT_TEST(every_rounding_stores);
    RT_TEST(overflow_is_told);
    RT_TEST(tails_stay_inside);
    RT_TEST(panels_equal_their_definition);
    RT_TEST(f64_rows);
    RT_TEST(transposes_f32);
    RT_TEST(transposes_f64);
}
#endif
