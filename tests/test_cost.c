/* test_cost.c - what a job is said to take before it runs, against what it takes; and the refusal of what does not fit.
 */
#include "program.h"
#include "tiny_job.h"
#include <retort/base/file.h>
#include <retort/base/room.h>
#include <retort/train/cost.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { WORDS = 26 };
typedef struct small_job {
    const char *name, *sets[10];
} small_job;
/* From about 120 to 400 MiB. */
#define WIDE                                                                                                           \
    "student.hidden_size=256", "student.layers=4", "student.heads=8", "student.kv_heads=4", "student.ffn_size=512",    \
        "student.experts=8"
static const small_job jobs[] = {
    {"mixture", {WIDE, "data.sequence_length=64", "data.batch=16"}},
    {"recomputed", {WIDE, "data.sequence_length=64", "data.batch=16", "run.recompute=yes"}},
    {"bf16, two threads", {WIDE, "data.sequence_length=64", "precision.student=bf16", "run.threads=2"}},
    {"factored projector", {WIDE, "data.batch=32", "projector.kind=factored"}}};

/* -------------------------------------------------------- against real runs */

static int words(const small_job *j, const char *out[WORDS], const char *const *first, const char *const *more) {
    int n = 0;
    while (*first) out[n++] = *first++;
    out[n++] = "--set", out[n++] = "schedule.steps=2", out[n++] = "schedule.warmup=1", out[n++] = "run.eval_tokens=32";
    for (int i = 0; i < 10 && j->sets[i]; i++) out[n++] = j->sets[i];
    while (more && *more) out[n++] = *more++;
    out[n] = NULL;
    return n;
}
static rt_run run_words(const small_job *j, const char *const *first, const char *const *more) {
    const char *argv[WORDS];
    words(j, argv, first, more);
    return rt_program(NULL, argv);
}
#define FIRST(...) ((const char *const[]){__VA_ARGS__, NULL})

static double planned(const small_job *j, const char *key, const char *const *more) {
    rt_run r = run_words(j, FIRST("show", "plan", rt_tiny_files()->yaml, "--fast", "--json"), more);
    json_t *o = json_loads(r.out.data ? r.out.data : "", 0, NULL);
    double x = (double)json_integer_value(json_object_get(json_object_get(o, "memory"), key));
    RT_CHECK(r.code == 0 && x > 0, "%s: show plan: exit %d: %s", j->name, r.code, r.err.data);
    json_decref(o);
    rt_run_free(&r);
    return x;
}
#ifndef __SANITIZE_ADDRESS__
/* VmHWM as the system has it, up to the end: what wait says of a child that was spawned has its parent's memory in it.
 */
static double peak_of(rt_started *s) {
    char path[64], line[256];
    double peak = 0;
    snprintf(path, sizeof path, "/proc/%d/status", s->pid);
    for (bool lives = true; lives; usleep(2000)) {
        FILE *f = fopen(path, "r");
        for (lives = false; f && fgets(line, sizeof line, f);)
            if (strncmp(line, "VmHWM:", 6) == 0) peak = 1024 * strtod(line + 6, NULL), lives = true;
        if (f) fclose(f);
    }
    return peak;
}
static double taken(const small_job *j) {
    const char *argv[WORDS];
    char out[600];
    snprintf(out, sizeof out, "%s/run", rt_test_dir());
    words(j, argv, FIRST("distill", rt_tiny_files()->yaml, "--quiet", "--out", out), NULL);
    rt_started s = rt_program_start(NULL, argv);
    double peak = s.pid > 0 ? peak_of(&s) : 0;
    rt_run r = rt_program_end(&s);
    RT_CHECK(r.code == 0, "%s: exit %d: %s", j->name, r.code, r.err.data);
    rt_run_free(&r);
    return peak;
}
static void memory_is_predicted_within_five_percent(void) {
    for (size_t i = 0; i < sizeof jobs / sizeof *jobs; i++) {
        double said = planned(&jobs[i], "peak", NULL), took = taken(&jobs[i]);
        RT_CHECK(took > 100e6, "%s: %.1f MB are too few to say much", jobs[i].name, took * 1e-6);
        RT_CHECK(fabs(said / took - 1) < 0.05, "%s: %.1f MiB were predicted, %.1f MiB taken", jobs[i].name,
                 said / 1048576, took / 1048576);
    }
}
#endif

/* ---------------------------------------------------------------- refusals */

/* The first way that a refusal names, as words for --set. */
static int ways_of(char *text, const char *out[8]) {
    char *at = text ? strstr(text, "it would fit with: ") : NULL;
    int n = 0;
    if (!at) return 0;
    at += strlen("it would fit with: ");
    char *end = strstr(at, " (");
    if (end) *end = 0;
    for (char *word = strtok(at, " "); word && n < 7; word = strtok(NULL, " ")) out[n++] = word;
    out[n] = NULL;
    return n;
}

