/* test_work.c - what operations say of their work, against counts made here from each formula: flops of products, bytes of
 * operands. Every operation of the registry has a row; nothing is run, the graphs are sketches. */
#include "harness.h"
#include "head_case.h"
#include <retort/graph/op.h>
#include <retort/ops/ops.h>
#include <string.h>

/* ------------------------------------------------------------------ sketches */

static rt_ref leaf(rt_graph *g, rt_dtype t, bool trained, int ndim, const int64_t *dim) {
    rt_tensor value = rt_tensor_make(t, ndim, dim, NULL), grad = rt_tensor_make(t == RT_F64 ? RT_F64 : RT_F32, ndim, dim, NULL);
    return trained ? rt_graph_param(g, "leaf", &value, &grad) : rt_graph_input(g, "leaf", &value);
}
#define TRAINED(t, ...) leaf(g, t, true, (int)(sizeof((int64_t[]){__VA_ARGS__}) / 8), (int64_t[]){__VA_ARGS__})
#define GIVEN(t, ...) leaf(g, t, false, (int)(sizeof((int64_t[]){__VA_ARGS__}) / 8), (int64_t[]){__VA_ARGS__})

/* A loss of anything. */
static rt_status any_infer(rt_graph *g, rt_node *n) { return rt_infer_out(g, n, 0, RT_F64, 1, (int64_t[]){1}); }
static void never(const rt_call *c) { (void)c; }
static const rt_op any = {.name = "any", .n_in = 1, .n_out = 1, .diff = RT_IN(0), .infer = any_infer, .forward = never, .backward = never};
static double gain = 1;
static void lose(rt_graph *g, rt_ref y) { rt_graph_loss(g, rt_graph_add(g, &any, "any", rt_prec_uniform(RT_F64), NULL, 0, &y, 1, NULL), &gain); }

enum { NODES_MAX = 8 };
typedef struct works {
    int count;
    rt_graph_work of[NODES_MAX];
} works;
static void keep(void *context, const rt_graph_work *w) {
    works *all = context;
    if (all->count < NODES_MAX) all->of[all->count++] = *w;
}
static works plan(rt_graph *g, bool train) {
    works all = {0};
    rt_error err = {0};
    rt_graph_works(g, keep, &all);
    CU_ASSERT_EQUAL(all.count, 0); /* nothing before planning */
    RT_OK_OR_FAIL(rt_graph_plan(g, train, &err));
    rt_graph_works(g, keep, &all);
    return all;
}
static rt_graph *sketch(void) {
    rt_graph *g = rt_graph_new("t");
    rt_graph_sketch(g);
    return g;
}

/* ---------------------------------------------------------------- operations */

typedef struct counted { /* in the order of rt_graph_work */
    double flops, bytes, back_flops, back_bytes;
} counted;
typedef struct row {
    const char *op;
    rt_prec p;
    int64_t s[6]; /* sizes, as build and count read them */
    rt_ref (*build)(rt_graph *g, const int64_t *s, rt_prec p);
    counted (*count)(const double *s, rt_prec p);
    bool forward_only;
} row;
static double b(rt_dtype t) { return (double)rt_dtype_size(t); }

