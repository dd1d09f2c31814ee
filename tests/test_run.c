/* test_run.c - whole runs: resuming, evaluation and training, and everything that must not change a bit. */
#include "tiny_job.h"
#include <retort/base/file.h>
#include <retort/base/threads.h>
#include <retort/train/run.h>
#include <stdio.h>
#include <string.h>

static char *fresh(char out[512]) {
    snprintf(out, 512, "%s/run", rt_test_dir());
    return out;
}

/* The student as a mixture of slices of the teacher's feed-forward layers. */
static const char *upcycled(void) {
    static char text[900];
    snprintf(text, sizeof text, "student={init: upcycle, from: '%s', hidden_size: 0, ffn_size: 0, experts: 8, experts_per_token: 4, granularity: 2, upcycle_noise: 0.01}",
             rt_tiny_files()->teacher);
    return text;
}
#define QWEN3_MOE "student={arch: qwen3_moe, head_dim: 12, rope_theta: 1e6}"

/* ------------------------------------------------------------------ resume */

static void same_records(const char *a, const char *b, const char *kind, size_t at_least) {
    json_t *x = rt_log_records(a, kind), *y = rt_log_records(b, kind);
    RT_CHECK(json_array_size(x) >= at_least && json_equal(x, y), "%s: %zu records '%s', %s: %zu", a, json_array_size(x), kind, b, json_array_size(y));
    json_decref(x), json_decref(y);
}

static void resumed(const char *variant) {
    char whole[512], parts[512];
    const char *a = RT_TINY_RUN(fresh(whole), variant);
    const char *half = RT_TINY_RUN(fresh(parts), variant, "run.stop_after=20");
    RT_CHECK(strstr(half, "step-00000020"), "%s", half);
    const char *b = RT_TINY_RESUME(parts, variant);
    RT_CHECK(strstr(a, "step-00000040") && strstr(b, "step-00000040"), "%s, %s", a, b);
    rt_same_checkpoint(a, b, NULL);
    same_records(whole, parts, "step", RT_TINY_STEPS);
    same_records(whole, parts, "eval", 4);
    same_records(whole, parts, "routing", 10);
}
static void twenty_and_twenty_are_forty(void) { resumed("run.seed=1"); }
static void twenty_and_twenty_are_forty_factored(void) { resumed("projector.kind=factored"); }
static void twenty_and_twenty_are_forty_in_bf16(void) { resumed("precision.student=bf16"); }
static void twenty_and_twenty_are_forty_recomputed(void) { resumed("run.recompute=yes"); }

static void twenty_and_twenty_are_forty_of_qwen3_moe(void) { resumed(QWEN3_MOE); }
static void twenty_and_twenty_are_forty_upcycled(void) { resumed(upcycled()); }

static void a_finished_run_can_be_resumed(void) {
    char out[512], first[4096];
    snprintf(first, sizeof first, "%s", RT_TINY_RUN(fresh(out), "schedule.steps=3", "schedule.warmup=0"));
    const char *again = RT_TINY_RESUME(out, "schedule.steps=3", "schedule.warmup=0");
    CU_ASSERT_STRING_EQUAL(first, again);
}

/* -------------------------------------------- what changes nothing at all */

/* A run of six steps in the variant, beside the plain one. */
static void no_difference(const char *const *sets, const char *except) {
    static char base[4096];
    char out[512];
    if (!*base) snprintf(base, sizeof base, "%s", RT_TINY_RUN(fresh(out), "run.stop_after=6", "projector.kind=factored"));
    const char *all[8] = {"run.stop_after=6", "projector.kind=factored"};
    for (int i = 0; sets[i]; i++) all[2 + i] = sets[i];
    rt_same_checkpoint(base, rt_tiny_run(false, fresh(out), all), except);
}
#define NO_DIFFERENCE(except, ...) no_difference((const char *const[]){__VA_ARGS__, NULL}, except)

