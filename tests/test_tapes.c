/* test_tapes.c - training and evaluation of a job run one tape: the same nodes, the same terms, the same bits; only the
 * backward half, the mask of the terms and their temperatures differ. */
#include "harness.h"
#include <retort/base/file.h>
#include <retort/text/tokenizer_train.h>
#include <retort/train/trainer.h>
#include <stdio.h>
#include <string.h>

/* ---------------------------------------------------------------------- rig */

static const char text[] = "the cat sat on the mat and the dog sat on the log\n";

static void write_corpus(const char *dir) {
    rt_buf b = {0};
    char path[1024];
    for (int i = 0; i < 12; i++) rt_buf_printf(&b, "%d %s", i * 37, text);
    snprintf(path, sizeof path, "%s/corpus.txt", dir);
    CU_ASSERT_EQUAL(rt_file_write_atomic(path, b.data, b.size, NULL), RT_OK);
    rt_buf_free(&b);
}
/* A random f16 teacher with a tokenizer beside it. */
static void write_teacher(const char *dir) {
    rt_error err = {0};
    char corpus[1024];
    const char *paths[] = {corpus};
    int32_t vocab;
    rt_weights w;
    rt_tensor list[32];
    snprintf(corpus, sizeof corpus, "%s/corpus.txt", dir);
    RT_OK_OR_FAIL(rt_tokenizer_train(paths, 1, &(rt_corpus_options){.separator = "line"}, 0, 270, dir, &vocab, &err));
    rt_precision p = rt_precision_student(RT_F16);
    rt_model_config c = rt_model_config_default(rt_arch_find("llama"));
    c.vocab_size = vocab, c.hidden_size = 24, c.layers = 1, c.heads = c.kv_heads = 2, c.head_dim = 12, c.ffn_size = 16, c.max_position = 64;
    RT_OK_OR_FAIL(rt_weights_layout(&w, &c, &p, &err));
    RT_OK_OR_FAIL(rt_weights_alloc(&w, &err));
    rt_weights_init(&w, 3);
    for (int64_t i = 0; i < rt_weight_count(&c); i++) list[i] = rt_weights_get(&w, i, NULL);
    RT_OK_OR_FAIL(rt_hf_write(dir, &c, list, NULL, &err));
    rt_weights_free(&w);
}

/* A job by its assignments; the files are those of `dir`. */
typedef struct setup {
    const char *name;
    bool teacher;
    const char *sets[8];
} setup;
#define DISTILL "objective=[{loss: forward_kl, weight: 0.7, temperature: 2}, {loss: jsd, beta: 0.3}, {loss: next_token, weight: 0.3}, {loss: balance}, {loss: router_z}]"
#define DENSE "student.arch=llama", "objective=[{loss: forward_kl, temperature: 3}, {loss: next_token, label_smoothing: 0.1}]"
static const setup setups[] = {
    {"shared", true, {DISTILL}},
    {"factored", true, {DISTILL, "projector.kind=factored", "projector.prefit_steps=2"}},
    {"no teacher", false, {"run.recompute=yes"}},
    {"dense", true, {DENSE}},
    {"qwen3_moe", true, {DISTILL, "student.arch=qwen3_moe"}},
    {"dense qwen3", false, {"student.arch=qwen3", "student.experts=0"}},
    {"dense qwen2", false, {"student.arch=qwen2", "student.experts=0"}},
    {"bf16", true, {DISTILL, "precision.student=bf16", "run.trace=no", "student.tie=yes"}},
    {"f16", false, {"precision.student=f16", "student.experts_per_token=1"}},
    {"next token beside a teacher", true, {"objective=[{loss: next_token}]"}},
};
enum { SETUPS = sizeof setups / sizeof *setups };

typedef struct rig {
    rt_job job;
    rt_trainer *t;
} rig;

static void rig_open(rig *r, const char *dir, const setup *s) {
    rt_error err = {0};
    char train[1024], home[1024];
    const char *sets[24] = {"student.hidden_size=16", "student.layers=2", "student.heads=2", "student.kv_heads=2", "student.ffn_size=8", "student.experts=4",
                            "data.separator=line", "data.sequence_length=12", "data.batch=3", "data.accumulate=2", "data.valid_fraction=0.4",
                            "schedule.steps=4", "schedule.warmup=0", "run.head_budget=1MiB", train, home};
    int n = 16;
    snprintf(train, sizeof train, "data.train=%s/corpus.txt", dir);
    snprintf(home, sizeof home, "%s=%s", s->teacher ? "teacher.path" : "data.tokenizer", dir);
    if (strcmp(s->sets[0], "student.arch=llama") == 0) sets[5] = "student.experts=0";
    for (int i = 0; i < 8 && s->sets[i]; i++) sets[n++] = s->sets[i];
    *r = (rig){0};
    RT_OK_OR_FAIL(rt_job_load(NULL, sets, n, &r->job, &err));
    RT_OK_OR_FAIL(rt_trainer_open(&r->t, &r->job, 0, &err));
    RT_OK_OR_FAIL(rt_trainer_begin(r->t, NULL, NULL, &err));
}
static void rig_close(rig *r) {
    rt_trainer_close(r->t);
    rt_job_free(&r->job);
}
static const char *make_files(void) {
    const char *dir = rt_test_dir();
    write_corpus(dir);
    write_teacher(dir);
    return dir;
}