/* N ids of V rows of D; the gradient is dense. */
static rt_ref embed(rt_graph *g, const int64_t *s, rt_prec p) { return rt_embed(g, GIVEN(RT_I32, s[0]), TRAINED(p.weight, s[1], s[2]), p, "r"); }
static counted embed_count(const double *s, rt_prec p) {
    double rows = s[0] < s[1] ? s[0] : s[1];
    return (counted){0, 4 * s[0] + rows * s[2] * b(p.weight) + s[0] * s[2] * b(p.out), 0, 4 * s[0] + (s[0] + s[1]) * s[2] * b(p.grad)};
}
/* [N,K] by [O0,K] with a bias and [O1,K] without, plus a residual. */
static rt_ref linear(rt_graph *g, const int64_t *s, rt_prec p) {
    rt_ref in[] = {TRAINED(p.in, s[0], s[1]), TRAINED(p.out, s[0], s[2] + s[3]), TRAINED(p.weight, s[2], s[1]), TRAINED(p.weight, s[3], s[1]), RT_NULL,
                   TRAINED(p.weight, s[2])};
    extern const rt_op rt_op_linear;
    return rt_graph_add(g, &rt_op_linear, "r", p, NULL, 0, in, 6, NULL);
}
static counted linear_count(const double *s, rt_prec p) {
    double N = s[0], K = s[1], O = s[2] + s[3], kept = N * K * b(p.in) + O * K * b(p.weight);
    return (counted){2 * N * K * O, kept + s[2] * b(p.weight) + 2 * N * O * b(p.out), 4 * N * K * O,
                     kept + (N * K + O * K + s[2] + 2 * N * O) * b(p.grad)};
}
static rt_ref rmsnorm(rt_graph *g, const int64_t *s, rt_prec p) { return rt_rmsnorm(g, TRAINED(p.in, s[0], s[1]), TRAINED(p.weight, s[1]), 1e-5, p, "r"); }
static counted rmsnorm_count(const double *s, rt_prec p) {
    double kept = s[0] * s[1] * b(p.in) + s[1] * b(p.weight) + s[0] * b(p.acc);
    return (counted){0, kept + s[0] * s[1] * b(p.out), 0, kept + (2 * s[0] * s[1] + s[1]) * b(p.grad)};
}
/* [N,C]; q wide groups of the first 2 q columns, k wide of the next k. */
static rt_ref qk_norm(rt_graph *g, const int64_t *s, rt_prec p) {
    return rt_qk_norm(g, TRAINED(p.in, s[0], s[1]), TRAINED(p.weight, s[2]), TRAINED(p.weight, s[3]), 2 * s[2], s[3], 1e-5, p, "r");
}
static counted qk_norm_count(const double *s, rt_prec p) {
    double kept = s[0] * s[1] * b(p.in) + (s[2] + s[3]) * b(p.weight) + 3 * s[0] * b(p.acc);
    return (counted){0, kept + s[0] * s[1] * b(p.out), 0, kept + (2 * s[0] * s[1] + s[2] + s[3]) * b(p.grad)};
}
/* [N,C], tables [P, d/2]: no more of their rows than there are positions. */
static rt_ref rope(rt_graph *g, const int64_t *s, rt_prec p) {
    return rt_rope(g, TRAINED(p.in, s[0], s[1]), GIVEN(RT_I32, s[0]), GIVEN(p.acc, s[2], s[3]), GIVEN(p.acc, s[2], s[3]), 1, 2 * s[3], p, "r");
}
static counted rope_count(const double *s, rt_prec p) {
    double tables = 2 * (s[0] < s[2] ? s[0] : s[2]) * s[3] * b(p.acc) + 4 * s[0], x = s[0] * s[1];
    return (counted){0, tables + x * (b(p.in) + b(p.out)), 0, tables + 2 * x * b(p.grad)};
}
/* N rows in documents of L, H heads over Hk of width d. */
static rt_ref attention(rt_graph *g, const int64_t *s, rt_prec p) {
    rt_heads h = {s[2], s[3], s[4], s[1]};
    return rt_attention(g, TRAINED(p.in, s[0], (s[2] + 2 * s[3]) * s[4]), GIVEN(RT_I32, s[0]), h, p, "r");
}
static counted attention_count(const double *s, rt_prec p) {
    double N = s[0], L = s[1] > 0 ? s[1] : N, H = s[2], d = s[4], seen = 0;
    for (int64_t i = 0; i < (int64_t)N; i++) seen += (double)(i % (int64_t)L + 1); /* keys of a row */
    double kept = N * (H + 2 * s[3]) * d * b(p.in) + 4 * N + N * H * d * b(p.out) + N * H * b(p.acc);
    return (counted){2 * 2 * seen * H * d, kept, 5 * 2 * seen * H * d, kept + (N * (H + 2 * s[3]) * d + N * H * d) * b(p.grad)};
}
/* N rows over S sequences of at most P, each as if it were full. */
static rt_ref attention_cached(rt_graph *g, const int64_t *s, rt_prec p) {
    rt_tensor past = rt_tensor_make(p.in, 4, (int64_t[]){s[1], 2 * s[4], s[2], s[5]}, NULL);
    return rt_attention_cached(g, GIVEN(p.in, s[0], (s[3] + 2 * s[4]) * s[5]), GIVEN(RT_I32, s[0]), GIVEN(RT_I32, s[0]), rt_graph_state(g, "past", &past),
                               (rt_heads){s[3], s[4], s[5], 0}, p, "r");
}
static counted attention_cached_count(const double *s, rt_prec p) {
    double N = s[0], S = N < s[1] ? N : s[1], P = s[2], H = s[3], Hk = s[4], d = s[5];
    double rows = N * (H + 2 * Hk) * d * b(p.in) + 8 * N + N * H * d * b(p.out), past = (S * P + N) * 2 * Hk * d * b(p.in);
    return (counted){2 * 2 * N * P * H * d, rows + past, 0, 0};
}
static rt_ref swiglu(rt_graph *g, const int64_t *s, rt_prec p) { return rt_swiglu(g, TRAINED(p.in, s[0], 2 * s[1]), p, "r"); }
static counted swiglu_count(const double *s, rt_prec p) {
    double y = s[0] * s[1];
    return (counted){0, y * (2 * b(p.in) + b(p.out)), 0, y * (2 * b(p.in) + 3 * b(p.grad))};
}
/* x [N,K], w [1,K], z [N,D] */
static rt_ref gate(rt_graph *g, const int64_t *s, rt_prec p) {
    return rt_gate(g, TRAINED(p.in, s[0], s[1]), TRAINED(p.weight, 1, s[1]), TRAINED(p.out, s[0], s[2]), p, "r");
}
static counted gate_count(const double *s, rt_prec p) {
    double x = s[0] * s[1], z = s[0] * s[2], kept = x * b(p.in) + s[1] * b(p.weight) + z * b(p.out) + s[0] * b(p.acc);
    return (counted){2 * x, kept + z * b(p.out), 4 * x, kept + (x + s[1] + 2 * z) * b(p.grad)};
}
static rt_ref add(rt_graph *g, const int64_t *s, rt_prec p) { return rt_add(g, TRAINED(p.in, s[0], s[1]), TRAINED(p.in, s[0], s[1]), p, "r"); }
static counted add_count(const double *s, rt_prec p) { return (counted){0, s[0] * s[1] * (2 * b(p.in) + b(p.out)), 0, 3 * s[0] * s[1] * b(p.grad)}; }
static rt_ref cast(rt_graph *g, const int64_t *s, rt_prec p) { return rt_cast(g, TRAINED(p.in, s[0], s[1]), p.out, "r"); }
static counted cast_count(const double *s, rt_prec p) { return (counted){0, s[0] * s[1] * (b(p.in) + b(p.out)), 0, 2 * s[0] * s[1] * b(p.grad)}; }

