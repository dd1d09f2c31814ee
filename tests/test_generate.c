/* test_generate.c - choosing tokens, growing texts, and the commands generate and logits. */
#include "command_line.h"
#include "fixture_models.h"
#include "harness.h"
#include "small_model.h"
#include <retort/base/json.h>
#include <retort/base/threads.h>
#include <retort/infer/frozen.h>
#include <retort/infer/generate.h>
#include <retort/infer/logits.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* ----------------------------------------------------------------- sampling */

enum { DRAWS = 20000 };
/* One choice among the first n logits. */
static int32_t pick(rt_sampling how, const float *z, int n, int64_t place) {
    rt_error err = {0};
    rt_sampler m;
    int32_t id = -1;
    rt_tensor t = rt_tensor_2d(RT_F32, (void *)(uintptr_t)z, 1, n);
    RT_OK_OR_FAIL(rt_sampler_open(&m, &how, n, &err));
    if (err.status == RT_OK) id = rt_sampler_pick(&m, &t, 0, 0, place);
    rt_sampler_close(&m);
    return id;
}
static void greedy_takes_the_lower_of_equals(void) {
    static const float z[] = {1, 5, 2, 5, 9};
    CU_ASSERT_EQUAL(pick((rt_sampling){.greedy = true}, z, 4, 0), 1); /* 9 lies beyond the vocabulary */
    CU_ASSERT_EQUAL(pick((rt_sampling){.greedy = true}, z, 5, 0), 4);
    for (int i = 0; i < 100; i++) CU_ASSERT_EQUAL(pick((rt_sampling){.temperature = 3, .top_k = 1}, z, 4, i), 1);
    for (int i = 0; i < 100; i++) CU_ASSERT_EQUAL(pick((rt_sampling){.temperature = 3, .top_p = 1e-6}, z, 4, i), 1);
    for (int i = 0; i < 100; i++) CU_ASSERT_EQUAL(pick((rt_sampling){.temperature = 3, .min_p = 1, .top_p = 0.9}, z, 5, i), 4);
}

