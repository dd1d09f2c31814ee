/* bench_r1.c - the reference job R1: a whole distillation step through the trainer, as a share of the product rate.
 *
 *   bench_r1 [--steps N] [--teacher-activations f32] [--threads N] [--profile] [--json] [--set KEY=VALUE]
 *
 * The product rate (measure.h, 'N','T') is measured right before each step. Samples during which others used more than 3 % of
 * the processors do not count; figures are medians of the others. On a machine that is never quiet the least disturbed ones
 * are taken, and the report says how disturbed they are. Phases come from the graphs' profiles, whose clock is read a few
 * thousand times a step. */
#include "kernels/measure.h"
#include "quiet.h"
#include "r1.h"
#include <retort/base/json.h>
#include <retort/base/threads.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { STEPS_MAX = 64, TRIES = 8, HASH_STEPS = 3 };
enum { TEACHER, FORWARD, HEAD, BACKWARD, REST, PHASES };
static const char *const phase_names[PHASES] = {"teacher", "student_forward", "head", "backward", "optimizer"};

typedef struct options {
    int steps;
    bool profile, json;
    const char *set;
} options;

/* ------------------------------------------------------------------------------------------------- profiles */

typedef struct cost {
    char name[48];
    double seconds, least;
} cost;
typedef struct costs {
    double phase[PHASES];
    cost list[256];
    int count;
    int forward, backward; /* phases of the graph being read */
    const char *graph;
} costs;

static void add_cost(costs *c, const char *role, const char *way, double seconds) {
    char name[48];
    const char *dot = strrchr(role, '.');
    snprintf(name, sizeof name, "%s %s%s", c->graph, dot ? dot + 1 : role, way);
    int i = 0;
    while (i < c->count && strcmp(c->list[i].name, name) != 0) i++;
    if (i == 256 || seconds <= 0) return;
    if (i == c->count) snprintf(c->list[c->count++].name, sizeof name, "%s", name);
    c->list[i].seconds += seconds;
}
static void see(void *context, const rt_graph_cost *n) {
    costs *c = context;
    c->phase[strcmp(n->op, "head") == 0 ? HEAD : c->forward] += n->forward;
    c->phase[c->backward] += n->backward;
    add_cost(c, n->role, "", n->forward);
    add_cost(c, n->role, " backward", n->backward);
}
static void read_costs(costs *c, const rt_trainer *t) {
    memset(c, 0, sizeof *c);
    c->graph = "teacher", c->forward = TEACHER, c->backward = TEACHER;
    rt_graph_costs(t->teacher.g, see, c);
    c->graph = "student", c->forward = FORWARD, c->backward = BACKWARD;
    rt_graph_costs(t->graph.g, see, c);
}
static rt_status profile(rt_trainer *t, rt_error *err) { /* on, from zero */
    RT_TRY(rt_graph_profile(t->teacher.g, true, err));
    return rt_graph_profile(t->graph.g, true, err);
}

/* ------------------------------------------------------------------------------------------------- measuring */

typedef struct one {
    double seconds, rate, share, others;
    costs costs;
} one;
typedef struct results {
    one sample[STEPS_MAX * TRIES];
    int count, taken; /* samples taken; of these the first `count` are reported */
    double peak, total;
    uint64_t hash;
} results;

static rt_status sample(const r1 *b, one *s, rt_error *err) {
    rt_step_report report;
    double others = bench_others(), start = bench_now();
    RT_TRY(rt_measure_product_rate(&s->rate, err));
    RT_TRY(profile(b->trainer, err));
    RT_TRY(rt_trainer_step(b->trainer, &report, err));
    s->others = (bench_others() - others) / ((bench_now() - start) * rt_threads());
    s->seconds = report.seconds;
    s->share = r1_operations(b) / report.seconds / (s->rate * 1e9);
    read_costs(&s->costs, b->trainer);
    s->costs.phase[REST] = report.seconds;
    for (int p = 0; p < REST; p++) s->costs.phase[REST] -= s->costs.phase[p];
    return RT_OK;
}
static int by_others(const void *a, const void *b) {
    double x = ((const one *)a)->others, y = ((const one *)b)->others;
    return (x > y) - (x < y);
}

static rt_status measure(r1 *b, const options *o, results *r, rt_error *err) {
    rt_step_report report;
    int quiet = 0;
    for (int i = 0; i < HASH_STEPS; i++) RT_TRY(rt_trainer_step(b->trainer, &report, err));
    r->hash = r1_hash(b), r->total = report.total;
    r->peak = bench_peak_mib(); /* before the yardstick takes its 90 MiB */
    RT_TRY(sample(b, &r->sample[0], err)); /* warms up */
    while (quiet < o->steps && r->taken < TRIES * o->steps) {
        RT_TRY(sample(b, &r->sample[r->taken], err));
        quiet += r->sample[r->taken++].others <= 0.03;
    }
    qsort(r->sample, (size_t)r->taken, sizeof(one), by_others);
    r->count = o->steps;
    return RT_OK;
}

static double median_of(const results *r, size_t offset) {
    double x[STEPS_MAX];
    for (int i = 0; i < r->count; i++) x[i] = *(const double *)(const void *)((const char *)&r->sample[i] + offset);
    return bench_median(x, r->count);
}

