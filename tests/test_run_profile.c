/* test_run_profile.c - the profile of a run: it changes no bit, its parts add up, its limits follow from flops, bytes and rates. */
#include "tiny_job.h"
#include "train/run_profile.h"
#include <math.h>
#include <retort/train/run.h>
#include <stdio.h>
#include <string.h>

static char *fresh(char out[512]) {
    snprintf(out, 512, "%s/run", rt_test_dir());
    return out;
}

/* A profiled run: the path of its last checkpoint, its table. */
static const char *profiled(const char *out, const char *const *sets, rt_buf *table) {
    static rt_run_result result;
    rt_error err = {0};
    rt_job job;
    rt_tiny_job(&job, out, sets);
    RT_OK_OR_FAIL(rt_run(&job, &(rt_run_options){.command = "distill", .profile = table}, &result, &err));
    rt_job_free(&job);
    return result.checkpoint;
}
#define PROFILED(out, table, ...) profiled(out, (const char *const[]){__VA_ARGS__, NULL}, table)

/* ----------------------------------------------------------------------- bits */

static void no_difference(const char *variant, const char *more) {
    char plain[512], out[512], first[4096];
    rt_buf table = {0};
    snprintf(first, sizeof first, "%s", RT_TINY_RUN(fresh(plain), "run.stop_after=6", "run.eval_every=2", variant, more));
    rt_same_checkpoint(first, PROFILED(fresh(out), &table, "run.stop_after=6", "run.eval_every=2", variant, more), NULL);
    RT_CHECK(table.size > 0 && !table.failed, "%s: no table", variant);
    rt_buf_free(&table);
}
static void it_changes_no_bit(void) {
    no_difference("run.seed=1", "run.threads=2");
    no_difference("projector.kind=factored", "projector.update=always");
    no_difference("run.recompute=yes", "precision.student=bf16");
}

/* --------------------------------------------------------------------- record */

static double number(const json_t *o, const char *key) {
    RT_CHECK(json_is_number(json_object_get(o, key)), "no number '%s'", key);
    return json_number_value(json_object_get(o, key));
}
static double mean(const json_t *o, const char *key) {
    const json_t *a = json_object_get(o, key);
    return (json_number_value(json_array_get(a, 0)) + json_number_value(json_array_get(a, 1))) / 2;
}
static const json_t *role(const json_t *record, const char *name) {
    size_t i;
    json_t *r;
    json_array_foreach(json_object_get(record, "roles"), i, r)
        if (strcmp(json_string_value(json_object_get(r, "role")), name) == 0) return r;
    RT_FAILF("no role '%s'", name);
    return NULL;
}

static void check_limit(const json_t *record, const json_t *r) {
    double products = number(r, "flops") / (1e9 * mean(record, "product_rate")), memory = number(r, "bytes") / (1e9 * mean(record, "copy_rate"));
    const char *name = json_string_value(json_object_get(r, "role")), *by = json_string_value(json_object_get(r, "set_by"));
    double limit = number(r, "limit_seconds");
    RT_CHECK(fabs(limit - fmax(products, memory)) <= 1e-9 * limit, "%s: limit %g s, %g by products, %g by memory", name, limit, products, memory);
    bool inside = number(r, "cache_bytes") > number(r, "bytes");
    const char *want = number(r, "flops") > 0 && products >= memory ? "products" : inside ? "caches" : memory > 0 ? "memory" : "";
    RT_CHECK(strcmp(by ? by : "", want) == 0, "%s: set by '%s', expected '%s'", name, by ? by : "", want);
    RT_CHECK(number(r, "seconds") >= 0 || strcmp(name, "outside the tapes") == 0, "%s: %g s", name, number(r, "seconds"));
}

/* Of the tiny job's models, from their configurations: qkv and the head. */
static void check_flops(const json_t *record) {
    double N = (double)RT_TINY_T * RT_TINY_BATCH * RT_TINY_ACCUMULATE, student = 32, teacher = 48, V = RT_TINY_VOCAB;
    CU_ASSERT_EQUAL(number(role(record, "teacher.qkv"), "flops"), 2 * N * teacher * (teacher + 2 * teacher / 2) * 2);
    CU_ASSERT_EQUAL(number(role(record, "student.qkv.backward"), "flops"), 2 * 2 * N * student * (student + 2 * student / 2) * 2);
    CU_ASSERT_EQUAL(number(role(record, "student.experts"), "flops"), 2 * N * 2 * 3 * student * 32 * 2);
    CU_ASSERT_EQUAL(number(role(record, "student.head"), "flops"), 2 * N * V * (3 * student + teacher));
    CU_ASSERT_EQUAL(number(role(record, "optimizer.norm"), "flops"), 0);
    CU_ASSERT_EQUAL(7 * number(role(record, "optimizer.norm"), "bytes"), number(role(record, "optimizer.adamw"), "bytes"));
}

