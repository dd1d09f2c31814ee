/* Attention as an operation, beyond the case table: gradients by the formula at every head size, true recomputation, bits that go with
 * a document wherever it lies, refusals at run time. */
#include "harness.h"
#include "weighted_sum.h"
#include <retort/base/mem.h>
#include <retort/base/threads.h>
#include <retort/ops/ops.h>
#include <math.h>
#include <string.h>

static const double gain = 1;

/* One attention over documents of the given lengths, with its data; qkv is trained, the loss is sum(w o). */
typedef struct rig {
    rt_heads heads;
    int64_t rows, columns;
    int32_t *start;
    rt_tensor qkv, grad, w;
    rt_graph *g;
    rt_ref o, loss;
    rt_error err;
} rig;

static rt_tensor new_tensor(rt_dtype t, int64_t rows, int64_t columns) {
    rt_tensor x = rt_tensor_2d(t, NULL, rows, columns);
    x.data = rt_zalloc(rt_tensor_bytes(&x));
    return x;
}

static rig rig_new(rt_dtype t, rt_heads h, const int64_t *lengths, int count) {
    rig r = {.heads = h, .columns = (h.heads + 2 * h.kv_heads) * h.head_dim};
    for (int s = 0; s < count; s++) r.rows += lengths[s];
    r.start = rt_alloc((size_t)r.rows * sizeof *r.start);
    int64_t row = 0;
    for (int s = 0; s < count; s++)
        for (int64_t i = 0, first = row; i < lengths[s]; i++) r.start[row++] = (int32_t)first;
    r.qkv = new_tensor(t, r.rows, r.columns);
    r.grad = new_tensor(t == RT_F64 ? RT_F64 : RT_F32, r.rows, r.columns);
    r.w = new_tensor(RT_F32, r.rows, h.heads * h.head_dim);
    rt_fill_normal(&r.qkv, 1, 1);
    rt_fill_normal(&r.w, 1, 2);
    return r;
}
static void rig_free(rig *r) {
    rt_graph_free(r->g);
    rt_free(r->start);
    rt_free(r->qkv.data);
    rt_free(r->grad.data);
    rt_free(r->w.data);
    rt_scratch_release(); /* so that the next one gets exactly what it asked for, and a sanitizer sees a byte too few */
}

static rt_status rig_plan(rig *r, bool recompute) {
    rt_graph *g = r->g = rt_graph_new("test");
    if (!g) return rt_fail(&r->err, RT_E_NOMEM, "out of memory");
    rt_tensor start = rt_tensor_1d(RT_I32, r->start, r->rows);
    rt_prec p = rt_prec_uniform(r->qkv.dtype);
    rt_ref x = rt_graph_param(g, "qkv", &r->qkv, &r->grad), s = rt_graph_input(g, "start", &start), w = rt_graph_input(g, "w", &r->w);
    rt_graph_segment(g, recompute);
    r->o = rt_attention(g, x, s, r->heads, p, "attention");
    if (!recompute) rt_graph_output(g, r->o);
    rt_graph_segment(g, false);
    r->loss = rt_weighted_sum(g, r->o, w);
    rt_graph_loss(g, r->loss, &gain);
    return rt_graph_plan(g, true, &r->err);
}
static rt_status rig_run(rig *r) {
    memset(r->grad.data, 0, rt_tensor_bytes(&r->grad));
    rt_error_clear(&r->err);
    RT_TRY(rt_graph_forward(r->g, &r->err));
    return rt_graph_backward(r->g, &r->err);
}
static void rig_go(rig *r) {
    rt_status s = rig_plan(r, false);
    if (s == RT_OK) s = rig_run(r);
    RT_CHECK(s == RT_OK, "%s", r->err.text);
}

/* --------------------------------------------------------------- reference */

static double at(const rig *r, int64_t row, int64_t column) { return rt_get(&r->qkv, row * r->columns + column); }

