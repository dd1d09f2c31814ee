/* bench_cost.c - where the cost model's efficiencies come from, and what it is worth: jobs of many shapes, operation by
 * operation, then whole steps of other shapes, predicted and measured in turns.
 *
 * For every kind of operation, forward and backward, three numbers are fitted: seconds in units of what the yardsticks
 * say of its products, its memory, its exponentials; least squares of the relative error, none below 0, each operation
 * weighted by its share of its step. They are printed as the lines of src/train/cost_rates.def. All by processor time,
 * since other programs move time on the wall by any factor; the fit on one thread, the check on all. */
#include "harness.h"
#include "job.h"
#include "kernels/measure.h"
#include <math.h>
#include <retort/base/threads.h>
#include <retort/train/cost.h>
#include <stdlib.h>
#include <string.h>

typedef struct shape {
    const char *name;
    int64_t V, T, windows;
    bool teacher;
    int64_t teacher_width, teacher_layers;
    const char *sets[12];
} shape;

#define MIXTURE(D, L, H, F, E, K)                                                                                      \
    "student.arch=mixtral", "student.hidden_size=" #D, "student.layers=" #L, "student.heads=" #H,                      \
        "student.kv_heads=" #H, "student.ffn_size=" #F, "student.experts=" #E, "student.experts_per_token=" #K
#define DENSE(D, L, H, F)                                                                                              \
    "student.arch=llama", "student.hidden_size=" #D, "student.layers=" #L, "student.heads=" #H,                        \
        "student.kv_heads=" #H, "student.ffn_size=" #F
#define OBJECTIVE                                                                                                      \
    "objective=[{loss: forward_kl, weight: 0.7, temperature: 2}, {loss: next_token, weight: 0.3}, {loss: balance, "    \
    "weight: 0.01}, "                                                                                                  \
    "{loss: router_z, weight: 0.001}]"

static const shape fitted[] = {
    {"r1", 8192, 256, 8, true, 0, 0, {MIXTURE(256, 4, 8, 512, 8, 2), OBJECTIVE}},
    {"long", 8192, 2048, 1, true, 0, 2, {MIXTURE(256, 2, 8, 512, 8, 2), OBJECTIVE}},
    {"fine", 8192, 256, 8, false, 0, 0, {MIXTURE(128, 4, 4, 256, 16, 4)}},
    {"dense", 4096, 512, 4, false, 0, 0, {DENSE(512, 2, 8, 1408)}},
    {"many", 4096, 256, 8, false, 0, 0, {MIXTURE(256, 2, 8, 128, 64, 8)}},
    {"few rows", 8192, 64, 2, true, 0, 2, {MIXTURE(256, 2, 8, 512, 8, 2), OBJECTIVE}},
    {"narrow", 2048, 128, 4, true, 128, 2, {MIXTURE(64, 2, 4, 128, 4, 2), OBJECTIVE}},
    {"wide vocabulary", 32768, 256, 4, true, 128, 2, {MIXTURE(128, 1, 4, 256, 4, 2), OBJECTIVE}},
    {"small chunks", 65536, 256, 2, true, 128, 1, {MIXTURE(256, 1, 8, 256, 4, 2), OBJECTIVE, "run.head_budget=16MiB"}},
    {"bf16", 8192, 256, 4, false, 0, 0, {MIXTURE(256, 2, 8, 512, 8, 2), "precision.student=bf16"}},
    {"again", 4096, 256, 4, false, 0, 0, {MIXTURE(256, 3, 8, 512, 8, 2), "run.recompute=yes"}},
    {"thin heads", 2048, 4096, 1, false, 0, 0, {MIXTURE(128, 1, 8, 256, 4, 2)}},
    {"longest", 1024, 8192, 1, false, 0, 0, {DENSE(256, 1, 4, 512)}},
    {"wide", 4096, 256, 4, true, 1024, 1, {MIXTURE(512, 1, 8, 1024, 8, 2), OBJECTIVE}},
};
static const shape checked[] = {
    {"f32 teacher", 8192, 256, 4, true, 0, 4, {MIXTURE(256, 4, 8, 512, 8, 2), OBJECTIVE, "precision.teacher=f32"}},
    {"twelve", 6000, 256, 6, true, 384, 4, {MIXTURE(384, 3, 6, 384, 12, 3), OBJECTIVE}},
    {"T 1024", 4096, 1024, 2, true, 256, 4, {MIXTURE(192, 3, 6, 256, 8, 2), OBJECTIVE}},
    {"V 20000", 20000, 128, 8, true, 256, 2, {MIXTURE(192, 2, 6, 256, 4, 1), OBJECTIVE}},
    {"dense 256", 8192, 256, 8, false, 0, 0, {DENSE(256, 6, 4, 1024)}},
    {"32 of 96", 8192, 256, 8, false, 0, 0, {MIXTURE(256, 2, 8, 96, 32, 4)}},
    {"bf16 again", 8192, 512, 2, false, 0, 0, {DENSE(384, 4, 6, 1024), "precision.student=bf16", "run.recompute=yes"}},
    {"V 50000", 50000, 256, 2, false, 0, 0, {DENSE(192, 2, 3, 512)}},
    {"256 rows", 8192, 128, 2, true, 0, 4, {MIXTURE(256, 3, 8, 512, 8, 2), OBJECTIVE}},
    {"T 3000", 4096, 3000, 1, false, 0, 0, {MIXTURE(192, 2, 6, 384, 8, 2)}},
    {"accumulated", 8192, 256, 2, true, 256, 4, {MIXTURE(256, 2, 4, 768, 4, 2), OBJECTIVE, "data.accumulate=3"}},
    {"other losses",
     8192,
     256,
     4,
     true,
     256,
     3,
     {MIXTURE(256, 2, 8, 512, 8, 2), "objective=[{loss: jsd}, {loss: reverse_kl, weight: 0.2}]"}},
};
enum { FITTED = sizeof fitted / sizeof *fitted, CHECKED = sizeof checked / sizeof *checked, STEPS_MAX = 64 };

