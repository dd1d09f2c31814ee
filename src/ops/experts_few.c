/* experts_few.c - y[n] = sum_j w[n,j] down_e(silu(gate_e x[n]) * up_e x[n]) for few rows, in three rounds of tasks:
 *
 *   a[i]      = silu(gate x) * up x     (group of rows of one expert, block of hidden features), kernels/few.h `dots`
 *   part_b[i] = a[i][block b] down      (group, block b of hidden features): rows of down [F,D] as they lie, `sums`
 *   y[n]      = sum_j w[n,j] sum_b part_b[slot of (n,j)]   (row), b and j in order
 *
 * for slots i: the pairs (row, chosen expert) in the order of experts. An expert that several rows chose is read once. Where down
 * lies as in the files, [D,F], the second round is part_0[i] = down a[i] instead (group, block of outputs), `dots` again. The first
 * two rounds run wave by wave, where not all chosen experts are present together. */
#ifndef T
#include "ops/experts_few.h"
#include "kernels/few.h"
#include <string.h>

enum { FEATURES = 64, PART = 128, OUTPUTS_OF_TASK = 64 }; /* features of a task of the first and of the second round; outputs of the latter */
static int64_t pieces(int64_t n, int64_t size) { return (n + size - 1) / size; }

typedef struct group {
    int32_t expert, first, n; /* slots [first, first + n) */
} group;
typedef struct few {
    const rt_expert_job *j;
    group *groups, *wave; /* [pairs] all; those whose experts are here */
    int32_t *slot;        /* [pairs] of (row, choice) */
    char *x, *a, *parts;  /* [pairs,D], [pairs,F], [parts of a slot, pairs, D] */
    bool transposed;      /* down lies as [D,F] */
} few;

/* Slots without the places' gaps; rows of x gathered in their order. */
static int64_t make_groups(const rt_places *p, group *groups, int32_t *slot) {
    int64_t count = 0;
    int32_t first = 0;
    for (int32_t e = 0; e < p->experts; e++) {
        if (p->count[e] == 0) continue;
        groups[count++] = (group){e, first, p->count[e]};
        for (int32_t i = 0; i < p->count[e]; i++) slot[p->pair[p->start[e] + i]] = first + i;
        first += p->count[e];
    }
    return count;
}

#define RT_BODY "ops/experts_few.c"
#include "kernels/for_each_type.h"

size_t rt_experts_few_scratch(rt_expert_sizes z, size_t size) {
    size_t n = (size_t)z.pairs, D = (size_t)z.D, F = (size_t)z.F;
    return 2 * rt_align64(n * sizeof(group)) + rt_align64(n * sizeof(int32_t)) + rt_align64(n * D * size) + rt_align64(n * F * size) +
           rt_align64((size_t)pieces(z.F, PART) * n * D * size);
}
size_t rt_experts_few_worker(rt_expert_sizes z, size_t size) {
    return rt_align64(2 * FEATURES * (size_t)z.pairs * size) + 2 * rt_align64((size_t)z.D * size);
}

static void hidden_task(void *context, int64_t task, int worker) {
    const few *f = context;
    RT_BY_TYPE(f->j->call, hidden, f, task, worker);
}
static void part_task(void *context, int64_t task, int worker) {
    const few *f = context;
    (void)worker;
    if (f->transposed) RT_BY_TYPE(f->j->call, outputs, f, task);
    else RT_BY_TYPE(f->j->call, part, f, task);
}
static void combine_task(void *context, int64_t row, int worker) {
    const few *f = context;
    RT_BY_TYPE(f->j->call, combine, f, row, worker);
}

static few open_few(const rt_expert_job *j) {
    size_t pairs = (size_t)j->z.pairs, size = rt_compute_size(j->call->node);
    char *s = (char *)j->call->scratch + rt_expert_scratch(j->z, size, false);
    few f = {.j = j};
    f.groups = rt_take(&s, pairs * sizeof(group)), f.wave = rt_take(&s, pairs * sizeof(group));
    f.slot = rt_take(&s, pairs * sizeof(int32_t));
    f.x = rt_take(&s, pairs * (size_t)j->z.D * size);
    f.a = rt_take(&s, pairs * (size_t)j->z.F * size);
    f.parts = s;
    return f;
}
static void run_wave(few *f, int64_t groups) {
    const rt_expert_sizes *z = &f->j->z;
    int64_t here = 0;
    for (int64_t i = 0; i < groups; i++)
        if (f->j->here[f->groups[i].expert]) f->wave[here++] = f->groups[i];
    f->transposed = f->j->down[f->wave[0].expert].at.transposed;
    rt_parallel(here * pieces(z->F, FEATURES), hidden_task, f);
    rt_parallel(here * (f->transposed ? pieces(z->D, OUTPUTS_OF_TASK) : pieces(z->F, PART)), part_task, f);
}
void rt_experts_few_run(rt_expert_job *j) {
    few f = open_few(j);
    int64_t n = rt_places_experts(&j->places, j->experts), groups = make_groups(&j->places, f.groups, f.slot), taken;
    RT_BY_TYPE(j->call, gather, &f);
    for (int64_t done = 0; done < n; done += taken) {
        j->wave = j->experts + done;
        if (!rt_expert_summon(j, n - done, &taken)) return;
        run_wave(&f, groups);
    }
    rt_parallel(j->z.N, combine_task, &f);
}
#else
static void F(gather)(const few *f) {
    const rt_tensor *x = &f->j->call->in[X];
    int64_t D = f->j->z.D;
    for (int64_t p = 0; p < f->j->z.pairs; p++)
        F(rt_rows_load)(x->dtype, rt_row_ptr(x, p / f->j->z.k), (T *)(void *)f->x + f->slot[p] * D, D);
}

