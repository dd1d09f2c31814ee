/* cast: the same values in another dtype, one rounding.   x [N,D] -> y [N,D]. dx += dy (both f32); backward keeps nothing.
 * The only operation that converts: a precision mismatch elsewhere is an error, never a conversion. */
#include "ops/common.h"
#include <retort/ops/ops.h>

static rt_status infer(rt_graph *g, rt_node *n) {
    n->prec.in = rt_infer_in(g, n, 0)->dtype;
    if (!rt_dtype_is_float(n->prec.in) || !rt_dtype_is_float(n->prec.out))
        return rt_infer_fail(g, n, RT_E_DTYPE, "casts %s to %s, expected floating types", rt_dtype_name(n->prec.in), rt_dtype_name(n->prec.out));
    if ((n->prec.in == RT_F64) != (n->prec.out == RT_F64))
        return rt_infer_fail(g, n, RT_E_PREC, "f64 is for references and is not mixed with %s", rt_dtype_name(n->prec.in == RT_F64 ? n->prec.out : n->prec.in));
    RT_TRY(rt_infer_shape(g, n, 0, 2, (int64_t[]){-1, -1}));
    n->worker_scratch = rt_align64((size_t)(RT_ROWS_MAX * rt_infer_in(g, n, 0)->dim[1]) * rt_compute_size(n));
    n->kernel = "row conversion";
    return rt_infer_out(g, n, 0, n->prec.out, 2, rt_infer_in(g, n, 0)->dim);
}

static void forward_rows(const rt_call *c, int64_t r0, int64_t r1, int worker) {
    const rt_tensor *x = &c->in[0], *y = &c->out[0];
    int64_t count = (r1 - r0) * x->dim[1];
    bool over;
    if (x->dtype == RT_F64) over = rt_rows_store_f64(RT_F64, rt_row_ptr(x, r0), rt_row_ptr(y, r0), count);
    else {
        float *row = rt_scratch(worker);
        rt_rows_load_f32(x->dtype, rt_row_ptr(x, r0), row, count);
        over = rt_store_f32(c, y, row, rt_row_ptr(y, r0), count);
    }
    if (over) rt_call_overflow(c, y);
}
static void backward(const rt_call *c) { rt_add_gradient(c, 0, &c->dout[0]); }

const rt_op rt_op_cast = {.name = "cast", .n_in = 1, .n_out = 1, .row_in = RT_IN(0), .diff = RT_IN(0), .overwrites = RT_IN(0), .infer = infer,
                          .work = rt_work_operands, .forward_rows = forward_rows, .backward = backward};

rt_ref rt_cast(rt_graph *g, rt_ref x, rt_dtype to, const char *role) {
    rt_dtype wide = to == RT_F64 ? RT_F64 : RT_F32;
    return rt_graph_add(g, &rt_op_cast, role, (rt_prec){RT_NONE, RT_NONE, wide, to, wide}, NULL, 0, &x, 1, NULL);
}
