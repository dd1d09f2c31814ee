/* bench_growth.c - how the cost of a distillation step grows: R1 with one size changed at a time, tokens a step held.
 *
 *     width   student x1, x2, x4 of 128: width, heads, ffn        experts   4 to 128 of 128, 2 a token: more weights,
 * the same arithmetic vocab   V 8192 to 262144                                    window    T 256 to 8192, 8192 tokens
 * a step
 *
 * Of each: tokens a second, on the wall and by processor time in units of the product rate (flops a token would cost at
 * that rate), memory as planned, and taken. Of each size the exponents: least squares of the logarithms, so 1 is
 * linear. */
#include "harness.h"
#include "job.h"
#include <math.h>
#include <retort/train/cost.h>
#include <string.h>

enum { SETS = 12, POINTS_MAX = 8, SIZES = 4 };
typedef struct point {
    double x; /* the size */
    int64_t V, T, windows, width, heads, ffn, experts;
} point;
typedef struct size {
    const char *name;
    int count, quick; /* points; as many in a quick run */
    point point[POINTS_MAX];
} size;
static const size sizes[SIZES] = {
    {"width",
     3,
     2,
     {{128, 8192, 256, 4, 128, 4, 256, 8}, {256, 8192, 256, 4, 256, 8, 512, 8}, {512, 8192, 256, 4, 512, 16, 1024, 8}}},
    {"experts",
     6,
     2,
     {{4, 8192, 256, 4, 256, 8, 128, 4},
      {8, 8192, 256, 4, 256, 8, 128, 8},
      {16, 8192, 256, 4, 256, 8, 128, 16},
      {32, 8192, 256, 4, 256, 8, 128, 32},
      {64, 8192, 256, 4, 256, 8, 128, 64},
      {128, 8192, 256, 4, 256, 8, 128, 128}}},
    {"vocab",
     4,
     2,
     {{8192, 8192, 256, 2, 128, 4, 256, 4},
      {32768, 32768, 256, 2, 128, 4, 256, 4},
      {131072, 131072, 256, 2, 128, 4, 256, 4},
      {262144, 262144, 256, 2, 128, 4, 256, 4}}},
    {"window",
     6,
     2,
     {{256, 4096, 256, 32, 128, 4, 256, 4},
      {512, 4096, 512, 16, 128, 4, 256, 4},
      {1024, 4096, 1024, 8, 128, 4, 256, 4},
      {2048, 4096, 2048, 4, 128, 4, 256, 4},
      {4096, 4096, 4096, 2, 128, 4, 256, 4},
      {8192, 4096, 8192, 1, 128, 4, 256, 4}}}};

/* ------------------------------------------------------------------------------------------------------------ job */

static rt_status open_point(const point *p, bench_job *job, rt_error *err) {
    char text[5][64];
    snprintf(text[0], sizeof text[0], "student.hidden_size=%lld", (long long)p->width),
        snprintf(text[1], sizeof text[1], "student.ffn_size=%lld", (long long)p->ffn);
    snprintf(text[2], sizeof text[2], "student.heads=%lld", (long long)p->heads),
        snprintf(text[3], sizeof text[3], "student.kv_heads=%lld", (long long)p->heads);
    snprintf(text[4], sizeof text[4], "student.experts=%lld", (long long)p->experts);
    const char *sets[SETS] = {
        "student.arch=mixtral",
        "student.layers=2",
        "student.experts_per_token=2",
        text[0],
        text[1],
        text[2],
        text[3],
        text[4],
        "objective=[{loss: forward_kl, weight: 0.7, temperature: 2}, {loss: next_token, weight: 0.3}]"};
    bench_job_spec spec = {.V = p->V,
                           .T = p->T,
                           .windows = p->windows,
                           .tokens = 1 << 16,
                           .teacher = true,
                           .teacher_width = 128,
                           .teacher_layers = 2,
                           .sets = sets};
    return bench_job_open(job, &spec, err);
}
/* In this process, which is no fresh one: so what the plan says is compared with the growth of what is resident. */
static rt_status planned(const bench_job *job, double *mib, rt_error *err) {
    rt_trainer *sketch;
    rt_cost_memory m;
    RT_TRY(rt_trainer_sketch(&sketch, &job->job, 0, err));
    rt_status s = rt_cost_memory_of(sketch, &m, err);
    rt_trainer_close(sketch);
    *mib = (double)(m.peak - m.process) / 1048576;
    return s;
}