static void the_record_adds_up(void) {
    char out[512];
    rt_buf table = {0};
    PROFILED(fresh(out), &table, "run.stop_after=6", "run.eval_every=2", "run.log_every=1");
    json_t *records = rt_log_records(out, "profile"), *steps = rt_log_records(out, "step"), *r = json_array_get(records, 0), *one;
    double sum = 0;
    size_t i;
    CU_ASSERT_EQUAL(json_array_size(records), 1);
    CU_ASSERT_EQUAL(number(r, "step"), 6);
    CU_ASSERT_EQUAL(number(r, "steps"), 5);
    CU_ASSERT_EQUAL(number(r, "skipped"), 1);
    json_array_foreach(json_object_get(r, "roles"), i, one) check_limit(r, one), sum += number(one, "seconds");
    RT_CHECK(fabs(sum - number(r, "step_seconds")) <= 1e-9, "roles take %g s a step, the steps %g s", sum, number(r, "step_seconds"));
    check_flops(r);
    double tokens = 0;
    json_array_foreach(steps, i, one) tokens += i ? number(one, "tokens") : 0;
    CU_ASSERT_EQUAL(number(r, "tokens"), tokens);
    CU_ASSERT_EQUAL(number(json_object_get(r, "evaluation"), "times"), 3);
    CU_ASSERT_EQUAL(number(json_object_get(r, "checkpoint"), "times"), 1);
    json_decref(records), json_decref(steps);
    rt_buf_free(&table);
}

static void the_memory_is_the_trainers(void) {
    char out[512];
    rt_buf table = {0};
    rt_error err = {0};
    rt_job job;
    rt_trainer *t;
    PROFILED(fresh(out), &table, "run.stop_after=2");
    json_t *records = rt_log_records(out, "profile"), *one;
    json_t *m = json_object_get(json_array_get(records, 0), "memory"), *fullest = json_object_get(m, "fullest");
    double held = 0;
    size_t i;
    RT_TINY_JOB(&job, NULL, "run.stop_after=2");
    RT_OK_OR_FAIL(rt_trainer_open(&t, &job, 0, &err));
    CU_ASSERT_EQUAL(number(m, "weights"), (double)t->student.weights.block_bytes);
    CU_ASSERT_EQUAL(number(m, "moments"), 2.0 * (double)t->student.grads.block_bytes);
    CU_ASSERT_EQUAL(number(m, "masters"), 0); /* f32 weights are their own */
    CU_ASSERT_EQUAL(number(m, "arena_step"), (double)rt_graph_stats_get(t->graph.g).arena_bytes);
    CU_ASSERT_EQUAL(number(m, "arena_evaluation"), (double)rt_graph_stats_get(rt_evaluator_graph(t->evaluator)).arena_bytes);
    CU_ASSERT_EQUAL(number(m, "teacher_packed"), (double)rt_graph_stats_get(t->teacher.g).cache_bytes);
    CU_ASSERT_TRUE(number(m, "teacher_files") > 0 && number(m, "scratch") > 0);
    json_array_foreach(json_object_get(fullest, "roles"), i, one) held += number(one, "values") + number(one, "gradients") + number(one, "scratch");
    RT_CHECK(held == number(fullest, "bytes") && held > 0 && held <= number(m, "arena_step"), "%.0f bytes by role, %.0f in all, %.0f of arena", held,
             number(fullest, "bytes"), number(m, "arena_step"));
    rt_trainer_close(t);
    rt_job_free(&job);
    json_decref(records);
    rt_buf_free(&table);
}

/* ---------------------------------------------------------------------- table */

