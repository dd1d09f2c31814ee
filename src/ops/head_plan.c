/* head_plan.c - what one run of the head does: which terms, at which temperatures, hence which sides, log-sum-exps and
 * largest ids. Scratch is sized for all terms, and where temperatures may change for no two of those terms sharing one. */
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

static int exp_slot(rt_head_plan *p, int side, double temperature) {
    for (int e = 0; e < p->n_exps; e++)
        if (p->exp_side[e] == side && p->exp_temperature[e] == temperature) return e;
    p->exp_side[p->n_exps] = side;
    p->exp_temperature[p->n_exps] = temperature;
    return p->n_exps++;
}

static void add_term(const rt_head_attr *a, int i, rt_head_plan *p) {
    unsigned needs = a->term[i].loss->needs;
    p->active[i] = p->used[RT_HEAD_STUDENT] = true;
    p->used[RT_HEAD_TEACHER] |= (needs & RT_NEEDS_TEACHER) != 0;
    p->top[RT_HEAD_STUDENT] |= (needs & RT_NEEDS_STUDENT_TOP) != 0;
    p->top[RT_HEAD_TEACHER] |= (needs & RT_NEEDS_TEACHER_TOP) != 0;
    for (int s = 0; s < 2; s++) p->exp_of[i][s] = needs_exps(a, i, s) ? exp_slot(p, s, p->temperature[i]) : -1;
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
        if (!active || active[i]) add_term(a, i, p);
    return p->used[RT_HEAD_STUDENT];
}
