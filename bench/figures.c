/* figures.c - from samples to figures: medians, a table for people, JSON lines for programs. */
#include "figures.h"
#include "cli/libraries.h"
#include "cli/machine.h"
#include "kernels/isa.h"
#include <retort/base/threads.h>
#include <math.h>
#include <string.h>

/* ------------------------------------------------------------------------------------------------------ statistics */

void bench_interval(int n, int *low, int *high) {
    double term = pow(0.5, n), below = 0; /* P(k of n samples lie below the median) */
    int k = 0;
    while (k < n / 2 && below + term <= 0.025) {
        below += term;
        k++;
        term *= (double)(n - k + 1) / k;
    }
    *low = k > 0 ? k - 1 : 0;
    *high = n - 1 - *low;
}

bench_stats bench_stats_of(double *x, int n) {
    bench_stats s = {.median = bench_median(x, n), .least = x[0], .greatest = x[n - 1], .n = n};
    int low, high;
    bench_interval(n, &low, &high);
    s.low = x[low], s.high = x[high];
    return s;
}

static double of_rounds(const bench *b, double (*get)(const bench_round *)) {
    double x[BENCH_ROUNDS_MAX];
    for (int r = 0; r < b->rounds; r++) x[r] = get(&b->round[r]);
    return b->rounds ? bench_median(x, b->rounds) : 0;
}
static double product_rate(const bench_round *r) { return r->rate[BENCH_PRODUCT]; }
static double others(const bench_round *r) { return r->others; }

/* ----------------------------------------------------------------------------------------------------------- table */

void bench_table_head(void) {
    printf("%-44s %10s %-9s %10s %10s %10s %8s %7s %6s %4s %6s %6s\n", "figure", "median", "", "least", "greatest", "ms", "GFLOP/s", "GB/s", "cpu %", "n", "rate", "others");
    fflush(stdout);
}
static void cell(int width, int digits, double x) {
    if (x > 0) printf(" %*.*f", width, digits, x);
    else printf(" %*s", width, "");
}
static void row(const bench *b, const char *name, const char *unit, const bench_stats *s, const bench_detail *d) {
    char full[160];
    snprintf(full, sizeof full, "%s.%s", b->program, name);
    printf("%-44s %10.4g %-9s", full, s->median, unit);
    if (s->n > 1) printf(" %10.4g %10.4g", s->least, s->greatest);
    else printf(" %10s %10s", "", "");
    cell(10, 3, 1e3 * d->seconds), cell(8, 1, d->gflops), cell(7, 1, d->gbytes), cell(6, 1, d->cpu_share);
    if (s->n > 1 || d->seconds > 0) printf(" %4d %6.1f %5.1f%%", s->n, of_rounds(b, product_rate), 100 * of_rounds(b, others));
    printf("\n");
    fflush(stdout);
}

/* ------------------------------------------------------------------------------------------------------ JSON lines */

static bool set(json_t *o, const char *key, json_t *value) { return json_object_set_new(o, key, value) == 0; }
static bool set_number(json_t *o, const char *key, double x) { return set(o, key, rt_json_number(x)); }
static bool set_positive(json_t *o, const char *key, double x) { return !(x > 0) || set_number(o, key, x); }

static json_t *libraries(void) {
    json_t *o = json_object();
    for (const rt_library *l = rt_libraries(); o && l->name; l++)
        if (!set(o, l->name, json_string(l->version))) return json_decref(o), NULL;
    return o;
}

json_t *bench_record(const bench *b, const char *name, const char *unit, const bench_stats *s, const bench_detail *d) {
    rt_machine m = rt_machine_read();
    json_t *o = json_object();
    bool ok = o && set(o, "name", json_sprintf("%s.%s", b->program, name)) && set_number(o, "value", s->median) && set(o, "unit", json_string(unit)) &&
              set_number(o, "median", s->median) && set_number(o, "min", s->least) && set_number(o, "max", s->greatest) && set_number(o, "low", s->low) &&
              set_number(o, "high", s->high) && set(o, "samples", json_integer(s->n)) && set_positive(o, "seconds", d->seconds) &&
              set_positive(o, "cpu_seconds", d->cpu) && set_positive(o, "cpu_share", d->cpu_share) &&
              set_positive(o, "gflops", d->gflops) && set_positive(o, "gbytes_per_s", d->gbytes) && set_number(o, "product_rate", of_rounds(b, product_rate)) &&
              set_number(o, "others", of_rounds(b, others)) && set(o, "cpu", json_string(m.cpu)) && set(o, "isa", json_string(rt_isa_name(rt_isa_level()))) &&
              set(o, "threads", json_integer(rt_threads())) && set(o, "libraries", libraries()) && set(o, "version", json_string(RT_VERSION)) &&
              set(o, "revision", json_string(b->revision)) && set(o, "quick", json_boolean(b->quick));
    if (ok) return o;
    json_decref(o);
    return NULL;
}

