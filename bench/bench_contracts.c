/* bench_contracts.c - operations through the tape, once for each numeric contract they have: what a dtype costs.
 *
 * linear: 2048 rows, 512 -> 1408, forward, and backward with both gradients; where the processor multiplies halves also without that. swiglu, cast: 2048 rows of 1408, as a share of the
 * rate of copying; these arrays (23 MB and less) may lie in a cache, which copying 64 MiB does not. */
#include "harness.h"
#include "kernels/contract.h"
#include "kernels/half.h"
#include "tensors.h"
#include <retort/ops/ops.h>
#include <stdio.h>
#include <string.h>

enum { ROWS = 2048, K = 512, N = 1408, OPERATIONS_MAX = BENCH_CASES_MAX / 2 };
enum { X, GX, W, GW, TENSORS };

typedef struct operation {
    rt_graph *g;
    rt_tensor t[TENSORS];
    double gain;
    double forward, backward; /* seconds of the operation's own node, not of the loss behind it */
} operation;
typedef struct set {
    bench *b;
    operation op[OPERATIONS_MAX];
    int count, cases;
    bench_case c[BENCH_CASES_MAX];
} set;
typedef rt_ref (*builder)(operation *o, rt_ref x, rt_prec p);

static void see(void *context, const rt_graph_cost *n) {
    operation *o = context;
    if (strcmp(n->op, "ones") != 0) o->forward += n->forward, o->backward += n->backward;
}
static rt_status one_way(operation *o, rt_status (*way)(rt_graph *g, rt_error *err), rt_error *err) {
    o->forward = o->backward = 0;
    RT_TRY(rt_graph_profile(o->g, true, err));
    RT_TRY(way(o->g, err));
    rt_graph_costs(o->g, see, o);
    return RT_OK;
}
static rt_status forward(void *context, rt_error *err) { return one_way(context, rt_graph_forward, err); }
static rt_status backward(void *context, rt_error *err) {
    rt_graph_fresh_gradients(((operation *)context)->g);
    return one_way(context, rt_graph_backward, err);
}

static rt_dtype gradient(rt_dtype t) { return t == RT_F64 ? RT_F64 : RT_F32; }
static rt_status open_operation(operation *o, builder build, int64_t columns, rt_prec p, rt_error *err) {
    int64_t x[] = {ROWS, columns}, w[] = {N, K};
    rt_dtype weight = p.weight == RT_NONE ? RT_F32 : p.weight;
    *o = (operation){.gain = 1, .g = rt_graph_new("bench")};
    o->t[X] = bench_tensor(p.in, 2, x, 1), o->t[GX] = bench_tensor(gradient(p.in), 2, x, 0);
    o->t[W] = bench_tensor(weight, 2, w, 0.05), o->t[GW] = bench_tensor(gradient(weight), 2, w, 0);
    RT_TRY(bench_filled(o->t, TENSORS, err));
    if (!o->g) return rt_fail(err, RT_E_NOMEM, "out of memory: graph");
    bench_loss(o->g, build(o, rt_graph_param(o->g, "x", &o->t[X], &o->t[GX]), p), &o->gain);
    return rt_graph_plan(o->g, true, err);
}
static void close_operation(operation *o) {
    rt_graph_free(o->g);
    for (int i = 0; i < TENSORS; i++) rt_free(o->t[i].data);
}

static rt_ref linear(operation *o, rt_ref x, rt_prec p) { return rt_linear(o->g, x, rt_graph_param(o->g, "w", &o->t[W], &o->t[GW]), p, "linear"); }
static rt_ref swiglu(operation *o, rt_ref x, rt_prec p) { return rt_swiglu(o->g, x, p, "swiglu"); }
static rt_ref cast(operation *o, rt_ref x, rt_prec p) { return rt_cast(o->g, x, p.out, "cast"); }

/* One operation: a case forward and a case backward, with flops or bytes for each. */
static rt_status add(set *s, const char *name, builder build, int64_t columns, rt_prec p, const double work[2], const char *how, rt_error *err) {
    bool product = p.weight != RT_NONE;
    char full[64];
    snprintf(full, sizeof full, "%s %s>%s", name, rt_dtype_name(p.in), rt_dtype_name(p.out));
    if (product) snprintf(full, sizeof full, "%s %s*%s>%s%s", name, rt_dtype_name(p.in), rt_dtype_name(p.weight), rt_dtype_name(p.out), how);
    if (!bench_wanted(s->b, full)) return RT_OK;
    if (s->count == OPERATIONS_MAX) return rt_fail(err, RT_E_ARG, "more than %d operations", OPERATIONS_MAX);
    operation *o = &s->op[s->count++];
    RT_TRY(open_operation(o, build, columns, p, err));
    for (int back = 0; back < 2; back++) {
        bench_case *c = &s->c[s->cases++];
        *c = (bench_case){.run = back ? backward : forward, .context = o, .took = back ? &o->backward : &o->forward, .limit = !product ? BENCH_COPY : p.acc == RT_F64 ? BENCH_PRODUCT_F64 : BENCH_PRODUCT};
        c->flop = product ? work[back] : 0, c->bytes = product ? 0 : work[back];
        snprintf(c->name, sizeof c->name, "%.50s%s", full, back ? " backward" : "");
    }
    return RT_OK;
}

/* Where the processor multiplies halves: the same without that, so that one run has both. */
static rt_status add_in_f32(set *s, rt_prec p, const double work[2], rt_error *err) {
    if (p.in != p.weight || !rt_dtype_is_half(p.in) || !rt_half_instructions(p.in)) return RT_OK;
    rt_half_disable(true);
    rt_status status = add(s, "linear", linear, K, p, work, " in f32", err);
    rt_half_disable(false);
    return status;
}

static rt_status add_all(set *s, rt_error *err) {
    int rows;
    const rt_contract *table = rt_contract_table(&rows);
    const double product[] = {2.0 * ROWS * K * N, 4.0 * ROWS * K * N};
    for (int i = 0; i < rows; i++) {
        rt_prec p = table[i].prec;
        double in = (double)rt_dtype_size(p.in), out = (double)rt_dtype_size(p.out), d = (double)rt_dtype_size(p.grad);
        const double gate[] = {ROWS * N * (2 * in + out), ROWS * N * (2 * in + 3 * d)}, convert[] = {ROWS * N * (in + out), ROWS * N * 2 * d};
        if (p.in == RT_NONE) continue; /* embeddings: a copy of rows */
        if (p.weight != RT_NONE) {
            RT_TRY(add(s, "linear", linear, K, p, product, "", err));
            RT_TRY(add_in_f32(s, p, product, err));
        } else if (p.in == p.out) RT_TRY(add(s, "swiglu", swiglu, 2 * N, p, gate, "", err));
        else RT_TRY(add(s, "cast", cast, N, p, convert, "", err));
    }
    return RT_OK;
}

static rt_status measure(set *s, rt_error *err) {
    RT_TRY(add_all(s, err));
    if (s->cases == 0) return RT_OK;
    RT_TRY(bench_sample(s->b, s->c, s->cases, false, err));
    bench_report_all(s->b, s->c, s->cases);
    return RT_OK;
}
static rt_status run(bench *b, rt_error *err) {
    static set s;
    s.b = b;
    rt_status status = measure(&s, err);
    for (int i = 0; i < s.count; i++) close_operation(&s.op[i]);
    return status;
}
BENCH("contracts", 9, run)