static rt_status open_shape(const shape *s, bench_job *job, rt_error *err) {
    bench_job_spec spec = {.V = s->V,
                           .T = s->T,
                           .windows = s->windows,
                           .tokens = 1 << 16,
                           .teacher = s->teacher,
                           .teacher_width = s->teacher_width,
                           .teacher_layers = s->teacher_layers,
                           .sets = s->sets};
    return bench_job_open(job, &spec, err);
}

/* ---------------------------------------------------------------------------------------------------- operations */

typedef struct seen { /* one node, over the steps of its job */
    const char *op;
    bool backward;
    double x[3], seconds,
        share; /* what the yardsticks say of its products, memory, exponentials; what it took; of the step */
} seen;
enum { SEEN_MAX = 8192 };
static struct {
    seen node[SEEN_MAX];
    int count;
} all;

typedef struct reading {
    const rt_trainer *t;
    const rt_cost_rates *rates;
    double chunks, steps;
    int at;
} reading;

static void see_work(void *context, const rt_graph_work *w) {
    reading *r = context;
    for (int backward = 0; backward < 2; backward++, r->at++) {
        rt_work k = backward ? w->backward : w->forward;
        if (r->at >= SEEN_MAX) continue;
        if (strcmp(w->op, "head") == 0) k.bytes *= r->chunks;
        seen *s = &all.node[r->at];
        *s = (seen){
            .op = w->op,
            .backward = backward,
            .x = {k.flops / r->rates->product, (k.bytes + k.inner / 4) / r->rates->copy, k.exps / r->rates->exps}};
    }
}
static void see_cost(void *context, const rt_graph_cost *c) {
    reading *r = context;
    double seconds[2] = {c->forward, c->backward};
    for (int backward = 0; backward < 2; backward++, r->at++)
        if (r->at < SEEN_MAX) all.node[r->at].seconds = seconds[backward] / r->steps - r->rates->region;
}
static void see_graph(reading *r, const rt_graph *g) {
    if (!g) return;
    int from = r->at;
    rt_graph_works(g, see_work, r);
    r->at = from;
    rt_graph_costs(g, see_cost, r);
}

