/* test_options.c - option tables over YAML, JSON and assignments; every refusal's text; truncations; lack of memory. */
#include "harness.h"
#include <retort/base/options.h>
#include <math.h>
#include <string.h>

typedef struct term {
    const char *loss;
    double weight, temperature;
} term;
typedef struct model {
    int64_t layers;
    double eps;
} model;
typedef struct settings {
    bool on;
    int64_t seed, budget;
    double lr;
    const char *path, *name;
    int kind;
    rt_strings files;
    rt_reals betas;
    model student;
    rt_sections objective;
} settings;

static const char *const kinds[] = {"constant", "linear", "cosine", NULL};
static const char *const losses[] = {"forward_kl", "next_token", NULL};
static const rt_option term_options[] = {RT_OPT_NAME(term, loss, NULL, losses, "which loss"),
                                         RT_OPT_REAL(term, weight, "1", 0, INFINITY, "its weight"),
                                         RT_OPT_REAL(term, temperature, "1", 1e-3, 1e3, "its temperature"), RT_OPT_END};
static const rt_option model_options[] = {RT_OPT_INT(model, layers, "4", 1, 64, "blocks"),
                                          RT_OPT_REAL(model, eps, "1e-5", 0, 1, "added to the mean square"), RT_OPT_END};
static const rt_option options[] = {RT_OPT_FLAG(settings, on, "no", "whether"),
                                    RT_OPT_INT(settings, seed, "1", 0, 0, "of all random numbers"),
                                    RT_OPT_BYTES(settings, budget, "96MiB", 0, 0, "scratch"),
                                    RT_OPT_REAL(settings, lr, "1e-3", 0, 1, "learning rate"),
                                    RT_OPT_STRING(settings, path, NULL, "where"),
                                    RT_OPT_STRING(settings, name, "x", "what it is called"),
                                    RT_OPT_ENUM(settings, kind, "cosine", kinds, "course"),
                                    RT_OPT_STRINGS(settings, files, "[a, b]", "inputs"),
                                    RT_OPT_REALS(settings, betas, "[0.9, 0.95]", 0, 1, "moments"),
                                    RT_OPT_SECTION(settings, student, model, model_options, "the student"),
                                    RT_OPT_SECTIONS(settings, objective, term, term_options, "what is minimised"),
                                    RT_OPT_END};

static const char sample[] = "on: yes\nseed: 0123   # decimal\nbudget: 4GiB\nlr: 1e-2\nname: no\nkind: linear\n"
                             "files: [t.bin, \"v 1.bin\"]\nbetas:\n  - 0.8\n  - .99\nstudent: {layers: 7}\nobjective:\n"
                             "  - {loss: forward_kl, weight: 0.7, temperature: 2.0}\n  - loss: next_token\n";

static rt_status load(const char *text, size_t size, settings *s, rt_arena *arena, rt_error *err) {
    rt_node *tree;
    *s = (settings){0};
    RT_TRY(rt_options_defaults(options, s, arena, err));
    RT_TRY(rt_yaml_parse(text, size, "job.yaml", arena, &tree, err));
    return rt_options_read(options, s, tree, "job.yaml", arena, err);
}

static void defaults_come_from_the_table(void) {
    rt_error err = {0};
    rt_arena a = {0};
    settings s;
    RT_OK_OR_FAIL(load("", 0, &s, &a, &err));
    CU_ASSERT_TRUE(!s.on && s.seed == 1 && s.budget == 96 << 20 && s.lr == 1e-3 && !s.path && s.kind == 2);
    CU_ASSERT_TRUE(s.files.count == 2 && strcmp(s.files.item[1], "b") == 0);
    CU_ASSERT_TRUE(s.betas.count == 2 && s.betas.item[1] == 0.95);
    CU_ASSERT_TRUE(s.student.layers == 4 && s.student.eps == 1e-5 && s.objective.count == 0);
    rt_arena_free(&a);
}

