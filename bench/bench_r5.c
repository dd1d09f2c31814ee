/* bench_r5.c - mixtures of experts, forward and backward, at R1's sizes and at R5's; a whole layer with its router against a dense
 * layer of the same active parameters.
 *
 * Useful work: 18 N k D F for the experts (3 matrices, forward and both gradients, 2 flops a product). */
#include "harness.h"
#include "tensors.h"
#include <retort/base/rng.h>
#include <retort/ops/ops.h>
#include <stdio.h>
#include <string.h>

typedef enum kind { EXPERTS, LAYER, DENSE } kind; /* routes given; with router, top-k, balance and z; gate_up, swiglu, down */
typedef struct shape {
    const char *name;
    int64_t N, D, F, E, k;
    kind kind;
    bool skewed, trace;
} shape;

/* Tensors by pairs: a value, and its gradient where it has one. */
enum { X, GX, GATE_UP, G_GATE_UP, DOWN, G_DOWN, WEIGHTS, G_WEIGHTS, ROUTER, G_ROUTER, IDS, VALID, TENSORS };
typedef struct part {
    rt_graph *g;
    rt_tensor t[TENSORS];
    double gain;
} part;

static double flop(const shape *s) { return 18.0 * (double)(s->N * s->k) * (double)(s->D * s->F); }

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

static rt_status fill(part *p, const shape *s, rt_error *err) {
    bool dense = s->kind == DENSE;
    int64_t x[] = {s->N, s->D}, w[] = {s->N, s->k}, router[] = {s->E, s->D}, F = s->F * (dense ? s->k : 1);
    int64_t gate_up[] = {dense ? 1 : s->E, 2 * F, s->D}, down[] = {dense ? 1 : s->E, dense ? s->D : F, dense ? F : s->D};
    for (int gradient = 0; gradient < 2; gradient++) {
        p->t[X + gradient] = bench_tensor(RT_F32, 2, x, gradient ? 0 : 1);
        p->t[GATE_UP + gradient] = bench_tensor(RT_F32, dense ? 2 : 3, gate_up + dense, gradient ? 0 : 0.05);
        p->t[DOWN + gradient] = bench_tensor(RT_F32, dense ? 2 : 3, down + dense, gradient ? 0 : 0.05);
        p->t[WEIGHTS + gradient] = bench_tensor(RT_F32, 2, w, gradient ? 0 : 0.5);
        p->t[ROUTER + gradient] = bench_tensor(RT_F32, 2, router, gradient ? 0 : 0.05);
    }
    p->t[IDS] = bench_tensor(RT_I32, 2, w, 0), p->t[VALID] = bench_tensor(RT_I32, 1, x, 0);
    RT_TRY(bench_filled(p->t, TENSORS, err));
    fill_ids(s, p->t[IDS].data);
    for (int64_t n = 0; n < s->N; n++) ((int32_t *)p->t[VALID].data)[n] = 1;
    return RT_OK;
}

static rt_ref param(part *p, const char *name, int i) { return rt_graph_param(p->g, name, &p->t[i], &p->t[i + 1]); }

static rt_ref dense(part *p, rt_ref x) {
    rt_prec f32 = rt_prec_uniform(RT_F32), rows = {RT_F32, RT_NONE, RT_F32, RT_F32, RT_F32};
    rt_ref h = rt_swiglu(p->g, rt_linear(p->g, x, param(p, "gate_up", GATE_UP), f32, "gate_up"), rows, "swiglu");
    return rt_linear_residual(p->g, h, param(p, "down", DOWN), x, f32, "down");
}
static rt_ref mixture(part *p, const shape *s, rt_ref x) {
    rt_prec f32 = rt_prec_uniform(RT_F32), rows = {RT_F32, RT_NONE, RT_F32, RT_F32, RT_F32};
    rt_ref trace, valid = rt_graph_input(p->g, "valid", &p->t[VALID]);
    rt_routing r;
    if (s->kind == LAYER) {
        rt_ref scores = rt_linear(p->g, x, param(p, "router", ROUTER), f32, "router");
        r = rt_route(p->g, scores, s->k, true, rows, "route");
        rt_graph_loss(p->g, rt_balance(p->g, scores, r.ids, valid, rows, "balance"), &p->gain);
        rt_graph_loss(p->g, rt_router_z(p->g, scores, valid, rows, "router_z"), &p->gain);
    } else r = (rt_routing){param(p, "w", WEIGHTS), rt_graph_input(p->g, "ids", &p->t[IDS])};
    rt_ref y = rt_experts(p->g, x, r, valid, param(p, "gate_up", GATE_UP), param(p, "down", DOWN), s->trace ? &trace : NULL, f32, "experts");
    if (s->trace) rt_graph_output(p->g, trace);
    return s->kind == LAYER ? rt_add(p->g, x, y, rows, "residual") : y;
}