/* One row of one head, from the formula: adds the row's part of the gradients. */
static void reference_row(const rig *r, int64_t head, int64_t i, double *o, double *d) {
    int64_t dim = r->heads.head_dim, kv = head / (r->heads.heads / r->heads.kv_heads), first = r->start[i], n = i - first + 1;
    int64_t q = head * dim, k = (r->heads.heads + kv) * dim, v = k + r->heads.kv_heads * dim, width = r->heads.heads * dim;
    double p[512], dp[512], sum = 0, mean = 0, max = -INFINITY, scale = 1 / sqrt((double)dim);
    for (int64_t j = 0; j < n; j++) {
        p[j] = 0;
        for (int64_t c = 0; c < dim; c++) p[j] += scale * at(r, i, q + c) * at(r, first + j, k + c);
        max = fmax(max, p[j]);
    }
    for (int64_t j = 0; j < n; j++) sum += p[j] = exp(p[j] - max);
    for (int64_t j = 0; j < n; j++) {
        p[j] /= sum;
        dp[j] = 0;
        for (int64_t c = 0; c < dim; c++) {
            double w = rt_get(&r->w, i * width + q + c);
            o[i * width + q + c] += p[j] * at(r, first + j, v + c);
            d[(first + j) * r->columns + v + c] += p[j] * w;
            dp[j] += w * at(r, first + j, v + c);
        }
        mean += p[j] * dp[j];
    }
    for (int64_t j = 0; j < n; j++)
        for (int64_t c = 0; c < dim; c++) {
            double ds = scale * p[j] * (dp[j] - mean);
            d[i * r->columns + q + c] += ds * at(r, first + j, k + c);
            d[(first + j) * r->columns + k + c] += ds * at(r, i, q + c);
        }
}

/* The largest difference relative to the largest value. */
static double worst(const rt_tensor *got, const double *want) {
    double difference = 0, size = 0;
    for (int64_t i = 0; i < rt_tensor_count(got); i++) {
        difference = fmax(difference, fabs(rt_get(got, i) - want[i]));
        size = fmax(size, fabs(want[i]));
    }
    return difference / size;
}

/* A half value is one rounding away: 2^-11 (f16), 2^-8 (bf16) of the largest. Its gradient starts from the rounded o. */
static void compare(const rig *r, double value_tolerance, double gradient_tolerance) {
    int64_t width = r->heads.heads * r->heads.head_dim;
    double *o = rt_zalloc((size_t)(r->rows * width) * sizeof *o), *d = rt_zalloc((size_t)(r->rows * r->columns) * sizeof *d);
    for (int64_t h = 0; h < r->heads.heads; h++)
        for (int64_t i = 0; i < r->rows; i++) reference_row(r, h, i, o, d);
    const rt_tensor *got = rt_graph_value(r->g, r->o);
    double value = worst(got, o), gradient = worst(&r->grad, d);
    RT_CHECK(value <= value_tolerance && gradient <= gradient_tolerance, "%s, %lld heads, %lld kv, dim %lld: value off by %g, gradient by %g",
             rt_dtype_name(got->dtype), (long long)r->heads.heads, (long long)r->heads.kv_heads, (long long)r->heads.head_dim, value, gradient);
    rt_free(o);
    rt_free(d);
}

static const int64_t odd[] = {7, 1, 130, 33, 2, 64, 5};
enum { ODD = sizeof odd / sizeof *odd };

static void follows_the_formula(void) {
    static const int64_t dims[] = {8, 12, 16, 20, 24, 64};
    static const struct {
        rt_dtype t;
        double value, gradient;
    } types[] = {{RT_F64, 1e-14, 1e-14}, {RT_F32, 1e-6, 2e-6}, {RT_F16, 0x1p-11, 1e-3}, {RT_BF16, 0x1p-8, 8e-3}};
    for (size_t t = 0; t < sizeof types / sizeof *types; t++)
        for (size_t i = 0; i < sizeof dims / sizeof *dims; i++) {
            int64_t g = 1 << (i + t) % 3;
            rig r = rig_new(types[t].t, (rt_heads){2 * g, 2, dims[i], 130}, odd, ODD);
            rig_go(&r);
            compare(&r, types[t].value, types[t].gradient);
            rig_free(&r);
        }
}

/* ------------------------------------------------------------- same bits */

static bool same_rows(const rt_tensor *a, int64_t ra, const rt_tensor *b, int64_t rb, int64_t rows) {
    size_t row = (size_t)a->dim[1] * rt_dtype_size(a->dtype);
    return memcmp((char *)a->data + (size_t)ra * row, (char *)b->data + (size_t)rb * row, (size_t)rows * row) == 0;
}
static void copy_rows(const rt_tensor *from, int64_t rf, rt_tensor *to, int64_t rt, int64_t rows) {
    size_t row = (size_t)from->dim[1] * rt_dtype_size(from->dtype);
    memcpy((char *)to->data + (size_t)rt * row, (char *)from->data + (size_t)rf * row, (size_t)rows * row);
}

