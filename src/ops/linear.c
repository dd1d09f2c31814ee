/* linear: y = round_out( acc(x [W1;W2;W3]^T) + residual + bias ).
 * x [N,K], Wi [Oi,K], residual [N,O], bi [Oi] -> y [N,O], O = sum Oi.
 * dx = dy W;  dWi = dyi^T x;  dresidual = dy;  dbi = column sums of dyi (blocks of 64 rows, summed in order).
 *
 * Products run on one form of panel, f32 (f64) [K, O] with padded rows: 'N','N' with such a panel is 10 % faster than 'N','T'
 * on the weight as it lies (docs/log.md). `prepare` makes the panel, in blocks of 128 outputs. For constant weights the
 * cache keeps it (f32), or keeps the half weight as [K,O] (the conversion is then straight); the bits are the same.
 * Few rows, when asked for: linear_few.c. Backward keeps x and W. */
#ifndef T
#include "ops/linear.h"
#include <retort/base/file.h>
#include <retort/ops/ops.h>
#include <string.h>

enum { WEIGHTS = RT_LINEAR_WEIGHTS, X = RT_LINEAR_X, RESIDUAL = RT_LINEAR_RESIDUAL, W0 = RT_LINEAR_W, B0 = RT_LINEAR_BIAS, INPUTS = RT_LINEAR_INPUTS,
       BLOCK = 128, BIAS_BLOCK = 64, COLUMNS_LD = RT_TILE_COLUMNS + 16 /* see rt_panel_ld */ };

static int weight_count(const rt_node *n) {
    int count = 0;
    while (count < WEIGHTS && rt_infer_has(n, W0 + count)) count++;
    return count;
}
static int64_t blocks_of(int64_t outs) { return (outs + BLOCK - 1) / BLOCK; }

static rt_status check_weight(rt_graph *g, rt_node *n, int i, int64_t K) {
    RT_TRY(rt_infer_dtype(g, n, W0 + i, n->prec.weight));
    RT_TRY(rt_infer_shape(g, n, W0 + i, 2, (int64_t[]){-1, K}));
    if (!rt_infer_has(n, B0 + i)) return RT_OK;
    RT_TRY(rt_infer_dtype(g, n, B0 + i, n->prec.weight));
    return rt_infer_shape(g, n, B0 + i, 1, (int64_t[]){rt_infer_in(g, n, W0 + i)->dim[0]});
}

/* Scratch: the panel (or, backward, half weights in f32), then x in f32 if it is half (backward), then bias partial sums. */
static void size_scratch(rt_graph *g, rt_node *n, int64_t N, int64_t K, int64_t O) {
    size_t size = rt_compute_size(n), panel = rt_align64((size_t)(K * rt_panel_ld(O)) * size);
    bool constant = true, half = rt_dtype_is_half(n->prec.weight);
    for (int i = 0; i < weight_count(n); i++) constant &= rt_infer_constant(g, n, W0 + i);
    n->cache = constant ? (half ? (size_t)(K * O) * 2 : panel) : 0;
    n->scratch = panel + rt_align64((size_t)((N + BIAS_BLOCK - 1) / BIAS_BLOCK * O) * size);
    if (!constant && n->prec.in != n->prec.acc) n->scratch += rt_align64((size_t)(N * K) * size);
    size_t rows = n->prec.acc == RT_F64 ? rt_rows_scratch_f64(K > O ? K : O) : rt_rows_scratch_f32(K > O ? K : O);
    n->worker_scratch = rt_align64(rows) + rt_align64((size_t)O * size) + rt_align64((size_t)(RT_ROWS_MAX * K) * size) +
                        rt_align64((size_t)(RT_ROWS_MAX * COLUMNS_LD) * size);
}

static rt_status infer(rt_graph *g, rt_node *n) {
    rt_dtype compute;
    RT_TRY(rt_infer_compute(g, n, &compute));
    RT_TRY(rt_infer_contract(g, n));
    RT_TRY(rt_infer_dtype(g, n, X, n->prec.in));
    RT_TRY(rt_infer_shape(g, n, X, 2, (int64_t[]){-1, -1}));
    int64_t N = rt_infer_in(g, n, X)->dim[0], K = rt_infer_in(g, n, X)->dim[1], O = 0;
    n->prepare_tasks = 0;
    for (int i = 0; i < weight_count(n); i++) {
        RT_TRY(check_weight(g, n, i, K));
        O += rt_infer_in(g, n, W0 + i)->dim[0];
        n->prepare_tasks += blocks_of(rt_infer_in(g, n, W0 + i)->dim[0]);
    }
    if (rt_infer_has(n, RESIDUAL)) {
        RT_TRY(rt_infer_dtype(g, n, RESIDUAL, n->prec.out));
        RT_TRY(rt_infer_shape(g, n, RESIDUAL, 2, (int64_t[]){N, O}));
    }
    n->few = rt_infer_few_rows(g, n);
    if (n->few) rt_linear_few_size(n, N, K);
    else size_scratch(g, n, N, K, O);
    return rt_infer_out(g, n, 0, n->prec.out, 2, (int64_t[]){N, O});
}

