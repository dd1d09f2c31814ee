/* experts: y[n] = sum_j w[n,j] down_e(silu(gate_e x[n]) * up_e x[n]), e = ids[n,j], j in order. Dropless.
 *   x [N,D], w [N,k], ids [N,k], valid [N], gate_up [E,2F,D] (gate first), down [E,F,D] -> y [N,D].
 *
 * Rows are grouped by expert (places.h) and cut into tiles of at most 512. Inside a tile the hidden rows are
 * feature-major: H = gate_up X^T [2F, tokens] is one product with the weights as they lie, SwiGLU's lanes are tokens, and
 * Y = A^T down is another. Tokens are padded to 16 columns by repeating the last one, so that no loop has a tail. A token's
 * bits depend neither on its expert's load nor on its place (decisions.md, 2): only the products' free dimension varies.
 *
 * Backward keeps x, w, H and the places; an expert is one task, its tiles in order, so that all of it stays in one core's
 * cache. With dO[i] = dy[n]: dA = down dO^T; dw = sum_f a dA; H is overwritten by its gradient for w dA (nobody else reads
 * it, so a backward pass needs a forward pass of its own); dX = dH^T gate_up; dgate_up += dH X; ddown += (w A) dO. dx
 * gathers dX in the order of j.
 *
 * Weights may come from a bank (tensor/bank.h) that holds only some experts at a time: both passes then run in waves, each of
 * as many experts as are present together. Tiles and experts know nothing of each other before the sums over j, which come
 * last, so waves change no bit. Half weights are converted a panel at a time wherever they lie: nothing is kept of them.
 *
 * trace: f64 sums of the experts' outputs, see ops.h. Taken from each tile while it is in cache, summed in fixed order.
 * Layouts and what they gain: performance.md; MoE as grouped rows: Gale et al. 2022 (MegaBlocks). */
#ifndef T
#include "kernels/gemm.h"
#include "kernels/trace.h"
#include "ops/common.h"
#include "ops/experts_few.h"
#include <retort/ops/ops.h>
#include <string.h>

enum { COMBINE_ROWS = 32, PANEL = 1 << 18 /* elements of a converted piece of weights: stays in cache */ };
typedef rt_expert_sizes sizes;
typedef rt_expert_job job;
typedef struct attr {
    bool trace;
} attr;

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
/* Row stride of feature-major tiles: a multiple of 64 would put all rows into the same cache sets. */
static int64_t stride(int64_t columns) { return columns % 64 ? columns : columns + 16; }
enum { STRIDE_MAX = RT_EXPERT_ROWS + 16 };
static int64_t panel_rows(int64_t length, int64_t count) { /* rows of a piece of `count` rows of this length */
    int64_t rows = PANEL / length / 16 * 16;
    return least(rows < 16 ? 16 : rows, count);
}

/* ------------------------------------------------------------------- infer */

/* Both matrices of an expert come and go together. */
static rt_status check_pieces(rt_graph *g, rt_node *n, int64_t experts) {
    const rt_pieces *a = rt_infer_pieces(g, n, GATE_UP), *b = rt_infer_pieces(g, n, DOWN);
    if (!a && !b) return RT_OK;
    if (a && b && a->bank == b->bank && a->first == b->first && a->first + experts <= rt_bank_stats_get(a->bank).units) return RT_OK;
    return rt_infer_fail(g, n, RT_E_ARG, "gate_up and down are not pieces of the same experts");
}
static rt_status check(rt_graph *g, rt_node *n) {
    rt_dtype dtype[INPUTS] = {n->prec.in, n->prec.acc, RT_I32, RT_I32, n->prec.weight, n->prec.weight};
    int ndim[INPUTS] = {2, 2, 2, 1, 3, 3};
    for (int k = 0; k < INPUTS; k++) {
        if (!rt_infer_has(n, k)) continue;
        RT_TRY(rt_infer_dtype(g, n, k, dtype[k]));
        RT_TRY(rt_infer_shape(g, n, k, ndim[k], (int64_t[]){-1, -1, -1}));
    }
    sizes z = rt_expert_sizes_of(rt_infer_in(g, n, X), rt_infer_in(g, n, W), rt_infer_in(g, n, GATE_UP));
    RT_TRY(rt_infer_shape(g, n, W, 2, (int64_t[]){z.N, -1}));
    RT_TRY(rt_infer_shape(g, n, IDS, 2, (int64_t[]){z.N, z.k}));
    if (rt_infer_has(n, VALID)) RT_TRY(rt_infer_shape(g, n, VALID, 1, (int64_t[]){z.N}));
    RT_TRY(rt_infer_shape(g, n, GATE_UP, 3, (int64_t[]){-1, 2 * z.F, z.D}));
    RT_TRY(rt_infer_shape(g, n, DOWN, 3, (int64_t[]){z.E, z.F, z.D}));
    RT_TRY(check_pieces(g, n, z.E));
    if (z.pairs + 16 * z.E > INT32_MAX) return rt_infer_fail(g, n, RT_E_SHAPE, "%lld routed rows are too many", (long long)z.pairs);
    return RT_OK;
}

