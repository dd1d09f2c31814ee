/* test_tensor.c - half conversions against the definition, shapes, dtype names. */
#include "harness.h"
#include <math.h>

static double f16_value(uint16_t b) {
    int e = b >> 10 & 31, m = b & 1023;
    double x = e == 0 ? ldexp(m, -24) : ldexp(1024 + m, e - 25);
    return b & 0x8000 ? -x : x;
}
static void every_f16_is_read_right_and_survives(void) {
    for (unsigned b = 0; b < 65536; b++) {
        if ((b >> 10 & 31) == 31) continue;
        float x = rt_f16_to_f32((rt_f16){(uint16_t)b});
        if ((double)x != f16_value((uint16_t)b) || rt_f32_to_f16(x).bits != b) CU_FAIL_FATAL("f16 round trip");
    }
    CU_ASSERT_TRUE(isinf(rt_f16_to_f32((rt_f16){0x7c00})) && isnan(rt_f16_to_f32(rt_f32_to_f16(NAN))));
}
static void f16_rounds_to_even(void) { /* between any two neighbours: the middle goes to the even one, beyond it to the nearer */
    for (uint16_t b = 0; b < 0x7bff; b++) {
        double lo = f16_value(b), hi = f16_value((uint16_t)(b + 1)), mid = (lo + hi) / 2;
        uint16_t even = b & 1 ? (uint16_t)(b + 1) : b;
        if (rt_f32_to_f16((float)mid).bits != even) CU_FAIL_FATAL("tie");
        if (rt_f32_to_f16(nextafterf((float)mid, 1e9f)).bits != b + 1) CU_FAIL_FATAL("above");
        if (rt_f32_to_f16(nextafterf((float)mid, -1e9f)).bits != b) CU_FAIL_FATAL("below");
    }
    CU_ASSERT_EQUAL(rt_f32_to_f16(65519.996f).bits, 0x7bff);
    CU_ASSERT_EQUAL(rt_f32_to_f16(65520.f).bits, 0x7c00);
}
static void bf16_rounds_to_even(void) {
    CU_ASSERT_EQUAL(rt_f32_to_bf16(1.0f).bits, 0x3f80);
    CU_ASSERT_EQUAL(rt_f32_to_bf16(1.00390625f).bits, 0x3f80);
    CU_ASSERT_EQUAL(rt_f32_to_bf16(1.01171875f).bits, 0x3f82);
    CU_ASSERT_TRUE(isnan(rt_bf16_to_f32(rt_f32_to_bf16(NAN))));
}
static void names_parse(void) {
    rt_dtype t = RT_NONE;
    CU_ASSERT_TRUE(rt_dtype_parse("float16", &t) && t == RT_F16);
    CU_ASSERT_TRUE(rt_dtype_parse("BF16", &t) && t == RT_BF16);
    CU_ASSERT_FALSE(rt_dtype_parse("f17", &t));
    char b[96];
    rt_tensor x = rt_tensor_2d(RT_F32, NULL, 3, 4);
    CU_ASSERT_STRING_EQUAL(rt_tensor_text(&x, b), "f32 [3,4]");
    CU_ASSERT_STRING_EQUAL(rt_prec_text(rt_prec_uniform(RT_F16), b), "f16 f16 f32 f16 f32");
}
RT_SUITE(tensor) {
    RT_TEST(every_f16_is_read_right_and_survives);
    RT_TEST(f16_rounds_to_even);
    RT_TEST(bf16_rounds_to_even);
    RT_TEST(names_parse);
}
