/* head_rows.c - the head's terms on rows: log-sum-exps, sums over the vocabulary, values, dz. No matrices here.
 *
 * Sums go: within a tile in the compute type, over tiles in f64 in order, over positions in f64 in order. So no bit
 * depends on threads or on how the rows were cut into chunks. */
#include "ops/head_run.h"
#include <retort/base/threads.h>
#include <math.h>
#include <string.h>

enum { LANES = 16 };

static double number(const rt_head_run *r, const void *array, int64_t i) {
    return r->size == 8 ? ((const double *)array)[i] : (double)((const float *)array)[i];
}
static void set_number(const rt_head_run *r, void *array, int64_t i, double x) {
    if (r->size == 8) ((double *)array)[i] = x;
    else ((float *)array)[i] = (float)x;
}
static double *doubles(const rt_head_run *r, size_t offset, int64_t i) { return (double *)(void *)(r->base + offset) + i; }
static int32_t *integers(const rt_head_run *r, size_t offset, int64_t i) { return (int32_t *)(void *)(r->base + offset) + i; }

/* --------------------------------------------------------------------------- targets */

static int32_t checked_target(const rt_head_run *r, int64_t row) {
    int32_t y = row < r->r0 + r->n ? ((const int32_t *)r->call->in[IN_TARGETS].data)[row] : -1;
    if (y >= -1 && y < r->a->vocab) return y;
    rt_call_fail(r->call, RT_E_INPUT, "target %d at row %lld is outside the vocabulary of %lld ids (-1: not supervised)", (int)y,
                 (long long)row, (long long)r->a->vocab);
    return -1;
}

void rt_head_begin_rows(const rt_head_run *r) {
    int32_t *target = integers(r, r->at.target, 0);
    const double *gains = r->call->in[IN_GAINS].data;
    for (int64_t n = 0; n < r->C; n++) target[n] = checked_target(r, r->r0 + n);
    for (int i = 0; i < r->a->n_terms; i++)
        for (int64_t n = 0; n < r->C && r->plan.active[i]; n++)
            set_number(r, rt_head_at(r, r->at.gain, i * r->C), n, gains && target[n] >= 0 ? gains[i] : 0);
}

/* -------------------------------------------------------------------- log-sum-exps */

static void *part(const rt_head_run *r, int64_t tile, int slot) {
    return rt_head_at(r, r->at.part, (tile * (2 + r->plan.n_exps) + slot) * r->C);
}

/* The sums of one side. At temperature 1 they are sums of squares of the exps at 2, always, so that the two share their exps and
 * neither's bits depend on the other being wanted. */
static void want(rt_head_partials *w, double temperature, void *sum) {
    double scale = temperature == 1 ? 0.5 : 1 / temperature;
    int k = 0;
    while (k < w->count && w->scale[k] != scale) k++;
    if (k == w->count) w->scale[w->count++] = scale;
    *(temperature == 1 ? &w->squares[k] : &w->sum[k]) = sum;
}
void rt_head_tile_sums(const rt_head_run *r, int64_t tile) {
    for (int s = 0; s < 2; s++) {
        rt_head_partials w = {.rows = r->C, .max = part(r, tile, s)};
        if (!r->plan.used[s]) continue;
        for (int e = 0; e < r->plan.n_exps; e++)
            if (r->plan.exp_side[e] == s) want(&w, r->plan.exp_temperature[e], part(r, tile, 2 + e));
        r->kernels->partials(rt_head_logits_at(r, s, tile), rt_head_ids(r, tile), &w);
    }
}

