/* head_layout.c - where a chunk's arrays lie. Everything the head needs besides its inputs and gradients is here, and none
 * of it depends on the number of tokens, nor on which terms are active. */
#include "ops/head_run.h"

static size_t place(size_t *total, int64_t elements, size_t size) {
    size_t at = *total;
    *total += ((size_t)elements * size + 63) / 64 * 64;
    return at;
}

static void place_side(const rt_head_attr *a, int s, int64_t C, size_t T, rt_head_place *p) {
    if (!a->present[s]) return;
    if (!a->given[s]) p->hidden_t[s] = place(&p->bytes, a->D[s] * C, T);
    p->z[s] = place(&p->bytes, a->vocab * C, T);
    p->max[s] = place(&p->bytes, C, T);
    if (a->top[s]) p->top[s] = place(&p->bytes, RT_HEAD_TOP * C, sizeof(int32_t));
}

static void place_worker(const rt_head_attr *a, int64_t C, size_t T, rt_head_place *p) {
    int64_t panel = 0;
    for (int s = 0; s < 2; s++) {
        int64_t rows = a->half_weight[s] ? RT_HEAD_PANEL : a->half_hidden[s] ? RT_HEAD_BLOCK : 0;
        if (a->present[s] && !a->given[s] && rows * a->D[s] > panel) panel = rows * a->D[s];
    }
    p->panel = place(&p->worker_bytes, panel, T);
    p->dz = place(&p->worker_bytes, RT_HEAD_TILE * C, T);
}

void rt_head_layout(const rt_head_attr *a, int64_t C, rt_head_place *p) {
    size_t T = a->prec[0].acc == RT_F64 ? 8 : 4;
    int64_t tiles = (a->vocab + RT_HEAD_TILE - 1) / RT_HEAD_TILE, segments = tiles < RT_HEAD_SEGMENTS ? tiles : RT_HEAD_SEGMENTS;
    *p = (rt_head_place){0};
    for (int s = 0; s < 2; s++) place_side(a, s, C, T, p);
    p->sum = place(&p->bytes, tiles * a->sums_max * C, T);
    p->log = place(&p->bytes, a->exps_max * C, T);
    p->lse = place(&p->bytes, a->exps_max * C, sizeof(double));
    p->total = place(&p->bytes, a->sums_max * C, T);
    p->total64 = place(&p->bytes, a->sums_max * C, sizeof(double));
    p->gain = place(&p->bytes, a->n_terms * C, T);
    p->target = place(&p->bytes, C, sizeof(int32_t));
    if (!a->given[0] && a->half_hidden[0]) p->hidden = place(&p->bytes, C * a->D[0], T);
    int64_t parts = tiles * (2 + a->exps_max) * C, d_hidden = segments * C * a->D[0];
    p->part = p->d_hidden = place(&p->bytes, parts > d_hidden ? parts : d_hidden, T);
    place_worker(a, C, T, p);
}

int64_t rt_head_bytes(const rt_head_attr *a, int64_t rows) {
    rt_head_place p;
    rt_head_layout(a, rows, &p);
    return (int64_t)(p.bytes + RT_HEAD_WORKERS * p.worker_bytes);
}
