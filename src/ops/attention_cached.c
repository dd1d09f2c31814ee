/* attention_cached.c - attention over the rows of earlier runs and of this one: row n is row position[n] of sequence[n].
 *
 *   cache[sequence[n]][position[n]] = k[n], v[n] for every row;   then, with s = sequence[n], i = position[n]
 *   o[n] = sum_j softmax_j(q[n] . k_s[j] / sqrt(d)) v_s[j], j <= i
 *
 * The cache is a state [S, 2 Hk, P, d] (keys, then values, head by head) in the dtype of qkv: S sequences of at most P rows.
 * Rows of a sequence may come in any number of runs; what a row sees must have come before or with it. A row of sequence -1 is
 * padding: its output is 0. With the kernels for many rows a row has the bits of `attention` over the whole sequence, since
 * tiles of keys count from the sequence's first row (kernels/attention.h). With those for few rows (kernels/few.h) a task takes
 * the query heads of a key-value head over 256 keys, and a row adds the tasks' sums up in their order. No gradient. */
#ifndef T
#include <retort/ops/ops.h>
#include "kernels/attention.h"
#include "kernels/few.h"
#include "ops/common.h"
#include <math.h>
#include <string.h>

enum { QKV, SEQUENCE, POSITION, CACHE, INPUTS };
enum { FEW_KEYS = 256, COPY_ROWS = 64 };

typedef struct shape {
    int64_t N, H, Hk, d, P, tiles; /* tiles: of FEW_KEYS keys, at most */
} shape;
static shape shape_of(const rt_heads *a, const rt_tensor *qkv, const rt_tensor *cache) {
    shape z = {.N = qkv->dim[0], .H = a->heads, .Hk = a->kv_heads, .d = a->head_dim, .P = cache->dim[2]};
    z.tiles = (z.P + FEW_KEYS - 1) / FEW_KEYS;
    return z;
}

/* Rows of one sequence that follow one another: [first, first + length) of the run, from `past` of the sequence. */
typedef struct piece {
    int32_t first, length, sequence, past;
} piece;
typedef struct job {
    const rt_call *call;
    shape z;
    const piece *pieces;
    char *partial; /* few rows: [N, H, tiles] of {m, l, o[d]} */
    int64_t used;  /* tiles of the longest sequence */
} job;

static int32_t sequence_of(const rt_call *c, int64_t n) { return ((const int32_t *)c->in[SEQUENCE].data)[n]; }
static int32_t position_of(const rt_call *c, int64_t n) { return ((const int32_t *)c->in[POSITION].data)[n]; }
/* Row `row` of a head's keys or values; head in [0, 2 Hk). */
static char *cached(const rt_call *c, const shape *z, int64_t sequence, int64_t head, int64_t row) {
    return (char *)c->in[CACHE].data + (size_t)(((sequence * 2 * z->Hk + head) * z->P + row) * z->d) * rt_dtype_size(c->in[CACHE].dtype);
}
/* Columns of a row of qkv. */
static char *column_at(const rt_call *c, int64_t row, int64_t column) {
    return (char *)rt_row_ptr(&c->in[QKV], row) + (size_t)column * rt_dtype_size(c->in[QKV].dtype);
}

static bool sound(const rt_call *c, int64_t n, int64_t P) {
    int32_t s = sequence_of(c, n), p = position_of(c, n);
    if (s < -1 || s >= c->in[CACHE].dim[0]) rt_call_fail(c, RT_E_ARG, "row %lld is of sequence %d, the cache holds %lld", (long long)n, (int)s, (long long)c->in[CACHE].dim[0]);
    else if (s >= 0 && (p < 0 || p >= P)) rt_call_fail(c, RT_E_ARG, "row %lld is row %d of its sequence, the cache holds %lld", (long long)n, (int)p, (long long)P);
    else return true;
    return false;
}
/* The number of pieces, 0 after a failure. */
static int64_t cut(const rt_call *c, const shape *z, piece *pieces) {
    int64_t count = 0;
    for (int64_t n = 0; n < z->N; n++) {
        if (!sound(c, n, z->P)) return 0;
        int32_t s = sequence_of(c, n), p = position_of(c, n);
        bool next = s >= 0 && n > 0 && sequence_of(c, n - 1) == s && position_of(c, n - 1) + 1 == p;
        if (next) pieces[count - 1].length++;
        else if (s >= 0) pieces[count++] = (piece){(int32_t)n, 1, s, p};
    }
    return count;
}

