/* objective.c - a job's objective as head terms and router nodes. */
#include "train/trainer_private.h"
#include <retort/losses/losses.h>
#include <string.h>

static rt_status add_term(rt_objective *o, const rt_job_objective *e, rt_error *err) {
    const rt_vocab_loss *loss;
    RT_TRY(rt_loss_get(e->loss, true, &loss, err));
    if (o->n_terms == RT_OBJECTIVE_MAX) return rt_fail(err, RT_E_CONFIG, "objective: more than %d vocabulary losses", RT_OBJECTIVE_MAX);
    bool tempered = strcmp(e->loss, "next_token") != 0;
    o->term_of[o->n_terms] = e;
    o->terms[o->n_terms++] = (rt_head_term){loss, tempered ? e->temperature : 0, e->beta, e->label_smoothing};
    if (tempered && o->temperature == 0) o->temperature = e->temperature;
    return RT_OK;
}

rt_status rt_objective_resolve(rt_objective *o, const rt_job *job, rt_error *err) {
    *o = (rt_objective){0};
    for (int64_t i = 0; i < job->objective.count; i++) {
        const rt_job_objective *e = rt_job_objectives(job) + i;
        const rt_job_objective **router = strcmp(e->loss, "balance") == 0 ? &o->balance : strcmp(e->loss, "router_z") == 0 ? &o->router_z : NULL;
        if (strncmp(e->loss, "hidden_", 7) == 0) return rt_fail(err, RT_E_UNSUPPORTED, "objective[%lld]: %s is not in this version", (long long)i, e->loss);
        if (router && *router) return rt_fail(err, RT_E_CONFIG, "objective[%lld]: %s stands twice", (long long)i, e->loss);
        if (router) *router = e;
        else RT_TRY(add_term(o, e, err));
    }
    if (o->n_terms == 0) return rt_fail(err, RT_E_CONFIG, "objective: no loss over the vocabulary (next_token, forward_kl, ...)");
    if (o->temperature == 0) o->temperature = 1;
    o->n_all = o->n_terms + rt_metric_terms(job->teacher.path != NULL, o->temperature, 0.5, o->terms + o->n_terms);
    return RT_OK;
}

/* Reduced means over the step, as everywhere: sum over count. */
double rt_trainer_objective_value(const rt_trainer *t, int64_t i) {
    const rt_job_objective *e = rt_job_objectives(t->job) + i;
    if (e == t->objective.balance) return rt_measures_balance(&t->measures);
    if (e == t->objective.router_z) return rt_measures_router_z(&t->measures);
    for (int k = 0; k < t->objective.n_terms; k++)
        if (t->objective.term_of[k] == e) return rt_measures_term(&t->measures, k);
    return 0;
}