/* Task -> weight i and its outputs [n0, n1); *column is where they stand in the panel. */
static int find_block(const rt_call *c, int64_t task, int64_t *n0, int64_t *n1, int64_t *column) {
    int i = 0;
    for (*column = 0; task >= blocks_of(c->in[W0 + i].dim[0]); i++) {
        task -= blocks_of(c->in[W0 + i].dim[0]);
        *column += c->in[W0 + i].dim[0];
    }
    *n0 = task * BLOCK;
    *n1 = *n0 + BLOCK < c->in[W0 + i].dim[0] ? *n0 + BLOCK : c->in[W0 + i].dim[0];
    *column += *n0;
    return i;
}

/* What the cache holds is not read from the weight again: where that is a mapped file, its pages go. */
static void done_with(const rt_call *c, const rt_tensor *w, int64_t n0, int64_t n1) {
    if (c->cache) rt_file_drop(rt_row_ptr(w, n0), (size_t)((n1 - n0) * w->dim[1]) * rt_dtype_size(w->dtype));
}
/* First use: the panel from the weight as it lies, and from it the cache, half [K,O]. */
static void half_block(const rt_call *c, const rt_tensor *w, int64_t n0, int64_t n1, int64_t column, float *panel, int64_t ld) {
    int64_t K = w->dim[1], O = c->out[0].dim[1];
    const rt_f16 *natural = (const rt_f16 *)w->data + n0 * K; /* both half types have two bytes */
    rt_panel_from_natural(w->dtype, natural, K, n1 - n0, K, panel + column, ld);
    for (int64_t k = 0; c->cache && k < K; k++) /* exact: a half number in f32 */
        rt_rows_store_f32(w->dtype, panel + k * ld + column, (rt_f16 *)c->cache + k * O + column, n1 - n0);
    done_with(c, w, n0, n1);
}
/* From the cache: whole rows, a fifth faster than blocks of columns. */
static void half_rows(const rt_call *c, int64_t task, float *panel, int64_t ld) {
    int64_t K = c->in[X].dim[1], O = c->out[0].dim[1], k0 = K * task / c->node->prepare_tasks, k1 = K * (task + 1) / c->node->prepare_tasks;
    rt_panel_from_packed(c->in[W0].dtype, (const rt_f16 *)c->cache + k0 * O, k1 - k0, O, panel + k0 * ld, ld);
}

#define RT_BODY "ops/linear.c"
#include "kernels/for_each_type.h"

static void prepare(const rt_call *c, int64_t task, int worker) {
    (void)worker;
    RT_BY_TYPE(c, make_block, c, task);
}
static void forward_rows(const rt_call *c, int64_t r0, int64_t r1, int worker) { RT_BY_TYPE(c, rows, c, r0, r1, worker); }
static void backward(const rt_call *c) { RT_BY_TYPE(c, back, c); }

static void work(const rt_graph *g, const rt_node *n, rt_work *forward, rt_work *backward) {
    double rows = 2 * (double)rt_tensor_count(rt_infer_in(g, n, X)); /* flops of one output column */
    rt_work_operands(g, n, forward, backward);
    for (int i = 0; i < weight_count(n); i++) {
        double product = rows * (double)rt_infer_in(g, n, W0 + i)->dim[0];
        forward->flops += product;
        backward->flops += product * (rt_work_wants(g, n, X) + rt_work_wants(g, n, W0 + i));
    }
}

const rt_op rt_op_linear = {.name = "linear", .n_in = INPUTS, .n_out = 1,
                            .optional = RT_IN(RESIDUAL) | RT_IN(W0 + 1) | RT_IN(W0 + 2) | RT_IN(B0) | RT_IN(B0 + 1) | RT_IN(B0 + 2),
                            .row_in = RT_IN(X) | RT_IN(RESIDUAL), .diff = (1u << INPUTS) - 1,
                            .overwrites = RT_IN(X) | RT_IN(RESIDUAL) | RT_IN(W0) | RT_IN(W0 + 1) | RT_IN(W0 + 2),
                            .saves = RT_IN(X) | RT_IN(W0) | RT_IN(W0 + 1) | RT_IN(W0 + 2), .infer = infer, .work = work, .prepare = prepare,
                            .forward_rows = forward_rows, .forward = rt_linear_few, .backward = backward};

