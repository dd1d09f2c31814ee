/* Losses and metrics against the independent goldens of distill/, with given logits. */
#include "head_case.h"
#include "kernels/head.h"
#include "kernels/isa.h"
#include <retort/base/json.h>
#include <retort/base/rng.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct golden {
    const char *key;
    rt_head_term term;
} golden;
static const golden goldens[] = {
    {"forward_kl T=1", {&rt_loss_forward_kl, 1, 0, 0}}, {"forward_kl T=2", {&rt_loss_forward_kl, 2, 0, 0}},
    {"forward_kl T=4", {&rt_loss_forward_kl, 4, 0, 0}}, {"reverse_kl T=1", {&rt_loss_reverse_kl, 1, 0, 0}},
    {"reverse_kl T=2", {&rt_loss_reverse_kl, 2, 0, 0}}, {"reverse_kl T=4", {&rt_loss_reverse_kl, 4, 0, 0}},
    {"jsd beta=0.1", {&rt_loss_jsd, 1, 0.1, 0}},        {"jsd beta=0.5", {&rt_loss_jsd, 1, 0.5, 0}},
    {"jsd beta=0.9", {&rt_loss_jsd, 1, 0.9, 0}},        {"total_variation", {&rt_loss_tv, 1, 0, 0}},
    {"ce_student", {&rt_loss_next_token, 1, 0, 0}},     {"ce_teacher", {&rt_loss_teacher_ce, 0, 0, 0}},
    {"forward_kl T=1", {&rt_loss_kl_t1, 0, 0, 0}},      {"top1_agreement", {&rt_loss_top1_agreement, 0, 0, 0}},
    {"top5_overlap", {&rt_loss_top5_overlap, 0, 0, 0}},
};
enum { GOLDENS = sizeof goldens / sizeof *goldens };

static double number_of(const json_t *object, const char *key) { return json_number_value(json_object_get(object, key)); }

static void check_values(const head_case *c, const rt_head_term *terms, const json_t *values, double tolerance) {
    (void)terms;
    for (int i = 0; i < GOLDENS; i++) {
        double want = number_of(values, goldens[i].key), found = head_case_report(c, i);
        RT_CHECK(fabs(found - want) <= tolerance * fmax(fabs(want), 1), "%s: %.12g, expected %.12g", goldens[i].key, found, want);
    }
}
static void golden_terms(rt_head_term *terms) {
    for (int i = 0; i < GOLDENS; i++) terms[i] = goldens[i].term;
}

static json_t *load_json(const char *fixture) {
    const char *path = rt_fixture(fixture);
    rt_error err = {0};
    json_t *j = NULL;
    if (path) RT_OK_OR_FAIL(rt_json_load(path, 0, &j, &err));
    return j;
}

/* --------------------------------------------------------------- small.json */

static void fill(rt_tensor *t, const json_t *array) {
    size_t b, i, v;
    json_t *batch, *row, *x;
    int64_t at = 0;
    json_array_foreach(array, b, batch) json_array_foreach(batch, i, row) json_array_foreach(row, v, x) rt_put(t, at++, json_number_value(x));
}
static void next_tokens(head_case *c, const int *ids, int64_t length) {
    for (int64_t i = 0; i < c->N; i++) c->target[i] = i % length == length - 1 ? -1 : ids[i + 1];
}

static void compare_gradient(const head_case *c, const char *key, const json_t *want, double tolerance) {
    size_t b, i, v;
    json_t *batch, *row, *x;
    int64_t at = 0;
    double worst = 0;
    json_array_foreach(want, b, batch) json_array_foreach(batch, i, row) json_array_foreach(row, v, x)
        worst = fmax(worst, fabs(rt_get(&c->d_logits, at++) - json_number_value(x)));
    RT_CHECK(worst <= tolerance, "gradient of %s: off by %.3g", key, worst);
}