static void a_file_is_read_by_our_types(void) {
    rt_error err = {0};
    rt_arena a = {0};
    settings s;
    RT_OK_OR_FAIL(load(sample, strlen(sample), &s, &a, &err));
    CU_ASSERT_TRUE(s.on && s.seed == 123 && s.budget == 4ll << 30 && s.lr == 0.01 && s.kind == 1);
    CU_ASSERT_STRING_EQUAL(s.name, "no");
    CU_ASSERT_TRUE(s.files.count == 2 && strcmp(s.files.item[1], "v 1.bin") == 0);
    CU_ASSERT_TRUE(s.betas.count == 2 && s.betas.item[0] == 0.8 && s.betas.item[1] == 0.99);
    CU_ASSERT_TRUE(s.student.layers == 7 && s.student.eps == 1e-5 && s.objective.count == 2);
    const term *t = s.objective.item;
    CU_ASSERT_TRUE(strcmp(t[0].loss, "forward_kl") == 0 && t[0].weight == 0.7 && t[0].temperature == 2);
    CU_ASSERT_TRUE(strcmp(t[1].loss, "next_token") == 0 && t[1].weight == 1);
    rt_arena_free(&a);
}

static void refusals_have_place_and_hint(void) {
    static const struct {
        const char *text, *error;
    } cases[] = {
        {"objective:\n  - {loss: next_token, temprature: 2}", "job.yaml:2:24: unknown key 'temprature' in objective[0] (did you mean 'temperature'?)"},
        {"sead: 1", "job.yaml:1:1: unknown key 'sead' (did you mean 'seed'?)"},
        {"student: {zzz: 1}", "job.yaml:1:11: unknown key 'zzz' in student"},
        {"seed: 1\nstudent:\n  layers: many", "job.yaml:3:11: student.layers: found 'many', expected an integer, 1 to 64"},
        {"student: {layers: 65}", "job.yaml:1:19: student.layers: found '65', expected an integer, 1 to 64"},
        {"seed: 1.0", "job.yaml:1:7: seed: found '1.0', expected an integer"},
        {"seed: 99999999999999999999", "job.yaml:1:7: seed: found '99999999999999999999', expected an integer"},
        {"seed: [1]", "job.yaml:1:7: seed: found a list, expected an integer"},
        {"seed:", "job.yaml:1:6: seed: found no value, expected an integer"},
        {"lr: 0x10", "job.yaml:1:5: lr: found '0x10', expected a number, 0 to 1"},
        {"lr: .nan", "job.yaml:1:5: lr: found '.nan', expected a number, 0 to 1"},
        {"lr: 1e999", "job.yaml:1:5: lr: found '1e999', expected a number, 0 to 1"},
        {"on: 1", "job.yaml:1:5: on: found '1', expected true or false"},
        {"budget: 4 GiBs", "job.yaml:1:9: budget: found '4 GiBs', expected a size such as 96MiB"},
        {"budget: 99999999TiB", "job.yaml:1:9: budget: found '99999999TiB', expected a size such as 96MiB"},
        {"kind: cosin", "job.yaml:1:7: kind: found 'cosin', expected one of: constant, linear, cosine; did you mean 'cosine'?"},
        {"objective: [{loss: kl_forward}]", "job.yaml:1:20: objective[0].loss: found 'kl_forward', expected one of: forward_kl, next_token"},
        {"objective: {loss: next_token}", "job.yaml:1:12: objective: found a mapping, expected a list of mappings"},
        {"student: 4", "job.yaml:1:10: student: found '4', expected a mapping"},
        {"betas: [0.9, 2]", "job.yaml:1:14: betas[1]: found '2', expected a number, 0 to 1"},
        {"[1]", "job.yaml:1:1: found a list, expected a mapping"},
        {"seed: 1\nseed: 2", "job.yaml:2:1: key 'seed' given twice (first on line 1)"},
        {"{\"seed\": 1, \"seed\": 2}", "job.yaml:1:13: key 'seed' given twice (first on line 1)"},
        {"path: &a x\nname: *a", "job.yaml:1:7: anchors (&name) are not accepted: write the value out where it is used"},
        {"name: *a", "job.yaml:1:7: aliases (*name) are not accepted: write the value out"},
        {"name: !!str 1", "job.yaml:1:7: tags (!type) are not accepted: each key has its own type"},
        {"seed: 1\n---\nseed: 2", "job.yaml:2:1: a second document; one is expected"},
        {"name: \"a\\0b\"", "job.yaml:1:7: a NUL character in a scalar"},
        {"? [a]\n: 1", "job.yaml:1:3: a key must be a plain name"},
        {"seed: 1\n  lr: 2", "job.yaml:2:5: mapping values are not allowed in this context"},
        {"name: \xff", "job.yaml: byte 6: invalid leading UTF-8 octet"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        rt_error err = {0};
        rt_arena a = {0};
        settings s;
        rt_status status = load(cases[i].text, strlen(cases[i].text), &s, &a, &err);
        RT_CHECK(status == RT_E_CONFIG && strcmp(err.text, cases[i].error) == 0, "%s\n      gave     '%s'\n      expected '%s'",
                 cases[i].text, err.text, cases[i].error);
        rt_arena_free(&a);
    }
}

static void sizes_are_bounded(void) {
    rt_arena a = {0};
    rt_node *tree;
    rt_buf b = {0};
    for (int i = 0; i < 40; i++) rt_buf_putc(&b, '[');
    CU_ASSERT_EQUAL(rt_yaml_parse(b.data, b.size, "deep", &a, &tree, NULL), RT_E_CONFIG);
    b.size = 0;
    for (int i = 0; i < 30000; i++) rt_buf_puts(&b, "- 1\n");
    CU_ASSERT_EQUAL(rt_yaml_parse(b.data, b.size, "long", &a, &tree, NULL), RT_E_CONFIG);
    b.size = 0;
    for (int i = 0; i < 300; i++) rt_buf_printf(&b, "k%d: 1\n", i);
    CU_ASSERT_EQUAL(rt_yaml_parse(b.data, b.size, "wide", &a, &tree, NULL), RT_E_CONFIG);
    b.size = 0;
    for (int i = 0; i < 300000; i++) rt_buf_puts(&b, "# # #\n");
    CU_ASSERT_EQUAL(rt_yaml_parse(b.data, b.size, "huge", &a, &tree, NULL), RT_E_CONFIG);
    rt_buf_free(&b);
    rt_arena_free(&a);
}

static rt_status set(settings *s, rt_arena *a, const char *assignment, rt_error *err) {
    rt_error_clear(err);
    return rt_options_set(options, s, assignment, a, err);
}
static void assignments_reach_everything(void) {
    rt_error err = {0};
    rt_arena a = {0};
    settings s;
    RT_OK_OR_FAIL(load(sample, strlen(sample), &s, &a, &err));
    RT_OK_OR_FAIL(set(&s, &a, "student.layers=9", &err));
    RT_OK_OR_FAIL(set(&s, &a, "path=a=b: c.d", &err));
    RT_OK_OR_FAIL(set(&s, &a, "files=[q, r, s]", &err));
    RT_OK_OR_FAIL(set(&s, &a, "objective.1.weight=0.5", &err));
    RT_OK_OR_FAIL(set(&s, &a, "objective.2.loss=next_token", &err));
    term *t = s.objective.item;
    CU_ASSERT_TRUE(s.student.layers == 9 && strcmp(s.path, "a=b: c.d") == 0 && s.files.count == 3);
    CU_ASSERT_TRUE(s.objective.count == 3 && t[1].weight == 0.5 && t[0].weight == 0.7 && t[2].weight == 1);
    CU_ASSERT_EQUAL(set(&s, &a, "objective.9.weight=1", &err), RT_E_CONFIG);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "'objective' has 3 entries"));
    CU_ASSERT_EQUAL(set(&s, &a, "student.layrs=1", &err), RT_E_CONFIG);
    CU_ASSERT_STRING_EQUAL(err.text, "--set student.layrs=1: unknown key 'layrs' (did you mean 'layers'?)");
    CU_ASSERT_EQUAL(set(&s, &a, "student.layers=x", &err), RT_E_CONFIG);
    CU_ASSERT_STRING_EQUAL(err.text, "--set student.layers=x: found 'x', expected an integer, 1 to 64");
    CU_ASSERT_EQUAL(set(&s, &a, "student.layers", &err), RT_E_CONFIG);
    CU_ASSERT_EQUAL(set(&s, &a, "seed.x=1", &err), RT_E_CONFIG);
    CU_ASSERT_EQUAL(set(&s, &a, "student=4", &err), RT_E_CONFIG);
    CU_ASSERT_EQUAL(set(&s, &a, "path=\xff", &err), RT_E_CONFIG);
    rt_arena_free(&a);
}