/* See forward_tile and backward_expert for what they take. */
static size_t worker_bytes(sizes z, size_t size) {
    size_t D = (size_t)z.D, F = (size_t)z.F, rows = RT_EXPERT_ROWS, ld = STRIDE_MAX;
    size_t panel = rt_align64((size_t)(PANEL + 16 * (z.D > 2 * z.F ? z.D : 2 * z.F)) * size);
    size_t forward = rt_align64(D * ld * size) + rt_align64(3 * F * ld * size) + rt_align64(16 * D * size);
    size_t backward = 2 * rt_align64(rows * D * size) + rt_align64(D * ld * size) + 2 * rt_align64(F * ld * size) + 2 * rt_align64(ld * size);
    return panel + 4096 + (forward > backward ? forward : backward);
}
static rt_status infer(rt_graph *g, rt_node *n) {
    rt_dtype compute;
    RT_TRY(rt_infer_compute(g, n, &compute));
    RT_TRY(rt_infer_contract(g, n));
    RT_TRY(check(g, n));
    sizes z = rt_expert_sizes_of(rt_infer_in(g, n, X), rt_infer_in(g, n, W), rt_infer_in(g, n, GATE_UP));
    size_t size = rt_compute_size(n);
    bool trace = ((const attr *)n->attr)->trace, keep = rt_infer_differentiated(g, n);
    n->few = rt_infer_few_rows(g, n) && !trace;
    if (n->few) n->kernel = RT_FEW_KERNEL;
    n->worker_scratch = worker_bytes(z, size);
    n->scratch = rt_expert_scratch(z, size, trace);
    if (n->few) n->worker_scratch = rt_experts_few_worker(z, size), n->scratch += rt_experts_few_scratch(z, size);
    int64_t hidden = keep ? 2 * z.F * (z.slots + 16 * z.tiles) * (int64_t)size : 0;
    RT_TRY(rt_infer_out(g, n, Y, n->prec.out, 2, (int64_t[]){z.N, z.D}));
    RT_TRY(rt_infer_out(g, n, HIDDEN, RT_U8, 1, &hidden)); /* numbers of the compute type, with gaps that are never written */
    RT_TRY(rt_infer_out(g, n, PLACES, RT_I32, 1, (int64_t[]){rt_places_ints(z.pairs, z.E)}));
    return rt_infer_out(g, n, TRACE, RT_F64, 2, (int64_t[]){trace ? 2 * z.E : 0, z.D});
}

/* ---------------------------------------------------------------- the call */

static bool counts(const job *j, int32_t pair) {
    const int32_t *valid = j->call->in[VALID].data;
    return !valid || valid[pair / j->z.k];
}
/* The tokens of slots s..s+n, and n rounded up to 16 by repeating the last. */
static void tokens_of(const job *j, int64_t s, int64_t n, int32_t *token) {
    for (int64_t i = 0; i < n; i++) token[i] = j->places.pair[s + i] / (int32_t)j->z.k;
    for (int64_t i = n; i % 16; i++) token[i] = token[n - 1];
}

#define RT_BODY "ops/experts.c"
#include "kernels/for_each_type.h"