/* --------------------------------------------------------------------- tests */

static void compare_lines(const char *name, const char *a, const char *b) {
    for (int line = 1; *a || *b; line++) {
        size_t n = strcspn(a, "\n"), m = strcspn(b, "\n");
        if (n != m || memcmp(a, b, n) != 0) {
            RT_FAILF("%s, line %d: training '%.*s', evaluation '%.*s'", name, line, (int)n, a, (int)m, b);
            return;
        }
        a += n + (a[n] == '\n'), b += m + (b[m] == '\n');
    }
}
static void tapes_are_equal(void) {
    const char *dir = make_files();
    for (int i = 0; i < SETUPS; i++) {
        rig r;
        rt_buf training = {0}, evaluation = {0}, steps = {0};
        rig_open(&r, dir, &setups[i]);
        rt_graph_describe(r.t->graph.g, false, &training);
        rt_graph_describe(rt_evaluator_graph(r.t->evaluator), false, &evaluation);
        compare_lines(setups[i].name, training.data, evaluation.data);
        CU_ASSERT(training.size > 1000 && strstr(training.data, "weight") && strstr(training.data, "student.head"));
        rt_graph_describe(r.t->graph.g, true, &steps);
        CU_ASSERT(strstr(steps.data, "backward") && strstr(steps.data, "parameter"));
        steps.size = 0;
        rt_graph_describe(rt_evaluator_graph(r.t->evaluator), true, &steps);
        CU_ASSERT(!strstr(steps.data, "backward") && !strstr(steps.data, "parameter"));
        rt_buf_free(&training), rt_buf_free(&evaluation), rt_buf_free(&steps);
        rig_close(&r);
    }
}

/* The first validation batch through the training tape. */
static void run_training_tape(rt_trainer *t) {
    rt_error err = {0};
    rt_batch b;
    RT_OK_OR_FAIL(rt_batch_create(&b, t->job->data.batch, t->job->data.sequence_length, &err));
    rt_batch_fill_from(&b, &t->valid_windows, 0);
    if (t->projector) {
        RT_OK_OR_FAIL(rt_forward_run(&t->teacher, &b, &err));
        RT_OK_OR_FAIL(rt_projection_run(t->projection, b.targets, 0, &err));
    }
    rt_measures_reset(&t->measures);
    RT_OK_OR_FAIL(rt_step_graph_run(&t->graph, &b, &err));
    rt_measures_add(&t->measures, &t->graph, &b);
    rt_batch_free(&b);
}
static void compare_bits(const char *name, const rt_trainer *t, bool with_metrics) {
    const rt_measures *m = &t->measures, *e = rt_evaluator_measures(t->evaluator);
    CU_ASSERT(m->n_terms == e->n_terms && m->width == e->width && m->supervised == e->supervised && m->supervised > 0);
    for (int i = 0; i < m->n_terms; i++) {
        const double *x = m->head + i * m->width, *y = e->head + i * e->width;
        bool made = with_metrics || i < t->objective.n_terms, same = memcmp(x, y, (size_t)m->width * sizeof *x) == 0;
        CU_ASSERT_EQUAL(rt_vocab_count(x, m->width), made ? (double)m->supervised : 0);
        CU_ASSERT_EQUAL(rt_vocab_count(y, e->width), (double)m->supervised);
        RT_CHECK(same == made, "%s: %s (term %d): %.17g in training, %.17g in evaluation", name, m->terms[i].loss->name, i, x[0], y[0]);
    }
    CU_ASSERT(rt_measures_balance(m) == rt_measures_balance(e) && rt_measures_router_z(m) == rt_measures_router_z(e));
}
static void evaluation_has_the_bits_of_training(void) {
    const char *dir = make_files();
    for (int i = 0; i < SETUPS; i++) {
        rig r;
        rt_error err = {0};
        rt_evaluation v;
        rt_step_report s;
        rig_open(&r, dir, &setups[i]);
        RT_OK_OR_FAIL(rt_trainer_step(r.t, &s, &err));
        RT_OK_OR_FAIL(rt_evaluator_run(r.t->evaluator, &r.t->valid_windows, 1, &v, &err));
        run_training_tape(r.t);
        compare_bits(setups[i].name, r.t, false);
        for (int k = 0; k < r.t->objective.n_all; k++) r.t->graph.term_active[k] = 1;
        run_training_tape(r.t);
        compare_bits(setups[i].name, r.t, true);
        CU_ASSERT_EQUAL(v.ce, rt_measures_term(&r.t->measures, r.t->objective.n_terms));
        rig_close(&r);
    }
}