static void small_in(rt_prec p, double tolerance) {
    json_t *j = load_json("distill/small.json");
    if (!j) return;
    rt_head_term terms[GOLDENS];
    golden_terms(terms);
    head_case c = {.N = 12, .V = 17, .prec = {p, p}, .given = {true, true}, .terms = terms, .n_terms = GOLDENS};
    head_case_make(&c);
    fill(&c.logits[0], json_object_get(j, "student_logits"));
    fill(&c.logits[1], json_object_get(j, "teacher_logits"));
    int ids[12];
    for (size_t i = 0; i < 12; i++) ids[i] = (int)json_integer_value(json_array_get(json_array_get(json_object_get(j, "token_ids"), i / 6), i % 6));
    next_tokens(&c, ids, 6);
    rt_error err = {0};
    for (int i = 0; i < GOLDENS; i++) {
        const json_t *want = json_object_get(json_object_get(j, "gradients"), goldens[i].key);
        memset(c.gains, 0, sizeof c.gains);
        c.gains[i] = 0.1; /* ten supervised positions */
        RT_OK_OR_FAIL(head_case_run(&c, &err));
        check_values(&c, terms, json_object_get(j, "values"), tolerance);
        if (want && terms[i].loss->gradient) compare_gradient(&c, goldens[i].key, want, tolerance);
    }
    head_case_free(&c);
    json_decref(j);
}
static void small_f64(void) { small_in(head_f64, 1e-12); }
static void small_f32(void) { small_in(head_f32, 1e-6); }

/* ------------------------------------------------------------ expected.json */

static bool read_floats(const char *fixture, float *x, size_t count) {
    const char *path = rt_fixture(fixture);
    FILE *f = path ? fopen(path, "rb") : NULL;
    bool ok = f && fread(x, sizeof *x, count, f) == count;
    if (f) fclose(f);
    return ok;
}
static bool read_ids(const char *fixture, int *ids) {
    const char *path = rt_fixture(fixture);
    FILE *f = path ? fopen(path, "r") : NULL;
    bool ok = f != NULL;
    for (int i = 0; ok && i < 64; i++) ok = fscanf(f, "%d", &ids[i]) == 1;
    if (f) fclose(f);
    return ok;
}

static void expected_f32(void) {
    enum { N = 128, V = 512 };
    static float gradient[N * V];
    rt_head_term terms[GOLDENS];
    golden_terms(terms);
    head_case c = {.N = N, .V = V, .prec = {head_f32, head_f32}, .given = {true, true}, .terms = terms, .n_terms = GOLDENS};
    json_t *j = load_json("distill/expected.json");
    if (!j) return;
    head_case_make(&c);
    int ids[N];
    bool ok = read_floats("models/mixtral/logits.f32", c.logits[0].data, N * V) && read_floats("distill/teacher_logits.f32", c.logits[1].data, N * V) &&
              read_floats("distill/grad_forward_kl_T2.f32", gradient, N * V) && read_ids("models/mixtral/ids.txt", ids) &&
              read_ids("models/mixtral/ids2.txt", ids + 64);
    if (ok) {
        next_tokens(&c, ids, 64);
        memset(c.gains, 0, sizeof c.gains);
        c.gains[1] = 1.0 / 126;
        rt_error err = {0};
        RT_OK_OR_FAIL(head_case_run(&c, &err));
        check_values(&c, terms, json_object_get(j, "values"), 1e-6);
        double worst = 0;
        for (int i = 0; i < N * V; i++) worst = fmax(worst, fabs(rt_get(&c.d_logits, i) - (double)gradient[i]));
        RT_CHECK(worst <= 1e-6, "gradient of forward_kl at 2: off by %.3g", worst);
    }
    head_case_free(&c);
    json_decref(j);
}

/* ------------------------------------------------------------- by themselves */

static void names(void) {
    rt_error err = {0};
    const rt_vocab_loss *loss;
    CU_ASSERT_PTR_EQUAL(rt_loss_find("forward_kl"), &rt_loss_forward_kl);
    for (const rt_vocab_loss *const *l = rt_losses; *l; l++) CU_ASSERT_PTR_EQUAL(rt_loss_find((*l)->name), *l);
    CU_ASSERT_EQUAL(rt_loss_get("forwrd_kl", true, &loss, &err), RT_E_CONFIG);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "forward_kl"));
    rt_error_clear(&err);
    CU_ASSERT_EQUAL(rt_loss_get("kl_t1", true, &loss, &err), RT_E_CONFIG);
    rt_error_clear(&err);
    CU_ASSERT_EQUAL(rt_loss_get("kl_t1", false, &loss, &err), RT_OK);
}