static rt_status profile(rt_trainer *t, bool on, rt_error *err) {
    if (t->teacher.g) RT_TRY(rt_graph_profile(t->teacher.g, on, err));
    return rt_graph_profile(t->graph.g, on, err);
}
static double sum_of(int from) {
    double sum = 0;
    for (int i = from; i < all.count; i++) sum += all.node[i].seconds > 0 ? all.node[i].seconds : 0;
    return sum;
}
/* The mean over the steps so far. */
static rt_status measure_rates(int step, rt_cost_rates *mean, rt_error *err) {
    rt_cost_rates r;
    RT_TRY(rt_cost_rates_measure(&r, err));
    if (step == 0) return *mean = r, RT_OK;
    double old = (double)step / (step + 1), new = 1.0 / (step + 1);
    *mean = (rt_cost_rates){old * mean->product + new *r.product, old * mean->copy + new *r.copy,
                            old * mean->exps + new *r.exps, old * mean->region + new *r.region};
    return RT_OK;
}
/* What a step does outside its tapes: the optimizer, and little else. */
static void see_outside(const rt_trainer *t, const rt_cost_rates *rates, double seconds) {
    if (all.count == SEEN_MAX) return;
    all.node[all.count++] = (seen){
        .op = "optimizer", .x = {0, rt_cost_optimizer_bytes(t) / rates->copy, 0}, .seconds = seconds, .share = seconds};
}
static rt_status see_job(const shape *s, int steps, rt_error *err) {
    bench_job job;
    rt_cost_rates rates;
    double spent = 0;
    RT_TRY(open_shape(s, &job, err));
    rt_trainer *t = job.trainer;
    rt_status status = bench_job_step(&job, err);
    if (status == RT_OK) status = profile(t, true, err);
    for (int i = 0; status == RT_OK && i < steps; i++) {
        status = measure_rates(i, &rates, err);
        spent -= bench_own();
        if (status == RT_OK) status = bench_job_step(&job, err);
        spent += bench_own();
    }
    if (status == RT_OK) {
        int64_t rows = t->graph.rows, each = t->graph.head_rows;
        reading r = {t, &rates, (double)((rows + each - 1) / each), steps * (double)t->job->data.accumulate, all.count};
        see_graph(&r, t->teacher.g);
        see_graph(&r, t->graph.g);
        int from = all.count;
        all.count = r.at < SEEN_MAX ? r.at : SEEN_MAX;
        see_outside(t, &rates, (spent / steps - sum_of(from)));
        double whole = sum_of(from);
        for (int i = from; i < all.count; i++) all.node[i].share = all.node[i].seconds / whole;
        printf("# %-16s product %.0f GFLOP/s, copy %.1f GB/s, %.2f Gexp/s, region %.1f us; operations %.2f ms\n",
               s->name, rates.product * 1e-9, rates.copy * 1e-9, rates.exps * 1e-9, rates.region * 1e6, whole * 1e3);
        fflush(stdout);
    }
    bench_job_close(&job);
    return status;
}

/* ----------------------------------------------------------------------------------------------------------- fit */

