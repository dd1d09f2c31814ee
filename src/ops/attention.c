/* attention.c - causal grouped-query attention within documents.
 *
 *   s[i,j] = q[i] . k[j] / sqrt(d) for start[i] <= j <= i;   p = softmax(s);   o[i] = sum_j p[i,j] v[j]
 *
 * head by head; query head h reads key-value head h / (H/Hk). Runs of rows with the same `start` are segments; the kernel
 * (kernels/attention.h) works on one segment and head at a time and counts its tiles from the segment's first row, so a
 * row's bits depend neither on later rows, nor on its neighbours in the batch, nor on where its segment lies.
 * Tasks: (segment, query head) forward, (segment, key-value head with its group) backward: no two write the same place.
 * Kept for backward: qkv, o and the log-sum-exp of each row and head, from which the scores are made again.
 * Half storage: a task converts its columns exactly, and rounds o once. Ainslie et al. 2023 (grouped queries), Dao et al. 2022. */
#ifndef T
#include <retort/ops/ops.h>
#include "kernels/attention.h"
#include "ops/common.h"
#include <math.h>
#include <string.h>

enum { QKV, START };
enum { O, LSE };

typedef struct segment {
    int32_t first, length;
} segment;
typedef struct job {
    const rt_call *call;
    const segment *segments;
} job;

/* The longest segment that scratch is made for. */
static int64_t longest(const rt_heads *a, int64_t rows) { return a->max_length > 0 && a->max_length < rows ? a->max_length : rows; }
static int64_t group(const rt_heads *a) { return a->heads / a->kv_heads; }

/* ---------------------------------------------------------------- segments */

/* Cuts the rows where `start` says so. The number of segments, 0 after a failure. */
static int64_t cut(const rt_call *c, segment *s) {
    const int32_t *start = c->in[START].data;
    int64_t rows = c->in[START].dim[0], limit = longest(RT_ATTR(rt_heads, c), rows), count = 0;
    for (int64_t i = 0; i < rows; i++) {
        if (start[i] == i) s[count++] = (segment){(int32_t)i, 0};
        else if (i == 0 || start[i] != start[i - 1]) {
            rt_call_fail(c, RT_E_ARG, "start of row %lld is %d, expected the row itself or the start of the row before", (long long)i, (int)start[i]);
            return 0;
        }
        if (++s[count - 1].length > limit) {
            rt_call_fail(c, RT_E_ARG, "the document at row %d is longer than max_length, %lld rows", (int)start[i], (long long)limit);
            return 0;
        }
    }
    return count;
}

/* Longest first, so that threads finish together; equal ones in their order. A counting sort: nothing is allocated. */
static void sort(const segment *s, int64_t count, int64_t limit, int32_t *place, segment *sorted) {
    memset(place, 0, (size_t)(limit + 1) * sizeof *place);
    for (int64_t i = 0; i < count; i++) place[s[i].length - 1]++; /* place[l]: segments longer than l, once summed */
    for (int64_t l = limit - 1; l >= 0; l--) place[l] += place[l + 1];
    for (int64_t i = 0; i < count; i++) sorted[place[s[i].length]++] = s[i];
}

static size_t segments_bytes(int64_t rows, int64_t limit) {
    return 2 * rt_align64((size_t)rows * sizeof(segment)) + rt_align64((size_t)(limit + 1) * sizeof(int32_t));
}
static const segment *segments(const rt_call *c, int64_t *count) {
    int64_t rows = c->in[START].dim[0], limit = longest(RT_ATTR(rt_heads, c), rows);
    char *scratch = c->scratch;
    segment *found = rt_take(&scratch, (size_t)rows * sizeof *found), *sorted = rt_take(&scratch, (size_t)rows * sizeof *sorted);
    *count = cut(c, found);
    sort(found, *count, limit, (int32_t *)scratch, sorted);
    return sorted;
}

#define RT_BODY "ops/attention.c"
#include "kernels/for_each_type.h"

