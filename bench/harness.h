/* harness.h - what every bench shares: its command line, interleaved samples, figures as a table and as JSON lines.
 *
 *   static rt_status run(bench *b, rt_error *err) {
 *       bench_case c = {.name = "step", .flop = 2e11, .limit = BENCH_PRODUCT, .run = step, .context = &job};
 *       RT_TRY(bench_sample(b, &c, 1, false, err));
 *       bench_report(b, &c);
 *       return RT_OK;
 *   }
 *   BENCH("r1", 9, run)
 *
 * A sample is a round: the yardsticks (the product rate, and what else the cases name as their limit), every case once, and
 * the yardsticks again; a case is compared with the mean of both. So a machine whose clock moves, or that has other work,
 * does not decide a share, and cases of one round can be compared with each other. Rounds in which others used more than 3 % of
 * the processors are taken again, `tries` times as many at most; then the least disturbed ones count, and each figure says
 * how disturbed they were. */
#ifndef BENCH_HARNESS_H
#define BENCH_HARNESS_H
#include "quiet.h"
#include <retort/base/status.h>
#include <stdbool.h>
#include <stdio.h>

enum { BENCH_CASES_MAX = 64, BENCH_ROUNDS_MAX = 512 };
typedef enum bench_limit { BENCH_PRODUCT, BENCH_PRODUCT_F64, BENCH_COPY, BENCH_NONE } bench_limit; /* f32 and f64 products; copying */

typedef struct bench_case {
    char name[64];
    double flop, bytes;  /* useful arithmetic, and memory read and written, of one call; 0: not counted */
    bench_limit limit;   /* what the share is of */
    rt_status (*run)(void *context, rt_error *err);
    void *context;
    const double *took;  /* where run leaves the seconds of a call, if they are not those that it lasted; else NULL */
    int calls;           /* a sample; 0: as many as take 10 ms */
} bench_case;

typedef struct bench_round {
    int taken; /* which it was in time, from 0 */
    double others, rate[BENCH_NONE]; /* others: share of the processors */
    double product_cpu;              /* the product rate again, a second of processor time: what it costs beside other programs too */
    double seconds[BENCH_CASES_MAX], cpu[BENCH_CASES_MAX]; /* of one call: on the wall; of all threads' processors */
} bench_round;

typedef struct bench {
    const char *program, *only, *revision;
    int samples, tries;
    bool quick; /* CI-sized: jobs may be smaller, and say so by the record's "quick" */
    FILE *out;
    bool failed;
    int rounds; /* of the last bench_sample, the least disturbed first */
    bench_round round[BENCH_ROUNDS_MAX];
} bench;

typedef struct bench_program {
    const char *name;
    int samples;
    rt_status (*run)(bench *b, rt_error *err);
} bench_program;
#define BENCH(name, samples, run)                                                                                      \
    int main(int argc, char **argv) {                                                                                  \
        static const bench_program program = {name, samples, run};                                                     \
        return bench_main(argc, argv, &program);                                                                       \
    }
int bench_main(int argc, char **argv, const bench_program *p);

/* --only asks for this figure, for a group it begins with, or for one inside it. */
bool bench_wanted(const bench *b, const char *name);
/* Fills b->round. Every case runs once before, to warm up. mirrored: every second round takes the cases in reverse (for pairs). */
rt_status bench_sample(bench *b, bench_case *cases, int n, bool mirrored, rt_error *err) RT_NODISCARD;

/* ---------------------------------------------------------------------------------------------------------- figures */
typedef struct bench_detail { /* beside the value: 0 where it does not apply */
    double seconds, cpu, gflops, gbytes; /* cpu: processor seconds of one call */
    double cpu_share;                    /* percent: arithmetic a processor second, of what the product rate's products do in one */
} bench_detail;
/* x: one value a round; sorted by the call. The figure is their median. */
void bench_figure(bench *b, const char *name, const char *unit, double *x, int n, const bench_detail *d);
void bench_number(bench *b, const char *name, const char *unit, double x); /* not sampled */
/* Case i of the last bench_sample: its share of its limit, else its milliseconds. */
void bench_report(bench *b, const bench_case *cases, int i);
void bench_report_all(bench *b, const bench_case *cases, int n);
/* Seconds of case i over those of case j, round by round; and processor seconds, as NAME.cpu. */
void bench_ratio(bench *b, const char *name, int i, int j);
/* A part of each round's time, with the arithmetic in it: its share of the product rate; without any, ms. seconds[i]: of the round
 * that was taken as the i-th (the warm-up, which comes before, is none). */
void bench_part(bench *b, const char *name, const double *seconds, double flop);

/* Ranks of the interval that holds the median of the distribution with 95 % (n >= 6; else the least and the greatest): 0-based in
 * sorted samples. From the binomial distribution alone, so it asks nothing of the samples but independence. */
void bench_interval(int n, int *low, int *high);
#endif
