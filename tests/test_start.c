/* test_start.c - what a student begins with: sizes from files, dtypes rounded or widened as said, what is refused, what log and
 * manifest keep of it, and a start that is written without a step. The function that upcycling keeps: test_upcycle.c. */
#include "small_model.h"
#include "tiny_job.h"
#include <retort/base/file.h>
#include <retort/io/checkpoint.h>
#include <retort/train/run.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

static const char *folder_of(int64_t experts, rt_dtype t) {
    static char paths[4][700];
    static unsigned turn;
    char *path = paths[turn++ % 4];
    rt_weights w;
    rt_precision p = rt_precision_student(t);
    rt_model_config c = small_config(experts);
    small_model(&w, &c, &p, 0.2);
    snprintf(path, 700, "%s/model", rt_test_dir());
    small_folder(path, &w);
    rt_weights_free(&w);
    return path;
}

/* The job "start from `from`" with assignments; data are named and never read. */
static rt_status load(const char *from, const char *const *sets, rt_job *job, rt_error *err) {
    char source[800];
    const char *all[12] = {"data.train=a", "data.sequence_length=32", source};
    int n = 3;
    snprintf(source, sizeof source, "student.from=%s", from);
    for (; sets[n - 3]; n++) all[n] = sets[n - 3];
    return rt_job_load(NULL, all, n, job, err);
}
#define SETS(...) (const char *const[]){__VA_ARGS__, NULL}

/* -------------------------------------------------------------------- keys */

static void sizes_come_from_the_files(void) {
    rt_error err = {0};
    rt_job j, again;
    const char *dense = folder_of(0, RT_F16), *moe = folder_of(4, RT_F32);
    RT_OK_OR_FAIL(load(moe, SETS("student.init=checkpoint", "student.layers=2"), &j, &err));
    const rt_job_student *s = &j.student;
    CU_ASSERT_TRUE(strcmp(s->arch, "mixtral") == 0 && s->vocab_size == SMALL_V && s->hidden_size == 32 && s->heads == 4 && s->kv_heads == 2 && s->head_dim == 8);
    CU_ASSERT_TRUE(s->ffn_size == 48 && s->experts == 4 && s->experts_per_token == 2 && s->max_position == SMALL_POSITIONS && s->rope_theta == 1e6);
    CU_ASSERT_EQUAL(j.objective.count, 3); /* a family with experts: the router's terms */
    rt_job_free(&j);
    RT_OK_OR_FAIL(load(dense, SETS("student.init=upcycle", "student.granularity=2"), &j, &err));
    CU_ASSERT_TRUE(strcmp(s->arch, "mixtral") == 0 && s->ffn_size == 24 && s->experts == 16 && s->experts_per_token == 4 && s->norm_eps == 1e-5);
    json_t *stored = rt_job_json(&j); /* as a checkpoint keeps it: read where the files are gone */
    json_object_set_new(json_object_get(stored, "student"), "from", json_string("/no/such/model"));
    RT_OK_OR_FAIL(rt_job_from_json(stored, "MANIFEST.json", &again, &err));
    CU_ASSERT_TRUE(again.student.hidden_size == 32 && again.student.experts == 16);
    json_decref(stored);
    rt_job_free(&again), rt_job_free(&j);
    RT_OK_OR_FAIL(load(dense, SETS("student.init=checkpoint", "objective.0.weight=0.5"), &j, &err));
    CU_ASSERT_TRUE(strcmp(s->arch, "llama") == 0 && s->experts == 0 && j.objective.count == 1);
    rt_job_free(&j);
}