/* ------------------------------------------------------------------- infer */

static rt_status check_heads(rt_graph *g, const rt_node *n) {
    const rt_heads *a = n->attr;
    int64_t columns = rt_infer_in(g, n, QKV)->dim[1], most = columns; /* bounds, so that the products below are safe */
    bool sane = a->heads >= 1 && a->kv_heads >= 1 && a->head_dim >= 1 && a->max_length >= 0 && a->heads <= most && a->kv_heads <= most &&
                a->head_dim <= most && most <= INT32_MAX;
    if (!sane || a->heads % a->kv_heads || (a->heads + 2 * a->kv_heads) > columns / a->head_dim || (a->heads + 2 * a->kv_heads) * a->head_dim != columns)
        return rt_infer_fail(g, n, RT_E_SHAPE,
                             "%lld query heads and %lld key-value heads of %lld columns do not make rows of %lld columns"
                             " (the first must be a multiple of the second)",
                             (long long)a->heads, (long long)a->kv_heads, (long long)a->head_dim, (long long)columns);
    return RT_OK;
}

static rt_status size_scratch(rt_graph *g, rt_node *n, int64_t rows) {
    const rt_heads *a = n->attr;
    int64_t limit = longest(a, rows);
    size_t forward_bytes = 0, backward_bytes = 0;
    bool fits = n->prec.acc == RT_F64 ? task_bytes_f64(n, limit, &forward_bytes, &backward_bytes)
                                      : task_bytes_f32(n, limit, &forward_bytes, &backward_bytes);
    if (!fits) return rt_infer_fail(g, n, RT_E_SHAPE, "no workspace for documents of %lld rows", (long long)limit);
    n->worker_scratch = forward_bytes > backward_bytes ? forward_bytes : backward_bytes;
    n->scratch = segments_bytes(rows, limit);
    return RT_OK;
}

static rt_status infer(rt_graph *g, rt_node *n) {
    const rt_heads *a = n->attr;
    n->prec.weight = RT_NONE;
    RT_TRY(rt_infer_contract(g, n));
    RT_TRY(rt_infer_dtype(g, n, QKV, n->prec.in));
    RT_TRY(rt_infer_dtype(g, n, START, RT_I32));
    RT_TRY(rt_infer_shape(g, n, QKV, 2, (int64_t[]){-1, -1}));
    int64_t rows = rt_infer_in(g, n, QKV)->dim[0];
    RT_TRY(check_heads(g, n));
    RT_TRY(rt_infer_shape(g, n, START, 1, (int64_t[]){rows}));
    RT_TRY(size_scratch(g, n, rows));
    RT_TRY(rt_infer_out(g, n, O, n->prec.out, 2, (int64_t[]){rows, a->heads * a->head_dim}));
    return rt_infer_out(g, n, LSE, n->prec.acc, 2, (int64_t[]){rows, a->heads});
}

/* --------------------------------------------------------------------- run */

static void forward_task(void *context, int64_t task, int worker) {
    const job *j = context;
    int64_t heads = RT_ATTR(rt_heads, j->call)->heads;
    RT_BY_TYPE(j->call, attend, j->call, j->segments[task / heads], task % heads, worker);
}
static void forward(const rt_call *c) {
    int64_t count;
    job j = {c, segments(c, &count)};
    rt_parallel(count * RT_ATTR(rt_heads, c)->heads, forward_task, &j);
}

static void backward_task(void *context, int64_t task, int worker) {
    const job *j = context;
    int64_t heads = RT_ATTR(rt_heads, j->call)->kv_heads;
    RT_BY_TYPE(j->call, attend_backward, j->call, j->segments[task / heads], task % heads, worker);
}
static void backward(const rt_call *c) {
    int64_t count;
    job j = {c, segments(c, &count)};
    rt_parallel(count * RT_ATTR(rt_heads, c)->kv_heads, backward_task, &j);
}

