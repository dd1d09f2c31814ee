/* run_log.c - the records of a run (interfaces.md, "Run log"), and the lines for people that are rendered from them. */
#include "kernels/gemm.h"
#include "kernels/isa.h"
#include "train/run_private.h"
#include <retort/base/threads.h>
#include <retort/infer/expert_report.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

static bool set(json_t *o, const char *key, json_t *v) { return json_object_set_new(o, key, v) == 0; }
static bool set_real(json_t *o, const char *key, double x) { return set(o, key, rt_json_number(x)); }
static bool set_text(json_t *o, const char *key, const char *text) { return !text || set(o, key, json_string(text)); }

static json_t *record(const char *kind, int64_t step) {
    json_t *o = json_object();
    if (o && set(o, "record", json_string(kind)) && (step < 0 || set(o, "step", json_integer(step)))) return o;
    json_decref(o);
    return NULL;
}
static rt_status append(rt_run_state *r, json_t *o, bool ok, rt_error *err) {
    if (ok) return rt_runlog_append(r->log, o, err);
    json_decref(o);
    return rt_fail(err, RT_E_NOMEM, "out of memory: log record");
}

/* --------------------------------------------------------------------- run */

static void cpu_model(char *text, size_t n) {
    char line[512];
    FILE *f = fopen("/proc/cpuinfo", "r");
    snprintf(text, n, "unknown");
    while (f && fgets(line, sizeof line, f))
        if (strncmp(line, "model name", 10) == 0 && strchr(line, ':')) {
            line[strcspn(line, "\n")] = 0;
            snprintf(text, n, "%s", strchr(line, ':') + 2);
            break;
        }
    if (f) fclose(f);
}
static json_t *precision_json(const rt_precision *p) {
    rt_buf b = {0};
    rt_precision_text(p, &b);
    json_t *text = b.failed ? NULL : json_string(b.data);
    rt_buf_free(&b);
    return text;
}
static json_t *machine_json(void) {
    char cpu[256];
    cpu_model(cpu, sizeof cpu);
    return json_pack("{s:s, s:s, s:i, s:s, s:s}", "cpu", cpu, "isa", rt_isa_name(rt_isa_level()), "threads", rt_threads(), "products", rt_gemm_f32_library(),
                     "version", RT_VERSION);
}
static json_t *model_json(const rt_model_config *c) {
    rt_param_count p = rt_model_parameters(c);
    return json_pack("{s:s, s:I, s:I, s:I}", "arch", c->arch->name, "vocab_size", (json_int_t)c->vocab_size, "parameters", (json_int_t)p.total,
                     "active_parameters", (json_int_t)p.active);
}

/* What each training file gives to an epoch. */
static json_t *sources_json(const rt_trainer *t) {
    const rt_job_data *d = &t->job->data;
    int64_t n;
    const rt_loader_source *s = rt_loader_sources(t->loader, &n);
    json_t *list = json_array();
    for (int64_t i = 0; list && i < n; i++) {
        json_t *o = json_pack("{s:s, s:f, s:I, s:I}", "path", d->train.item[i], "weight", d->weights.item[i], "windows", (json_int_t)s[i].windows,
                              "windows_per_epoch", (json_int_t)s[i].places);
        if (json_array_append_new(list, o) != 0) return json_decref(list), NULL;
        rt_log(RT_LOG_INFO, "%s: %lld windows, weight %g: %lld an epoch", d->train.item[i], (long long)s[i].windows, d->weights.item[i], (long long)s[i].places);
    }
    return list;
}
/* How many tokens of masked data may be targets; nothing where all may. */
static void say_masked(const rt_trainer *t) {
    rt_token_stream_info n = rt_token_stream_about(t->data.train_stream);
    if (n.masked) rt_log(RT_LOG_INFO, "training data: %lld tokens in %lld documents; only what its mask lets through is learnt", (long long)n.tokens, (long long)n.documents);
}

