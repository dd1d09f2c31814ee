/* test_damage_checkpoint.c - checkpoints of a run with damaged files: what verifying finds, and what restoring survives even where
 * nothing was verified. */
#include "damage.h"
#include "harness.h"
#include "io/checkpoint_manifest.h"
#include "tiny_job.h"
#include <retort/base/file.h>
#include <retort/io/checkpoint.h>
#include <retort/compare/compare.h>
#include <retort/train/run.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

static char checkpoint[1024];
static const char *in(const char *name) {
    static char paths[4][1200];
    static unsigned turn;
    char *p = paths[turn++ % 4];
    snprintf(p, 1200, "%s/%s", checkpoint, name);
    return p;
}
/* One for all tests, which leave it as it was. */
static void make_run(void) {
    static char made[1024];
    char out[600];
    if (!*made) {
        snprintf(out, sizeof out, "%s/run", rt_test_dir());
        snprintf(made, sizeof made, "%s", RT_TINY_RUN(out, "schedule.steps=2", "schedule.warmup=1", "projector.kind=factored", "projector.prefit_steps=1"));
    }
    snprintf(checkpoint, sizeof checkpoint, "%s", made);
}

/* --------------------------------------------------------------------- verify */

static json_t *sound_manifest;
static rt_status verify(void *context, rt_error *err) {
    json_t *m;
    (void)context;
    RT_TRY(rt_checkpoint_verify(checkpoint, err));
    RT_TRY(rt_checkpoint_manifest(checkpoint, &m, err));
    RT_CHECK(json_equal(m, sound_manifest), "a manifest of other content was accepted");
    json_decref(m);
    return RT_OK;
}
/* A small checkpoint, not a run's: verifying reads every file. */
static rt_status write_note(const char *path, void *context, rt_error *err) { return rt_file_write_atomic(path, context, strlen(context), err); }
static void small_checkpoint(void) {
    rt_error err = {0};
    const char *root = rt_test_dir();
    rt_checkpoint_file files[] = {{"a.txt", write_note, "hello"}, {"state.json", write_note, "{}"}};
    json_t *facts = json_pack("{s:{s:f, s:b}, s:s}", "configuration", "lr", 0.1, "tie", 1, "version", "x \xc3\xa9");
    RT_OK_OR_FAIL(rt_checkpoint_save(root, 4, files, 2, facts, &err));
    json_decref(facts);
    char *path = rt_checkpoint_path(root, 4);
    snprintf(checkpoint, sizeof checkpoint, "%s", path);
    rt_free(path);
    RT_OK_OR_FAIL(rt_checkpoint_manifest(checkpoint, &sound_manifest, &err));
}
static void a_damaged_file_is_found_by_the_manifest(void) {
    static const char *const names[] = {"MANIFEST.json", "a.txt", "state.json"};
    small_checkpoint();
    for (int i = 0; i < 3; i++) {
        char path[1200];
        int64_t size = 0;
        rt_error err = {0};
        snprintf(path, sizeof path, "%s", in(names[i]));
        RT_OK_OR_FAIL(rt_file_size(path, &size, &err));
        rt_damage d = {.path = path, .read = verify, .whole = (size_t)size - (i == 0), .every = i == 0 ? 4 : 0}; /* a manifest's last byte is a line end */
        rt_damage_all(&d);
        RT_CHECK(i == 0 || d.accepted == 3, "%s: %lld of %lld accepted", names[i], (long long)d.accepted, (long long)d.cases); /* the sound one, three times */
    }
    json_decref(sound_manifest);
}
/* A manifest of true check sums that names something else. */
static void forged_manifests_are_refused(void) {
    static const char *const names[] = {"../a.txt", "/etc/hostname", "x/../a.txt", "..", ".", "", "./a.txt"};
    rt_error err = {0};
    small_checkpoint();
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        json_t *m = json_deep_copy(sound_manifest), *entry = json_pack("{s:i, s:I}", "size", 5, "crc32", (json_int_t)0x3610a686);
        json_object_set_new(json_object_get(m, "files"), names[i], entry);
        RT_OK_OR_FAIL(rt_manifest_seal(m, checkpoint, &err));
        rt_status s = rt_checkpoint_verify(checkpoint, &err);
        RT_CHECK(s == RT_E_INPUT && strstr(err.text, "expected the name of a file beside it"), "'%s': %s %s", names[i], rt_status_name(s), err.text);
        rt_error_clear(&err);
        json_decref(m);
    }
    static const char *const entries[] = {"null", "[]", "{}", "{\"size\": -1, \"crc32\": 0}", "{\"size\": 5, \"crc32\": 4294967296}", "{\"size\": 9223372036854775807, \"crc32\": 0}",
                                          "{\"size\": 5, \"crc32\": \"x\"}", "{\"size\": 1e300, \"crc32\": 0}"};
    for (size_t i = 0; i < sizeof entries / sizeof *entries; i++) {
        json_t *m = json_deep_copy(sound_manifest);
        json_object_set_new(json_object_get(m, "files"), "a.txt", json_loads(entries[i], JSON_DECODE_ANY, NULL));
        RT_OK_OR_FAIL(rt_manifest_seal(m, checkpoint, &err));
        rt_status s = rt_checkpoint_verify(checkpoint, &err);
        RT_CHECK(s == RT_E_INPUT, "'%s': %s", entries[i], rt_status_name(s));
        rt_error_clear(&err);
        json_decref(m);
    }
    json_decref(sound_manifest);
}

