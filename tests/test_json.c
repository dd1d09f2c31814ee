/* test_json.c - loading with positions, the cursor's messages, exact round trips, malformed input, lack of memory. */
#include "harness.h"
#include <retort/base/file.h>
#include <retort/base/json.h>
#include <retort/base/rng.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

static const char sample[] = "{\"hidden_size\": 64, \"eps\": 1e-06, \"tied\": true, \"name\": \"x\\u00e9\",\n"
                             " \"rope_scaling\": {\"factor\": \"eight\"}, \"nothing\": null, \"shape\": [1, 2.0, {\"a\": -3}]}";
static json_t *parse(const char *text) {
    json_t *v = NULL;
    return rt_json_parse(text, strlen(text), "sample", &v, NULL) == RT_OK ? v : NULL;
}

static void values_are_read_with_their_types(void) {
    rt_error err = {0};
    json_t *v = parse(sample);
    rt_json root = rt_json_root(v, "config.json"), shape, item;
    int64_t i = 0;
    double x = 0;
    bool tied = false;
    const char *name = "";
    RT_OK_OR_FAIL(rt_json_int(&root, "hidden_size", 1, 100, &i, &err));
    RT_OK_OR_FAIL(rt_json_real(&root, "eps", &x, &err));
    RT_OK_OR_FAIL(rt_json_bool(&root, "tied", &tied, &err));
    RT_OK_OR_FAIL(rt_json_string(&root, "name", &name, &err));
    CU_ASSERT_TRUE(i == 64 && x == 1e-6 && tied && strcmp(name, "x\xc3\xa9") == 0);
    CU_ASSERT_TRUE(rt_json_has(&root, "eps") && !rt_json_has(&root, "nothing") && !rt_json_has(&root, "absent"));
    RT_OK_OR_FAIL(rt_json_array(&root, "shape", &shape, &err));
    CU_ASSERT_EQUAL(rt_json_count(&shape), 3);
    RT_OK_OR_FAIL(rt_json_item(&shape, 1, JSON_REAL, &item, &err));
    RT_OK_OR_FAIL(rt_json_as_int(&item, 0, 9, &i, &err));
    CU_ASSERT_EQUAL(i, 2);
    json_decref(v);
}

static void expect_text(rt_error *err, rt_status s, const char *text) {
    CU_ASSERT_EQUAL(s, RT_E_INPUT);
    RT_CHECK(strcmp(err->text, text) == 0, "'%s', expected '%s'", err->text, text);
    rt_error_clear(err);
}
static void refusals_name_file_and_path(void) {
    rt_error err = {0};
    json_t *v = parse(sample);
    rt_json root = rt_json_root(v, "config.json"), c, item;
    int64_t i;
    double x;
    const char *name;
    RT_OK_OR_FAIL(rt_json_object(&root, "rope_scaling", &c, &err));
    expect_text(&err, rt_json_real(&c, "factor", &x, &err), "config.json: rope_scaling.factor: found a string, expected a number");
    expect_text(&err, rt_json_int(&root, "hidden_size", 1, 63, &i, &err), "config.json: hidden_size: found 64, expected 1 to 63");
    expect_text(&err, rt_json_int(&root, "eps", 1, 63, &i, &err), "config.json: eps: found a number, expected an integer");
    expect_text(&err, rt_json_string(&root, "absent", &name, &err), "config.json: absent: found nothing, expected a string");
    RT_OK_OR_FAIL(rt_json_array(&root, "shape", &c, &err));
    RT_OK_OR_FAIL(rt_json_item(&c, 2, JSON_OBJECT, &item, &err));
    expect_text(&err, rt_json_string(&item, "a", &name, &err), "config.json: shape[2].a: found an integer, expected a string");
    expect_text(&err, rt_json_item(&c, 3, JSON_OBJECT, &item, &err), "config.json: shape[3]: found nothing, expected an object");
    json_decref(v);
}

