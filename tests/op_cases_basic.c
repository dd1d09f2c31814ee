/* op_cases_basic.c - embed, linear, rmsnorm, swiglu, add, cast. */
#include "op_case.h"
#include <math.h>

/* ------------------------------------------------------------------- embed */
static void some_ids(rt_tensor *t) {
    for (int64_t i = 0; i < t->dim[0]; i++) ((int32_t *)t->data)[i] = (int32_t)((i * 7 + i / 3) % 11);
}
static void build_embed(rt_graph *g, const rt_ref *in, rt_prec p, rt_ref *outs) { outs[0] = rt_embed(g, in[0], in[1], p, "embed"); }
static void ref_embed(const rt_tensor *in, rt_tensor *out) {
    for (int64_t n = 0; n < out->dim[0]; n++)
        for (int64_t d = 0; d < out->dim[1]; d++) AT(out, n, d) = AT(&in[1], ((int32_t *)in[0].data)[n], d);
}
static const rt_prec embed_precs[] = {OP_PREC(F64, F64, F64, F64, F64), OP_PREC(F32, F32, F32, F32, F32), OP_PREC(F16, F16, F32, F16, F32),
                                      OP_PREC(BF16, BF16, F32, F32, F32), OP_PREC(F16, F16, F32, F32, F32), {0}};

/* ------------------------------------------------------------------ linear */
static void matmul_into(const rt_tensor *x, const rt_tensor *w, rt_tensor *y, int64_t column) {
    for (int64_t n = 0; n < x->dim[0]; n++)
        for (int64_t o = 0; o < w->dim[0]; o++)
            for (int64_t k = 0; k < x->dim[1]; k++) AT(y, n, column + o) += AT(x, n, k) * AT(w, o, k);
}
static void build_linear(rt_graph *g, const rt_ref *in, rt_prec p, rt_ref *outs) { outs[0] = rt_linear(g, in[0], in[1], p, "linear"); }
static void ref_linear(const rt_tensor *in, rt_tensor *out) { matmul_into(&in[0], &in[1], out, 0); }

static void build_residual(rt_graph *g, const rt_ref *in, rt_prec p, rt_ref *outs) {
    outs[0] = rt_linear_residual(g, in[0], in[1], in[2], p, "linear");
}
static void ref_residual(const rt_tensor *in, rt_tensor *out) {
    matmul_into(&in[0], &in[1], out, 0);
    for (int64_t i = 0; i < rt_tensor_count(out); i++) ((double *)out->data)[i] += ((double *)in[2].data)[i];
}

static void build_cat(rt_graph *g, const rt_ref *in, rt_prec p, rt_ref *outs) {
    outs[0] = rt_linear_cat(g, in[0], in + 1, (rt_ref[]){in[4], RT_NULL, in[5]}, 3, p, "linear");
}
static void build_few_residual(rt_graph *g, const rt_ref *in, rt_prec p, rt_ref *outs) {
    rt_graph_few_rows(g);
    build_residual(g, in, p, outs);
}
static void build_few_cat(rt_graph *g, const rt_ref *in, rt_prec p, rt_ref *outs) {
    rt_graph_few_rows(g);
    build_cat(g, in, p, outs);
}
static void ref_cat(const rt_tensor *in, rt_tensor *out) {
    int64_t column[3] = {0, in[1].dim[0], in[1].dim[0] + in[2].dim[0]};
    for (int i = 0; i < 3; i++) matmul_into(&in[0], &in[1 + i], out, column[i]);
    for (int64_t n = 0; n < out->dim[0]; n++) {
        for (int64_t o = 0; o < in[4].dim[0]; o++) AT(out, n, o) += ((double *)in[4].data)[o];
        for (int64_t o = 0; o < in[5].dim[0]; o++) AT(out, n, column[2] + o) += ((double *)in[5].data)[o];
    }
}