/* tau runs from 4 to 1: the first step is that of a constant 4, later ones are not; the tape stays the one that was built. */
static void temperature_follows_its_schedule(void) {
    const setup moving = {"moving", true, {"objective=[{loss: forward_kl, temperature: 4, final_temperature: 1}, {loss: next_token}]"}},
                still = {"still", true, {"objective=[{loss: forward_kl, temperature: 4}, {loss: next_token}]"}};
    const char *dir = make_files();
    rt_error err = {0};
    rt_step_report s[2];
    rig a, b;
    rig_open(&a, dir, &moving), rig_open(&b, dir, &still);
    for (int step = 0; step < 3; step++) {
        double tau = rt_job_temperature(&a.job, rt_job_objectives(&a.job), step);
        RT_OK_OR_FAIL(rt_trainer_step(a.t, &s[0], &err));
        RT_OK_OR_FAIL(rt_trainer_step(b.t, &s[1], &err));
        CU_ASSERT(step == 0 ? tau == 4 : tau > 1 && tau < 4);
        CU_ASSERT_EQUAL(a.t->graph.term_temperature[0], tau);
        CU_ASSERT_EQUAL(a.t->graph.term_temperature[1], 1);
        CU_ASSERT_EQUAL(s[0].total == s[1].total, step == 0);
    }
    rig_close(&a), rig_close(&b);

    /* A moved temperature is one given when built, bit for bit. */
    const setup built = {"built", true, {"objective=[{loss: forward_kl, temperature: 2.5}, {loss: next_token}]"}};
    rig_open(&a, dir, &built), rig_open(&b, dir, &still);
    b.t->graph.term_temperature[0] = 2.5;
    run_training_tape(a.t), run_training_tape(b.t);
    CU_ASSERT(memcmp(a.t->measures.head, b.t->measures.head, (size_t)(2 * a.t->measures.width) * sizeof(double)) == 0);
    rig_close(&a), rig_close(&b);
}

static rt_evaluator_options evaluator_options(const rt_trainer *t) {
    return (rt_evaluator_options){.weights = &t->student.weights, .precision = &t->student.precision, .teacher = (rt_forward *)&t->teacher,
                                  .projector = t->projector, .objective = t->objective.terms, .n_objective = t->objective.n_terms,
                                  .windows = t->job->data.batch, .T = t->job->data.sequence_length, .vocab = t->config.vocab_size, .router = t->router,
                                  .states = t->router_states};
}
/* Without an objective, with too long a one, and without memory. */
static void evaluators_open(void) {
    rig r;
    rt_error err = {0};
    rt_evaluator *e;
    rig_open(&r, make_files(), &setups[0]);
    rt_evaluator_options o = evaluator_options(r.t);
    o.n_objective = RT_OBJECTIVE_MAX + 1;
    CU_ASSERT_EQUAL(rt_evaluator_open(&e, &o, &err), RT_E_ARG);
    rt_error_clear(&err);
    o.n_objective = 0;
    RT_OK_OR_FAIL(rt_evaluator_open(&e, &o, &err));
    CU_ASSERT_EQUAL(rt_evaluator_measures(e)->n_terms, RT_METRIC_TERMS);
    rt_evaluator_close(e);
    o = evaluator_options(r.t);
    rt_status s = RT_E_NOMEM;
    for (int i = 1; s == RT_E_NOMEM && i < 2000; i++) {
        int64_t live = rt_mem_stats_get().live_blocks;
        rt_error lack = {0};
        rt_mem_fail_at(i);
        s = rt_evaluator_open(&e, &o, &lack);
        rt_mem_fail_at(0);
        CU_ASSERT(s == RT_OK || (s == RT_E_NOMEM && !e && rt_mem_stats_get().live_blocks == live));
    }
    CU_ASSERT_EQUAL(s, RT_OK);
    rt_evaluator_close(e);
    rig_close(&r);
}

RT_SUITE(tapes) {
    RT_TEST(tapes_are_equal);
    RT_TEST(evaluation_has_the_bits_of_training);
    RT_TEST(temperature_follows_its_schedule);
    RT_TEST(evaluators_open);
}