/* N rows, E experts, k chosen. */
static rt_ref route(rt_graph *g, const int64_t *s, rt_prec p) { return rt_route(g, TRAINED(p.in, s[0], s[1]), s[2], true, p, "r").weights; }
static counted route_count(const double *s, rt_prec p) {
    double kept = s[0] * (s[1] * b(p.in) + s[2] * (b(p.out) + 4));
    return (counted){0, kept, 0, kept + s[0] * (s[1] + s[2]) * b(p.grad)};
}
/* N rows, E experts, k chosen, width D, ffn F. */
static rt_ref experts(rt_graph *g, const int64_t *s, rt_prec p) {
    rt_routing r = {TRAINED(p.acc, s[0], s[2]), GIVEN(RT_I32, s[0], s[2])};
    return rt_experts(g, TRAINED(p.in, s[0], s[3]), r, GIVEN(RT_I32, s[0]), TRAINED(p.weight, s[1], 2 * s[4], s[3]), TRAINED(p.weight, s[1], s[4], s[3]),
        NULL, p, "r");
}
static int64_t places_ints; /* of the row in hand: what the operation keeps of its routes */
static counted experts_count(const double *s, rt_prec p) {
    double N = s[0], E = s[1], k = s[2], D = s[3], F = s[4], used = E < N * k ? E : N * k;
    double kept = N * D * b(p.in) + N * k * b(p.acc) + used * 3 * D * F * b(p.weight) + N * k * 2 * F * b(p.acc) + 4 * (double)places_ints;
    double flops = 0;
    for (int64_t pair = 0; pair < (int64_t)(N * k); pair++) flops += 2 * D * F * 3; /* gate, up, down */
    return (counted){flops, kept + N * k * 4 + N * 4 + N * D * b(p.out), 2 * flops, kept + (2 * N * D + N * k + E * 3 * D * F) * b(p.grad)};
}
static rt_ref balance(rt_graph *g, const int64_t *s, rt_prec p) {
    return rt_balance(g, TRAINED(p.in, s[0], s[1]), GIVEN(RT_I32, s[0], s[2]), GIVEN(RT_I32, s[0]), p, "r");
}
static counted balance_count(const double *s, rt_prec p) {
    double scores = s[0] * s[1];
    return (counted){0, scores * b(p.in) + 4 * s[0] * s[2] + 4 * s[0] + 8 + 8 * s[1], 0, scores * (b(p.in) + b(p.grad)) + 4 * s[0] + 8 * s[1] + 8};
}
static rt_ref router_z(rt_graph *g, const int64_t *s, rt_prec p) { return rt_router_z(g, TRAINED(p.in, s[0], s[1]), GIVEN(RT_I32, s[0]), p, "r"); }
static counted router_z_count(const double *s, rt_prec p) {
    double scores = s[0] * s[1];
    return (counted){0, scores * b(p.in) + 4 * s[0] + 8, 0, scores * (b(p.in) + b(p.grad)) + 4 * s[0] + 8};
}
/* N rows, vocabulary V, widths of student and teacher (0: none). Terminal: its gradients come with its values. */
static rt_ref head(rt_graph *g, const int64_t *s, rt_prec p) {
    static const rt_head_term terms[] = {{.loss = &rt_loss_next_token}, {.loss = &rt_loss_forward_kl}};
    rt_head_config c = {.student = {.hidden = TRAINED(p.in, s[0], s[2]), .weight = TRAINED(p.weight, s[1], s[2]), .prec = p}, .targets = GIVEN(RT_I32, s[0]),
                        .gains = GIVEN(RT_F64, s[3] ? 2 : 1), .terms = terms, .n_terms = s[3] ? 2 : 1, .vocab = s[1], .rows = 32};
    if (s[3]) c.teacher = (rt_head_side){.hidden = GIVEN(p.in, s[0], s[3]), .weight = GIVEN(p.weight, s[1], s[3]), .prec = p};
    rt_ref y = rt_head(g, &c, "r", NULL);
    rt_graph_output(g, y);
    return y;
}
static int64_t head_out; /* of the row in hand: numbers that come out */
static counted head_count(const double *s, rt_prec p) {
    double N = s[0], V = s[1], D = s[2] + s[3], terms = s[3] > 0 ? 2 : 1;
    double sides = N * D * b(p.in) + V * D * b(p.weight), small = 4 * N + 8 * terms + 8 * (double)head_out;
    return (counted){2 * N * V * D + 4 * N * V * s[2], sides + small + (N + V) * s[2] * b(p.grad), 0, 0};
}