static void the_number_of_threads_changes_no_bit(void) {
    NO_DIFFERENCE(NULL, "run.threads=2");
    NO_DIFFERENCE(NULL, "run.threads=3");
}
static void threads_of(const char *variant) {
    char one[512], many[512], first[4096];
    snprintf(first, sizeof first, "%s", RT_TINY_RUN(fresh(one), variant, "run.stop_after=6"));
    rt_same_checkpoint(first, RT_TINY_RUN(fresh(many), variant, "run.stop_after=6", "run.threads=3", "run.recompute=yes"), NULL);
}
static void threads_and_recomputation_change_no_bit_of_other_students(void) {
    threads_of(QWEN3_MOE);
    threads_of(upcycled());
}
static void recomputation_changes_no_bit(void) { NO_DIFFERENCE(NULL, "run.recompute=yes"); }
/* state.json holds the averages that are then missing. */
static void tracing_changes_no_weight(void) { NO_DIFFERENCE("state.json", "run.trace=no"); }
/* state.json holds which evaluation was the best. */
static void evaluation_changes_nothing(void) { NO_DIFFERENCE("state.json", "run.eval_every=1"); }
static void saving_and_the_console_change_nothing(void) { NO_DIFFERENCE(NULL, "run.save_every=1", "run.log_every=1", "run.keep=1"); }
static void packing_memory_changes_no_bit(void) {
    NO_DIFFERENCE(NULL, "teacher.pack_budget=1");
    NO_DIFFERENCE(NULL, "teacher.cache_panels=yes");
    NO_DIFFERENCE("teacher.cache_panels=yes", "teacher.pack_budget=1");
}

/* ------------------------------------------------------------ accumulation */

/* Gradients then lie in the plan, where the teacher and evaluations leave their own values. */
static void one_micro_batch_is_the_same_whatever_runs_between(void) {
    static const char *const between[] = {"run.eval_every=1", "run.recompute=yes", "run.threads=3"};
    char one[512], out[512], base[4096];
    snprintf(base, sizeof base, "%s", RT_TINY_RUN(fresh(one), "data.accumulate=1", "run.stop_after=6", "projector.kind=factored"));
    for (int i = 0; i < 3; i++)
        rt_same_checkpoint(base, RT_TINY_RUN(fresh(out), "data.accumulate=1", "run.stop_after=6", "projector.kind=factored", between[i]), i ? NULL : "state.json");
}

static rt_trainer *opened(rt_job *job) {
    rt_error err = {0};
    rt_trainer *t = NULL;
    rt_threads_set((int)job->run.threads);
    RT_OK_OR_FAIL(rt_trainer_open(&t, job, 0, &err));
    RT_OK_OR_FAIL(rt_trainer_begin(t, NULL, NULL, &err));
    return t;
}
static rt_step_report stepped(rt_trainer *t) {
    rt_error err = {0};
    rt_step_report r = {0};
    RT_OK_OR_FAIL(rt_trainer_step(t, &r, &err));
    return r;
}

/* Squared length of a and of a - b, over all gradients. */
static void compare_gradients(const rt_weights *a, const rt_weights *b, double *length, double *difference) {
    *length = *difference = 0;
    for (int64_t i = 0; i < a->count; i++)
        for (int64_t k = 0; k < rt_tensor_count(&a->slots[i].t); k++) {
            double x = rt_get(&a->slots[i].t, k), d = x - rt_get(&b->slots[i].t, k);
            *length += x * x, *difference += d * d;
        }
}

/* The balance loss is of one micro-batch, by definition; all others are sums over the whole step. */
static void one_by_eight_is_eight_by_one(void) {
    static const char *const objective = "objective=[{loss: forward_kl, weight: 0.7, temperature: 2}, {loss: next_token, weight: 0.3}, "
                                         "{loss: router_z, weight: 0.1}]";
    rt_job wide, long_one;
    RT_TINY_JOB(&wide, NULL, objective, "data.batch=8", "data.accumulate=1", "projector.kind=factored");
    RT_TINY_JOB(&long_one, NULL, objective, "data.batch=1", "data.accumulate=8", "projector.kind=factored");
    rt_trainer *a = opened(&wide), *b = opened(&long_one);
    rt_step_report x = stepped(a), y = stepped(b);
    double length, difference;
    compare_gradients(&a->student.grads, &b->student.grads, &length, &difference);
    CU_ASSERT_EQUAL(x.tokens, y.tokens);
    CU_ASSERT_DOUBLE_EQUAL(x.total, y.total, 1e-6 * x.total);
    RT_CHECK(length > 0 && difference < 1e-10 * length, "gradients of squared length %g differ by %g", length, difference);
    rt_trainer_close(a), rt_trainer_close(b);
    rt_job_free(&wide), rt_job_free(&long_one);
}

