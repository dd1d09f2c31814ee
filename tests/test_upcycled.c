/* test_upcycled.c - a trained model made into a mixture: its perplexity is kept, its export too; identical experts part as soon
 * as their tokens differ, and training goes on from the dense model's loss. stories260K, fixtures/models. */
#include "tiny_job.h"
#include "fixture_models.h"
#include "small_mixture.h"
#include "stacked.h"
#include <retort/export/export.h>
#include <retort/infer/frozen.h>
#include <retort/infer/logits.h>
#include <retort/train/run.h>
#include <retort/train/standalone.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { T = 256, SETS = 24 };
#ifdef __SANITIZE_ADDRESS__
enum { LIMIT = 2000, WHOLE = 2000, STEPS = 12 };
#else
enum { LIMIT = 8000, WHOLE = 0, STEPS = 50 };
#endif

/* ------------------------------------------------------------------- tools */

static bool load(const char *model, const char *out, const char *const *sets, rt_job *job) {
    const char *text = rt_fixture("text/tinystories_heldin.txt"), *from = rt_fixture(model);
    char data[1100], source[1100], place[700];
    const char *all[SETS] = {data, source, place, "student.init=upcycle", "data.separator=blank_line", "schedule.warmup=4", "run.eval_tokens=6000", "run.threads=2"};
    int n = 8;
    rt_error err = {0};
    if (!text || !from) return false;
    snprintf(data, sizeof data, "data.train=%s", text);
    snprintf(source, sizeof source, "student.from=%s", from);
    snprintf(place, sizeof place, "run.out=%s", out);
    for (int i = 0; sets[i] && n < SETS; i++) all[n++] = sets[i];
    RT_OK_OR_FAIL(rt_job_load(NULL, all, n, job, &err));
    return err.status == RT_OK;
}
/* A run into a fresh folder `out`; its last checkpoint, or NULL without fixtures. */
static const char *ran(char out[600], const char *const *sets) {
    static rt_run_result result;
    rt_error err = {0};
    rt_job job;
    snprintf(out, 600, "%s/run", rt_test_dir());
    if (!load("models/stories260K/hf-f32", out, sets, &job)) return NULL;
    RT_OK_OR_FAIL(rt_run(&job, &(rt_run_options){.command = "train"}, &result, &err));
    rt_job_free(&job);
    return result.checkpoint;
}
#define RAN(out, ...) ran(out, (const char *const[]){__VA_ARGS__ __VA_OPT__(, ) NULL})

/* As `retort eval MODEL --data tinystories_heldin.txt --disjoint --sequence-length 256`. */
static rt_evaluation evaluated(const char *model, int64_t limit) {
    rt_error err = {0};
    rt_standalone *s = NULL;
    rt_evaluation v = {0};
    const char *text = rt_fixture("text/tinystories_heldin.txt");
    rt_standalone_options o = {.model = model, .data = {&text, 1}, .separator = "none", .T = T, .batch = 8, .disjoint = true};
    RT_OK_OR_FAIL(rt_standalone_open(&s, &o, &err));
    if (s) RT_OK_OR_FAIL(rt_standalone_run(s, limit, &v, &err));
    rt_standalone_close(s);
    return v;
}

/* -------------------------------------------------------------- perplexity */

static void perplexity_is_kept(double want, const char *experts, const char *k, const char *granularity) {
    char out[600];
    const char *checkpoint = RAN(out, "schedule.steps=0", experts, k, granularity);
    double got = checkpoint ? evaluated(checkpoint, LIMIT).perplexity : 0;
    RT_CHECK(fabs(got / want - 1) < 1e-6, "%s, %s, %s: perplexity %.9f, of the dense model %.9f", experts, k, granularity, got, want);
}
static void the_perplexity_is_kept(void) {
    const char *dense = rt_fixture("models/stories260K/hf-f32");
    if (!dense) return;
    double want = evaluated(dense, LIMIT).perplexity;
    perplexity_is_kept(want, "student.experts=4", "student.experts_per_token=2", "student.granularity=1");
    perplexity_is_kept(want, "student.experts=8", "student.experts_per_token=2", "student.granularity=1");
    perplexity_is_kept(want, "student.experts=8", "student.experts_per_token=4", "student.granularity=2");
    perplexity_is_kept(want, "student.experts=16", "student.experts_per_token=12", "student.granularity=4");
}