rt_ref rt_linear_cat(rt_graph *g, rt_ref x, const rt_ref *w, const rt_ref *bias, int count, rt_prec p, const char *role) {
    rt_ref in[INPUTS] = {[X] = x};
    for (int i = 0; i < count && i < WEIGHTS; i++) in[W0 + i] = w[i], in[B0 + i] = bias ? bias[i] : RT_NULL;
    return rt_graph_add(g, &rt_op_linear, role, p, NULL, 0, in, INPUTS, NULL);
}
rt_ref rt_linear(rt_graph *g, rt_ref x, rt_ref w, rt_prec p, const char *role) { return rt_linear_cat(g, x, &w, NULL, 1, p, role); }
rt_ref rt_linear_residual(rt_graph *g, rt_ref x, rt_ref w, rt_ref residual, rt_prec p, const char *role) {
    return rt_graph_add(g, &rt_op_linear, role, p, NULL, 0, (rt_ref[]){x, residual, w}, 3, NULL);
}
#else
static T *F(panel_of)(const rt_call *c) { return c->cache && c->in[W0].dtype == RT_T ? c->cache : c->scratch; }

static void F(make_block)(const rt_call *c, int64_t task) {
    int64_t n0, n1, column, ld = rt_panel_ld(c->out[0].dim[1]);
    if (c->cache_ready && rt_dtype_is_half(c->in[W0].dtype)) {
        half_rows(c, task, c->scratch, ld);
        return;
    }
    const rt_tensor *w = &c->in[W0 + find_block(c, task, &n0, &n1, &column)];
    if (rt_dtype_is_half(w->dtype)) half_block(c, w, n0, n1, column, c->scratch, ld);
    else if (!c->cache || !c->cache_ready) {
        F(rt_transpose)((const T *)w->data + n0 * w->dim[1], w->dim[1], n1 - n0, w->dim[1], F(panel_of)(c) + column, ld);
        done_with(c, w, n0, n1);
    }
}

/* All biases side by side, zeros where there is none; NULL when there is none at all. */
static const T *F(bias_row)(const rt_call *c, char **s) {
    int64_t column = 0;
    T *bias = rt_take(s, (size_t)c->out[0].dim[1] * sizeof(T));
    bool any = false;
    for (int i = 0; i < WEIGHTS && c->in[W0 + i].data; column += c->in[W0 + i++].dim[0]) {
        const rt_tensor *b = &c->in[B0 + i];
        if (b->data) F(rt_rows_load)(b->dtype, b->data, bias + column, b->dim[0]), any = true;
        else memset(bias + column, 0, (size_t)c->in[W0 + i].dim[0] * sizeof(T));
    }
    return any ? bias : NULL;
}

/* Columns c0..c0+n of y, a block at a time: what is rounded is still in the cache. */
static void *F(columns_at)(const rt_tensor *t, int64_t row, int64_t c0) { return (char *)rt_row_ptr(t, row) + (size_t)c0 * rt_dtype_size(t->dtype); }
static void F(load_columns)(const rt_tensor *t, int64_t r0, int64_t rows, int64_t c0, int64_t n, T *to, int64_t ld) {
    for (int64_t i = 0; i < rows; i++) F(rt_rows_load)(t->dtype, F(columns_at)(t, r0 + i, c0), to + i * ld, n);
}
static void F(store_columns)(const rt_call *c, int64_t r0, int64_t rows, int64_t c0, int64_t n, const T *from, int64_t ld) {
    const rt_tensor *t = &c->out[0];
    bool overflow = false;
    for (int64_t i = 0; i < rows; i++) overflow |= F(rt_rows_store)(t->dtype, from + i * ld, F(columns_at)(t, r0 + i, c0), n);
    if (overflow) rt_call_overflow(c, t);
}

static void F(rows)(const rt_call *c, int64_t r0, int64_t r1, int worker) {
    char *s = rt_scratch(worker);
    const rt_tensor *residual = &c->in[RESIDUAL];
    bool direct = c->out[0].dtype == RT_T;
    int64_t n = r1 - r0, K = c->in[X].dim[1], O = c->out[0].dim[1], panel_ld = rt_panel_ld(O), ld = direct ? O : COLUMNS_LD;
    void *scratch = rt_take(&s, F(rt_rows_scratch)(K));
    const T *x = F(rt_tile_in)(&c->in[X], r0, n, &s), *bias = F(bias_row)(c, &s);
    for (int64_t c0 = 0; c0 < O; c0 += RT_TILE_COLUMNS) {
        int64_t columns = O - c0 < RT_TILE_COLUMNS ? O - c0 : RT_TILE_COLUMNS;
        T *y = direct ? F(columns_at)(&c->out[0], r0, c0) : (T *)(void *)s;
        if (residual->data) F(load_columns)(residual, r0, n, c0, columns, y, ld);
        F(rt_product) p = {n, columns, K, x, K, F(panel_of)(c) + c0, panel_ld, y, ld, residual->data != NULL};
        F(rt_rows_range)(&p, 0, n, scratch);
        for (int64_t i = 0; bias && i < n; i++) F(rt_rows)()->add(y + i * ld, bias + c0, y + i * ld, columns);
        if (!direct) F(store_columns)(c, r0, n, c0, columns, y, ld);
    }
}