rt_status rt_record_run(rt_run_state *r, const char *resumed_from, rt_error *err) {
    const rt_trainer *t = r->t;
    json_t *o = record("run", t->step);
    bool ok = o && set_text(o, "command", r->o->command) && set_text(o, "resumed_from", resumed_from) && set(o, "configuration", rt_job_json(r->job)) && set(o, "machine", machine_json()) &&
              set(o, "student", model_json(&t->config)) && set(o, "precision_student", precision_json(&t->student.precision)) &&
              set_text(o, "train_hash", t->data.train_hash) && set_text(o, "valid_hash", t->data.valid_hash) &&
              set_text(o, "tokenizer_hash", t->data.tokenizer ? rt_tokenizer_hash(t->data.tokenizer) : NULL) && set(o, "head_rows", json_integer(t->graph.head_rows));
    if (ok && r->job->data.weights.count) ok = set(o, "sources", sources_json(t));
    say_masked(t);
    if (ok && t->start) ok = json_object_set(o, "start", t->start) == 0;
    if (ok && r->job->teacher.path)
        ok = set(o, "teacher", model_json(rt_hf_config(t->teacher_files.files))) && set(o, "precision_teacher", precision_json(&t->teacher_files.precision)) &&
             set_text(o, "teacher_hash", t->teacher_hash.hex);
    rt_param_count p = rt_model_parameters(&t->config);
    rt_log(RT_LOG_INFO, "student %s: %.2f M parameters, %.2f M active; %lld windows of %lld tokens an epoch, %lld steps", t->config.arch->name,
           (double)p.total / 1e6, (double)p.active / 1e6, (long long)rt_loader_windows(t->loader), (long long)r->job->data.sequence_length,
           (long long)r->job->schedule.steps);
    return append(r, o, ok, err);
}

/* -------------------------------------------------------------------- step */

static json_t *term_json(double value, double weight) {
    json_t *o = json_object();
    if (o && set_real(o, "value", value) && set_real(o, "weight", weight)) return o;
    json_decref(o);
    return NULL;
}
static json_t *terms_json(const rt_trainer *t, int64_t step) {
    json_t *o = json_object();
    for (int64_t i = 0; o && i < t->job->objective.count; i++) {
        const rt_job_objective *e = rt_job_objectives(t->job) + i;
        if (!set(o, e->loss, term_json(rt_trainer_objective_value(t, i), rt_job_weight(t->job, e, step)))) return json_decref(o), NULL;
    }
    return o;
}

static void duration(double s, char text[32]) {
    if (s < 100) snprintf(text, 32, "%.0f s", s);
    else if (s < 5400) snprintf(text, 32, "%.0f min", s / 60);
    else snprintf(text, 32, "%.1f h", s / 3600);
}

static void step_line(rt_run_state *r, const rt_step_report *s, rt_log_level level) {
    char terms[256] = "", eta[32];
    size_t used = 0;
    for (int64_t i = 0; i < r->job->objective.count && used < sizeof terms; i++)
        used += (size_t)snprintf(terms + used, sizeof terms - used, "  %s %.4f", rt_job_objectives(r->job)[i].loss, rt_trainer_objective_value(r->t, i));
    int64_t last = r->job->run.stop_after > 0 ? r->job->run.stop_after : r->job->schedule.steps;
    duration((double)(last - s->step) * r->step_seconds, eta);
    rt_log(level, "step %lld/%lld  total %.4f%s  lr %.2e  grad %.2f  %.0f tok/s  %s left", (long long)s->step, (long long)r->job->schedule.steps, s->total,
           terms, s->lr, s->optim.grad_norm, s->seconds > 0 ? (double)s->tokens / s->seconds : 0, eta);
}

static json_t *drift_json(const rt_ema *e, int64_t experts) {
    json_t *a = json_array();
    for (int64_t i = 0; a && i < experts; i++)
        if (json_array_append_new(a, rt_json_number(rt_ema_drift(e, i))) != 0) return json_decref(a), NULL;
    return a;
}
static rt_status record_routing(rt_run_state *r, const rt_measures *m, const char *phase, rt_error *err) {
    for (int64_t l = 0; l < m->layers; l++) {
        if (!m->mixture[l]) continue;
        json_t *o = rt_measures_layer_json(m, l);
        bool ok = o && set(o, "record", json_string("routing")) && set(o, "step", json_integer(r->t->step)) && set_text(o, "phase", phase) &&
                  set(o, "phi_drift", drift_json(&r->t->ema[l], m->experts));
        RT_TRY(append(r, o, ok, err));
    }
    return RT_OK;
}

