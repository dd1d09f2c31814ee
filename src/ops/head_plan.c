/* head_plan.c - what one run of the head does: which terms, at which temperatures, hence which sides, log-sum-exps, largest ids and
 * sums over the vocabulary. Equal ones are made once. Scratch is sized for all terms, and where temperatures may change for no two of
 * those terms sharing one. */
#include "ops/head_run.h"
#include <math.h>

static bool needs_exps(const rt_head_attr *a, int i, int side) {
    unsigned bit = side == RT_HEAD_STUDENT ? RT_NEEDS_STUDENT_LSE : RT_NEEDS_TEACHER_LSE;
    return a->term[i].loss && (a->term[i].loss->needs & bit);
}
static bool fixed(const rt_head_attr *a, int i) { return a->term[i].loss->needs & RT_FIXED_TEMPERATURE; }

static bool always_share(const rt_head_attr *a, int i, int j) {
    return a->term[i].temperature == a->term[j].temperature && (!a->adjustable || (fixed(a, i) && fixed(a, j)));
}
int rt_head_exps_max(const rt_head_attr *a) {
    int count = 0;
    for (int i = 0; i < a->n_terms; i++)
        for (int s = 0; s < 2; s++) {
            if (!needs_exps(a, i, s)) continue;
            bool shared = false;
            for (int j = 0; j < i; j++) shared |= needs_exps(a, j, s) && always_share(a, i, j);
            count += !shared;
        }
    return count;
}

/* The kinds of sums a term ever wants. */
static unsigned sums_of(const rt_head_term *t) {
    bool silent = (t->loss->needs & RT_SUMS_IF_SMOOTHED) && t->label_smoothing == 0;
    return (silent ? 0 : t->loss->sums) | t->loss->totals;
}
static bool wants(const rt_head_term *t, unsigned set, int kind) {
    for (int k = 0; k < RT_SUM_KINDS; k++)
        if ((set & 1u << k) && rt_head_sum_at(k, t->beta) == kind) return true;
    return false;
}
static bool is_mixture(int kind) { return kind == RT_SUM_JSD || kind == RT_SUM_JSD_SLOPE; }
static bool same_beta(int kind, const rt_head_term *s, const rt_head_term *t) {
    return !is_mixture(kind) || s->beta == t->beta;
}
int rt_head_sums_max(const rt_head_attr *a) {
    int count = 0;
    for (int i = 0; i < a->n_terms; i++)
        for (int k = 0; k < RT_SUM_KINDS; k++) {
            const rt_head_term *t = &a->term[i];
            if (!t->loss || !wants(t, sums_of(t), k)) continue;
            bool shared = false;
            for (int j = 0; j < i; j++)
                shared |= a->term[j].loss && wants(&a->term[j], sums_of(&a->term[j]), k) && same_beta(k, t, &a->term[j]) &&
                          (k == RT_SUM_LOGITS || always_share(a, i, j));
            count += !shared;
        }
    return count;
}

static int sum_slot(const rt_head_attr *a, int i, int kind, rt_head_plan *p) {
    for (int s = 0; s < p->n_sums; s++) {
        int of = p->sum[s].of;
        if (p->sum[s].kind == kind && same_beta(kind, &a->term[i], &a->term[of]) &&
            (kind == RT_SUM_LOGITS || p->temperature[i] == p->temperature[of])) return s;
    }
    p->sum[p->n_sums] = (rt_head_sum){.kind = kind, .of = i, .maker = -1};
    return p->n_sums++;
}
static void add_sums(const rt_head_attr *a, int i, rt_head_plan *p) {
    const rt_head_term *t = &a->term[i];
    unsigned set = sums_of(t) & (t->loss->sums | (p->pulls[i] ? t->loss->totals : 0));
    for (int k = 0; k < RT_SUM_KINDS; k++) {
        int kind = set & 1u << k ? rt_head_sum_at(k, t->beta) : -1;
        p->sum_of[i][k] = kind < 0 ? -1 : sum_slot(a, i, kind, p);
    }
}
/* A gradient makes what it can along the way, unless some gradient reads it: then all of the vocabulary's comes before. */
static void choose_makers(const rt_head_attr *a, rt_head_plan *p) {
    for (int i = 0; i < a->n_terms; i++)
        for (int k = 0; k < RT_SUM_KINDS && p->pulls[i]; k++) {
            int s = p->sum_of[i][k];
            if (s >= 0 && (a->term[i].loss->along & 1u << k) && p->sum[s].maker < 0) p->sum[s].maker = i;
        }
    for (int i = 0; i < a->n_terms; i++)
        for (int k = 0; k < RT_SUM_KINDS && p->pulls[i]; k++)
            if (p->sum_of[i][k] >= 0 && (a->term[i].loss->totals & 1u << k)) p->sum[p->sum_of[i][k]].maker = -1;
}
static int group_of(const rt_head_attr *a, const rt_head_sum *s, rt_head_plan *p) {
    double temperature = p->temperature[s->of], beta = is_mixture(s->kind) ? a->term[s->of].beta : -1;
    int i = 0;
    while (i < p->n_groups && (p->group[i].temperature != temperature || (beta >= 0 && p->group[i].beta >= 0 && p->group[i].beta != beta))) i++;
    rt_head_group *g = &p->group[i];
    if (i == p->n_groups) p->n_groups++, *g = (rt_head_group){temperature, -1, {-1, -1}};
    if (beta >= 0) g->beta = beta;
    for (int side = 0; side < 2; side++)
        if (p->exp_of[s->of][side] >= 0) g->exp_of[side] = p->exp_of[s->of][side];
    return i;
}
static void group_sums(const rt_head_attr *a, rt_head_plan *p) {
    for (int s = 0; s < p->n_sums; s++)
        if (p->sum[s].maker < 0) p->sum[s].group = group_of(a, &p->sum[s], p);
}

