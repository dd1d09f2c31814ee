/* test_expert_job.c - a budget for the teacher's experts in a run and in commands: nothing but memory and time depends on it. */
#include "program.h"
#include "small_model.h"
#include "tiny_job.h"
#include <retort/base/file.h>
#include <retort/train/trainer.h>
#include <stdio.h>
#include <string.h>

enum { EXPERT_BYTES = 3 * 32 * 48 * 2, EXPERTS = 8 };

/* A mixture of 2 x 8 experts with the tiny job's tokenizer. Made once. */
static const char *teacher(void) {
    static char directory[600];
    char from[800], to[800];
    rt_error err = {0};
    rt_buf json = {0};
    rt_weights w;
    if (*directory) return directory;
    rt_precision p = rt_precision_teacher(RT_F16, true);
    rt_model_config c = small_config(EXPERTS);
    c.vocab_size = RT_TINY_VOCAB + RT_TINY_PADDING;
    snprintf(directory, sizeof directory, "%s/mixture", rt_test_dir());
    small_model(&w, &c, &p, 0.3);
    small_folder(directory, &w);
    rt_weights_free(&w);
    snprintf(from, sizeof from, "%s/tokenizer.json", rt_tiny_files()->teacher);
    snprintf(to, sizeof to, "%s/tokenizer.json", directory);
    RT_OK_OR_FAIL(rt_file_read(from, (size_t)1 << 24, &json, &err));
    RT_OK_OR_FAIL(rt_file_write_atomic(to, json.data, json.size, &err));
    rt_buf_free(&json);
    return directory;
}
static int64_t number(const json_t *o, const char *key) {
    RT_CHECK(json_is_integer(json_object_get(o, key)), "no number '%s'", key);
    return json_integer_value(json_object_get(o, key));
}

/* hits + loads are the experts that were met: the same in any budget. */
static int64_t check_record(const json_t *o, int64_t capacity) {
    int64_t present = number(o, "present"), loads = number(o, "loads");
    CU_ASSERT_TRUE(number(o, "experts") == 2 * EXPERTS && number(o, "expert_bytes") == EXPERT_BYTES && number(o, "capacity") == capacity);
    CU_ASSERT_TRUE(present >= 1 && present <= number(o, "most_present") && number(o, "most_present") <= capacity);
    CU_ASSERT_TRUE(number(o, "evictions") == loads - present && (number(o, "evictions") > 0) == (capacity < 2 * EXPERTS));
    CU_ASSERT_TRUE(number(o, "bytes_present") == present * EXPERT_BYTES && number(o, "bytes_loaded") == loads * EXPERT_BYTES);
    CU_ASSERT_DOUBLE_EQUAL(json_number_value(json_object_get(o, "hit_rate")), (double)number(o, "hits") / (double)(number(o, "hits") + loads), 1e-12);
    return number(o, "hits") + loads;
}
static void a_run_has_the_same_bits_in_any_budget(void) {
    static const int64_t capacities[] = {2 * EXPERTS, 3, 1};
    const char *checkpoints[3];
    char path[700], budget[64], out[600];
    int64_t used[3];
    snprintf(path, sizeof path, "teacher.path=%s", teacher());
    for (int i = 0; i < 3; i++) {
        snprintf(out, sizeof out, "%s/run", rt_test_dir());
        snprintf(budget, sizeof budget, "teacher.expert_budget=%lld", i ? (long long)(capacities[i] * EXPERT_BYTES + 1000) : 0);
        checkpoints[i] = RT_TINY_RUN(out, path, budget, "schedule.steps=4", "run.threads=2");
        json_t *records = rt_log_records(out, "experts");
        CU_ASSERT_EQUAL(json_array_size(records), 1);
        used[i] = check_record(json_array_get(records, 0), capacities[i]);
        json_decref(records);
    }
    CU_ASSERT_TRUE(used[0] > 4 * 2 * 2 * EXPERTS / 2 && used[0] == used[1] && used[0] == used[2]);
    rt_same_checkpoint(checkpoints[0], checkpoints[1], NULL);
    rt_same_checkpoint(checkpoints[0], checkpoints[2], NULL);

    rt_run stored = RT_PROGRAM(NULL, "eval", checkpoints[1], "--json", "-"), asked = RT_PROGRAM(NULL, "eval", checkpoints[1], "--json", "-", "--expert-budget", "13000"), small = RT_PROGRAM(NULL, "eval", checkpoints[1], "--expert-budget", "10000");
    rt_error err = {0};
    json_t *a = NULL, *b = NULL;
    RT_OK_OR_FAIL(rt_json_parse(stored.out.data, stored.out.size, "eval", &a, &err));
    RT_OK_OR_FAIL(rt_json_parse(asked.out.data, asked.out.size, "eval", &b, &err));
    CU_ASSERT_EQUAL(check_record(json_object_get(a, "teacher_experts"), 3), check_record(json_object_get(b, "teacher_experts"), 1));
    RT_CHECK(small.code == 2 && strstr(small.err.data, "expected at least 12288"), "exit %d: %s", small.code, small.err.data); /* 3 x 32 x 32 in f32: the student's */
    CU_ASSERT_EQUAL(number(json_object_get(a, "experts"), "experts"), 2 * 4); /* the student's own */
    CU_ASSERT_EQUAL(number(json_object_get(b, "experts"), "capacity"), 1);
    CU_ASSERT_TRUE(json_equal(json_object_get(a, "kl"), json_object_get(b, "kl")) && json_equal(json_object_get(a, "ce"), json_object_get(b, "ce")));
    json_decref(a), json_decref(b);
    rt_run_free(&stored), rt_run_free(&asked), rt_run_free(&small);
}