static void write_record(bench *b, json_t *record) {
    rt_buf line = {0};
    if (record) rt_json_dump(record, 0, &line);
    rt_buf_putc(&line, '\n');
    if (!record || line.failed || fwrite(line.data, 1, line.size, b->out) != line.size) b->failed = true;
    rt_buf_free(&line);
    json_decref(record);
}

/* --------------------------------------------------------------------------------------------------------- figures */

void bench_figure(bench *b, const char *name, const char *unit, double *x, int n, const bench_detail *d) {
    static const bench_detail nothing;
    if (n < 1 || !bench_wanted(b, name)) return;
    bench_stats s = bench_stats_of(x, n);
    if (!d) d = &nothing;
    row(b, name, unit, &s, d);
    if (b->out) write_record(b, bench_record(b, name, unit, &s, d));
}
void bench_number(bench *b, const char *name, const char *unit, double x) { bench_figure(b, name, unit, &x, 1, NULL); }

static double median_seconds(const bench *b, int i, bool cpu) {
    double x[BENCH_ROUNDS_MAX];
    for (int r = 0; r < b->rounds; r++) x[r] = cpu ? b->round[r].cpu[i] : b->round[r].seconds[i];
    return bench_median(x, b->rounds);
}

static double cpu_share(const bench *b, const bench_case *c, int i) {
    double x[BENCH_ROUNDS_MAX];
    for (int r = 0; r < b->rounds; r++) x[r] = 1e-7 * c->flop / b->round[r].cpu[i] / b->round[r].product_cpu;
    return c->limit == BENCH_PRODUCT && !c->took ? bench_median(x, b->rounds) : 0;
}

void bench_report(bench *b, const bench_case *cases, int i) {
    static const char *const units[] = {"% product", "% f64", "% copy", "ms"};
    const bench_case *c = &cases[i];
    double x[BENCH_ROUNDS_MAX], t = median_seconds(b, i, false), work = c->limit == BENCH_COPY ? c->bytes : c->flop;
    bench_detail d = {t, median_seconds(b, i, true), 1e-9 * c->flop / t, 1e-9 * c->bytes / t, cpu_share(b, c, i)};
    for (int r = 0; r < b->rounds; r++)
        x[r] = c->limit == BENCH_NONE ? 1e3 * b->round[r].seconds[i] : 1e-7 * work / b->round[r].seconds[i] / b->round[r].rate[c->limit];
    bench_figure(b, c->name, units[c->limit], x, b->rounds, &d);
}
void bench_report_all(bench *b, const bench_case *cases, int n) {
    for (int i = 0; i < n; i++) bench_report(b, cases, i);
}

void bench_ratio(bench *b, const char *name, int i, int j) {
    char by_cpu[128];
    double x[BENCH_ROUNDS_MAX], y[BENCH_ROUNDS_MAX];
    for (int r = 0; r < b->rounds; r++) {
        x[r] = b->round[r].seconds[i] / b->round[r].seconds[j];
        y[r] = b->round[r].cpu[i] / b->round[r].cpu[j];
    }
    bench_figure(b, name, "x", x, b->rounds, NULL);
    snprintf(by_cpu, sizeof by_cpu, "%s.cpu", name);
    bench_figure(b, by_cpu, "x", y, b->rounds, NULL);
}

void bench_part(bench *b, const char *name, const double *seconds, double flop) {
    double x[BENCH_ROUNDS_MAX], t[BENCH_ROUNDS_MAX];
    for (int r = 0; r < b->rounds; r++) {
        t[r] = seconds[b->round[r].taken];
        x[r] = flop > 0 ? 1e-7 * flop / t[r] / b->round[r].rate[BENCH_PRODUCT] : 1e3 * t[r];
    }
    double middle = bench_median(t, b->rounds);
    bench_detail d = {.seconds = middle, .gflops = 1e-9 * flop / middle};
    bench_figure(b, name, flop > 0 ? "% product" : "ms", x, b->rounds, &d);
}
