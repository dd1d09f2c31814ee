/* linear_half.c - linear's forward pass where x and every W are of one half type and the processor multiplies halves (kernels/half.h):
 * y = round_out( acc(x W^T) + residual + bias ), x as it lies, no f32 panels. Backward is that of linear.c, dy being f32.
 *
 * Each weight is cut, by its shape alone, into pieces of at most RT_HALF_COLUMNS outputs, packed by `prepare` in the library's order: into the cache
 * once, for constant weights, else into scratch on every run. Rows go in sixteens, the rest padded with zeros, so a row's bits
 * depend neither on its place nor on its company; a shape for which that does not hold is not in kernels/half.h. */
#include "ops/linear.h"
#include "kernels/half.h"
#include <retort/base/file.h>
#include <string.h>

typedef struct piece {
    int weight;
    int64_t first, columns, at; /* outputs [first, first + columns) of the weight; column of y */
    size_t panel;               /* where its panel begins */
} piece;

/* A piece's width where `left` outputs are left: the last two share what would make a very narrow last one. */
static int64_t width_of(int64_t left) {
    if (left <= RT_HALF_COLUMNS) return left;
    return left < RT_HALF_COLUMNS + RT_HALF_LEAST ? rt_round16((left + 1) / 2) : RT_HALF_COLUMNS;
}
/* The piece after q, all zeros before the first. w: the weights, those absent without data or rows. */
static bool next_piece(const rt_tensor *w, rt_dtype half, piece *q) {
    if (q->columns > 0) {
        q->panel += rt_align64(rt_half_panel_bytes(rt_half_known(half, q->columns, w[q->weight].dim[1])));
        q->first += q->columns, q->at += q->columns;
        if (q->first == w[q->weight].dim[0]) q->weight++, q->first = 0;
    }
    if (q->weight == RT_LINEAR_WEIGHTS || w[q->weight].ndim == 0) return false;
    q->columns = width_of(w[q->weight].dim[0] - q->first);
    return true;
}

/* ------------------------------------------------------------------------- infer */

static rt_status find_all(rt_graph *g, const rt_node *n, const rt_tensor *w, int64_t K, bool *all) {
    rt_error err = {0};
    for (int i = 0; i < RT_LINEAR_WEIGHTS && w[i].ndim; i++) {
        *all &= w[i].dim[0] >= RT_HALF_LEAST;
        for (int64_t left = w[i].dim[0]; *all && left > 0; left -= width_of(left)) {
            const rt_half_product *p;
            if (rt_half_find(n->prec.in, width_of(left), K, &p, &err) != RT_OK) return rt_infer_fail(g, n, err.status, "%s", err.text);
            *all = p != NULL;
        }
    }
    return RT_OK;
}
static size_t largest(size_t a, size_t b) { return a > b ? a : b; }
static void size_half(const rt_graph *g, rt_node *n, const rt_tensor *w, int64_t K) {
    size_t scratch = 0, panels = 0;
    int64_t pieces = 0;
    bool backward = rt_infer_differentiated(g, n);
    for (piece q = {0}; next_piece(w, n->prec.in, &q); pieces++) {
        const rt_half_product *p = rt_half_known(n->prec.in, q.columns, K);
        scratch = largest(scratch, rt_half_scratch(p));
        panels = q.panel + rt_align64(rt_half_panel_bytes(p));
    }
    size_t worker = rt_align64(scratch) + rt_align64((size_t)(RT_ROWS_MAX * K) * 2) + rt_align64(RT_HALF_COLUMNS * sizeof(float)) +
                    rt_align64((size_t)(RT_ROWS_MAX * RT_HALF_LD) * sizeof(float)) + rt_align64(RT_HALF_COLUMNS * sizeof(float));
    n->half = true;
    n->prepare_tasks = pieces;
    if (n->cache) n->cache = panels;
    n->scratch = backward ? largest(n->scratch, panels) : panels;
    n->worker_scratch = backward ? largest(n->worker_scratch, worker) : worker;
    n->kernel = n->prec.in == RT_F16 ? "f16 instructions" : "bf16 instructions";
}
rt_status rt_linear_half_infer(rt_graph *g, rt_node *n, int64_t K) {
    rt_tensor w[RT_LINEAR_WEIGHTS] = {{0}};
    bool all = rt_dtype_is_half(n->prec.in) && n->prec.weight == n->prec.in && K >= RT_HALF_LEAST && rt_half_instructions(n->prec.in);
    if (!all) return RT_OK;
    for (int i = 0; i < RT_LINEAR_WEIGHTS && rt_infer_has(n, RT_LINEAR_W + i); i++) w[i] = *rt_infer_in(g, n, RT_LINEAR_W + i);
    RT_TRY(find_all(g, n, w, K, &all));
    if (all) size_half(g, n, w, K);
    return RT_OK;
}