/* ----------------------------------------------------------------- rmsnorm */
static void build_rmsnorm(rt_graph *g, const rt_ref *in, rt_prec p, rt_ref *outs) { outs[0] = rt_rmsnorm(g, in[0], in[1], 1e-5, p, "norm"); }
static void ref_rmsnorm(const rt_tensor *in, rt_tensor *out) {
    for (int64_t n = 0; n < out->dim[0]; n++) {
        double ss = 0;
        for (int64_t d = 0; d < out->dim[1]; d++) ss += AT(&in[0], n, d) * AT(&in[0], n, d);
        for (int64_t d = 0; d < out->dim[1]; d++)
            AT(out, n, d) = AT(&in[0], n, d) / sqrt(ss / (double)out->dim[1] + 1e-5) * ((double *)in[1].data)[d];
    }
}

/* ----------------------------------------------------------- qk_norm, gate */
/* 24 query columns, 12 key columns, the rest values. */
static void build_qk_norm(rt_graph *g, const rt_ref *in, rt_prec p, rt_ref *outs) {
    outs[0] = rt_qk_norm(g, in[0], in[1], in[2], 24, 12, 1e-5, p, "qk_norm");
}
static void ref_groups(const rt_tensor *x, const rt_tensor *w, int64_t n, int64_t from, int64_t to, rt_tensor *out) {
    int64_t width = w->dim[0];
    for (int64_t at = from; at < to; at += width) {
        double ss = 0;
        for (int64_t d = 0; d < width; d++) ss += AT(x, n, at + d) * AT(x, n, at + d);
        for (int64_t d = 0; d < width; d++) AT(out, n, at + d) = AT(x, n, at + d) / sqrt(ss / (double)width + 1e-5) * ((double *)w->data)[d];
    }
}
static void ref_qk_norm(const rt_tensor *in, rt_tensor *out) {
    for (int64_t n = 0; n < out->dim[0]; n++) {
        ref_groups(&in[0], &in[1], n, 0, 24, out);
        ref_groups(&in[0], &in[2], n, 24, 36, out);
        for (int64_t d = 36; d < out->dim[1]; d++) AT(out, n, d) = AT(&in[0], n, d);
    }
}
static void build_gate(rt_graph *g, const rt_ref *in, rt_prec p, rt_ref *outs) { outs[0] = rt_gate(g, in[0], in[1], in[2], p, "gate"); }
static void ref_gate(const rt_tensor *in, rt_tensor *out) {
    for (int64_t n = 0; n < out->dim[0]; n++) {
        double score = 0;
        for (int64_t k = 0; k < in[0].dim[1]; k++) score += AT(&in[0], n, k) * AT(&in[1], 0, k);
        for (int64_t d = 0; d < out->dim[1]; d++) AT(out, n, d) = AT(&in[2], n, d) / (1 + exp(-score));
    }
}

/* ------------------------------------------------------------- swiglu, add */
static void build_swiglu(rt_graph *g, const rt_ref *in, rt_prec p, rt_ref *outs) { outs[0] = rt_swiglu(g, in[0], p, "act"); }
static void ref_swiglu(const rt_tensor *in, rt_tensor *out) {
    for (int64_t n = 0; n < out->dim[0]; n++)
        for (int64_t f = 0; f < out->dim[1]; f++) {
            double gate = AT(&in[0], n, f), up = AT(&in[0], n, out->dim[1] + f);
            AT(out, n, f) = gate / (1 + exp(-gate)) * up;
        }
}
static void build_add(rt_graph *g, const rt_ref *in, rt_prec p, rt_ref *outs) { outs[0] = rt_add(g, in[0], in[1], p, "add"); }
static void ref_add(const rt_tensor *in, rt_tensor *out) {
    for (int64_t i = 0; i < rt_tensor_count(out); i++) ((double *)out->data)[i] = ((double *)in[0].data)[i] + ((double *)in[1].data)[i];
}

/* -------------------------------------------------------------------- cast */
static void build_cast(rt_graph *g, const rt_ref *in, rt_prec p, rt_ref *outs) { outs[0] = rt_cast(g, in[0], p.out, "cast"); }
static void ref_cast(const rt_tensor *in, rt_tensor *out) {
    for (int64_t i = 0; i < rt_tensor_count(out); i++) ((double *)out->data)[i] = ((double *)in[0].data)[i];
}
static const rt_prec cast_precs[] = {OP_PREC(F64, NONE, F64, F64, F64), OP_PREC(F32, NONE, F32, F16, F32), OP_PREC(F16, NONE, F32, F32, F32),
                                     OP_PREC(BF16, NONE, F32, F32, F32), OP_PREC(F32, NONE, F32, BF16, F32), OP_PREC(F16, NONE, F32, BF16, F32), {0}};

