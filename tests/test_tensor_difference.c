/* test_tensor_difference.c - differences made by hand, bit by bit, and against a plain loop. */
#include "harness.h"
#include <retort/base/mem.h>
#include <retort/base/threads.h>
#include <retort/io/tensor_difference.h>
#include <math.h>
#include <string.h>

static rt_tensor_difference difference(const rt_tensor *a, const rt_tensor *b) {
    rt_tensor_difference d;
    rt_error err = {0};
    RT_OK_OR_FAIL(rt_tensor_difference_of(a, b, &d, &err));
    return d;
}
static rt_tensor_difference bits32(uint32_t a, uint32_t b) {
    uint32_t x[3] = {0x3f800000, a, 0x40000000}, y[3] = {0x3f800000, b, 0x40000000}; /* 1, a, 2 */
    rt_tensor s = rt_tensor_1d(RT_F32, x, 3), t = rt_tensor_1d(RT_F32, y, 3);
    return difference(&s, &t);
}
static void equal_is_equal_bits(void) {
    rt_tensor_difference d = bits32(0x7fc00001, 0x7fc00001); /* one NaN */
    CU_ASSERT_TRUE(d.differing == 0 && d.nonfinite == 0 && d.max_abs == 0 && d.relative == 0 && d.first == -1);
    d = bits32(0x7fc00001, 0x7fc00002); /* two NaNs: nothing lies between them, but they are not the same */
    CU_ASSERT_TRUE(d.differing == 1 && d.nonfinite == 0 && d.max_abs == 0 && d.relative == 0 && d.first == 1 && d.worst == -1);
    d = bits32(0x7fc00001, 0x3f800000); /* NaN and 1 */
    CU_ASSERT_TRUE(d.differing == 1 && d.nonfinite == 1 && isinf(d.max_abs) && isinf(d.relative));
    d = bits32(0, 0x80000000); /* 0 and -0 */
    CU_ASSERT_TRUE(d.differing == 1 && d.nonfinite == 0 && d.max_abs == 0 && d.relative == 0 && d.first == 1 && d.worst == -1);
    d = bits32(0x7f800000, 0x7f800000); /* an infinity */
    CU_ASSERT_TRUE(d.differing == 0 && d.max_abs == 0);
    d = bits32(0x7f800000, 0xff800000); /* both infinities */
    CU_ASSERT_TRUE(d.differing == 1 && d.nonfinite == 1 && isinf(d.relative));
    d = bits32(1, 2); /* the smallest numbers: 2^-149 apart, not flushed */
    CU_ASSERT_TRUE(d.differing == 1 && d.max_abs == 0x1p-149 && d.worst == 1 && d.relative == 0x1p-149 / sqrt(5 + 0x1p-298));
    d = bits32(0x3f800000, 0x3f800001); /* one unit in the last place */
    CU_ASSERT_TRUE(d.differing == 1 && d.max_abs == 0x1p-23 && fabs(d.relative - 0x1p-23 / sqrt(6)) < 1e-20);
    d = bits32(0xff7fffff, 0x7f7fffff); /* the largest numbers: their difference is no f32 */
    CU_ASSERT_TRUE(d.nonfinite == 0 && d.max_abs == 2 * (double)0x1.fffffep127f);
}

static void half_types_widen_exactly(void) {
    uint16_t halves[8] = {0, 0x8000, 1, 0x03ff, 0x3c01, 0x7bff, 0xfbff, 0x7c00};
    float same[8] = {0, -0.0f, 0x1p-24f, 0x1.ff8p-15f, 0x1.004p0f, 65504, -65504, HUGE_VALF};
    rt_tensor a = rt_tensor_1d(RT_F16, halves, 8), b = rt_tensor_1d(RT_F32, same, 8);
    rt_tensor_difference d = difference(&a, &b);
    CU_ASSERT_TRUE(d.widened && d.differing == 0 && d.max_abs == 0 && d.relative == 0);
    same[3] = 0x1.ff7ffep-15f; /* the f32 just below */
    d = difference(&a, &b);
    CU_ASSERT_TRUE(d.differing == 1 && d.first == 3 && d.worst == 3 && d.max_abs == 0x1.ff8p-15 - 0x1.ff7ffep-15);
    same[3] = 0x1.ff8p-15f, same[1] = 0;
    d = difference(&a, &b);
    CU_ASSERT_TRUE(d.differing == 1 && d.first == 1 && d.max_abs == 0);
    uint16_t brain[2] = {0x3f80, 0x0001};
    double wide[2] = {1, 0x1p-133};
    rt_tensor c = rt_tensor_1d(RT_BF16, brain, 2), e = rt_tensor_1d(RT_F64, wide, 2);
    d = difference(&c, &e);
    CU_ASSERT_TRUE(d.differing == 0 && d.relative == 0);
    d = difference(&e, &c);
    CU_ASSERT_TRUE(d.differing == 0 && d.relative == 0);
}

