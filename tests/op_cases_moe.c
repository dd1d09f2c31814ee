/* op_cases_moe.c - route, experts, balance, router_z. Scores keep a margin, so that finite differences flip no route. */
#include "op_case.h"
#include <math.h>
#include <string.h>

/* A permutation of 0..E-1 a row (distances of 0.35), away from ties. */
static void distinct_scores(rt_tensor *t) {
    int64_t E = t->dim[1];
    for (int64_t n = 0; n < t->dim[0]; n++)
        for (int64_t e = 0; e < E; e++) AT(t, n, e) = 0.35 * (double)((e * (E % 5 ? 5 : 7) + n * 3) % E) + 0.01 * sin((double)(n * E + e));
}
static void some_valid(rt_tensor *t) {
    for (int64_t i = 0; i < t->dim[0]; i++) ((int32_t *)t->data)[i] = i % 4 != 2;
}
static void none_valid(rt_tensor *t) { memset(t->data, 0, rt_tensor_bytes(t)); }
/* k different experts a row of 5; expert 3 gets most, expert 2 none. */
static void routed(rt_tensor *t) {
    static const int32_t row[4][3] = {{3, 0, 1}, {4, 3, 0}, {3, 1, 4}, {1, 3, 0}};
    for (int64_t n = 0; n < t->dim[0]; n++)
        for (int64_t j = 0; j < t->dim[1]; j++) ((int32_t *)t->data)[n * t->dim[1] + j] = row[n % 4][j];
}
static void to_one(rt_tensor *t) { memset(t->data, 0, rt_tensor_bytes(t)); }
static int32_t id_at(const rt_tensor *t, int64_t n, int64_t j) { return ((const int32_t *)t->data)[n * t->dim[1] + j]; }
static bool valid_at(const rt_tensor *t, int64_t n) { return ((const int32_t *)t->data)[n] != 0; }

static double row_lse(const rt_tensor *s, int64_t n) {
    double m = AT(s, n, 0), sum = 0;
    for (int64_t e = 0; e < s->dim[1]; e++) m = fmax(m, AT(s, n, e));
    for (int64_t e = 0; e < s->dim[1]; e++) sum += exp(AT(s, n, e) - m);
    return m + log(sum);
}

/* ------------------------------------------------------------------- route */
static void build_route(rt_graph *g, const rt_ref *in, rt_prec p, rt_ref *outs) { outs[0] = rt_route(g, in[0], 3, true, p, "route").weights; }
static void build_route_plain(rt_graph *g, const rt_ref *in, rt_prec p, rt_ref *outs) {
    outs[0] = rt_route(g, in[0], 2, false, p, "route").weights;
}
static void build_route_all(rt_graph *g, const rt_ref *in, rt_prec p, rt_ref *outs) { outs[0] = rt_route(g, in[0], 7, true, p, "route").weights; }
/* The j-th choice is the expert that exactly j others beat. */
static int64_t choice(const rt_tensor *s, int64_t n, int64_t j) {
    for (int64_t e = 0; e < s->dim[1]; e++) {
        int64_t above = 0;
        for (int64_t o = 0; o < s->dim[1]; o++) above += AT(s, n, o) > AT(s, n, e) || (AT(s, n, o) == AT(s, n, e) && o < e);
        if (above == j) return e;
    }
    return -1;
}
static void ref_weights(const rt_tensor *s, rt_tensor *out, bool renormalise) {
    for (int64_t n = 0; n < s->dim[0]; n++) {
        double sum = 0, lse = row_lse(s, n);
        for (int64_t j = 0; j < out->dim[1]; j++) sum += AT(out, n, j) = exp(AT(s, n, choice(s, n, j)) - lse);
        for (int64_t j = 0; j < out->dim[1] && renormalise; j++) AT(out, n, j) /= sum;
    }
}
static void ref_route(const rt_tensor *in, rt_tensor *out) { ref_weights(&in[0], out, true); }
static void ref_route_plain(const rt_tensor *in, rt_tensor *out) { ref_weights(&in[0], out, false); }

/* ----------------------------------------------------------------- experts */
static double hidden(const rt_tensor *in, int64_t n, int64_t e, int64_t f) {
    const double *w = in[4].data, *x = in[0].data;
    int64_t D = in[0].dim[1], F = in[5].dim[1];
    double gate = 0, up = 0;
    for (int64_t d = 0; d < D; d++) {
        gate += w[(e * 2 * F + f) * D + d] * x[n * D + d];
        up += w[(e * 2 * F + F + f) * D + d] * x[n * D + d];
    }
    return gate / (1 + exp(-gate)) * up;
}
static void ref_experts(const rt_tensor *in, rt_tensor *out) {
    int64_t D = in[0].dim[1], F = in[5].dim[1], E = in[4].dim[0];
    const double *down = in[5].data;
    for (int64_t n = 0; n < in[0].dim[0]; n++)
        for (int64_t j = 0; j < in[2].dim[1]; j++)
            for (int64_t f = 0, e = id_at(&in[2], n, j); f < F; f++) {
                double a = hidden(in, n, e, f), w = AT(&in[1], n, j);
                for (int64_t d = 0; d < D; d++) {
                    double y = a * down[(e * F + f) * D + d];
                    AT(&out[0], n, d) += w * y;
                    if (out[1].ndim != 2 || !valid_at(&in[3], n)) continue;
                    AT(&out[1], e, d) += y;
                    AT(&out[1], E + e, d) += w * y;
                }
            }
}
static void ref_experts_plain(const rt_tensor *in, rt_tensor *out) {
    rt_tensor both[2] = {*out, {0}};
    ref_experts(in, both);
}
static void build_experts(rt_graph *g, const rt_ref *in, rt_prec p, rt_ref *outs) {
    outs[0] = rt_experts(g, in[0], (rt_routing){in[1], in[2]}, in[3], in[4], in[5], NULL, p, "experts");
}
static void build_few(rt_graph *g, const rt_ref *in, rt_prec p, rt_ref *outs) {
    rt_graph_few_rows(g);
    build_experts(g, in, p, outs);
}
static void build_traced(rt_graph *g, const rt_ref *in, rt_prec p, rt_ref *outs) {
    outs[0] = rt_experts(g, in[0], (rt_routing){in[1], in[2]}, in[3], in[4], in[5], &outs[1], p, "experts");
}