/* Frequencies against softmax(z / temperature) over the chosen; 5 standard deviations. */
static void check_frequencies(const float *z, int n, rt_sampling s, const bool *chosen) {
    rt_error err = {0};
    rt_sampler m;
    int32_t count[16] = {0};
    double sum = 0;
    rt_tensor t = rt_tensor_2d(RT_F32, (void *)(uintptr_t)z, 1, n);
    s.seed = 7;
    RT_OK_OR_FAIL(rt_sampler_open(&m, &s, n, &err));
    for (int i = 0; i < DRAWS && err.status == RT_OK; i++) count[rt_sampler_pick(&m, &t, 0, 0, i)]++;
    rt_sampler_close(&m);
    for (int i = 0; i < n; i++) sum += chosen[i] ? exp((double)z[i] / s.temperature) : 0;
    for (int i = 0; i < n; i++) {
        double p = chosen[i] ? exp((double)z[i] / s.temperature) / sum : 0;
        RT_CHECK(fabs(count[i] - p * DRAWS) <= 5 * sqrt(p * (1 - p) * DRAWS), "id %d: %d times, expected %.1f", i, count[i], p * DRAWS);
    }
}
static void frequencies_follow_the_softmax(void) {
    static const float z[] = {0.5f, -1, 2, 0.5f, 1};
    check_frequencies(z, 5, (rt_sampling){.temperature = 1}, (bool[]){1, 1, 1, 1, 1});
    check_frequencies(z, 5, (rt_sampling){.temperature = 0.5, .top_k = 5}, (bool[]){1, 1, 1, 1, 1});
    check_frequencies(z, 5, (rt_sampling){.temperature = 2, .top_k = 3}, (bool[]){1, 0, 1, 0, 1}); /* of the equal ids 0 and 3, the lower */
}
/* p at temperature 1: id 2 0.5445, 4 0.2003, 0 and 3 0.1215, 1 0.0271 (sum 1 to rounding). */
static void top_p_keeps_as_few_as_make_up_the_share(void) {
    static const float z[] = {0.5f, -1, 2, 0.5f, 1};
    check_frequencies(z, 5, (rt_sampling){.temperature = 1, .top_p = 0.5}, (bool[]){0, 0, 1, 0, 0});
    check_frequencies(z, 5, (rt_sampling){.temperature = 1, .top_p = 0.7}, (bool[]){0, 0, 1, 0, 1});
    check_frequencies(z, 5, (rt_sampling){.temperature = 1, .top_p = 0.8}, (bool[]){1, 0, 1, 0, 1}); /* the lower of equals */
    check_frequencies(z, 5, (rt_sampling){.temperature = 1, .top_p = 0.999}, (bool[]){1, 1, 1, 1, 1});
    /* temperature first: at 0.25 id 2 alone has 0.977 */
    check_frequencies(z, 5, (rt_sampling){.temperature = 0.25, .top_p = 0.9}, (bool[]){0, 0, 1, 0, 0});
    /* top_k before top_p: of ids 2 and 4 the first has 0.731; of all it has 0.5445 */
    check_frequencies(z, 5, (rt_sampling){.temperature = 1, .top_k = 2, .top_p = 0.7}, (bool[]){0, 0, 1, 0, 0});
}
static void min_p_is_relative_to_the_likeliest(void) {
    static const float z[] = {0.5f, -1, 2, 0.5f, 1}; /* of the largest: id 4 0.368, 0 and 3 0.223, 1 0.0498 */
    check_frequencies(z, 5, (rt_sampling){.temperature = 1, .min_p = 0.3}, (bool[]){0, 0, 1, 0, 1});
    check_frequencies(z, 5, (rt_sampling){.temperature = 1, .min_p = 0.2}, (bool[]){1, 0, 1, 1, 1});
    check_frequencies(z, 5, (rt_sampling){.temperature = 1, .min_p = 0.3, .top_p = 0.9}, (bool[]){0, 0, 1, 0, 1});
    check_frequencies(z, 5, (rt_sampling){.temperature = 1, .min_p = 0.2, .top_k = 3}, (bool[]){1, 0, 1, 0, 1});
}
/* A large vocabulary with many equal logits: top_k takes what a full sort takes. */
static void candidates_come_in_order(void) {
    enum { V = 3000 };
    static float z[V];
    bool seen[V] = {0};
    rt_error err = {0};
    rt_sampler m;
    rt_sampling s = {.temperature = 100, .top_k = 40, .seed = 1};
    for (int i = 0; i < V; i++) z[i] = (float)(i * 7919 % 331); /* every value 9 or 10 times */
    rt_tensor t = rt_tensor_2d(RT_F32, z, 1, V);
    RT_OK_OR_FAIL(rt_sampler_open(&m, &s, V, &err));
    for (int i = 0; i < DRAWS; i++) seen[rt_sampler_pick(&m, &t, 0, 0, i)] = true;
    rt_sampler_close(&m);
    for (int i = 0; i < V; i++) {
        int above = 0;
        for (int k = 0; k < V; k++) above += z[k] > z[i] || (z[k] == z[i] && k < i);
        RT_CHECK(seen[i] == (above < 40), "id %d: %d stand before it, it is %schosen", i, above, seen[i] ? "" : "not ");
    }
}
static void bad_numbers_are_refused(void) {
    static const rt_sampling bad[] = {{.temperature = 0}, {.temperature = NAN}, {.temperature = 1, .top_k = -1}, {.temperature = 1, .top_p = 1.5}, {.temperature = 1, .min_p = -0.1}};
    for (int i = 0; i < 5; i++) {
        rt_sampler m;
        CU_ASSERT_EQUAL(rt_sampler_open(&m, &bad[i], 5, NULL), RT_E_ARG);
    }
}

/* --------------------------------------------------------------------- loop */

typedef struct text {
    rt_ids ids;
    rt_stop why;
    rt_status status;
} text;
static void write_text(text *t, const rt_weights *w, const rt_precision *p, rt_generation o, int64_t prompt, rt_error *err) {
    *t = (text){0};
    for (int32_t i = 0; i < prompt; i++) rt_ids_add(&t->ids, 1 + i * 7 % (SMALL_V - 1));
    t->status = rt_generate(w, p, &o, &t->ids, &t->why, NULL, err);
}

