/* trainer.c - the beginning of a run, one optimizer step, one evaluation. */
#include "train/trainer_private.h"
#include <math.h>
#include <time.h>

rt_status rt_trainer_start(rt_trainer *t, rt_error *err) {
    if (t->start) return RT_OK;
    RT_TRY(rt_start_weights(&t->student, t->job, t->source, err));
    RT_TRY(rt_start_json(&t->student, t->job, t->source, &t->start, err));
    rt_hf_close(t->source);
    t->source = NULL;
    return RT_OK;
}

rt_status rt_trainer_begin(rt_trainer *t, bool (*each)(void *, int64_t, double), void *context, rt_error *err) {
    RT_TRY(rt_trainer_start(t, err));
    if (!t->projector) return RT_OK;
    const rt_job *job = t->job;
    RT_TRY(rt_projector_refresh(t->projector, err));
    RT_TRY(rt_projector_fit(t->projector, job->projector.lambda, err));
    if (!rt_projector_trainable(t->projector)) return RT_OK;
    rt_projector_prefit o = {.steps = job->projector.prefit_steps, .lr = job->optimizer.lr, .batch = job->data.batch, .accumulate = job->data.accumulate,
                             .T = job->data.sequence_length, .seed = (uint64_t)job->run.seed, .budget = job->run.head_budget,
                             .weights = job->data.weights.item, .weight_count = job->data.weights.count, .each = each, .context = context};
    return rt_projector_run_prefit(t->projector, &t->teacher, t->data.train, &o, err);
}

/* ---------------------------------------------------------------- one step */

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}
static double share(int64_t part, int64_t whole) { return whole > 0 ? (double)part / (double)whole : 0; }
static double weight(const rt_trainer *t, const rt_job_objective *e) { return e ? rt_job_weight(t->job, e, t->step) : 0; }

static int64_t moe_layers(const rt_trainer *t) {
    int64_t n = 0;
    for (int64_t l = 0; l < t->config.layers; l++) n += !rt_ref_is_null(t->graph.router_z[l]);
    return n;
}

/* d(objective)/d(what the tape puts out), for one micro-batch of the step. */
static void set_gains(rt_trainer *t, const rt_batch *b) {
    int64_t N = rt_loader_supervised(t->loader), layers = moe_layers(t);
    for (int i = 0; i < t->objective.n_terms; i++) t->graph.term_gain[i] = N > 0 ? weight(t, t->objective.term_of[i]) / (double)N : 0;
    double valid = layers > 0 ? share(b->valid_count, rt_loader_valid(t->loader)) / (double)layers : 0;
    t->graph.balance_gain = weight(t, t->objective.balance) * valid;
    t->graph.router_z_gain = weight(t, t->objective.router_z) * valid;
}

static rt_status micro_batch(rt_trainer *t, const rt_batch *b, rt_error *err) {
    int64_t N = rt_loader_supervised(t->loader);
    if (t->projector) {
        RT_TRY(rt_forward_run(&t->teacher, b, err));
        RT_TRY(rt_projection_run(t->projection, b->targets, N > 0 ? 1 / (double)N : 0, err));
    }
    set_gains(t, b);
    RT_TRY(rt_step_graph_run(&t->graph, b, err));
    double at = rt_phase_begin(t->phases);
    rt_measures_add(&t->measures, &t->graph, b);
    rt_phase_end(t->phases, RT_PHASE_MEASURES, at);
    return rt_graph_backward(t->graph.g, err);
}

/* The one place where state that a forward pass reads, and averages, change. */
static rt_status after_step(rt_trainer *t, double lr, rt_error *err) {
    rt_router_options o = {t->config.experts, t->config.experts_per_token, t->config.norm_topk};
    rt_expert_coherence *phi = t->phi;
    double *slow = t->slow;
    for (int64_t l = 0; l < t->config.layers; l++) {
        if (!t->measures.mixture[l]) continue;
        rt_router_report r = rt_router_health_report(&t->measures.health[l], NULL);
        if (t->measures.traced) rt_coherence_report(&t->measures.coherence[l], r.neff, phi);
        for (int64_t e = 0; t->measures.traced && e < o.experts; e++) {
            if (phi[e].valid) rt_ema_observe(&t->ema[l], e, phi[e].phi);
            slow[e] = rt_ema_value(&t->ema[l], RT_EMA_SLOW, e);
        }
        rt_router_observation seen = {r.tokens, t->measures.health[l].count, t->measures.traced ? slow : NULL};
        rt_router_update(t->router, &o, &t->router_states[l], &seen);
    }
    if (!t->projector) return RT_OK;
    if (t->job->projector.update == RT_PROJECTOR_ALWAYS) RT_TRY(rt_projector_step(t->projector, lr, NULL, err));
    return rt_projector_refresh(t->projector, err);
}

static double total(const rt_trainer *t) {
    double sum = 0;
    for (int64_t i = 0; i < t->job->objective.count; i++) sum += weight(t, rt_job_objectives(t->job) + i) * rt_trainer_objective_value(t, i);
    return sum;
}

/* What the head reads in every micro-batch of the step. */
static void set_temperatures(rt_trainer *t) {
    for (int i = 0; i < t->objective.n_terms; i++) t->graph.term_temperature[i] = rt_job_temperature(t->job, t->objective.term_of[i], t->step);
}

static rt_status run_step(rt_trainer *t, rt_step_report *r, rt_error *err) {
    double at = rt_phase_begin(t->phases);
    rt_loader_next(t->loader);
    rt_phase_end(t->phases, RT_PHASE_LOADER, at);
    rt_graph_fresh_gradients(t->graph.g);
    rt_measures_reset(&t->measures);
    set_temperatures(t);
    for (int64_t m = 0; m < t->job->data.accumulate; m++) RT_TRY(micro_batch(t, rt_loader_batch(t->loader, m), err));
    r->lr = rt_job_lr(t->job, t->step);
    r->total = total(t);
    RT_TRY(rt_optim_step(t->student.optim, r->lr, 1, &r->optim, err));
    at = rt_phase_begin(t->phases);
    RT_TRY(after_step(t, r->lr, err));
    rt_phase_end(t->phases, RT_PHASE_AFTER, at);
    return RT_OK;
}

rt_status rt_trainer_step(rt_trainer *t, rt_step_report *r, rt_error *err) {
    double start = now();
    rt_cursor before = rt_loader_cursor(t->loader);
    *r = (rt_step_report){0};
    rt_status s = run_step(t, r, err);
    if (s != RT_OK) {
        rt_error ignored = {0};
        if (t->projector) rt_projector_forget(t->projector);
        if (rt_loader_seek(t->loader, before, &ignored) != RT_OK) return s;
        rt_error_prefix(err, "step %lld (epoch %lld, window %lld)", (long long)t->step + 1, (long long)before.epoch, (long long)before.index);
        return s;
    }
    t->step++;
    t->tokens += t->measures.supervised;
    r->step = t->step;
    r->tokens = t->measures.supervised;
    r->seconds = now() - start;
    return RT_OK;
}

rt_status rt_trainer_evaluate(rt_trainer *t, rt_evaluation *v, rt_error *err) {
    RT_TRY(rt_evaluator_run(t->evaluator, &t->valid_windows, t->job->run.eval_tokens, v, err));
    if (t->best_step < 0 || v->ce < t->best_ce) t->best_step = t->step, t->best_ce = v->ce;
    return RT_OK;
}
