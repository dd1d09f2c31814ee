/* test_compare.c - `retort compare`: differences made by hand, verdicts, layouts, runs. */
#include "harness.h"
#include "program.h"
#include "small_model.h"
#include "tiny_job.h"
#include <retort/base/file.h>
#include <retort/base/json_difference.h>
#include <retort/compare/compare.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* ------------------------------------------------------------ models by hand */

typedef struct change {
    rt_weight_kind kind;
    int layer;
    int64_t element;
    double add; /* to that element; NaN sets it */
} change;
/* A small model in a fresh folder, with changes up to one of RT_WEIGHT_KINDS. The path is static, 4 in rotation. */
static const char *folder(int64_t experts, rt_dtype t, const change *changes) {
    static char paths[4][600];
    static unsigned turn;
    char *path = paths[turn++ % 4];
    rt_weights w = {0};
    rt_model_config c = small_config(experts);
    rt_precision p = rt_precision_student(t);
    snprintf(path, 600, "%s", rt_test_dir());
    small_model(&w, &c, &p, 0.1);
    for (; changes && changes->kind != RT_WEIGHT_KINDS; changes++) {
        rt_tensor *one = &w.slots[rt_weights_find(&w, changes->kind, changes->layer)].t;
        rt_put(one, changes->element, rt_get(one, changes->element) + changes->add);
    }
    small_folder(path, &w);
    rt_weights_free(&w);
    return path;
}
#define CHANGES(...) (const change[]) { __VA_ARGS__, { .kind = RT_WEIGHT_KINDS } }

static rt_compare *compared(const rt_compare_options *o, const rt_comparison **r) {
    rt_error err = {0};
    rt_compare *c;
    RT_OK_OR_FAIL(rt_compare_open(&c, o, &err));
    *r = c ? rt_compare_result(c) : NULL;
    return c;
}
static rt_compare_options exactly(const char *a, const char *b) { return (rt_compare_options){.a = a, .b = b, .exact = true, .probe_tokens = 300}; }

/* -------------------------------------------------------------------- verdicts */

