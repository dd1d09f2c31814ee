/* linear_few.c - linear for few rows: y = round_out(acc(x W^T) + residual + bias), the weights read once, as they lie.
 * Tasks are blocks of outputs. No panel, no cache; the time is that of reading the weights (kernels/few.h). */
#ifndef T
#include "ops/linear.h"
#include "kernels/few.h"
#include <string.h>

enum { TASK_BYTES = 1 << 16, OUTPUTS_MAX = 512 };

/* Outputs of a task: enough bytes that handing it out costs nothing; from the weight's shape alone. */
static int64_t block_of(const rt_tensor *w) {
    int64_t rows = TASK_BYTES / (w->dim[1] * (int64_t)rt_dtype_size(w->dtype) + 1);
    return rows < 8 ? 8 : rows > OUTPUTS_MAX ? OUTPUTS_MAX : rows;
}
static int64_t tasks_of(const rt_tensor *w) { return w->data ? (w->dim[0] + block_of(w) - 1) / block_of(w) : 0; }

typedef struct job {
    const rt_call *call;
    const void *x; /* [N,K] in the compute type */
} job;

#define RT_BODY "ops/linear_few.c"
#include "kernels/for_each_type.h"

static void run_block(void *context, int64_t task, int worker) {
    const job *j = context;
    RT_BY_TYPE(j->call, block, j, task, worker);
}

void rt_linear_few_size(rt_node *n, int64_t rows, int64_t K) {
    size_t size = rt_compute_size(n);
    n->prepare_tasks = 0;
    n->cache = 0;
    n->scratch = rt_align64((size_t)(rows * K) * size);
    n->worker_scratch = rt_align64((size_t)(rows * OUTPUTS_MAX) * size) + rt_align64(OUTPUTS_MAX * size);
    n->kernel = RT_FEW_KERNEL;
}

void rt_linear_few(const rt_call *c) {
    job j = {c, RT_BY_TYPE(c, whole_x, c)};
    int64_t tasks = 0;
    for (int i = 0; i < RT_LINEAR_WEIGHTS; i++) tasks += tasks_of(&c->in[RT_LINEAR_W + i]);
    rt_parallel(tasks, run_block, &j);
}
#else
static const void *F(whole_x)(const rt_call *c) {
    const rt_tensor *x = &c->in[RT_LINEAR_X];
    if (x->dtype == RT_T) return x->data;
    F(rt_rows_load)(x->dtype, x->data, c->scratch, rt_tensor_count(x));
    return c->scratch;
}

/* Columns [column, column + n) of one row: residual and bias added, rounded into place. */
static void F(finish)(const rt_call *c, int64_t row, int64_t column, int64_t n, const rt_tensor *bias, int64_t first, T *y, T *spare) {
    const rt_tensor *residual = &c->in[RT_LINEAR_RESIDUAL], *out = &c->out[0];
    size_t at = (size_t)column * rt_dtype_size(out->dtype);
    if (residual->data) {
        F(rt_rows_load)(residual->dtype, (char *)rt_row_ptr(residual, row) + at, spare, n);
        F(rt_rows)()->add(y, spare, y, n);
    }
    if (bias->data) {
        F(rt_rows_load)(bias->dtype, (char *)bias->data + (size_t)first * rt_dtype_size(bias->dtype), spare, n);
        F(rt_rows)()->add(y, spare, y, n);
    }
    if (F(rt_rows_store)(out->dtype, y, (char *)rt_row_ptr(out, row) + at, n)) rt_call_overflow(c, out);
}

static void F(block)(const job *j, int64_t task, int worker) {
    const rt_call *c = j->call;
    int64_t N = c->in[RT_LINEAR_X].dim[0], K = c->in[RT_LINEAR_X].dim[1], column = 0;
    int i = 0;
    for (; task >= tasks_of(&c->in[RT_LINEAR_W + i]); column += c->in[RT_LINEAR_W + i++].dim[0]) task -= tasks_of(&c->in[RT_LINEAR_W + i]);
    const rt_tensor *w = &c->in[RT_LINEAR_W + i];
    int64_t first = task * block_of(w), n = w->dim[0] - first < block_of(w) ? w->dim[0] - first : block_of(w);
    char *s = rt_scratch(worker);
    T *y = rt_take(&s, (size_t)(N * n) * sizeof(T)), *spare = rt_take(&s, (size_t)n * sizeof(T));
    F(rt_few_dots)(&(F(rt_few)){N, n, K, j->x, K, w->dtype, rt_row_ptr(w, first), K, y, n});
    for (int64_t r = 0; r < N; r++) F(finish)(c, r, column + first, n, &c->in[RT_LINEAR_BIAS + i], first, y + r * n, spare);
}
#endif