static void what_does_not_fit_is_refused_and_told_what_would(void) {
    static const char *const smallest[] = {"run.recompute=yes", "data.batch=1", "data.accumulate=16", "data.sequence_length=32", NULL};
    double needs = planned(&jobs[0], "needed", NULL), least = planned(&jobs[0], "needed", smallest);
    static const double shares[] = {0.1, 0.5, 0.9}; /* of the way from the one to the other, whatever the process itself takes */
#ifdef __SANITIZE_ADDRESS__
    enum { LIMITS = 1 }; /* the sanitizer keeps what was freed, so the sketches themselves grow the process */
#else
    enum { LIMITS = 3 };
#endif
    for (int i = 0; i < LIMITS; i++) {
        char limit[64], out[600];
        const char *ways[9] = {NULL}, *more[] = {limit, NULL};
        snprintf(limit, sizeof limit, "run.memory_limit=%.0f", needs - shares[i] * (needs - least));
        snprintf(out, sizeof out, "%s/refused", rt_test_dir());
        rt_run r = run_words(&jobs[0], FIRST("distill", rt_tiny_files()->yaml, "--quiet", "--out", out), more);
        RT_CHECK(r.code == 5 && strstr(r.err.data, "granted by run.memory_limit") && !rt_dir_exists(out), "exit %d: %s",
                 r.code, r.err.data);
        RT_CHECK(strchr(r.err.data, '\n') == r.err.data + r.err.size - 1, "not one line: %s", r.err.data);
        int n = ways_of(r.err.data, ways);
        RT_CHECK(n > 0, "nothing that would fit in %s: %s", limit, r.err.data);
        ways[n] = limit;
        if (n > 0) planned(&jobs[0], "needed", ways); /* exit 0 */
        rt_run_free(&r);
    }
}
static void show_plan_prints_and_refuses(void) {
    const char *tiny[] = {"run.memory_limit=1MiB", NULL}, *none[] = {"run.memory_limit=0", NULL};
    rt_run r = run_words(&jobs[0], FIRST("show", "plan", rt_tiny_files()->yaml, "--fast"), tiny);
    RT_CHECK(r.code == 5 && strstr(r.out.data, "peak, resident") && strstr(r.err.data, "smaller student"),
             "exit %d: %s", r.code, r.err.data);
    rt_run_free(&r);
    r = run_words(&jobs[0], FIRST("show", "plan", rt_tiny_files()->yaml, "--fast"), none);
    RT_CHECK(r.code == 0, "run.memory_limit=0: exit %d: %s", r.code, r.err.data);
    rt_run_free(&r);
}

#ifndef __SANITIZE_ADDRESS__
/* As a shell's ulimit bounds it: refused by us, in words, not by an allocation on the way. */
static void limits_of_the_process_are_seen(void) {
    static const char *const limits[][2] = {{"-v 700000", "ulimit -v"}, {"-d 350000", "ulimit -d"}};
    for (int i = 0; i < 2; i++) {
        char command[2000], text[1024] = "";
        snprintf(command, sizeof command,
                 "ulimit %s; exec timeout 60 '%s/retort' train --quiet --data '%s' --out '%s/u' --set "
                 "data.tokenizer='%s' student.vocab_size=0 "
                 "student.hidden_size=512 student.layers=6 student.heads=8 student.kv_heads=4 student.ffn_size=1024 "
                 "data.sequence_length=32 2>&1",
                 limits[i][0], RT_BINARY_DIR, rt_tiny_files()->train, rt_test_dir(), rt_tiny_files()->teacher);
        FILE *f = popen(command, "r");
        size_t n = f ? fread(text, 1, sizeof text - 1, f) : 0;
        int status = f ? pclose(f) : -1;
        text[n] = 0;
        RT_CHECK(status == 5 << 8 && strstr(text, limits[i][1]), "%s: status %d: %s", limits[i][0], status, text);
    }
}
#endif

/* ---------------------------------------------------------------- sketches */