/* The scores of a row with the rows before it and itself, in documents as long as they may be: two products forward, five
 * backward (the scores again). */
static void work(const rt_graph *g, const rt_node *n, rt_work *forward, rt_work *backward) {
    const rt_heads *a = n->attr;
    int64_t rows = rt_infer_in(g, n, QKV)->dim[0], length = longest(a, rows), rest = rows % length;
    double scores = (double)(rows / length) * (double)length * (double)(length + 1) / 2 + (double)rest * (double)(rest + 1) / 2;
    double product = 2 * scores * (double)(a->heads * a->head_dim);
    rt_work_operands(g, n, forward, backward);
    forward->flops = 2 * product;
    backward->flops = 5 * product;
    forward->exps = backward->exps = scores * (double)a->heads;
}

const rt_op rt_op_attention = {
    .name = "attention", .n_in = 2, .n_out = 2,
    .diff = RT_IN(QKV),
    .overwrites = RT_IN(QKV),
    .saves = RT_IN(QKV) | RT_IN(START) | RT_OUT(O) | RT_OUT(LSE),
    .infer = infer, .work = work, .forward = forward, .backward = backward,
};

rt_ref rt_attention(rt_graph *g, rt_ref qkv, rt_ref start, rt_heads heads, rt_prec p, const char *role) {
    return rt_graph_add(g, &rt_op_attention, role, p, &heads, sizeof heads, (rt_ref[]){qkv, start}, 2, NULL);
}

#else

/* Columns of a segment's rows: `at` is the first row's, `ld` the distance of rows. */
typedef struct F(view) {
    T *at;
    int64_t ld;
} F(view);

static F(view) F(in_place)(const rt_tensor *t, segment s, int64_t column) {
    return (F(view)){(T *)rt_row_ptr(t, s.first) + column, rt_columns(t)};
}
/* The same columns, side by side in scratch and converted. */
static F(view) F(gathered)(const rt_tensor *t, segment s, int64_t column, int64_t width, char **scratch) {
    F(view) v = {rt_take(scratch, (size_t)(s.length * width) * sizeof(T)), width};
    for (int64_t i = 0; i < s.length; i++) {
        const char *row = rt_row_ptr(t, s.first + i);
        F(rt_rows_load)(t->dtype, row + (size_t)column * rt_dtype_size(t->dtype), v.at + i * width, width);
    }
    return v;
}
static F(view) F(columns)(const rt_tensor *t, segment s, int64_t column, int64_t width, char **scratch) {
    return t->dtype == RT_T ? F(in_place)(t, s, column) : F(gathered)(t, s, column, width, scratch);
}

/* Rounds o into place: once, here and nowhere else. */
static void F(scatter)(const rt_call *c, segment s, int64_t column, int64_t width, const T *o) {
    const rt_tensor *t = &c->out[O];
    bool overflow = false;
    for (int64_t i = 0; i < s.length; i++) {
        char *row = rt_row_ptr(t, s.first + i);
        overflow |= F(rt_rows_store)(t->dtype, o + i * width, row + (size_t)column * rt_dtype_size(t->dtype), width);
    }
    if (overflow) rt_call_overflow(c, t);
}

static T F(score_scale)(const rt_heads *a) { return (T)(1 / sqrt((double)a->head_dim)); }

