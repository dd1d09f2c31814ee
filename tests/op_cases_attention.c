/* op_cases_attention.c - rope, attention. What lies across cases (where a document lies, its length, failures at run time) is in
 * test_attention_op.c and test_rope_op.c. */
#include "op_case.h"
#include <math.h>
#include <string.h>

/* -------------------------------------------------------------------- rope */
/* All heads but the last are turned; their number and size follow from the shapes. */
static void some_positions(rt_tensor *t) {
    for (int64_t i = 0; i < t->dim[0]; i++) ((int32_t *)t->data)[i] = (int32_t)(i * 5 % 9);
}
static rt_ref turn(rt_graph *g, rt_ref x, const rt_ref *in, rt_prec p) {
    int64_t dim = 2 * rt_graph_value(g, in[2])->dim[1], columns = rt_graph_value(g, in[0])->dim[1];
    return rt_rope(g, x, in[1], in[2], in[3], columns / dim - 1, dim, p, "rope");
}
static void build_rope(rt_graph *g, const rt_ref *in, rt_prec p, rt_ref *outs) { outs[0] = turn(g, in[0], in, p); }
static void build_rope_chain(rt_graph *g, const rt_ref *in, rt_prec p, rt_ref *outs) {
    outs[0] = turn(g, turn(g, turn(g, in[0], in, p), in, p), in, p);
}
static void turned(const rt_tensor *in, const rt_tensor *x, rt_tensor *y) {
    int64_t half = in[2].dim[1], heads = x->dim[1] / (2 * half) - 1;
    for (int64_t n = 0; n < x->dim[0]; n++)
        for (int64_t j = 0; j < x->dim[1]; j++) {
            int64_t p = ((int32_t *)in[1].data)[n], i = j % half;
            double c = AT(&in[2], p, i), s = AT(&in[3], p, i);
            bool first = j % (2 * half) < half, turns = j < heads * 2 * half;
            AT(y, n, j) = !turns ? AT(x, n, j) : first ? AT(x, n, j) * c - AT(x, n, j + half) * s : AT(x, n, j) * c + AT(x, n, j - half) * s;
        }
}
static void ref_rope(const rt_tensor *in, rt_tensor *out) { turned(in, &in[0], out); }
static void ref_rope_chain(const rt_tensor *in, rt_tensor *out) {
    double middle[64 * 64], again[64 * 64];
    rt_tensor m = rt_tensor_2d(RT_F64, middle, in[0].dim[0], in[0].dim[1]), a = rt_tensor_2d(RT_F64, again, in[0].dim[0], in[0].dim[1]);
    turned(in, &in[0], &m);
    turned(in, &m, &a);
    turned(in, &a, out);
}
static const rt_prec rope_precs[] = {OP_PREC(F64, NONE, F64, F64, F64), OP_PREC(F32, NONE, F32, F32, F32), OP_PREC(F16, NONE, F32, F16, F32),
                                     OP_PREC(BF16, NONE, F32, BF16, F32), OP_PREC(F16, NONE, F32, F32, F32), OP_PREC(F32, NONE, F32, BF16, F32), {0}};
static const rt_prec wide_precs[] = {OP_PREC(F64, NONE, F64, F64, F64), OP_PREC(F32, NONE, F32, F32, F32), {0}};

