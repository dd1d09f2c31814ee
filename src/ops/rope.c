/* rope.c - rotary positions: each pair of a head is turned by an angle that grows with the row's position.
 *
 *   (y[i], y[i+d/2]) = (x[i] cos - x[i+d/2] sin,  x[i+d/2] cos + x[i] sin),   cos, sin = tables[position[n]][i],  i < d/2
 *
 * for each of the first `heads` heads (d = head_dim columns, halves layout); further columns are copied. Computed in `acc`,
 * one rounding to `out`. Backward turns back: dx += R^T dy, so it reads the tables and never x.
 * Su et al. 2021 (RoFormer), eq. 34. The tables are the model's: they carry the base and any scaling of long contexts. */
#ifndef T
#include <retort/ops/ops.h>
#include "ops/common.h"
#include <string.h>

enum { X, POSITION, COS, SIN };
enum { BLOCK = 64, LANES = 16 }; /* rows of a backward task; what the rounding kernel goes by */

typedef struct rope_attr {
    int64_t heads, head_dim;
} rope_attr;

/* The row of the tables for row n of x, or -1 after a failure (the tables are from the model, the positions from the data). */
static int64_t table_row(const rt_call *c, int64_t n) {
    int32_t p = ((const int32_t *)c->in[POSITION].data)[n];
    if (p >= 0 && p < c->in[COS].dim[0]) return p;
    rt_call_fail(c, RT_E_ARG, "position %d of row %lld is outside the tables, which have %lld rows", (int)p, (long long)n,
                 (long long)c->in[COS].dim[0]);
    return -1;
}

/* How many of `count` heads' worth of columns are heads, the first of which is `head`. */
static int64_t heads_among(const rt_call *c, int64_t head, int64_t count) {
    int64_t left = RT_ATTR(rope_attr, c)->heads - head;
    return left < 0 ? 0 : left < count ? left : count;
}

#define RT_BODY "ops/rope.c"
#include "kernels/for_each_type.h"

static rt_status infer(rt_graph *g, rt_node *n) {
    const rope_attr *a = n->attr;
    const rt_tensor *x = rt_infer_in(g, n, X);
    n->prec.weight = RT_NONE;
    RT_TRY(rt_infer_contract(g, n));
    RT_TRY(rt_infer_dtype(g, n, X, n->prec.in));
    RT_TRY(rt_infer_dtype(g, n, POSITION, RT_I32));
    RT_TRY(rt_infer_dtype(g, n, COS, n->prec.acc));
    RT_TRY(rt_infer_dtype(g, n, SIN, n->prec.acc));
    RT_TRY(rt_infer_shape(g, n, X, 2, (int64_t[]){-1, -1}));
    if (a->heads < 1 || a->head_dim < 2 || a->head_dim % 2 || a->heads > x->dim[1] / a->head_dim)
        return rt_infer_fail(g, n, RT_E_SHAPE, "%lld heads of %lld columns do not fit into rows of %lld columns (head_dim must be even)",
                             (long long)a->heads, (long long)a->head_dim, (long long)x->dim[1]);
    RT_TRY(rt_infer_shape(g, n, POSITION, 1, (int64_t[]){x->dim[0]}));
    RT_TRY(rt_infer_shape(g, n, COS, 2, (int64_t[]){-1, a->head_dim / 2}));
    RT_TRY(rt_infer_shape(g, n, SIN, 2, (int64_t[]){rt_infer_in(g, n, COS)->dim[0], a->head_dim / 2}));
    int64_t rows = x->dim[0], columns = x->dim[1]; /* x moves when an output is added */
    RT_TRY(rt_infer_out(g, n, 0, n->prec.out, 2, (int64_t[]){rows, columns}));
    n->worker_scratch = rt_tile_scratch(n, rt_graph_value(g, n->out[0]));
    size_t row = rt_align64((size_t)columns * rt_compute_size(n));
    if (n->worker_scratch < row) n->worker_scratch = row; /* backward: one row */
    n->parts = 1, n->unit = a->head_dim;
    return RT_OK;
}

static void forward_rows(const rt_call *c, int64_t r0, int64_t r1, int worker) {
    for (RT_HOT_ROWS(r, r0, r1)) RT_BY_TYPE(c, rotate_rows, c, r, rt_hot_end(r, r1), worker);
}

/* In one pass, where what is taken is stored as the half type that it is of. */
static bool one_pass(const rt_call *c, const rt_columns_made *made) {
    return rt_dtype_is_half(made->dtype) && c->out[0].dtype == made->dtype && RT_ATTR(rope_attr, c)->head_dim % (2 * LANES) == 0;
}
/* Of one row: the heads among the columns, then what is no head. */
static unsigned rotate_rounded(const rt_call *c, const rt_columns_made *made, int64_t row) {
    int64_t d = RT_ATTR(rope_attr, c)->head_dim, heads = heads_among(c, made->c0 / d, made->n / d), p = table_row(c, row);
    if (p < 0) return 0;
    const float *x = (const float *)made->x + (row - made->r0) * made->ld;
    const float *cosine = (const float *)c->in[COS].data + p * d / 2, *sine = (const float *)c->in[SIN].data + p * d / 2;
    rt_f16 *y = (rt_f16 *)rt_row_ptr(&c->out[0], row) + made->c0; /* both half types have two bytes */
    unsigned over = rt_rounded(made->dtype)->rope(x, cosine, sine, d / 2, heads, y);
    if (rt_rows_store_f32(made->dtype, x + heads * d, y + heads * d, made->n - heads * d)) over |= RT_OVER_TAKEN;
    return over;
}
static bool columns_rounded(const rt_call *c, const rt_columns_made *made) {
    unsigned over = 0;
    for (int64_t r = made->r0; r < made->r1; r++) over |= rotate_rounded(c, made, r);
    if (over & RT_OVER_MADE) rt_call_overflow(c, &c->out[0]);
    return over & RT_OVER_TAKEN;
}
static bool forward_columns(const rt_call *c, const rt_columns_made *made) {
    if (one_pass(c, made)) return columns_rounded(c, made);
    return RT_BY_TYPE(c, rotate_columns, c, made);
}

