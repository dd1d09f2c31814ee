/* bench_r1.c - the reference job R1: a whole distillation step through the trainer, as a share of the product rate, with its
 * roles, its memory, its evaluation, and the teacher alone. */
#include "harness.h"
#include "kernels/measure.h"
#include "roles.h"
#include <retort/base/mem.h>
#include <retort/base/threads.h>
#include <string.h>

enum { HASH_STEPS = 3 };
static bench_roles roles; /* too large for a stack */

/* ----------------------------------------------------------------------------------------------------- the step */

/* What must not change when speed does: the objective and the weights' bits after three steps. */
static rt_status first_steps(bench_job *job, const char *name, rt_error *err) {
    for (int i = 0; i < HASH_STEPS; i++) RT_TRY(bench_job_step(job, err));
    printf("# r1.%s: after %d steps the objective is %.9g and the weights' hash %016llx\n", name, HASH_STEPS, job->report.total,
           (unsigned long long)bench_job_hash(job));
    return RT_OK;
}

static void tokens_per_second(bench *b, const char *name, double tokens) {
    double x[BENCH_ROUNDS_MAX];
    for (int r = 0; r < b->rounds; r++) x[r] = tokens / b->round[r].seconds[0];
    bench_figure(b, name, "tokens/s", x, b->rounds, NULL);
}

static rt_status steps(bench *b, bench_job *job, const char *name, rt_error *err) {
    char text[64];
    bench_case step = {.flop = bench_job_flop(job), .run = bench_roles_step, .context = &roles, .calls = 1};
    memset(&roles, 0, sizeof roles);
    roles.job = job;
    snprintf(step.name, sizeof step.name, "%s.step", name);
    RT_TRY(first_steps(job, name, err));
    double peak = bench_peak_mib(); /* before the yardstick takes its 90 MiB */
    RT_TRY(bench_sample(b, &step, 1, false, err));
    bench_report(b, &step, 0);
    snprintf(text, sizeof text, "%s.tokens", name), tokens_per_second(b, text, job->tokens);
    snprintf(text, sizeof text, "%s.memory", name), bench_number(b, text, "MiB", peak);
    return RT_OK;
}

static rt_status with_f32_teacher(bench *b, rt_error *err) {
    static const char *const f32[] = {"precision.teacher=f32", NULL};
    bench_job_spec spec = bench_job_r1();
    bench_job job;
    if (!bench_wanted(b, "f32")) return RT_OK;
    spec.more = f32;
    bench_peak_reset();
    RT_TRY(bench_job_open(&job, &spec, err));
    rt_status s = steps(b, &job, "f32", err);
    bench_job_close(&job);
    return s;
}

/* ------------------------------------------------------------------------------------------------ recomputation */

/* Memory while it is alone, then its speed beside the plain job's. */
static rt_status recomputation(bench *b, rt_error *err) {
    static const char *const more[] = {"run.recompute=yes", NULL};
    bench_job_spec spec = bench_job_r1(), plain = spec;
    bench_job again, whole = {0};
    if (!bench_wanted(b, "recompute")) return RT_OK;
    spec.more = more;
    rt_mem_trim();
    bench_peak_reset();
    RT_TRY(bench_job_open(&again, &spec, err));
    rt_status s = first_steps(&again, "recompute", err);
    if (s == RT_OK) {
        bench_number(b, "recompute.memory", "MiB", bench_peak_mib());
        bench_number(b, "recompute.plan", "MiB", (double)rt_graph_stats_get(again.trainer->graph.g).arena_bytes / 1048576);
        s = bench_job_open(&whole, &plain, err);
    }
    bench_case c[] = {{.name = "recompute.step", .run = bench_job_step, .context = &again, .calls = 1},
                      {.name = "recompute.plain", .run = bench_job_step, .context = &whole, .calls = 1, .limit = BENCH_NONE}};
    if (s == RT_OK) c[0].flop = c[1].flop = bench_job_flop(&whole), s = bench_sample(b, c, 2, true, err);
    if (s == RT_OK) bench_report(b, c, 0), bench_ratio(b, "recompute.speed", 1, 0);
    if (whole.trainer) bench_job_close(&whole);
    bench_job_close(&again);
    return s;
}

/* -------------------------------------------------------------------------------------------------- evaluation */

static rt_status evaluate(void *context, rt_error *err) {
    bench_job *job = context;
    rt_evaluation v;
    return rt_trainer_evaluate(job->trainer, &v, err);
}
static rt_status evaluation(bench *b, bench_job *job, rt_error *err) {
    if (!bench_wanted(b, "evaluation")) return RT_OK;
    double batches = (double)job->job.run.eval_tokens / job->tokens;
    bench_case c = {.name = "evaluation", .flop = batches * bench_job_evaluation_flop(job), .run = evaluate, .context = job, .calls = 1};
    RT_TRY(bench_sample(b, &c, 1, false, err));
    bench_report(b, &c, 0);
    bench_number(b, "evaluation.plan", "MiB", (double)rt_graph_stats_get(rt_evaluator_graph(job->trainer->evaluator)).arena_bytes / 1048576);
    bench_number(b, "native.plan", "MiB", (double)rt_graph_stats_get(job->trainer->graph.g).arena_bytes / 1048576);
    return RT_OK;
}