/* -------------------------------------------------------------------------------------------------------- measured */

typedef struct curve {
    double x[POINTS_MAX], time[POINTS_MAX], memory[POINTS_MAX];
    int n;
} curve;

static double median_of(const bench *b, double (*get)(const bench_round *)) {
    double x[BENCH_ROUNDS_MAX];
    for (int r = 0; r < b->rounds; r++) x[r] = get(&b->round[r]);
    return bench_median(x, b->rounds);
}
static double work_of(const bench_round *r) { return r->cpu[0] * r->product_cpu; } /* GFLOP that the step cost */
static double seconds_of(const bench_round *r) { return r->seconds[0]; }

static rt_status measure(bench *b, const size *s, const point *p, bench_job *job, curve *c, rt_error *err) {
    bench_case step = {.flop = bench_job_flop(job), .run = bench_job_step, .context = job, .calls = 1};
    char name[64];
    double mib;
    snprintf(step.name, sizeof step.name, "%s.%.0f.step", s->name, p->x);
    RT_TRY(planned(job, &mib, err));
    RT_TRY(bench_sample(b, &step, 1, false, err));
    bench_report(b, &step, 0);
    double work = median_of(b, work_of) / job->tokens;
    snprintf(name, sizeof name, "%s.%.0f.tokens", s->name, p->x),
        bench_number(b, name, "tokens/s", job->tokens / median_of(b, seconds_of));
    snprintf(name, sizeof name, "%s.%.0f.cost", s->name, p->x), bench_number(b, name, "MFLOP/token", 1e3 * work);
    snprintf(name, sizeof name, "%s.%.0f.plan", s->name, p->x), bench_number(b, name, "MiB", mib);
    c->x[c->n] = p->x, c->time[c->n] = work, c->memory[c->n++] = mib;
    return RT_OK;
}
static rt_status one(bench *b, const size *s, const point *p, curve *c, rt_error *err) {
    bench_job job;
    char name[64];
    rt_mem_trim(); /* what the case before left over */
    bench_peak_reset();
    double before = bench_peak_mib();
    RT_TRY(open_point(p, &job, err));
    rt_status status = bench_job_step(&job, err); /* everything is touched now, before the yardsticks take theirs */
    snprintf(name, sizeof name, "%s.%.0f.taken", s->name, p->x);
    if (status == RT_OK) bench_number(b, name, "MiB", bench_peak_mib() - before);
    if (status == RT_OK) status = measure(b, s, p, &job, c, err);
    bench_job_close(&job);
    return status;
}

static double exponent(const double *x, const double *y, int n) {
    double mx = 0, my = 0, xy = 0, xx = 0;
    for (int i = 0; i < n; i++) mx += log(x[i]) / n, my += log(y[i]) / n;
    for (int i = 0; i < n; i++) xy += (log(x[i]) - mx) * (log(y[i]) - my), xx += (log(x[i]) - mx) * (log(x[i]) - mx);
    return xy / xx;
}
static rt_status grow(bench *b, const size *s, rt_error *err) {
    curve c = {.n = 0};
    char name[64];
    for (int i = 0; i < (b->quick ? s->quick : s->count); i++) RT_TRY(one(b, s, &s->point[i], &c, err));
    snprintf(name, sizeof name, "%s.exponent.time", s->name), bench_number(b, name, "", exponent(c.x, c.time, c.n));
    snprintf(name, sizeof name, "%s.exponent.memory", s->name), bench_number(b, name, "", exponent(c.x, c.memory, c.n));
    return RT_OK;
}

static rt_status run(bench *b, rt_error *err) {
    for (int i = 0; i < SIZES; i++)
        if (bench_wanted(b, sizes[i].name)) RT_TRY(grow(b, &sizes[i], err));
    return RT_OK;
}
BENCH("growth", 5, run)
