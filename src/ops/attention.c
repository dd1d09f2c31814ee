/* attention.c - causal grouped-query attention within documents.
 *
 *   s[i,j] = q[i] . k[j] / sqrt(d) for start[i] <= j <= i;   p = softmax(s);   o[i] = sum_j p[i,j] v[j]
 *
 * head by head; query head h reads key-value head h / (H/Hk). Runs of rows with the same `start` are segments; the kernel
 * (kernels/attention.h) works on one segment and head at a time and counts its tiles from the segment's first row, so a
 * row's bits depend neither on later rows, nor on its neighbours in the batch, nor on where its segment lies.
 * Tasks: (piece of a segment, query heads) forward, (segment, key-value head with its group) backward: no two write the same place.
 * Kept for backward: qkv, o and the log-sum-exp of each row and head, from which the scores are made again.
 * Half storage: the kernel converts exactly, and rounds o once. Ainslie et al. 2023 (grouped queries), Dao et al. 2022. */
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
/* Rows [past, past + length) of a segment. */
typedef struct piece {
    segment s;
    int32_t past, length;
} piece;
/* What the forward pass's tasks find in the scratch. */
typedef struct plan {
    const piece *pieces;
    int64_t heads_each; /* query heads of a task */
} plan;

/* Forward, a segment is cut every so many queries, so that few long ones keep many threads busy; each piece converts its keys. */
enum { PIECE = 1024, TASKS = 32 };

/* The longest segment that scratch is made for. */
static int64_t longest(const rt_heads *a, int64_t rows) { return a->max_length > 0 && a->max_length < rows ? a->max_length : rows; }
static int64_t group_of(const rt_heads *a) { return a->heads / a->kv_heads; }

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
    return 2 * rt_align64((size_t)rows * sizeof(segment)) + rt_align64((size_t)(limit + 1) * sizeof(int32_t)) + rt_align64((size_t)rows * sizeof(piece)) +
           rt_align64(sizeof(plan));
}
static const segment *segments(const rt_call *c, char *scratch, int64_t *count) {
    int64_t rows = c->in[START].dim[0], limit = longest(RT_ATTR(rt_heads, c), rows);
    segment *found = rt_take(&scratch, (size_t)rows * sizeof *found), *sorted = rt_take(&scratch, (size_t)rows * sizeof *sorted);
    *count = cut(c, found);
    sort(found, *count, limit, (int32_t *)scratch, sorted);
    return sorted;
}

/* Those with the most keys first, as far as one segment goes. */
static int64_t cut_pieces(const segment *s, int64_t count, piece *pieces) {
    int64_t n = 0;
    for (int64_t i = 0; i < count; i++)
        for (int32_t past = (s[i].length - 1) / PIECE * PIECE; past >= 0; past -= PIECE)
            pieces[n++] = (piece){s[i], past, s[i].length - past < PIECE ? s[i].length - past : PIECE};
    return n;
}

