/* roofline.c - a step's roles against their own limits, as a table for docs/roofline.md. */
#include "roles.h"
#include <string.h>

/* Of the rounds of the last bench_sample: medians. */
typedef struct point {
    double limit, seconds, reached;
    const char *set_by;
} point;

static const char *set_by(const bench_role *r, double products, double memory) {
    if (products >= memory) return r->flop > 0 ? "products" : r->inner > 0 ? "caches" : "";
    return r->inner > r->bytes ? "caches" : "memory";
}
static point point_of(const bench *b, const bench_role *r, double copy_rate) {
    double limit[BENCH_ROUNDS_MAX], seconds[BENCH_ROUNDS_MAX], memory = 1e-9 * r->bytes / copy_rate;
    point p = {.set_by = ""};
    for (int i = 0; i < b->rounds; i++) {
        double products = 1e-9 * r->flop / b->round[i].rate[BENCH_PRODUCT];
        if (i == 0) p.set_by = set_by(r, products, memory);
        limit[i] = products > memory ? products : memory;
        seconds[i] = r->seconds[b->round[i].taken];
    }
    p.limit = bench_median(limit, b->rounds), p.seconds = bench_median(seconds, b->rounds);
    p.reached = p.seconds > 0 ? p.limit / p.seconds : 0;
    return p;
}

static void put(const bench_role *r, const point *p) {
    printf("| %s |", r->name);
    if (r->flop > 0) printf(" %.2f |", 1e-9 * r->flop);
    else printf(" |");
    if (r->bytes > 0) printf(" %.1f |", 1e-6 * r->bytes);
    else printf(" |");
    if (p->limit > 0 && strcmp(p->set_by, "caches") != 0)
        printf(" %.2f | %s | %.2f | %.0f %% |\n", 1e3 * p->limit, p->set_by, 1e3 * p->seconds, 100 * p->reached);
    else printf(" | %s | %.2f | |\n", p->set_by, 1e3 * p->seconds);
}

void bench_roofline(const bench *b, const bench_roles *r, double copy_rate) {
    double product[BENCH_ROUNDS_MAX], others[BENCH_ROUNDS_MAX];
    bench_role all = {.name = "a step"};
    point sum = {.set_by = ""};
    for (int i = 0; i < b->rounds; i++) product[i] = b->round[i].rate[BENCH_PRODUCT], others[i] = b->round[i].others;
    printf("Products %.1f GFLOP/s, copying %.1f GB/s; medians of %d steps, others used %.1f %% of the processors.\n\n", bench_median(product, b->rounds),
           copy_rate, b->rounds, 100 * bench_median(others, b->rounds));
    printf("| role | GFLOP | MB | limit, ms | set by | measured, ms | reached |\n|---|---|---|---|---|---|---|\n");
    for (int i = 0; i < r->count; i++) {
        int at = (i + 1) % r->count; /* what is outside the tapes comes first there */
        point p = point_of(b, &r->role[at], copy_rate);
        put(&r->role[at], &p);
        sum.limit += p.limit, sum.seconds += p.seconds;
        all.flop += r->role[at].flop, all.bytes += r->role[at].bytes;
    }
    sum.reached = sum.limit / sum.seconds;
    put(&all, &sum);
}
