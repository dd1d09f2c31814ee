/* bench_host.c - what a step of R1 costs beside its arithmetic: coherence, health and z-loss; loader, tokenizer, log, checkpoint.
 *
 * Coherence and z-loss are measured twice. Whole steps with and without them, in pairs whose order alternates: the honest figure,
 * whose 95 % interval says what it can resolve. And part by part: the experts with and without their trace, health and coherence
 * from the sums on, the nodes of the z-loss: each is a difference of milliseconds, not of steps. */
#include "harness.h"
#include "roles.h"
#include <retort/base/file.h>
#include <retort/base/log.h>
#include <stdio.h>

static const char *const neither[] = {"run.trace=no",
                                      "objective=[{loss: forward_kl, weight: 0.7, temperature: 2}, {loss: next_token, weight: 0.3}, {loss: balance, weight: 0.01}]", NULL};

/* ------------------------------------------------------------------------------------------------ coherence, health, z */

static rt_status measures(void *context, rt_error *err) { /* of one micro-batch, as after each student's forward */
    rt_trainer *t = ((bench_job *)context)->trainer;
    (void)err;
    rt_measures_add(&t->measures, &t->graph, rt_loader_batch(t->loader, 0));
    return RT_OK;
}

static void say_interval(bench *b, const char *name, const double *sorted) {
    int low, high;
    bench_interval(b->rounds, &low, &high);
    if (bench_wanted(b, name)) printf("# host.%s: the median lies between %+.2f and %+.2f %% of the step with 95 %% (%d pairs)\n", name, sorted[low], sorted[high], b->rounds);
}
/* 100 (t_i / t_j - 1), on the wall and by processor time. */
static void in_percent(bench *b, const char *name, int i, int j) {
    char by_cpu[64];
    double x[BENCH_ROUNDS_MAX], y[BENCH_ROUNDS_MAX];
    snprintf(by_cpu, sizeof by_cpu, "%s.cpu", name);
    for (int r = 0; r < b->rounds; r++) {
        x[r] = 100 * (b->round[r].seconds[i] / b->round[r].seconds[j] - 1);
        y[r] = 100 * (b->round[r].cpu[i] / b->round[r].cpu[j] - 1);
    }
    bench_figure(b, name, "% step", x, b->rounds, NULL), say_interval(b, name, x);
    bench_figure(b, by_cpu, "% step", y, b->rounds, NULL), say_interval(b, by_cpu, y);
}
static void part_of_step(bench *b, const char *name, int i, int step, double times) {
    double x[BENCH_ROUNDS_MAX], t[BENCH_ROUNDS_MAX];
    for (int r = 0; r < b->rounds; r++) t[r] = times * b->round[r].seconds[i], x[r] = 100 * t[r] / b->round[r].seconds[step];
    bench_figure(b, name, "% step", x, b->rounds, &(bench_detail){.seconds = bench_median(t, b->rounds)});
}

static rt_status coherence(bench *b, bench_job *with, rt_error *err) {
    bench_job_spec spec = bench_job_r1();
    bench_job without;
    if (!bench_wanted(b, "trace")) return RT_OK;
    spec.more = neither;
    RT_TRY(bench_job_open(&without, &spec, err));
    bench_case c[] = {{.name = "trace.with", .run = bench_job_step, .context = with, .calls = 1, .limit = BENCH_NONE},
                      {.name = "trace.without", .run = bench_job_step, .context = &without, .calls = 1, .limit = BENCH_NONE},
                      {.name = "trace.measures", .run = measures, .context = with, .limit = BENCH_NONE},
                      {.name = "trace.measures_without", .run = measures, .context = &without, .limit = BENCH_NONE}};
    rt_status s = bench_sample(b, c, 4, true, err);
    if (s == RT_OK) {
        bench_report_all(b, c, 2);
        in_percent(b, "trace.step", 0, 1);
        part_of_step(b, "trace.health_and_coherence", 2, 0, 1);
        part_of_step(b, "trace.health", 3, 1, 1);
    }
    bench_job_close(&without);
    return s;
}

/* The experts of each, by their profiles: the same step's other roles are the yardstick that a pair shares. */
typedef struct pair {
    bench_roles with, without;
} pair;
static rt_status traced_roles(bench *b, bench_job *with, rt_error *err) {
    static const char *const z[] = {"student.router_z", "student.router_z.backward", NULL};
    static const char *const experts[] = {"student.experts", NULL};
    static pair p;
    static const char *const untraced[] = {"run.trace=no", NULL};
    bench_job_spec spec = bench_job_r1();
    bench_job without;
    if (!bench_wanted(b, "roles")) return RT_OK;
    spec.more = untraced;
    RT_TRY(bench_job_open(&without, &spec, err));
    p.with.job = with, p.without.job = &without;
    bench_case c[] = {{.name = "roles.with", .run = bench_roles_step, .context = &p.with, .calls = 1, .limit = BENCH_NONE},
                      {.name = "roles.without", .run = bench_roles_step, .context = &p.without, .calls = 1, .limit = BENCH_NONE}};
    rt_status s = bench_sample(b, c, 2, true, err);
    if (s == RT_OK) {
        bench_report_all(b, c, 2);
        bench_roles_sum(b, &p.with, "roles.z", z, false);
        bench_roles_sum(b, &p.with, "roles.experts_traced", experts, false);
        bench_roles_sum(b, &p.without, "roles.experts_untraced", experts, false);
    }
    bench_job_close(&without);
    return s;
}