/* -------------------------------------------------------------- backward */

typedef struct F(block_load) {
    const rt_tensor *t;
    T *to;
} F(block_load);
static void F(load_block)(void *context, int64_t task, int worker) {
    (void)worker;
    const F(block_load) *b = context;
    int64_t columns = rt_columns(b->t), r0 = task * BLOCK, n = b->t->dim[0] - r0 < BLOCK ? b->t->dim[0] - r0 : BLOCK;
    F(rt_rows_load)(b->t->dtype, rt_row_ptr(b->t, r0), b->to + r0 * columns, n * columns);
}
/* The whole tensor as T: itself, or converted into `to`. */
static const T *F(whole)(const rt_tensor *t, T *to) {
    if (t->dtype == RT_T) return t->data;
    F(block_load) b = {t, to};
    rt_parallel((t->dim[0] + BLOCK - 1) / BLOCK, F(load_block), &b);
    return to;
}

typedef struct F(bias_sum) {
    const rt_call *c;
    T *partial;
} F(bias_sum);
static void F(bias_block)(void *context, int64_t task, int worker) {
    (void)worker;
    const F(bias_sum) *b = context;
    int64_t O = b->c->out[0].dim[1], N = b->c->out[0].dim[0], end = (task + 1) * BIAS_BLOCK < N ? (task + 1) * BIAS_BLOCK : N;
    T *sum = b->partial + task * O;
    memset(sum, 0, (size_t)O * sizeof(T));
    for (int64_t i = task * BIAS_BLOCK; i < end; i++) F(rt_rows)()->add(sum, (const T *)b->c->dout[0].data + i * O, sum, O);
}
static void F(back_bias)(const rt_call *c, T *partial) {
    int64_t O = c->out[0].dim[1], blocks = (c->out[0].dim[0] + BIAS_BLOCK - 1) / BIAS_BLOCK, column = 0;
    if (!c->din[B0].data && !c->din[B0 + 1].data && !c->din[B0 + 2].data) return;
    rt_parallel(blocks, F(bias_block), &(F(bias_sum)){c, partial});
    for (int i = 0; i < WEIGHTS && c->in[W0 + i].data; column += c->in[W0 + i++].dim[0]) {
        T *db = c->din[B0 + i].data;
        for (int64_t b = 0; db && b < blocks; b++) F(rt_rows)()->add(db, partial + b * O + column, db, c->in[W0 + i].dim[0]);
    }
}

static void F(back)(const rt_call *c) {
    char *s = c->scratch;
    int64_t N = c->in[X].dim[0], K = c->in[X].dim[1], O = c->out[0].dim[1], column = 0;
    T *weight = rt_take(&s, (size_t)(K * rt_panel_ld(O)) * sizeof(T));
    T *partial = rt_take(&s, (size_t)((N + BIAS_BLOCK - 1) / BIAS_BLOCK * O) * sizeof(T));
    const T *dy = c->dout[0].data, *x = NULL;
    for (int i = 0; i < WEIGHTS && c->in[W0 + i].data; column += c->in[W0 + i++].dim[0]) {
        const rt_tensor *w = &c->in[W0 + i];
        if (c->din[X].data) {
            F(rt_product) dx = {N, K, w->dim[0], dy + column, O, F(whole)(w, weight), K, c->din[X].data, K, i > 0 || !rt_is_fresh(c, X)};
            F(rt_rows_product)(&dx);
        }
        if (!c->din[W0 + i].data) continue;
        if (!x) x = F(whole)(&c->in[X], (T *)s);
        F(rt_product) dw = {N, w->dim[0], K, x, K, dy + column, O, c->din[W0 + i].data, K, !rt_is_fresh(c, W0 + i)};
        F(rt_weights_product)(&dw);
    }
    if (c->din[RESIDUAL].data) rt_add_gradient(c, RESIDUAL, &c->dout[0]);
    F(back_bias)(c, partial);
}
#endif
