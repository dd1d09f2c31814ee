/* run.c - the loop: step, log, evaluate, save; begin, resume, stop. */
#include "train/run_private.h"
#include <retort/base/file.h>
#include <retort/base/threads.h>
#include <retort/io/checkpoint.h>
#include <retort/train/cost.h>
#include <stdio.h>
#include <string.h>

static bool stop_asked(const rt_run_state *r) { return r->o->stop && *r->o->stop; }
static bool due(int64_t step, int64_t every) { return every > 0 && step % every == 0; }
static int64_t last_step(const rt_run_state *r) {
    int64_t stop = r->job->run.stop_after;
    return stop > 0 && stop < r->job->schedule.steps ? stop : r->job->schedule.steps;
}

static rt_status evaluate(rt_run_state *r, rt_error *err) {
    if (r->evaluated_step == r->t->step) return RT_OK;
    rt_phases *phases = rt_run_profile_phases(r->profile);
    double at = rt_phase_begin(phases);
    RT_TRY(rt_trainer_evaluate(r->t, &r->result->evaluation, err));
    rt_phase_end(phases, RT_PHASE_EVALUATION, at);
    rt_run_profile_evaluated(r->profile, r->t, &r->result->evaluation);
    r->evaluated_step = r->t->step;
    return rt_record_evaluation(r, &r->result->evaluation, err);
}

/* The log is on the disk up to the place the manifest notes before the checkpoint becomes visible. */
static rt_status write_checkpoint(rt_run_state *r, rt_error *err) {
    RT_TRY(rt_runlog_sync(r->log, err));
    json_t *facts = json_pack("{s:I}", "log_bytes", (json_int_t)rt_runlog_size(r->log));
    rt_status s = facts ? rt_trainer_save(r->t, r->root, facts, err) : rt_fail(err, RT_E_NOMEM, "out of memory: manifest");
    json_decref(facts);
    RT_TRY(s);
    r->saved_step = r->t->step;
    char *path = rt_checkpoint_path(r->root, r->t->step);
    if (!path) return rt_fail(err, RT_E_NOMEM, "out of memory: path");
    snprintf(r->result->checkpoint, sizeof r->result->checkpoint, "%s", path);
    s = rt_record_checkpoint(r, path, err);
    rt_free(path);
    RT_TRY(s);
    return rt_checkpoint_prune(r->root, (int)r->job->run.keep, r->t->best_step, NULL, err);
}

static rt_status save(rt_run_state *r, rt_error *err) {
    rt_phases *phases = rt_run_profile_phases(r->profile);
    double at = rt_phase_begin(phases);
    if (r->saved_step == r->t->step) return RT_OK;
    RT_TRY(write_checkpoint(r, err));
    rt_phase_end(phases, RT_PHASE_CHECKPOINT, at);
    return RT_OK;
}

static rt_status step(rt_run_state *r, rt_error *err) {
    rt_phases *phases = rt_run_profile_phases(r->profile);
    rt_step_report s;
    rt_run_profile_before(r->profile);
    RT_TRY(rt_trainer_step(r->t, &s, err));
    double at = rt_phase_begin(phases);
    RT_TRY(rt_record_step(r, &s, err));
    rt_phase_end(phases, RT_PHASE_LOG, at);
    rt_run_profile_after(r->profile, r->t, &s);
    return RT_OK;
}

static rt_status loop(rt_run_state *r, rt_error *err) {
    RT_TRY(rt_run_profile_begin(r->profile, r->t, err));
    while (r->t->step < last_step(r) && !stop_asked(r)) {
        RT_TRY(step(r, err));
        if (due(r->t->step, r->job->run.eval_every)) RT_TRY(evaluate(r, err));
        if (due(r->t->step, r->job->run.save_every)) RT_TRY(save(r, err));
    }
    if (r->t->step == r->job->schedule.steps) RT_TRY(evaluate(r, err)); /* a run that was only stopped is not evaluated: it goes on */
    RT_TRY(save(r, err));
    r->result->steps = r->t->step;
    if (stop_asked(r) && r->t->step < last_step(r))
        return rt_fail(err, RT_E_INTERRUPTED, "interrupted; saved at step %lld, continue with --resume", (long long)r->t->step);
    return RT_OK;
}

/* ------------------------------------------------------------------- begin */

static bool prefit_line(void *context, int64_t step, double ce) {
    rt_run_state *r = context;
    rt_log(due(step, 50) ? RT_LOG_INFO : RT_LOG_PROGRESS, "projector pre-fit %lld/%lld  ce %.4f", (long long)step, (long long)r->job->projector.prefit_steps, ce);
    return !stop_asked(r);
}

static void unreached(void *context, const char *name) {
    rt_run_state *r = context;
    char text[512];
    rt_error ignored = {0};
    snprintf(text, sizeof text, "parameter %s receives no gradient from this objective", name);
    if (rt_record_warning(r, text, &ignored) != RT_OK) rt_log(RT_LOG_WARNING, "%s", ignored.text);
}