const op_case op_cases_basic[] = {
    {"embed/table", {{OP_INTEGER, 1, {23}, .fill = some_ids}, {OP_WEIGHT, 2, {11, 6}}}, build_embed, ref_embed, embed_precs, .fixed_shapes = true},
    {"linear/odd", {{OP_IN, 2, {37, 13}}, {OP_WEIGHT, 2, {7, 13}}}, build_linear, ref_linear},
    {"linear/tiles", {{OP_IN, 2, {300, 64}}, {OP_WEIGHT, 2, {530, 64}}}, build_linear, ref_linear, op_f32_precs, .no_gradient = true},
    {"linear/one", {{OP_IN, 2, {1, 5}}, {OP_WEIGHT, 2, {1, 5}}}, build_linear, ref_linear},
    {"linear/residual", {{OP_IN, 2, {19, 10}}, {OP_WEIGHT, 2, {12, 10}}, {OP_OUT, 2, {19, 12}}}, build_residual, ref_residual},
    {"linear/cat_bias",
     {{OP_IN, 2, {21, 9}}, {OP_WEIGHT, 2, {8, 9}}, {OP_WEIGHT, 2, {3, 9}}, {OP_WEIGHT, 2, {5, 9}}, {OP_WEIGHT, 1, {8}}, {OP_WEIGHT, 1, {5}}},
     build_cat, ref_cat},
    {"linear/few_residual", {{OP_IN, 2, {5, 75}}, {OP_WEIGHT, 2, {45, 75}}, {OP_OUT, 2, {5, 45}}}, build_few_residual, ref_residual, .no_gradient = true},
    {"linear/few_cat_bias",
     {{OP_IN, 2, {16, 40}}, {OP_WEIGHT, 2, {600, 40}}, {OP_WEIGHT, 2, {3, 40}}, {OP_WEIGHT, 2, {5, 40}}, {OP_WEIGHT, 1, {600}}, {OP_WEIGHT, 1, {5}}},
     build_few_cat, ref_cat, .no_gradient = true},
    {"rmsnorm/rows", {{OP_IN, 2, {70, 12}}, {OP_WEIGHT, 1, {12}, .shift = 1, .scale = 0.3}}, build_rmsnorm, ref_rmsnorm, .integers_differ = true},
    {"rmsnorm/wide", {{OP_IN, 2, {3, 129}}, {OP_WEIGHT, 1, {129}}}, build_rmsnorm, ref_rmsnorm, .integers_differ = true},
    {"qk_norm/heads", {{OP_IN, 2, {70, 48}}, {OP_WEIGHT, 1, {6}, .shift = 1, .scale = 0.3}, {OP_WEIGHT, 1, {6}}}, build_qk_norm, ref_qk_norm,
     .integers_differ = true},
    {"qk_norm/all", {{OP_IN, 2, {67, 36}}, {OP_WEIGHT, 1, {24}}, {OP_WEIGHT, 1, {12}, .shift = 1}}, build_qk_norm, ref_qk_norm, .integers_differ = true},
    {"gate/rows", {{OP_IN, 2, {70, 11}}, {OP_WEIGHT, 2, {1, 11}, .scale = 0.4}, {OP_OUT, 2, {70, 9}}}, build_gate, ref_gate, .integers_differ = true},
    {"swiglu/rows", {{OP_IN, 2, {66, 14}, .scale = 2}}, build_swiglu, ref_swiglu, op_row_precs, .integers_differ = true, .fixed_shapes = true},
    {"add/rows", {{OP_IN, 2, {35, 9}}, {OP_IN, 2, {35, 9}}}, build_add, ref_add, op_row_precs},
    {"cast/rows", {{OP_IN, 2, {35, 9}}}, build_cast, ref_cast, cast_precs, .fixed_shapes = true},
    {0}};