static void join_exps(const rt_head_run *r, int e, int64_t n0) {
    int side = r->plan.exp_side[e];
    int64_t stride = (2 + r->plan.n_exps) * r->C;
    double scale = 1 / r->plan.exp_temperature[e], sum[LANES];
    char *max = rt_head_at(r, r->at.max[side], n0), *parts = part(r, 0, side), *sums = part(r, 0, 2 + e);
    r->kernels->join_exp(parts + (size_t)n0 * r->size, sums + (size_t)n0 * r->size, r->tiles, stride, scale, max, sum);
    for (int l = 0; l < LANES; l++) {
        double log_sum = log(sum[l]);
        set_number(r, rt_head_at(r, r->at.log, e * r->C), n0 + l, log_sum);
        *doubles(r, r->at.lse, e * r->C + n0 + l) = number(r, max, l) * scale + log_sum;
    }
}
static void join_task(void *context, int64_t task, int worker) {
    (void)worker;
    const rt_head_run *r = context;
    int64_t n0 = task * LANES;
    for (int s = 0; s < 2; s++) {
        if (!r->plan.used[s]) continue;
        r->kernels->join_max((char *)part(r, 0, s) + (size_t)n0 * r->size, r->tiles, (2 + r->plan.n_exps) * r->C,
                             rt_head_at(r, r->at.max[s], n0));
    }
    for (int e = 0; e < r->plan.n_exps; e++) join_exps(r, e, n0);
}
static void top_task(void *context, int64_t task, int worker) {
    (void)worker;
    const rt_head_run *r = context;
    int64_t n0 = task * RT_HEAD_TOP_ROWS, left = r->C - n0, count = left < RT_HEAD_TOP_ROWS ? left : RT_HEAD_TOP_ROWS;
    for (int s = 0; s < 2; s++)
        if (r->plan.top[s]) r->kernels->top(rt_head_at(r, r->at.z[s], n0), r->a->vocab, r->C, count, integers(r, r->at.top[s], n0));
}
void rt_head_join(const rt_head_run *r) {
    rt_parallel(r->C / LANES, join_task, (void *)r);
    if (r->plan.top[RT_HEAD_STUDENT] || r->plan.top[RT_HEAD_TEACHER]) rt_parallel((r->C + RT_HEAD_TOP_ROWS - 1) / RT_HEAD_TOP_ROWS, top_task, (void *)r);
}

/* ------------------------------------------------------------------------------ terms */

static void *sum_at(const rt_head_run *r, int64_t tile, int s) { return rt_head_at(r, r->at.sum, (tile * r->plan.n_sums + s) * r->C); }

static rt_head_tile view(const rt_head_run *r, int64_t tile, double temperature, double beta, const int exp_of[2]) {
    rt_head_tile t = {.dtype = r->a->prec[0].acc, .rows = r->C, .ids = rt_head_ids(r, tile), .first_id = tile * RT_HEAD_TILE, .vocab = r->a->vocab,
                      .temperature = temperature, .beta = beta, .target = integers(r, r->at.target, 0)};
    for (int s = 0; s < 2; s++)
        if (exp_of[s] >= 0)
            t.side[s] = (rt_head_logits){rt_head_logits_at(r, s, tile), rt_head_at(r, r->at.max[s], 0), rt_head_at(r, r->at.log, exp_of[s] * r->C)};
    return t;
}

/* Pass 2 of a tile: a group's sums in one loop. */
static void sums_task(void *context, int64_t tile, int worker) {
    (void)worker;
    const rt_head_run *r = context;
    const rt_head_plan *p = &r->plan;
    for (int i = 0; i < p->n_groups; i++) {
        const rt_head_group *g = &p->group[i];
        rt_head_tile t = view(r, tile, g->temperature, g->beta, g->exp_of);
        for (int s = 0; s < p->n_sums; s++)
            if (p->sum[s].maker < 0 && p->sum[s].group == i) t.sum[p->sum[s].kind] = sum_at(r, tile, s);
        r->kernels->sums(&t);
    }
}
void rt_head_sums(const rt_head_run *r) {
    if (r->plan.n_groups) rt_parallel(r->tiles, sums_task, (void *)r);
}

