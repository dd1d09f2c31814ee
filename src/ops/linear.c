/* linear: y = round_out( acc(x [W1;W2;W3]^T) + residual + bias ).
 * x [N,K], Wi [Oi,K], residual [N,O], bi [Oi] -> y [N,O], O = sum Oi.
 * dx = dy W;  dWi = dyi^T x;  dresidual = dy;  dbi = column sums of dyi (blocks of 64 rows, summed in order).
 *
 * Products run on one form of panel, f32 (f64) [K, O] with padded rows: 'N','N' with such a panel is 10 % faster than 'N','T'
 * on the weight as it lies (docs/log.md). `prepare` makes the panel, in blocks of 128 outputs. For constant weights the
 * cache keeps it (f32, or half with rt_graph_cache_panels), or the half weight as [K,O] (the conversion is then straight); the
 * bits are the same.
 * Few rows, when asked for: linear_few.c; forward by half instructions, where there are any: linear_half.c. Backward keeps x and W. */
#ifndef T
#include "ops/linear.h"
#include <retort/base/file.h>
#include <retort/ops/ops.h>
#include <string.h>

enum { WEIGHTS = RT_LINEAR_WEIGHTS, X = RT_LINEAR_X, RESIDUAL = RT_LINEAR_RESIDUAL, W0 = RT_LINEAR_W, B0 = RT_LINEAR_BIAS, INPUTS = RT_LINEAR_INPUTS,
       BLOCK = 128, BIAS_BLOCK = 64, COLUMNS_LD = RT_TILE_COLUMNS + 16 /* see rt_panel_ld */ };
_Static_assert((int)RT_COLUMNS_MAX == (int)RT_TILE_COLUMNS, "a block holds what is handed on");

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

/* The panel [K, O], or, backward, the weights as rows [O, K] in T. */
static size_t panel_elements(int64_t K, int64_t O) {
    int64_t forward_size = K * rt_panel_ld(O), backward_size = O * rt_panel_ld(K);
    return (size_t)(forward_size > backward_size ? forward_size : backward_size);
}

/* Scratch: the panel, then bias partial sums, then x in T if it is half (backward). */
static void size_scratch(rt_graph *g, rt_node *n, int64_t N, int64_t K, int64_t O) {
    size_t size = rt_compute_size(n), panel = rt_align64(panel_elements(K, O) * size);
    bool constant = true, half = rt_dtype_is_half(n->prec.weight);
    for (int i = 0; i < weight_count(n); i++) constant &= rt_infer_constant(g, n, W0 + i);
    n->panels = !half || rt_infer_cache_panels(g);
    n->cache = !constant ? 0 : n->panels ? rt_align64((size_t)(K * rt_panel_ld(O)) * size) : (size_t)(K * O) * 2;
    n->scratch = panel + rt_align64((size_t)((N + BIAS_BLOCK - 1) / BIAS_BLOCK * O) * size);
    if (rt_infer_differentiated(g, n) && n->prec.in != n->prec.acc) n->scratch += rt_align64((size_t)(N * K) * size);
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
    if (!n->few) RT_TRY(rt_linear_half_infer(g, n, K));
    return rt_infer_out(g, n, 0, n->prec.out, 2, (int64_t[]){N, O});
}

static int64_t all_blocks(const rt_call *c) {
    int64_t count = 0;
    for (int i = 0; i < WEIGHTS && c->in[W0 + i].data; i++) count += blocks_of(c->in[W0 + i].dim[0]);
    return count;
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
    for (int64_t k = 0; c->cache && !c->node->panels && k < K; k++) /* exact: a half number in f32 */
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
    if (c->node->half) rt_linear_half_prepare(c, task);
    else RT_BY_TYPE(c, make_block, c, task);
}
static void forward_rows(const rt_call *c, int64_t r0, int64_t r1, int worker) {
    if (c->node->half) rt_linear_half_rows(c, r0, r1, worker);
    else RT_BY_TYPE(c, rows, c, r0, r1, worker);
}
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
                            .row_in = RT_IN(X) | RT_IN(RESIDUAL), .diff = (1u << INPUTS) - 1, .flags = RT_OP_COLUMNS,
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
static T *F(panel_of)(const rt_call *c) { return c->cache && c->node->panels ? c->cache : c->scratch; }