/* The whole text against two other implementations' number, through an export that is read again. */
static void an_export_of_it_has_the_published_perplexity(void) {
    char out[600], folder[700];
    rt_error err = {0};
    rt_export_report report;
    json_t *expected = NULL;
    const char *checkpoint = RAN(out, "schedule.steps=0", "student.granularity=2"), *file = rt_fixture("models/stories260K/expected.json");
    if (!file || !checkpoint) return;
    RT_OK_OR_FAIL(rt_json_load(file, 0, &expected, &err));
    double want = fixture_number(json_object_get(json_object_get(expected, "variants"), "hf-f32"), "perplexity");
    snprintf(folder, sizeof folder, "%s/export", out);
    RT_OK_OR_FAIL(rt_export_model(checkpoint, folder, &(rt_export_options){.dtype = RT_F32}, &report, &err)); /* compares logits, bit for bit */
    CU_ASSERT_TRUE(report.changed == 0 && report.kl == 0 && report.routes_flipped == 0);
    rt_evaluation whole = evaluated(folder, WHOLE), part = evaluated(folder, LIMIT);
    CU_ASSERT_EQUAL(part.ce, evaluated(checkpoint, LIMIT).ce);
    if (WHOLE == 0) RT_CHECK(fabs(whole.perplexity / want - 1) < 1e-6, "perplexity %.9f, expected %.9f", whole.perplexity, want);
    json_decref(expected);
}

/* --------------------------------------------------- other programs' logits */

/* Reference logits of a dense model, from the mixture made of it; other implementations' noise is 3e-5. */
static void has_the_logits_of(const char *arch, const rt_upcycle *u) {
    rt_error err = {0};
    fixture f;
    rt_weights w;
    rt_logits l = {0};
    rt_precision p = rt_precision_student(RT_F32);
    double worst = 0;
    if (!fixture_open(&f, arch)) return;
    small_mixture(&w, fixture_path(&f, "f32"), u);
    RT_OK_OR_FAIL(rt_logits_open(&l, &w, &p, FIXTURE_T, &err));
    for (int row = 0; row < 2; row++) {
        const rt_tensor *out = NULL;
        RT_OK_OR_FAIL(rt_logits_run(&l, f.ids + row * FIXTURE_T, FIXTURE_T, &out, &err));
        for (int64_t i = 0; i < FIXTURE_T * FIXTURE_V; i++) worst = fmax(worst, fabs(rt_get(out, i) - (double)f.logits[row * FIXTURE_T * FIXTURE_V + i]));
    }
    RT_CHECK(worst < 1e-4, "%s as %lld experts, granularity %lld: logits differ by %g", arch, (long long)u->experts, (long long)u->granularity, worst);
    rt_logits_close(&l);
    rt_weights_free(&w);
    fixture_close(&f);
}
static void mixtures_have_the_dense_models_logits(void) {
    static const char *const archs[] = {"llama", "llama3", "mistral", "qwen3"};
    for (int i = 0; i < 4; i++) {
        has_the_logits_of(archs[i], &(rt_upcycle){8, 2, 1, 0, 1});
        has_the_logits_of(archs[i], &(rt_upcycle){16, 8, 4, 0, 2});
    }
}

/* ---------------------------------------------------------------- training */