static void same_plan(const char *name, const rt_graph *a, const rt_graph *b) {
    rt_graph_stats x = rt_graph_stats_get(a), y = rt_graph_stats_get(b);
    RT_CHECK(memcmp(&x, &y, sizeof x) == 0 && x.arena_bytes > 0, "%s: a sketch has another plan", name);
}
static void a_sketch_plans_what_is_run(void) {
    rt_job job;
    rt_trainer *sketch, *real;
    rt_error err = {0};
    RT_TINY_JOB(&job, NULL, "projector.kind=factored");
    RT_OK_OR_FAIL(rt_trainer_sketch(&sketch, &job, 0, &err));
    RT_OK_OR_FAIL(rt_trainer_open(&real, &job, 0, &err));
    same_plan("training", sketch->graph.g, real->graph.g);
    same_plan("evaluation", rt_evaluator_graph(sketch->evaluator), rt_evaluator_graph(real->evaluator));
    same_plan("teacher", sketch->teacher.g, real->teacher.g);
    same_plan("projector", rt_projection_graph(sketch->projection), rt_projection_graph(real->projection));
    rt_student_bytes a = rt_student_memory(&sketch->student), b = rt_student_memory(&real->student);
    CU_ASSERT_EQUAL(memcmp(&a, &b, sizeof a), 0);
    CU_ASSERT_EQUAL(b.weights, (int64_t)real->student.weights.block_bytes);
    CU_ASSERT_EQUAL(b.moments, (int64_t)(real->student.m.block_bytes + real->student.v.block_bytes));
    CU_ASSERT_EQUAL(rt_projector_bytes(sketch->projector), rt_projector_bytes(real->projector));
    double guess = (double)sketch->estimate.train_tokens,
           count = (double)(real->data.train.end - real->data.train.begin);
    RT_CHECK(fabs(guess / count - 1) < 0.1, "%.0f tokens guessed, %.0f there", guess, count);
    rt_trainer_close(real), rt_trainer_close(sketch);
    rt_job_free(&job);
}
/* Five billion weights are planned in less memory than sixteen million would take. */
static void a_sketch_takes_no_memory(void) {
    rt_job job;
    rt_trainer *t;
    rt_error err = {0};
    rt_cost_memory m;
    RT_TINY_JOB(&job, NULL, "student.hidden_size=2048", "student.layers=24", "student.heads=16", "student.kv_heads=16",
                "student.ffn_size=2048", "student.experts=16", "data.batch=64");
    rt_mem_peak_reset();
    int64_t before = rt_mem_stats_get().live_bytes;
    RT_OK_OR_FAIL(rt_trainer_sketch(&t, &job, 0, &err));
    RT_OK_OR_FAIL(rt_cost_memory_of(t, &m, &err));
    int64_t took = rt_mem_stats_get().peak_bytes - before;
    RT_CHECK(took < 64 << 20, "%lld bytes were taken", (long long)took);
    RT_CHECK(m.weights > (int64_t)16 << 30 && m.moments == 2 * m.weights,
             "%lld bytes of weights", (long long)m.weights);
    RT_CHECK(m.peak > 3 * m.weights + m.plans, "%lld bytes at most", (long long)m.peak);
    CU_ASSERT_EQUAL(rt_cost_fits(t, 0, &err), RT_E_NOMEM);
    rt_trainer_close(t);
    rt_job_free(&job);
}
static void a_sketch_survives_failing_allocations(void) {
    bool done = false;
    for (int64_t n = 1; !done && n < 100000;
         n += 1 + n / 16) { /* all kinds of places, not every one: each time takes a tokenizer */
        rt_job job;
        rt_trainer *t;
        rt_error err = {0};
        rt_cost_memory m;
        RT_TINY_JOB(&job, NULL, "projector.kind=factored", "run.memory_limit=16MiB");
        int64_t blocks = rt_mem_stats_get().live_blocks;
        rt_mem_fail_at(n);
        rt_status s = rt_trainer_sketch(&t, &job, 0, &err);
        if (s == RT_OK) s = rt_cost_memory_of(t, &m, &err);
        if (s == RT_OK) done = rt_cost_fits(t, 0, &err) == RT_E_NOMEM && strstr(err.text, "this job needs");
        rt_mem_fail_at(0);
        RT_CHECK(s == RT_OK || s == RT_E_NOMEM, "allocation %lld: %s", (long long)n, err.text);
        rt_trainer_close(t);
        RT_CHECK(rt_mem_stats_get().live_blocks == blocks, "allocation %lld: blocks are left", (long long)n);
        rt_job_free(&job);
    }
    CU_ASSERT_TRUE(done);
}

/* -------------------------------------------------------------------- time */

