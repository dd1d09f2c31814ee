/* embed: y[n] = table[ids[n]].   ids i32 [N], table [V,D] -> y [N,D].
 * dtable[v] = sum over n with ids[n] = v of dy[n], n ascending: each task owns a range of the vocabulary and walks all ids,
 * so the sum's order is that of the tokens for any number of threads. Backward keeps ids. */
#ifndef T
#include "ops/common.h"
#include <retort/ops/ops.h>
#include <string.h>

static rt_status infer(rt_graph *g, rt_node *n) {
    rt_dtype compute;
    n->prec.in = n->prec.weight; /* the table is the only operand with a precision */
    RT_TRY(rt_infer_compute(g, n, &compute));
    RT_TRY(rt_infer_dtype(g, n, 0, RT_I32));
    RT_TRY(rt_infer_dtype(g, n, 1, n->prec.weight));
    RT_TRY(rt_infer_shape(g, n, 0, 1, (int64_t[]){-1}));
    RT_TRY(rt_infer_shape(g, n, 1, 2, (int64_t[]){-1, -1}));
    int64_t rows = rt_infer_in(g, n, 0)->dim[0], width = rt_infer_in(g, n, 1)->dim[1];
    n->worker_scratch = 2 * rt_align64((size_t)width * sizeof(double));
    n->kernel = "row copies";
    return rt_infer_out(g, n, 0, n->prec.out, 2, (int64_t[]){rows, width});
}

#define RT_BODY "ops/embed.c"
#include "kernels/for_each_type.h"

static void forward_rows(const rt_call *c, int64_t r0, int64_t r1, int worker) { RT_BY_TYPE(c, rows, c, r0, r1, worker); }
static void backward(const rt_call *c) { RT_BY_TYPE(c, scatter, c); }

/* Of the table as many rows as there are ids; of its gradient all, since it is dense. */
static void work(const rt_graph *g, const rt_node *n, rt_work *forward, rt_work *backward) {
    const rt_tensor *ids = rt_infer_in(g, n, 0), *table = rt_infer_in(g, n, 1);
    int64_t rows = ids->dim[0] < table->dim[0] ? ids->dim[0] : table->dim[0];
    rt_work_values(g, n, RT_IN(0) | RT_OUT(0), forward);
    forward->bytes += (double)(rows * table->dim[1]) * (double)rt_dtype_size(table->dtype);
    rt_work_values(g, n, RT_IN(0), backward);
    rt_work_gradients(g, n, RT_IN(1) | RT_OUT(0), backward);
}

const rt_op rt_op_embed = {.name = "embed", .n_in = 2, .n_out = 1, .row_in = RT_IN(0), .diff = RT_IN(1), .saves = RT_IN(0),
                           .infer = infer, .work = work, .forward_rows = forward_rows, .backward = backward};

rt_ref rt_embed(rt_graph *g, rt_ref ids, rt_ref table, rt_prec p, const char *role) {
    return rt_graph_add(g, &rt_op_embed, role, p, NULL, 0, (rt_ref[]){ids, table}, 2, NULL);
}
#else
static void F(rows)(const rt_call *c, int64_t r0, int64_t r1, int worker) {
    const rt_tensor *table = &c->in[1], *y = &c->out[0];
    const int32_t *ids = c->in[0].data;
    int64_t D = table->dim[1];
    char *s = rt_scratch(worker);
    T *row = rt_take(&s, (size_t)D * sizeof(T));
    for (int64_t n = r0; n < r1; n++) {
        if (ids[n] < 0 || ids[n] >= table->dim[0]) {
            rt_call_fail(c, RT_E_INPUT, "token id %d at row %lld is outside the vocabulary of %lld", ids[n], (long long)n, (long long)table->dim[0]);
            return;
        }
        if (table->dtype == y->dtype) {
            memcpy(rt_row_ptr(y, n), rt_row_ptr(table, ids[n]), (size_t)D * rt_dtype_size(y->dtype));
            continue;
        }
        F(rt_rows_load)(table->dtype, rt_row_ptr(table, ids[n]), row, D);
        if (F(rt_store)(c, y, row, rt_row_ptr(y, n), D)) rt_call_overflow(c, y);
    }
}

static void F(scatter_range)(void *context, int64_t task, int worker) {
    (void)worker;
    const rt_call *c = context;
    const int32_t *ids = c->in[0].data;
    const T *dy = c->dout[0].data;
    T *dtable = c->din[1].data;
    int64_t V = c->in[1].dim[0], D = c->in[1].dim[1], N = c->in[0].dim[0], v0 = V * task / 16, v1 = V * (task + 1) / 16;
    for (int64_t n = 0; n < N; n++)
        if (ids[n] >= v0 && ids[n] < v1) F(rt_rows)()->add(dtable + ids[n] * D, dy + n * D, dtable + ids[n] * D, D);
}
static void F(scatter)(const rt_call *c) { rt_parallel(16, F(scatter_range), (void *)(uintptr_t)c); }
#endif