/* ------------------------------------------------------ balance, router_z */
static void build_balance(rt_graph *g, const rt_ref *in, rt_prec p, rt_ref *outs) { outs[0] = rt_balance(g, in[0], in[1], in[2], p, "balance"); }
static void ref_balance(const rt_tensor *in, rt_tensor *out) {
    int64_t N = in[0].dim[0], E = in[0].dim[1], k = in[1].dim[1];
    double n = 0, sum = 0;
    for (int64_t r = 0; r < N; r++) n += valid_at(&in[2], r);
    for (int64_t e = 0; e < E && n > 0; e++) {
        double f = 0, p = 0;
        for (int64_t r = 0; r < N; r++) {
            if (!valid_at(&in[2], r)) continue;
            p += exp(AT(&in[0], r, e) - row_lse(&in[0], r)) / n;
            for (int64_t j = 0; j < k; j++) f += (id_at(&in[1], r, j) == e) / (n * (double)k);
        }
        sum += (double)E * f * p;
    }
    *(double *)out->data = sum;
}
static void build_z(rt_graph *g, const rt_ref *in, rt_prec p, rt_ref *outs) { outs[0] = rt_router_z(g, in[0], in[1], p, "z"); }
static void ref_z(const rt_tensor *in, rt_tensor *out) {
    double n = 0, sum = 0;
    for (int64_t r = 0; r < in[0].dim[0]; r++) {
        if (!valid_at(&in[1], r)) continue;
        n++;
        sum += row_lse(&in[0], r) * row_lse(&in[0], r);
    }
    *(double *)out->data = n > 0 ? sum / n : 0;
}

#define EXPERTS(N, k, E, D, F, ids)                                                                                                       \
    {{OP_IN, 2, {N, D}}, {OP_GATE, 2, {N, k}, .scale = 0.2, .shift = 0.5}, {OP_INTEGER, 2, {N, k}, .fill = ids},                          \
     {OP_INTEGER, 1, {N}, .fill = some_valid}, {OP_WEIGHT, 3, {E, 2 * (F), D}, .scale = 0.4}, {OP_WEIGHT, 3, {E, F, D}, .scale = 0.4}}

const op_case op_cases_moe[] = {
    {"route/renormalised", {{OP_IN, 2, {70, 8}, .fill = distinct_scores}}, build_route, ref_route, op_f32_precs, .integers_differ = true},
    {"route/plain", {{OP_IN, 2, {70, 9}, .fill = distinct_scores}}, build_route_plain, ref_route_plain, op_f32_precs, .integers_differ = true},
    {"route/all", {{OP_IN, 2, {5, 7}, .fill = distinct_scores}}, build_route_all, ref_route, op_f32_precs, .integers_differ = true},
    {"experts/top2", EXPERTS(37, 2, 5, 13, 7, routed), build_experts, ref_experts_plain, .integers_differ = true},
    {"experts/top3", EXPERTS(50, 3, 5, 32, 16, routed), build_experts, ref_experts_plain, .integers_differ = true},
    {"experts/tiles", EXPERTS(1100, 1, 2, 18, 6, to_one), build_experts, ref_experts_plain, op_f32_precs, .integers_differ = true, .no_gradient = true},
    {"experts/few_rows", EXPERTS(9, 2, 5, 40, 150, routed), build_few, ref_experts_plain, .integers_differ = true, .no_gradient = true},
    {"experts/few_one", EXPERTS(1, 3, 5, 18, 6, routed), build_few, ref_experts_plain, .integers_differ = true, .no_gradient = true},
    {"experts/trace", EXPERTS(33, 2, 5, 20, 6, routed), build_traced, ref_experts, .integers_differ = true, .no_gradient = true},
    {"balance/rows", {{OP_IN, 2, {300, 5}}, {OP_INTEGER, 2, {300, 3}, .fill = routed}, {OP_INTEGER, 1, {300}, .fill = some_valid}},
     build_balance, ref_balance, op_f32_precs, .integers_differ = true},
    {"balance/none", {{OP_IN, 2, {6, 5}}, {OP_INTEGER, 2, {6, 2}, .fill = routed}, {OP_INTEGER, 1, {6}, .fill = none_valid}},
     build_balance, ref_balance, op_f32_precs, .integers_differ = true},
    {"router_z/rows", {{OP_IN, 2, {300, 9}, .scale = 3}, {OP_INTEGER, 1, {300}, .fill = some_valid}}, build_z, ref_z, op_f32_precs,
     .integers_differ = true},
    {"router_z/none", {{OP_IN, 2, {6, 9}}, {OP_INTEGER, 1, {6}, .fill = none_valid}}, build_z, ref_z, op_f32_precs, .integers_differ = true},
    {0}};