static void F(make_block)(const rt_call *c, int64_t task) {
    int64_t n0, n1, column, ld = rt_panel_ld(c->out[0].dim[1]);
    if (c->cache_ready) { /* panels: nothing to do */
        if (!c->node->panels) half_rows(c, task, c->scratch, ld);
        return;
    }
    const rt_tensor *w = &c->in[W0 + find_block(c, task, &n0, &n1, &column)];
    if (rt_dtype_is_half(w->dtype)) half_block(c, w, n0, n1, column, (float *)(void *)F(panel_of)(c), ld);
    else {
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

/* One tile of rows. */
typedef struct F(rows_call) {
    const rt_call *c;
    int64_t r0, n;
    const T *x, *bias;
    void *scratch;
    T *y; /* a block of columns, where these do not go straight into the output */
} F(rows_call);
/* Columns c0..c0+columns of x W + residual + bias, before rounding. */
static void F(block)(const F(rows_call) * t, int64_t c0, int64_t columns, T *y, int64_t ld) {
    const rt_call *c = t->c;
    const rt_tensor *residual = &c->in[RESIDUAL];
    int64_t K = c->in[X].dim[1];
    if (residual->data) F(load_columns)(residual, t->r0, t->n, c0, columns, y, ld);
    F(rt_product) p = {t->n, columns, K, t->x, K, F(panel_of)(c) + c0, rt_panel_ld(c->out[0].dim[1]), y, ld, residual->data != NULL};
    F(rt_rows_range)(&p, 0, t->n, t->scratch);
    for (int64_t i = 0; t->bias && i < t->n; i++) F(rt_rows)()->add(y + i * ld, t->bias + c0, y + i * ld, columns);
}
static void F(store_rows)(const F(rows_call) * t) {
    const rt_tensor *out = &t->c->out[0];
    bool direct = out->dtype == RT_T, overflow = false;
    int64_t O = out->dim[1];
    for (int64_t c0 = 0; c0 < O; c0 += RT_TILE_COLUMNS) {
        int64_t columns = O - c0 < RT_TILE_COLUMNS ? O - c0 : RT_TILE_COLUMNS, ld = direct ? O : COLUMNS_LD;
        T *y = direct ? F(columns_at)(out, t->r0, c0) : t->y;
        F(block)(t, c0, columns, y, ld);
        for (int64_t i = 0; i < t->n; i++) overflow |= F(rt_store)(t->c, out, y + i * ld, F(columns_at)(out, t->r0 + i, c0), columns);
    }
    if (overflow) rt_call_overflow(t->c, out);
}
/* Blocks with the same columns of each part, handed on a few rows at a time: what the taker does with them is done in the first cache. */
static void F(hand_rows_on)(const F(rows_call) * t) {
    const rt_tensor *out = &t->c->out[0];
    int64_t parts = rt_call_parts(t->c), unit = rt_call_unit(t->c), width = out->dim[1] / parts, step = RT_TILE_COLUMNS / (parts * unit) * unit;
    bool overflow = false;
    for (int64_t c0 = 0; c0 < width; c0 += step) {
        int64_t n = width - c0 < step ? width - c0 : step;
        for (int64_t p = 0; p < parts; p++) F(block)(t, p * width + c0, n, t->y + p * n, COLUMNS_LD);
        for (RT_HOT_ROWS(r, 0, t->n)) {
            rt_columns_made made = {t->y + r * COLUMNS_LD, t->c->node->prec.out, COLUMNS_LD, t->r0 + r, t->r0 + rt_hot_end(r, t->n), c0, n};
            overflow |= rt_call_hand_on(t->c, &made);
        }
    }
    if (overflow) rt_call_overflow(t->c, out);
}

static void F(rows)(const rt_call *c, int64_t r0, int64_t r1, int worker) {
    char *s = rt_scratch(worker);
    F(rows_call) t = {.c = c, .r0 = r0, .n = r1 - r0, .scratch = rt_take(&s, F(rt_rows_scratch)(c->in[X].dim[1]))};
    t.x = F(rt_tile_in)(&c->in[X], r0, t.n, &s);
    t.bias = F(bias_row)(c, &s);
    t.y = (T *)(void *)s;
    if (c->next) F(hand_rows_on)(&t);
    else F(store_rows)(&t);
}

/* -------------------------------------------------------------- backward */

typedef struct F(back_plan) {
    const rt_call *c;
    T *weight; /* [O, rt_panel_ld(K)]: W1..W3 one below the other */
    T *x;      /* [N, K], of half x */
    int64_t weight_tasks, x_tasks;
} F(back_plan);
static void F(weight_block)(const F(back_plan) * b, int64_t task) {
    int64_t n0, n1, row, K = b->c->in[X].dim[1], ld = rt_panel_ld(K);
    const rt_tensor *w = &b->c->in[W0 + find_block(b->c, task, &n0, &n1, &row)];
    for (int64_t n = n0; n < n1; n++) F(rt_rows_load)(w->dtype, rt_row_ptr(w, n), b->weight + (row + n - n0) * ld, K);
}
static void F(x_block)(const F(back_plan) * b, int64_t task) {
    const rt_tensor *x = &b->c->in[X];
    int64_t K = x->dim[1], r0 = task * BLOCK, n = x->dim[0] - r0 < BLOCK ? x->dim[0] - r0 : BLOCK;
    F(rt_rows_load)(x->dtype, rt_row_ptr(x, r0), b->x + r0 * K, n * K);
}
static void F(load_task)(void *context, int64_t task, int worker) {
    const F(back_plan) *b = context;
    (void)worker;
    if (task < b->weight_tasks) F(weight_block)(b, task);
    else F(x_block)(b, task - b->weight_tasks);
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

/* dX = dY [W1;W2;W3]: one product. A weight alone, in T, is used as it lies. */
static F(rt_product) F(back_rows)(const F(back_plan) * b) {
    const rt_call *c = b->c;
    int64_t K = c->in[X].dim[1], O = c->out[0].dim[1];
    F(rt_product) p = {c->in[X].dim[0], K, O, c->dout[0].data, O, b->weight, rt_panel_ld(K), c->din[X].data, K, !rt_is_fresh(c, X)};
    if (b->weight_tasks == 0) p.w = c->in[W0].data, p.ldw = K;
    return p;
}
static void F(back_products)(const F(back_plan) * b) {
    const rt_call *c = b->c;
    int64_t N = c->in[X].dim[0], K = c->in[X].dim[1], O = c->out[0].dim[1], column = 0;
    const T *dy = c->dout[0].data, *x = b->x_tasks > 0 ? b->x : c->in[X].data;
    F(rt_product_set) set = {.count = 0};
    for (int i = 0; i < WEIGHTS && c->in[W0 + i].data; column += c->in[W0 + i++].dim[0]) {
        F(rt_product) dw = {N, c->in[W0 + i].dim[0], K, x, K, dy + column, O, c->din[W0 + i].data, K, !rt_is_fresh(c, W0 + i)};
        if (dw.y) F(rt_set_weights)(&set, &dw);
    }
    F(rt_product) dx = F(back_rows)(b);
    if (dx.y) F(rt_set_rows)(&set, &dx);
    F(rt_set_run)(&set);
}

static void F(back)(const rt_call *c) {
    char *s = c->scratch;
    int64_t N = c->in[X].dim[0], K = c->in[X].dim[1], O = c->out[0].dim[1];
    bool trained = c->din[W0].data || c->din[W0 + 1].data || c->din[W0 + 2].data;
    F(back_plan) b = {.c = c};
    b.weight = rt_take(&s, panel_elements(K, O) * sizeof(T));
    T *partial = rt_take(&s, (size_t)((N + BIAS_BLOCK - 1) / BIAS_BLOCK * O) * sizeof(T));
    b.x = (T *)(void *)s;
    if (c->din[X].data && (c->in[W0 + 1].data || c->in[W0].dtype != RT_T)) b.weight_tasks = all_blocks(c);
    if (trained && c->in[X].dtype != RT_T) b.x_tasks = (N + BLOCK - 1) / BLOCK;
    rt_parallel(b.weight_tasks + b.x_tasks, F(load_task), &b);
    F(back_products)(&b);
    if (c->din[RESIDUAL].data) rt_add_gradient(c, RESIDUAL, &c->dout[0]);
    F(back_bias)(c, partial);
}
#endif
