/* run_profile.c - what a profile gathers: seconds by role, step by step, and memory at the end. See run_profile.h. */
#include "train/run_profile.h"
#include "kernels/measure.h"
#include <retort/base/threads.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Roles outside the tapes, in this order from p->host on. */
enum { NORM, UPDATE, LOADER, MEASURES, AFTER, LOG, OUTSIDE, HOST_ROLES };

/* ----------------------------------------------------------------- resident memory (Linux) */

static int64_t peak_bytes(void) {
    char line[256];
    long long kib = 0;
    FILE *f = fopen("/proc/self/status", "r");
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "VmHWM: %lld", &kib) == 1) break;
    if (f) fclose(f);
    return kib * 1024;
}
static void reset_peak(void) { /* where the kernel grants it; else the yardsticks are in the peak */
    FILE *f = fopen("/proc/self/clear_refs", "w");
    if (!f) return;
    fputs("5", f);
    fclose(f);
}

/* -------------------------------------------------------------------------------- begin */

rt_status rt_run_profile_rates(rt_run_profile *p, rt_error *err) {
    if (!p) return RT_OK;
    RT_TRY(rt_measure_product_rate(&p->product[p->rates], err));
    RT_TRY(rt_measure_copy_rate(&p->copy[p->rates], err));
    p->rates = 1;
    return RT_OK;
}

rt_status rt_run_profile_open(rt_run_profile **out, rt_error *err) {
    rt_run_profile *p = *out = rt_zalloc(sizeof *p);
    if (!p) return rt_fail(err, RT_E_NOMEM, "out of memory: profile");
    RT_TRY(rt_run_profile_rates(p, err));
    reset_peak();
    return RT_OK;
}
void rt_run_profile_close(rt_run_profile *p) {
    if (!p) return;
    rt_arena_free(&p->arena);
    rt_free(p);
}

/* "student.layers.3.qkv" -> "student.qkv", or "student.qkv.backward". */
static int role_of(rt_run_profile *p, const char *node, rt_profile_group group, bool backward) {
    rt_profile_role *r = &p->role[p->roles];
    const char *last = strrchr(node, '.');
    int i = 0, first = (int)strcspn(node, "."), length = (int)strlen(last ? last + 1 : node);
    if (group == RT_GROUP_PROJECTOR) length = (int)sizeof r->name; /* its two directions share a group */
    *r = (rt_profile_role){.group = group};
    snprintf(r->name, sizeof r->name, "%.*s.%s%s", first, node, last ? last + 1 : node, backward ? ".backward" : "");
    while (strcmp(p->role[i].name, r->name) != 0) i++; /* it is found at the end if not before */
    if (i < p->roles) return i;
    r->label = rt_arena_printf(&p->arena, "%.*s", length, r->name + first + 1);
    return p->roles++;
}

typedef struct mapping {
    rt_run_profile *p;
    rt_profile_tape *tape;
    rt_profile_group group[2];
    double times; /* a step runs the tape */
    int64_t at;
} mapping;
static void map_node(void *context, const rt_graph_work *w) {
    mapping *m = context;
    for (int backward = 0; backward < 2; backward++) {
        const rt_work *work = backward ? &w->backward : &w->forward;
        bool head = m->group[0] == RT_GROUP_FORWARD && strcmp(w->op, "head") == 0;
        int i = role_of(m->p, w->role, head ? RT_GROUP_HEAD : m->group[backward], backward);
        m->p->role[i].work.flops += m->times * work->flops;
        m->p->role[i].work.bytes += m->times * work->bytes;
        m->p->role[i].work.inner += m->times * work->inner;
        m->tape->role[backward][m->at] = i;
    }
    m->at++;
}
static rt_status add_tape(rt_run_profile *p, rt_graph *g, rt_profile_group forward, rt_profile_group backward, double times, rt_error *err) {
    if (!g) return RT_OK;
    rt_profile_tape *tape = &p->tape[p->tapes++];
    size_t nodes = (size_t)rt_graph_stats_get(g).nodes;
    *tape = (rt_profile_tape){.g = g, .nodes = (int64_t)nodes};
    for (int i = 0; i < 2; i++) {
        tape->role[i] = rt_arena_alloc(&p->arena, nodes * sizeof(int));
        tape->seen[i] = rt_arena_alloc(&p->arena, nodes * sizeof(double));
        if (!tape->role[i] || !tape->seen[i]) return rt_fail(err, RT_E_NOMEM, "out of memory: profile");
    }
    rt_graph_works(g, map_node, &(mapping){p, tape, {forward, backward}, times, 0});
    return rt_graph_profile(g, true, err);
}