/* The documents of `odd` in reverse order: every row's value and gradient go along. */
static void bits_go_with_the_document(void) {
    for (rt_dtype t = RT_F64; t <= RT_BF16; t++) {
        int64_t turned[ODD], at_a = 0, at_b = 0;
        for (int s = 0; s < ODD; s++) turned[s] = odd[ODD - 1 - s];
        rt_heads heads = {4, 2, 20, 150};
        rig a = rig_new(t, heads, odd, ODD), b = rig_new(t, heads, turned, ODD);
        at_b = b.rows;
        for (int s = 0; s < ODD; at_a += odd[s++]) {
            at_b -= odd[s];
            copy_rows(&a.qkv, at_a, &b.qkv, at_b, odd[s]);
            copy_rows(&a.w, at_a, &b.w, at_b, odd[s]);
        }
        rig_go(&a), rig_go(&b);
        at_a = 0, at_b = b.rows;
        for (int s = 0; s < ODD; at_a += odd[s++]) {
            at_b -= odd[s];
            RT_CHECK(same_rows(rt_graph_value(a.g, a.o), at_a, rt_graph_value(b.g, b.o), at_b, odd[s]), "%s: value of document %d", rt_dtype_name(t), s);
            RT_CHECK(same_rows(&a.grad, at_a, &b.grad, at_b, odd[s]), "%s: gradient of document %d", rt_dtype_name(t), s);
        }
        rig_free(&a), rig_free(&b);
    }
}

static void later_rows_change_nothing(void) {
    for (rt_dtype t = RT_F64; t <= RT_BF16; t++)
        for (int64_t n = 1; n < 200; n += 37) {
            rig whole = rig_new(t, (rt_heads){4, 2, 16, 0}, (int64_t[]){200}, 1), part = rig_new(t, (rt_heads){4, 2, 16, 0}, (int64_t[]){n}, 1);
            copy_rows(&whole.qkv, 0, &part.qkv, 0, n);
            rig_go(&whole), rig_go(&part);
            RT_CHECK(same_rows(rt_graph_value(whole.g, whole.o), 0, rt_graph_value(part.g, part.o), 0, n), "%s: the first %lld rows", rt_dtype_name(t), (long long)n);
            rig_free(&whole), rig_free(&part);
        }
}

static void threads_and_recomputation_change_nothing(void) {
    int before = rt_threads();
    for (rt_dtype t = RT_F64; t <= RT_BF16; t++) {
        uint64_t value = 0, gradient = 0;
        for (int variant = 0; variant < 4; variant++) { /* 1, 2, 3 threads; recomputed */
            rt_threads_set(variant < 3 ? variant + 1 : 2);
            rig r = rig_new(t, (rt_heads){4, 2, 12, 130}, odd, ODD);
            rt_status s = rig_plan(&r, variant == 3);
            for (int again = 0; again < 2 && s == RT_OK; again++) s = rig_run(&r);
            RT_CHECK(s == RT_OK, "%s", r.err.text);
            uint64_t v = variant < 3 ? rt_tensor_hash(rt_graph_value(r.g, r.o)) : value, d = rt_tensor_hash(&r.grad);
            if (variant == 0) value = v, gradient = d;
            RT_CHECK(v == value && d == gradient, "%s: variant %d has other bits", rt_dtype_name(t), variant);
            rig_free(&r);
        }
    }
    rt_threads_set(before);
}

/* ---------------------------------------------------------------- refusals */

static void refused(rig *r, rt_status expected, const char *words) {
    rt_status s = r->g ? RT_OK : rig_plan(r, false);
    if (s == RT_OK) s = rig_run(r);
    RT_CHECK(s == expected && strstr(r->err.text, words), "expected %s '%s', got %s '%s'", rt_status_name(expected), words, rt_status_name(s), r->err.text);
}

static void bad_starts_are_refused(void) {
    static const struct {
        int row, start;
        const char *words;
    } bad[] = {{0, 1, "start of row 0 is 1"}, {4, 5, "start of row 4 is 5"}, {4, -1, "start of row 4 is -1"},
               {4, 2, "start of row 4 is 2"}, {6, 0, "start of row 6 is 0"}};
    rig r = rig_new(RT_F32, (rt_heads){2, 1, 8, 0}, (int64_t[]){5, 3}, 2);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        int32_t keep = r.start[bad[i].row];
        r.start[bad[i].row] = bad[i].start;
        refused(&r, RT_E_ARG, bad[i].words);
        r.start[bad[i].row] = keep;
        RT_CHECK(rig_run(&r) == RT_OK, "a refusal must leave the graph usable: %s", r.err.text);
    }
    rig_free(&r);
}

