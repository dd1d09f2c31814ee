/* bench_experts.c - the mixture of experts alone, forward and backward, as a share of the product rate of the same run.
 *
 *   bench_experts [repeats]      useful work: 18 N k D F (3 matrices, forward and both gradients, 2 flops a product). */
#include "kernels/measure.h"
#include <retort/base/rng.h>
#include <retort/base/threads.h>
#include <retort/graph/op.h>
#include <retort/ops/ops.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef struct shape {
    const char *name;
    int64_t N, D, F, E, k;
    bool skewed, trace;
} shape;
typedef struct bench {
    rt_graph *g;
    rt_tensor x, w, ids, valid, gate_up, down, gx, gw, g_gate_up, g_down;
    double gain;
} bench;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}
static int by_value(const void *a, const void *b) { return *(const double *)a < *(const double *)b ? -1 : *(const double *)a > *(const double *)b; }

static rt_tensor made(rt_dtype t, int ndim, const int64_t *dim, double scale) {
    rt_tensor x = rt_tensor_make(t, ndim, dim, NULL);
    x.data = rt_zalloc(rt_tensor_bytes(&x));
    if (!x.data) exit(1);
    rt_rng r = rt_rng_make(1, "bench", (uint64_t)ndim);
    for (int64_t i = 0; t == RT_F32 && scale > 0 && i < rt_tensor_count(&x); i++) ((float *)x.data)[i] = (float)(scale * (2 * rt_rng_uniform(r, (uint64_t)i) - 1));
    return x;
}
/* k different experts a token; skewed: some four times as likely as the mean. */
static void fill_ids(const shape *s, int32_t *ids) {
    rt_rng r = rt_rng_make(2, "ids", 0);
    for (int64_t n = 0; n < s->N; n++)
        for (int64_t j = 0, draw = 0; j < s->k; draw++) {
            double u = rt_rng_uniform(r, (uint64_t)(n * 1024 + draw));
            int32_t e = (int32_t)((s->skewed ? u * u : u) * (double)s->E);
            bool taken = false;
            for (int64_t i = 0; i < j; i++) taken |= ids[n * s->k + i] == e;
            if (!taken) ids[n * s->k + j++] = e;
        }
}

/* dy is all ones times gain: a loss that costs nothing. */
static rt_status ones_infer(rt_graph *g, rt_node *n) { return rt_infer_out(g, n, 0, RT_F64, 1, (int64_t[]){1}); }
static void ones_forward(const rt_call *c) { *(double *)c->out[0].data = 0; }
static void ones_backward(const rt_call *c) {
    for (int64_t i = 0; i < rt_tensor_count(&c->in[0]); i++) ((float *)c->din[0].data)[i] += 0.01f;
}
static const rt_op ones = {.name = "ones", .n_in = 1, .n_out = 1, .diff = RT_IN(0), .infer = ones_infer, .forward = ones_forward, .backward = ones_backward};

static rt_status open_bench(bench *b, const shape *s, rt_error *err) {
    int64_t x[] = {s->N, s->D}, w[] = {s->N, s->k}, gate_up[] = {s->E, 2 * s->F, s->D}, down[] = {s->E, s->F, s->D};
    *b = (bench){.gain = 1, .x = made(RT_F32, 2, x, 1), .gx = made(RT_F32, 2, x, 0), .w = made(RT_F32, 2, w, 0.5), .gw = made(RT_F32, 2, w, 0),
                 .ids = made(RT_I32, 2, w, 0), .valid = made(RT_I32, 1, x, 0), .gate_up = made(RT_F32, 3, gate_up, 0.05),
                 .g_gate_up = made(RT_F32, 3, gate_up, 0), .down = made(RT_F32, 3, down, 0.05), .g_down = made(RT_F32, 3, down, 0)};
    fill_ids(s, b->ids.data);
    memset(b->valid.data, 1, rt_tensor_bytes(&b->valid));
    b->g = rt_graph_new("bench");
    rt_prec p = rt_prec_uniform(RT_F32);
    rt_ref trace, in = rt_graph_param(b->g, "x", &b->x, &b->gx);
    rt_routing r = {rt_graph_param(b->g, "w", &b->w, &b->gw), rt_graph_input(b->g, "ids", &b->ids)};
    rt_ref y = rt_experts(b->g, in, r, rt_graph_input(b->g, "valid", &b->valid), rt_graph_param(b->g, "gate_up", &b->gate_up, &b->g_gate_up),
                          rt_graph_param(b->g, "down", &b->down, &b->g_down), s->trace ? &trace : NULL, p, "experts");
    if (s->trace) rt_graph_output(b->g, trace);
    rt_graph_loss(b->g, rt_graph_add(b->g, &ones, "ones", rt_prec_uniform(RT_F64), NULL, 0, &y, 1, NULL), &b->gain);
    return rt_graph_plan(b->g, true, err);
}
static void close_bench(bench *b) {
    rt_graph_free(b->g);
    for (rt_tensor *t = &b->x; t <= &b->g_down; t++) rt_free(t->data);
}

static rt_status run_bench(const shape *s, int repeats, rt_error *err) {
    bench b;
    double whole[64], forward[64], rate[64];
    rt_status status = open_bench(&b, s, err);
    for (int i = -1; status == RT_OK && i < repeats; i++) {
        double reference = 0;
        status = rt_measure_product_rate(&reference, err);
        double t0 = now();
        if (status == RT_OK) status = rt_graph_forward(b.g, err);
        double t1 = now();
        if (status == RT_OK) status = rt_graph_backward(b.g, err);
        if (i >= 0) whole[i] = now() - t0, forward[i] = t1 - t0, rate[i] = reference;
    }
    close_bench(&b);
    if (status != RT_OK) return status;
    qsort(whole, (size_t)repeats, sizeof *whole, by_value);
    qsort(forward, (size_t)repeats, sizeof *forward, by_value);
    qsort(rate, (size_t)repeats, sizeof *rate, by_value);
    double gflops = 18e-9 * (double)(s->N * s->k) * (double)(s->D * s->F) / whole[repeats / 2];
    printf("%-12s %7.2f ms (forward %6.2f, best %6.2f)  %6.1f GFLOP/s  product rate %6.1f  share %5.1f %%\n", s->name, 1e3 * whole[repeats / 2],
           1e3 * forward[repeats / 2], 1e3 * whole[0], gflops, rate[repeats / 2], 100 * gflops / rate[repeats / 2]);
    return RT_OK;
}

int main(int argc, char **argv) {
    static const shape shapes[] = {{"R1", 2048, 256, 512, 8, 2, false, false},        {"R1 traced", 2048, 256, 512, 8, 2, false, true},
                                   {"R5", 2048, 512, 128, 64, 8, false, false},       {"R5 traced", 2048, 512, 128, 64, 8, false, true},
                                   {"R5 skewed", 2048, 512, 128, 64, 8, true, false}};
    int repeats = argc > 1 ? atoi(argv[1]) : 15;
    if (repeats < 1 || repeats > 64) repeats = 15;
    rt_error err = {0};
    printf("%d threads\n", rt_threads());
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        if (run_bench(&shapes[i], repeats, &err) != RT_OK) return fprintf(stderr, "%s\n", err.text), rt_status_exit(err.status);
    return 0;
}