rt_status rt_record_step(rt_run_state *r, const rt_step_report *s, rt_error *err) {
    json_t *o = record("step", s->step);
    r->step_seconds = r->step_seconds > 0 ? 0.9 * r->step_seconds + 0.1 * s->seconds : s->seconds;
    double ratio = s->optim.param_norm > 0 ? s->optim.update_norm / s->optim.param_norm : 0;
    bool ok = o && set(o, "tokens", json_integer(s->tokens)) && set(o, "tokens_total", json_integer(r->t->tokens)) && set_real(o, "total", s->total) &&
              set(o, "terms", terms_json(r->t, s->step - 1)) && set_real(o, "lr", s->lr) && set_real(o, "grad_norm", s->optim.grad_norm) &&
              set_real(o, "clip", s->optim.clip) && set_real(o, "param_norm", s->optim.param_norm) && set_real(o, "update_ratio", ratio) &&
              set_real(o, "seconds", s->seconds);
    if (ok && r->t->config.experts > 0) ok = set_real(o, "router_z", rt_measures_router_z(&r->t->measures)) && set_real(o, "balance", rt_measures_balance(&r->t->measures));
    RT_TRY(append(r, o, ok, err));
    bool plain = s->step % r->job->run.log_every == 0 || s->step == 1;
    step_line(r, s, plain ? RT_LOG_INFO : RT_LOG_PROGRESS);
    return plain ? record_routing(r, &r->t->measures, "train", err) : RT_OK;
}

/* ----------------------------------------------------- evaluation and rest */

/* Of a teacher with experts: what its budget did, since it was opened. A record of its own, for it tells of this process. */
static rt_status record_experts(rt_run_state *r, rt_error *err) {
    const rt_weights *w = &r->t->teacher_files.weights;
    if (!w->bank) return RT_OK;
    json_t *o = rt_experts_json(w);
    bool ok = o && set(o, "record", json_string("experts")) && set(o, "step", json_integer(r->t->step));
    rt_experts_log("teacher's experts", w);
    return append(r, o, ok, err);
}

rt_status rt_record_evaluation(rt_run_state *r, const rt_evaluation *v, rt_error *err) {
    json_t *o = rt_evaluator_json(r->t->evaluator, v);
    bool ok = o && set(o, "record", json_string("eval")) && set(o, "step", json_integer(r->t->step));
    char teacher[160] = "";
    if (v->with_teacher)
        snprintf(teacher, sizeof teacher, "  teacher %.4f  kl %.4f  top-1 %.1f %%  acceptance %.1f %%", v->teacher_ce, v->kl_t1, 100 * v->top1_agreement,
                 100 * v->acceptance);
    rt_log(RT_LOG_INFO, "eval at step %lld: ce %.4f  ppl %.3f  %.4f bits/byte%s", (long long)r->t->step, v->ce, v->perplexity, v->bits_per_byte, teacher);
    RT_TRY(append(r, o, ok, err));
    RT_TRY(record_experts(r, err));
    if (v->with_teacher && v->projector_kl > v->kl_t1)
        RT_TRY(rt_record_warning(r, "the projector is farther from the teacher than the student is: its fit bounds what can be learned", err));
    return RT_OK;
}

rt_status rt_record_checkpoint(rt_run_state *r, const char *path, rt_error *err) {
    json_t *o = record("checkpoint", r->t->step);
    rt_log(RT_LOG_INFO, "saved %s", path);
    return append(r, o, o && set_text(o, "path", path), err);
}

rt_status rt_record_profile(rt_run_state *r, rt_error *err) {
    json_t *o = rt_run_profile_json(r->profile);
    return append(r, o, o != NULL, err);
}

rt_status rt_record_warning(rt_run_state *r, const char *text, rt_error *err) {
    json_t *o = record("warning", r->t ? r->t->step : -1);
    rt_log(RT_LOG_WARNING, "%s", text);
    return append(r, o, o && set_text(o, "text", text), err);
}
