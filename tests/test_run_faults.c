/* test_run_faults.c - what a run does when memory, disk or numbers fail, and what it leaves. */
#include "tiny_job.h"
#include <retort/base/file.h>
#include <retort/base/log.h>
#include <retort/io/checkpoint.h>
#include <retort/train/run.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

static char *fresh(char out[512]) {
    snprintf(out, 512, "%s/run", rt_test_dir());
    return out;
}
static int64_t newest(const char *out) {
    char root[600], *path = NULL;
    int64_t step = -1;
    rt_error err = {0};
    snprintf(root, sizeof root, "%s/checkpoints", out);
    if (!rt_dir_exists(root)) return -1;
    RT_OK_OR_FAIL(rt_checkpoint_newest(root, NULL, &path, &step, &err));
    bool found = path != NULL;
    rt_free(path);
    return found ? step : -1;
}

/* ------------------------------------------------------ damaged checkpoints */

static void flip(const char *checkpoint, const char *name) {
    char path[4200];
    rt_error err = {0};
    rt_buf b = {0};
    snprintf(path, sizeof path, "%s/%s", checkpoint, name);
    RT_OK_OR_FAIL(rt_file_read(path, (size_t)64 << 20, &b, &err));
    b.data[b.size / 2] ^= 1;
    RT_OK_OR_FAIL(rt_file_write_atomic(path, b.data, b.size, &err));
    rt_buf_free(&b);
}

static char warnings[2000];
static void keep_warnings(void *context, rt_log_level level, const char *line) {
    (void)context;
    size_t used = strlen(warnings);
    if (level == RT_LOG_WARNING) snprintf(warnings + used, sizeof warnings - used, "%s\n", line);
}

static void a_damaged_checkpoint_is_passed_over(void) {
    static const char *const files[] = {"model.safetensors", "optimizer.safetensors", "state.json", "MANIFEST.json"};
    char whole[512], out[512], expected[4096];
    snprintf(expected, sizeof expected, "%s", RT_TINY_RUN(fresh(whole), "schedule.steps=6", "schedule.warmup=0"));
    for (int i = 0; i < 4; i++) {
        const char *at4 = RT_TINY_RUN(fresh(out), "schedule.steps=6", "schedule.warmup=0", "run.save_every=2", "run.stop_after=4");
        flip(at4, files[i]);
        CU_ASSERT_EQUAL(newest(out), 2);
        *warnings = 0;
        rt_log_set_sink(keep_warnings, NULL);
        const char *at6 = RT_TINY_RESUME(out, "schedule.steps=6", "schedule.warmup=0");
        rt_log_set_sink(NULL, NULL);
        RT_CHECK(strstr(warnings, "damaged") && strstr(warnings, files[i]) && strstr(warnings, "step-00000004"), "%s: '%s'", files[i], warnings);
        rt_same_checkpoint(expected, at6, NULL);
        json_t *x = rt_log_records(whole, "step"), *y = rt_log_records(out, "step");
        CU_ASSERT_TRUE(json_array_size(x) == 6 && json_equal(x, y));
        json_decref(x), json_decref(y);
    }
}

/* ------------------------------------------------------------------ memory */

/* A trainer opened, begun, stepped twice, evaluated, saved. */
static rt_status whole_life(const rt_job *job, const char *root, rt_error *err) {
    rt_trainer *t;
    rt_step_report r;
    rt_evaluation v;
    RT_TRY(rt_trainer_open(&t, job, 0, err));
    rt_status s = rt_trainer_begin(t, NULL, NULL, err);
    for (int i = 0; s == RT_OK && i < 2; i++) s = rt_trainer_step(t, &r, err);
    if (s == RT_OK) s = rt_trainer_evaluate(t, &v, err);
    if (s == RT_OK) s = rt_trainer_save(t, root, NULL, err);
    rt_trainer_close(t);
    return s;
}

/* What a life left: the checkpoint itself, manifest and all. */
static void same_life(const char *a, const char *b, int64_t nth) {
    char x[600], y[600];
    json_t *one = NULL, *two = NULL;
    rt_error err = {0};
    snprintf(x, sizeof x, "%s/step-00000002", a);
    snprintf(y, sizeof y, "%s/step-00000002", b);
    rt_same_checkpoint(x, y, NULL);
    RT_OK_OR_FAIL(rt_checkpoint_manifest(x, &one, &err));
    RT_OK_OR_FAIL(rt_checkpoint_manifest(y, &two, &err));
    RT_CHECK(json_equal(one, two), "allocation %lld failed and all was well, but for the manifest", (long long)nth);
    json_decref(one), json_decref(two);
}