static char *text_of(const settings *s) {
    rt_buf b = {0};
    json_t *v = rt_options_json(options, s);
    rt_json_dump(v, 2, &b);
    json_decref(v);
    if (!b.failed) return b.data;
    rt_buf_free(&b);
    return NULL;
}
static void written_and_read_again_is_the_same(void) {
    rt_error err = {0};
    rt_arena a = {0};
    settings s, again = {0}, third;
    RT_OK_OR_FAIL(load(sample, strlen(sample), &s, &a, &err));
    s.lr = 0.1 + 0.2, s.betas.item[0] = 1.0 / 3, s.path = "a \"b\"\n: c";
    char *one = text_of(&s);
    json_t *v;
    rt_node *tree;
    RT_OK_OR_FAIL(rt_json_parse(one, strlen(one), "one", &v, &err));
    RT_OK_OR_FAIL(rt_options_defaults(options, &again, &a, &err));
    RT_OK_OR_FAIL(rt_node_from_json(v, &a, &tree, &err));
    RT_OK_OR_FAIL(rt_options_read(options, &again, tree, "stored", &a, &err));
    char *two = text_of(&again);
    RT_OK_OR_FAIL(load(one, strlen(one), &third, &a, &err)); /* JSON is YAML */
    char *three = text_of(&third);
    CU_ASSERT_STRING_EQUAL(one, two);
    CU_ASSERT_STRING_EQUAL(one, three);
    CU_ASSERT_TRUE(again.lr == s.lr && again.betas.item[0] == 1.0 / 3 && strcmp(again.path, s.path) == 0);
    json_decref(v);
    rt_free(one), rt_free(two), rt_free(three);
    rt_arena_free(&a);
}