static void F(attend)(const rt_call *c, segment s, int64_t head, int worker) {
    const rt_heads *a = RT_ATTR(rt_heads, c);
    int64_t d = a->head_dim, kv = head / group(a);
    char *scratch = rt_scratch(worker);
    F(view) q = F(columns)(&c->in[QKV], s, head * d, d, &scratch);
    F(view) k = F(columns)(&c->in[QKV], s, (a->heads + kv) * d, d, &scratch);
    F(view) v = F(columns)(&c->in[QKV], s, (a->heads + a->kv_heads + kv) * d, d, &scratch);
    F(view) lse = F(in_place)(&c->out[LSE], s, head), o;
    bool rounded = c->out[O].dtype != RT_T;
    if (rounded) o = (F(view)){rt_take(&scratch, (size_t)(s.length * d) * sizeof(T)), d};
    else o = F(in_place)(&c->out[O], s, head * d);
    F(rt_attention_forward)(&(F(rt_attention_forward_call)){.length = s.length, .head_dim = d, .scale = F(score_scale)(a), .q = q.at, .ldq = q.ld,
        .k = k.at, .v = v.at, .ldkv = k.ld, .o = o.at, .ldo = o.ld, .lse = lse.at, .ldlse = lse.ld}, scratch);
    if (rounded) F(scatter)(c, s, head * d, d, o.at);
}

static void F(attend_backward)(const rt_call *c, segment s, int64_t kv, int worker) {
    const rt_heads *a = RT_ATTR(rt_heads, c);
    int64_t d = a->head_dim, g = group(a), q_at = kv * g * d, k_at = (a->heads + kv) * d, v_at = k_at + a->kv_heads * d;
    char *scratch = rt_scratch(worker);
    F(view) q = F(columns)(&c->in[QKV], s, q_at, g * d, &scratch);
    F(view) k = F(columns)(&c->in[QKV], s, k_at, d, &scratch), v = F(columns)(&c->in[QKV], s, v_at, d, &scratch);
    F(view) o = F(columns)(&c->out[O], s, q_at, g * d, &scratch), lse = F(in_place)(&c->out[LSE], s, kv * g);
    /* o and its gradient share a row stride: the gradient follows o into scratch */
    F(view) d_o = c->out[O].dtype == RT_T ? F(in_place)(&c->dout[O], s, q_at) : F(gathered)(&c->dout[O], s, q_at, g * d, &scratch);
    F(view) dq = F(in_place)(&c->din[QKV], s, q_at), dk = F(in_place)(&c->din[QKV], s, k_at), dv = F(in_place)(&c->din[QKV], s, v_at);
    for (int64_t i = 0; rt_is_fresh(c, QKV) && i < s.length; i++) {
        memset(dq.at + i * dq.ld, 0, (size_t)(g * d) * sizeof(T));
        memset(dk.at + i * dk.ld, 0, (size_t)d * sizeof(T));
        memset(dv.at + i * dv.ld, 0, (size_t)d * sizeof(T));
    }
    F(rt_attention_backward)(&(F(rt_attention_backward_call)){.length = s.length, .head_dim = d, .group = g, .scale = F(score_scale)(a), .q = q.at,
        .ldq = q.ld, .k = k.at, .v = v.at, .ldkv = k.ld, .o = o.at, .d_o = d_o.at, .ldo = o.ld, .lse = lse.at, .ldlse = lse.ld, .lse_head = 1,
        .dq = dq.at, .lddq = dq.ld, .dk = dk.at, .dv = dv.at, .lddkv = dk.ld}, scratch);
}

/* Bytes that the functions above take for a segment of `length` rows; false when the kernel has no workspace for it. */
static bool F(task_bytes)(const rt_node *n, int64_t length, size_t *forward_bytes, size_t *backward_bytes) {
    const rt_heads *a = n->attr;
    size_t head = rt_align64((size_t)(length * a->head_dim) * sizeof(T)), heads = rt_align64((size_t)(length * a->head_dim * group(a)) * sizeof(T));
    size_t in = n->prec.in != RT_T, out = n->prec.out != RT_T;
    size_t forward_work = F(rt_attention_forward_workspace)(length, a->head_dim), backward_work = F(rt_attention_backward_workspace)(length, a->head_dim);
    *forward_bytes = (3 * in + out) * head + forward_work;
    *backward_bytes = in * (heads + 2 * head) + out * 2 * heads + backward_work;
    return forward_work <= SIZE_MAX / 2 && backward_work <= SIZE_MAX / 2;
}
#endif