/* The n-th allocation fails: a clean refusal; or none, where a library can do without (a regular expression that is then
 * not compiled to machine code), with the same result. */
static void one_failure(const rt_job *job, const char *sound, int64_t n) {
    char out[512];
    rt_error refusal = {0};
    int64_t live = rt_mem_stats_get().live_blocks;
    rt_mem_fail_at(n);
    rt_status s = whole_life(job, fresh(out), &refusal);
    rt_mem_fail_at(0);
    int64_t leaked = rt_mem_stats_get().live_blocks - live;
    RT_CHECK(leaked == 0, "allocation %lld leaks %lld blocks", (long long)n, (long long)leaked);
    if (s == RT_OK) same_life(sound, out, n);
    else RT_CHECK(s == RT_E_NOMEM && *refusal.text, "allocation %lld: %s '%s'", (long long)n, rt_status_name(s), refusal.text);
}

static void a_lack_of_memory_is_survived(const char *kind, int points) {
    char sound[512];
    rt_error err = {0};
    rt_job job;
    RT_TINY_JOB(&job, NULL, kind, "projector.prefit_steps=1", "data.batch=2", "data.accumulate=1");
    RT_OK_OR_FAIL(whole_life(&job, fresh(sound), &err)); /* caches that live as long as the process fill here */
    rt_mem_stats before = rt_mem_stats_get();
    RT_OK_OR_FAIL(whole_life(&job, sound, &err));
    rt_mem_stats after = rt_mem_stats_get();
    CU_ASSERT_EQUAL(after.live_blocks, before.live_blocks);
    double calls = (double)(after.calls - before.calls);
    for (int i = 0; i < points; i++) one_failure(&job, sound, 1 + (int64_t)((calls - 1) * i / (points - 1)));
    rt_job_free(&job);
}
static void any_allocation_may_fail(void) {
    a_lack_of_memory_is_survived("projector.kind=factored", 100);
    a_lack_of_memory_is_survived("projector.kind=shared", 40);
}

/* The same for the loop: its log, an evaluation, two checkpoints, the removal of one. */
static void any_allocation_of_the_loop_may_fail(void) {
    static const char *const sets[] = {"schedule.steps=2", "schedule.warmup=0", "run.eval_every=1", "run.save_every=1", "run.keep=1", "data.batch=2", NULL};
    char out[512];
    rt_job job;
    rt_run_options o = {.command = "distill"};
    rt_run_result result;
    rt_mem_stats before = {0};
    for (int i = 0; i < 2; i++) {
        before = rt_mem_stats_get();
        rt_tiny_run(false, fresh(out), sets);
    }
    rt_mem_stats after = rt_mem_stats_get();
    CU_ASSERT_EQUAL(after.live_blocks, before.live_blocks);
    for (int64_t calls = after.calls - before.calls, n = calls / 3; n <= calls; n += calls / 50) { /* before it: opening, above */
        rt_error refusal = {0};
        rt_tiny_job(&job, fresh(out), sets);
        int64_t live = rt_mem_stats_get().live_blocks;
        rt_mem_fail_at(n);
        rt_status s = rt_run(&job, &o, &result, &refusal);
        rt_mem_fail_at(0);
        RT_CHECK(s == RT_OK || (s == RT_E_NOMEM && *refusal.text), "allocation %lld of %lld: %s '%s'", (long long)n, (long long)calls, rt_status_name(s), refusal.text);
        RT_CHECK(rt_mem_stats_get().live_blocks == live, "allocation %lld of %lld leaks", (long long)n, (long long)calls);
        rt_job_free(&job);
    }
}