#define OP(in, w, acc, out, grad) {RT_##in, RT_##w, RT_##acc, RT_##out, RT_##grad}
#define WIDE OP(F32, F32, F32, F32, F32)
#define F64S OP(F64, F64, F64, F64, F64)
#define HALF OP(F16, F16, F32, F16, F32)
#define MIX OP(BF16, BF16, F32, F32, F32)
#define ROWS OP(F32, NONE, F32, F32, F32)
#define HALF_ROWS OP(F16, NONE, F32, F16, F32)
static const row rows[] = {
    {"embed", WIDE, {23, 11, 6}, embed, embed_count}, {"embed", MIX, {5, 11, 8}, embed, embed_count},
    {"linear", WIDE, {37, 13, 7, 5}, linear, linear_count}, {"linear", HALF, {300, 64, 530, 3}, linear, linear_count},
    {"linear", F64S, {1, 5, 1, 1}, linear, linear_count},
    {"rmsnorm", WIDE, {70, 12}, rmsnorm, rmsnorm_count}, {"rmsnorm", HALF, {3, 129}, rmsnorm, rmsnorm_count},
    {"qk_norm", WIDE, {70, 20, 6, 4}, qk_norm, qk_norm_count}, {"qk_norm", HALF, {5, 40, 8, 8}, qk_norm, qk_norm_count},
    {"rope", ROWS, {70, 36, 9, 4}, rope, rope_count}, {"rope", HALF_ROWS, {3, 64, 9, 32}, rope, rope_count},
    {"attention", ROWS, {70, 0, 2, 2, 8}, attention, attention_count}, {"attention", HALF_ROWS, {100, 32, 4, 1, 16}, attention, attention_count},
    {"attention_cached", ROWS, {1, 4, 21, 2, 2, 8}, attention_cached, attention_cached_count, true},
    {"attention_cached", HALF_ROWS, {12, 3, 40, 6, 2, 20}, attention_cached, attention_cached_count, true},
    {"swiglu", ROWS, {66, 7}, swiglu, swiglu_count}, {"swiglu", HALF_ROWS, {5, 40}, swiglu, swiglu_count},
    {"gate", WIDE, {70, 11, 9}, gate, gate_count}, {"gate", HALF, {2, 64, 64}, gate, gate_count},
    {"add", ROWS, {35, 9}, add, add_count}, {"add", HALF_ROWS, {3, 64}, add, add_count},
    {"cast", OP(F32, NONE, F32, F16, F32), {35, 9}, cast, cast_count}, {"cast", OP(BF16, NONE, F32, F32, F32), {3, 64}, cast, cast_count},
    {"route", ROWS, {70, 8, 3}, route, route_count}, {"route", OP(F64, NONE, F64, F64, F64), {4, 64, 8}, route, route_count},
    {"experts", WIDE, {37, 5, 2, 13, 7}, experts, experts_count}, {"experts", HALF, {2, 16, 3, 32, 16}, experts, experts_count},
    {"balance", ROWS, {300, 5, 3}, balance, balance_count}, {"balance", OP(F64, NONE, F64, F64, F64), {6, 5, 2}, balance, balance_count},
    {"router_z", ROWS, {300, 9}, router_z, router_z_count}, {"router_z", OP(F64, NONE, F64, F64, F64), {6, 9}, router_z, router_z_count},
    {"head", WIDE, {70, 300, 12, 0}, head, head_count}, {"head", OP(F32, F16, F32, F32, F32), {40, 513, 16, 24}, head, head_count}, {0}};