/* -------------------------------------------------- evaluation and training */

/* The first batch of the validation windows, as training would run it. */
static void train_forward(rt_trainer *t, rt_batch *b) {
    rt_error err = {0};
    RT_OK_OR_FAIL(rt_batch_create(b, t->job->data.batch, t->job->data.sequence_length, &err));
    rt_batch_fill_from(b, &t->valid_windows, 0);
    RT_OK_OR_FAIL(rt_forward_run(&t->teacher, b, &err));
    RT_OK_OR_FAIL(rt_projection_run(t->projection, b->targets, 0, &err));
    RT_OK_OR_FAIL(rt_step_graph_run(&t->graph, b, &err));
    rt_measures_reset(&t->measures);
    rt_measures_add(&t->measures, &t->graph, b);
}

static void the_same_digits(const char *variant) {
    rt_error err = {0};
    rt_job job;
    rt_batch b;
    rt_evaluation v;
    RT_TINY_JOB(&job, NULL, variant, "projector.kind=factored");
    rt_trainer *t = opened(&job);
    for (int i = 0; i < 3; i++) stepped(t);
    train_forward(t, &b);
    rt_windows first = t->valid_windows;
    if (first.count > b.windows) first.count = b.windows;
    RT_OK_OR_FAIL(rt_evaluator_run(t->evaluator, &first, 0, &v, &err));
    CU_ASSERT_EQUAL(v.tokens, b.supervised);
    CU_ASSERT_EQUAL(v.kl, rt_measures_term(&t->measures, 0));
    CU_ASSERT_EQUAL(v.ce, rt_measures_term(&t->measures, 1));
    CU_ASSERT_EQUAL(v.router_z, rt_measures_router_z(&t->measures));
    CU_ASSERT_EQUAL(v.balance, rt_measures_balance(&t->measures));
    RT_CHECK(v.kl > 0.1 && v.ce > 1 && v.router_z > 0, "kl %g, ce %g, z %g", v.kl, v.ce, v.router_z);
    rt_batch_free(&b);
    rt_trainer_close(t);
    rt_job_free(&job);
}
static void evaluation_has_the_bits_of_training(void) {
    the_same_digits("run.seed=2");
    the_same_digits("precision.student=bf16");
    the_same_digits("precision.student=f16");
    the_same_digits("run.recompute=yes");
    the_same_digits(QWEN3_MOE);
    the_same_digits(upcycled());
}

/* What a standalone evaluation opens: files of the checkpoint, nothing of the run that made it. */
typedef struct standalone {
    rt_frozen student, teacher;
    rt_forward forward;
    rt_projector *projector;
    rt_evaluator *evaluator;
} standalone;
static void open_standalone(standalone *s, const char *checkpoint, const rt_trainer *t) {
    rt_error err = {0};
    char path[4200];
    RT_OK_OR_FAIL(rt_frozen_open(&s->student, checkpoint, RT_ACTIVATIONS_STORED, &err));
    RT_OK_OR_FAIL(rt_frozen_open(&s->teacher, rt_tiny_files()->teacher, RT_ACTIVATIONS_NATIVE, &err));
    CU_ASSERT_TRUE(s->student.stored && rt_precision_equal(&s->student.precision, &t->student.precision));
    rt_forward_options f = {.name = "teacher", .windows = RT_TINY_BATCH, .T = RT_TINY_T};
    RT_OK_OR_FAIL(rt_forward_open(&s->forward, &s->teacher.weights, &s->teacher.precision, &f, &err));
    rt_projector_options p = {.kind = RT_PROJECTOR_FACTORED, .teacher = &s->teacher.weights, .teacher_precision = &s->teacher.precision,
                              .student = &s->student.weights, .vocab = RT_TINY_VOCAB};
    RT_OK_OR_FAIL(rt_projector_open(&s->projector, &p, &err));
    snprintf(path, sizeof path, "%s/projector.safetensors", checkpoint);
    RT_OK_OR_FAIL(rt_projector_load(s->projector, path, &err));
    RT_OK_OR_FAIL(rt_projector_refresh(s->projector, &err));
    rt_evaluator_options e = {.weights = &s->student.weights, .precision = &s->student.precision, .teacher = &s->forward, .projector = s->projector,
                              .windows = RT_TINY_BATCH, .T = RT_TINY_T, .vocab = RT_TINY_VOCAB, .temperature = 2, .trace = true, .router = t->router,
                              .states = t->router_states};
    RT_OK_OR_FAIL(rt_evaluator_open(&s->evaluator, &e, &err));
}
static void close_standalone(standalone *s) {
    rt_evaluator_close(s->evaluator);
    rt_projector_close(s->projector);
    rt_forward_close(&s->forward);
    rt_frozen_close(&s->teacher), rt_frozen_close(&s->student);
}

