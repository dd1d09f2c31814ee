/* bench_r2.c - the vocabulary head alone: forward_kl at 2 and next_token with gradients, teacher's hidden states and matrix f16.
 *
 *   R1's head: V 8192, widths 256 and 512, 2048 rows;  R2: V 151936, the same, within 96 MiB whatever the number of rows. */
#include "harness.h"
#include "tensors.h"
#include <retort/base/threads.h>
#include <retort/losses/losses.h>
#include <retort/ops/head.h>

enum { D = 256, TEACHER_D = 512, TENSORS = 7 };
enum { HIDDEN, WEIGHT, TEACHER_HIDDEN, TEACHER_WEIGHT, D_HIDDEN, D_WEIGHT, TARGETS };
typedef struct head {
    rt_tensor t[TENSORS], gains;
    double gain[2];
    int64_t rows; /* a chunk */
    rt_graph *g;
} head;

static void fill(head *h, int64_t V, int64_t N) {
    int64_t hidden[] = {N, D}, weight[] = {V, D}, teacher_hidden[] = {N, TEACHER_D}, teacher_weight[] = {V, TEACHER_D};
    h->t[HIDDEN] = bench_tensor(RT_F32, 2, hidden, 1), h->t[WEIGHT] = bench_tensor(RT_F32, 2, weight, 0.1);
    h->t[TEACHER_HIDDEN] = bench_tensor(RT_F16, 2, teacher_hidden, 1), h->t[TEACHER_WEIGHT] = bench_tensor(RT_F16, 2, teacher_weight, 0.1);
    h->t[D_HIDDEN] = bench_tensor(RT_F32, 2, hidden, 0), h->t[D_WEIGHT] = bench_tensor(RT_F32, 2, weight, 0);
    h->t[TARGETS] = bench_tensor(RT_I32, 1, hidden, 0);
    for (int64_t i = 0; h->t[TARGETS].data && i < N; i++) ((int32_t *)h->t[TARGETS].data)[i] = (int32_t)(i * 7919 % V);
    h->gain[0] = h->gain[1] = 0.5 / (double)N;
    h->gains = rt_tensor_1d(RT_F64, h->gain, 2);
}
static rt_status open_head(head *h, int64_t V, int64_t N, rt_error *err) {
    static const rt_head_term terms[] = {{&rt_loss_forward_kl, 2, 0, 0}, {&rt_loss_next_token, 0, 0, 0}};
    rt_prec f32 = rt_prec_uniform(RT_F32), native = {RT_F16, RT_F16, RT_F32, RT_F32, RT_F32};
    *h = (head){.g = rt_graph_new("bench")};
    fill(h, V, N);
    RT_TRY(bench_filled(h->t, TENSORS, err));
    if (!h->g) return rt_fail(err, RT_E_NOMEM, "out of memory: graph");
    rt_head_config c = {.student = {.hidden = rt_graph_param(h->g, "hidden", &h->t[HIDDEN], &h->t[D_HIDDEN]),
                                    .weight = rt_graph_param(h->g, "weight", &h->t[WEIGHT], &h->t[D_WEIGHT]), .prec = f32},
                        .teacher = {.hidden = rt_graph_input(h->g, "teacher_hidden", &h->t[TEACHER_HIDDEN]),
                                    .weight = rt_graph_param(h->g, "teacher_weight", &h->t[TEACHER_WEIGHT], NULL), .prec = native},
                        .targets = rt_graph_input(h->g, "targets", &h->t[TARGETS]), .gains = rt_graph_input(h->g, "gains", &h->gains),
                        .terms = terms, .n_terms = 2, .vocab = V};
    rt_graph_output(h->g, rt_head(h->g, &c, "head", &h->rows));
    return rt_graph_plan(h->g, true, err);
}
static void close_head(head *h) {
    rt_graph_free(h->g);
    for (int i = 0; i < TENSORS; i++) rt_free(h->t[i].data);
}
static rt_status forward(void *context, rt_error *err) { /* the head is terminal: values and gradients at once */
    return rt_graph_forward(((head *)context)->g, err);
}

static rt_status measure(bench *b, const char *name, int64_t V, int64_t N, rt_error *err) {
    head h;
    char text[64];
    bench_case c = {.flop = 2.0 * (double)(N * V) * (TEACHER_D + 3.0 * D), .run = forward, .context = &h, .calls = 1};
    snprintf(c.name, sizeof c.name, "%s", name);
    if (!bench_wanted(b, name)) return RT_OK;
    rt_status s = open_head(&h, V, N, err);
    if (s == RT_OK) s = bench_sample(b, &c, 1, false, err);
    if (s == RT_OK) bench_report(b, &c, 0);
    snprintf(text, sizeof text, "%s.rows", name);
    if (s == RT_OK) bench_number(b, text, "a chunk", (double)h.rows);
    close_head(&h);
    return s;
}

/* Scratch must not grow with the tokens: planned only, nothing runs. */
static rt_status memory(bench *b, int64_t N, rt_error *err) {
    head h;
    char name[64];
    snprintf(name, sizeof name, "scratch.%d rows", (int)N);
    if (!bench_wanted(b, name)) return RT_OK;
    rt_status s = open_head(&h, 151936, N, err);
    if (s == RT_OK) {
        rt_graph_stats st = rt_graph_stats_get(h.g);
        bench_number(b, name, "MiB", (double)(st.arena_bytes + rt_threads() * st.worker_scratch_bytes) / 1048576);
    }
    close_head(&h);
    return s;
}

static rt_status run(bench *b, rt_error *err) {
    static const int64_t rows[] = {512, 2048, 8192};
    RT_TRY(measure(b, "r1_head", 8192, 2048, err));
    RT_TRY(measure(b, "head", 151936, b->quick ? 256 : 2048, err));
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) RT_TRY(memory(b, rows[i], err));
    return RT_OK;
}
BENCH("r2", 9, run)
