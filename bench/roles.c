/* roles.c - see roles.h. */
#include "roles.h"
#include <stdio.h>
#include <string.h>

/* ----------------------------------------------------------------------------------------------------- profiles */

static bench_role *role_named(bench_roles *r, const char *name) {
    for (int i = 0; i < r->count; i++)
        if (strcmp(r->role[i].name, name) == 0) return &r->role[i];
    if (r->count == BENCH_ROLES_MAX) return NULL;
    snprintf(r->role[r->count].name, sizeof r->role->name, "%s", name);
    return &r->role[r->count++];
}
/* "teacher.layers.3.qkv": the graph's name and the last word, of all layers together. */
static bench_role *role_of(bench_roles *r, const char *node, bool backward) {
    char name[64];
    const char *dot = strrchr(node, '.');
    snprintf(name, sizeof name, "%.*s%s%s", (int)strcspn(node, "."), node, dot ? dot : "", backward ? ".backward" : "");
    return role_named(r, name);
}
static void add(bench_roles *r, const char *node, bool backward, double seconds) {
    bench_role *role = seconds > 0 ? role_of(r, node, backward) : NULL;
    if (role) role->seconds[r->samples - 1] += seconds;
}
static void see(void *context, const rt_graph_cost *n) {
    add(context, n->role, false, n->forward);
    add(context, n->role, true, n->backward);
}
static void see_work(void *context, const rt_graph_work *w) {
    for (int backward = 0; backward < 2; backward++) {
        const rt_work *work = backward ? &w->backward : &w->forward;
        bench_role *role = work->flops + work->bytes + work->inner > 0 ? role_of(context, w->role, backward) : NULL;
        if (!role) continue;
        role->flop += work->flops;
        role->bytes += work->bytes;
        role->inner += work->inner;
    }
}
/* The arithmetic of a step, once: it does not change. */
static void see_works(bench_roles *r) {
    const rt_trainer *t = r->job->trainer;
    if (r->count > 0) return;
    snprintf(r->role[r->count++].name, sizeof r->role->name, "outside the tapes");
    double micro = (double)r->job->job.data.accumulate;
    if (t->teacher.g) rt_graph_works(t->teacher.g, see_work, r);
    rt_graph_works(t->graph.g, see_work, r);
    for (int i = 0; i < r->count; i++) r->role[i].flop *= micro, r->role[i].bytes *= micro, r->role[i].inner *= micro;
}
/* Its two passes, and on the first call the bytes they move. */
static void see_optimizer(bench_roles *r, bool kept) {
    rt_optim_cost cost = rt_optim_cost_get(r->job->trainer->student.optim);
    bench_role *norm = role_named(r, "optimizer.norm"), *update = role_named(r, "optimizer.update");
    if (!norm || !update) return;
    norm->bytes = cost.norm_bytes, update->bytes = cost.update_bytes;
    if (kept) norm->seconds[r->samples - 1] = cost.norm_seconds, update->seconds[r->samples - 1] = cost.update_seconds;
}

static rt_status profile(rt_trainer *t, bool on, rt_error *err) { /* from zero */
    if (t->teacher.g) RT_TRY(rt_graph_profile(t->teacher.g, on, err));
    return rt_graph_profile(t->graph.g, on, err);
}

rt_status bench_roles_step(void *roles, rt_error *err) {
    bench_roles *r = roles;
    rt_trainer *t = r->job->trainer;
    bool warming = !r->warm;
    RT_TRY(profile(t, true, err));
    RT_TRY(bench_job_step(r->job, err));
    see_works(r);
    r->warm = true;
    if (warming) return see_optimizer(r, false), RT_OK;
    if (r->samples++ == BENCH_ROUNDS_MAX) return rt_fail(err, RT_E_ARG, "too many samples");
    double *rest = &r->role[0].seconds[r->samples - 1];
    if (t->teacher.g) rt_graph_costs(t->teacher.g, see, r);
    rt_graph_costs(t->graph.g, see, r);
    see_optimizer(r, true);
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

double bench_roles_flop(bench_roles *r, const char *const *parts) {
    double flop = 0;
    see_works(r);
    for (const char *const *p = parts; *p; p++)
        for (int i = 0; i < r->count; i++)
            if (strcmp(r->role[i].name, *p) == 0) flop += r->role[i].flop;
    return flop;
}