static void what_disagrees_with_the_files_is_refused(void) {
    static const struct {
        int64_t experts;
        const char *sets[4], *text;
    } cases[] = {
        {0, {"student.init=upcycle", "student.hidden_size=64"}, "student.hidden_size: found 64, expected 32, as student.from "},
        {0, {"student.init=upcycle", "student.granularity=2", "student.ffn_size=48"}, "student.ffn_size: found 48, expected 24, as student.from "},
        {0, {"student.init=upcycle", "student.rope_theta=500"}, "student.rope_theta: found 500, expected 10000, as student.from "},
        {0, {"student.init=upcycle", "student.norm_eps=1e-6"}, "student.norm_eps: found 1e-06, expected 1e-05, as student.from "},
        {0, {"student.init=upcycle", "student.tie=yes"}, "student.tie: found yes, expected no, as student.from "},
        {0, {"student.init=upcycle", "student.granularity=5"}, "student.granularity: found 5, expected a divisor of 48"},
        {0, {"student.init=upcycle", "student.arch=llama"}, "student.arch: found llama, expected mixtral: "},
        {4, {"student.init=upcycle"}, "is a mixtral and has experts already (init: checkpoint starts from it)"},
        {0, {"student.init=checkpoint", "student.arch=mixtral"}, "is a llama, and student.arch says mixtral"},
        {4, {"student.init=checkpoint", "student.experts=8"}, "student.experts: found 8, expected 4, as student.from "},
        {0, {"student.init=checkpoint", "student.kv_heads=4"}, "student.kv_heads: found 4, expected 2, as student.from "},
        {0, {"student.init=checkpoint", "student.granularity=2"}, "student.granularity is set, and belongs to student.init: upcycle"},
        {0, {"student.init=checkpoint", "data.sequence_length=161"}, "data.sequence_length 161 is longer than student.max_position 160"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        rt_error err = {0};
        rt_job j;
        rt_status s = load(folder_of(cases[i].experts, RT_F32), cases[i].sets, &j, &err);
        RT_CHECK(s == RT_E_CONFIG && strstr(err.text, cases[i].text), "%s: %s '%s', expected '%s'", cases[i].sets[0], rt_status_name(s), err.text, cases[i].text);
        if (s == RT_OK) rt_job_free(&j);
    }
}

/* ------------------------------------------------------------------ dtypes */

typedef struct begun {
    rt_job job;
    rt_hf *files;
    rt_student student;
    rt_status status;
    rt_error err;
    char text[256];
} begun;
static void begin(begun *b, const char *from, const char *const *sets) {
    rt_error err = {0};
    rt_model_config c;
    rt_buf text = {0};
    *b = (begun){0};
    RT_OK_OR_FAIL(load(from, sets, &b->job, &err));
    RT_OK_OR_FAIL(rt_hf_open(from, &b->files, &err));
    RT_OK_OR_FAIL(rt_job_started_config(&b->job, rt_hf_config(b->files), &c, &err));
    rt_precision p = rt_job_student_precision(&b->job);
    rt_optim_config o = rt_job_optim_config(&b->job);
    RT_OK_OR_FAIL(rt_student_open(&b->student, &c, &p, &err));
    RT_OK_OR_FAIL(rt_weights_alloc(&b->student.grads, &err));
    RT_OK_OR_FAIL(rt_student_optimizer(&b->student, &o, false, &err));
    b->status = rt_start_weights(&b->student, &b->job, b->files, &b->err);
    rt_start_text(&b->student, &b->job, b->files, &text);
    snprintf(b->text, sizeof b->text, "%s", text.data ? strrchr(text.data, ':') + 2 : "");
    rt_buf_free(&text);
}
static void end(begun *b) {
    rt_student_close(&b->student);
    rt_hf_close(b->files);
    rt_job_free(&b->job);
}

/* Masters are the files' numbers, exactly; weights their roundings. `stored`, `kept`: dtypes of the files and of the student. */
static void converts(rt_dtype stored, rt_dtype kept, const char *words) {
    char precision[40];
    begun b;
    int64_t wrong = 0, inexact = 0;
    snprintf(precision, sizeof precision, "precision.student=%s", rt_dtype_name(kept));
    begin(&b, folder_of(0, stored), SETS("student.init=checkpoint", precision));
    RT_CHECK(b.status == RT_OK, "%s", b.err.text);
    for (int64_t i = 0; i < b.student.weights.count; i++) { /* a dense model's slots are its tensors, in order */
        const rt_tensor *file = rt_hf_weight(b.files, i), *master = &b.student.master.slots[i].t, *weight = &b.student.weights.slots[i].t;
        for (int64_t k = 0; k < rt_tensor_count(file); k++) {
            float x = (float)rt_get(file, k), rounded = kept == RT_BF16 ? rt_bf16_to_f32(rt_f32_to_bf16(x)) : kept == RT_F16 ? rt_f16_to_f32(rt_f32_to_f16(x)) : x;
            wrong += rt_get(master, k) != (double)x || rt_get(weight, k) != (double)rounded;
            inexact += rounded != x;
        }
    }
    RT_CHECK(wrong == 0 && (inexact > 0) == (stored == RT_F32 && kept != RT_F32), "%s to %s: %lld numbers wrong, %lld rounded", rt_dtype_name(stored),
             rt_dtype_name(kept), (long long)wrong, (long long)inexact);
    RT_CHECK(strcmp(b.text, words) == 0, "'%s', expected '%s'", b.text, words);
    end(&b);
}
static void dtypes_are_converted_as_said(void) {
    converts(RT_F32, RT_F32, "21 weights f32 as they are");
    converts(RT_F16, RT_F32, "21 weights f16 -> f32 (widened)");
    converts(RT_BF16, RT_F32, "21 weights bf16 -> f32 (widened)");
    converts(RT_F32, RT_BF16, "21 weights f32 -> bf16 (rounded)");
    converts(RT_F32, RT_F16, "21 weights f32 -> f16 (rounded)");
    converts(RT_F16, RT_F16, "21 weights f16 as they are");
}

static void refuse_value(double value, const char *precision, const char *words) {
    begun b;
    rt_weights w;
    rt_precision p = rt_precision_student(RT_F32);
    rt_model_config c = small_config(0);
    char path[700];
    snprintf(path, sizeof path, "%s/model", rt_test_dir());
    small_model(&w, &c, &p, 0.2);
    rt_put(&w.slots[3].t, 5, value);
    small_folder(path, &w);
    begin(&b, path, SETS("student.init=checkpoint", precision));
    RT_CHECK(b.status == RT_E_NUMERIC && strstr(b.err.text, words) && strstr(b.err.text, w.slots[3].name), "%s '%s', expected '%s'", rt_status_name(b.status), b.err.text, words);
    end(&b);
    rt_weights_free(&w);
}
static void numbers_that_do_not_fit_are_refused(void) {
    refuse_value(1e6, "precision.student=f16", "holds a number beyond the range of f16");
    refuse_value((double)NAN, "precision.student=f32", "holds a number that is not finite");
}

static void shards_are_read_as_one_file(void) {
    const char *folders[] = {rt_fixture("models/llama/f16"), rt_fixture("models/llama/f16-sharded")};
    begun b[2];
    if (!folders[0] || !folders[1]) return;
    for (int i = 0; i < 2; i++) begin(&b[i], folders[i], SETS("student.init=upcycle", "student.granularity=2"));
    CU_ASSERT_TRUE(b[0].status == RT_OK && b[1].status == RT_OK);
    CU_ASSERT_TRUE(memcmp(b[0].student.weights.block, b[1].student.weights.block, b[0].student.weights.block_bytes) == 0);
    end(&b[0]), end(&b[1]);
}

/* -------------------------------------------------------------------- runs */

static const char *upcycled(void) {
    static char text[800];
    snprintf(text, sizeof text, "student={init: upcycle, from: '%s', hidden_size: 0, ffn_size: 0}", rt_tiny_files()->teacher);
    return text;
}

/* No step: the start, evaluated, in a checkpoint. Of the teacher's own copy the divergence is rounding. */
static void a_start_is_written_without_a_step(void) {
    char out[600], path[4200];
    rt_error err = {0};
    json_t *manifest;
    snprintf(out, sizeof out, "%s/run", rt_test_dir());
    snprintf(path, sizeof path, "%s", RT_TINY_RUN(out, upcycled(), "schedule.steps=0", "precision.teacher=f32"));
    RT_CHECK(strstr(path, "step-00000000"), "%s", path);
    json_t *runs = rt_log_records(out, "run"), *evals = rt_log_records(out, "eval"), *steps = rt_log_records(out, "step");
    CU_ASSERT_TRUE(json_array_size(runs) == 1 && json_array_size(evals) == 1 && json_array_size(steps) == 0);
    double kl = json_number_value(json_object_get(json_array_get(evals, 0), "kl_t1")), top1 = json_number_value(json_object_get(json_array_get(evals, 0), "top1_agreement"));
    RT_CHECK(kl >= 0 && kl < 1e-10 && top1 > 0.999, "KL to the teacher %g, first choices %g", kl, top1);
    RT_OK_OR_FAIL(rt_checkpoint_manifest(path, &manifest, &err));
    json_t *start = json_object_get(manifest, "start");
    CU_ASSERT_TRUE(json_equal(start, json_object_get(json_array_get(runs, 0), "start")));
    CU_ASSERT_TRUE(json_integer_value(json_object_get(json_object_get(json_object_get(manifest, "configuration"), "student"), "hidden_size")) == 48);
    const char *again = RT_TINY_RESUME(out, upcycled(), "schedule.steps=0", "precision.teacher=f32");
    CU_ASSERT_STRING_EQUAL(path, again);
    json_decref(manifest), json_decref(runs), json_decref(evals), json_decref(steps);
}

static void log_and_manifest_say_where_it_began(void) {
    char out[600];
    rt_error err = {0};
    rt_hf *files;
    rt_hf_hash hash = {""};
    snprintf(out, sizeof out, "%s/run", rt_test_dir());
    RT_TINY_RUN(out, upcycled(), "run.stop_after=1", "student.upcycle_noise=0.25", "run.seed=9");
    RT_TINY_RESUME(out, upcycled(), "run.stop_after=2", "student.upcycle_noise=0.25", "run.seed=9");
    RT_OK_OR_FAIL(rt_hf_open(rt_tiny_files()->teacher, &files, &err));
    RT_OK_OR_FAIL(rt_hf_content_hash(files, &hash, &err));
    rt_hf_close(files);
    json_t *runs = rt_log_records(out, "run"), *start = json_object_get(json_array_get(runs, 0), "start");
    json_t *want = json_pack("{s:s, s:i, s:s, s:s, s:s, s:s, s:i, s:i, s:f}", "init", "upcycle", "seed", 9, "from", rt_tiny_files()->teacher, "arch", "llama",
                             "source_hash", hash.hex, "weights", "21 weights f16 -> f32 (widened)", "copies", 4, "granularity", 1, "noise", 0.25);
    RT_CHECK(json_equal(start, want), "the record of the start is %s", json_dumps(start, JSON_COMPACT));
    CU_ASSERT_TRUE(json_array_size(runs) == 2 && json_equal(start, json_object_get(json_array_get(runs, 1), "start")));
    json_decref(want), json_decref(runs);
}

/* A run that starts from another's checkpoint evaluates to that one's digits: the weights are the same, to the bit. */
static void a_checkpoint_is_where_the_other_run_stopped(void) {
    static const char *const variants[] = {"student.arch=mixtral", "student.arch=qwen3_moe", "precision.student=bf16"};
    for (int i = 0; i < 3; i++) {
        char first[600], second[600], from[800];
        snprintf(first, sizeof first, "%s/run", rt_test_dir());
        snprintf(second, sizeof second, "%s/run", rt_test_dir());
        snprintf(from, sizeof from, "student.from=%s", first);
        RT_TINY_RUN(first, variants[i], "schedule.steps=3", "schedule.warmup=0");
        RT_TINY_RUN(second, variants[i], from, "student.init=checkpoint", "schedule.steps=0");
        json_t *a = rt_log_records(first, "eval"), *b = rt_log_records(second, "eval");
        json_object_del(json_array_get(a, 0), "step"), json_object_del(json_array_get(b, 0), "step");
        RT_CHECK(json_array_size(a) == 1 && json_equal(a, b), "%s: another evaluation", variants[i]);
        json_decref(a), json_decref(b);
    }
}

static rt_status whole_start(const char *from, rt_error *err) {
    rt_job job = {0};
    rt_hf *files = NULL;
    rt_student s = {0};
    rt_model_config c;
    json_t *words = NULL;
    rt_status status = load(from, SETS("student.init=upcycle", "student.granularity=2", "student.upcycle_noise=0.1"), &job, err);
    rt_optim_config o = {.name = "adamw", .beta1 = 0.9, .beta2 = 0.95, .eps = 1e-8};
    rt_precision p = rt_precision_student(RT_BF16);
    if (status != RT_OK) return status;
    status = rt_hf_open(from, &files, err);
    if (status == RT_OK) status = rt_job_started_config(&job, rt_hf_config(files), &c, err);
    if (status == RT_OK) status = rt_student_open(&s, &c, &p, err);
    if (status == RT_OK) status = rt_weights_alloc(&s.grads, err);
    if (status == RT_OK) status = rt_student_optimizer(&s, &o, false, err);
    if (status == RT_OK) status = rt_start_weights(&s, &job, files, err);
    if (status == RT_OK) status = rt_start_json(&s, &job, files, &words, err);
    json_decref(words);
    rt_student_close(&s);
    rt_hf_close(files);
    rt_job_free(&job);
    return status;
}
static void memory_runs_out_cleanly(void) {
    const char *from = folder_of(0, RT_F16);
    int64_t before = rt_mem_stats_get().live_blocks;
    int n = 1;
    for (rt_status s = RT_E_NOMEM; s != RT_OK && n < 3000; n++) {
        rt_error err = {0};
        rt_mem_fail_at(n);
        s = whole_start(from, &err);
        rt_mem_fail_at(0);
        if (s != RT_OK && (s != RT_E_NOMEM || !*err.text)) RT_FAILF("allocation %d: %s '%s'", n, rt_status_name(s), err.text);
        if (rt_mem_stats_get().live_blocks != before) RT_FAILF("allocation %d: leak", n);
    }
    RT_CHECK(n > 100 && n < 3000, "%d allocations", n);
}

RT_SUITE(start) {
    RT_TEST(sizes_come_from_the_files);
    RT_TEST(what_disagrees_with_the_files_is_refused);
    RT_TEST(dtypes_are_converted_as_said);
    RT_TEST(numbers_that_do_not_fit_are_refused);
    RT_TEST(shards_are_read_as_one_file);
    RT_TEST(a_start_is_written_without_a_step);
    RT_TEST(log_and_manifest_say_where_it_began);
    RT_TEST(a_checkpoint_is_where_the_other_run_stopped);
    RT_TEST(memory_runs_out_cleanly);
}