/* --------------------------------------------------------------------------------------------- the teacher alone */

typedef struct teacher {
    rt_forward f;
    rt_batch batch;
} teacher;
static rt_status teacher_run(void *context, rt_error *err) {
    teacher *t = context;
    return rt_forward_run(&t->f, &t->batch, err);
}
static rt_status teacher_open(teacher *t, const bench_job *job, int64_t windows, bool panels, rt_error *err) {
    const rt_frozen *files = &job->trainer->teacher_files;
    RT_TRY(rt_batch_create(&t->batch, windows, job->T, err));
    rt_batch_fill_from(&t->batch, &job->trainer->valid_windows, 0);
    return rt_forward_open(&t->f, &files->weights, &files->precision, &(rt_forward_options){.name = "teacher", .windows = windows, .T = job->T, .cache_panels = panels}, err);
}
static void teacher_close(teacher *t) { rt_forward_close(&t->f), rt_batch_free(&t->batch); }

/* The layers alone: the head's product belongs to the head. */
static rt_status teacher_alone(bench *b, const bench_job *job, rt_error *err) {
    static const int64_t windows[] = {1, 2, 4, 8};
    enum { WINDOWS = sizeof windows / sizeof *windows, SHAPES = 2 * WINDOWS }; /* packed in half; in f32 */
    teacher t[SHAPES] = {0};
    bench_case c[SHAPES] = {0};
    rt_status s = RT_OK;
    if (!bench_wanted(b, "teacher")) return RT_OK;
    for (int i = 0; s == RT_OK && i < SHAPES; i++) {
        double rows = (double)(windows[i % WINDOWS] * job->T);
        c[i] = (bench_case){.flop = 2 * rows * (double)rt_model_parameters(bench_job_teacher(job)).active_body, .run = teacher_run, .context = &t[i], .calls = 1};
        snprintf(c[i].name, sizeof c[i].name, "teacher.%d rows%s", (int)rows, i < WINDOWS ? "" : ", panels");
        s = teacher_open(&t[i], job, windows[i % WINDOWS], i >= WINDOWS, err);
    }
    if (s == RT_OK) s = bench_sample(b, c, SHAPES, false, err);
    if (s == RT_OK) bench_report_all(b, c, SHAPES);
    for (int i = 0; i < SHAPES; i++) teacher_close(&t[i]);
    return s;
}

/* ------------------------------------------------------------------------------------------------------- threads */

typedef struct threaded {
    bench_job *job;
    int threads;
} threaded;
static rt_status threaded_step(void *context, rt_error *err) {
    const threaded *t = context;
    int before = rt_threads();
    rt_threads_set(t->threads);
    rt_status s = bench_job_step(t->job, err);
    rt_threads_set(before);
    return s;
}
static rt_status threads(bench *b, bench_job *job, rt_error *err) {
    if (!bench_wanted(b, "threads") || rt_threads() < 2) return RT_OK;
    threaded one = {job, 1}, all = {job, rt_threads()};
    bench_case c[] = {{.name = "threads.1", .flop = bench_job_flop(job), .run = threaded_step, .context = &one, .calls = 1, .limit = BENCH_NONE},
                      {.name = "threads.all", .flop = bench_job_flop(job), .run = threaded_step, .context = &all, .calls = 1, .limit = BENCH_NONE}};
    RT_TRY(bench_sample(b, c, 2, true, err));
    bench_report_all(b, c, 2);
    bench_ratio(b, "threads.gain", 0, 1);
    return RT_OK;
}

/* ------------------------------------------------------------------------------------------------------------------ */

/* Only where it is asked for by name: the figures are those of the roles. */
static rt_status roofline(bench *b, bench_job *job, rt_error *err) {
    double before, after;
    if (!b->only || strcmp(b->only, "r1.roofline") != 0) return RT_OK;
    RT_TRY(rt_measure_copy_rate(&before, err));
    RT_TRY(steps(b, job, "native", err));
    RT_TRY(rt_measure_copy_rate(&after, err));
    bench_number(b, "roofline.copy", "GB/s", (before + after) / 2);
    bench_roofline(b, &roles, (before + after) / 2);
    return RT_OK;
}
static rt_status native(bench *b, bench_job *job, rt_error *err) {
    if (bench_wanted(b, "native") || bench_wanted(b, "role")) {
        RT_TRY(steps(b, job, "native", err));
        bench_roles_report(b, &roles, "role");
    }
    RT_TRY(roofline(b, job, err));
    RT_TRY(evaluation(b, job, err));
    RT_TRY(teacher_alone(b, job, err));
    return threads(b, job, err);
}
static rt_status run(bench *b, rt_error *err) {
    static const char *const more[] = {"run.eval_tokens=2048", NULL};
    bench_job_spec spec = bench_job_r1();
    bench_job job;
    spec.more = more;
    RT_TRY(bench_job_open(&job, &spec, err));
    rt_status s = native(b, &job, err);
    bench_job_close(&job);
    if (s == RT_OK) s = recomputation(b, err);
    return s == RT_OK ? with_f32_teacher(b, err) : s;
}
BENCH("r1", 9, run)