static rt_status begin_weights(rt_run_state *r, rt_error *err) {
    rt_buf text = {0};
    rt_start_text(&r->t->student, r->job, r->t->source, &text);
    if (r->t->source && text.data) rt_log(RT_LOG_INFO, "start: %s", text.data);
    rt_buf_free(&text);
    return rt_trainer_start(r->t, err);
}

static rt_status begin_or_restore(rt_run_state *r, const char *checkpoint, rt_error *err) {
    if (checkpoint) RT_TRY(rt_trainer_restore(r->t, checkpoint, err));
    else RT_TRY(begin_weights(r, err));
    RT_TRY(rt_record_run(r, checkpoint, err));
    rt_graph_unreached(r->t->graph.g, unreached, r);
    if (!checkpoint) return rt_trainer_begin(r->t, prefit_line, r, err);
    rt_log(RT_LOG_INFO, "continuing from %s (step %lld)", checkpoint, (long long)r->t->step);
    r->saved_step = r->t->step;
    snprintf(r->result->checkpoint, sizeof r->result->checkpoint, "%s", checkpoint);
    return RT_OK;
}

static rt_status refuse_used(const rt_run_state *r, rt_error *err) {
    if (r->o->resume || !rt_file_exists(r->log_path)) return RT_OK;
    return rt_fail(err, RT_E_CONFIG, "%s holds a run already: use --resume, or another --out", r->job->run.out);
}

/* What keeps the job from being planned is said when it is opened, with its place. */
static rt_status check_memory(const rt_run_state *r, int64_t head_rows, rt_error *err) {
    rt_trainer *t;
    rt_error why = {0};
    if (r->job->run.memory_limit == 0) return RT_OK;
    rt_status s = rt_trainer_sketch(&t, r->job, head_rows, &why);
    if (s != RT_OK) return s == RT_E_NOMEM ? rt_fail(err, s, "%s", why.text) : RT_OK;
    s = rt_cost_fits(t, head_rows, err);
    rt_trainer_close(t);
    return s;
}

static rt_status run(rt_run_state *r, rt_error *err) {
    char *checkpoint = NULL;
    int64_t keep = 0, head_rows = 0;
    RT_TRY(refuse_used(r, err));
    if (r->o->resume && rt_dir_exists(r->root)) {
        RT_TRY(rt_checkpoint_clean(r->root, err));
        rt_status found = rt_resume_find(r, &checkpoint, &keep, &head_rows, err);
        if (found != RT_OK) return rt_free(checkpoint), found;
    }
    rt_status s = check_memory(r, head_rows, err);
    if (s == RT_OK) s = rt_trainer_open(&r->t, r->job, head_rows, err); /* everything is checked before anything is written */
    if (s == RT_OK) s = rt_dir_make(r->root, err);
    if (s == RT_OK) s = rt_runlog_open(r->log_path, checkpoint ? keep : 0, &r->log, err);
    if (s == RT_OK) s = begin_or_restore(r, checkpoint, err);
    if (s == RT_OK) s = loop(r, err);
    rt_free(checkpoint);
    return s;
}

/* Also of a run that was interrupted, unless before its first step. The rates once more when the run's memory is free again. */
static rt_status report_profile(rt_run_state *r, rt_error *err) {
    if (!rt_run_profile_began(r->profile)) return RT_OK;
    RT_TRY(rt_run_profile_end(r->profile, r->t, err));
    rt_trainer_close(r->t);
    r->t = NULL;
    RT_TRY(rt_run_profile_rates(r->profile, err));
    RT_TRY(rt_record_profile(r, err));
    rt_run_profile_text(r->profile, r->o->profile);
    return r->o->profile->failed ? rt_fail(err, RT_E_NOMEM, "out of memory: profile") : RT_OK;
}

rt_status rt_run(const rt_job *job, const rt_run_options *o, rt_run_result *result, rt_error *err) {
    rt_run_state r = {.job = job, .o = o, .saved_step = -1, .evaluated_step = -1, .result = result};
    *result = (rt_run_result){0};
    if (!job->run.out) return rt_fail(err, RT_E_CONFIG, "run.out is not set: say where the run goes (--out DIR)");
    if (strlen(job->run.out) > 3900) return rt_fail(err, RT_E_CONFIG, "run.out is too long a path");
    snprintf(r.root, sizeof r.root, "%s/checkpoints", job->run.out);
    snprintf(r.log_path, sizeof r.log_path, "%s/log.jsonl", job->run.out);
    rt_threads_set((int)job->run.threads);
    rt_status s = o->profile ? rt_run_profile_open(&r.profile, err) : RT_OK;
    if (s == RT_OK) s = run(&r, err);
    if (o->profile && s == RT_OK) s = report_profile(&r, err);
    if (o->profile && s == RT_E_INTERRUPTED) {
        rt_error ignored = {0};
        if (report_profile(&r, &ignored) != RT_OK) rt_log(RT_LOG_WARNING, "no profile: %s", ignored.text);
    }
    rt_run_profile_close(r.profile);
    rt_runlog_close(r.log);
    rt_trainer_close(r.t);
    return s;
}
