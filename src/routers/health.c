/* health.c - sums of one router's behaviour, and the report. See health.h. Rows in order, sums in f64, counts int64. */
#ifndef T
#include "kernels/rows.h"
#include <math.h>
#include <retort/base/mem.h>
#include <retort/routers/health.h>
#include <string.h>

/* Behind the sums: one micro-batch's counts and probabilities, then two rows of scores. */
static int64_t *batch_count(const rt_router_health *h) { return h->count + h->experts; }
static double *batch_probability(const rt_router_health *h) { return h->probability + h->experts; }
static void *row_p(const rt_router_health *h) { return h->probability + 2 * h->experts; }
static void *row_q(const rt_router_health *h) { return h->probability + 3 * h->experts; }

rt_status rt_router_health_open(rt_router_health *h, int64_t experts, int64_t k, rt_error *err) {
    *h = (rt_router_health){.experts = experts, .k = k, .memory = rt_zalloc(rt_array_bytes((size_t)experts, 6 * 8))};
    if (!h->memory) return rt_fail(err, RT_E_NOMEM, "out of memory: statistics of a router with %lld experts", (long long)experts);
    h->count = h->memory;
    h->probability = (double *)(h->count + 2 * experts);
    return RT_OK;
}
void rt_router_health_close(rt_router_health *h) {
    rt_free(h->memory);
    *h = (rt_router_health){0};
}
void rt_router_health_reset(rt_router_health *h) {
    memset(h->memory, 0, (size_t)h->experts * 6 * 8);
    h->tokens = h->flips = h->moved = 0;
    h->z = h->balance = h->entropy = h->js = 0;
}
void rt_router_health_merge(rt_router_health *h, const rt_router_health *o) {
    h->tokens += o->tokens, h->flips += o->flips, h->moved += o->moved;
    h->z += o->z, h->balance += o->balance, h->entropy += o->entropy, h->js += o->js;
    for (int64_t e = 0; e < h->experts; e++) h->count[e] += o->count[e], h->probability[e] += o->probability[e];
}

#define RT_BODY "routers/health.c"
#include "kernels/for_each_type.h"

/* The micro-batch's balance, then its sums into the totals. */
static void close_batch(rt_router_health *h, int64_t tokens) {
    double sum = 0, n = (double)tokens;
    for (int64_t e = 0; e < h->experts; e++) {
        sum += (double)batch_count(h)[e] / (n * (double)h->k) * (batch_probability(h)[e] / n);
        h->count[e] += batch_count(h)[e];
        h->probability[e] += batch_probability(h)[e];
    }
    h->balance += n * (double)h->experts * sum;
    h->tokens += tokens;
}

void rt_router_health_add(rt_router_health *h, const rt_tensor *clean, const rt_tensor *used, const rt_tensor *ids, const rt_tensor *valid) {
    int64_t tokens = 0;
    bool changed = used && used->data != clean->data;
    memset(batch_count(h), 0, (size_t)h->experts * sizeof(int64_t));
    memset(batch_probability(h), 0, (size_t)h->experts * sizeof(double));
    for (int64_t n = 0; n < clean->dim[0]; n++) {
        if (valid && !((const int32_t *)valid->data)[n]) continue;
        const int32_t *id = (const int32_t *)ids->data + n * h->k;
        tokens++;
        for (int64_t j = 0; j < h->k; j++) batch_count(h)[id[j]]++;
        if (clean->dtype == RT_F64) add_row_f64(h, clean, changed ? used : NULL, n, id);
        else add_row_f32(h, clean, changed ? used : NULL, n, id);
    }
    if (tokens) close_batch(h, tokens);
}

static void report_load(const rt_router_health *h, rt_router_report *r, double *load) {
    double pairs = (double)(h->tokens * h->k), mean = 1 / (double)h->experts, square = 0, largest = 0;
    int64_t dead = 0;
    for (int64_t e = 0; e < h->experts; e++) {
        double share = (double)h->count[e] / pairs;
        if (load) load[e] = share;
        dead += h->count[e] == 0;
        square += (share - mean) * (share - mean);
        largest = fmax(largest, share);
    }
    r->cv = sqrt(square / (double)h->experts) / mean;
    r->max_vio = (largest - mean) / mean;
    r->dead_fraction = (double)dead / (double)h->experts;
}
rt_router_report rt_router_health_report(const rt_router_health *h, double *load) {
    rt_router_report r = {.tokens = h->tokens};
    if (load) memset(load, 0, (size_t)h->experts * sizeof *load);
    if (!h->tokens) return r;
    double n = (double)h->tokens, entropy = 0;
    for (int64_t e = 0; e < h->experts; e++) {
        double p = h->probability[e] / n;
        if (p > 0) entropy -= p * log(p);
        r.saturation = fmax(r.saturation, p);
    }
    r.neff = exp(entropy);
    r.router_z = h->z / n, r.balance = h->balance / n, r.entropy = h->entropy / n, r.js = h->js / n;
    r.flip = (double)h->flips / n, r.moved = (double)h->moved / (n * (double)h->k);
    report_load(h, &r, load);
    return r;
}
#else
/* sum p (log p - log m) + q (log q - log m), m the mean of both: twice the divergence. */
static double F(divergence)(const T *p, const T *q, int64_t E) {
    double sum = 0;
    for (int64_t e = 0; e < E; e++) {
        double a = (double)p[e], b = (double)q[e], m = (a + b) / 2;
        sum += (a > 0 ? a * log(a / m) : 0) + (b > 0 ? b * log(b / m) : 0);
    }
    return sum;
}
/* How many beat expert e, ties to the lower id: its place in the clean order. */
static int64_t F(place)(const T *z, int64_t E, int32_t e) {
    int64_t above = 0;
    for (int64_t o = 0; o < E; o++) above += z[o] > z[e] || (z[o] == z[e] && o < e);
    return above;
}
static void F(compare)(rt_router_health *h, const T *clean, const T *p, const T *used, const int32_t *id) {
    T *q = row_q(h);
    F(rt_rows)()->softmax(used, q, h->experts);
    h->js += F(divergence)(p, q, h->experts) / 2;
    h->flips += F(place)(clean, h->experts, id[0]) != 0;
    for (int64_t j = 0; j < h->k; j++) h->moved += F(place)(clean, h->experts, id[j]) >= h->k;
}
static void F(add_row)(rt_router_health *h, const rt_tensor *clean, const rt_tensor *used, int64_t n, const int32_t *id) {
    int64_t E = h->experts;
    const T *z = (const T *)clean->data + n * E;
    T *p = row_p(h);
    double lse = (double)F(rt_rows)()->softmax(z, p, E), *sum = batch_probability(h);
    h->z += lse * lse;
    for (int64_t e = 0; e < E; e++) {
        sum[e] += (double)p[e];
        if (p[e] > 0) h->entropy += (double)p[e] * (lse - (double)z[e]);
    }
    if (used) F(compare)(h, z, p, (const T *)used->data + n * E, id);
}
#endif