/* ------------------------------------------------------------------------- running */

static char *panels_of(const rt_call *c) { return c->cache ? c->cache : c->scratch; }
static void no_memory(const rt_call *c) { rt_call_fail(c, RT_E_NOMEM, "out of memory in a product of halves"); }

void rt_linear_half_prepare(const rt_call *c, int64_t task) {
    const rt_tensor *w = &c->in[RT_LINEAR_W];
    piece q = {0};
    if (c->cache && c->cache_ready) return;
    for (int64_t i = 0; i <= task; i++) (void)next_piece(w, c->node->prec.in, &q);
    const rt_tensor *from = &w[q.weight];
    int64_t K = from->dim[1];
    if (!rt_half_pack(rt_half_known(from->dtype, q.columns, K), rt_row_ptr(from, q.first), panels_of(c) + q.panel)) no_memory(c);
    if (c->cache) rt_file_drop(rt_row_ptr(from, q.first), (size_t)(q.columns * K) * 2); /* not read again */
}

/* Rows r0..r0+n as halves, and zeros up to a multiple of 16. Inside a chain they are f32 that is already rounded (exact again). */
static const void *half_rows(const rt_call *c, int64_t r0, int64_t n, char *buffer) {
    const rt_tensor *x = &c->in[RT_LINEAR_X];
    rt_dtype half = c->node->prec.in;
    int64_t K = x->dim[1], all = rt_round16(n);
    if (x->dtype == half && all == n) return rt_row_ptr(x, r0);
    if (x->dtype == half) memcpy(buffer, rt_row_ptr(x, r0), (size_t)(n * K) * 2);
    else (void)rt_rows_store_f32(half, rt_row_ptr(x, r0), buffer, n * K);
    memset(buffer + (size_t)(n * K) * 2, 0, (size_t)((all - n) * K) * 2);
    return buffer;
}
/* One row of the piece: residual and bias added, rounded into place. */
static bool finish(const rt_call *c, const piece *q, int64_t row, float *y, const float *bias, float *spare) {
    const rt_tensor *residual = &c->in[RT_LINEAR_RESIDUAL], *out = &c->out[0];
    if (residual->data) {
        rt_rows_load_f32(residual->dtype, (char *)rt_row_ptr(residual, row) + (size_t)q->at * rt_dtype_size(residual->dtype), spare, q->columns);
        rt_rows_f32()->add(y, spare, y, q->columns);
    }
    if (bias) rt_rows_f32()->add(y, bias, y, q->columns);
    return rt_store_f32(c, out, y, (char *)rt_row_ptr(out, row) + (size_t)q->at * rt_dtype_size(out->dtype), q->columns);
}
static const float *bias_of(const rt_call *c, const piece *q, float *to) {
    const rt_tensor *b = &c->in[RT_LINEAR_BIAS + q->weight];
    if (!b->data) return NULL;
    rt_rows_load_f32(b->dtype, (char *)b->data + (size_t)q->first * rt_dtype_size(b->dtype), to, q->columns);
    return to;
}
void rt_linear_half_rows(const rt_call *c, int64_t r0, int64_t r1, int worker) {
    char *s = rt_scratch(worker);
    int64_t n = r1 - r0, K = c->in[RT_LINEAR_X].dim[1];
    float *y = rt_take(&s, (size_t)(RT_ROWS_MAX * RT_HALF_LD) * sizeof *y), *spare = rt_take(&s, RT_HALF_COLUMNS * sizeof *spare);
    float *bias = rt_take(&s, RT_HALF_COLUMNS * sizeof *bias);
    const void *x = half_rows(c, r0, n, rt_take(&s, (size_t)(RT_ROWS_MAX * K) * 2));
    bool ok = true, overflow = false;
    for (piece q = {0}; ok && next_piece(&c->in[RT_LINEAR_W], c->node->prec.in, &q);) {
        const float *b = bias_of(c, &q, bias);
        ok = rt_half_rows(rt_half_known(c->node->prec.in, q.columns, K), rt_round16(n), x, panels_of(c) + q.panel, y, s);
        for (int64_t i = 0; ok && i < n; i++) overflow |= finish(c, &q, r0 + i, y + i * RT_HALF_LD, b, spare);
    }
    if (!ok) no_memory(c);
    if (overflow) rt_call_overflow(c, &c->out[0]);
}