static void evaluated_alone(const char *variant) {
    char out[512];
    rt_error err = {0};
    rt_job job;
    rt_evaluation v;
    const char *checkpoint = RT_TINY_RUN(fresh(out), variant, "projector.kind=factored", "run.stop_after=10");
    RT_TINY_JOB(&job, NULL, variant, "projector.kind=factored");
    rt_trainer *t = opened(&job); /* for its windows and router alone */
    standalone s;
    open_standalone(&s, checkpoint, t);
    RT_OK_OR_FAIL(rt_evaluator_run(s.evaluator, &t->valid_windows, 0, &v, &err));
    json_t *logged = rt_log_records(out, "eval"), *own = rt_evaluator_json(s.evaluator, &v), *value;
    const char *key;
    CU_ASSERT_TRUE(json_object_size(own) > 20);
    json_object_del(own, "tokens_per_s");
    json_object_foreach(own, key, value)
        RT_CHECK(json_equal(value, json_object_get(json_array_get(logged, 0), key)), "%s: '%s' differs from the trainer's", variant, key);
    json_decref(own), json_decref(logged);
    close_standalone(&s);
    rt_trainer_close(t);
    rt_job_free(&job);
}
static void a_checkpoint_evaluates_to_the_trainers_digits(void) {
    evaluated_alone("run.seed=3");
    evaluated_alone("precision.student=bf16");
    evaluated_alone(QWEN3_MOE);
    evaluated_alone(upcycled());
}

/* ------------------------------------------------------ memory and the teacher */

static void nothing_is_allocated_after_planning(void) {
    static const char *const variants[] = {"projector.kind=shared", "projector.kind=factored", "precision.student=bf16"};
    for (int i = 0; i < 3; i++) {
        rt_error err = {0};
        rt_job job;
        rt_evaluation v;
        RT_TINY_JOB(&job, NULL, variants[i]);
        rt_trainer *t = opened(&job);
        stepped(t); /* packs the teacher's weights */
        RT_OK_OR_FAIL(rt_trainer_evaluate(t, &v, &err));
        rt_mem_stats before = rt_mem_stats_get();
        for (int k = 0; k < 3; k++) stepped(t);
        RT_OK_OR_FAIL(rt_trainer_evaluate(t, &v, &err));
        stepped(t);
        rt_mem_stats after = rt_mem_stats_get();
        RT_CHECK(after.calls == before.calls, "%s: %lld allocations in four steps and an evaluation", variants[i], (long long)(after.calls - before.calls));
        rt_trainer_close(t);
        rt_job_free(&job);
    }
}

