/* evaluate.c - the one evaluation. */
#include <retort/losses/losses.h>
#include <retort/train/evaluate.h>
#include <math.h>
#include <time.h>

enum { CE, CALIBRATION, TEACHER_CE, KL_T1, KL, REVERSE_KL, JSD, TOP1, TOP5, ACCEPTANCE, TERMS, WITHOUT_TEACHER = TEACHER_CE };
_Static_assert((int)TERMS == (int)RT_METRIC_TERMS, "one number in two places");

struct rt_evaluator {
    rt_evaluator_options o;
    rt_head_term terms[RT_HEAD_TERMS_MAX];
    rt_step_graph graph;
    rt_projection *projection, *fit; /* fit: how well a factored projector matches its teacher */
    rt_measures measures;
    rt_batch batch;
};

int rt_metric_terms(bool with_teacher, double tau, double beta, rt_head_term out[RT_METRIC_TERMS]) {
    const rt_head_term all[TERMS] = {
        [CE] = {.loss = &rt_loss_next_token}, [CALIBRATION] = {.loss = &rt_loss_calibration}, [TEACHER_CE] = {.loss = &rt_loss_teacher_ce},
        [KL_T1] = {.loss = &rt_loss_kl_t1}, [KL] = {.loss = &rt_loss_forward_kl, .temperature = tau},
        [REVERSE_KL] = {.loss = &rt_loss_reverse_kl, .temperature = 1}, [JSD] = {.loss = &rt_loss_jsd, .temperature = 1, .beta = beta},
        [TOP1] = {.loss = &rt_loss_top1_agreement}, [TOP5] = {.loss = &rt_loss_top5_overlap}, [ACCEPTANCE] = {.loss = &rt_loss_acceptance}};
    int count = with_teacher ? TERMS : WITHOUT_TEACHER;
    for (int i = 0; i < count; i++) out[i] = all[i];
    return count;
}

static double kl_temperature(const rt_evaluator *e) { return e->o.temperature > 0 ? e->o.temperature : 1; }

static rt_status choose_terms(rt_evaluator *e, int *count, rt_error *err) {
    int n = e->o.n_objective, most = RT_HEAD_TERMS_MAX - RT_METRIC_TERMS;
    if (n > most) return rt_fail(err, RT_E_ARG, "evaluation: %d terms of an objective, expected at most %d", n, most);
    for (int i = 0; i < n; i++) e->terms[i] = e->o.objective[i];
    *count = n + rt_metric_terms(e->o.teacher != NULL, kl_temperature(e), e->o.jsd_beta > 0 ? e->o.jsd_beta : 0.5, e->terms + n);
    return RT_OK;
}

static rt_status open_teacher(rt_evaluator *e, rt_teacher_side *side, rt_error *err) {
    if (!e->o.teacher) return RT_OK;
    const rt_tensor *hidden = rt_forward_hidden(e->o.teacher);
    RT_TRY(rt_projection_open(&e->projection, e->o.projector, hidden, RT_PROJECTION_HIDDEN, e->o.head_budget, err));
    if (rt_projector_kind_of(e->o.projector) == RT_PROJECTOR_FACTORED)
        RT_TRY(rt_projection_open(&e->fit, e->o.projector, hidden, RT_PROJECTION_COMPARE, e->o.head_budget, err));
    *side = (rt_teacher_side){rt_projection_hidden(e->projection), rt_projector_matrix(e->o.projector), rt_projector_prec(e->o.projector)};
    return RT_OK;
}