static int64_t used_tiles(const piece *pieces, int64_t count) {
    int64_t rows = 0;
    for (int64_t i = 0; i < count; i++) rows = pieces[i].past + pieces[i].length > rows ? pieces[i].past + pieces[i].length : rows;
    return (rows + FEW_KEYS - 1) / FEW_KEYS;
}

/* Keys and values of COPY_ROWS rows into the cache: the same dtype, nothing is rounded. */
static void append(void *context, int64_t task, int worker) {
    const job *j = context;
    const rt_call *c = j->call;
    const shape *z = &j->z;
    size_t bytes = (size_t)z->d * rt_dtype_size(c->in[QKV].dtype);
    (void)worker;
    for (int64_t n = task * COPY_ROWS; n < z->N && n < (task + 1) * COPY_ROWS; n++)
        for (int64_t h = 0; sequence_of(c, n) >= 0 && h < 2 * z->Hk; h++)
            memcpy(cached(c, z, sequence_of(c, n), h, position_of(c, n)), column_at(c, n, (z->H + h) * z->d), bytes);
}
static void clear_padding(const rt_call *c) {
    size_t row = (size_t)rt_columns(&c->out[0]) * rt_dtype_size(c->out[0].dtype);
    for (int64_t n = 0; n < c->out[0].dim[0]; n++)
        if (sequence_of(c, n) < 0) memset(rt_row_ptr(&c->out[0], n), 0, row);
}

#define RT_BODY "ops/attention_cached.c"
#include "kernels/for_each_type.h"

/* ------------------------------------------------------------------- infer */

static rt_status check(rt_graph *g, const rt_node *n) {
    const rt_heads *a = n->attr;
    int64_t N, columns, most = INT32_MAX;
    RT_TRY(rt_infer_dtype(g, n, QKV, n->prec.in));
    RT_TRY(rt_infer_dtype(g, n, CACHE, n->prec.in));
    RT_TRY(rt_infer_shape(g, n, QKV, 2, (int64_t[]){-1, -1}));
    N = rt_infer_in(g, n, QKV)->dim[0], columns = rt_infer_in(g, n, QKV)->dim[1];
    bool sane = a->heads >= 1 && a->kv_heads >= 1 && a->head_dim >= 1 && a->heads <= columns && a->kv_heads <= columns && a->head_dim <= columns && columns <= most;
    if (!sane || a->heads % a->kv_heads || (a->heads + 2 * a->kv_heads) * a->head_dim != columns)
        return rt_infer_fail(g, n, RT_E_SHAPE, "%lld query heads and %lld key-value heads of %lld columns do not make rows of %lld columns",
                             (long long)a->heads, (long long)a->kv_heads, (long long)a->head_dim, (long long)columns);
    for (int k = SEQUENCE; k <= POSITION; k++) {
        RT_TRY(rt_infer_dtype(g, n, k, RT_I32));
        RT_TRY(rt_infer_shape(g, n, k, 1, (int64_t[]){N}));
    }
    RT_TRY(rt_infer_shape(g, n, CACHE, 4, (int64_t[]){-1, 2 * a->kv_heads, -1, a->head_dim}));
    if (!rt_infer_state(g, n, CACHE)) return rt_infer_fail(g, n, RT_E_ARG, "the cache is written in place, so it must be a state of the graph");
    return RT_OK;
}

static rt_status infer(rt_graph *g, rt_node *n) {
    n->prec.weight = RT_NONE;
    RT_TRY(rt_infer_contract(g, n));
    RT_TRY(check(g, n));
    shape z = shape_of(n->attr, rt_infer_in(g, n, QKV), rt_infer_in(g, n, CACHE));
    size_t size = rt_compute_size(n);
    bool few = rt_infer_few_rows(g, n);
    n->scratch = rt_align64((size_t)z.N * sizeof(piece)) + (few ? (size_t)(z.N * z.H * z.tiles * (z.d + 2)) * size : 0);
    n->worker_scratch = n->prec.acc == RT_F64 ? task_bytes_f64(&z, few) : task_bytes_f32(&z, few);
    if (n->worker_scratch > SIZE_MAX / 2) return rt_infer_fail(g, n, RT_E_SHAPE, "no workspace for %lld rows", (long long)z.P);
    n->few = few;
    if (few) n->kernel = RT_FEW_KERNEL;
    return rt_infer_out(g, n, 0, n->prec.out, 2, (int64_t[]){z.N, z.H * z.d});
}