static bool fits(const char *text, size_t columns) {
    for (const char *line = text; *line; line += strcspn(line, "\n") + (line[strcspn(line, "\n")] == '\n'))
        if (strcspn(line, "\n") > columns) return false;
    return true;
}
static void the_table_names_every_part(void) {
    static const char *const parts[] = {"profile of 3 steps", "teacher ", "  gate_up ", "student forward", "head, both ways", "student backward",
                                        "  experts ", "optimizer", "  adamw ", "  loader ", "  log ", "outside the tapes", "a step", "evaluation (1 x)",
                                        "checkpoint (1 x)", "memory", "fullest", NULL};
    char out[512];
    rt_buf table = {0};
    PROFILED(fresh(out), &table, "schedule.steps=4", "schedule.warmup=1");
    for (const char *const *p = parts; *p && table.data; p++) RT_CHECK(strstr(table.data, *p) != NULL, "the table does not say '%s'", *p);
    RT_CHECK(table.data && fits(table.data, 96), "a line is wider than 96 columns:\n%s", table.data);
    rt_buf_free(&table);
}
static void one_step_is_not_counted(void) {
    char out[512];
    rt_buf table = {0};
    PROFILED(fresh(out), &table, "run.stop_after=1");
    RT_CHECK(table.data && strncmp(table.data, "profile: no step is counted", 27) == 0, "%s", table.data ? table.data : "");
    rt_buf_free(&table);
}

/* Stopped in the projector's fitting nothing has begun: no table, no record, the error as it was. Stopped before the first step: a table. */
static void interrupted(const char *projector, bool table) {
    static const volatile sig_atomic_t stop = 1;
    static rt_run_result result;
    char out[512];
    rt_buf text = {0};
    rt_error err = {0};
    rt_job job;
    RT_TINY_JOB(&job, fresh(out), projector);
    CU_ASSERT_EQUAL(rt_run(&job, &(rt_run_options){.command = "distill", .stop = &stop, .profile = &text}, &result, &err), RT_E_INTERRUPTED);
    RT_CHECK(strstr(err.text, "interrupted") != NULL, "%s", err.text);
    json_t *records = rt_log_records(out, "profile");
    RT_CHECK((text.size > 0) == table && (json_array_size(records) == 1) == table, "%s: %zu bytes of table, %zu records", projector, text.size,
        json_array_size(records));
    json_decref(records);
    rt_buf_free(&text);
    rt_job_free(&job);
}
static void an_interrupted_run_has_a_profile(void) {
    interrupted("projector.kind=factored", false);
    interrupted("projector.kind=shared", true);
}

/* --------------------------------------------------------------------- faults */

/* The n-th allocation fails, for every n: an error, and nothing is lost. */
static void memory_runs_out(void) {
    rt_error err = {0};
    rt_job job;
    rt_trainer *t;
    RT_TINY_JOB(&job, NULL, "run.stop_after=2", "projector.kind=factored");
    RT_OK_OR_FAIL(rt_trainer_open(&t, &job, 0, &err));
    rt_status s = RT_E_NOMEM;
    for (int64_t n = 1; s == RT_E_NOMEM && n < 1000; n++) {
        int64_t before = rt_mem_stats_get().live_blocks;
        rt_run_profile *p = rt_zalloc(sizeof *p);
        rt_mem_fail_at(n);
        s = rt_run_profile_begin(p, t, &err);
        if (s == RT_OK) s = rt_run_profile_end(p, t, &err);
        rt_mem_fail_at(0);
        rt_run_profile_close(p);
        RT_OK_OR_FAIL(rt_graph_profile(t->teacher.g, false, &err));
        RT_OK_OR_FAIL(rt_graph_profile(t->graph.g, false, &err));
        RT_OK_OR_FAIL(rt_graph_profile(rt_projection_graph(t->projection), false, &err));
        RT_CHECK(rt_mem_stats_get().live_blocks == before, "%lld blocks left after failure %lld", (long long)(rt_mem_stats_get().live_blocks - before),
            (long long)n);
        if (s != RT_OK) rt_error_clear(&err);
    }
    CU_ASSERT_EQUAL(s, RT_OK);
    t->phases = NULL;
    rt_trainer_close(t);
    rt_job_free(&job);
}

RT_SUITE(run_profile) {
    RT_TEST(it_changes_no_bit);
    RT_TEST(the_record_adds_up);
    RT_TEST(the_memory_is_the_trainers);
    RT_TEST(the_table_names_every_part);
    RT_TEST(one_step_is_not_counted);
    RT_TEST(an_interrupted_run_has_a_profile);
    RT_TEST(memory_runs_out);
}