static void forward(const rt_call *c) {
    job j = rt_expert_job_open(c);
    if (!rt_places_fill(&j.places, c->in[IDS].data)) {
        rt_call_fail(c, RT_E_INPUT, "an expert id is outside 0..%lld", (long long)j.z.E - 1);
        return;
    }
    if (c->node->few) rt_experts_few_run(&j);
    else RT_BY_TYPE(c, experts_forward, &j);
}
static void backward(const rt_call *c) {
    job j = rt_expert_job_open(c);
    RT_BY_TYPE(c, experts_backward, &j);
}

/* A product of D x F a chosen expert: gate, up, down; backward dA, then dX, dgate_up (two each) and ddown as they are wanted. Of
 * the hidden rows what is written, not the gaps; of weights at most an expert a chosen one. */
static void work(const rt_graph *g, const rt_node *n, rt_work *forward, rt_work *backward) {
    sizes z = rt_expert_sizes_of(rt_infer_in(g, n, X), rt_infer_in(g, n, W), rt_infer_in(g, n, GATE_UP));
    double product = 2 * (double)z.pairs * (double)z.D * (double)z.F, experts = (double)least(z.E, z.pairs);
    double weights = experts * 3 * (double)(z.D * z.F) * (double)rt_dtype_size(rt_infer_in(g, n, GATE_UP)->dtype);
    double hidden = rt_infer_differentiated(g, n) ? 2 * (double)(z.pairs * z.F) * (double)rt_compute_size(n) : 0;
    rt_work_values(g, n, ~(RT_IN(GATE_UP) | RT_IN(DOWN) | RT_OUT(HIDDEN)), forward);
    rt_work_values(g, n, RT_IN(X) | RT_IN(W) | RT_OUT(PLACES), backward);
    rt_work_gradients(g, n, ~0u, backward);
    forward->bytes += weights + hidden;
    backward->bytes += weights + hidden;
    forward->exps = backward->exps = (double)(z.pairs * z.F);
    forward->flops = 3 * product;
    backward->flops = product * (1 + 2 * rt_work_wants(g, n, X) + 2 * rt_work_wants(g, n, GATE_UP) + rt_work_wants(g, n, DOWN));
}

const rt_op rt_op_experts = {.name = "experts", .n_in = INPUTS, .n_out = OUTPUTS, .optional = RT_IN(VALID),
                             .diff = RT_IN(X) | RT_IN(W) | RT_IN(GATE_UP) | RT_IN(DOWN), .overwrites = RT_IN(X) | RT_IN(GATE_UP) | RT_IN(DOWN),
                             .pieces = RT_IN(GATE_UP) | RT_IN(DOWN), .saves = RT_IN(X) | RT_IN(W) | RT_IN(GATE_UP) | RT_IN(DOWN) | RT_OUT(HIDDEN) | RT_OUT(PLACES),
                             .infer = infer, .work = work, .forward = forward, .backward = backward};

rt_ref rt_experts(rt_graph *g, rt_ref x, rt_routing r, rt_ref valid, rt_ref gate_up, rt_ref down, rt_ref *trace, rt_prec p,
                  const char *role) {
    rt_ref out[OUTPUTS];
    rt_graph_add(g, &rt_op_experts, role, p, &(attr){trace != NULL}, sizeof(attr), (rt_ref[]){x, r.weights, r.ids, valid, gate_up, down},
                 INPUTS, out);
    if (trace) *trace = out[TRACE];
    return out[Y];
}
#else
/* ---------------------------------------------------------------- products */