static rt_status open_part(part *p, const shape *s, rt_error *err) {
    *p = (part){.gain = 1, .g = rt_graph_new("bench")};
    if (!p->g) return rt_fail(err, RT_E_NOMEM, "out of memory: graph");
    RT_TRY(fill(p, s, err));
    rt_ref x = param(p, "x", X);
    bench_loss(p->g, s->kind == DENSE ? dense(p, x) : mixture(p, s, x), &p->gain);
    return rt_graph_plan(p->g, true, err);
}
static void close_part(part *p) {
    rt_graph_free(p->g);
    for (int i = 0; i < TENSORS; i++) rt_free(p->t[i].data);
}
static rt_status both_ways(void *context, rt_error *err) {
    part *p = context;
    rt_graph_fresh_gradients(p->g);
    RT_TRY(rt_graph_forward(p->g, err));
    return rt_graph_backward(p->g, err);
}

static const shape shapes[] = {
    {"r1_experts", 2048, 256, 512, 8, 2, EXPERTS, false, false},  {"r1_experts_traced", 2048, 256, 512, 8, 2, EXPERTS, false, true},
    {"experts", 2048, 512, 128, 64, 8, EXPERTS, false, false},    {"experts_traced", 2048, 512, 128, 64, 8, EXPERTS, false, true},
    {"experts_skewed", 2048, 512, 128, 64, 8, EXPERTS, true, false},
    {"layer.8 top 2", 2048, 256, 512, 8, 2, LAYER, false, false}, {"layer.8 top 2 dense", 2048, 256, 512, 8, 2, DENSE, false, false},
    {"layer.64 top 8", 2048, 512, 128, 64, 8, LAYER, false, false}, {"layer.64 top 8 dense", 2048, 512, 128, 64, 8, DENSE, false, false}};
enum { SHAPES = sizeof shapes / sizeof *shapes, LAYER_8 = 5, LAYER_64 = 7 };

static rt_status run(bench *b, rt_error *err) {
    part p[SHAPES] = {0};
    bench_case c[SHAPES] = {0};
    rt_status s = RT_OK;
    for (int i = 0; s == RT_OK && i < SHAPES; i++) {
        c[i] = (bench_case){.flop = flop(&shapes[i]), .run = both_ways, .context = &p[i], .calls = 1};
        snprintf(c[i].name, sizeof c[i].name, "%s", shapes[i].name);
        s = open_part(&p[i], &shapes[i], err);
    }
    if (s == RT_OK) s = bench_sample(b, c, SHAPES, false, err);
    if (s == RT_OK) {
        bench_report_all(b, c, SHAPES);
        bench_ratio(b, "trace.8 top 2", 1, 0), bench_ratio(b, "trace.64 top 8", 3, 2);
        bench_ratio(b, "moe over dense.8 top 2", LAYER_8, LAYER_8 + 1), bench_ratio(b, "moe over dense.64 top 8", LAYER_64, LAYER_64 + 1);
        bench_ratio(b, "experts over dense.8 top 2", 0, LAYER_8 + 1), bench_ratio(b, "experts over dense.64 top 8", 2, LAYER_64 + 1);
    }
    for (int i = 0; i < SHAPES; i++) close_part(&p[i]);
    return s;
}
BENCH("r5", 15, run)