/* -------------------------------------------------------------------- restore */

static const rt_status refusals[] = {RT_E_INPUT, RT_E_UNSUPPORTED, RT_OK};
/* As if the check sums had been forged too: nothing of it may be believed. */
static rt_status restore(void *context, rt_error *err) {
    rt_trainer *t = context;
    RT_TRY(rt_trainer_restore(t, checkpoint, err));
    CU_ASSERT_TRUE(t->step >= 0 && t->tokens >= 0 && t->step < INT64_MAX && t->tokens < INT64_MAX / 2);
    for (int64_t l = 0; l < t->config.layers; l++)
        for (int64_t e = 0; e < t->ema[l].tracks; e++) CU_ASSERT_TRUE(t->ema[l].observations[e] >= 0 && t->ema[l].observations[e] < INT64_MAX);
    return RT_OK;
}
static void damage_restored(const char *name, rt_trainer *t, size_t from, size_t to, int64_t every) {
    char path[1200];
    snprintf(path, sizeof path, "%s", in(name));
    rt_damage d = {.path = path, .read = restore, .context = t, .from = from, .to = to, .every = every, .refusals = refusals, .memory = (int64_t)64 << 20};
    rt_damage_flip(&d);
    rt_damage_splice(&d);
    d.every = 40 * every;
    rt_damage_cut(&d);
    RT_CHECK(d.cases > 200 && d.accepted < d.cases, "%s: %lld of %lld", name, (long long)d.accepted, (long long)d.cases);
}
static rt_trainer *open_trainer(rt_job *job) {
    rt_error err = {0};
    rt_trainer *t = NULL;
    RT_TINY_JOB(job, "unused", "schedule.steps=2", "schedule.warmup=1", "projector.kind=factored", "projector.prefit_steps=1");
    RT_OK_OR_FAIL(rt_trainer_open(&t, job, 0, &err));
    return t;
}
static void restoring_survives_any_damage(void) {
    rt_job job;
    make_run();
    rt_error err = {0};
    rt_trainer *t = open_trainer(&job);
    if (t) {
        RT_OK_OR_FAIL(rt_trainer_restore(t, checkpoint, &err)); /* from now on it keeps what the manifest says of the start */
        damage_restored("state.json", t, 0, 0, 50);
        damage_restored("optimizer.safetensors", t, 0, 1200, 120);
        damage_restored("projector.safetensors", t, 0, 600, 60);
        damage_restored("config.json", t, 0, 0, 60);
    }
    rt_trainer_close(t);
    rt_job_free(&job);
}
/* The log of a run, as `retort compare` reads its evaluations. */
static rt_status compare_runs(void *context, rt_error *err) {
    rt_compare *c;
    rt_compare_options o = {.a = context, .b = context, .exact = true, .probe = RT_PROBE_NO, .probe_tokens = 1};
    RT_TRY(rt_compare_open(&c, &o, err));
    rt_buf page = {0};
    rt_compare_text(rt_compare_result(c), false, &page);
    json_decref(rt_compare_json(rt_compare_result(c)));
    CU_ASSERT_TRUE(rt_compare_result(c)->equal && !page.failed);
    rt_buf_free(&page);
    rt_compare_close(c);
    return RT_OK;
}
static void a_damaged_log_is_survived(void) {
    char run[1024], log[1100];
    make_run();
    snprintf(run, sizeof run, "%s", checkpoint);
    *strstr(run, "/checkpoints/") = 0;
    snprintf(log, sizeof log, "%s/log.jsonl", run);
    rt_damage d = {.path = log, .read = compare_runs, .context = run, .every = 800};
    rt_damage_flip(&d);
    rt_damage_cut(&d);
    d.every = 10;
    rt_damage_splice(&d);
    CU_ASSERT_TRUE(d.cases > 100 && d.accepted > 10);
}
static void state_restored(rt_trainer *t, const char *key, const char *value, rt_status expected) {
    rt_error err = {0};
    json_t *state;
    RT_OK_OR_FAIL(rt_json_load(in("state.json"), 0, &state, &err));
    json_t *saved = json_deep_copy(state), *v = json_loads(value, JSON_DECODE_ANY | (strlen(value) > 19 ? JSON_DECODE_INT_AS_REAL : 0), NULL), *at = strcmp(key, "index") == 0 || strcmp(key, "epoch") == 0 ? json_object_get(state, "cursor") : state;
    if (strncmp(key, "phi", 3) == 0) at = json_array_get(json_object_get(state, "layers"), 0), json_array_set_new(json_object_get(at, key), 0, v);
    else json_object_set_new(at, key, v);
    RT_OK_OR_FAIL(rt_json_save(in("state.json"), state, &err));
    rt_status s = restore(t, &err);
    RT_CHECK(s == expected, "%s = %s: %s %s", key, value, rt_status_name(s), err.text);
    rt_error_clear(&err);
    RT_OK_OR_FAIL(rt_json_save(in("state.json"), saved, &err));
    json_decref(state), json_decref(saved);
}
static void counters_that_lie_are_refused(void) {
    static const char *const bad[] = {"-2", "9223372036854775807", "18446744073709551616", "1e300", "1e19", "0.5", "\"3\"", "null", "[]", "true"};
    static const char *const keys[] = {"step", "tokens", "epoch", "index", "phi_observations"};
    rt_job job;
    make_run();
    rt_trainer *t = open_trainer(&job);
    for (size_t k = 0; t && k < sizeof keys / sizeof *keys; k++)
        for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) state_restored(t, keys[k], bad[i], RT_E_INPUT);
    if (t) state_restored(t, "phi_mean", "\"nan\"", RT_E_INPUT);
    rt_trainer_close(t);
    rt_job_free(&job);
}

