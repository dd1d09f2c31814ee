/* test_half.c - linear by the processor's half instructions (kernels/half.h): near f64, exact where f32 is, a row's bits its own, the same
 * for any number of threads, with and without a cache; f32 products where the machine has none. Skipped loudly on such a machine. */
#include "harness.h"
#include "weighted_sum.h"
#include "kernels/half.h"
#include "kernels/matmul.h"
#include <math.h>
#include <retort/base/mem.h>
#include <retort/base/threads.h>
#include <retort/graph/op.h>
#include <retort/ops/ops.h>
#include <string.h>

enum { ROWS = 300, WEIGHTS = 3 };
extern const rt_op rt_op_linear; /* its builders do not take a residual, biases and several weights at once */

typedef struct layer {
    int64_t K, outs[WEIGHTS]; /* 0: absent */
    bool bias, residual, constant;
    rt_dtype half, out;
} layer;
typedef struct operands {
    rt_tensor x, w[WEIGHTS], b[WEIGHTS], residual;
} operands;

static const layer layers[] = {
    {64, {64}, .out = RT_BF16},
    {65, {100}, .out = RT_F32},
    {200, {640}, .out = RT_BF16, .residual = true},
    {512, {512, 128, 128}, .out = RT_BF16, .bias = true, .constant = true},
    {1408, {1000}, .out = RT_BF16, .bias = true, .residual = true, .constant = true},
    {96, {513, 64}, .out = RT_F32, .bias = true, .residual = true},
};
#define COUNT(a) ((int)(sizeof(a) / sizeof *(a)))

static rt_tensor filled(rt_dtype t, int64_t rows, int64_t columns, double scale, uint64_t stream, bool integers) {
    rt_tensor x = columns ? rt_tensor_2d(t, NULL, rows, columns) : rt_tensor_1d(t, NULL, rows);
    x.data = rt_alloc(rt_tensor_bytes(&x));
    rt_fill_normal(&x, scale, stream);
    for (int64_t i = 0; integers && i < rt_tensor_count(&x); i++) rt_put(&x, i, (double)((i * 7 + (int64_t)stream) % 5 - 2));
    return x;
}
static int64_t width(const layer *l) { return l->outs[0] + l->outs[1] + l->outs[2]; }
static operands fill(const layer *l, bool integers) {
    operands o = {.x = filled(l->half, ROWS, l->K, 1, 1, integers)};
    for (int i = 0; i < WEIGHTS && l->outs[i]; i++) {
        o.w[i] = filled(l->half, l->outs[i], l->K, 0.1, 2 + (uint64_t)i, integers);
        if (l->bias && i != 1) o.b[i] = filled(l->half, l->outs[i], 0, 1, 6 + (uint64_t)i, integers); /* not all have one */
    }
    if (l->residual) o.residual = filled(l->out, ROWS, width(l), 1, 9, integers);
    return o;
}
static void drop(operands *o) {
    rt_free(o->x.data), rt_free(o->residual.data);
    for (int i = 0; i < WEIGHTS; i++) rt_free(o->w[i].data), rt_free(o->b[i].data);
}