/* The same for what finds a checkpoint and restores it. */
static void any_allocation_of_a_resumed_run_may_fail(void) {
    char out[512];
    rt_job job;
    rt_mem_stats before, after;
    RT_TINY_RUN(fresh(out), "schedule.steps=2", "schedule.warmup=0", "run.stop_after=1");
    RT_TINY_JOB(&job, out, "schedule.steps=2", "schedule.warmup=0", "run.stop_after=1");
    rt_run_options o = {.resume = true, .command = "distill"};
    rt_run_result result;
    for (int i = 0; i < 2; i++) {
        rt_error err = {0};
        before = rt_mem_stats_get();
        RT_OK_OR_FAIL(rt_run(&job, &o, &result, &err));
    }
    after = rt_mem_stats_get();
    CU_ASSERT_EQUAL(after.live_blocks, before.live_blocks);
    for (int64_t n = 1, calls = after.calls - before.calls; n <= calls; n += n < 400 ? 7 : calls / 60 + 1) {
        rt_error refusal = {0};
        rt_mem_fail_at(n);
        rt_status s = rt_run(&job, &o, &result, &refusal);
        rt_mem_fail_at(0);
        RT_CHECK(s == RT_E_NOMEM, "allocation %lld of %lld: %s '%s'", (long long)n, (long long)calls, rt_status_name(s), refusal.text);
        RT_CHECK(rt_mem_stats_get().live_blocks == before.live_blocks, "allocation %lld leaks", (long long)n);
        CU_ASSERT_EQUAL(newest(out), 1);
    }
    rt_job_free(&job);
}

/* -------------------------------------------------------------------- disk */

/* Every write, sync and rename of a run that saves twice fails in turn; what was saved before stays, and the run goes on. */
static void any_write_may_fail(void) {
    char whole[512], out[512], expected[4096];
    rt_run_result result;
    snprintf(expected, sizeof expected, "%s", RT_TINY_RUN(fresh(whole), "schedule.steps=2", "schedule.warmup=0", "run.save_every=1", "run.keep=1"));
    bool failed = true;
    int64_t steps_left[3] = {0};
    for (int64_t n = 1; failed && n < 2000; n += n < 100 ? 5 : 11) {
        rt_error err = {0};
        rt_job job;
        RT_TINY_JOB(&job, fresh(out), "schedule.steps=2", "schedule.warmup=0", "run.save_every=1", "run.keep=1");
        rt_file_fail_at(n);
        rt_status s = rt_run(&job, &(rt_run_options){.command = "distill"}, &result, &err);
        rt_file_fail_at(0);
        failed = s != RT_OK;
        if (failed) RT_CHECK(s == RT_E_IO && *err.text, "write %lld: %s '%s'", (long long)n, rt_status_name(s), err.text);
        int64_t left = newest(out);
        steps_left[left < 0 ? 0 : left]++;
        rt_error_clear(&err);
        RT_OK_OR_FAIL(rt_run(&job, &(rt_run_options){.resume = true, .command = "distill"}, &result, &err));
        rt_same_checkpoint(expected, result.checkpoint, NULL);
        rt_job_free(&job);
    }
    RT_CHECK(!failed && steps_left[0] > 0 && steps_left[1] > 0 && steps_left[2] > 0, "found %lld, %lld, %lld runs with 0, 1, 2 steps saved",
             (long long)steps_left[0], (long long)steps_left[1], (long long)steps_left[2]);
}

/* ----------------------------------------------------------------- numbers */

static rt_trainer *opened(rt_job *job) {
    rt_error err = {0};
    rt_trainer *t = NULL;
    RT_OK_OR_FAIL(rt_trainer_open(&t, job, 0, &err));
    RT_OK_OR_FAIL(rt_trainer_begin(t, NULL, NULL, &err));
    return t;
}
static uint64_t hash_of(const rt_trainer *t) {
    uint64_t h = 0;
    const rt_weights *all[] = {&t->student.weights, &t->student.m, &t->student.v, &t->student.master};
    for (int k = 0; k < 4; k++)
        for (int64_t i = 0; i < all[k]->count; i++) h = h * 31 + rt_tensor_hash(&all[k]->slots[i].t);
    for (int64_t l = 0; l < t->config.layers; l++)
        for (int64_t e = 0; e < RT_EMA_RATES * t->config.experts; e++) h = h * 31 + (uint64_t)(t->ema[l].mean[e] * 1e15);
    if (t->projector && rt_projector_kind_of(t->projector) == RT_PROJECTOR_FACTORED) h = h * 31 + rt_tensor_hash(rt_projector_weight(t->projector));
    return h;
}

