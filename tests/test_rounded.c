/* test_rounded.c - row kernels that round on the way have the bits of three passes (round, compute, round), at every level, and tell overflow of what
 * they took from overflow of what they made; inside a chain the operation whose value it was is named. */
#include "harness.h"
#include "kernels/convert.h"
#include "kernels/isa.h"
#include "kernels/rounded.h"
#include "kernels/rows.h"
#include <math.h>
#include <retort/base/mem.h>
#include <retort/base/rng.h>
#include <retort/ops/ops.h>
#include <string.h>

static const char *const levels[] = {"v2", "v3", "v4", "base"};
static const rt_dtype halves[] = {RT_F16, RT_BF16};
#define COUNT(a) ((int)(sizeof(a) / sizeof *(a)))
#define EACH_LEVEL(l)                                                                                                                                \
    for (int l = 0; l < COUNT(levels); l++)                                                                                                          \
        if (rt_isa_force(levels[l]))
enum { N = 192, HALF = 32, HEADS = N / (2 * HALF) };

typedef struct rows {
    float x[2 * N], c[HALF], s[HALF];
} rows;
static void fill(rows *r, uint64_t stream) {
    rt_rng g = rt_rng_make(7, "rounded", stream);
    for (int i = 0; i < 2 * N; i++) r->x[i] = (float)(3 * rt_rng_normal(g, (uint64_t)i));
    for (int i = 0; i < HALF; i++) r->c[i] = (float)cos(0.3 * i), r->s[i] = (float)sin(0.3 * i);
}

/* By passes: what swiglu makes, in f32; what rope makes, as halves in f32. */
static unsigned swiglu_by_passes(rt_dtype t, const rows *r, float *a) {
    float x[2 * N];
    memcpy(x, r->x, sizeof x);
    unsigned over = rt_round_rows(t, x, 2 * N) ? RT_OVER_TAKEN : 0;
    rt_rows_f32()->swiglu(x, x + N, a, N);
    return over | (rt_round_rows(t, a, N) ? RT_OVER_MADE : 0);
}
static unsigned rope_by_passes(rt_dtype t, const rows *r, uint16_t *y) {
    float x[N];
    memcpy(x, r->x, sizeof x);
    unsigned over = rt_round_rows(t, x, N) ? RT_OVER_TAKEN : 0;
    rt_rows_f32()->rope(x, r->c, r->s, HALF, HEADS, 1);
    return over | (rt_rows_store_f32(t, x, y, N) ? RT_OVER_MADE : 0);
}
static void compare(rt_dtype t, const rows *r, const char *level, const char *what) {
    float a[N + 1] = {[N] = 7}, b[N];
    uint16_t y[N + 1] = {[N] = 7}, z[N];
    unsigned over = rt_rounded(t)->swiglu(r->x, r->x + N, a, N), expected = swiglu_by_passes(t, r, b);
    RT_CHECK(over == expected && memcmp(a, b, sizeof b) == 0 && a[N] == 7, "%s, %s: swiglu, %s: overflow %u, expected %u", level, rt_dtype_name(t), what, over,
             expected);
    over = rt_rounded(t)->rope(r->x, r->c, r->s, HALF, HEADS, y), expected = rope_by_passes(t, r, z);
    RT_CHECK(over == expected && memcmp(y, z, sizeof z) == 0 && y[N] == 7, "%s, %s: rope, %s: overflow %u, expected %u", level, rt_dtype_name(t), what, over,
             expected);
}

static void the_bits_of_three_passes(void) {
    rows r;
    EACH_LEVEL(l) for (int h = 0; h < 2; h++)
        for (uint64_t stream = 0; stream < 50; stream++) {
            fill(&r, stream);
            for (int i = 0; i < 2 * N; i++) r.x[i] *= stream % 5 == 4 ? 1e-6f : stream % 5 == 3 ? 20 : 1; /* subnormal halves; far into both ends */
            compare(halves[h], &r, levels[l], "ordinary rows");
        }
    rt_isa_force(NULL);
}