static void every_truncation_and_byte_change_is_clean(void) {
    char text[sizeof sample];
    int64_t before = rt_mem_stats_get().live_blocks;
    for (size_t n = 0; n < sizeof sample; n++) {
        for (int change = 0; change < 8; change++) {
            static const char bytes[] = "\"[{-:&\x80"; /* and NUL, its end */
            rt_error err = {0};
            rt_arena a = {0};
            settings s;
            memcpy(text, sample, sizeof sample);
            if (change) text[n] = bytes[change];
            rt_status status = load(text, change ? sizeof sample - 1 : n, &s, &a, &err);
            if (status != RT_OK && (status != RT_E_CONFIG || !*err.text)) RT_FAILF("at %zu: %s", n, rt_status_name(status));
            rt_arena_free(&a);
        }
    }
    CU_ASSERT_EQUAL(rt_mem_stats_get().live_blocks, before);
}

static void out_of_memory_is_clean(void) {
    int64_t before = rt_mem_stats_get().live_blocks;
    int n = 1;
    for (rt_status status = RT_E_NOMEM; status != RT_OK && n < 2000; n++) {
        rt_arena a = {0};
        settings s;
        rt_mem_fail_at(n);
        status = load(sample, strlen(sample), &s, &a, NULL);
        char *text = status == RT_OK ? text_of(&s) : NULL;
        if (status == RT_OK && !text) status = RT_E_NOMEM;
        rt_mem_fail_at(0);
        rt_free(text);
        rt_arena_free(&a);
        if (status != RT_OK && status != RT_E_NOMEM) RT_FAILF("allocation %d: %s", n, rt_status_name(status));
        if (rt_mem_stats_get().live_blocks != before) RT_FAILF("allocation %d: leak", n);
    }
    CU_ASSERT_TRUE(n > 10 && n < 2000);
}

static void help_lists_every_key(void) {
    rt_buf b = {0};
    rt_options_help(options, &b);
    CU_ASSERT_PTR_NOT_NULL(strstr(b.data, "  student.layers "));
    CU_ASSERT_PTR_NOT_NULL(strstr(b.data, "blocks (an integer, 1 to 64; 4)\n"));
    CU_ASSERT_PTR_NOT_NULL(strstr(b.data, "  objective.N.temperature "));
    rt_buf_free(&b);
}

RT_SUITE(options) {
    RT_TEST(defaults_come_from_the_table);
    RT_TEST(a_file_is_read_by_our_types);
    RT_TEST(refusals_have_place_and_hint);
    RT_TEST(sizes_are_bounded);
    RT_TEST(assignments_reach_everything);
    RT_TEST(written_and_read_again_is_the_same);
    RT_TEST(every_truncation_and_byte_change_is_clean);
    RT_TEST(out_of_memory_is_clean);
    RT_TEST(help_lists_every_key);
}