/* By hand: one table of all positions, the likeliest of each row. */
static int32_t next_by_table(const rt_weights *w, const rt_precision *p, const rt_ids *ids, int64_t n) {
    rt_error err = {0};
    rt_logits l;
    const rt_tensor *z = NULL;
    int32_t id = -1;
    RT_OK_OR_FAIL(rt_logits_open(&l, w, p, SMALL_POSITIONS, &err));
    RT_OK_OR_FAIL(rt_logits_run(&l, ids->data, n, &z, &err));
    if (z) id = pick((rt_sampling){.greedy = true}, (const float *)z->data + (n - 1) * SMALL_V, SMALL_V, n);
    rt_logits_close(&l);
    return id;
}

static void threads_change_no_token(void) {
    rt_error err = {0};
    rt_weights w;
    rt_precision p = rt_precision_student(RT_F32);
    rt_model_config c = small_config(4);
    text t[3];
    small_model(&w, &c, &p, 0.2);
    rt_generation o = {.sampling = {.temperature = 0.7, .top_k = 20, .seed = 3}, .tokens = 70};
    for (int n = 0; n < 3; n++) {
        rt_threads_set(n + 1);
        write_text(&t[n], &w, &p, o, 20, &err);
        CU_ASSERT_TRUE(t[n].status == RT_OK && t[n].why == RT_STOP_TOKENS && t[n].ids.size == 90);
        CU_ASSERT_TRUE(memcmp(t[0].ids.data, t[n].ids.data, 90 * sizeof(int32_t)) == 0);
    }
    rt_threads_set(0);
    for (int n = 0; n < 3; n++) rt_ids_free(&t[n].ids);
    o.sampling.greedy = true;
    write_text(&t[0], &w, &p, o, 20, &err);
    for (int64_t n = 20; n < t[0].ids.size; n += 13) CU_ASSERT_EQUAL(t[0].ids.data[n], next_by_table(&w, &p, &t[0].ids, n));
    rt_ids_free(&t[0].ids);
    rt_weights_free(&w);
}

static void it_stops_where_it_should(void) {
    rt_error err = {0};
    rt_weights w;
    rt_precision p = rt_precision_student(RT_F32);
    rt_model_config c = small_config(0);
    text t;
    small_model(&w, &c, &p, 0.2);
    rt_generation o = {.sampling = {.greedy = true}, .tokens = 10};
    write_text(&t, &w, &p, o, SMALL_POSITIONS - 3, &err);
    CU_ASSERT_TRUE(t.status == RT_OK && t.why == RT_STOP_POSITIONS && t.ids.size == SMALL_POSITIONS + 1);
    rt_ids_free(&t.ids);
    write_text(&t, &w, &p, o, 5, &err);
    const int32_t ends[] = {SMALL_V - 1, t.ids.data[7]};
    o.end = ends, o.ends = 2;
    rt_ids_free(&t.ids);
    write_text(&t, &w, &p, o, 5, &err);
    CU_ASSERT_TRUE(t.why == RT_STOP_END && t.ids.size <= 8 && t.ids.data[t.ids.size - 1] == ends[1]);
    rt_ids_free(&t.ids);
    write_text(&t, &w, &p, o, SMALL_POSITIONS + 1, &err);
    RT_CHECK(t.status == RT_E_ARG && strstr(err.text, "the prompt has 161 tokens, the model has 160 positions"), "%s", err.text);
    rt_ids_free(&t.ids), rt_error_clear(&err);
    write_text(&t, &w, &p, o, 0, &err);
    CU_ASSERT_EQUAL(t.status, RT_E_ARG);
    o.sampling = (rt_sampling){.temperature = 0};
    rt_ids_free(&t.ids), rt_error_clear(&err);
    write_text(&t, &w, &p, o, 1, &err);
    CU_ASSERT_EQUAL(t.status, RT_E_ARG);
    rt_ids_free(&t.ids);
    rt_weights_free(&w);
}