/* ----------------------------------------------------------------------------------------------------- report */

static int by_seconds(const void *a, const void *b) { return ((const cost *)a)->seconds < ((const cost *)b)->seconds ? 1 : -1; }

/* Means, and the least of all samples, which hardly depends on what else the machine does. */
static void print_profile(const results *r) {
    costs mean = r->sample[0].costs;
    for (int k = 0; k < mean.count; k++) { /* the same nodes in the same order in every sample */
        mean.list[k].least = mean.list[k].seconds;
        for (int i = 1; i < r->count; i++) mean.list[k].seconds += r->sample[i].costs.list[k].seconds;
        for (int i = 1; i < r->taken; i++)
            if (r->sample[i].costs.list[k].seconds < mean.list[k].least) mean.list[k].least = r->sample[i].costs.list[k].seconds;
    }
    qsort(mean.list, (size_t)mean.count, sizeof(cost), by_seconds);
    for (int k = 0; k < mean.count; k++)
        printf("  %-36s %8.2f ms, least %8.2f\n", mean.list[k].name, 1e3 * mean.list[k].seconds / r->count, 1e3 * mean.list[k].least);
}

static void report(const r1 *b, const options *o, results *r) {
    double low = 1e9, high = 0, phase[PHASES];
    for (int i = 0; i < r->count; i++) low = r->sample[i].share < low ? r->sample[i].share : low, high = r->sample[i].share > high ? r->sample[i].share : high;
    double seconds = median_of(r, offsetof(one, seconds)), rate = median_of(r, offsetof(one, rate)), share = median_of(r, offsetof(one, share));
    double gflops = r1_operations(b) / seconds * 1e-9, others = r->sample[r->count - 1].others;
    for (size_t p = 0; p < PHASES; p++) phase[p] = median_of(r, offsetof(one, costs.phase) + p * sizeof(double));
    if (o->json) {
        json_t *phases = json_object();
        for (int p = 0; p < PHASES; p++) json_object_set_new(phases, phase_names[p], json_real(phase[p]));
        json_t *j = json_pack("{s:f, s:f, s:f, s:f, s:f, s:f, s:o, s:i, s:i, s:f, s:i}", "tokens_per_s", 2048 / seconds, "gflops", gflops, "product_rate", rate,
                              "share", share, "seconds", seconds, "peak_mib", r->peak, "phases", phases, "samples", r->count, "tries", r->taken, "others", others,
                              "threads", rt_threads());
        json_dumpf(j, stdout, JSON_INDENT(1)), printf("\n"), json_decref(j);
        return;
    }
    printf("r1: %.1f ms, %.0f tokens/s, %.1f GFLOP/s of useful arithmetic (%.1f GFLOP a step), share %.1f %% (%.1f-%.1f) of the product rate %.1f\n", 1e3 * seconds,
           2048 / seconds, gflops, r1_operations(b) * 1e-9, 100 * share, 100 * low, 100 * high, rate);
    printf("    peak memory %.0f MiB, %d threads, %d of %d samples, others used up to %.1f %%%s; after %d steps: objective %.9g, weights %016llx\n", r->peak,
           rt_threads(), r->count, r->taken, 100 * others, others > 0.03 ? " (NOT QUIET)" : "", HASH_STEPS, r->total, (unsigned long long)r->hash);
    for (int p = 0; p < PHASES; p++) {
        double least = phase[p];
        for (int i = 0; i < r->taken; i++) least = r->sample[i].costs.phase[p] < least ? r->sample[i].costs.phase[p] : least;
        printf("  %-36s %8.2f ms, least %8.2f\n", phase_names[p], 1e3 * phase[p], 1e3 * least);
    }
    if (o->profile) print_profile(r);
}

static const char *value(int argc, char **argv, int *i) { return *i + 1 < argc ? argv[++*i] : ""; }

int main(int argc, char **argv) {
    options o = {.steps = 9};
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--steps") == 0) o.steps = atoi(value(argc, argv, &i));
        else if (strcmp(argv[i], "--threads") == 0) rt_threads_set(atoi(value(argc, argv, &i)));
        else if (strcmp(argv[i], "--teacher-activations") == 0) o.set = strcmp(value(argc, argv, &i), "f32") == 0 ? "precision.teacher=f32" : NULL;
        else if (strcmp(argv[i], "--set") == 0) o.set = value(argc, argv, &i);
        else if (strcmp(argv[i], "--profile") == 0) o.profile = true;
        else if (strcmp(argv[i], "--json") == 0) o.json = true;
        else return fprintf(stderr, "bench_r1: unknown option '%s'\n", argv[i]), 2;
    }
    if (o.steps < 1 || o.steps > STEPS_MAX) o.steps = 9;
    static results r;
    r1 b;
    rt_error err = {0};
    rt_status s = r1_open(&b, o.set, &err);
    if (s == RT_OK) s = measure(&b, &o, &r, &err);
    if (s == RT_OK) report(&b, &o, &r);
    else fprintf(stderr, "bench_r1: %s\n", err.text);
    r1_close(&b);
    return s == RT_OK ? 0 : rt_status_exit(s);
}
