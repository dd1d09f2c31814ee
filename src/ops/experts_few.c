/* experts_few.c - y[n] = sum_j w[n,j] down_e(silu(gate_e x[n]) * up_e x[n]) for few rows, in three rounds of tasks:
 *
 *   a[i]      = silu(gate x) * up x     (group of rows of one expert, block of hidden features), kernels/few.h `dots`
 *   part_b[i] = a[i][block b] down      (group, block b of hidden features): rows of down as they lie, `sums`
 *   y[n]      = sum_j w[n,j] sum_b part_b[slot of (n,j)]   (row), b and j in order
 *
 * for slots i: the pairs (row, chosen expert) in the order of experts. An expert that several rows chose is read once. */
#ifndef T
#include "ops/experts_few.h"
#include "kernels/few.h"
#include <string.h>

enum { HIDDEN = 64, PART = 128 }; /* hidden features of a task of the first and of the second round */
static int64_t pieces(int64_t n, int64_t size) { return (n + size - 1) / size; }

typedef struct group {
    int32_t expert, first, n; /* slots [first, first + n) */
} group;
typedef struct job {
    const rt_experts_few *e;
    const group *groups;
    int32_t *slot;       /* [pairs] of (row, choice) */
    char *x, *a, *parts; /* [pairs,D], [pairs,F], [blocks,pairs,D] */
    int64_t pairs;
} job;

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

size_t rt_experts_few_scratch(int64_t pairs, int64_t D, int64_t F, size_t size) {
    size_t n = (size_t)pairs;
    return rt_align64(n * sizeof(group)) + rt_align64(n * sizeof(int32_t)) + rt_align64(n * (size_t)D * size) + rt_align64(n * (size_t)F * size) +
           rt_align64((size_t)pieces(F, PART) * n * (size_t)D * size);
}
size_t rt_experts_few_worker(int64_t pairs, int64_t D, size_t size) {
    return rt_align64(2 * HIDDEN * (size_t)pairs * size) + 2 * rt_align64((size_t)D * size);
}

static void hidden_task(void *context, int64_t task, int worker) {
    const job *j = context;
    RT_BY_TYPE(j->e->call, hidden, j, task, worker);
}
static void part_task(void *context, int64_t task, int worker) {
    const job *j = context;
    (void)worker;
    RT_BY_TYPE(j->e->call, part, j, task);
}
static void combine_task(void *context, int64_t row, int worker) {
    const job *j = context;
    RT_BY_TYPE(j->e->call, combine, j, row, worker);
}

void rt_experts_few_run(const rt_experts_few *e) {
    char *s = e->call->scratch;
    size_t pairs = (size_t)e->places.pairs, size = rt_compute_size(e->call->node);
    group *groups = rt_take(&s, pairs * sizeof *groups);
    job j = {.e = e, .groups = groups, .pairs = e->places.pairs};
    j.slot = rt_take(&s, pairs * sizeof *j.slot);
    j.x = rt_take(&s, pairs * (size_t)e->D * size);
    j.a = rt_take(&s, pairs * (size_t)e->F * size);
    j.parts = s;
    int64_t count = make_groups(&e->places, groups, j.slot);
    RT_BY_TYPE(e->call, gather, &j);
    rt_parallel(count * pieces(e->F, HIDDEN), hidden_task, &j);
    rt_parallel(count * pieces(e->F, PART), part_task, &j);
    rt_parallel(e->x->dim[0], combine_task, &j);
}
#else
static void F(gather)(const job *j) {
    const rt_experts_few *e = j->e;
    for (int64_t p = 0; p < j->pairs; p++)
        F(rt_rows_load)(e->x->dtype, rt_row_ptr(e->x, p / e->k), (T *)(void *)j->x + j->slot[p] * e->D, e->D);
}

static void F(hidden)(const job *j, int64_t task, int worker) {
    const rt_experts_few *e = j->e;
    const group *g = &j->groups[task / pieces(e->F, HIDDEN)];
    int64_t f = task % pieces(e->F, HIDDEN) * HIDDEN, n = e->F - f < HIDDEN ? e->F - f : HIDDEN;
    size_t row = (size_t)e->D * rt_dtype_size(e->type);
    const char *w = e->gate_up(e->call, g->expert);
    const T *x = (const T *)(void *)j->x + g->first * e->D;
    T *h = rt_scratch(worker), *a = (T *)(void *)j->a + g->first * e->F + f;
    F(rt_few_dots)(&(F(rt_few)){g->n, n, e->D, x, e->D, e->type, w + (size_t)f * row, e->D, h, 2 * HIDDEN});
    F(rt_few_dots)(&(F(rt_few)){g->n, n, e->D, x, e->D, e->type, w + (size_t)(e->F + f) * row, e->D, h + HIDDEN, 2 * HIDDEN});
    for (int32_t i = 0; i < g->n; i++) F(rt_rows)()->swiglu(h + i * 2 * HIDDEN, h + i * 2 * HIDDEN + HIDDEN, a + i * e->F, n);
}

static T *F(part_of)(const job *j, int64_t block, int64_t slot) { return (T *)(void *)j->parts + (block * j->pairs + slot) * j->e->D; }
static void F(part)(const job *j, int64_t task) {
    const rt_experts_few *e = j->e;
    const group *g = &j->groups[task / pieces(e->F, PART)];
    int64_t block = task % pieces(e->F, PART), f = block * PART, n = e->F - f < PART ? e->F - f : PART;
    const char *w = e->down(e->call, g->expert) + (size_t)(f * e->D) * rt_dtype_size(e->type);
    T *y = F(part_of)(j, block, g->first);
    memset(y, 0, (size_t)(g->n * e->D) * sizeof(T));
    F(rt_few_sums)(&(F(rt_few)){g->n, e->D, n, (const T *)(void *)j->a + g->first * e->F + f, e->F, e->type, w, e->D, y, e->D});
}

static void F(combine)(const job *j, int64_t n, int worker) {
    const rt_experts_few *e = j->e;
    char *s = rt_scratch(worker);
    T *sum = rt_take(&s, (size_t)e->D * sizeof(T)), *y = rt_take(&s, (size_t)e->D * sizeof(T));
    memset(y, 0, (size_t)e->D * sizeof(T));
    for (int64_t p = n * e->k; p < (n + 1) * e->k; p++) {
        memcpy(sum, F(part_of)(j, 0, j->slot[p]), (size_t)e->D * sizeof(T));
        for (int64_t b = 1; b < pieces(e->F, PART); b++) F(rt_rows)()->add(sum, F(part_of)(j, b, j->slot[p]), sum, e->D);
        F(rt_rows)()->axpy(((const T *)e->w->data)[p], sum, y, e->D);
    }
    if (F(rt_rows_store)(e->y->dtype, y, rt_row_ptr(e->y, n), e->D)) rt_call_overflow(e->call, e->y);
}
#endif