static rt_head_rows columns(const rt_tensor *t, int64_t row, int64_t column) {
    return (rt_head_rows){(char *)rt_row_ptr(t, row) + (size_t)column * rt_dtype_size(t->dtype), rt_columns(t), t->dtype};
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
    bool fits = n->prec.acc == RT_F64 ? task_bytes_f64(a, limit, &n->worker_scratch) : task_bytes_f32(a, limit, &n->worker_scratch);
    if (!fits) return rt_infer_fail(g, n, RT_E_SHAPE, "no workspace for documents of %lld rows", (long long)limit);
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

/* Heads that share keys share a task, which converts them once, unless that leaves few tasks. */
static int64_t tasks(const rt_call *c) {
    const rt_heads *a = RT_ATTR(rt_heads, c);
    int64_t rows = c->in[START].dim[0], count;
    char *scratch = c->scratch;
    plan *p = rt_take(&scratch, sizeof *p);
    piece *pieces = rt_take(&scratch, (size_t)rows * sizeof *pieces);
    const segment *s = segments(c, scratch, &count);
    count = cut_pieces(s, count, pieces);
    *p = (plan){pieces, count * a->kv_heads < TASKS ? 1 : group_of(a)};
    return count * (a->heads / p->heads_each);
}
static piece piece_of(const rt_call *c, int64_t task, int64_t *head) {
    const plan *p = c->scratch;
    int64_t each = RT_ATTR(rt_heads, c)->heads / p->heads_each;
    *head = task % each * p->heads_each;
    return p->pieces[task / each];
}
static rt_task_rows task_rows(const rt_call *c, int64_t task) {
    int64_t head;
    piece p = piece_of(c, task, &head);
    int64_t first = p.s.first, from = first + p.past, to = from + p.length;
    return (rt_task_rows){{first, to}, {from, to}};
}
static void forward_task(const rt_call *c, int64_t task, int worker) {
    int64_t head;
    piece p = piece_of(c, task, &head);
    RT_BY_TYPE(c, attend, c, p, head, ((const plan *)c->scratch)->heads_each, worker);
}

typedef struct backward_job {
    const rt_call *call;
    const segment *segments;
} backward_job;
static void backward_task(void *context, int64_t task, int worker) {
    const backward_job *j = context;
    int64_t heads = RT_ATTR(rt_heads, j->call)->kv_heads;
    RT_BY_TYPE(j->call, attend_backward, j->call, j->segments[task / heads], task % heads, worker);
}
static void backward(const rt_call *c) {
    int64_t count;
    backward_job j = {c, segments(c, c->scratch, &count)};
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
    .row_in = RT_IN(QKV),
    .diff = RT_IN(QKV),
    .overwrites = RT_IN(QKV),
    .saves = RT_IN(QKV) | RT_IN(START) | RT_OUT(O) | RT_OUT(LSE),
    .infer = infer, .work = work, .tasks = tasks, .task_rows = task_rows, .forward_task = forward_task, .backward = backward,
};

rt_ref rt_attention(rt_graph *g, rt_ref qkv, rt_ref start, rt_heads heads, rt_prec p, const char *role) {
    return rt_graph_add(g, &rt_op_attention, role, p, &heads, sizeof heads, (rt_ref[]){qkv, start}, 2, NULL);
}

#else

static T F(score_scale)(const rt_heads *a) { return (T)(1 / sqrt((double)a->head_dim)); }

/* Query heads [head, head + group) of a piece, all of one key-value head. */
static void F(attend)(const rt_call *c, piece p, int64_t head, int64_t group, int worker) {
    const rt_heads *a = RT_ATTR(rt_heads, c);
    int64_t d = a->head_dim, kv = head / group_of(a), first = p.s.first + p.past;
    F(rt_attention_forward_call) f = {
        .past = p.past, .length = p.length, .head_dim = d, .group = group, .scale = F(score_scale)(a), .q = columns(&c->in[QKV], first, head * d),
        .k = columns(&c->in[QKV], p.s.first, (a->heads + kv) * d), .v = columns(&c->in[QKV], p.s.first, (a->heads + a->kv_heads + kv) * d),
        .o = columns(&c->out[O], first, head * d), .lse = (T *)c->out[LSE].data + first * a->heads + head, .ldlse = a->heads};
    if (F(rt_attention_forward)(&f, rt_scratch(worker))) rt_call_overflow(c, &c->out[O]);
}

static void F(attend_backward)(const rt_call *c, segment s, int64_t kv, int worker) {
    const rt_heads *a = RT_ATTR(rt_heads, c);
    int64_t d = a->head_dim, g = group_of(a), q_at = kv * g * d, k_at = (a->heads + kv) * d, v_at = k_at + a->kv_heads * d;
    T *gradient = rt_row_ptr(&c->din[QKV], s.first);
    F(rt_attention_backward)(&(F(rt_attention_backward_call)){.length = s.length, .head_dim = d, .group = g, .scale = F(score_scale)(a),
        .q = columns(&c->in[QKV], s.first, q_at), .k = columns(&c->in[QKV], s.first, k_at), .v = columns(&c->in[QKV], s.first, v_at),
        .o = columns(&c->out[O], s.first, q_at), .d_o = columns(&c->dout[O], s.first, q_at),
        .lse = (const T *)c->out[LSE].data + s.first * a->heads + kv * g, .ldlse = a->heads, .add = !rt_is_fresh(c, QKV),
        .dq = gradient + q_at, .lddq = rt_columns(&c->din[QKV]), .dk = gradient + k_at, .dv = gradient + v_at, .lddkv = rt_columns(&c->din[QKV])},
        rt_scratch(worker));
}

/* Bytes that the functions above take for a segment of `length` rows; false when the kernel has no workspace for it. */
static bool F(task_bytes)(const rt_heads *a, int64_t length, size_t *bytes) {
    size_t forward_work = F(rt_attention_forward_workspace)(length, a->head_dim), backward_work = F(rt_attention_backward_workspace)(length, a->head_dim);
    *bytes = forward_work > backward_work ? forward_work : backward_work;
    return *bytes <= SIZE_MAX / 2;
}
#endif