/* Rows [first, first + count) through a graph of their own; `times` runs, so that a cache is filled and used. */
static rt_status run(const layer *l, const operands *o, int64_t first, int64_t count, int times, rt_tensor *y, const char **kernel, rt_error *err) {
    rt_graph *g = rt_graph_new("t");
    if (!g) return rt_fail(err, RT_E_NOMEM, "out of memory: graph");
    rt_prec p = {l->half, l->half, RT_F32, l->out, RT_F32};
    rt_tensor x = rt_tensor_2d(l->half, (char *)o->x.data + (size_t)(first * l->K) * 2, count, l->K);
    rt_tensor r = rt_tensor_2d(l->out, (char *)o->residual.data + (size_t)(first * width(l)) * rt_dtype_size(l->out), count, width(l));
    rt_ref in[RT_MAX_IN] = {rt_graph_input(g, "x", &x), l->residual ? rt_graph_input(g, "r", &r) : RT_NULL}, out[RT_MAX_OUT];
    for (int i = 0; i < WEIGHTS && l->outs[i]; i++) {
        in[2 + i] = l->constant ? rt_graph_param(g, "w", &o->w[i], NULL) : rt_graph_variable(g, "w", &o->w[i]);
        if (o->b[i].data) in[2 + WEIGHTS + i] = rt_graph_param(g, "b", &o->b[i], NULL);
    }
    rt_ref ref = rt_graph_add(g, &rt_op_linear, "half", p, NULL, 0, in, 2 + 2 * WEIGHTS, out);
    rt_graph_output(g, ref);
    rt_status s = rt_graph_plan(g, false, err);
    for (int i = 0; s == RT_OK && i < times; i++) s = rt_graph_forward(g, err);
    if (s == RT_OK) memcpy(y->data, rt_graph_value(g, ref)->data, rt_tensor_bytes(rt_graph_value(g, ref)));
    rt_buf text = {0};
    if (s == RT_OK) rt_graph_describe(g, false, &text);
    if (kernel && text.data) *kernel = strstr(text.data, "bf16 instructions") ? "bf16" : strstr(text.data, "f16 instructions") ? "f16" : "f32";
    rt_buf_free(&text);
    rt_graph_free(g);
    return s;
}
static rt_tensor made(const layer *l, const operands *o, int64_t first, int64_t count, int times) {
    rt_error err = {0};
    const char *kernel = "none";
    rt_tensor y = rt_tensor_2d(l->out, NULL, count, width(l));
    y.data = rt_zalloc(rt_tensor_bytes(&y));
    RT_OK_OR_FAIL(run(l, o, first, count, times, &y, &kernel, &err));
    RT_CHECK(strcmp(kernel, rt_dtype_name(l->half)) == 0, "K %lld: products run by %s", (long long)l->K, kernel);
    return y;
}

static void for_each(void (*check)(const layer *l)) {
    static const rt_dtype halves[] = {RT_BF16, RT_F16};
    for (int h = 0; h < 2; h++) {
        if (!rt_half_instructions(halves[h])) {
            rt_test_skip("this processor, or the library, multiplies no %s", rt_dtype_name(halves[h]));
            continue;
        }
        for (int i = 0; i < COUNT(layers); i++) {
            layer l = layers[i];
            l.half = halves[h];
            if (l.out == RT_BF16) l.out = l.half;
            check(&l);
        }
    }
}

/* --------------------------------------------------------------------- numbers */

static double reference(const layer *l, const operands *o, int64_t row, int64_t column, double *size) {
    int i = 0;
    int64_t at = column;
    while (at >= l->outs[i]) at -= l->outs[i++];
    double sum = 0;
    *size = 1;
    for (int64_t k = 0; k < l->K; k++) {
        double a = rt_get(&o->x, row * l->K + k) * rt_get(&o->w[i], at * l->K + k);
        sum += a, *size += fabs(a);
    }
    if (l->residual) sum += rt_get(&o->residual, row * width(l) + column);
    return o->b[i].data ? sum + rt_get(&o->b[i], at) : sum;
}
static void check_near(const layer *l) {
    operands o = fill(l, false);
    rt_tensor y = made(l, &o, 0, ROWS, 1);
    double unit = l->out == RT_F32 ? 0 : l->out == RT_F16 ? 0x1p-11 : 0x1p-8; /* half a unit of the last place, relative */
    for (int64_t i = 0; i < ROWS * width(l); i += 13) {
        double size, expected = reference(l, &o, i / width(l), i % width(l), &size), found = rt_get(&y, i);
        if (fabs(found - expected) > unit * fabs(expected) + 3e-7 * size) {
            RT_FAILF("K %lld, element %lld: %g, expected %g", (long long)l->K, (long long)i, found, expected);
            break;
        }
    }
    rt_free(y.data), drop(&o);
}
static void near_f64(void) { for_each(check_near); }