/* Weights of another type are halves, and T is float. */
static const T *F(whole_or_panel)(const rt_expert_matrix *w, int64_t row, int64_t column, int64_t rows, int64_t columns, void *panel) {
    if (w->dtype == RT_T) return w->at.block[0];
    rt_expert_panel(w, row, column, rows, columns, panel);
    return panel;
}
/* C[M,n] = W[M,K] B[K,n]: halves are converted a piece of rows at a time. */
static void F(weight_times)(const rt_expert_matrix *w, const T *b, int64_t n, T *c, int64_t ld, T *panel) {
    int64_t M = w->rows, K = w->columns, step = w->dtype == RT_T ? M : panel_rows(K, M);
    for (int64_t r = 0; r < M; r += step) {
        int64_t m = least(step, M - r);
        const T *a = F(whole_or_panel)(w, r, 0, m, K, panel);
        F(rt_gemm)('N', 'N', m, n, K, 1, a, K, b, ld, 0, c + r * ld, ld);
    }
}
/* Out[n,M] = B[K,n]^T W[K,M]: pieces of columns. */
static void F(times_weight)(const rt_expert_matrix *w, const T *b, int64_t n, T *out, int64_t ld, T *panel) {
    int64_t K = w->rows, M = w->columns, step = w->dtype == RT_T ? M : panel_rows(K, M);
    for (int64_t r = 0; r < M; r += step) {
        int64_t m = least(step, M - r), lda = w->dtype == RT_T ? M : m;
        const T *a = F(whole_or_panel)(w, 0, r, K, m, panel);
        F(rt_gemm)('T', 'N', n, m, K, 1, b, ld, a, lda, 0, out + r, M);
    }
}

/* ----------------------------------------------------------------- forward */

/* X^T [D, columns] of the tokens. */
static void F(gather_transposed)(const job *j, const int32_t *token, int64_t columns, T *xt, int64_t ld, T *block) {
    const rt_tensor *x = &j->call->in[X];
    if (x->dtype == RT_T) {
        F(rt_gather_transpose)(x->data, j->z.D, token, columns, j->z.D, xt, ld);
        return;
    }
    for (int64_t i = 0; i < columns; i += 16) {
        for (int64_t r = 0; r < 16; r++) F(rt_rows_load)(x->dtype, rt_row_ptr(x, token[i + r]), block + r * j->z.D, j->z.D);
        F(rt_transpose)(block, j->z.D, 16, j->z.D, xt + i, ld);
    }
}
static T *F(hidden_of)(const job *j, const rt_tile *t, int64_t base) {
    return (T *)j->call->out[HIDDEN].data + 2 * j->z.F * (base + t->row + 16 * t->index);
}
static void F(trace_tile)(const job *j, const rt_tile *t, int64_t slot, const T *y) {
    T u[RT_EXPERT_ROWS], w[RT_EXPERT_ROWS];
    double *sum = j->partial + t->index * 2 * j->z.D;
    for (int64_t i = 0; i < t->n; i++) {
        int32_t pair = j->places.pair[slot + i];
        u[i] = counts(j, pair);
        w[i] = ((const T *)j->call->in[W].data)[pair];
    }
    memset(sum, 0, (size_t)(2 * j->z.D) * sizeof *sum);
    F(rt_trace_rows)(y, u, w, t->n, j->z.D, sum, sum + j->z.D);
}
static void F(forward_tile)(void *context, int64_t task, int worker) {
    const job *j = context;
    const rt_call *c = j->call;
    const rt_tile *t = &j->wave_tiles[task];
    int64_t D = j->z.D, hidden_rows = j->z.F, columns = rt_round16(t->n), ld = stride(columns), slot = j->places.start[t->expert] + t->row;
    char *s = rt_scratch(worker);
    int32_t *token = rt_take(&s, RT_EXPERT_ROWS * sizeof *token);
    T *xt = rt_take(&s, (size_t)(D * ld) * sizeof(T)), *a = rt_take(&s, (size_t)(hidden_rows * ld) * sizeof(T));
    T *block = rt_take(&s, (size_t)(16 * D) * sizeof(T)), *y = (T *)c->scratch + slot * D;
    T *h = c->out[HIDDEN].data ? F(hidden_of)(j, t, j->places.start[t->expert]) : rt_take(&s, (size_t)(2 * hidden_rows * ld) * sizeof(T));
    tokens_of(j, slot, t->n, token);
    F(gather_transposed)(j, token, columns, xt, ld, block);
    F(weight_times)(&j->gate_up[t->expert], xt, columns, h, ld, (T *)s);
    for (int64_t f = 0; f < hidden_rows; f++) F(rt_rows)()->swiglu(h + f * ld, h + (hidden_rows + f) * ld, a + f * ld, columns);
    F(times_weight)(&j->down[t->expert], a, columns, y, ld, (T *)s);
    if (c->out[TRACE].data) F(trace_tile)(j, t, slot, y);
}

