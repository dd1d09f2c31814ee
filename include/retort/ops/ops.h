/* ops.h - the builders: one call adds one node to the tape. Shapes: N rows (tokens), D width, V vocabulary, H heads.
 *
 * Every builder takes the numeric contract of its call (<retort/tensor/dtype.h>): operands whose dtype differs are refused
 * with both sides named; nothing is converted. Gradients and accumulators are f32 (f64 for the f64 contract). `role` names
 * the node in errors and listings. Returned references are null after any error (graph.h). */
#ifndef RETORT_OPS_OPS_H
#define RETORT_OPS_OPS_H
#include <retort/graph/graph.h>

/* y[n] = table[ids[n]].   ids i32 [N], table [V,D] (prec.weight) -> [N,D] (prec.out). An id outside [0,V) is RT_E_INPUT. */
rt_ref rt_embed(rt_graph *g, rt_ref ids, rt_ref table, rt_prec p, const char *role);

/* y = round_out(acc(x W^T) + residual + bias).   x [N,K] (in), W [O,K] (weight) -> [N,O] (out). residual [N,O] (out),
 * bias [O] (weight), both optional. `cat`: several weights over the same x, outputs side by side in columns (q,k,v; gate,up). */
rt_ref rt_linear(rt_graph *g, rt_ref x, rt_ref w, rt_prec p, const char *role);
rt_ref rt_linear_residual(rt_graph *g, rt_ref x, rt_ref w, rt_ref residual, rt_prec p, const char *role);
rt_ref rt_linear_cat(rt_graph *g, rt_ref x, const rt_ref *w, const rt_ref *bias, int count, rt_prec p, const char *role);

/* y = x / sqrt(mean(x^2) + eps) * w, row by row.   x [N,D] (in), w [D] (weight) -> [N,D] (out). Zhang & Sennrich 2019. */
rt_ref rt_rmsnorm(rt_graph *g, rt_ref x, rt_ref w, double eps, rt_prec p, const char *role);

/* The same for the heads of a fused qkv row: the first `queries` columns in groups of [wq] columns, the next `keys` in groups
 * of [wk], each group by its own root mean square; further columns are copied.   x [N,C] (in), wq [q], wk [k] (weight),
 * q | queries, k | keys, queries + keys <= C -> [N,C] (out). Per head: Yang et al. 2025 (Qwen3); over all heads: OLMoE. */
rt_ref rt_qk_norm(rt_graph *g, rt_ref x, rt_ref wq, rt_ref wk, int64_t queries, int64_t keys, double eps, rt_prec p, const char *role);

/* Rotates the first `heads` heads of each row (halves layout), copies the rest.   x [N,C] (in), position i32 [N],
 * cos, sin [P, head_dim/2] (prec.acc) with P > every position -> [N,C] (out). Su et al. 2021, eq. 34. */
rt_ref rt_rope(rt_graph *g, rt_ref x, rt_ref position, rt_ref cos, rt_ref sin, int64_t heads, int64_t head_dim, rt_prec p,
               const char *role);

/* Causal grouped-query attention over the rows start[i]..i (start i32 [N]: first row of i's document; start[i] <= i, and
 * rows of a document are contiguous).   qkv [N,(H + 2 Hk) head_dim] (in): the columns of all query heads, then of all key
 * heads, then of all value heads -> [N, H head_dim] (out). Scale 1/sqrt(head_dim). */
typedef struct rt_heads {
    int64_t heads, kv_heads, head_dim;
    int64_t max_length; /* rows of the longest document: sizes the scratch; a longer one fails at run time. 0: N */
} rt_heads;
rt_ref rt_attention(rt_graph *g, rt_ref qkv, rt_ref start, rt_heads heads, rt_prec p, const char *role);
/* The same for row position[n] of sequence sequence[n] (i32 [N]; -1: padding, 0 comes out) over all rows of that sequence so far:
 * keys and values are first put into `cache`, a state [S, 2 Hk, P, head_dim] (in): of each sequence the keys' heads, then the
 * values'. heads.max_length is not used. Forward only. A row has the bits of rt_attention, but with rt_graph_few_rows. */
rt_ref rt_attention_cached(rt_graph *g, rt_ref qkv, rt_ref sequence, rt_ref position, rt_ref cache, rt_heads heads, rt_prec p, const char *role);

/* y = silu(gate) * up.   gate_up [N,2F] (in) -> [N,F] (out). */
rt_ref rt_swiglu(rt_graph *g, rt_ref gate_up, rt_prec p, const char *role);
/* y[n] = sigmoid(w x[n]) z[n].   x [N,K] (in), w [1,K] (weight), z [N,D] (out) -> [N,D] (out). The gate of a shared expert. */
rt_ref rt_gate(rt_graph *g, rt_ref x, rt_ref w, rt_ref z, rt_prec p, const char *role);
/* y = a + b, one rounding.   [N,D] (in), [N,D] (in) -> (out). */
rt_ref rt_add(rt_graph *g, rt_ref a, rt_ref b, rt_prec p, const char *role);
/* The same values in another dtype, one rounding: the only operation that converts. */
rt_ref rt_cast(rt_graph *g, rt_ref x, rt_dtype to, const char *role);

/* ------------------------------------------------------- mixture of experts */
/* Top-k on given scores.   scores [N,E] -> weights [N,k], ids i32 [N,k] by descending score, ties to the lower id; unique.
 * weights = softmax over all E of scores, taken at ids, divided by their sum when renormalise. */
typedef struct rt_routing {
    rt_ref weights, ids;
} rt_routing;
rt_routing rt_route(rt_graph *g, rt_ref scores, int64_t k, bool renormalise, rt_prec p, const char *role);

/* y[n] = sum_j weights[n,j] * down_e(silu(gate_e x) * up_e x), e = ids[n,j], j in order.   x [N,D] (in), gate_up [E,2F,D]
 * (weight; gate rows first), down [E,F,D] (weight; transposed: feature-major), valid i32 [N] (null: all) -> [N,D] (out).
 * trace (optional): f64 [2E,D]: rows 0..E: sum over valid tokens of expert e's unweighted outputs; rows E..2E: of its
 * weighted outputs. Asking for it changes no other bit. */
rt_ref rt_experts(rt_graph *g, rt_ref x, rt_routing r, rt_ref valid, rt_ref gate_up, rt_ref down, rt_ref *trace, rt_prec p,
                  const char *role);

/* E sum_e f_e P_e over valid tokens, f_e = count_e/(n k) constant in backward, P = mean softmax(scores) -> f64 [1].
 * Fedus et al. 2021, eq. 4. No valid token: 0. */
rt_ref rt_balance(rt_graph *g, rt_ref scores, rt_ref ids, rt_ref valid, rt_prec p, const char *role);
/* mean over valid tokens of logsumexp(scores)^2 -> f64 [1]. Zoph et al. 2022, eq. 5. */
rt_ref rt_router_z(rt_graph *g, rt_ref scores, rt_ref valid, rt_prec p, const char *role);

/* The registry: every operation, NULL-terminated (ops.def). */
struct rt_op;
extern const struct rt_op *const rt_ops[];
#endif
