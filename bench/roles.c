/* roles.c - see roles.h. */
#include "roles.h"
#include <stdio.h>
#include <string.h>

/* --------------------------------------------------------------------------------------------------- arithmetic */

static bool is(const char *a, const char *b) { return strcmp(a, b) == 0; }

double bench_role_flop(const rt_model_config *c, const char *role, double rows, double T) {
    double D = (double)c->hidden_size, L = (double)c->layers, F = (double)c->ffn_size, Q = (double)(c->heads * c->head_dim);
    double K = (double)(c->kv_heads * c->head_dim), each = 0;
    if (is(role, "qkv")) each = D * (Q + 2 * K);
    else if (is(role, "attn_out")) each = D * Q;
    else if (is(role, "gate_up")) each = 2 * D * F;
    else if (is(role, "down")) each = D * F;
    else if (is(role, "router")) each = D * (double)c->experts;
    else if (is(role, "experts")) each = 3 * D * F * (double)c->experts_per_token;
    else if (is(role, "attention")) each = Q * (T + 1); /* two products over (T + 1) / 2 keys a token */
    return 2 * rows * each * L;
}

/* Backward makes two products for each of forward's; attention makes five for forward's two (scores again). */
static double backward_factor(const char *role) { return is(role, "attention") ? 2.5 : 2; }

static double role_flop(const bench_job *b, bool teacher, const char *role, bool backward) {
    const rt_model_config *student = &b->trainer->config, *c = teacher ? bench_job_teacher(b) : student;
    if (is(role, "head")) { /* values and gradients in one operation */
        const rt_model_config *other = bench_job_teacher(b);
        return backward ? 0 : 2 * b->tokens * (double)c->vocab_size * (3.0 * (double)student->hidden_size + (other ? (double)other->hidden_size : 0));
    }
    double forward = bench_role_flop(c, role, b->tokens, (double)b->T);
    return backward ? backward_factor(role) * forward : forward;
}

/* ----------------------------------------------------------------------------------------------------- profiles */

typedef struct reading {
    bench_roles *r;
    bool teacher;
} reading;

static bench_role *role_named(bench_roles *r, const char *name, double flop) {
    for (int i = 0; i < r->count; i++)
        if (is(r->role[i].name, name)) return &r->role[i];
    if (r->count == BENCH_ROLES_MAX) return NULL;
    bench_role *new = &r->role[r->count++];
    snprintf(new->name, sizeof new->name, "%s", name);
    new->flop = flop;
    return new;
}
static void add(reading *x, const char *role, bool backward, double seconds) {
    char name[64];
    if (seconds <= 0) return;
    snprintf(name, sizeof name, "%s.%s%s", x->teacher ? "teacher" : "student", role, backward ? ".backward" : "");
    bench_role *r = role_named(x->r, name, role_flop(x->r->job, x->teacher, role, backward));
    if (r) r->seconds[x->r->samples - 1] += seconds;
}
static void see(void *context, const rt_graph_cost *n) {
    const char *dot = strrchr(n->role, '.'), *role = dot ? dot + 1 : n->role;
    add(context, role, false, n->forward);
    add(context, role, true, n->backward);
}

static rt_status profile(rt_trainer *t, bool on, rt_error *err) { /* from zero */
    if (t->teacher.g) RT_TRY(rt_graph_profile(t->teacher.g, on, err));
    return rt_graph_profile(t->graph.g, on, err);
}

rt_status bench_roles_step(void *roles, rt_error *err) {
    bench_roles *r = roles;
    rt_trainer *t = r->job->trainer;
    bool warming = r->count == 0 && r->samples == 0;
    RT_TRY(profile(t, true, err));
    RT_TRY(bench_job_step(r->job, err));
    if (warming) return role_named(r, "outside the tapes", 0), RT_OK;
    if (r->samples++ == BENCH_ROUNDS_MAX) return rt_fail(err, RT_E_ARG, "too many samples");
    double *rest = &r->role[0].seconds[r->samples - 1];
    if (t->teacher.g) rt_graph_costs(t->teacher.g, see, &(reading){r, true});
    rt_graph_costs(t->graph.g, see, &(reading){r, false});
    *rest = r->job->report.seconds;
    for (int i = 1; i < r->count; i++) *rest -= r->role[i].seconds[r->samples - 1];
    return RT_OK;
}

/* ------------------------------------------------------------------------------------------------------- figures */

void bench_roles_report(bench *b, const bench_roles *r, const char *prefix) {
    char name[128];
    for (int i = 0; i < r->count; i++) {
        snprintf(name, sizeof name, "%s.%s", prefix, r->role[i].name);
        bench_part(b, name, r->role[i].seconds, r->role[i].flop);
    }
}

void bench_roles_sum(bench *b, const bench_roles *r, const char *name, const char *const *parts, bool with_flop) {
    double seconds[BENCH_ROUNDS_MAX] = {0}, flop = 0;
    for (const char *const *p = parts; *p; p++)
        for (int i = 0; i < r->count; i++) {
            if (strcmp(r->role[i].name, *p) != 0) continue;
            flop += r->role[i].flop;
            for (int k = 0; k < r->samples; k++) seconds[k] += r->role[i].seconds[k];
        }
    bench_part(b, name, seconds, with_flop ? flop : 0);
}