/* --------------------------------------------------------------------- run */

static void exact_task(void *context, int64_t task, int worker) {
    const job *j = context;
    RT_BY_TYPE(j->call, attend, j, &j->pieces[task / j->z.H], task % j->z.H, worker);
}
static void few_task(void *context, int64_t task, int worker) {
    const job *j = context;
    RT_BY_TYPE(j->call, attend_few, j, task, worker);
}
static void gather_task(void *context, int64_t row, int worker) {
    const job *j = context;
    RT_BY_TYPE(j->call, gather, j, row, worker);
}

static void forward(const rt_call *c) {
    char *scratch = c->scratch;
    shape z = shape_of(RT_ATTR(rt_heads, c), &c->in[QKV], &c->in[CACHE]);
    piece *pieces = rt_take(&scratch, (size_t)z.N * sizeof *pieces);
    int64_t count = cut(c, &z, pieces);
    job j = {c, z, pieces, scratch, used_tiles(pieces, count)};
    if (count > 0) rt_parallel((z.N + COPY_ROWS - 1) / COPY_ROWS, append, &j);
    if (count > 0 && c->node->few) {
        rt_parallel(z.N * z.Hk * j.used, few_task, &j);
        rt_parallel(z.N, gather_task, &j);
    } else rt_parallel(count * z.H, exact_task, &j);
    clear_padding(c);
}

/* As if every row's sequence were full: all its keys are seen, and those of as many sequences as there are rows are read. */
static void work(const rt_graph *g, const rt_node *n, rt_work *forward, rt_work *backward) {
    const rt_tensor *cache = rt_infer_in(g, n, CACHE);
    shape z = shape_of(n->attr, rt_infer_in(g, n, QKV), cache);
    int64_t sequences = z.N < cache->dim[0] ? z.N : cache->dim[0], rows = sequences * z.P + z.N; /* read, and put there */
    (void)backward;
    rt_work_values(g, n, RT_IN(QKV) | RT_IN(SEQUENCE) | RT_IN(POSITION) | RT_OUT(0), forward);
    forward->bytes += (double)(rows * 2 * z.Hk * z.d) * (double)rt_dtype_size(cache->dtype);
    forward->flops = 4 * (double)(z.N * z.H * z.d) * (double)z.P;
}

const rt_op rt_op_attention_cached = {.name = "attention_cached", .n_in = INPUTS, .n_out = 1, .infer = infer, .work = work, .forward = forward};

rt_ref rt_attention_cached(rt_graph *g, rt_ref qkv, rt_ref sequence, rt_ref position, rt_ref cache, rt_heads heads, rt_prec p, const char *role) {
    return rt_graph_add(g, &rt_op_attention_cached, role, p, &heads, sizeof heads, (rt_ref[]){qkv, sequence, position, cache}, INPUTS, NULL);
}

#else

static T F(score_scale)(const shape *z) { return (T)(1 / sqrt((double)z->d)); }

/* ------------------------------------------------ many rows: the bits of attention */

static void F(attend)(const job *j, const piece *p, int64_t head, int worker) {
    const rt_call *c = j->call;
    const shape *z = &j->z;
    int64_t kv = head / (z->H / z->Hk);
    rt_dtype t = c->in[CACHE].dtype;
    F(rt_attention_forward_call) f = {
        .past = p->past, .length = p->length, .head_dim = z->d, .group = 1, .scale = F(score_scale)(z), .by_tile = true,
        .q = {column_at(c, p->first, head * z->d), rt_columns(&c->in[QKV]), t}, .k = {cached(c, z, p->sequence, kv, 0), z->d, t},
        .v = {cached(c, z, p->sequence, z->Hk + kv, 0), z->d, t},
        .o = {(char *)rt_row_ptr(&c->out[0], p->first) + (size_t)(head * z->d) * rt_dtype_size(c->out[0].dtype), rt_columns(&c->out[0]), c->out[0].dtype}};
    if (F(rt_attention_forward)(&f, rt_scratch(worker))) rt_call_overflow(c, &c->out[0]);
}

/* ------------------------------------------------------------------ few rows */