static rt_status open_all(rt_evaluator *e, rt_error *err) {
    rt_step_options s = {.name = "student", .windows = e->o.windows, .T = e->o.T, .vocab = e->o.vocab, .trace = e->o.trace, .router = e->o.router,
                         .states = e->o.states, .terms = e->terms, .head_budget = e->o.head_budget, .head_rows = e->o.head_rows, .space = e->o.space, .sketch = e->o.sketch};
    RT_TRY(choose_terms(e, &s.n_terms, err));
    RT_TRY(open_teacher(e, &s.teacher, err));
    RT_TRY(rt_step_graph_open(&e->graph, e->o.weights, NULL, e->o.precision, &s, err));
    RT_TRY(rt_measures_open(&e->measures, &e->o.weights->config, &e->graph, e->terms, e->o.trace, err));
    return e->o.sketch ? RT_OK : rt_batch_create(&e->batch, e->o.windows, e->o.T, err);
}

rt_status rt_evaluator_open(rt_evaluator **out, const rt_evaluator_options *o, rt_error *err) {
    rt_evaluator *e = *out = rt_zalloc(sizeof *e);
    if (!e) return rt_fail(err, RT_E_NOMEM, "out of memory: evaluator");
    e->o = *o;
    rt_status s = open_all(e, err);
    if (s != RT_OK) rt_evaluator_close(e), *out = NULL;
    return s;
}

void rt_evaluator_close(rt_evaluator *e) {
    if (!e) return;
    rt_measures_close(&e->measures);
    rt_step_graph_close(&e->graph);
    rt_projection_close(e->projection);
    rt_projection_close(e->fit);
    rt_batch_free(&e->batch);
    rt_free(e);
}

/* --------------------------------------------------------------------- run */

static rt_status run_batch(rt_evaluator *e, double fit[2], rt_error *err) {
    if (e->o.teacher) {
        RT_TRY(rt_forward_run(e->o.teacher, &e->batch, err));
        RT_TRY(rt_projection_run(e->projection, e->batch.targets, 0, err));
    }
    if (e->fit) {
        double sum, count;
        RT_TRY(rt_projection_run(e->fit, e->batch.targets, 0, err));
        rt_projection_sum(e->fit, &sum, &count);
        fit[0] += sum, fit[1] += count;
    }
    RT_TRY(rt_step_graph_run(&e->graph, &e->batch, err));
    rt_measures_add(&e->measures, &e->graph, &e->batch);
    return RT_OK;
}

/* Expected tokens per pass of the teacher when the student drafts g (decisions.md, 18). */
static double tokens_per_pass(double a, int g) {
    if (a >= 1) return g + 1;
    return (1 - pow(a, g + 1)) / (1 - a);
}

static double metric(const rt_evaluator *e, int i) { return rt_measures_term(&e->measures, e->o.n_objective + i); }