/* Row r of a matrix that lies in rows. */
static const char *F(row_at)(const rt_expert_matrix *w, int64_t r) {
    int64_t half = w->at.block[1] ? w->rows / 2 : w->rows, below = r >= half;
    return (const char *)w->at.block[below] + (size_t)((r - below * half) * w->columns) * rt_dtype_size(w->dtype);
}
static void F(hidden)(const few *e, int64_t task, int worker) {
    int64_t D = e->j->z.D, width = e->j->z.F;
    const group *g = &e->wave[task / pieces(width, FEATURES)];
    int64_t f = task % pieces(width, FEATURES) * FEATURES, n = width - f < FEATURES ? width - f : FEATURES;
    const rt_expert_matrix *w = &e->j->gate_up[g->expert];
    const T *x = (const T *)(void *)e->x + g->first * D;
    T *h = rt_scratch(worker), *a = (T *)(void *)e->a + g->first * width + f;
    F(rt_few_dots)(&(F(rt_few)){g->n, n, D, x, D, w->dtype, F(row_at)(w, f), D, h, 2 * FEATURES});
    F(rt_few_dots)(&(F(rt_few)){g->n, n, D, x, D, w->dtype, F(row_at)(w, width + f), D, h + FEATURES, 2 * FEATURES});
    for (int32_t i = 0; i < g->n; i++) F(rt_rows)()->swiglu(h + i * 2 * FEATURES, h + i * 2 * FEATURES + FEATURES, a + i * width, n);
}

static T *F(part_of)(const few *e, int64_t block, int64_t slot) { return (T *)(void *)e->parts + (block * e->j->z.pairs + slot) * e->j->z.D; }
static void F(part)(const few *e, int64_t task) {
    int64_t D = e->j->z.D, width = e->j->z.F;
    const group *g = &e->wave[task / pieces(width, PART)];
    int64_t block = task % pieces(width, PART), f = block * PART, n = width - f < PART ? width - f : PART;
    const rt_expert_matrix *w = &e->j->down[g->expert];
    T *y = F(part_of)(e, block, g->first);
    memset(y, 0, (size_t)(g->n * D) * sizeof(T));
    F(rt_few_sums)(&(F(rt_few)){g->n, D, n, (const T *)(void *)e->a + g->first * width + f, width, w->dtype, F(row_at)(w, f), D, y, D});
}
/* Outputs of a block, all hidden features at once; the matrix lies as [D,F]. */
static void F(outputs)(const few *e, int64_t task) {
    int64_t D = e->j->z.D, width = e->j->z.F;
    const group *g = &e->wave[task / pieces(D, OUTPUTS_OF_TASK)];
    int64_t d = task % pieces(D, OUTPUTS_OF_TASK) * OUTPUTS_OF_TASK, n = D - d < OUTPUTS_OF_TASK ? D - d : OUTPUTS_OF_TASK;
    const rt_expert_matrix *w = &e->j->down[g->expert];
    const char *rows = (const char *)w->at.block[0] + (size_t)(d * width) * rt_dtype_size(w->dtype);
    F(rt_few_dots)(&(F(rt_few)){g->n, n, width, (const T *)(void *)e->a + g->first * width, width, w->dtype, rows, width, F(part_of)(e, 0, g->first) + d, D});
}

static void F(combine)(const few *e, int64_t n, int worker) {
    const rt_call *c = e->j->call;
    int64_t D = e->j->z.D, k = e->j->z.k, blocks = e->transposed ? 1 : pieces(e->j->z.F, PART);
    char *s = rt_scratch(worker);
    T *sum = rt_take(&s, (size_t)D * sizeof(T)), *y = rt_take(&s, (size_t)D * sizeof(T));
    memset(y, 0, (size_t)D * sizeof(T));
    for (int64_t p = n * k; p < (n + 1) * k; p++) {
        memcpy(sum, F(part_of)(e, 0, e->slot[p]), (size_t)D * sizeof(T));
        for (int64_t b = 1; b < blocks; b++) F(rt_rows)()->add(sum, F(part_of)(e, b, e->slot[p]), sum, D);
        F(rt_rows)()->axpy(((const T *)c->in[W].data)[p], sum, y, D);
    }
    if (F(rt_rows_store)(c->out[Y].dtype, y, rt_row_ptr(&c->out[Y], n), D)) rt_call_overflow(c, &c->out[Y]);
}
#endif