static void a_number_that_is_none_names_its_operation(void) {
    rt_error err = {0};
    rt_weights w;
    rt_precision p = rt_precision_student(RT_F32);
    rt_model_config c = small_config(0);
    text t;
    small_model(&w, &c, &p, 0.2);
    rt_put(&w.slots[rt_weights_find(&w, RT_WEIGHT_FFN_DOWN, 1)].t, 3, (double)NAN);
    write_text(&t, &w, &p, (rt_generation){.sampling = {.greedy = true}, .tokens = 1}, 3, &err);
    RT_CHECK(t.status == RT_E_NUMERIC && strstr(err.text, "layers.1.down (linear)"), "%s", err.text);
    rt_ids_free(&t.ids);
    rt_weights_free(&w);
}

static void out_of_memory_is_clean(void) {
    rt_weights w;
    rt_precision p = rt_precision_student(RT_F32);
    rt_model_config c = small_config(4);
    rt_error err = {0};
    small_model(&w, &c, &p, 0.2);
    rt_status s = RT_E_NOMEM;
    text t;
    rt_generation o = {.sampling = {.greedy = true}, .tokens = 2};
    write_text(&t, &w, &p, o, 3, &err); /* the workers' scratch stays */
    rt_ids_free(&t.ids);
    int64_t before = rt_mem_stats_get().live_blocks;
    int n = 1;
    for (; s != RT_OK && n < 1000; n++) {
        rt_ids ids = {0};
        rt_stop why;
        rt_ids_add(&ids, 1);
        rt_mem_fail_at(n);
        s = rt_generate(&w, &p, &o, &ids, &why, NULL, NULL);
        rt_mem_fail_at(0);
        rt_ids_free(&ids);
        CU_ASSERT_TRUE(s == RT_OK || s == RT_E_NOMEM);
        CU_ASSERT_EQUAL(rt_mem_stats_get().live_blocks, before);
    }
    CU_ASSERT_TRUE(n < 1000);
    rt_weights_free(&w);
}

/* ----------------------------------------------------------------- commands */

static void generate_prints_the_reference_text(void) {
    static const char *const folders[] = {"stories260K/hf-f32", "stories260K/hf-f16", "stories260K-moe4x/hf-f32"};
    char out[4096], want[1024];
    for (int i = 0; i < 3; i++) {
        char path[256], expected[256];
        json_t *e = NULL;
        rt_error err = {0};
        snprintf(path, sizeof path, "models/%s", folders[i]);
        const char *folder = rt_fixture(path);
        snprintf(expected, sizeof expected, "models/%.*s/expected.json", (int)strcspn(folders[i], "/"), folders[i]);
        const char *file = folder ? rt_fixture(expected) : NULL;
        if (!file) return;
        RT_OK_OR_FAIL(rt_json_load(file, 0, &e, &err));
        json_t *variant = json_object_get(json_object_get(e, "variants"), strchr(folders[i], '/') + 1);
        CU_ASSERT_EQUAL(command_line(out, sizeof out, "generate %s --quiet --prompt 'Once upon a time' --greedy --tokens 40 --activations f32", folder), 0);
        snprintf(want, sizeof want, "%s\n", json_string_value(json_object_get(variant, "greedy_text")));
        RT_CHECK(strcmp(out, want) == 0, "%s: '%s'", folders[i], out);
        CU_ASSERT_EQUAL(command_line(out, sizeof out, "generate %s --quiet --prompt 'Once upon a time' -g -n40 --print-ids --exact --activations f32", folder), 0);
        rt_buf ids = {0};
        json_t *list = json_object_get(variant, "greedy_ids");
        for (size_t k = 0; k < json_array_size(list); k++) rt_buf_printf(&ids, "%s%lld", k ? " " : "", (long long)json_integer_value(json_array_get(list, k)));
        rt_buf_putc(&ids, '\n');
        RT_CHECK(strcmp(out, ids.data) == 0, "%s: ids %s", folders[i], out);
        rt_buf_free(&ids);
        json_decref(e);
    }
}

static void seeds_decide(void) {
    char a[2048], b[2048];
    const char *folder = rt_fixture("models/stories260K/hf-f16");
    if (!folder) return;
    CU_ASSERT_EQUAL(command_line(a, sizeof a, "generate %s --quiet --tokens 20 --seed 3", folder), 0);
    CU_ASSERT_EQUAL(command_line(b, sizeof b, "generate %s --quiet --tokens 20 --seed 3", folder), 0);
    RT_CHECK(*a && strcmp(a, b) == 0, "'%s' and '%s'", a, b);
    CU_ASSERT_EQUAL(command_line(b, sizeof b, "generate %s --quiet --tokens 20 --seed 4", folder), 0);
    CU_ASSERT_TRUE(strcmp(a, b) != 0);
}