static void add_host(rt_run_profile *p, const rt_trainer *t) {
    static const char *const names[HOST_ROLES] = {"norm", NULL, "loader", "measures", "after the step", "log", "outside the tapes"};
    rt_optim_cost cost = rt_optim_cost_get(t->student.optim);
    p->host = p->roles;
    for (int i = 0; i < HOST_ROLES; i++) {
        rt_profile_role *r = &p->role[p->roles++];
        *r = (rt_profile_role){.group = i <= UPDATE ? RT_GROUP_OPTIMIZER : RT_GROUP_HOST, .label = names[i] ? names[i] : t->job->optimizer.name};
        snprintf(r->name, sizeof r->name, "%s%s", i <= UPDATE ? "optimizer." : "", r->label);
    }
    p->role[p->host + NORM].work.bytes = cost.norm_bytes;
    p->role[p->host + UPDATE].work.bytes = cost.update_bytes;
}

static bool labels(const rt_run_profile *p) {
    for (int i = 0; i < p->roles; i++)
        if (!p->role[i].label) return false;
    return true;
}
rt_status rt_run_profile_begin(rt_run_profile *p, rt_trainer *t, rt_error *err) {
    if (!p) return RT_OK;
    rt_graph *projector = t->projection ? rt_projection_graph(t->projection) : NULL, *all[] = {t->teacher.g, projector, t->graph.g};
    double times = (double)t->job->data.accumulate;
    size_t nodes = 0;
    for (int i = 0; i < RT_PROFILE_TAPES; i++) nodes += all[i] ? (size_t)rt_graph_stats_get(all[i]).nodes : 0;
    p->role = rt_arena_alloc(&p->arena, (2 * nodes + HOST_ROLES + 1) * sizeof *p->role);
    p->hold = rt_arena_alloc(&p->arena, (nodes + 1) * sizeof *p->hold);
    if (!p->role || !p->hold) return rt_fail(err, RT_E_NOMEM, "out of memory: profile");
    RT_TRY(add_tape(p, all[0], RT_GROUP_TEACHER, RT_GROUP_TEACHER, times, err));
    RT_TRY(add_tape(p, all[1], RT_GROUP_PROJECTOR, RT_GROUP_PROJECTOR, times, err));
    RT_TRY(add_tape(p, all[2], RT_GROUP_FORWARD, RT_GROUP_BACKWARD, times, err));
    add_host(p, t);
    if (!labels(p)) return rt_fail(err, RT_E_NOMEM, "out of memory: profile");
    t->phases = &p->phases;
    return RT_OK;
}

/* -------------------------------------------------------------------------------- steps */

typedef struct reading {
    rt_run_profile *p;
    rt_profile_tape *tape;
    int64_t at;
    bool counted;
    double sum;
} reading;
static void read_node(void *context, const rt_graph_cost *c) {
    reading *r = context;
    double now[2] = {c->forward, c->backward};
    for (int i = 0; i < 2; i++) {
        double *seen = &r->tape->seen[i][r->at], spent = now[i] - *seen;
        if (r->counted) r->p->role[r->tape->role[i][r->at]].seconds += spent;
        r->sum += spent;
        *seen = now[i];
    }
    r->at++;
}
/* Seconds in the tapes since it was called last; evaluations run the teacher's tape too, so steps are counted one by one. */
static double read_tapes(rt_run_profile *p, bool counted) {
    double sum = 0;
    for (int i = 0; i < p->tapes; i++) {
        reading r = {p, &p->tape[i], 0, counted, 0};
        rt_graph_costs(p->tape[i].g, read_node, &r);
        sum += r.sum;
    }
    return sum;
}

void rt_run_profile_before(rt_run_profile *p) {
    if (!p) return;
    read_tapes(p, false);
    p->before = p->phases;
}
static double phase(const rt_run_profile *p, rt_phase which) { return p->phases.seconds[which] - p->before.seconds[which]; }

