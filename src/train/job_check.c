/* job_check.c - keys against each other; each refusal gives its reason in one line. */
#include "train/job_private.h"
#include <string.h>

/*      name           teacher logits routers */
#define LOSSES(X)                                                                                                      \
    X(next_token, false, false, false)                                                                          \
    X(forward_kl, true, true, false)                                                                            \
    X(reverse_kl, true, true, false)                                                                            \
    X(jsd, true, true, false)                                                                                   \
    X(tv, true, true, false)                                                                                    \
    X(balance, false, false, true)                                                                              \
    X(router_z, false, false, true)
static const rt_job_loss losses[] = {
#define X(name, ...) {#name, __VA_ARGS__},
    LOSSES(X)
#undef X
};
const char *const rt_job_loss_names[] = {
#define X(name, ...) #name,
    LOSSES(X)
#undef X
    NULL};

const rt_job_loss *rt_job_loss_find(const char *name) {
    for (size_t i = 0; i < sizeof losses / sizeof *losses; i++)
        if (strcmp(losses[i].name, name) == 0) return &losses[i];
    return NULL;
}

static rt_status refuse_term(int64_t i, const rt_job_objective *o, const char *why, rt_error *err) {
    return rt_fail(err, RT_E_CONFIG, "objective[%lld] (%s): %s", (long long)i, o->loss, why);
}

static const char *term_problem(const rt_job *job, const rt_job_objective *o, const rt_job_loss *l) {
    bool tempered = o->temperature != 1 || o->final_temperature != 1;
    if (l->teacher && !job->teacher.path) return "needs a teacher, and teacher.path is not set";
    if (l->logits && job->projector.kind == RT_PROJECTOR_NONE) return "needs the teacher's logits, and projector.kind is none";
    if (l->routers && !rt_job_moe(job)) return "needs experts, and student.arch is a dense family";
    if (!l->logits && tempered) return "has no temperature";
    if (o->label_smoothing != 0 && strcmp(o->loss, "next_token") != 0) return "has no label_smoothing; next_token has";
    if (o->beta != 0.5 && strcmp(o->loss, "jsd") != 0) return "has no beta; jsd has";
    return NULL;
}

static rt_status check_objective(const rt_job *job, rt_error *err) {
    const rt_job_objective *o = rt_job_objectives(job);
    double total = 0;
    for (int64_t i = 0; i < job->objective.count; i++, o++) {
        if (!o->loss) return rt_fail(err, RT_E_CONFIG, "objective[%lld]: 'loss' is not set", (long long)i);
        const char *problem = term_problem(job, o, rt_job_loss_find(o->loss));
        if (problem) return refuse_term(i, o, problem, err);
        total += o->weight + o->final_weight;
    }
    return total > 0 ? RT_OK : rt_fail(err, RT_E_CONFIG, "objective: every weight is 0");
}

static rt_status check_student(const rt_job *job, rt_error *err) {
    const rt_job_student *s = &job->student;
    rt_model_config config;
    if (s->init != RT_INIT_UPCYCLE && (s->granularity != 1 || s->upcycle_noise != 0))
        return rt_fail(err, RT_E_CONFIG, "student.%s is set, and belongs to student.init: upcycle", s->granularity != 1 ? "granularity" : "upcycle_noise");
    if (s->init == RT_INIT_RANDOM) RT_TRY(rt_job_student_config(job, s->vocab_size ? s->vocab_size : 1, &config, err));
    if (job->data.sequence_length > s->max_position)
        return rt_fail(err, RT_E_CONFIG, "data.sequence_length %lld is longer than student.max_position %lld",
                       (long long)job->data.sequence_length, (long long)s->max_position);
    return RT_OK;
}

static rt_status check_precision(const rt_job *job, rt_error *err) {
    const char *loss = job->precision.loss;
    if (strcmp(loss, "inherit") == 0 || strcmp(loss, "f32") == 0) return RT_OK;
    return rt_fail(err, RT_E_CONFIG, "precision.loss: found %s, expected f32: losses are f32 with f64 sums; f64 is the tests' reference", loss);
}

static rt_status check_run(const rt_job *job, rt_error *err) {
    int64_t rows;
    if (job->data.train.count == 0) return rt_fail(err, RT_E_CONFIG, "data.train: no training files are given (--data FILE, or a job file)");
    if (job->data.weights.count && job->data.weights.count != job->data.train.count)
        return rt_fail(err, RT_E_CONFIG, "data.weights: found %lld numbers, expected %lld: one for each file of data.train",
                       (long long)job->data.weights.count, (long long)job->data.train.count);
    if (job->data.valid.count == 0 && job->data.valid_fraction == 0)
        return rt_fail(err, RT_E_CONFIG, "data.valid_fraction is 0, and data.valid names no files: nothing to validate on");
    if (__builtin_mul_overflow(job->data.batch, job->data.sequence_length, &rows) || rows > INT32_MAX)
        return rt_fail(err, RT_E_CONFIG, "data.batch x data.sequence_length: found %lld x %lld tokens, expected at most %d",
                       (long long)job->data.batch, (long long)job->data.sequence_length, INT32_MAX);
    if (job->schedule.steps > 0 && job->schedule.warmup > job->schedule.steps)
        return rt_fail(err, RT_E_CONFIG, "schedule.warmup %lld is longer than schedule.steps %lld: set both",
                       (long long)job->schedule.warmup, (long long)job->schedule.steps);
    if (job->optimizer.betas.count != 2)
        return rt_fail(err, RT_E_CONFIG, "optimizer.betas: found %lld numbers, expected 2",
                       (long long)job->optimizer.betas.count);
    return RT_OK;
}

rt_status rt_job_check(const rt_job *job, rt_error *err) {
    if (!job->teacher.path && job->projector.kind != RT_PROJECTOR_NONE)
        return rt_fail(err, RT_E_CONFIG, "projector.kind needs a teacher, and teacher.path is not set");
    RT_TRY(check_run(job, err));
    RT_TRY(check_student(job, err));
    RT_TRY(check_precision(job, err));
    return check_objective(job, err);
}