/* Sums of small integers are exact in any order: the bits of the f32 way. */
static void check_exact(const layer *l) {
    rt_error err = {0};
    operands o = fill(l, true);
    const char *kernel = "";
    rt_tensor y = made(l, &o, 0, ROWS, 1), plain = y;
    plain.data = rt_zalloc(rt_tensor_bytes(&y));
    rt_half_disable(true);
    RT_OK_OR_FAIL(run(l, &o, 0, ROWS, 1, &plain, &kernel, &err));
    rt_half_disable(false);
    CU_ASSERT_STRING_EQUAL(kernel, "f32");
    RT_CHECK(memcmp(plain.data, y.data, rt_tensor_bytes(&y)) == 0, "K %lld: integers are not exact", (long long)l->K);
    rt_free(y.data), rt_free(plain.data), drop(&o);
}
static void integers_are_exact(void) { for_each(check_exact); }

/* --------------------------------------------------------------------- bits */

static void check_rows(const layer *l) {
    operands o = fill(l, false);
    rt_tensor all = made(l, &o, 0, ROWS, 1);
    size_t row = rt_tensor_bytes(&all) / ROWS;
    int bad = 0;
    for (int64_t m = 1; m < ROWS; m += m < 34 ? 1 : 29) {
        int64_t first = m * 37 % (ROWS - m + 1);
        rt_tensor some = made(l, &o, first, m, 1);
        bad += memcmp(some.data, (char *)all.data + (size_t)first * row, (size_t)m * row) != 0;
        rt_free(some.data);
    }
    RT_CHECK(bad == 0, "K %lld: %d counts of rows have other bits", (long long)l->K, bad);
    rt_free(all.data), drop(&o);
}
static void rows_do_not_depend_on_their_company(void) { for_each(check_rows); }

static void check_repeats(const layer *l) {
    operands o = fill(l, false);
    layer other = *l;
    rt_tensor y = made(l, &o, 0, ROWS, 1);
    for (int threads = 1; threads <= 4; threads++) {
        rt_threads_set(threads);
        other.constant = threads % 2; /* a cached panel, and one made on every run */
        rt_tensor again = made(&other, &o, 0, ROWS, 3);
        RT_CHECK(memcmp(again.data, y.data, rt_tensor_bytes(&y)) == 0, "K %lld: %d threads give other bits", (long long)l->K, threads);
        rt_free(again.data);
    }
    rt_threads_set(0);
    rt_free(y.data), drop(&o);
}
static void the_same_bits_for_any_threads_and_cache(void) { for_each(check_repeats); }

/* A chain: what goes from one operation to the next there is rounded, but f32. As the operations one by one, and as with f32 products
 * but for rounding: elements of the last are at most a few units apart. */