static void F(combine)(void *context, int64_t task, int worker) {
    const job *j = context;
    const rt_call *c = j->call;
    int64_t D = j->z.D, k = j->z.k, r0 = task * COMBINE_ROWS, r1 = least(r0 + COMBINE_ROWS, j->z.N);
    char *s = rt_scratch(worker);
    T *out = F(rt_tile_out)(&c->out[Y], r0, r1 - r0, &s);
    const T *rows = c->scratch, *w = c->in[W].data;
    for (int64_t n = r0; n < r1; n++) {
        T *y = out + (n - r0) * D;
        F(rt_rows)()->scale(w[n * k], rows + j->places.slot[n * k] * D, y, D);
        for (int64_t p = n * k + 1; p < (n + 1) * k; p++) F(rt_rows)()->axpy(w[p], rows + j->places.slot[p] * D, y, D);
    }
    F(rt_tile_done)(c, &c->out[Y], r0, r1 - r0, out);
}
/* The partial traces of an expert's tiles, in order. */
static void F(trace_expert)(void *context, int64_t e, int worker) {
    (void)worker;
    const job *j = context;
    int64_t D = j->z.D, tiles = (j->places.count[e] + RT_EXPERT_ROWS - 1) / RT_EXPERT_ROWS;
    double *plain = (double *)j->call->out[TRACE].data + e * D, *weighted = plain + j->z.E * D;
    memset(plain, 0, (size_t)D * sizeof *plain);
    memset(weighted, 0, (size_t)D * sizeof *weighted);
    for (int64_t i = 0; i < tiles; i++) {
        const double *sum = j->partial + (j->places.tile[e] + i) * 2 * D;
        rt_rows_f64()->add(plain, sum, plain, D);
        rt_rows_f64()->add(weighted, sum + D, weighted, D);
    }
}
static void F(experts_forward)(job *j) {
    if (!rt_expert_waves(j, true, F(forward_tile))) return;
    rt_parallel((j->z.N + COMBINE_ROWS - 1) / COMBINE_ROWS, F(combine), j);
    if (j->call->out[TRACE].data) rt_parallel(j->z.E, F(trace_expert), j);
}

/* ---------------------------------------------------------------- backward */

/* One tile of one expert: what its task keeps in scratch. ld is the stride of hT, dot, da and aw. */
typedef struct F(tile) {
    int64_t n, columns, ld, slot;
    T *x, *dy;           /* [columns, D] rows of the tokens */
    T *dyt, *da, *aw, *h; /* [D, ld], [F, ld], [F, ld], [2F, ld] */
    T *w, *dot;          /* [ld] */
    T *panel;
} F(tile);