/* Fully confident and right: error 0; fully confident and wrong: error 1; and a hand-made mixture of bins. */
static void calibration(void) {
    const rt_head_term terms[] = {{&rt_loss_calibration, 0, 0, 0}};
    head_case c = {.N = 4, .V = 2, .prec = {head_f64}, .given = {true}, .terms = terms, .n_terms = 1, .evaluate = true};
    head_case_make(&c);
    rt_error err = {0};
    for (int i = 0; i < 8; i++) rt_put(&c.logits[0], i, i % 2 ? 0 : 100);
    for (int i = 0; i < 4; i++) c.target[i] = 0;
    RT_OK_OR_FAIL(head_case_run(&c, &err));
    CU_ASSERT_DOUBLE_EQUAL(head_case_report(&c, 0), 0, 1e-12);
    for (int i = 0; i < 4; i++) c.target[i] = 1;
    RT_OK_OR_FAIL(head_case_run(&c, &err));
    CU_ASSERT_DOUBLE_EQUAL(head_case_report(&c, 0), 1, 1e-12);
    c.target[1] = c.target[3] = 0;
    for (int i = 0; i < 8; i++) rt_put(&c.logits[0], i, i % 2 ? 0 : i < 4 ? log(3.0) : 0); /* 0.75, 0.75; tie: 0.5, id 0 */
    RT_OK_OR_FAIL(head_case_run(&c, &err));
    CU_ASSERT_DOUBLE_EQUAL(head_case_report(&c, 0), 0.5 * 0.25 + 0.5 * 0, 1e-12);
    head_case_free(&c);
}

/* acceptance = 1 - tv; label smoothing of s = (1-s) CE + s mean CE over all ids; jsd's ends are the KLs. */
static void identities(void) {
    const rt_head_term terms[] = {{&rt_loss_acceptance, 0, 0, 0}, {&rt_loss_tv, 0, 0, 0},        {&rt_loss_jsd, 1, 0, 0}, {&rt_loss_jsd, 1, 1, 0},
                                  {&rt_loss_forward_kl, 1, 0, 0}, {&rt_loss_reverse_kl, 1, 0, 0}, {&rt_loss_next_token, 0, 0, 0.1}};
    head_case c = {.N = 9, .V = 300, .prec = {head_f64, head_f64}, .given = {true, true}, .terms = terms, .n_terms = 7, .evaluate = true, .scale = 2};
    head_case_make(&c);
    rt_error err = {0};
    RT_OK_OR_FAIL(head_case_run(&c, &err));
    CU_ASSERT_DOUBLE_EQUAL(head_case_report(&c, 0), 1 - head_case_report(&c, 1), 1e-13);
    CU_ASSERT_EQUAL(head_case_report(&c, 2), head_case_report(&c, 4));
    CU_ASSERT_EQUAL(head_case_report(&c, 3), head_case_report(&c, 5));
    double want = 0, count = 0;
    for (int64_t n = 0; n < c.N; n++) {
        if (c.target[n] < 0) continue;
        double sum = 0, mean = 0;
        for (int64_t v = 0; v < c.V; v++) sum += exp(rt_get(&c.logits[0], n * c.V + v)), mean += rt_get(&c.logits[0], n * c.V + v) / (double)c.V;
        want += log(sum) - 0.9 * rt_get(&c.logits[0], n * c.V + c.target[n]) - 0.1 * mean;
        count++;
    }
    CU_ASSERT_DOUBLE_EQUAL(head_case_report(&c, 6), want / count, 1e-12);
    head_case_free(&c);
}

/* Rows that differ by rounding or a little more, a million of them, each by itself: a plain sum of p (log p - log q) would be
 * negative for many. The kernels are called as the head calls them. */
enum { KERNEL_ROWS = 4096, KERNEL_IDS = 6 };
typedef struct rows_case {
    float z[2][KERNEL_IDS * KERNEL_ROWS], max[2][KERNEL_ROWS], log[2][KERNEL_ROWS], sum[4][KERNEL_ROWS];
} rows_case;