static rt_tensor chained(const operands *o, rt_dtype half, bool chain) {
    rt_error err = {0};
    rt_prec p = rt_prec_uniform(half);
    rt_graph *g = rt_graph_new("t");
    rt_ref x = rt_graph_input(g, "x", &o->x), a = rt_linear(g, x, rt_graph_param(g, "w", &o->w[0], NULL), p, "up");
    rt_ref y = rt_linear_residual(g, rt_swiglu(g, a, p, "gate"), rt_graph_param(g, "w", &o->w[1], NULL), x, p, "down");
    if (!chain) rt_graph_output(g, a);
    rt_graph_output(g, y);
    rt_tensor out = rt_tensor_2d(half, NULL, ROWS, 200);
    out.data = rt_zalloc(rt_tensor_bytes(&out));
    RT_OK_OR_FAIL(rt_graph_plan(g, false, &err));
    RT_OK_OR_FAIL(rt_graph_forward(g, &err));
    memcpy(out.data, rt_graph_value(g, y)->data, rt_tensor_bytes(&out));
    rt_graph_free(g);
    return out;
}
static void chains_hand_on_what_is_rounded(void) {
    static const rt_dtype halves[] = {RT_BF16, RT_F16};
    for (int h = 0; h < 2; h++) {
        if (!rt_half_instructions(halves[h])) {
            rt_test_skip("this processor, or the library, multiplies no %s", rt_dtype_name(halves[h]));
            continue;
        }
        operands o = {.x = filled(halves[h], ROWS, 200, 1, 1, false), .w = {filled(halves[h], 384, 200, 0.1, 2, false), filled(halves[h], 200, 192, 0.1, 3, false)}};
        rt_tensor y = chained(&o, halves[h], true), apart = chained(&o, halves[h], false);
        CU_ASSERT_TRUE(memcmp(y.data, apart.data, rt_tensor_bytes(&y)) == 0);
        rt_half_disable(true);
        rt_tensor plain = chained(&o, halves[h], true);
        rt_half_disable(false);
        double unit = halves[h] == RT_F16 ? 0x1p-10 : 0x1p-7, worst = 0, most = 0;
        for (int64_t i = 0; i < rt_tensor_count(&y); i++)
            worst = fmax(worst, fabs(rt_get(&y, i) - rt_get(&plain, i))), most = fmax(most, fabs(rt_get(&plain, i)));
        RT_CHECK(most > 1 && worst <= 2 * unit * most, "%s: %g apart, of %g", rt_dtype_name(halves[h]), worst, most);
        rt_free(y.data), rt_free(apart.data), rt_free(plain.data), drop(&o);
    }
}

/* --------------------------------------------------------------------- backward */

typedef struct gradients {
    rt_tensor x, w[WEIGHTS], b[WEIGHTS], residual;
} gradients;
static rt_tensor gradient_of(const rt_tensor *t) {
    rt_tensor d = *t;
    d.dtype = RT_F32;
    d.data = t->data ? rt_zalloc((size_t)rt_tensor_count(t) * sizeof(float)) : NULL;
    return d;
}
static rt_ref trained(rt_graph *g, const rt_tensor *t, rt_tensor *d, bool constant) {
    if (!t->data) return RT_NULL;
    *d = gradient_of(t);
    return rt_graph_param(g, "p", t, constant ? NULL : d);
}
static rt_status differentiate(const layer *l, const operands *o, const rt_tensor *v, gradients *d, rt_error *err) {
    static const double gain = 1;
    rt_graph *g = rt_graph_new("t");
    rt_prec p = {l->half, l->half, RT_F32, l->out, RT_F32};
    rt_ref in[RT_MAX_IN] = {trained(g, &o->x, &d->x, false), trained(g, &o->residual, &d->residual, false)}, out[RT_MAX_OUT];
    for (int i = 0; i < WEIGHTS && l->outs[i]; i++) {
        in[2 + i] = trained(g, &o->w[i], &d->w[i], l->constant);
        in[2 + WEIGHTS + i] = trained(g, &o->b[i], &d->b[i], l->constant);
    }
    rt_ref y = rt_graph_add(g, &rt_op_linear, "half", p, NULL, 0, in, 2 + 2 * WEIGHTS, out);
    rt_graph_loss(g, rt_weighted_sum(g, y, rt_graph_input(g, "v", v)), &gain);
    rt_status s = rt_graph_plan(g, true, err);
    if (s == RT_OK) s = rt_graph_forward(g, err);
    if (s == RT_OK) s = rt_graph_backward(g, err);
    rt_graph_free(g);
    return s;
}
static bool same(const rt_tensor *a, const rt_tensor *b) { return !a->data || memcmp(a->data, b->data, (size_t)rt_tensor_count(a) * sizeof(float)) == 0; }
static void free_gradients(gradients *d) {
    rt_free(d->x.data), rt_free(d->residual.data);
    for (int i = 0; i < WEIGHTS; i++) rt_free(d->w[i].data), rt_free(d->b[i].data);
}
/* It multiplies in f32 what it reads: x, the weights, dy. So its bits are those on a machine that has no half instructions. */
static void has_gradients_of_f32(const layer *l) {
    rt_error err = {0};
    operands o = fill(l, false);
    rt_tensor v = filled(RT_F64, ROWS, width(l), 1, 11, false);
    gradients with = {0}, without = {0};
    RT_OK_OR_FAIL(differentiate(l, &o, &v, &with, &err));
    rt_half_disable(true);
    RT_OK_OR_FAIL(differentiate(l, &o, &v, &without, &err));
    rt_half_disable(false);
    bool equal = same(&with.x, &without.x) && same(&with.residual, &without.residual);
    for (int i = 0; i < WEIGHTS; i++) equal = equal && same(&with.w[i], &without.w[i]) && same(&with.b[i], &without.b[i]);
    RT_CHECK(equal, "K %lld, %lld outputs: other gradients", (long long)l->K, (long long)width(l));
    free_gradients(&with), free_gradients(&without);
    rt_free(v.data), drop(&o);
}
static void gradients_are_those_of_f32(void) { for_each(has_gradients_of_f32); }