static T *F(partial)(const job *j, int64_t row, int64_t head, int64_t tile) {
    return (T *)(void *)j->partial + ((row * j->z.H + head) * j->z.tiles + tile) * (j->z.d + 2);
}
static void F(few_scores)(const job *j, int64_t row, int64_t kv, int64_t k0, int64_t nk, T *q, T *s) {
    const rt_call *c = j->call;
    const shape *z = &j->z;
    int64_t group = z->H / z->Hk;
    F(rt_rows_load)(c->in[QKV].dtype, column_at(c, row, kv * group * z->d), q, group * z->d);
    F(rt_rows)()->scale(F(score_scale)(z), q, q, group * z->d);
    F(rt_few_dots)(&(F(rt_few)){group, nk, z->d, q, z->d, c->in[CACHE].dtype, cached(c, z, sequence_of(c, row), kv, k0), z->d, s, FEW_KEYS});
}
/* Task: (row, key-value head, tile of keys), tiles fastest. */
static void F(attend_few)(const job *j, int64_t task, int worker) {
    const rt_call *c = j->call;
    const shape *z = &j->z;
    int64_t tile = task % j->used, kv = task / j->used % z->Hk, row = task / j->used / z->Hk, group = z->H / z->Hk, k0 = tile * FEW_KEYS;
    int64_t seen = sequence_of(c, row) < 0 ? 0 : position_of(c, row) + 1, nk = seen - k0 < FEW_KEYS ? seen - k0 : FEW_KEYS;
    if (nk <= 0) return;
    char *scratch = rt_scratch(worker);
    T *q = rt_take(&scratch, (size_t)(group * z->d) * sizeof(T)), *s = rt_take(&scratch, (size_t)(group * FEW_KEYS) * sizeof(T));
    T *o = rt_take(&scratch, (size_t)(group * z->d) * sizeof(T));
    F(few_scores)(j, row, kv, k0, nk, q, s);
    memset(o, 0, (size_t)(group * z->d) * sizeof(T));
    for (int64_t h = 0; h < group; h++) {
        T *part = F(partial)(j, row, kv * group + h, tile), *p = s + h * FEW_KEYS;
        part[0] = F(rt_rows)()->max(p, nk);
        F(rt_rows)()->exp(part[0], p, p, nk);
        part[1] = F(rt_rows)()->sum(p, nk);
    }
    F(rt_few_sums)(&(F(rt_few)){group, z->d, nk, s, FEW_KEYS, c->in[CACHE].dtype, cached(c, z, sequence_of(c, row), z->Hk + kv, k0), z->d, o, z->d});
    for (int64_t h = 0; h < group; h++) memcpy(F(partial)(j, row, kv * group + h, tile) + 2, o + h * z->d, (size_t)z->d * sizeof(T));
}

/* o = sum_t exp(m_t - m) o_t / sum_t exp(m_t - m) l_t, tiles in order. */
static void F(gather_head)(const job *j, int64_t row, int64_t head, int64_t tiles, T *o) {
    T m = (T)-INFINITY, sum = 0;
    for (int64_t t = 0; t < tiles; t++) m = F(partial)(j, row, head, t)[0] > m ? F(partial)(j, row, head, t)[0] : m;
    memset(o, 0, (size_t)j->z.d * sizeof(T));
    for (int64_t t = 0; t < tiles; t++) {
        const T *part = F(partial)(j, row, head, t);
        T factor = M(exp)(part[0] - m);
        sum += factor * part[1];
        F(rt_rows)()->axpy(factor, part + 2, o, j->z.d);
    }
    F(rt_rows)()->scale(1 / sum, o, o, j->z.d);
}
static void F(gather)(const job *j, int64_t row, int worker) {
    const rt_call *c = j->call;
    const shape *z = &j->z;
    T *o = rt_scratch(worker);
    if (sequence_of(c, row) < 0) return;
    int64_t tiles = position_of(c, row) / FEW_KEYS + 1;
    for (int64_t h = 0; h < z->H; h++) F(gather_head)(j, row, h, tiles, o + h * z->d);
    if (F(rt_rows_store)(c->out[0].dtype, o, rt_row_ptr(&c->out[0], row), z->H * z->d)) rt_call_overflow(c, &c->out[0]);
}

/* What the tasks above take of a worker's scratch. */
static size_t F(task_bytes)(const shape *z, bool few) {
    size_t row = (size_t)z->d * sizeof(T), group = (size_t)(z->H / z->Hk);
    if (few) return 2 * rt_align64(group * row) + rt_align64(group * FEW_KEYS * sizeof(T)) + rt_align64((size_t)z->H * row);
    return F(rt_attention_forward_workspace)(z->P < RT_ATTENTION_KEYS ? z->P : RT_ATTENTION_KEYS, z->d);
}
#endif