static F(tile) F(open_tile)(const job *j, const rt_tile *t, char *s) {
    int64_t D = j->z.D, columns = rt_round16(t->n), ld = stride(columns);
    F(tile) b = {.n = t->n, .columns = columns, .ld = ld, .slot = j->places.start[t->expert] + t->row};
    b.x = rt_take(&s, (size_t)(columns * D) * sizeof(T));
    b.dy = rt_take(&s, (size_t)(columns * D) * sizeof(T));
    b.dyt = rt_take(&s, (size_t)(D * ld) * sizeof(T));
    b.da = rt_take(&s, (size_t)(j->z.F * ld) * sizeof(T));
    b.aw = rt_take(&s, (size_t)(j->z.F * ld) * sizeof(T));
    b.w = rt_take(&s, (size_t)ld * sizeof(T));
    b.dot = rt_take(&s, (size_t)ld * sizeof(T));
    b.panel = (T *)s;
    b.h = F(hidden_of)(j, t, j->places.start[t->expert]);
    return b;
}
static void F(gather_rows)(const job *j, const F(tile) *b) {
    const rt_call *c = j->call;
    int64_t D = j->z.D;
    int32_t token[RT_EXPERT_ROWS];
    tokens_of(j, b->slot, b->n, token);
    for (int64_t i = 0; i < b->columns; i++) {
        F(rt_rows_load)(c->in[X].dtype, rt_row_ptr(&c->in[X], token[i]), b->x + i * D, D);
        memcpy(b->dy + i * D, rt_row_ptr(&c->dout[Y], token[i]), (size_t)D * sizeof(T));
        b->w[i] = i < b->n ? ((const T *)c->in[W].data)[j->places.pair[b->slot + i]] : 0; /* padding has no gradient */
        b->dot[i] = 0;
    }
    F(rt_transpose)(b->dy, D, b->columns, D, b->dyt, b->ld);
}
static void F(weight_gradients)(const job *j, const F(tile) *b, int64_t e, bool first) {
    int64_t D = j->z.D, rows = j->z.F;
    T add_gate_up = !(first && rt_is_fresh(j->call, GATE_UP)), add_down = !(first && rt_is_fresh(j->call, DOWN));
    T *gate_up = j->call->din[GATE_UP].data, *down = j->call->din[DOWN].data;
    if (gate_up) F(rt_gemm)('N', 'N', 2 * rows, D, b->columns, 1, b->h, b->ld, b->x, D, add_gate_up, gate_up + e * 2 * rows * D, D);
    if (down) F(rt_gemm)('N', 'N', rows, D, b->columns, 1, b->aw, b->ld, b->dy, D, add_down, down + e * rows * D, D);
}
static void F(backward_tile)(const job *j, const rt_tile *t, char *scratch) {
    const rt_call *c = j->call;
    int64_t D = j->z.D, rows = j->z.F, e = t->expert;
    F(tile) b = F(open_tile)(j, t, scratch);
    F(gather_rows)(j, &b);
    F(weight_times)(&j->down[e], b.dyt, b.columns, b.da, b.ld, b.panel);
    for (int64_t f = 0; f < rows; f++)
        F(rt_rows)()->expert_backward(b.h + f * b.ld, b.h + (rows + f) * b.ld, b.da + f * b.ld, b.w, b.aw + f * b.ld, b.dot, b.columns);
    T *dw = c->din[W].data;
    for (int64_t i = 0; dw && i < b.n; i++) dw[j->places.pair[b.slot + i]] += b.dot[i];
    if (c->din[X].data)
        F(times_weight)(&j->gate_up[e], b.h, b.columns, (T *)c->scratch + b.slot * D, b.ld, b.panel);
    F(weight_gradients)(j, &b, e, t->row == 0);
}
static void F(backward_expert)(void *context, int64_t task, int worker) {
    const job *j = context;
    int32_t e = j->wave[task], count = j->places.count[e], step = (int32_t)rt_tile_rows(count), index = j->places.tile[e];
    for (int32_t row = 0; row < count; row += step, index++) {
        rt_tile t = {e, row, (int32_t)least(step, count - row), index};
        F(backward_tile)(j, &t, rt_scratch(worker));
    }
}
static void F(gather_dx)(void *context, int64_t task, int worker) {
    (void)worker;
    const job *j = context;
    int64_t D = j->z.D, k = j->z.k, r0 = task * COMBINE_ROWS, r1 = least(r0 + COMBINE_ROWS, j->z.N);
    const T *rows = j->call->scratch;
    for (int64_t n = r0; n < r1; n++) {
        T *dx = (T *)j->call->din[X].data + n * D;
        if (rt_is_fresh(j->call, X)) memset(dx, 0, (size_t)D * sizeof(T));
        for (int64_t p = n * k; p < (n + 1) * k; p++) F(rt_rows)()->add(dx, rows + j->places.slot[p] * D, dx, D);
    }
}
/* An expert without rows: its gradient is nothing. */
static void F(clear_idle)(const job *j) {
    static const int weights[] = {GATE_UP, DOWN};
    for (int64_t e = 0; e < j->z.E; e++)
        for (int i = 0; j->places.count[e] == 0 && i < 2; i++) {
            const rt_tensor *d = &j->call->din[weights[i]];
            int64_t size = d->data ? d->dim[1] * d->dim[2] : 0;
            if (rt_is_fresh(j->call, weights[i])) memset((T *)d->data + e * size, 0, (size_t)size * sizeof(T));
        }
}
static void F(experts_backward)(job *j) {
    F(clear_idle)(j);
    if (!rt_expert_waves(j, false, F(backward_expert))) return;
    if (j->call->din[X].data) rt_parallel((j->z.N + COMBINE_ROWS - 1) / COMBINE_ROWS, F(gather_dx), j);
}
#endif