static void too_small_a_budget_is_refused(void) {
    char path[700];
    rt_error err = {0};
    rt_trainer *t = NULL;
    rt_job job;
    snprintf(path, sizeof path, "teacher.path=%s", teacher());
    RT_TINY_JOB(&job, NULL, path, "teacher.expert_budget=9215");
    CU_ASSERT_EQUAL(rt_trainer_open(&t, &job, 0, &err), RT_E_CONFIG);
    RT_CHECK(strcmp(err.text, "teacher.expert_budget: found an expert budget of 9215 bytes, expected at least 9216, the bytes of one expert") == 0, "%s", err.text);
    rt_job_free(&job);
    rt_error_clear(&err);
    RT_TINY_JOB(&job, NULL, "teacher.expert_budget=1MiB"); /* its teacher is dense */
    CU_ASSERT_EQUAL(rt_trainer_open(&t, &job, 0, &err), RT_E_CONFIG);
    RT_CHECK(strstr(err.text, "teacher.expert_budget: ") && strstr(err.text, "the model has no experts"), "%s", err.text);
    rt_job_free(&job);
}

static void commands_take_a_budget(void) {
    char path[700], job[700];
    snprintf(path, sizeof path, "teacher.path=%s", teacher());
    snprintf(job, sizeof job, "%s", rt_tiny_files()->yaml);
    const char *const free_text[] = {"generate", teacher(), "--prompt", "the", "--tokens", "5", "--greedy", NULL};
    const char *const bound_text[] = {"generate", teacher(), "--prompt", "the", "--tokens", "5", "--greedy", "--expert-budget", "20000", NULL};
    rt_run a = rt_program(NULL, free_text), b = rt_program(NULL, bound_text);
    RT_CHECK(a.code == 0 && b.code == 0 && a.out.size > 3 && strcmp(a.out.data, b.out.data) == 0, "generate: exit %d: %s", b.code, b.err.data);
    CU_ASSERT_TRUE(strstr(b.err.data, "experts: 16 experts of ") && strstr(b.err.data, "at most 2 present") && !strstr(a.err.data, "present"));
    rt_run_free(&a), rt_run_free(&b);
    rt_run small = RT_PROGRAM(NULL, "generate", teacher(), "--expert-budget", "9000"), plan = RT_PROGRAM(NULL, "show", "plan", job, "--set", path, "teacher.expert_budget=30000");
    RT_CHECK(small.code == 2 && strstr(small.err.data, "expected at least 9216"), "exit %d: %s", small.code, small.err.data);
    RT_CHECK(plan.code == 0 && strstr(plan.out.data, "teacher's experts: 16 experts of 9.0 KiB, at most 3 present"), "exit %d: %s", plan.code, plan.out.data);
    rt_run_free(&small), rt_run_free(&plan);
}

RT_SUITE(expert_job) {
    RT_TEST(a_run_has_the_same_bits_in_any_budget);
    RT_TEST(too_small_a_budget_is_refused);
    RT_TEST(commands_take_a_budget);
}