/* Least squares with the unknowns in `mask` only: normal equations of at most three, by elimination. */
static bool solve(const double a[3][3], const double b[3], int mask, double x[3]) {
    double m[3][4];
    for (int i = 0; i < 3; i++) {
        for (int j = 0; j < 3; j++) m[i][j] = mask >> i & 1 && mask >> j & 1 ? a[i][j] : i == j;
        m[i][3] = mask >> i & 1 ? b[i] : 0;
    }
    for (int p = 0; p < 3; p++) {
        if (fabs(m[p][p]) < 1e-30) return false;
        for (int i = 0; i < 3; i++) {
            double f = i == p ? 0 : m[i][p] / m[p][p];
            for (int j = p; j < 4; j++) m[i][j] -= f * m[p][j];
        }
    }
    for (int i = 0; i < 3; i++) x[i] = m[i][3] / m[i][i];
    return x[0] >= 0 && x[1] >= 0 && x[2] >= 0;
}
static double error_of(const double a[3][3], const double b[3], const double x[3]) { /* but for a constant */
    double e = 0;
    for (int i = 0; i < 3; i++)
        for (int j = 0; j < 3; j++) e += x[i] * a[i][j] * x[j];
    return e - 2 * (x[0] * b[0] + x[1] * b[1] + x[2] * b[2]);
}
static void fit(const char *op, bool backward) {
    double a[3][3] = {{0}}, b[3] = {0}, best[3] = {0}, x[3], least = 0, off = 0, weight = 0;
    int count = 0;
    for (int i = 0; i < all.count; i++) {
        const seen *s = &all.node[i];
        if (strcmp(s->op, op) != 0 || s->backward != backward || s->seconds <= 1e-6) continue;
        for (int j = 0; j < 3; j++) {
            for (int k = 0; k < 3; k++) a[j][k] += s->share * s->x[j] * s->x[k] / (s->seconds * s->seconds);
            b[j] += s->share * s->x[j] / s->seconds;
        }
        count++;
    }
    for (int mask = 1; mask < 8 && count; mask++)
        if (solve(a, b, mask, x) && error_of(a, b, x) < least) least = error_of(a, b, x), memcpy(best, x, sizeof x);
    for (int i = 0; i < all.count; i++) {
        const seen *s = &all.node[i];
        if (strcmp(s->op, op) != 0 || s->backward != backward || s->seconds <= 1e-6) continue;
        off += s->share * fabs((best[0] * s->x[0] + best[1] * s->x[1] + best[2] * s->x[2]) / s->seconds - 1),
            weight += s->share;
    }
    if (count)
        printf("X(%s, %s, %.3g, %.3g, %.3g) /* %d nodes, off by %.0f %% in the mean, %.2f of a step */\n", op,
               backward ? "true" : "false", best[0], best[1], best[2], count, 100 * off / weight, weight / FITTED);
}
static void fit_all(void) {
    for (int i = 0; i < all.count; i++) {
        bool first = true;
        for (int k = 0; k < i && first; k++)
            first = strcmp(all.node[k].op, all.node[i].op) != 0 || all.node[k].backward != all.node[i].backward;
        if (first) fit(all.node[i].op, all.node[i].backward);
    }
}

/* --------------------------------------------------------------------------------------------------------- check */

static double seconds_of(double *x, int n) { return bench_median(x, n); }
static rt_status check(bench *b, const shape *s, int steps, rt_error *err) {
    bench_job job;
    rt_cost_rates rates;
    static rt_cost_time time;
    double ratio[STEPS_MAX], took[STEPS_MAX];
    char name[64];
    RT_TRY(open_shape(s, &job, err));
    rt_status status = bench_job_step(&job, err);
    for (int i = 0; status == RT_OK && i < steps; i++) {
        status = rt_cost_rates_measure(&rates, err);
        double before = bench_own();
        if (status == RT_OK) status = bench_job_step(&job, err);
        if (status != RT_OK) break;
        took[i] = (bench_own() - before) / rt_threads();
        rt_cost_time_of(job.trainer, &rates, &time);
        ratio[i] = 100 * time.step / took[i];
    }
    if (status == RT_OK) {
        snprintf(name, sizeof name, "step.%s", s->name);
        bench_detail d = {.seconds = seconds_of(took, steps)};
        bench_figure(b, name, "% taken", ratio, steps, &d);
    }
    bench_job_close(&job);
    return status;
}

static rt_status run(bench *b, rt_error *err) {
    int steps = b->samples < STEPS_MAX ? b->samples : STEPS_MAX, threads = rt_threads();
    rt_measure_by_processor(true);
    rt_graph_profile_clock(true);
    rt_threads_set(1);
    int fits = b->quick ? 3 : FITTED, checks = b->quick ? 2 : CHECKED;
    for (int i = 0; i < fits && bench_wanted(b, "fit"); i++) RT_TRY(see_job(&fitted[i], steps, err));
    fit_all();
    rt_threads_set(threads);
    for (int i = 0; i < checks && bench_wanted(b, "step"); i++) RT_TRY(check(b, &checked[i], steps, err));
    for (int i = 0; i < FITTED && b->only && bench_wanted(b, "own"); i++) RT_TRY(check(b, &fitted[i], steps, err));
    return RT_OK;
}
BENCH("cost", 5, run)