static void check_row(const row *r) {
    rt_graph *g = sketch();
    rt_ref y = r->build(g, r->s, r->p);
    double s[6];
    for (int i = 0; i < 6; i++) s[i] = (double)r->s[i];
    if (strcmp(r->op, "head") == 0) head_out = rt_tensor_count(rt_graph_value(g, y));
    else if (r->forward_only) rt_graph_output(g, y);
    else lose(g, y);
    if (strcmp(r->op, "experts") == 0) places_ints = rt_tensor_count(rt_graph_value(g, (rt_ref){y.id + 2}));
    works w = plan(g, !r->forward_only);
    counted want = r->count(s, r->p);
    rt_work f = w.of[0].forward, k = w.of[0].backward;
    RT_CHECK(strcmp(w.of[0].op, r->op) == 0 && strcmp(w.of[0].role, "t.r") == 0, "%s: the first node is %s (%s)", r->op, w.of[0].role, w.of[0].op);
    RT_CHECK(f.flops == want.flops && f.bytes == want.bytes && f.inner == 0, "%s: forward %.0f flops, %.0f bytes, %.0f inner; counted %.0f, %.0f", r->op,
             f.flops, f.bytes, f.inner, want.flops, want.bytes);
    RT_CHECK(k.flops == want.back_flops && k.bytes == want.back_bytes && k.inner == 0, "%s: backward %.0f flops, %.0f bytes; counted %.0f, %.0f", r->op,
             k.flops, k.bytes,
             want.back_flops, want.back_bytes);
    rt_graph_free(g);
}
static void work_equals_the_count(void) {
    for (const row *r = rows; r->op; r++)
        if (rt_case_selected(r->op)) check_row(r);
}
static void every_operation_has_a_row(void) {
    for (int o = 0; rt_ops[o]; o++) {
        int found = 0;
        for (const row *r = rows; r->op; r++) found += strcmp(r->op, rt_ops[o]->name) == 0;
        RT_CHECK(found >= 2, "operation '%s' is counted in %d rows, expected 2 or more", rt_ops[o]->name, found);
        RT_CHECK(rt_ops[o]->work != NULL, "operation '%s' does not say its work", rt_ops[o]->name);
    }
}

/* ----------------------------------------------------------------- the plan */

enum { N = 300, D = 24, F = 40 };
static rt_prec wide(void) { return rt_prec_uniform(RT_F32); }
static rt_ref feed_forward(rt_graph *g, bool trained) {
    rt_ref x = GIVEN(RT_F32, N, D), up = leaf(g, RT_F32, trained, 2, (int64_t[]){2 * F, D}), down = leaf(g, RT_F32, trained, 2, (int64_t[]){D, F});
    return rt_linear(g, rt_swiglu(g, rt_linear(g, x, up, wide(), "up"), wide(), "act"), down, wide(), "down");
}