/* One value at a time, at every tenth place: beyond the range, already infinite, no number, and the last that stays finite; then products that leave
 * the range although nothing taken did. */
static void overflow_is_told_apart(void) {
    static const float odd[2][7] = {{65504, 65519.996f, 65520, -1e5f, INFINITY, -INFINITY, NAN},
                                    {0x1.fep127f, 0x1.fefffep127f, 0x1.ffp127f, -3.4e38f, INFINITY, -INFINITY, NAN}};
    rows r;
    EACH_LEVEL(l) for (int h = 0; h < 2; h++) {
        for (int at = 0; at < 2 * N; at += 10)
            for (int k = 0; k < 7; k++) {
                fill(&r, 1);
                r.x[at] = odd[h][k];
                compare(halves[h], &r, levels[l], "one odd value");
            }
        if (halves[h] != RT_F16) continue; /* beyond bf16 there is nothing finite in f32, but for half a unit */
        fill(&r, 2);
        r.x[3] = 6e4f, r.x[3 + HALF] = -r.x[3], r.x[N + 3] = 8;
        float a[N];
        uint16_t y[N];
        compare(RT_F16, &r, levels[l], "a product beyond the range");
        CU_ASSERT_EQUAL(rt_rounded(RT_F16)->swiglu(r.x, r.x + N, a, N), RT_OVER_MADE);
        CU_ASSERT_EQUAL(rt_rounded(RT_F16)->rope(r.x, r.c, r.s, HALF, HEADS, y), RT_OVER_MADE);
    }
    rt_isa_force(NULL);
}

/* x W, gate and up side by side, through swiglu and another product: which operation does the error name? */
static void chain_says(float x_value, float gate, float up, const char *says) {
    enum { ROWS = 20, K = 16, F = 32 };
    rt_error err = {0};
    rt_f16 x[ROWS * K], w[2 * F * K], down[K * F];
    for (int i = 0; i < ROWS * K; i++) x[i] = rt_f32_to_f16(i == 5 * K ? x_value : i % K ? 0.0f : 1.0f);
    for (int i = 0; i < 2 * F * K; i++) w[i] = rt_f32_to_f16(i < F * K ? gate : up);
    memset(down, 0, sizeof down);
    rt_tensor tx = rt_tensor_2d(RT_F16, x, ROWS, K), tw = rt_tensor_2d(RT_F16, w, 2 * F, K), td = rt_tensor_2d(RT_F16, down, K, F);
    rt_prec p = rt_prec_uniform(RT_F16);
    rt_graph *g = rt_graph_new("t");
    rt_ref a = rt_linear(g, rt_graph_input(g, "x", &tx), rt_graph_param(g, "w", &tw, NULL), p, "gate_up");
    rt_ref y = rt_linear(g, rt_swiglu(g, a, p, "act"), rt_graph_param(g, "d", &td, NULL), p, "down");
    rt_graph_output(g, y);
    RT_OK_OR_FAIL(rt_graph_plan(g, false, &err));
    rt_status s = rt_graph_forward(g, &err);
    RT_CHECK(says ? s == RT_E_NUMERIC && strstr(err.text, says) : s == RT_OK, "'%s', expected '%s'", err.text, says ? says : "");
    rt_graph_free(g);
}
static void a_chain_names_whose_value_it_was(void) {
    chain_says(100, 1, 1, NULL);
    chain_says(1000, 100, 1, "gate_up (linear): f16 overflow");
    chain_says(1000, 1, 100, "gate_up (linear): f16 overflow");
    chain_says(1000, 1, 1, "act (swiglu): f16 overflow");
}

RT_SUITE(rounded) {
    RT_TEST(the_bits_of_three_passes);
    RT_TEST(overflow_is_told_apart);
    RT_TEST(a_chain_names_whose_value_it_was);
}