/* One term of dz, and the sums it makes along the way. */
static void term_dz(const rt_head_run *r, int i, int64_t tile, void *dz, bool fresh) {
    const rt_head_term *term = &r->a->term[i];
    rt_head_tile t = view(r, tile, r->plan.temperature[i], term->beta, r->plan.exp_of[i]);
    t.label_smoothing = term->label_smoothing;
    t.gain = rt_head_at(r, r->at.gain, i * r->C);
    t.dz = dz;
    t.fresh = fresh;
    for (int k = 0; k < RT_SUM_KINDS; k++) {
        int s = r->plan.sum_of[i][k];
        if (s < 0) continue;
        int kind = r->plan.sum[s].kind;
        t.total[kind] = rt_head_at(r, r->at.total, s * r->C);
        if (r->plan.sum[s].maker == i) t.sum[kind] = sum_at(r, tile, s);
    }
    term->loss->gradient(&t);
}
void rt_head_dz(const rt_head_run *r, int64_t tile, void *dz) {
    bool fresh = true;
    for (int i = 0; i < r->a->n_terms; i++)
        if (r->plan.pulls[i]) term_dz(r, i, tile, dz, fresh), fresh = false;
}

/* ------------------------------------------------------------------------------- sums */

static void finish_row(const rt_head_run *r, int slot, int64_t n) {
    double sum = 0;
    for (int64_t j = 0; j < r->tiles; j++) sum += number(r, sum_at(r, j, slot), n);
    *doubles(r, r->at.total64, slot * r->C + n) = sum;
    set_number(r, rt_head_at(r, r->at.total, slot * r->C), n, sum);
}
typedef struct finish_call {
    const rt_head_run *r;
    bool along;
} finish_call;
static void finish_task(void *context, int64_t task, int worker) {
    (void)worker;
    const finish_call *c = context;
    for (int s = 0; s < c->r->plan.n_sums; s++)
        for (int64_t n = task * LANES; n < (task + 1) * LANES && (c->r->plan.sum[s].maker >= 0) == c->along; n++) finish_row(c->r, s, n);
}
void rt_head_finish(const rt_head_run *r, bool along) {
    finish_call c = {r, along};
    rt_parallel(r->C / LANES, finish_task, &c);
}

/* ---------------------------------------------------------------------------- results */

typedef struct position {
    int32_t top[2][RT_HEAD_TOP];
    double at_target[2], sum[RT_SUM_KINDS], student_top;
} position;

static void read_position(const rt_head_run *r, int64_t n, int32_t target, position *p) {
    *p = (position){0};
    for (int s = 0; s < 2; s++) {
        if (!r->plan.used[s]) continue;
        const void *z = rt_head_at(r, r->at.z[s], 0);
        p->at_target[s] = number(r, z, target * r->C + n);
        for (int k = 0; k < RT_HEAD_TOP && r->plan.top[s]; k++) p->top[s][k] = *integers(r, r->at.top[s], k * r->C + n);
        if (s == RT_HEAD_STUDENT && r->plan.top[s]) p->student_top = number(r, rt_head_at(r, r->at.max[s], 0), n);
    }
}
static void report_row(const rt_head_run *r, int64_t n, int32_t target) {
    const rt_head_attr *a = r->a;
    position p;
    read_position(r, n, target, &p);
    for (int i = 0; i < a->n_terms; i++) {
        if (!r->plan.active[i]) continue;
        double lse[2] = {0}, *columns = (double *)r->call->out[0].data + i * a->width;
        for (int s = 0; s < 2; s++)
            if (r->plan.exp_of[i][s] >= 0) lse[s] = *doubles(r, r->at.lse, r->plan.exp_of[i][s] * r->C + n);
        for (int k = 0; k < RT_SUM_KINDS; k++)
            if (r->plan.sum_of[i][k] >= 0) p.sum[k] = *doubles(r, r->at.total64, r->plan.sum_of[i][k] * r->C + n);
        const rt_head_term *t = &a->term[i];
        rt_vocab_row row = {target, a->vocab, r->plan.temperature[i], t->beta, t->label_smoothing, p.at_target[0], p.at_target[1], lse[0], lse[1],
                            p.sum, p.top[0], p.top[1], p.student_top};
        t->loss->finish(&row, columns);
        columns[a->width - 1] += 1;
    }
}
void rt_head_report_rows(const rt_head_run *r) {
    const int32_t *target = integers(r, r->at.target, 0);
    for (int64_t n = 0; n < r->n; n++)
        if (target[n] >= 0) report_row(r, n, target[n]);
}
