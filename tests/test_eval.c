/* test_eval.c - `retort eval` and what prints from its JSON: the digits of the run's own evaluation, plain directories, tapes, plans. */
#include "program.h"
#include "tiny_job.h"
#include <math.h>
#include <stdio.h>
#include <string.h>

static json_t *parsed(const rt_run *r, const char *what) {
    rt_error err = {0};
    json_t *o = NULL;
    if (r->code != 0) RT_FAILF("%s: exit %d: %s", what, r->code, r->err.data ? r->err.data : "");
    else RT_OK_OR_FAIL(rt_json_parse(r->out.data, r->out.size, what, &o, &err));
    return o;
}
static json_t *evaluated(const char *model, const char *const *more, const char *what) {
    const char *arguments[24] = {"eval", model, "--json", "-"};
    int n = 4;
    for (; more && *more; more++) arguments[n++] = *more;
    rt_run r = rt_program(NULL, arguments);
    json_t *o = parsed(&r, what);
    rt_run_free(&r);
    return o;
}

/* Every number of the run's record, layers included, but those of time. */
static void same_digits(json_t *record, json_t *standalone, const char *what) {
    const char *key;
    json_t *value;
    int seen = 0;
    json_object_foreach(record, key, value) {
        if (strcmp(key, "record") == 0 || strcmp(key, "step") == 0 || strcmp(key, "tokens_per_s") == 0) continue;
        RT_CHECK(json_equal(value, json_object_get(standalone, key)), "%s: '%s' differs", what, key);
        seen++;
    }
    RT_CHECK(seen > 10, "%s: only %d values were compared", what, seen);
}

static void a_run_and_eval_print_the_same_digits(void) {
    const char *const variants[][3] = {{"projector.kind=shared", NULL}, {"projector.kind=factored", "projector.prefit_steps=2", NULL}, {"precision.student=bf16", NULL}};
    for (size_t i = 0; i < sizeof variants / sizeof *variants; i++) {
        char out[600];
        snprintf(out, sizeof out, "%s/run", rt_test_dir());
        const char *checkpoint = rt_tiny_run(false, out, variants[i]);
        json_t *records = rt_log_records(out, "eval"), *alone = evaluated(checkpoint, NULL, variants[i][0]);
        json_t *last = json_array_get(records, json_array_size(records) - 1);
        if (alone && last) same_digits(last, alone, variants[i][0]);
        else RT_FAILF("%s: no record or no evaluation", variants[i][0]);
        json_decref(records), json_decref(alone);
    }
}

static void a_plain_directory_needs_data_and_takes_a_teacher(void) {
    const rt_tiny *files = rt_tiny_files();
    rt_run none = RT_PROGRAM(NULL, "eval", files->teacher);
    RT_CHECK(none.code == 2 && strstr(none.err.data, "no data"), "without data: exit %d: %s", none.code, none.err.data);
    rt_run_free(&none);
    json_t *o = evaluated(files->teacher, (const char *const[]){"--data", files->valid, "--teacher", files->teacher, "--sequence-length", "32", NULL}, "plain");
    RT_CHECK(json_real_value(json_object_get(o, "kl_t1")) == 0 && json_real_value(json_object_get(o, "reverse_kl")) == 0, "a teacher's KL to itself is not 0");
    RT_CHECK(json_real_value(json_object_get(o, "top1_agreement")) == 1 && fabs(json_real_value(json_object_get(o, "acceptance")) - 1) < 1e-6, "a teacher disagrees with itself");
    RT_CHECK(json_real_value(json_object_get(o, "ce")) == json_real_value(json_object_get(o, "teacher_ce")), "ce and teacher_ce of one model differ");
    RT_CHECK(json_is_object(json_object_get(o, "provenance")), "no provenance");
    json_decref(o);
    json_t *limited = evaluated(files->teacher, (const char *const[]){"--data", files->valid, "--sequence-length", "32", "--disjoint", "--limit", "100", NULL}, "limit");
    int64_t tokens = json_integer_value(json_object_get(limited, "tokens"));
    RT_CHECK(tokens >= 100 && tokens < 5000, "--limit 100 scored %lld tokens", (long long)tokens);
    json_decref(limited);
}

static void refusals_are_one_line(void) {
    const rt_tiny *files = rt_tiny_files();
    const struct { const char *model, *extra, *text; int code; } cases[] = {{"/no/such/model", "--quiet", "no such model directory", 3},
                                                                            {rt_test_dir(), "--quiet", "no config.json in it", 3},
                                                                            {files->teacher, "--temprature", "did you mean", 2}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        rt_run r = RT_PROGRAM(NULL, "eval", cases[i].model, "--data", files->valid, cases[i].extra);
        RT_CHECK(r.code == cases[i].code && strstr(r.err.data, cases[i].text), "exit %d: %s", r.code, r.err.data ? r.err.data : "");
        RT_CHECK(r.err.data && strchr(r.err.data, '\n') == r.err.data + r.err.size - 1, "not one line: %s", r.err.data);
        rt_run_free(&r);
    }
}

/* show: the two tapes are the same text, precision names every part, evaluations stand side by side. */
static void show_prints_tapes_plans_and_tables(void) {
    const rt_tiny *files = rt_tiny_files();
    rt_run train = RT_PROGRAM(NULL, "show", "tape", files->yaml, "--mode", "train"), eval = RT_PROGRAM(NULL, "show", "tape", files->yaml, "--mode", "eval");
    RT_CHECK(train.code == 0 && train.out.size > 1000, "show tape: exit %d: %s", train.code, train.err.data);
    CU_ASSERT_STRING_EQUAL(train.out.data, eval.out.data);
    rt_run precision = RT_PROGRAM(NULL, "show", "precision", files->yaml), plan = RT_PROGRAM(NULL, "show", "plan", files->yaml, "--steps", "--fast");
    RT_CHECK(precision.code == 0 && strstr(precision.out.data, "student") && strstr(precision.out.data, "teacher") && strstr(precision.out.data, "projector"), "show precision: %s",
             precision.out.data ? precision.out.data : precision.err.data);
    RT_CHECK(plan.code == 0 && strstr(plan.out.data, "backward student.layers.0.experts"), "show plan: exit %d", plan.code);
    rt_run_free(&train), rt_run_free(&eval), rt_run_free(&precision), rt_run_free(&plan);
    char json[700];
    snprintf(json, sizeof json, "%s/a.json", rt_test_dir());
    rt_run made = RT_PROGRAM(NULL, "eval", files->teacher, "--data", files->valid, "--sequence-length", "32", "--json", json);
    rt_run table = RT_PROGRAM(NULL, "show", "evaluation", json, json);
    RT_CHECK(made.code == 0 && table.code == 0 && strstr(table.out.data, "perplexity"), "show evaluation: %d %d %s", made.code, table.code, table.err.data);
    rt_run_free(&made), rt_run_free(&table);
}

RT_SUITE(eval) {
    RT_TEST(a_run_and_eval_print_the_same_digits);
    RT_TEST(a_plain_directory_needs_data_and_takes_a_teacher);
    RT_TEST(refusals_are_one_line);
    RT_TEST(show_prints_tapes_plans_and_tables);
}