/* An infinity in a weight: the step fails, names where, and changes nothing; without it the run is as if nothing had been. */
static void a_step_that_fails_changes_nothing(void) {
    static const struct {
        rt_weight_kind kind;
        int layer;
        const char *operation;
    } cases[] = {{RT_WEIGHT_EMBED, -1, "student.embed"}, {RT_WEIGHT_EXPERT_DOWN, 1, "student.layers.1."}, {RT_WEIGHT_HEAD, -1, "student.head"}};
    rt_job job;
    rt_step_report r;
    rt_error none = {0}, err = {0};
    RT_TINY_JOB(&job, NULL, "projector.kind=factored");
    rt_trainer *a = opened(&job), *b = opened(&job);
    RT_OK_OR_FAIL(rt_trainer_step(a, &r, &err));
    RT_OK_OR_FAIL(rt_trainer_step(b, &r, &err));
    for (int i = 0; i < 3; i++) {
        rt_tensor *w = &a->student.weights.slots[rt_weights_find(&a->student.weights, cases[i].kind, cases[i].layer)].t;
        float *x = w->data, *old = rt_alloc(rt_tensor_bytes(w));
        memcpy(old, x, rt_tensor_bytes(w));
        for (int64_t k = 0; k < rt_tensor_count(w); k += 3) x[k] = INFINITY;
        uint64_t before = hash_of(a);
        rt_error refusal = {0};
        CU_ASSERT_EQUAL(rt_trainer_step(a, &r, &refusal), RT_E_NUMERIC);
        RT_CHECK(strncmp(refusal.text, "step 2 (epoch 0, window 8): ", 28) == 0 && strstr(refusal.text, cases[i].operation), "%s", refusal.text);
        CU_ASSERT_EQUAL(hash_of(a), before);
        CU_ASSERT_EQUAL(a->step, 1);
        memcpy(x, old, rt_tensor_bytes(w));
        rt_free(old);
    }
    for (int i = 0; i < 3; i++) {
        RT_OK_OR_FAIL(rt_trainer_step(a, &r, &none));
        RT_OK_OR_FAIL(rt_trainer_step(b, &r, &none));
        CU_ASSERT_EQUAL(hash_of(a), hash_of(b));
    }
    rt_trainer_close(a), rt_trainer_close(b);
    rt_job_free(&job);
}

/* ------------------------------------------------------------------ dtypes */

static void a_projector_of_another_dtype_is_refused_in_evaluation(void) {
    rt_job job;
    rt_error err = {0}, refusal = {0};
    rt_projector *p;
    rt_evaluator *e;
    RT_TINY_JOB(&job, NULL, "projector.kind=factored");
    rt_trainer *t = opened(&job);
    rt_projector_options po = {.kind = RT_PROJECTOR_FACTORED, .teacher = &t->teacher_files.weights, .teacher_precision = &t->teacher_files.precision,
                               .student = &t->student.weights, .dtype = RT_F32, .vocab = RT_TINY_VOCAB};
    RT_OK_OR_FAIL(rt_projector_open(&p, &po, &err));
    rt_evaluator_options eo = {.weights = &t->student.weights, .precision = &t->student.precision, .teacher = &t->teacher, .projector = p,
                               .windows = RT_TINY_BATCH, .T = RT_TINY_T, .vocab = RT_TINY_VOCAB, .router = t->router, .states = t->router_states};
    CU_ASSERT_EQUAL(rt_evaluator_open(&e, &eo, &refusal), RT_E_DTYPE);
    RT_CHECK(strstr(refusal.text, "projector.linear") && strstr(refusal.text, "is f16") && strstr(refusal.text, "says f32"), "%s", refusal.text);
    CU_ASSERT_PTR_NULL(e);
    rt_projector_close(p);
    rt_trainer_close(t);
    rt_job_free(&job);
}

RT_SUITE(run_faults) {
    RT_TEST(a_damaged_checkpoint_is_passed_over);
    RT_TEST(any_allocation_may_fail);
    RT_TEST(any_allocation_of_the_loop_may_fail);
    RT_TEST(any_allocation_of_a_resumed_run_may_fail);
    RT_TEST(any_write_may_fail);
    RT_TEST(a_step_that_fails_changes_nothing);
    RT_TEST(a_projector_of_another_dtype_is_refused_in_evaluation);
}