static void fill_rows(rows_case *c, uint64_t round) {
    rt_rng r = rt_rng_make(7, "rows", round);
    for (int i = 0; i < KERNEL_IDS * KERNEL_ROWS; i++) {
        double x = 3 * rt_rng_normal(r, (uint64_t)i), change = pow(10, -8 + 6 * rt_rng_uniform(r, (uint64_t)i + (1u << 20)));
        c->z[0][i] = (float)x;
        c->z[1][i] = (float)(x * (1 + (i % 3 - 1) * change));
    }
}
static rt_head_tile rows_tile(rows_case *c, const rt_head_kernels *k) {
    rt_head_tile t = {.dtype = RT_F32, .rows = KERNEL_ROWS, .ids = KERNEL_IDS, .vocab = KERNEL_IDS, .temperature = 1, .beta = 0.3};
    for (int s = 0; s < 2; s++) {
        k->partials(c->z[s], KERNEL_IDS, &(rt_head_partials){.rows = KERNEL_ROWS, .max = c->max[s], .count = 1, .scale = {1}, .sum = {c->log[s]}});
        for (int n = 0; n < KERNEL_ROWS; n++) c->log[s][n] = logf(c->log[s][n]);
        t.side[s] = (rt_head_logits){c->z[s], c->max[s], c->log[s]};
    }
    return t;
}
static int negative(const rows_case *c, int sums) {
    int count = 0;
    for (int k = 0; k < sums; k++)
        for (int n = 0; n < KERNEL_ROWS; n++) count += !(c->sum[k][n] >= 0);
    return count;
}
static void never_negative(void) {
    static rows_case c;
    int bad = 0, positive = 0;
    for (uint64_t round = 0; round < 288; round++) {
        rt_isa_force(round < 256 || !rt_isa_force("v2") ? NULL : "v2"); /* a few without fused multiply-add */
        const rt_head_kernels *k = rt_head_kernels_of(RT_F32);
        fill_rows(&c, round % 32);
        for (int i = 0; i < KERNEL_IDS * KERNEL_ROWS; i++) c.z[0][i] += (float)(round / 32), c.z[1][i] += (float)(round / 32);
        rt_head_tile t = rows_tile(&c, k);
        t.sum[RT_SUM_KL] = c.sum[0], t.sum[RT_SUM_REVERSE_KL] = c.sum[1], t.sum[RT_SUM_JSD] = c.sum[2], t.sum[RT_SUM_TV] = c.sum[3];
        k->sums(&t);
        bad += negative(&c, 4);
        positive += c.sum[0][round] > 0;
    }
    rt_isa_force(NULL);
    CU_ASSERT_EQUAL(bad, 0);
    CU_ASSERT(positive > 200);
}

/* One id's terms against the formulas in f64: relative to each by itself, from nearly equal sides to far ones, whatever the weights. */
enum { TERM_ROWS = 4096 };
typedef struct terms_case {
    float z[2][TERM_ROWS], zero[TERM_ROWS], sum[RT_SUM_KINDS][TERM_ROWS];
} terms_case;
static void term_values(double lp, double lq, double beta, double want[RT_SUM_KINDS]) {
    double p = exp(lp), q = exp(lq), d = lp - lq, m = beta * p + (1 - beta) * q;
    want[RT_SUM_KL] = p * (expm1(-d) + d), want[RT_SUM_REVERSE_KL] = q * (expm1(d) - d);
    want[RT_SUM_OVERLAP] = fmin(p, q), want[RT_SUM_TV] = fmin(p, q) * expm1(fabs(d)) / 2;
    want[RT_SUM_TV_SLOPE] = d > 0 ? -q / 2 : q / 2;
    want[RT_SUM_JSD] = -beta * p * log1p((m - p) / p) - (1 - beta) * q * log1p((m - q) / q);
    want[RT_SUM_JSD_SLOPE] = -(1 - beta) * q * log1p((m - q) / q);
}
static void compare_terms(const terms_case *c, double beta, double tolerance) {
    double worst[RT_SUM_KINDS] = {0}, want[RT_SUM_KINDS];
    for (int n = 0; n < TERM_ROWS; n++) {
        term_values((double)c->z[RT_HEAD_TEACHER][n], (double)c->z[RT_HEAD_STUDENT][n], beta, want);
        for (int k = RT_SUM_KL; k < RT_SUM_KINDS; k++) worst[k] = fmax(worst[k], fabs((double)c->sum[k][n] / want[k] - 1));
    }
    for (int k = RT_SUM_KL; k < RT_SUM_KINDS; k++) RT_CHECK(worst[k] <= tolerance, "sum %d, beta %g: off by %.3g", k, beta, worst[k]);
}
static void terms_near_and_far(void) {
    static terms_case c;
    const double betas[] = {0.5, 0.3, 0.9, 0.99};
    const char *level[] = {NULL, "v3", "v2"};
    rt_rng r = rt_rng_make(7, "terms", 0);
    for (int n = 0; n < TERM_ROWS; n++) {
        double d = pow(10, -3 + 3.8 * rt_rng_uniform(r, (uint64_t)n)) * (n % 2 ? 1 : -1), lp = -12 * rt_rng_uniform(r, (uint64_t)n + TERM_ROWS);
        c.z[RT_HEAD_TEACHER][n] = (float)(lp - fmax(0, -d)), c.z[RT_HEAD_STUDENT][n] = (float)(lp - fmax(0, d));
    }
    for (int i = 0; i < 12; i++) {
        rt_head_tile t = {.dtype = RT_F32, .rows = TERM_ROWS, .ids = 1, .vocab = 1, .temperature = 1, .beta = betas[i % 4]};
        for (int s = 0; s < 2; s++) t.side[s] = (rt_head_logits){c.z[s], c.zero, c.zero};
        for (int k = RT_SUM_KL; k < RT_SUM_KINDS; k++) t.sum[k] = c.sum[k];
        if (!rt_isa_force(level[i / 4])) continue;
        rt_head_kernels_of(RT_F32)->sums(&t);
        compare_terms(&c, t.beta, t.beta > 0.9 ? 1e-5 : 2e-6);
    }
    rt_isa_force(NULL);
}