static void a_model_equals_its_copy(void) {
    const rt_comparison *r;
    rt_compare_options o = exactly(folder(4, RT_F32, NULL), folder(4, RT_F32, NULL));
    rt_compare *c = compared(&o, &r);
    CU_ASSERT_TRUE(r->equal && r->same_weights && r->different == 0 && r->only_a == 0 && r->only_b == 0 && json_array_size(r->config_differences) == 0);
    CU_ASSERT_TRUE(strcmp(r->probe.skipped, "the weights are the same bits") == 0 && r->probe.positions == 0);
    rt_compare_close(c);
    o.probe = RT_PROBE_YES;
    c = compared(&o, &r);
    CU_ASSERT_TRUE(!*r->probe.skipped && r->probe.positions == 300 && r->probe.max_abs == 0 && r->probe.kl == 0 && r->probe.reverse_kl == 0);
    CU_ASSERT_TRUE(r->probe.top1_changed == 0 && r->probe.routes == 300 * 2 * 2 && r->probe.routes_flipped == 0);
    rt_compare_close(c);
}
static void one_changed_element_is_found(void) {
    const rt_comparison *r;
    const char *a = folder(4, RT_F32, NULL), *b = folder(4, RT_F32, CHANGES({RT_WEIGHT_QUERY, 1, 17, 0.5}, {RT_WEIGHT_KEY, 0, 3, 0x1p-20}));
    rt_compare_options o = exactly(a, b);
    rt_compare *c = compared(&o, &r);
    const rt_compared *t = r->tensors;
    CU_ASSERT_TRUE(!r->equal && r->different == 2 && !r->same_weights && r->same_architecture);
    CU_ASSERT_STRING_EQUAL(t[0].name, "model.layers.1.self_attn.q_proj.weight"); /* worst first */
    CU_ASSERT_TRUE(t[0].d.differing == 1 && t[0].d.worst == 17 && fabs(t[0].d.max_abs - 0.5) < 1e-7 && t[0].d.elements == 32 * 32);
    CU_ASSERT_STRING_EQUAL(t[1].name, "model.layers.0.self_attn.k_proj.weight");
    CU_ASSERT_TRUE(t[1].d.differing == 1 && t[1].d.first == 3 && t[2].equal && t[2].d.differing == 0);
    CU_ASSERT_TRUE(r->probe.max_abs > 0 && r->probe.kl > 0 && r->probe.positions == 300);
    double relative = t[0].d.relative, small = t[1].d.relative;
    rt_compare_close(c);
    o.exact = false, o.tolerance = relative;
    c = compared(&o, &r);
    CU_ASSERT_TRUE(r->equal && !r->same_weights);
    rt_compare_close(c);
    o.tolerance = nextafter(relative, 0);
    c = compared(&o, &r);
    CU_ASSERT_TRUE(!r->equal && r->different == 1 && small < relative);
    rt_compare_close(c);
}
static void zero_and_minus_zero_are_equal_numbers_of_other_bits(void) {
    const rt_comparison *r;
    const char *a = folder(0, RT_F32, NULL), *b = folder(0, RT_F32, NULL);
    char path[700];
    rt_error err = {0};
    rt_buf file = {0};
    snprintf(path, sizeof path, "%s/model.safetensors", b); /* the last element of the file becomes 0, then -0 */
    RT_OK_OR_FAIL(rt_file_read(path, 1 << 20, &file, &err));
    memset(file.data + file.size - 4, 0, 4);
    RT_OK_OR_FAIL(rt_file_write_atomic(path, file.data, file.size, &err));
    snprintf(path, sizeof path, "%s/model.safetensors", a);
    file.data[file.size - 1] = (char)0x80;
    RT_OK_OR_FAIL(rt_file_write_atomic(path, file.data, file.size, &err));
    rt_compare_options o = exactly(a, b);
    rt_compare *c = compared(&o, &r);
    CU_ASSERT_TRUE(!r->equal && r->different == 1 && r->tensors[0].d.differing == 1 && r->tensors[0].d.max_abs == 0);
    rt_compare_close(c);
    o.exact = false;
    c = compared(&o, &r);
    CU_ASSERT_TRUE(r->equal && !r->same_weights);
    rt_compare_close(c);
    rt_buf_free(&file);
}
static void nan_is_compared_and_its_logits_are_not(void) {
    const rt_comparison *r;
    const char *a = folder(0, RT_F32, NULL), *b = folder(0, RT_F32, CHANGES({RT_WEIGHT_EMBED, -1, 5, (double)NAN}));
    rt_compare_options o = exactly(a, b);
    rt_compare *c = compared(&o, &r);
    CU_ASSERT_TRUE(!r->equal && r->different == 1 && r->tensors[0].d.nonfinite == 1 && isinf(r->tensors[0].d.relative));
    RT_CHECK(strstr(r->probe.skipped, "not finite"), "a NaN went through the probe: '%s'", r->probe.skipped);
    rt_compare_close(c);
    o = exactly(b, folder(0, RT_F32, CHANGES({RT_WEIGHT_EMBED, -1, 5, (double)NAN})));
    c = compared(&o, &r);
    CU_ASSERT_TRUE(r->equal && r->same_weights);
    rt_compare_close(c);
}
static void two_dtypes_are_widened_and_said(void) {
    const rt_comparison *r;
    const char *half = folder(4, RT_F16, NULL), *wide = folder(4, RT_F32, NULL);
    rt_compare_options o = exactly(half, wide);
    rt_compare *c = compared(&o, &r);
    CU_ASSERT_TRUE(!r->equal && r->other_dtype > 0 && r->tensors[0].d.widened && r->tensors[0].d.relative < 0x1p-10);
    rt_buf page = {0};
    rt_compare_text(r, false, &page);
    CU_ASSERT_PTR_NOT_NULL(strstr(page.data, "of two dtypes: compared as f64"));
    rt_buf_free(&page);
    rt_compare_close(c);
    o.exact = false, o.tolerance = 0x1p-10;
    c = compared(&o, &r);
    CU_ASSERT_TRUE(r->equal);
    rt_compare_close(c);
}
static void layouts_that_differ_are_explained(void) {
    const rt_comparison *r;
    rt_compare_options o = exactly(folder(0, RT_F32, NULL), folder(4, RT_F32, NULL));
    rt_compare *c = compared(&o, &r);
    CU_ASSERT_TRUE(!r->equal && !r->same_architecture && r->only_a == 2 * 3 && r->only_b == 2 * (1 + 4 * 3));
    rt_buf page = {0};
    rt_compare_text(r, false, &page);
    CU_ASSERT_PTR_NOT_NULL(strstr(page.data, "A is dense, B a mixture of 4 experts"));
    CU_ASSERT_PTR_NOT_NULL(strstr(page.data, "only in B: model.layers.*.block_sparse_moe.experts.*.w1.weight  f32 [48,32] x 8"));
    CU_ASSERT_PTR_NOT_NULL(strstr(page.data, "model_type"));
    rt_buf_free(&page);
    rt_compare_close(c);
}