/* --------------------------------------------------------------- attention */
static void some_starts(rt_tensor *t) {
    static const int64_t first[] = {0, 7, 8, 41, 43, INT64_MAX};
    for (int64_t i = 0, d = 0; i < t->dim[0]; i++) {
        if (i >= first[d + 1]) d++;
        ((int32_t *)t->data)[i] = (int32_t)first[d];
    }
}
static void attention(const rt_tensor *in, rt_heads h, int64_t head, int64_t i, rt_tensor *out) {
    int64_t d = h.head_dim, kv = head / (h.heads / h.kv_heads), q = head * d, k = (h.heads + kv) * d, v = k + h.kv_heads * d;
    double s[128], sum = 0;
    for (int64_t j = ((int32_t *)in[1].data)[i]; j <= i; j++) {
        s[j] = 0;
        for (int64_t c = 0; c < d; c++) s[j] += AT(&in[0], i, q + c) * AT(&in[0], j, k + c);
        sum += s[j] = exp(s[j] / sqrt((double)d));
    }
    for (int64_t j = ((int32_t *)in[1].data)[i]; j <= i; j++)
        for (int64_t c = 0; c < d; c++) AT(out, i, q + c) += s[j] / sum * AT(&in[0], j, v + c);
}
#define HEADS(name, ...)                                                                                               \
    static void build_##name(rt_graph *g, const rt_ref *in, rt_prec p, rt_ref *outs) {                                 \
        outs[0] = rt_attention(g, in[0], in[1], (rt_heads){__VA_ARGS__}, p, "attention");                              \
    }                                                                                                                  \
    static void ref_##name(const rt_tensor *in, rt_tensor *out) {                                                      \
        rt_heads h = {__VA_ARGS__};                                                                                    \
        for (int64_t head = 0; head < h.heads; head++)                                                                 \
            for (int64_t i = 0; i < out->dim[0]; i++) attention(in, h, head, i, out);                                  \
    }
HEADS(one_each, 2, 2, 8, 0)
HEADS(pairs, 4, 2, 12, 33)
HEADS(four, 4, 1, 16, 40)
HEADS(dim20, 2, 1, 20, 0)
HEADS(dim24, 3, 3, 24, 64)
HEADS(dim64, 2, 2, 64, 1000)
#undef HEADS

/* -------------------------------------------------------- attention_cached */
/* Rows of three sequences and padding, as a step after a chunk may have them: in this one run, so the reference needs no past. */
static const int32_t cached_sequence[] = {1, 1, 1, -1, 0, 2, 2, 2, 2, 1, -1, 0}, cached_position[] = {0, 1, 2, 0, 0, 0, 1, 2, 3, 3, 0, 1};
enum { CACHED_ROWS = 12 };
static void some_sequences(rt_tensor *t) {
    for (int64_t i = 0; i < t->dim[0]; i++) ((int32_t *)t->data)[i] = i % 16 < CACHED_ROWS ? cached_sequence[i % 16] + (cached_sequence[i % 16] >= 0 ? 3 * (int32_t)(i / 16) : 0) : -1;
}
static void their_positions(rt_tensor *t) {
    for (int64_t i = 0; i < t->dim[0]; i++) ((int32_t *)t->data)[i] = i % 16 < CACHED_ROWS ? cached_position[i % 16] : 0;
}
enum { CACHED_SEQUENCES = 9, CACHED_POSITIONS = 21 };
static rt_ref cached(rt_graph *g, const rt_ref *in, rt_heads h, rt_prec p) {
    static _Alignas(64) char memory[CACHED_SEQUENCES * CACHED_POSITIONS * 2 * 64 * 8];
    rt_tensor state = rt_tensor_make(p.in, 4, (int64_t[]){CACHED_SEQUENCES, 2 * h.kv_heads, CACHED_POSITIONS, h.head_dim}, memory);
    memset(memory, 0xff, sizeof memory); /* NaN: what was not put there is not read */
    return rt_attention_cached(g, in[0], in[1], in[2], rt_graph_state(g, "past", &state), h, p, "attention");
}
static void cached_row(const rt_tensor *in, rt_heads h, int64_t head, int64_t i, rt_tensor *out) {
    int64_t d = h.head_dim, kv = head / (h.heads / h.kv_heads), q = head * d, k = (h.heads + kv) * d, v = k + h.kv_heads * d;
    const int32_t *sequence = in[1].data, *position = in[2].data;
    double s[128], sum = 0;
    for (int64_t j = 0; j < out->dim[0]; j++) {
        s[j] = 0;
        if (sequence[i] < 0 || sequence[j] != sequence[i] || position[j] > position[i]) continue;
        for (int64_t c = 0; c < d; c++) s[j] += AT(&in[0], i, q + c) * AT(&in[0], j, k + c);
        sum += s[j] = exp(s[j] / sqrt((double)d));
    }
    for (int64_t j = 0; j < out->dim[0]; j++)
        for (int64_t c = 0; c < d && s[j] > 0; c++) AT(out, i, q + c) += s[j] / sum * AT(&in[0], j, v + c);
}
#define CACHED(name, few, ...)                                                                                         \
    static void build_##name(rt_graph *g, const rt_ref *in, rt_prec p, rt_ref *outs) {                                 \
        if (few) rt_graph_few_rows(g);                                                                                 \
        outs[0] = cached(g, in, (rt_heads){__VA_ARGS__}, p);                                                           \
    }                                                                                                                  \
    static void ref_##name(const rt_tensor *in, rt_tensor *out) {                                                      \
        rt_heads h = {__VA_ARGS__};                                                                                    \
        for (int64_t head = 0; head < h.heads; head++)                                                                 \
            for (int64_t i = 0; i < out->dim[0]; i++) cached_row(in, h, head, i, out);                                 \
    }