static void report(const rt_evaluator *e, const double fit[2], double seconds, rt_evaluation *v) {
    const rt_measures *m = &e->measures;
    static const int drafts[3] = {2, 4, 8};
    *v = (rt_evaluation){.tokens = m->supervised, .bytes = m->bytes, .seconds = seconds, .with_teacher = e->o.teacher != NULL};
    v->ce = metric(e, CE);
    v->perplexity = exp(v->ce);
    v->bits_per_byte = m->bytes > 0 ? v->ce * (double)m->supervised / (0.693147180559945309417 * m->bytes) : (double)NAN;
    v->calibration_error = metric(e, CALIBRATION);
    v->router_z = rt_measures_router_z(m);
    v->balance = rt_measures_balance(m);
    if (!v->with_teacher) return;
    double *const out[TERMS] = {[TEACHER_CE] = &v->teacher_ce, [KL_T1] = &v->kl_t1, [KL] = &v->kl, [REVERSE_KL] = &v->reverse_kl, [JSD] = &v->jsd,
                                [TOP1] = &v->top1_agreement, [TOP5] = &v->top5_overlap, [ACCEPTANCE] = &v->acceptance};
    for (int i = TEACHER_CE; i < TERMS; i++) *out[i] = metric(e, i);
    for (int i = 0; i < 3; i++) v->drafts[i] = tokens_per_pass(v->acceptance, drafts[i]);
    v->projector_kl = fit[1] > 0 ? fit[0] / fit[1] : 0;
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

rt_status rt_evaluator_run(rt_evaluator *e, const rt_windows *w, int64_t limit, rt_evaluation *out, rt_error *err) {
    double start = now(), fit[2] = {0, 0};
    rt_measures_reset(&e->measures);
    int64_t done = 0;
    while (done < w->count && (limit <= 0 || e->measures.supervised < limit)) {
        done += rt_batch_fill_from(&e->batch, w, done);
        RT_TRY(run_batch(e, fit, err));
    }
    if (e->measures.supervised == 0) return rt_fail(err, RT_E_INPUT, "nothing to evaluate: no token of the data is scored");
    report(e, fit, now() - start, out);
    out->windows = done;
    return RT_OK;
}

const rt_measures *rt_evaluator_measures(const rt_evaluator *e) { return &e->measures; }
const rt_graph *rt_evaluator_graph(const rt_evaluator *e) { return e->graph.g; }
const rt_graph *rt_evaluator_projection(const rt_evaluator *e, bool fit) {
    const rt_projection *x = fit ? e->fit : e->projection;
    return x ? rt_projection_graph(x) : NULL;
}

/* -------------------------------------------------------------------- JSON */

static bool set(json_t *o, const char *key, double x) { return json_object_set_new(o, key, isnan(x) ? json_null() : rt_json_number(x)) == 0; }

static bool teacher_json(json_t *o, const rt_evaluator *e, const rt_evaluation *v) {
    const struct { const char *key; double x; } all[] = {
        {"teacher_ce", v->teacher_ce}, {"teacher_perplexity", exp(v->teacher_ce)},
        {"teacher_bits_per_byte", v->bytes > 0 ? v->teacher_ce * (double)v->tokens / (0.693147180559945309417 * v->bytes) : (double)NAN},
        {"kl_t1", v->kl_t1}, {"kl", v->kl}, {"kl_temperature", kl_temperature(e)}, {"reverse_kl", v->reverse_kl}, {"jsd", v->jsd},
        {"top1_agreement", v->top1_agreement}, {"top5_overlap", v->top5_overlap}, {"acceptance", v->acceptance},
        {"tokens_per_pass_2", v->drafts[0]}, {"tokens_per_pass_4", v->drafts[1]}, {"tokens_per_pass_8", v->drafts[2]}, {"projector_kl", v->projector_kl}};
    bool ok = true;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) ok = set(o, all[i].key, all[i].x) && ok;
    return ok;
}
static bool model_json(json_t *o, const rt_evaluator *e, const rt_evaluation *v) {
    rt_param_count p = rt_model_parameters(&e->o.weights->config);
    double bytes = 0;
    for (int64_t i = 0; i < e->o.weights->count; i++) bytes += (double)rt_tensor_bytes(&e->o.weights->slots[i].t);
    return json_object_set_new(o, "parameters", json_integer(p.total)) == 0 && json_object_set_new(o, "active_parameters", json_integer(p.active)) == 0 &&
           set(o, "bytes_model", bytes) && set(o, "tokens_per_s", v->seconds > 0 ? (double)v->tokens / v->seconds : 0);
}

json_t *rt_evaluator_json(const rt_evaluator *e, const rt_evaluation *v) {
    json_t *o = json_object();
    bool ok = o && json_object_set_new(o, "tokens", json_integer(v->tokens)) == 0 && set(o, "bytes", v->bytes) && set(o, "ce", v->ce) &&
              set(o, "perplexity", v->perplexity) && set(o, "bits_per_byte", v->bits_per_byte) && (!v->with_teacher || teacher_json(o, e, v)) &&
              set(o, "calibration_error", v->calibration_error) && set(o, "router_z", v->router_z) && set(o, "balance", v->balance) &&
              json_object_set_new(o, "layers", rt_measures_layers_json(&e->measures)) == 0 && model_json(o, e, v);
    if (!ok) json_decref(o);
    return ok ? o : NULL;
}