/* The largest ids against a scan of each row by itself, on all levels: few different logits, so that ties are many; rows without a
 * number and rows of -inf. */
enum { TOP_IDS = 700, TOP_ROWS = 96, TOP_COUNT = 48 };
static void scan_top(const float *z, int64_t n, int32_t *want) {
    for (int k = 0; k < RT_HEAD_TOP; k++) {
        want[k] = -1;
        for (int v = 0; v < TOP_IDS; v++) {
            bool taken = false;
            for (int j = 0; j < k; j++) taken |= want[j] == v;
            if (!taken && z[v * TOP_ROWS + n] > (want[k] < 0 ? -INFINITY : z[want[k] * TOP_ROWS + n])) want[k] = v;
        }
    }
}
static void largest_ids(void) {
    static float z[TOP_IDS * TOP_ROWS];
    const char *level[] = {NULL, "v3", "v2"};
    rt_rng r = rt_rng_make(7, "top", 0);
    for (int i = 0; i < TOP_IDS * TOP_ROWS; i++) {
        double x = rt_rng_uniform(r, (uint64_t)i);
        z[i] = x < 0.01 ? NAN : x < 0.3 ? -INFINITY : (float)(int)(300 * x * (double)(i / TOP_ROWS) / TOP_IDS);
        if (i % TOP_ROWS == 5) z[i] = -INFINITY;
        if (i % TOP_ROWS == 6 && i > 3 * TOP_ROWS) z[i] = NAN;
    }
    for (int i = 0; i < 3; i++) {
        int32_t top[RT_HEAD_TOP * TOP_ROWS], want[RT_HEAD_TOP];
        if (!rt_isa_force(level[i])) continue;
        rt_head_kernels_of(RT_F32)->top(z, TOP_IDS, TOP_ROWS, TOP_COUNT, top);
        for (int n = 0; n < TOP_COUNT; n++) {
            scan_top(z, n, want);
            for (int k = 0; k < RT_HEAD_TOP; k++)
                RT_CHECK(top[k * TOP_ROWS + n] == want[k], "row %d, place %d: id %d, expected %d", n, k, (int)top[k * TOP_ROWS + n], (int)want[k]);
        }
    }
    rt_isa_force(NULL);
}

RT_SUITE(losses) {
    RT_TEST(names);
    RT_TEST(small_f64);
    RT_TEST(small_f32);
    RT_TEST(expected_f32);
    RT_TEST(calibration);
    RT_TEST(identities);
    RT_TEST(never_negative);
    RT_TEST(terms_near_and_far);
    RT_TEST(largest_ids);
}
