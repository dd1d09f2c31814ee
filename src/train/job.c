/* job.c - a job read in order (defaults < file < preset < assignments), resolved, checked, written; and what its keys say
 * about a step: learning rate, weights, temperatures, dtypes. */
#include "train/job_private.h"
#include <stdio.h>
#include <string.h>

rt_status rt_job_init(rt_job *job, rt_error *err) {
    *job = (rt_job){0};
    return rt_options_defaults(rt_job_options(), job, &job->arena, err);
}
void rt_job_free(rt_job *job) {
    rt_arena_free(&job->arena);
    *job = (rt_job){0};
}

rt_status rt_job_read(rt_job *job, const char *path, rt_error *err) {
    rt_node *tree;
    RT_TRY(rt_yaml_load(path, &job->arena, &tree, err));
    const char *name = rt_arena_strdup(&job->arena, path);
    if (!name) return rt_fail(err, RT_E_NOMEM, "%s: out of memory", path);
    return rt_options_read(rt_job_options(), job, tree, name, &job->arena, err);
}

static bool of_objective(const char *assignment) { return strncmp(assignment, "objective.", 10) == 0; }

rt_status rt_job_set(rt_job *job, const char *assignment, rt_error *err) {
    if (of_objective(assignment)) RT_TRY(rt_job_default_objective(job, err)); /* there must be something to change */
    return rt_options_set(rt_job_options(), job, assignment, &job->arena, err);
}

/* ---------------------------------------------------------------- resolving */

/* -1 is "unset"; the table's range lets through what lies between it and a sensible value. */
static rt_status resolve_objective(rt_job *job, rt_error *err) {
    rt_job_objective *o = job->objective.item;
    for (int64_t i = 0; i < job->objective.count; i++, o++) {
        if (o->final_weight == -1) o->final_weight = o->weight;
        if (o->final_temperature == -1) o->final_temperature = o->temperature;
        if (o->final_weight < 0 || o->final_temperature <= 0)
            return rt_fail(err, RT_E_CONFIG, "objective[%lld]: final_weight %g, final_temperature %g: expected >= 0 and > 0, or -1",
                           (long long)i, o->final_weight, o->final_temperature);
    }
    return RT_OK;
}

rt_status rt_job_finish(rt_job *job, rt_error *err) {
    if (job->projector.kind == RT_PROJECTOR_AUTO)
        job->projector.kind = job->teacher.path ? RT_PROJECTOR_SHARED : RT_PROJECTOR_NONE;
    RT_TRY(rt_job_resolve_student(job, err));
    RT_TRY(rt_job_default_objective(job, err));
    RT_TRY(resolve_objective(job, err));
    return rt_job_check(job, err);
}

/* -------------------------------------------------------------- whole ways in */

/* Those of the objective last: an entry of the default objective can be changed only once the other keys have chosen it. */
rt_status rt_job_set_all(rt_job *job, const char *const *sets, int64_t count, rt_error *err) {
    for (int pass = 0; pass < 2; pass++)
        for (int64_t i = 0; i < count; i++) {
            if (of_objective(sets[i]) != (pass == 1)) continue;
            if (strncmp(sets[i], "objective.", 10) == 0) RT_TRY(rt_job_default_objective(job, err));
            RT_TRY(rt_job_set(job, sets[i], err));
        }
    return RT_OK;
}

static rt_status load(const char *path, const char *const *sets, int64_t count, rt_job *job, rt_error *err) {
    RT_TRY(rt_job_init(job, err));
    if (path) RT_TRY(rt_job_read(job, path, err));
    RT_TRY(rt_job_set_all(job, sets, count, err));
    return rt_job_finish(job, err);
}
rt_status rt_job_load(const char *path, const char *const *sets, int64_t count, rt_job *job, rt_error *err) {
    rt_status status = load(path, sets, count, job, err);
    if (status != RT_OK) rt_job_free(job);
    return status;
}

static rt_status from_json(const json_t *value, const char *where, rt_job *job, rt_error *err) {
    rt_node *tree;
    RT_TRY(rt_job_init(job, err));
    RT_TRY(rt_node_from_json(value, &job->arena, &tree, err));
    RT_TRY(rt_options_read(rt_job_options(), job, tree, where, &job->arena, err));
    return rt_job_finish(job, err);
}
rt_status rt_job_from_json(const json_t *value, const char *where, rt_job *job, rt_error *err) {
    rt_status status = from_json(value, where, job, err);
    if (status != RT_OK) rt_job_free(job);
    return status;
}
json_t *rt_job_json(const rt_job *job) { return rt_options_json(rt_job_options(), job); }

/* ---------------------------------------------------------- what the keys say */

double rt_job_weight(const rt_job *job, const rt_job_objective *o, int64_t step) {
    return rt_schedule_between(o->schedule, o->weight, o->final_weight, step, job->schedule.steps);
}
double rt_job_temperature(const rt_job *job, const rt_job_objective *o, int64_t step) {
    return rt_schedule_between(o->schedule, o->temperature, o->final_temperature, step, job->schedule.steps);
}
double rt_job_lr(const rt_job *job, int64_t step) { return job->optimizer.lr * rt_schedule_factor(&job->schedule, step); }

rt_optim_config rt_job_optim_config(const rt_job *job) {
    const rt_job_optimizer *o = &job->optimizer;
    return (rt_optim_config){.name = o->name, .beta1 = o->betas.item[0], .beta2 = o->betas.item[1], .eps = o->eps,
                             .weight_decay = o->weight_decay, .clip = o->clip};
}

static rt_dtype dtype_of(const char *name) {
    rt_dtype t = RT_NONE;
    return rt_dtype_parse(name, &t) ? t : RT_NONE; /* "inherit" is none */
}
rt_dtype rt_job_role_dtype(const rt_job *job, rt_precision_role role) {
    const rt_job_precision *p = &job->precision;
    const char *const names[] = {p->embedding, p->attention, p->norm, p->router, p->expert,
                                 p->residual,  p->head,      p->projector, p->loss};
    rt_dtype own = dtype_of(names[role]), student = dtype_of(p->student);
    if (own != RT_NONE || role == RT_ROLE_PROJECTOR) return own;
    bool always_full = role == RT_ROLE_ROUTER || role == RT_ROLE_LOSS;
    return always_full && student != RT_F64 ? RT_F32 : student;
}