void rt_run_profile_after(rt_run_profile *p, const rt_trainer *t, const rt_step_report *s) {
    if (!p) return;
    bool counted = p->skipped > 0;
    double tapes = read_tapes(p, counted);
    rt_optim_cost cost = rt_optim_cost_get(t->student.optim);
    double spent[HOST_ROLES] = {[NORM] = cost.norm_seconds, [UPDATE] = cost.update_seconds, [LOADER] = phase(p, RT_PHASE_LOADER),
                                [MEASURES] = phase(p, RT_PHASE_MEASURES), [AFTER] = phase(p, RT_PHASE_AFTER), [LOG] = phase(p, RT_PHASE_LOG)};
    p->last_step = s->step;
    if (!counted) {
        p->skipped++;
        return;
    }
    double whole = s->seconds + spent[LOG], rest = whole - tapes;
    for (int i = 0; i < OUTSIDE; i++) rest -= spent[i];
    spent[OUTSIDE] = rest;
    for (int i = 0; i < HOST_ROLES; i++) p->role[p->host + i].seconds += spent[i];
    p->steps++;
    p->seconds += whole;
    p->tokens += s->tokens;
}

static void add_work(void *context, const rt_graph_work *w) {
    rt_work *sum = context;
    sum->flops += w->forward.flops;
    sum->bytes += w->forward.bytes;
}
/* Of both models, batch by batch. */
void rt_run_profile_evaluated(rt_run_profile *p, const rt_trainer *t, const rt_evaluation *v) {
    if (!p) return;
    rt_work batch = {0};
    double batches = (double)((v->windows + t->job->data.batch - 1) / t->job->data.batch);
    rt_graph_works(rt_evaluator_graph(t->evaluator), add_work, &batch);
    if (t->teacher.g) rt_graph_works(t->teacher.g, add_work, &batch);
    p->evaluation.flops += batches * batch.flops;
    p->evaluation.bytes += batches * batch.bytes;
}

/* --------------------------------------------------------------------------------- end */

static void hold(void *context, const char *role, rt_held what, int64_t bytes) {
    rt_run_profile *p = context;
    const char *last = strrchr(role, '.');
    int i = 0;
    if (last) role = last + 1;
    while (i < p->held && strcmp(p->hold[i].role, role) != 0) i++;
    if (i == p->held) p->hold[p->held++] = (rt_profile_held){.role = role};
    p->hold[i].bytes[what] += bytes;
}
static int64_t total(const rt_profile_held *h) { return h->bytes[0] + h->bytes[1] + h->bytes[2]; }
static int larger(const void *a, const void *b) {
    int64_t x = total(a), y = total(b);
    return x != y ? (x < y) - (x > y) : strcmp(((const rt_profile_held *)a)->role, ((const rt_profile_held *)b)->role);
}
static int64_t weight_bytes(const rt_weights *w) {
    int64_t sum = 0;
    for (int64_t i = 0; i < w->count; i++) sum += (int64_t)rt_tensor_bytes(&w->slots[i].t);
    return sum;
}
static int64_t arena(const rt_graph *g) { return g ? rt_graph_stats_get(g).arena_bytes : 0; }

/* The names die with the trainer's tape. */
static bool keep_names(rt_run_profile *p) {
    bool kept = (p->memory.moment.role = rt_arena_strdup(&p->arena, p->memory.moment.role)) != NULL;
    for (int i = 0; i < p->held; i++) kept &= (p->hold[i].role = rt_arena_strdup(&p->arena, p->hold[i].role)) != NULL;
    return kept;
}
rt_status rt_run_profile_end(rt_run_profile *p, const rt_trainer *t, rt_error *err) {
    if (!rt_run_profile_began(p)) return RT_OK;
    const rt_student *s = &t->student;
    p->memory = (rt_profile_memory){
        .weights = (int64_t)s->weights.block_bytes, .masters = (int64_t)s->master.block_bytes, .gradients = (int64_t)s->grads.block_bytes,
        .moments = (int64_t)(s->m.block_bytes + s->v.block_bytes), .files = weight_bytes(&t->teacher_files.weights),
        .packed = t->teacher.g ? rt_graph_stats_get(t->teacher.g).cache_bytes : 0, .step = arena(t->graph.g),
        .evaluation = arena(rt_evaluator_graph(t->evaluator)), .teacher = arena(t->teacher.g),
        .projector = t->projection ? arena(rt_projection_graph(t->projection)) : 0, .scratch = (int64_t)rt_scratch_bytes() * rt_threads(),
        .peak = peak_bytes()};
    p->memory.moment = rt_graph_fullest(t->graph.g, hold, p);
    qsort(p->hold, (size_t)p->held, sizeof *p->hold, larger);
    return keep_names(p) ? RT_OK : rt_fail(err, RT_E_NOMEM, "out of memory: profile");
}