static rt_cost_time time_of(const rt_cost_rates *r, const char *set) {
    rt_job job;
    rt_trainer *t;
    rt_error err = {0};
    rt_cost_time time;
    RT_TINY_JOB(&job, NULL, set);
    RT_OK_OR_FAIL(rt_trainer_sketch(&t, &job, 0, &err));
    rt_cost_time_of(t, r, &time);
    rt_trainer_close(t);
    rt_job_free(&job);
    return time;
}
static double optimizer_of(const rt_cost_time *t) {
    for (int i = 0; i < t->roles; i++)
        if (strcmp(t->role[i].name, "optimizer") == 0) return t->role[i].seconds;
    return 0;
}
static void time_follows_work_and_rates(void) {
    rt_cost_rates one = {1e11, 1e10, 1e9, 0}, two = {2e11, 2e10, 2e9, 0};
    rt_cost_time a = time_of(&one, "run.seed=1"), fast = time_of(&two, "run.seed=1"),
                 twice = time_of(&one, "data.accumulate=4");
    rt_cost_time again = time_of(&one, "run.recompute=yes"), wider = time_of(&one, "student.hidden_size=64");
    double sum = 0;
    for (int i = 0; i < a.roles; i++) {
        sum += a.role[i].seconds;
        CU_ASSERT_TRUE(i == 0 || a.role[i].seconds <= a.role[i - 1].seconds);
    }
    RT_CHECK(fabs(sum / a.step - 1) < 1e-12 && a.step > 0 && a.run > a.step, "roles are %g s, the step %g s", sum,
             a.step);
    RT_CHECK(fabs(2 * fast.step / a.step - 1) < 1e-12, "twice the rates: %g s, %g s", a.step, fast.step);
    double tapes = a.step - optimizer_of(&a);
    RT_CHECK(fabs((twice.step - optimizer_of(&a)) / (2 * tapes) - 1) < 1e-12 && twice.tokens == 2 * a.tokens,
             "twice the micro-batches: %g s, %g s", a.step, twice.step);
    CU_ASSERT_TRUE(again.step > a.step && wider.step > a.step);
}
static void rates_are_measured(void) {
    rt_cost_rates r;
    rt_error err = {0};
    RT_OK_OR_FAIL(rt_cost_rates_measure(&r, &err));
    RT_CHECK(r.product > 1e8 && r.copy > 1e7 && r.exps > 1e6 && r.region < 1,
             "%g flops/s, %g bytes/s, %g exponentials/s, %g s", r.product, r.copy, r.exps, r.region);
}

/* --------------------------------------------------------------------- key */

static void the_limit_is_a_size_or_auto(void) {
    rt_job job, again;
    rt_error err = {0};
    RT_TINY_JOB(&job, NULL, "run.seed=1");
    CU_ASSERT_EQUAL(job.run.memory_limit, RT_MEMORY_AUTO);
    json_t *o = rt_job_json(&job);
    CU_ASSERT_STRING_EQUAL(json_string_value(json_object_get(json_object_get(o, "run"), "memory_limit")), "auto");
    RT_OK_OR_FAIL(rt_job_from_json(o, "job", &again, &err));
    CU_ASSERT_EQUAL(again.run.memory_limit, RT_MEMORY_AUTO);
    CU_ASSERT_TRUE(rt_cost_granted(&job) > 0 && rt_cost_granted(&job) < INT64_MAX);
    json_decref(o);
    rt_job_free(&again), rt_job_free(&job);
    RT_TINY_JOB(&job, NULL, "run.memory_limit=3GiB");
    CU_ASSERT_EQUAL(job.run.memory_limit, (int64_t)3 << 30);
    CU_ASSERT_EQUAL(rt_cost_granted(&job), (int64_t)3 << 30);
    rt_job_free(&job);
    const char *wrong[] = {"run.memory_limit=-1"};
    CU_ASSERT_EQUAL(rt_job_load(rt_tiny_files()->yaml, wrong, 1, &job, &err), RT_E_CONFIG);
    RT_CHECK(strstr(err.text, "a size such as 96MiB, or auto") != NULL, "%s", err.text);
}
static void room_is_read(void) {
    rt_room r = rt_room_now();
    CU_ASSERT_TRUE(r.machine > 0 && r.group > 0 && r.address_space > 0 && r.data > 0);
    CU_ASSERT_TRUE(rt_resident_now() > 1 << 20);
}

RT_SUITE(cost) {
#ifndef __SANITIZE_ADDRESS__ /* whose memory is not ours */
    RT_TEST(memory_is_predicted_within_five_percent);
    RT_TEST(limits_of_the_process_are_seen);
#endif
    RT_TEST(what_does_not_fit_is_refused_and_told_what_would);
    RT_TEST(show_plan_prints_and_refuses);
    RT_TEST(a_sketch_plans_what_is_run);
    RT_TEST(a_sketch_takes_no_memory);
    RT_TEST(a_sketch_survives_failing_allocations);
    RT_TEST(time_follows_work_and_rates);
    RT_TEST(rates_are_measured);
    RT_TEST(the_limit_is_a_size_or_auto);
    RT_TEST(room_is_read);
}
