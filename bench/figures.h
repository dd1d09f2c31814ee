/* figures.h - the inside of figures.c that the harness and the tests use. */
#ifndef BENCH_FIGURES_H
#define BENCH_FIGURES_H
#include "harness.h"
#include <retort/base/json.h>

typedef struct bench_stats {
    double median, least, greatest, low, high; /* low, high: 95 % interval of the median */
    int n;
} bench_stats;
bench_stats bench_stats_of(double *x, int n); /* sorts x; n >= 1 */

void bench_table_head(void);
/* One record as docs/bench.md describes it. NULL: out of memory. Owned by the caller. */
json_t *bench_record(const bench *b, const char *name, const char *unit, const bench_stats *s, const bench_detail *d);
#endif