/* ------------------------------------------------------------------ the program */

static void the_program_says_it_by_exit_codes(void) {
    const char *a = folder(0, RT_F32, NULL), *b = folder(0, RT_F32, CHANGES({RT_WEIGHT_HEAD, -1, 0, 1})), *ids = "1 2 3\n4 5\n";
    char path[700], bad[700];
    rt_error err = {0};
    snprintf(path, sizeof path, "%s/ids.txt", a), snprintf(bad, sizeof bad, "%s/bad.txt", a);
    RT_OK_OR_FAIL(rt_file_write_atomic(path, ids, strlen(ids), &err));
    RT_OK_OR_FAIL(rt_file_write_atomic(bad, "1 99999\n", 8, &err));
    static const struct {
        const char *words[6];
        int code;
        const char *out, *error;
    } cases[] = {{{"A", "A"}, 0, "the same bits", ""},
                 {{"A", "B"}, 1, "lm_head.weight", "they differ: 1 tensors"},
                 {{"A", "B", "--tolerance", "10"}, 0, "lm_head.weight", ""},
                 {{"A", "B", "--all", "--no-probe"}, 1, "logits: not compared (not asked for)", "they differ"},
                 {{"A", "B", "--ids", "IDS"}, 1, "logits on 5 positions", "they differ"},
                 {{"A", "B", "--ids", "BAD"}, 3, "", "id 99999 is beyond the vocabulary of 97"},
                 {{"A", "B", "--tolerance", "much"}, 2, "", "expected a number"},
                 {{"A", "B", "--tolerance", "-1"}, 2, "", "expected a number"},
                 {{"A", "B", "--ids", "IDS", "--data=x"}, 2, "", "give one"},
                 {{"A"}, 2, "", "B"},
                 {{"A", "/nonexistent"}, 3, "", "no such model directory"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *words[8] = {"compare"};
        for (int k = 0; k < 6 && cases[i].words[k]; k++) {
            const char *w = cases[i].words[k];
            words[k + 1] = strcmp(w, "A") == 0 ? a : strcmp(w, "B") == 0 ? b : strcmp(w, "IDS") == 0 ? path : strcmp(w, "BAD") == 0 ? bad : w;
        }
        rt_run r = rt_program(NULL, words);
        RT_CHECK(r.code == cases[i].code && strstr(r.out.data, cases[i].out) && strstr(r.err.data, cases[i].error), "case %zu: exit %d\n%s%s", i, r.code, r.out.data, r.err.data);
        rt_run_free(&r);
    }
    rt_run r = RT_PROGRAM(NULL, "compare", a, b, "--json", "-");
    json_t *o = NULL;
    RT_OK_OR_FAIL(rt_json_parse(r.out.data, r.out.size, "json", &o, &err));
    CU_ASSERT_TRUE(json_is_false(json_object_get(o, "equal")) && json_integer_value(json_object_get(o, "different")) == 1);
    CU_ASSERT_TRUE(json_integer_value(json_object_get(json_array_get(json_object_get(o, "tensors"), 0), "differing")) == 1);
    json_decref(o);
    rt_run_free(&r);
}

/* ------------------------------------------------------------------------ runs */

static void runs_are_compared_with_their_jobs_and_evaluations(void) {
    char one[600], two[600];
    const rt_comparison *r;
    snprintf(one, sizeof one, "%s/one", rt_test_dir()), snprintf(two, sizeof two, "%s/two", rt_test_dir());
    RT_TINY_RUN(one, "schedule.steps=4", "run.eval_every=2");
    RT_TINY_RUN(two, "schedule.steps=4", "run.eval_every=2", "run.seed=9");
    rt_compare_options o = exactly(one, one);
    rt_compare *c = compared(&o, &r);
    CU_ASSERT_TRUE(r->equal && r->a.manifest && json_array_size(r->job_differences) == 0 && strlen(r->a.tokenizer) == 64);
    rt_compare_close(c);
    o = exactly(one, two);
    c = compared(&o, &r);
    CU_ASSERT_FALSE(r->equal);
    bool seed = false, moments = false;
    for (size_t i = 0; i < json_array_size(r->job_differences); i++) {
        const json_t *d = json_array_get(r->job_differences, i);
        seed |= strcmp(json_string_value(json_object_get(d, "key")), "run.seed") == 0 && json_integer_value(json_object_get(d, "b")) == 9;
    }
    for (int64_t i = 0; i < r->count; i++) moments |= strncmp(r->tensors[i].name, "optimizer.safetensors: m.", 25) == 0 && r->tensors[i].d.differing > 0;
    CU_ASSERT_TRUE(seed && moments && r->only_a == 0 && r->only_b == 0);
    CU_ASSERT_TRUE(json_integer_value(json_object_get(r->a.last, "step")) == 4 && r->a.best && r->b.best && r->b.last);
    rt_buf page = {0};
    rt_compare_text(r, false, &page);
    CU_ASSERT_TRUE(strstr(page.data, "evaluations") && strstr(page.data, "run.seed") && strstr(page.data, "optimizer.safetensors: m.*"));
    CU_ASSERT_TRUE(!r->tensors[0].other && r->tensors[r->count - 1].other);
    rt_buf_free(&page);
    rt_compare_close(c);
}

static void json_values_are_compared_by_key(void) {
    json_t *a = json_loads("{\"x\": 1, \"y\": {\"z\": [1, 2], \"u\": null}, \"w\": 2.0}", 0, NULL), *b = json_loads("{\"w\": 2, \"y\": {\"z\": [1, 3]}, \"v\": {}}", 0, NULL);
    json_t *d = rt_json_differences(a, b);
    char *text = json_dumps(d, JSON_COMPACT);
    CU_ASSERT_STRING_EQUAL(text, "[{\"key\":\"x\",\"a\":1},{\"key\":\"y.z\",\"a\":[1,2],\"b\":[1,3]},{\"key\":\"y.u\",\"a\":null},{\"key\":\"v\",\"b\":{}}]");
    rt_free(text);
    json_decref(a), json_decref(b), json_decref(d);
}
static void out_of_memory_is_clean(void) {
    const char *a = folder(4, RT_F32, NULL), *b = folder(4, RT_F16, NULL);
    rt_compare_options o = exactly(a, b);
    o.probe = RT_PROBE_NO;
    rt_status s = RT_E_NOMEM;
    int64_t live = rt_mem_stats_get().live_blocks;
    for (int64_t n = 1; s != RT_OK && n < 5000; n++) {
        rt_error err = {0};
        rt_compare *c;
        rt_mem_fail_at(n);
        s = rt_compare_open(&c, &o, &err);
        rt_mem_fail_at(0);
        RT_CHECK(s == RT_OK || s == RT_E_NOMEM, "%s %s", rt_status_name(s), err.text);
        rt_compare_close(c);
        CU_ASSERT_EQUAL(rt_mem_stats_get().live_blocks, live);
    }
    CU_ASSERT_EQUAL(s, RT_OK);
}

RT_SUITE(compare) {
    RT_TEST(a_model_equals_its_copy);
    RT_TEST(one_changed_element_is_found);
    RT_TEST(zero_and_minus_zero_are_equal_numbers_of_other_bits);
    RT_TEST(nan_is_compared_and_its_logits_are_not);
    RT_TEST(two_dtypes_are_widened_and_said);
    RT_TEST(layouts_that_differ_are_explained);
    RT_TEST(the_program_says_it_by_exit_codes);
    RT_TEST(runs_are_compared_with_their_jobs_and_evaluations);
    RT_TEST(json_values_are_compared_by_key);
    RT_TEST(out_of_memory_is_clean);
}
