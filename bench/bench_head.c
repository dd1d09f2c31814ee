/* bench_head.c - the vocabulary head alone: forward_kl at 2 and next_token with gradients, teacher f16 hidden and weight.
 *
 *   R1: V 8192, widths 256 and 512, 2048 rows;  R2: V 151936, the same.        usage: bench_head [all|r1|r2] [repeats]
 * A figure is the median of the repeats; its share is of the product rate measured right before each. */
#include <retort/base/mem.h>
#include <retort/base/rng.h>
#include <retort/base/threads.h>
#include <retort/losses/losses.h>
#include <retort/ops/head.h>
#include "kernels/isa.h"
#include "kernels/measure.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { N = 2048, D = 256, TEACHER_D = 512, REPEATS_MAX = 64 };

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}
static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}
static double median(double *x, int n) {
    qsort(x, (size_t)n, sizeof *x, ascending);
    return x[n / 2];
}

static rt_tensor filled(rt_dtype t, int64_t rows, int64_t columns, float scale) {
    rt_tensor m = rt_tensor_2d(t, NULL, rows, columns);
    if (!(m.data = rt_zalloc(rt_tensor_bytes(&m)))) return m;
    rt_rng r = rt_rng_make(1, "bench", 0);
    for (int64_t i = 0; i < rows * columns && scale > 0; i++) {
        float x = scale * (float)(2 * rt_rng_uniform(r, (uint64_t)i) - 1);
        if (t == RT_F16) ((rt_f16 *)m.data)[i] = rt_f32_to_f16(x);
        else ((float *)m.data)[i] = x;
    }
    return m;
}

typedef struct bench {
    rt_tensor hidden, weight, teacher_hidden, teacher_weight, d_hidden, d_weight, targets, gains;
    double gain[2];
    int64_t rows;
    rt_graph *g;
} bench;

static rt_status build(bench *b, int64_t V, rt_error *err) {
    static const rt_head_term terms[] = {{&rt_loss_forward_kl, 2, 0, 0}, {&rt_loss_next_token, 0, 0, 0}};
    rt_prec f32 = rt_prec_uniform(RT_F32), native = {RT_F16, RT_F16, RT_F32, RT_F32, RT_F32};
    b->g = rt_graph_new("bench");
    b->hidden = filled(RT_F32, N, D, 1), b->weight = filled(RT_F32, V, D, 0.1f);
    b->teacher_hidden = filled(RT_F16, N, TEACHER_D, 1), b->teacher_weight = filled(RT_F16, V, TEACHER_D, 0.1f);
    b->d_hidden = filled(RT_F32, N, D, 0), b->d_weight = filled(RT_F32, V, D, 0);
    b->targets = rt_tensor_1d(RT_I32, rt_alloc(N * sizeof(int32_t)), N);
    b->gain[0] = b->gain[1] = 0.5 / N;
    b->gains = rt_tensor_1d(RT_F64, b->gain, 2);
    if (!b->g || !b->targets.data || !b->d_weight.data || !b->teacher_weight.data) return rt_fail(err, RT_E_NOMEM, "out of memory");
    for (int i = 0; i < N; i++) ((int32_t *)b->targets.data)[i] = (int32_t)((i * 7919LL) % V);
    rt_graph *g = b->g;
    rt_head_config c = {.student = {.hidden = rt_graph_param(g, "hidden", &b->hidden, &b->d_hidden),
                                    .weight = rt_graph_param(g, "weight", &b->weight, &b->d_weight), .prec = f32},
                        .teacher = {.hidden = rt_graph_input(g, "teacher_hidden", &b->teacher_hidden),
                                    .weight = rt_graph_param(g, "teacher_weight", &b->teacher_weight, NULL), .prec = native},
                        .targets = rt_graph_input(g, "targets", &b->targets), .gains = rt_graph_input(g, "gains", &b->gains),
                        .terms = terms, .n_terms = 2, .vocab = V};
    rt_graph_output(g, rt_head(g, &c, "head", &b->rows));
    return rt_graph_plan(g, true, err);
}
static void release(bench *b) {
    rt_graph_free(b->g);
    rt_free(b->hidden.data), rt_free(b->weight.data), rt_free(b->teacher_hidden.data), rt_free(b->teacher_weight.data);
    rt_free(b->d_hidden.data), rt_free(b->d_weight.data), rt_free(b->targets.data);
}

static rt_status measure(bench *b, const char *name, int64_t V, int repeats, rt_error *err) {
    double seconds[REPEATS_MAX], rate[REPEATS_MAX], flop = 2.0 * N * (double)V * (TEACHER_D + 3.0 * D);
    RT_TRY(build(b, V, err));
    RT_TRY(rt_graph_forward(b->g, err));
    for (int i = 0; i < repeats; i++) {
        RT_TRY(rt_measure_product_rate(&rate[i], err));
        double t = now();
        RT_TRY(rt_graph_forward(b->g, err));
        seconds[i] = now() - t;
    }
    rt_graph_stats s = rt_graph_stats_get(b->g);
    double best = seconds[0];
    for (int i = 1; i < repeats; i++) best = seconds[i] < best ? seconds[i] : best;
    double t = median(seconds, repeats), reference = median(rate, repeats);
    printf("%s: V %lld, %d rows, %lld a chunk, %.1f MiB + %d x %.2f MiB: %.1f ms (best %.1f), %.1f GFLOP/s, %.1f %% of the product rate %.1f (%s, %d threads)\n",
           name, (long long)V, N, (long long)b->rows, (double)s.arena_bytes / 1048576, rt_threads(), (double)s.worker_scratch_bytes / 1048576, t * 1e3,
           best * 1e3, flop / t / 1e9, 100 * flop / t / 1e9 / reference, reference, rt_isa_name(rt_isa_level()), rt_threads());
    return RT_OK;
}

int main(int argc, char **argv) {
    const char *which = argc > 1 ? argv[1] : "all";
    int repeats = argc > 2 ? atoi(argv[2]) : 9;
    if (repeats < 1 || repeats > REPEATS_MAX) repeats = 9;
    for (int k = 0; k < 2; k++) {
        const char *name = k ? "r2" : "r1";
        if (strcmp(which, "all") != 0 && strcmp(which, name) != 0) continue;
        bench b = {0};
        rt_error err = {0};
        rt_status s = measure(&b, name, k ? 151936 : 8192, k ? (repeats + 2) / 3 : repeats, &err);
        release(&b);
        if (s != RT_OK) return fprintf(stderr, "bench_head: %s\n", err.text), rt_status_exit(s);
    }
    return 0;
}