static void bad_text_has_a_position(void) {
    rt_error err = {0};
    json_t *v;
    CU_ASSERT_EQUAL(rt_json_parse("{\"a\":\n 1,}", 10, "f", &v, &err), RT_E_INPUT);
    CU_ASSERT_EQUAL(strncmp(err.text, "f:2:", 4), 0);
    rt_error_clear(&err);
    CU_ASSERT_EQUAL(rt_json_parse("{\"a\":1,\"a\":2}", 13, "f", &v, &err), RT_E_INPUT);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "duplicate"));
    v = parse("{\"model_max_length\": 1000000000000000019884624838656}");
    CU_ASSERT_EQUAL(json_real_value(json_object_get(v, "model_max_length")), 1e30);
    json_decref(v);
}

static void every_truncation_is_refused(void) {
    int64_t before = rt_mem_stats_get().live_blocks;
    for (size_t n = 0; n + 1 < sizeof sample; n++) {
        json_t *v;
        rt_error err = {0};
        if (rt_json_parse(sample, n, "cut", &v, &err) != RT_E_INPUT || !*err.text) RT_FAILF("%zu bytes accepted", n);
    }
    char deep[100000];
    memset(deep, '[', sizeof deep);
    json_t *v;
    CU_ASSERT_EQUAL(rt_json_parse(deep, sizeof deep, "deep", &v, NULL), RT_E_INPUT);
    CU_ASSERT_EQUAL(rt_mem_stats_get().live_blocks, before);
}

static void doubles_come_back_exactly(void) {
    rt_error err = {0};
    char path[600];
    snprintf(path, sizeof path, "%s/a.json", rt_test_dir());
    rt_rng r = rt_rng_make(3, "json", 0);
    json_t *list = json_array(), *object = json_pack("{s:o}", "list", list), *back;
    double x[500];
    for (int i = 0; i < 500; i++) {
        x[i] = ldexp(rt_rng_normal(r, (uint64_t)i), (int)rt_rng_below(r, 1000 + (uint64_t)i, 2000) - 1000);
        json_array_append_new(list, rt_json_number(x[i]));
    }
    RT_OK_OR_FAIL(rt_json_save(path, object, &err));
    RT_OK_OR_FAIL(rt_json_load(path, 0, &back, &err));
    for (int i = 0; i < 500; i++)
        if (json_number_value(json_array_get(json_object_get(back, "list"), (size_t)i)) != x[i]) RT_FAILF("%a changed", x[i]);
    json_decref(object);
    json_decref(back);
    CU_ASSERT_EQUAL(rt_json_load(path, 100, &back, &err), RT_E_INPUT);
    json_t *nan_text = rt_json_number(NAN);
    CU_ASSERT_STRING_EQUAL(json_string_value(nan_text), "nan");
    json_decref(nan_text);
}

static void jansson_uses_our_allocator(void) {
    int64_t before = rt_mem_stats_get().live_blocks;
    json_t *v = parse(sample);
    CU_ASSERT_TRUE(rt_mem_stats_get().live_blocks > before);
    json_decref(v);
    int n = 1;
    for (rt_status s = RT_E_NOMEM; s != RT_OK && n < 1000; n++) {
        rt_buf b = {0};
        rt_mem_fail_at(n);
        s = rt_json_parse(sample, strlen(sample), "sample", &v, NULL);
        if (s == RT_OK) rt_json_dump(v, 2, &b);
        if (s == RT_OK && b.failed) s = RT_E_NOMEM;
        rt_mem_fail_at(0);
        rt_buf_free(&b);
        json_decref(v);
        if (s != RT_OK && s != RT_E_NOMEM) RT_FAILF("allocation %d: %s", n, rt_status_name(s));
        if (rt_mem_stats_get().live_blocks != before) RT_FAILF("allocation %d: leak", n);
    }
    CU_ASSERT_TRUE(n > 20 && n < 1000);
}

RT_SUITE(json) {
    RT_TEST(values_are_read_with_their_types);
    RT_TEST(refusals_name_file_and_path);
    RT_TEST(bad_text_has_a_position);
    RT_TEST(every_truncation_is_refused);
    RT_TEST(doubles_come_back_exactly);
    RT_TEST(jansson_uses_our_allocator);
}