static int exp_slot(rt_head_plan *p, int side, double temperature) {
    for (int e = 0; e < p->n_exps; e++)
        if (p->exp_side[e] == side && p->exp_temperature[e] == temperature) return e;
    p->exp_side[p->n_exps] = side;
    p->exp_temperature[p->n_exps] = temperature;
    return p->n_exps++;
}

static bool wants_gradient(const rt_call *c) {
    return c->in[IN_GAINS].data && (c->din[IN_HIDDEN].data || c->din[IN_WEIGHT].data || c->din[IN_LOGITS].data);
}
static void add_term(const rt_call *c, const rt_head_attr *a, int i, rt_head_plan *p) {
    const double *gains = c->in[IN_GAINS].data;
    unsigned needs = a->term[i].loss->needs;
    p->active[i] = p->used[RT_HEAD_STUDENT] = true;
    p->used[RT_HEAD_TEACHER] |= (needs & RT_NEEDS_TEACHER) != 0;
    p->top[RT_HEAD_STUDENT] |= (needs & RT_NEEDS_STUDENT_TOP) != 0;
    p->top[RT_HEAD_TEACHER] |= (needs & RT_NEEDS_TEACHER_TOP) != 0;
    p->pulls[i] = wants_gradient(c) && a->term[i].loss->gradient && gains[i] != 0;
    for (int s = 0; s < 2; s++) p->exp_of[i][s] = needs_exps(a, i, s) ? exp_slot(p, s, p->temperature[i]) : -1;
    add_sums(a, i, p);
}

/* Inactive terms are checked too: what a run accepts must not depend on the mask. */
static bool read_temperature(const rt_call *c, const rt_head_attr *a, int i, rt_head_plan *p) {
    const double *given = c->in[IN_TEMPERATURES].data;
    const rt_head_term *t = &a->term[i];
    p->temperature[i] = t->temperature;
    if (!given || given[i] <= 0 || given[i] == t->temperature) return true;
    if (fixed(a, i))
        rt_call_fail(c, RT_E_CONFIG, "term %d: '%s' is defined at temperature %g, not %g", i, t->loss->name, t->temperature, given[i]);
    else if (!isfinite(given[i]))
        rt_call_fail(c, RT_E_CONFIG, "term %d ('%s'): temperature %g, expected a positive number", i, t->loss->name, given[i]);
    p->temperature[i] = given[i];
    return !fixed(a, i) && isfinite(given[i]);
}

bool rt_head_plan_make(const rt_call *c, rt_head_plan *p) {
    const rt_head_attr *a = c->node->attr;
    const int32_t *active = c->in[IN_ACTIVE].data;
    *p = (rt_head_plan){0};
    for (int i = 0; i < a->n_terms; i++)
        if (!read_temperature(c, a, i, p)) return false;
    for (int i = 0; i < a->n_terms; i++)
        if (!active || active[i]) add_term(c, a, i, p);
    choose_makers(a, p);
    group_sums(a, p);
    return p->used[RT_HEAD_STUDENT];
}