static void the_teacher_and_what_is_borrowed_stay_as_they_are(void) {
    rt_error err = {0};
    rt_job job;
    rt_hf_hash after;
    RT_TINY_JOB(&job, NULL, "projector.kind=factored", "precision.student=bf16");
    rt_trainer *t = opened(&job);
    rt_tensor embedding = t->student.weights.slots[0].t, head = t->student.weights.slots[t->student.weights.count - 1].t;
    const rt_tensor *matrix = rt_projector_matrix(t->projector);
    const void *place = matrix->data;
    for (int i = 0; i < 3; i++) stepped(t);
    RT_OK_OR_FAIL(rt_hf_content_hash(t->teacher_files.files, &after, &err));
    CU_ASSERT_STRING_EQUAL(t->teacher_hash.hex, after.hex);
    const rt_tensor *e = &t->student.weights.slots[0].t, *h = &t->student.weights.slots[t->student.weights.count - 1].t;
    CU_ASSERT_TRUE(e->dtype == RT_BF16 && e->data == embedding.data && h->dtype == RT_BF16 && h->data == head.data);
    CU_ASSERT_TRUE(matrix->dtype == RT_F16 && matrix->data == place && rt_projector_matrix(t->projector) == matrix);
    CU_ASSERT_TRUE(t->teacher_files.weights.slots[0].t.data == rt_hf_weight(t->teacher_files.files, 0)->data);
    for (int64_t i = 0; i < t->teacher_files.weights.count; i++) CU_ASSERT_EQUAL(t->teacher_files.weights.slots[i].t.dtype, RT_F16);
    rt_trainer_close(t);
    rt_job_free(&job);
}

/* ------------------------------------------------------------- loss curve */

/* Totals of the first steps, as of the commit that introduced this test: a change of any number on the way from text to
 * gradient shows here. */
static const double golden[20] = {3.22381748, 3.19820841, 3.15778086, 3.09714071, 3.01466932, 2.93565413, 2.87616367, 2.80114877, 2.75532244, 2.66819265,
                                  2.61556279, 2.55067006, 2.50854047, 2.44305470, 2.37297259, 2.42811721, 2.39707080, 2.31028361, 2.26922188, 2.25689484};
static void the_loss_curve_is_the_stored_one(void) {
    rt_job job;
    RT_TINY_JOB(&job, NULL, "run.seed=1");
    rt_trainer *t = opened(&job);
    for (int i = 0; i < 20; i++) {
        rt_step_report r = stepped(t);
        RT_CHECK(r.total > golden[i] * (1 - 1e-4) && r.total < golden[i] * (1 + 1e-4), "step %d: total %.8f, stored %.8f", i + 1, r.total, golden[i]);
    }
    rt_trainer_close(t);
    rt_job_free(&job);
}

static void what_is_learned_shows(void) {
    char out[512];
    RT_TINY_RUN(fresh(out));
    json_t *evals = rt_log_records(out, "eval");
    double first = json_number_value(json_object_get(json_array_get(evals, 0), "kl_t1")), last = json_number_value(json_object_get(json_array_get(evals, 3), "kl_t1"));
    RT_CHECK(last > 0 && last < first, "KL to the teacher went from %g to %g", first, last);
    json_decref(evals);
}

RT_SUITE(run) {
    RT_TEST(twenty_and_twenty_are_forty);
    RT_TEST(twenty_and_twenty_are_forty_factored);
    RT_TEST(twenty_and_twenty_are_forty_in_bf16);
    RT_TEST(twenty_and_twenty_are_forty_recomputed);
    RT_TEST(twenty_and_twenty_are_forty_of_qwen3_moe);
    RT_TEST(twenty_and_twenty_are_forty_upcycled);
    RT_TEST(a_finished_run_can_be_resumed);
    RT_TEST(the_number_of_threads_changes_no_bit);
    RT_TEST(threads_and_recomputation_change_no_bit_of_other_students);
    RT_TEST(recomputation_changes_no_bit);
    RT_TEST(tracing_changes_no_weight);
    RT_TEST(evaluation_changes_nothing);
    RT_TEST(saving_and_the_console_change_nothing);
    RT_TEST(packing_memory_changes_no_bit);
    RT_TEST(one_micro_batch_is_the_same_whatever_runs_between);
    RT_TEST(one_by_eight_is_eight_by_one);
    RT_TEST(evaluation_has_the_bits_of_training);
    RT_TEST(a_checkpoint_evaluates_to_the_trainers_digits);
    RT_TEST(nothing_is_allocated_after_planning);
    RT_TEST(the_teacher_and_what_is_borrowed_stay_as_they_are);
    RT_TEST(the_loss_curve_is_the_stored_one);
    RT_TEST(what_is_learned_shows);
}