static void refusals_are_clear(void) {
    char out[2048];
    rt_weights w;
    rt_precision p = rt_precision_student(RT_F32);
    rt_model_config c = small_config(0);
    const char *folder = rt_test_dir();
    small_model(&w, &c, &p, 0.2);
    small_folder(folder, &w);
    rt_weights_free(&w);
    CU_ASSERT_EQUAL(command_line(out, sizeof out, "generate %s --prompt x", folder), 3);
    RT_CHECK(strstr(out, "tokenizer.json"), "%s", out);
    CU_ASSERT_EQUAL(command_line(out, sizeof out, "generate %s --temperature 0", folder), 2);
    CU_ASSERT_EQUAL(command_line(out, sizeof out, "generate %s --activations f8", folder), 2);
    CU_ASSERT_EQUAL(command_line(out, sizeof out, "generate %s/nowhere --prompt x", folder), 3);
}

static void put_text(const char *path, const char *what) {
    FILE *f = fopen(path, "w");
    CU_ASSERT_PTR_NOT_NULL_FATAL(f);
    fputs(what, f);
    fclose(f);
}
static void logits_writes_whole_files_or_none(void) {
    char out[2048], ids[1024], to[1024];
    rt_weights w;
    rt_precision p = rt_precision_student(RT_F32);
    rt_model_config c = small_config(4);
    rt_error err = {0};
    rt_logits l;
    const rt_tensor *z = NULL;
    const char *folder = rt_test_dir();
    small_model(&w, &c, &p, 0.2);
    small_folder(folder, &w);
    snprintf(ids, sizeof ids, "%s/ids.txt", folder), snprintf(to, sizeof to, "%s/logits.f32", folder);
    put_text(ids, "1 2 3\n\n4 5 6\n");
    CU_ASSERT_EQUAL(command_line(out, sizeof out, "logits %s --ids %s --out %s", folder, ids, to), 0);
    RT_CHECK(strstr(out, ": f32 [2, 3, 97]\n"), "%s", out);
    float *got = fixture_floats(to, 2 * 3 * SMALL_V);
    RT_OK_OR_FAIL(rt_logits_open(&l, &w, &p, 3, &err));
    RT_OK_OR_FAIL(rt_logits_run(&l, (int32_t[]){4, 5, 6}, 3, &z, &err));
    RT_CHECK(got && z && memcmp(got + 3 * SMALL_V, z->data, sizeof(float) * 3 * SMALL_V) == 0, "the second row differs");
    rt_logits_close(&l);
    rt_free(got), rt_weights_free(&w);
    remove(to);
    static const struct {
        const char *ids, *says;
        int code;
    } bad[] = {{"1 2 3\n4 5\n", ":2: 2 ids, but the rows before it have 3", 3}, {"1 2 97\n", "97", 3}, {"1 x\n", "column 3", 3}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        put_text(ids, bad[i].ids);
        CU_ASSERT_EQUAL(command_line(out, sizeof out, "logits %s --ids %s --out %s", folder, ids, to), bad[i].code);
        RT_CHECK(strstr(out, bad[i].says) && !fopen(to, "r"), "%s", out);
    }
}

RT_SUITE(generate) {
    RT_TEST(greedy_takes_the_lower_of_equals);
    RT_TEST(frequencies_follow_the_softmax);
    RT_TEST(top_p_keeps_as_few_as_make_up_the_share);
    RT_TEST(min_p_is_relative_to_the_likeliest);
    RT_TEST(candidates_come_in_order);
    RT_TEST(bad_numbers_are_refused);
    RT_TEST(threads_change_no_token);
    RT_TEST(it_stops_where_it_should);
    RT_TEST(a_number_that_is_none_names_its_operation);
    RT_TEST(out_of_memory_is_clean);
    RT_TEST(generate_prints_the_reference_text);
    RT_TEST(seeds_decide);
    RT_TEST(refusals_are_clear);
    RT_TEST(logits_writes_whole_files_or_none);
}