/* --------------------------------------------------------------------- what is not there, or fails */

static void other_products_stay_f32(void) {
    rt_error err = {0};
    layer small = {RT_HALF_LEAST - 1, {128}, .half = RT_BF16, .out = RT_BF16}, narrow = {128, {128, RT_HALF_LEAST - 1}, .half = RT_BF16, .out = RT_BF16};
    const layer *both[] = {&small, &narrow};
    for (int i = 0; i < 2; i++) {
        const char *kernel = "";
        operands o = fill(both[i], false);
        rt_tensor y = rt_tensor_2d(RT_BF16, NULL, ROWS, width(both[i]));
        y.data = rt_zalloc(rt_tensor_bytes(&y));
        RT_OK_OR_FAIL(run(both[i], &o, 0, ROWS, 1, &y, &kernel, &err));
        CU_ASSERT_STRING_EQUAL(kernel, "f32");
        rt_free(y.data), drop(&o);
    }
}

static void any_allocation_may_fail(void) {
    if (!rt_half_instructions(RT_BF16)) {
        rt_test_skip("this processor, or the library, multiplies no bf16");
        return;
    }
    layer l = {328, {72}, .half = RT_BF16, .out = RT_BF16}; /* a shape that nothing else has asked for */
    operands o = fill(&l, false);
    rt_tensor y = rt_tensor_2d(RT_BF16, NULL, ROWS, width(&l));
    y.data = rt_zalloc(rt_tensor_bytes(&y));
    int64_t live = rt_mem_stats_get().live_blocks;
    rt_status s = RT_E_NOMEM;
    for (int64_t n = 1; s != RT_OK && n < 1000; n++) {
        rt_error err = {0};
        rt_scratch_release();
        rt_mem_fail_at(n);
        s = run(&l, &o, 0, ROWS, 1, &y, NULL, &err);
        rt_mem_fail_at(0);
        rt_scratch_release();
        RT_CHECK(s == RT_OK || s == RT_E_NOMEM, "allocation %lld: %s", (long long)n, err.text);
        RT_CHECK(rt_mem_stats_get().live_blocks <= live, "allocation %lld: blocks are left over", (long long)n);
    }
    CU_ASSERT_EQUAL(s, RT_OK);
    rt_free(y.data), drop(&o);
}

RT_SUITE(half) {
    RT_TEST(near_f64);
    RT_TEST(integers_are_exact);
    RT_TEST(rows_do_not_depend_on_their_company);
    RT_TEST(the_same_bits_for_any_threads_and_cache);
    RT_TEST(chains_hand_on_what_is_rounded);
    RT_TEST(gradients_are_those_of_f32);
    RT_TEST(other_products_stay_f32);
    RT_TEST(any_allocation_may_fail);
}
