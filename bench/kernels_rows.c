/* kernels_rows.c - loops over rows of 1024 (kernels/rows.h), and the sums of the coherence trace. Bytes are those of the operands that
 * do not stay in a cache. */
#ifndef T
#include "kernels.h"
#include "kernels/rows.h"
#include "kernels/trace.h"
#include <retort/base/threads.h>

enum { LENGTH = 1024, TASK_ROWS = 32, HALF_HEAD = 32 };

#define RT_BODY "bench/kernels_rows.c"
#include "kernels/for_each_type.h"

rt_status kernels_rows(kernels *k, rt_error *err) {
    RT_TRY(add_rows_f32(k, err));
    return add_rows_f64(k, err);
}
#else

/* x, y: rows of inputs; z: of an output (of y's kind where it is added to); w: one row that stays in the cache. */
typedef struct F(row) {
    const F(rt_row_kernels) * k;
    T *x, *y, *z, *w;
} F(row);
static void F(row_add)(const F(row) * r) { r->k->add(r->x, r->y, r->z, LENGTH); }
static void F(row_axpy)(const F(row) * r) { r->k->axpy((T)1e-6, r->x, r->z, LENGTH); }
static void F(row_dot)(const F(row) * r) { r->w[0] = r->k->dot(r->x, r->y, LENGTH); }
static void F(row_sumsq)(const F(row) * r) { r->w[0] = r->k->sumsq(r->x, LENGTH); }
static void F(row_exp)(const F(row) * r) { r->k->exp((T)1, r->x, r->z, LENGTH); }
static void F(row_softmax)(const F(row) * r) { r->w[0] = r->k->softmax(r->x, r->z, LENGTH); }
static void F(row_logsumexp)(const F(row) * r) { r->w[0] = r->k->logsumexp(r->x, LENGTH); }
static void F(row_rms)(const F(row) * r) { r->k->rms(r->x, r->w, (T)1e-5, r->z, LENGTH); }
static void F(row_rms_backward)(const F(row) * r) { r->k->rms_backward(r->x, r->w, (T)1.5, r->y, r->z, NULL, LENGTH); }
static void F(row_swiglu)(const F(row) * r) { r->k->swiglu(r->x, r->y, r->z, LENGTH); }
static void F(row_rope)(const F(row) * r) { r->k->rope(r->z, r->w, r->w + HALF_HEAD, HALF_HEAD, LENGTH / (2 * HALF_HEAD), 1); }
static void F(row_trace)(const F(row) * r) { /* as many rows as a task has, at once */
    double *sum = (double *)(r->w + LENGTH);
    F(rt_trace_rows)(r->x, r->w, r->w, 4, LENGTH / 4, sum, sum + LENGTH / 4);
}

typedef struct F(rows_case) {
    void (*run)(const F(row) * r);
    T *x, *y, *z;
    int64_t rows;
} F(rows_case);
static void F(rows_task)(void *context, int64_t task, int worker) {
    const F(rows_case) *c = context;
    for (int64_t i = task * TASK_ROWS; i < (task + 1) * TASK_ROWS; i++)
        c->run(&(F(row)){F(rt_rows)(), c->x + i * LENGTH, c->y + i * LENGTH, c->z + i * LENGTH, rt_scratch(worker)});
}
static rt_status F(run_rows)(void *context, rt_error *err) {
    F(rows_case) *c = context;
    (void)err;
    rt_parallel(c->rows / TASK_ROWS, F(rows_task), c);
    return RT_OK;
}

static void F(clear_scratch)(void *context, int64_t task, int worker) {
    (void)context, (void)task;
    T *w = rt_scratch(worker);
    for (int i = 0; i < 4 * LENGTH; i++) w[i] = i % HALF_HEAD ? 0 : 1;
}
static rt_status F(add_rows)(kernels *k, rt_error *err) {
    static const struct {
        const char *name;
        void (*run)(const F(row) * r);
        int moved; /* elements read and written for one */
    } all[] = {{"add", F(row_add), 3}, {"axpy", F(row_axpy), 3}, {"dot", F(row_dot), 2}, {"sumsq", F(row_sumsq), 1}, {"exp", F(row_exp), 2},
               {"softmax", F(row_softmax), 2}, {"logsumexp", F(row_logsumexp), 1}, {"rms", F(row_rms), 2}, {"rms_backward", F(row_rms_backward), 4},
               {"swiglu", F(row_swiglu), 3}, {"rope", F(row_rope), 2}, {"trace", F(row_trace), 1}};
    RT_TRY(rt_scratch_reserve(sizeof(double) * 4 * LENGTH, err));
    rt_parallel(4 * rt_threads(), F(clear_scratch), NULL);
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        F(rows_case) c = {all[i].run, (T *)k->a, (T *)k->c, (T *)k->d, KERNELS_POOL_BYTES / (int64_t)sizeof(T) / LENGTH};
        bench_case b = {.bytes = (double)all[i].moved * KERNELS_POOL_BYTES, .limit = BENCH_COPY, .run = F(run_rows)};
        snprintf(b.name, sizeof b.name, "rows.%s %s", all[i].name, sizeof(T) == 8 ? "f64" : "f32");
        RT_TRY(kernels_add(k, b, &c, sizeof c, err));
    }
    return RT_OK;
}
#endif