/* What a resumed run takes from a manifest whose sums are true. */
static void facts_that_lie_are_refused(void) {
    static const char *const keys[] = {"log_bytes", "head_rows"}, *const bad[] = {"-1", "9223372036854775807", "\"1\"", "null", "0.5"};
    rt_error err = {0};
    char run[1024];
    json_t *sound, *m;
    make_run();
    snprintf(run, sizeof run, "%s", checkpoint);
    *strstr(run, "/checkpoints/") = 0;
    RT_OK_OR_FAIL(rt_checkpoint_manifest(checkpoint, &sound, &err));
    for (size_t i = 0; i < 2 * sizeof bad / sizeof *bad; i++) {
        rt_job job;
        rt_run_result r;
        m = json_deep_copy(sound);
        json_object_set_new(m, keys[i % 2], json_loads(bad[i / 2], JSON_DECODE_ANY, NULL));
        RT_OK_OR_FAIL(rt_manifest_seal(m, checkpoint, &err));
        json_decref(m);
        RT_TINY_JOB(&job, run, "schedule.steps=2", "schedule.warmup=1", "projector.kind=factored", "projector.prefit_steps=1");
        rt_status s = rt_run(&job, &(rt_run_options){.resume = true, .command = "distill"}, &r, &err);
        RT_CHECK(s == RT_E_INPUT && strstr(err.text, keys[i % 2]), "%s = %s: %s %s", keys[i % 2], bad[i / 2], rt_status_name(s), err.text);
        rt_error_clear(&err);
        rt_job_free(&job);
    }
    RT_OK_OR_FAIL(rt_manifest_seal(sound, checkpoint, &err));
    RT_OK_OR_FAIL(rt_checkpoint_verify(checkpoint, &err));
    json_decref(sound);
}

RT_SUITE(damage_checkpoint) {
    RT_TEST(a_damaged_file_is_found_by_the_manifest);
    RT_TEST(forged_manifests_are_refused);
    RT_TEST(restoring_survives_any_damage);
    RT_TEST(a_damaged_log_is_survived);
    RT_TEST(facts_that_lie_are_refused);
    RT_TEST(counters_that_lie_are_refused);
}