/* In a chain of rows what lies between two nodes never leaves the cache. */
static void chains_keep_values_inside(void) {
    rt_graph *g = sketch();
    rt_graph_output(g, feed_forward(g, false));
    works w = plan(g, false);
    double x = 4.0 * N * D, up = 4.0 * 2 * F * D, h = 4.0 * N * 2 * F, a = 4.0 * N * F, down = 4.0 * D * F;
    CU_ASSERT_EQUAL(w.count, 3);
    RT_CHECK(w.of[0].forward.bytes == x + up && w.of[0].forward.inner == h, "up moves %.0f, inside %.0f", w.of[0].forward.bytes, w.of[0].forward.inner);
    RT_CHECK(w.of[1].forward.bytes == 0 && w.of[1].forward.inner == h + a, "swiglu moves %.0f, inside %.0f", w.of[1].forward.bytes, w.of[1].forward.inner);
    RT_CHECK(w.of[2].forward.bytes == x + down && w.of[2].forward.inner == a, "down moves %.0f, inside %.0f", w.of[2].forward.bytes, w.of[2].forward.inner);
    for (int i = 0; i < 3; i++) CU_ASSERT_EQUAL(w.of[i].backward.flops + w.of[i].backward.bytes, 0);
    rt_graph_free(g);
}

/* Made again before its backward: once more forward's flops, counted with backward's. */
static void recomputation_counts_twice(void) {
    rt_graph *g = sketch();
    rt_graph_segment(g, true);
    rt_ref y = feed_forward(g, true);
    rt_graph_segment(g, false);
    lose(g, y);
    works w = plan(g, true);
    double up = 2.0 * N * D * 2 * F, down = 2.0 * N * F * D;
    RT_CHECK(w.of[0].forward.flops == up && w.of[0].backward.flops == up + up, "up: %.0f and %.0f flops", w.of[0].forward.flops,
        w.of[0].backward.flops); /* x is given: dW alone */
    RT_CHECK(w.of[2].forward.flops == down && w.of[2].backward.flops == 2 * down, "down is not made again: %.0f and %.0f", w.of[2].forward.flops,
        w.of[2].backward.flops);
    double swiglu = 4.0 * N * F * (2 + 1) + 4.0 * N * F * (2 + 3); /* again; backward */
    RT_CHECK(w.of[1].backward.bytes == swiglu, "swiglu moves %.0f bytes backward, counted %.0f", w.of[1].backward.bytes, swiglu);
    rt_graph_free(g);
}

/* Nobody reads it: it does not run. Nothing differentiates it: no backward. */
static void what_does_not_run_has_no_work(void) {
    rt_graph *g = sketch();
    rt_ref x = GIVEN(RT_F32, N, D), w = TRAINED(RT_F32, F, D), dead = rt_linear(g, x, w, wide(), "dead");
    (void)dead;
    lose(g, rt_linear(g, x, w, wide(), "live"));
    works all = plan(g, true);
    CU_ASSERT_EQUAL(all.of[0].forward.flops + all.of[0].forward.bytes + all.of[0].backward.flops + all.of[0].backward.bytes, 0);
    CU_ASSERT_EQUAL(all.of[1].forward.flops, 2.0 * N * D * F);
    CU_ASSERT_EQUAL(all.of[1].backward.flops, 2.0 * N * D * F); /* dW; x is given */
    rt_graph_free(g);
}

/* The head's teacher is not read while only the student's terms are active. */
static void inactive_terms_ask_for_nothing(void) {
    static const rt_head_term terms[] = {{.loss = &rt_loss_next_token}, {.loss = &rt_loss_forward_kl}};
    int32_t active[] = {1, 0};
    head_case c = {.N = 40, .D = {8, 12}, .V = 300, .prec = {head_f32, head_f32}, .terms = terms, .n_terms = 2, .rows = 32, .evaluate = true, .active = active};
    head_case_make(&c);
    double each = 2.0 * 40 * 300;
    for (int teacher = 0; teacher < 2; teacher++) {
        rt_graph *g = sketch();
        active[1] = teacher;
        rt_graph_output(g, head_case_build(&c, g));
        works w = plan(g, false);
        RT_CHECK(w.of[0].forward.flops == each * (8 + 12 * teacher), "%.0f flops with%s a teacher", w.of[0].forward.flops, teacher ? "" : "out");
        rt_graph_free(g);
    }
    head_case_free(&c);
}

RT_SUITE(work) {
    RT_TEST(every_operation_has_a_row);
    RT_TEST(work_equals_the_count);
    RT_TEST(chains_keep_values_inside);
    RT_TEST(recomputation_counts_twice);
    RT_TEST(what_does_not_run_has_no_work);
    RT_TEST(inactive_terms_ask_for_nothing);
}
