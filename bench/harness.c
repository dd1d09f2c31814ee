/* harness.c - the command line and the rounds. See harness.h; figures are in figures.c. */
#include "harness.h"
#include "figures.h"
#include "kernels/measure.h"
#include "yardstick.h"
#include <retort/base/threads.h>
#include <stdlib.h>
#include <string.h>

enum { TRIES = 3 };
#define QUIET        0.03 /* of the processors */
#define SAMPLE_LEAST 0.01 /* seconds */

/* ---------------------------------------------------------------------------------------------------------- rounds */

typedef struct yardstick {
    double rate[BENCH_NONE], product_cpu;
} yardstick;

static rt_status yardsticks(const bool *wanted, yardstick *y, rt_error *err) {
    double *rate = y->rate;
    RT_TRY(rt_measure_product_rate(&rate[BENCH_PRODUCT], err));
    RT_TRY(bench_product_cpu(&y->product_cpu, err));
    if (wanted[BENCH_PRODUCT_F64]) RT_TRY(rt_measure_f64_rate(&rate[BENCH_PRODUCT_F64], err));
    if (wanted[BENCH_COPY]) RT_TRY(rt_measure_copy_rate(&rate[BENCH_COPY], err));
    return RT_OK;
}

static rt_status time_case(const bench_case *c, int calls, double *seconds, double *cpu, rt_error *err) {
    double start = bench_now(), own = bench_own(), told = 0;
    for (int i = 0; i < calls; i++) {
        RT_TRY(c->run(c->context, err));
        if (c->took) told += *c->took;
    }
    *seconds = (c->took ? told : bench_now() - start) / calls, *cpu = (bench_own() - own) / calls;
    return RT_OK;
}
/* Cases whose number of calls is left to us get one that takes long enough. */
static rt_status warm_up(bench_case *cases, int n, rt_error *err) {
    double seconds, cpu;
    for (int i = 0; i < n; i++) {
        RT_TRY(time_case(&cases[i], 1, &seconds, &cpu, err));
        if (cases[i].calls > 0) continue;
        RT_TRY(time_case(&cases[i], 1, &seconds, &cpu, err)); /* the first call makes caches and maps pages */
        cases[i].calls = seconds >= SAMPLE_LEAST ? 1 : seconds > 1e-6 ? (int)(SAMPLE_LEAST / seconds) + 1 : 10000;
    }
    return RT_OK;
}

static rt_status one_round(const bench_case *cases, int n, const bool *wanted, bool backwards, yardstick *before, bench_round *r, rt_error *err) {
    yardstick after = {0};
    double others = bench_others(), start = bench_now();
    for (int k = 0; k < n; k++) {
        int i = backwards ? n - 1 - k : k;
        RT_TRY(time_case(&cases[i], cases[i].calls, &r->seconds[i], &r->cpu[i], err));
    }
    RT_TRY(yardsticks(wanted, &after, err));
    r->others = (bench_others() - others) / ((bench_now() - start) * rt_threads());
    for (int y = 0; y < BENCH_NONE; y++) r->rate[y] = (before->rate[y] + after.rate[y]) / 2;
    r->product_cpu = (before->product_cpu + after.product_cpu) / 2;
    *before = after;
    return RT_OK;
}

static int by_others(const void *a, const void *b) {
    double x = ((const bench_round *)a)->others, y = ((const bench_round *)b)->others;
    return (x > y) - (x < y);
}

rt_status bench_sample(bench *b, bench_case *cases, int n, bool mirrored, rt_error *err) {
    bool wanted[BENCH_NONE + 1] = {false};
    yardstick before = {0};
    int quiet = 0, taken = 0;
    if (n > BENCH_CASES_MAX) return rt_fail(err, RT_E_ARG, "%d cases, at most %d", n, BENCH_CASES_MAX);
    for (int i = 0; i < n; i++) wanted[cases[i].limit] = true;
    RT_TRY(warm_up(cases, n, err));
    RT_TRY(yardsticks(wanted, &before, err));
    while (quiet < b->samples && taken < b->tries * b->samples && taken < BENCH_ROUNDS_MAX) {
        b->round[taken].taken = taken;
        RT_TRY(one_round(cases, n, wanted, mirrored && taken % 2, &before, &b->round[taken], err));
        quiet += b->round[taken++].others <= QUIET;
    }
    qsort(b->round, (size_t)taken, sizeof(bench_round), by_others);
    b->rounds = taken < b->samples ? taken : b->samples;
    return RT_OK;
}

/* ---------------------------------------------------------------------------------------------------- command line */

bool bench_wanted(const bench *b, const char *name) {
    char full[160];
    snprintf(full, sizeof full, "%s.%s", b->program, name);
    size_t n = b->only ? strlen(b->only) : 0, m = strlen(full);
    return strncmp(full, b->only ? b->only : "", n < m ? n : m) == 0;
}

static int usage(const bench_program *p, const char *word) {
    fprintf(stderr,
            "bench_%s: unexpected '%s'\n"
            "usage: bench_%s [--samples N] [--tries N] [--quick] [--only FIGURE] [--out FILE] [--threads N] [--revision TEXT] [--no-head]\n",
            p->name, word, p->name);
    return 2;
}
static int count(const char *text, int most) {
    int n = atoi(text);
    return n < 1 ? 1 : n > most ? most : n;
}

typedef struct arguments {
    int samples, tries;
    bool head;
} arguments;

/* An option that takes a value; false: there is none of that name. */
static bool take(bench *b, arguments *a, const char *name, const char *value) {
    if (strcmp(name, "--samples") == 0) a->samples = count(value, BENCH_ROUNDS_MAX);
    else if (strcmp(name, "--tries") == 0) a->tries = count(value, 100);
    else if (strcmp(name, "--only") == 0) b->only = value;
    else if (strcmp(name, "--revision") == 0) b->revision = value;
    else if (strcmp(name, "--threads") == 0) rt_threads_set(count(value, 1024));
    else if (strcmp(name, "--out") == 0) return (b->out = fopen(value, "a")) != NULL;
    else return false;
    return true;
}
static const char *parse(bench *b, arguments *a, int argc, char **argv) { /* the word that is wrong, or NULL */
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--quick") == 0) b->quick = true;
        else if (strcmp(argv[i], "--no-head") == 0) a->head = false;
        else if (i + 1 == argc || !take(b, a, argv[i], argv[i + 1])) return argv[i];
        else i++;
    }
    return NULL;
}

int bench_main(int argc, char **argv, const bench_program *p) {
    static bench b;
    arguments a = {.head = true};
    rt_error err = {0};
    b.program = p->name, b.revision = "unknown";
    const char *wrong = parse(&b, &a, argc, argv);
    if (wrong) return usage(p, wrong);
    b.samples = a.samples ? a.samples : b.quick ? 1 : p->samples;
    b.tries = a.tries ? a.tries : b.quick ? 1 : TRIES;
    if (a.head) bench_table_head();
    rt_status s = p->run(&b, &err);
    if (b.out && fclose(b.out) != 0) b.failed = true;
    if (s == RT_OK && b.failed) s = rt_fail(&err, RT_E_IO, "a record could not be written");
    if (s != RT_OK) fprintf(stderr, "bench_%s: %s\n", p->name, err.text);
    return rt_status_exit(s);
}