static void integers_and_empty_tensors(void) {
    int64_t x[2] = {INT64_MAX, -5}, y[2] = {INT64_MAX - 1, -5};
    rt_tensor a = rt_tensor_1d(RT_I64, x, 2), b = rt_tensor_1d(RT_I64, y, 2);
    rt_tensor_difference d = difference(&a, &b);
    CU_ASSERT_TRUE(d.differing == 1 && d.first == 0); /* though both round to 2^63 */
    rt_tensor none = rt_tensor_2d(RT_F32, NULL, 0, 4), other = rt_tensor_2d(RT_F32, NULL, 4, 0);
    d = difference(&none, &none);
    CU_ASSERT_TRUE(d.elements == 0 && d.differing == 0 && d.relative == 0);
    rt_error err = {0};
    CU_ASSERT_EQUAL(rt_tensor_difference_of(&none, &other, &d, &err), RT_E_SHAPE);
    float zero[1] = {0}, one[1] = {1};
    rt_tensor z = rt_tensor_1d(RT_F32, zero, 1), o = rt_tensor_1d(RT_F32, one, 1);
    d = difference(&z, &o);
    CU_ASSERT_TRUE(isinf(d.relative) && d.max_abs == 1 && d.nonfinite == 0);
    d = difference(&o, &z);
    CU_ASSERT_TRUE(d.relative == 1 && d.norm == 1);
}

enum { MANY = 300001 };
static void agrees_with_a_plain_loop(void) {
    static const rt_dtype types[] = {RT_F64, RT_F32, RT_F16, RT_BF16};
    for (int i = 0; i < 16; i++) {
        rt_tensor a = rt_tensor_1d(types[i / 4], rt_alloc(8 * MANY), MANY), b = rt_tensor_1d(types[i % 4], rt_alloc(8 * MANY), MANY);
        rt_fill_normal(&a, 1, 3);
        for (int64_t k = 0; k < MANY; k++) rt_put(&b, k, rt_get(&a, k) + (k % 1000 == 999 ? 0.25 * (double)(k / 1000) : 0));
        int64_t differing = 0, worst = -1;
        double squares = 0, norm = 0, most = 0;
        for (int64_t k = 0; k < MANY; k++) {
            double x = rt_get(&a, k), y = rt_get(&b, k), apart = fabs(x - y);
            differing += memcmp(&x, &y, sizeof x) != 0;
            squares += apart * apart, norm += x * x;
            if (apart > most) most = apart, worst = k;
        }
        rt_threads_set(1);
        rt_tensor_difference one = difference(&a, &b);
        rt_threads_set(0);
        rt_tensor_difference d = difference(&a, &b);
        CU_ASSERT_EQUAL(memcmp(&one, &d, sizeof d), 0);
        RT_CHECK(d.differing == differing && d.worst == worst && d.max_abs == most, "%d: %lld differ, worst %lld", i, (long long)d.differing, (long long)d.worst);
        RT_CHECK(fabs(d.relative - sqrt(squares / norm)) <= 1e-13 * d.relative && fabs(d.norm - sqrt(norm)) <= 1e-13 * d.norm, "%d: %.17g", i, d.relative);
        rt_free(a.data), rt_free(b.data);
    }
}
static void out_of_memory_is_clean(void) {
    float x[2] = {1, 2};
    rt_tensor a = rt_tensor_1d(RT_F32, x, 2);
    rt_tensor_difference d;
    rt_error err = {0};
    rt_mem_fail_at(1);
    CU_ASSERT_EQUAL(rt_tensor_difference_of(&a, &a, &d, &err), RT_E_NOMEM);
    rt_mem_fail_at(0);
}

RT_SUITE(tensor_difference) {
    RT_TEST(equal_is_equal_bits);
    RT_TEST(half_types_widen_exactly);
    RT_TEST(integers_and_empty_tensors);
    RT_TEST(agrees_with_a_plain_loop);
    RT_TEST(out_of_memory_is_clean);
}