/* Expert e of a stacked slot against expert 0: length of the difference over the length. */
static double distance(const rt_tensor *t, int64_t e) {
    int64_t n = t->dim[1] * t->dim[2];
    double difference = 0, length = 0;
    for (int64_t i = 0; i < n; i++) {
        double a = rt_get(t, i), d = rt_get(t, e * n + i) - a;
        difference += d * d, length += a * a;
    }
    return sqrt(difference / length);
}

/* Experts are the same, their tokens are not: after one step neither are they. No noise is needed. */
static void identical_experts_have_gradients_of_their_own(void) {
    rt_error err = {0};
    rt_job job;
    rt_step_report r;
    rt_trainer *t = NULL;
    char student[800];
    snprintf(student, sizeof student, "student={init: upcycle, from: '%s', hidden_size: 0, ffn_size: 0}", rt_tiny_files()->teacher);
    RT_TINY_JOB(&job, NULL, student);
    RT_OK_OR_FAIL(rt_trainer_open(&t, &job, 0, &err));
    RT_OK_OR_FAIL(rt_trainer_begin(t, NULL, NULL, &err));
    const rt_weights *w = &t->student.weights, *g = &t->student.grads;
    for (int64_t i = 0; i < w->count; i++)
        for (int64_t e = 1; e < 4 && w->slots[i].t.ndim == 3; e++) RT_CHECK(distance(&w->slots[i].t, e) == 0, "expert %lld of %s is no copy", (long long)e, w->slots[i].name);
    RT_OK_OR_FAIL(rt_trainer_step(t, &r, &err));
    for (int64_t i = 0; i < w->count; i++)
        for (int64_t e = 1; e < 4 && w->slots[i].t.ndim == 3; e++) {
            double gradients = distance(&g->slots[i].t, e), weights = distance(&w->slots[i].t, e);
            RT_CHECK(gradients > 0.1 && weights > 1e-4, "expert %lld of %s: gradients differ by %g, weights by %g", (long long)e, w->slots[i].name, gradients, weights);
        }
    rt_trainer_close(t);
    rt_job_free(&job);
}

static double last_ce(const char *out) {
    json_t *evals = rt_log_records(out, "eval");
    double ce = json_number_value(json_object_get(json_array_get(evals, json_array_size(evals) - 1), "ce"));
    json_decref(evals);
    return ce;
}

static void training_goes_on_from_the_dense_models_loss(void) {
    char start[600], out[600], steps[40];
    rt_error err = {0};
    rt_frozen f;
    snprintf(steps, sizeof steps, "schedule.steps=%d", STEPS);
    if (!RAN(start, "schedule.steps=0", "student.experts=4", "data.sequence_length=128", "data.batch=4")) return;
    const char *checkpoint = RAN(out, steps, "student.experts=4", "data.sequence_length=128", "data.batch=4");
    double before = last_ce(start), after = last_ce(out);
    RT_CHECK(after < before - (STEPS < 50 ? 0.05 : 0.2), "cross-entropy %g at the start, %g after %d steps", before, after, STEPS);
    RT_OK_OR_FAIL(rt_frozen_open(&f, checkpoint, RT_ACTIVATIONS_STORED, &err));
    for (int64_t i = 0; i < f.weights.count; i++) {
        const rt_slot *s = &f.weights.slots[i];
        if (s->t.ndim != 3) continue;
        rt_tensor all = stacked_pieces(&s->t, &s->pieces);
        for (int64_t e = 1; e < 4; e++)
            RT_CHECK(distance(&all, e) > 5e-3, "expert %lld of %s is still near the first: %g", (long long)e, s->name, distance(&all, e));
        rt_free(all.data);
    }
    rt_frozen_close(&f);
}

RT_SUITE(upcycled) {
    RT_TEST(the_perplexity_is_kept);
    RT_TEST(an_export_of_it_has_the_published_perplexity);
    RT_TEST(mixtures_have_the_dense_models_logits);
    RT_TEST(identical_experts_have_gradients_of_their_own);
    RT_TEST(training_goes_on_from_the_dense_models_loss);
}
