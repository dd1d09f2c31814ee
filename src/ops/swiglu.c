/* swiglu: y = silu(gate) * up, silu(g) = g / (1 + exp(-g)).   gate_up [N,2F] (gate first) -> y [N,F].
 * dgate = dy up silu'(gate);  dup = dy silu(gate). Backward keeps gate_up.   Shazeer 2020, eq. 5. */
#ifndef T
#include "ops/common.h"
#include <retort/ops/ops.h>

enum { BLOCK = 64, LANES = 16 };

static rt_status infer(rt_graph *g, rt_node *n) {
    rt_dtype compute;
    n->prec.weight = RT_NONE;
    RT_TRY(rt_infer_compute(g, n, &compute));
    RT_TRY(rt_infer_dtype(g, n, 0, n->prec.in));
    RT_TRY(rt_infer_shape(g, n, 0, 2, (int64_t[]){-1, -1}));
    const rt_tensor *x = rt_infer_in(g, n, 0);
    if (x->dim[1] % 2) return rt_infer_fail(g, n, RT_E_SHAPE, "input 0 has %lld columns, expected an even number (gate and up)", (long long)x->dim[1]);
    n->worker_scratch = 2 * rt_align64((size_t)(BLOCK * x->dim[1]) * rt_compute_size(n)); /* forward goes by fewer rows */
    n->kernel = "row loop";
    n->parts = 2, n->unit = LANES;
    return rt_infer_out(g, n, 0, n->prec.out, 2, (int64_t[]){x->dim[0], x->dim[1] / 2});
}

#define RT_BODY "ops/swiglu.c"
#include "kernels/for_each_type.h"

static void forward_rows(const rt_call *c, int64_t r0, int64_t r1, int worker) {
    for (RT_HOT_ROWS(r, r0, r1)) RT_BY_TYPE(c, rows, c, r, rt_hot_end(r, r1), worker);
}
/* In one pass, where what is taken and what is made are of one half type and stay in f32. */
static bool one_pass(const rt_call *c, const rt_columns_made *made) {
    return rt_dtype_is_half(made->dtype) && c->node->prec.out == made->dtype && c->out[0].dtype == RT_F32 && made->n % LANES == 0;
}
static bool columns_rounded(const rt_call *c, const rt_columns_made *made) {
    unsigned over = 0;
    for (int64_t r = made->r0; r < made->r1; r++) {
        const float *x = (const float *)made->x + (r - made->r0) * made->ld;
        over |= rt_rounded(made->dtype)->swiglu(x, x + made->n, (float *)rt_row_ptr(&c->out[0], r) + made->c0, made->n);
    }
    if (over & RT_OVER_MADE) rt_call_overflow(c, &c->out[0]);
    return over & RT_OVER_TAKEN;
}
static bool forward_columns(const rt_call *c, const rt_columns_made *made) {
    if (one_pass(c, made)) return columns_rounded(c, made);
    return RT_BY_TYPE(c, columns, c, made);
}
static void backward(const rt_call *c) {
    rt_parallel((c->in[0].dim[0] + BLOCK - 1) / BLOCK, c->node->prec.acc == RT_F64 ? back_f64 : back_f32, (void *)(uintptr_t)c);
}

static void work(const rt_graph *g, const rt_node *n, rt_work *forward, rt_work *backward) {
    rt_work_operands(g, n, forward, backward);
    forward->exps = backward->exps = (double)rt_tensor_count(rt_infer_in(g, n, 0)) / 2;
}

const rt_op rt_op_swiglu = {.name = "swiglu", .n_in = 1, .n_out = 1, .row_in = RT_IN(0), .diff = RT_IN(0), .overwrites = RT_IN(0), .saves = RT_IN(0),
                            .flags = RT_OP_CHEAP, .infer = infer, .work = work, .forward_rows = forward_rows, .forward_columns = forward_columns, .backward = backward};

rt_ref rt_swiglu(rt_graph *g, rt_ref gate_up, rt_prec p, const char *role) {
    return rt_graph_add(g, &rt_op_swiglu, role, p, NULL, 0, &gate_up, 1, NULL);
}
#else
static void F(rows)(const rt_call *c, int64_t r0, int64_t r1, int worker) {
    char *s = rt_scratch(worker);
    int64_t n = r1 - r0, width = c->out[0].dim[1];
    const T *x = F(rt_tile_in)(&c->in[0], r0, n, &s);
    T *y = F(rt_tile_out)(&c->out[0], r0, n, &s);
    for (int64_t i = 0; i < n; i++) F(rt_rows)()->swiglu(x + 2 * i * width, x + (2 * i + 1) * width, y + i * width, width);
    F(rt_tile_done)(c, &c->out[0], r0, n, y);
}
static bool F(columns)(const rt_call *c, const rt_columns_made *made) {
    const rt_tensor *y = &c->out[0];
    bool overflow = false, taken = F(rt_columns_round)(made, 2);
    for (int64_t r = made->r0; r < made->r1; r++) {
        T *x = (T *)made->x + (r - made->r0) * made->ld;
        void *to = (char *)rt_row_ptr(y, r) + (size_t)made->c0 * rt_dtype_size(y->dtype);
        T *a = y->dtype == RT_T ? to : x; /* element by element: may overwrite what it reads */
        F(rt_rows)()->swiglu(x, x + made->n, a, made->n);
        overflow |= F(rt_store)(c, y, a, to, made->n);
    }
    if (overflow) rt_call_overflow(c, y);
    return taken;
}
static void F(back)(void *context, int64_t task, int worker) {
    const rt_call *c = context;
    char *s = rt_scratch(worker);
    int64_t N = c->in[0].dim[0], width = c->out[0].dim[1], r0 = task * BLOCK, n = N - r0 < BLOCK ? N - r0 : BLOCK;
    const T *x = F(rt_tile_in)(&c->in[0], r0, n, &s), *dy = rt_row_ptr(&c->dout[0], r0);
    T *dx = rt_row_ptr(&c->din[0], r0);
    for (int64_t i = 0; i < n; i++)
        F(rt_rows)()->swiglu_backward(x + 2 * i * width, x + (2 * i + 1) * width, dy + i * width, dx + 2 * i * width, dx + (2 * i + 1) * width, width, !rt_is_fresh(c, 0));
}
#endif