static void backward_block(void *context, int64_t block, int worker) {
    const rt_call *c = context;
    int64_t r0 = block * BLOCK, r1 = r0 + BLOCK < c->in[X].dim[0] ? r0 + BLOCK : c->in[X].dim[0];
    RT_BY_TYPE(c, rotate_back, c, r0, r1, worker);
}
static void backward(const rt_call *c) {
    rt_parallel((c->dout[0].dim[0] + BLOCK - 1) / BLOCK, backward_block, (void *)(uintptr_t)c);
}

/* Of the tables at most one row a position. */
static void work(const rt_graph *g, const rt_node *n, rt_work *forward, rt_work *backward) {
    const rt_tensor *table = rt_infer_in(g, n, COS), *position = rt_infer_in(g, n, POSITION);
    int64_t rows = position->dim[0] < table->dim[0] ? position->dim[0] : table->dim[0];
    double tables = 2 * (double)(rows * table->dim[1]) * (double)rt_dtype_size(table->dtype);
    rt_work_values(g, n, RT_IN(X) | RT_IN(POSITION) | RT_OUT(0), forward);
    rt_work_values(g, n, RT_IN(POSITION), backward);
    rt_work_gradients(g, n, RT_IN(X) | RT_OUT(0), backward);
    forward->bytes += tables;
    backward->bytes += tables;
}

const rt_op rt_op_rope = {
    .name = "rope", .n_in = 4, .n_out = 1,
    .row_in = RT_IN(X) | RT_IN(POSITION),
    .diff = RT_IN(X),
    .overwrites = RT_IN(X),
    .saves = RT_IN(POSITION) | RT_IN(COS) | RT_IN(SIN),
    .infer = infer, .work = work, .forward_rows = forward_rows, .forward_columns = forward_columns, .backward = backward,
};

rt_ref rt_rope(rt_graph *g, rt_ref x, rt_ref position, rt_ref cos, rt_ref sin, int64_t heads, int64_t head_dim, rt_prec p, const char *role) {
    return rt_graph_add(g, &rt_op_rope, role, p, &(rope_attr){heads, head_dim}, sizeof(rope_attr), (rt_ref[]){x, position, cos, sin}, 4, NULL);
}

#else

/* Turns heads of one row in place, the first of which is `head`: direction 1 forward, -1 back. */
static void F(rotate)(const rt_call *c, int64_t row, int64_t head, int64_t count, T direction, T *y) {
    const rope_attr *a = RT_ATTR(rope_attr, c);
    int64_t p = table_row(c, row), half = a->head_dim / 2, heads = heads_among(c, head, count);
    if (p < 0) return;
    const T *cosine = (const T *)c->in[COS].data + p * half, *sine = (const T *)c->in[SIN].data + p * half;
    F(rt_rows)()->rope(y, cosine, sine, half, heads, direction);
}
static bool F(rotate_columns)(const rt_call *c, const rt_columns_made *made) {
    const rt_tensor *y = &c->out[0];
    int64_t d = RT_ATTR(rope_attr, c)->head_dim;
    bool overflow = false, taken = F(rt_columns_round)(made, 1);
    for (int64_t r = made->r0; r < made->r1; r++) {
        T *x = (T *)made->x + (r - made->r0) * made->ld;
        F(rotate)(c, r, made->c0 / d, made->n / d, 1, x);
        overflow |= F(rt_store)(c, y, x, (char *)rt_row_ptr(y, r) + (size_t)made->c0 * rt_dtype_size(y->dtype), made->n);
    }
    if (overflow) rt_call_overflow(c, y);
    return taken;
}

static void F(rotate_rows)(const rt_call *c, int64_t r0, int64_t r1, int worker) {
    const rt_tensor *x = &c->in[X], *y = &c->out[0];
    int64_t columns = rt_columns(x);
    char *scratch = rt_scratch(worker);
    T *rows = F(rt_tile_out)(y, r0, r1 - r0, &scratch);
    F(rt_rows_load)(x->dtype, rt_row_ptr(x, r0), rows, (r1 - r0) * columns);
    for (int64_t r = r0; r < r1; r++) F(rotate)(c, r, 0, RT_ATTR(rope_attr, c)->heads, 1, rows + (r - r0) * columns);
    F(rt_tile_done)(c, y, r0, r1 - r0, rows);
}

static void F(rotate_back)(const rt_call *c, int64_t r0, int64_t r1, int worker) {
    int64_t columns = rt_columns(&c->dout[0]);
    T *row = rt_scratch(worker);
    for (int64_t r = r0; r < r1; r++) {
        T *dx = rt_row_ptr(&c->din[X], r);
        T *turned = rt_is_fresh(c, X) ? dx : row;
        memcpy(turned, rt_row_ptr(&c->dout[0], r), (size_t)columns * sizeof(T));
        F(rotate)(c, r, 0, RT_ATTR(rope_attr, c)->heads, -1, turned);
        if (turned != dx) F(rt_rows)()->add(dx, row, dx, columns);
    }
}
#endif