/* --------------------------------------------------------------------------------------------- loader, log, checkpoint */

typedef struct host {
    bench_job *job;
    rt_runlog *log;
    rt_encoder *encoder;
    rt_ids ids;
    rt_buf text;
    char root[96];
} host;

static rt_status loader(void *context, rt_error *err) { return (void)err, rt_loader_next(((host *)context)->job->trainer->loader), RT_OK; }
/* One record with as many members as a step's, and those of the routing of all layers, which stand in the log every log_every steps. */
static rt_status log_step(void *context, rt_error *err) {
    const host *h = context;
    json_t *o = json_object();
    for (int i = 0; i < 24; i++) json_object_set_new(o, (char[]){(char)('a' + i), 0}, json_real(i / 7.0));
    RT_TRY(rt_runlog_append(h->log, o, err));
    json_t *layers = rt_measures_layers_json(&h->job->trainer->measures), *all = json_pack("{s:o}", "layers", layers);
    return rt_runlog_append(h->log, all, err);
}
static rt_status encode(void *context, rt_error *err) {
    host *h = context;
    h->ids.size = 0;
    return rt_encoder_encode(h->encoder, h->text.data, h->text.size, false, &h->ids, NULL, err);
}
static rt_status checkpoint(void *context, rt_error *err) {
    const host *h = context;
    return rt_trainer_save(h->job->trainer, h->root, NULL, err);
}
static rt_status step(void *context, rt_error *err) { return bench_job_step(((host *)context)->job, err); }

static rt_status open_host(host *h, bench_job *job, rt_error *err) {
    char path[128];
    *h = (host){.job = job};
    snprintf(h->root, sizeof h->root, "%s/checkpoints", job->folder), snprintf(path, sizeof path, "%s/log.jsonl", job->folder);
    for (int i = 0; i < 4096; i++) rt_buf_printf(&h->text, "The quick brown fox number %d jumps over %d lazy dogs. ", i, i * 7 % 100);
    RT_TRY(rt_runlog_open(path, 0, &h->log, err));
    RT_TRY(rt_dir_make(h->root, err));
    return rt_encoder_new(&h->encoder, job->trainer->data.tokenizer, err);
}
static void close_host(host *h) {
    rt_runlog_close(h->log), rt_encoder_free(h->encoder);
    rt_ids_free(&h->ids), rt_buf_free(&h->text);
}

enum { STEP, LOADER, LOG, ENCODE, CHECKPOINT, CASES };
static rt_status beside(bench *b, bench_job *job, rt_error *err) {
    host h;
    if (!bench_wanted(b, "beside")) return RT_OK;
    rt_status s = open_host(&h, job, err);
    bench_case c[CASES] = {[STEP] = {.name = "beside.r1", .run = step, .context = &h, .calls = 1, .limit = BENCH_NONE},
                           [LOADER] = {.name = "beside.loader", .run = loader, .context = &h, .limit = BENCH_NONE},
                           [LOG] = {.name = "beside.log", .run = log_step, .context = &h, .limit = BENCH_NONE},
                           [ENCODE] = {.name = "beside.encode", .bytes = (double)h.text.size, .run = encode, .context = &h, .limit = BENCH_NONE},
                           [CHECKPOINT] = {.name = "beside.checkpoint", .run = checkpoint, .context = &h, .calls = 1, .limit = BENCH_NONE}};
    if (s == RT_OK) s = bench_sample(b, c, CASES, false, err);
    if (s == RT_OK) {
        part_of_step(b, "beside.loader", LOADER, STEP, 1);
        part_of_step(b, "beside.log", LOG, STEP, 1);
        part_of_step(b, "beside.tokenizer", ENCODE, STEP, job->tokens / (double)h.ids.size); /* as if a step's text were encoded anew */
        part_of_step(b, "beside.checkpoint", CHECKPOINT, STEP, 1 / (double)job->job.run.save_every);
        bench_report(b, c, ENCODE);
    }
    close_host(&h);
    return s;
}

static rt_status run(bench *b, rt_error *err) {
    bench_job_spec spec = bench_job_r1();
    bench_job job;
    RT_TRY(bench_job_open(&job, &spec, err));
    rt_status s = coherence(b, &job, err);
    if (s == RT_OK) s = traced_roles(b, &job, err);
    if (s == RT_OK) s = beside(b, &job, err);
    bench_job_close(&job);
    return s;
}
BENCH("host", 25, run)