CACHED(cached_one_each, false, 2, 2, 8, 0)
CACHED(cached_groups, false, 4, 2, 12, 0)
CACHED(few_one_each, true, 2, 2, 8, 0)
CACHED(few_groups, true, 6, 2, 20, 0)
#undef CACHED
#define PAST(rows, columns) {{OP_IN, 2, {rows, columns}}, {OP_INTEGER, 1, {rows}, .fill = some_sequences}, {OP_INTEGER, 1, {rows}, .fill = their_positions}}
#define QKV(rows, columns) {{OP_IN, 2, {rows, columns}}, {OP_INTEGER, 1, {rows}, .fill = some_starts}}
#define SOFT .precs = op_row_precs, .integers_differ = true

const op_case op_cases_attention[] = {
    {"rope/partial", {{OP_IN, 2, {70, 37}}, {OP_INTEGER, 1, {70}, .fill = some_positions}, {OP_ACC, 2, {9, 4}, .fixed = true}, {OP_ACC, 2, {9, 4}, .fixed = true}},
     build_rope, ref_rope, rope_precs},
    {"rope/wide", {{OP_IN, 2, {3, 192}}, {OP_INTEGER, 1, {3}, .fill = some_positions}, {OP_ACC, 2, {9, 32}, .fixed = true}, {OP_ACC, 2, {9, 32}, .fixed = true}},
     build_rope, ref_rope, rope_precs},
    {"rope/chain", {{OP_IN, 2, {61, 20}}, {OP_INTEGER, 1, {61}, .fill = some_positions}, {OP_ACC, 2, {9, 3}, .fixed = true}, {OP_ACC, 2, {9, 3}, .fixed = true}},
     build_rope_chain, ref_rope_chain, wide_precs},
    {"attention/one_each", QKV(70, 48), build_one_each, ref_one_each, SOFT},
    {"attention/pairs", QKV(52, 96), build_pairs, ref_pairs, SOFT},
    {"attention/four", QKV(77, 96), build_four, ref_four, SOFT},
    {"attention/dim20", QKV(44, 80), build_dim20, ref_dim20, SOFT},
    {"attention/dim24", QKV(9, 216), build_dim24, ref_dim24, SOFT},
    {"attention/dim64", QKV(41, 384), build_dim64, ref_dim64, SOFT},
    {"attention/one_row", QKV(1, 48), build_one_each, ref_one_each, SOFT},
    {"attention_cached/one_each", PAST(40, 48), build_cached_one_each, ref_cached_one_each, SOFT, .no_gradient = true},
    {"attention_cached/groups", PAST(12, 96), build_cached_groups, ref_cached_groups, SOFT, .no_gradient = true},
    {"attention_cached/few_rows", PAST(16, 48), build_few_one_each, ref_few_one_each, SOFT, .no_gradient = true},
    {"attention_cached/few_groups", PAST(12, 200), build_few_groups, ref_few_groups, SOFT, .no_gradient = true},
    {0}};