static void long_documents_are_refused(void) {
    rig r = rig_new(RT_F16, (rt_heads){2, 1, 8, 4}, (int64_t[]){4, 5}, 2);
    refused(&r, RT_E_ARG, "test.attention (attention): the document at row 4 is longer than max_length, 4 rows");
    r.start[8] = 8;
    RT_CHECK(rig_run(&r) == RT_OK, "%s", r.err.text);
    rig_free(&r);
}

static void bad_heads_are_refused(void) {
    static const rt_heads bad[] = {{3, 2, 8, 0}, {0, 2, 8, 0}, {2, 0, 8, 0}, {2, 1, 0, 0}, {2, 1, -8, 0}, {2, 1, 9, 0}, {2, 1, 8, -1},
                                   {INT64_MAX, 1, 8, 0}, {2, INT64_MAX, 8, 0}, {2, 1, INT64_MAX, 0}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        rig r = rig_new(RT_F32, (rt_heads){2, 1, 8, 0}, (int64_t[]){3}, 1);
        r.heads = bad[i];
        refused(&r, RT_E_SHAPE, "test.attention (attention): ");
        rig_free(&r);
    }
}

static void an_overflow_is_named(void) {
    rig r = rig_new(RT_F16, (rt_heads){1, 1, 8, 0}, (int64_t[]){1}, 1);
    RT_CHECK(rig_plan(&r, false) == RT_OK, "%s", r.err.text);
    for (int64_t i = 0; i < 24; i++) rt_put(&r.qkv, i, 65504); /* the largest f16 is exact: one row is its own value */
    RT_CHECK(rig_run(&r) == RT_OK, "%s", r.err.text);
    CU_ASSERT(rt_get(rt_graph_value(r.g, r.o), 0) == 65504);
    rig_free(&r);
    rt_heads h = {1, 1, 8, 0};
    rt_tensor x = new_tensor(RT_F32, 1, 24);
    for (int64_t i = 16; i < 24; i++) rt_put(&x, i, 1e6);
    int32_t zero = 0;
    rt_tensor start = rt_tensor_1d(RT_I32, &zero, 1);
    rt_graph *g = rt_graph_new("test");
    rt_error err = {0};
    rt_graph_output(g, rt_attention(g, rt_graph_input(g, "x", &x), rt_graph_input(g, "start", &start), h,
                                    (rt_prec){RT_F32, RT_NONE, RT_F32, RT_F16, RT_F32}, "a"));
    RT_OK_OR_FAIL(rt_graph_plan(g, false, &err));
    RT_CHECK(rt_graph_forward(g, &err) == RT_E_NUMERIC && strstr(err.text, "test.a (attention): f16 overflow"), "%s", err.text);
    rt_graph_free(g);
    rt_free(x.data);
}

static void lack_of_memory_is_clean(void) {
    rt_scratch_release();
    int64_t before = rt_mem_stats_get().live_blocks;
    for (int64_t n = 1;; n++) {
        rig r = rig_new(RT_BF16, (rt_heads){2, 1, 8, 0}, (int64_t[]){9, 3}, 2);
        rt_scratch_release();
        rt_mem_fail_at(n);
        rt_status s = rig_plan(&r, false);
        rt_mem_fail_at(0);
        rig_free(&r);
        rt_scratch_release();
        RT_CHECK(s == RT_OK || s == RT_E_NOMEM, "allocation %lld: %s", (long long)n, rt_status_name(s));
        if (s == RT_OK || n > 1000) break;
    }
    CU_ASSERT_EQUAL(rt_mem_stats_get().live_blocks, before);
}

RT_SUITE(attention_op) {
    RT_TEST(follows_the_formula);
    RT_TEST(bits_go_with_the_document);
    RT_TEST(later_rows_change_nothing);
    RT_TEST(threads_and_recomputation_change_nothing);
    RT_TEST(bad_starts_are_refused);
    RT_TEST(long_documents_are_refused);
    RT_TEST(bad_heads_are_refused);
    RT_TEST(an_overflow_is_named);
    RT_TEST(lack_of_memory_is_clean);
}
