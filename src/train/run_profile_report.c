/* run_profile_report.c - a profile as a table for people and as the record `profile` of the log. */
#include "train/run_profile.h"
#include <stdio.h>
#include <string.h>

static double product_rate(const rt_run_profile *p) { return 0.5e9 * (p->product[0] + p->product[1]); }
static double copy_rate(const rt_run_profile *p) { return 0.5e9 * (p->copy[0] + p->copy[1]); }

double rt_run_profile_limit(const rt_run_profile *p, const rt_work *w, const char **set_by) {
    double flops = w->flops / product_rate(p), bytes = w->bytes / copy_rate(p);
    if (flops >= bytes) *set_by = flops > 0 ? "products" : w->inner > 0 ? "caches" : NULL;
    else *set_by = w->inner > w->bytes ? "caches" : "memory";
    return flops > bytes ? flops : bytes;
}
static bool empty(const rt_profile_role *r) { return r->seconds == 0 && r->work.flops + r->work.bytes + r->work.inner == 0; }
static double per_step(const rt_run_profile *p, double x) { return p->steps > 0 ? x / (double)p->steps : 0; }

/* ------------------------------------------------------------------------------- table */

/* One line: seconds, their share of the step (negative: none), work in them. */
typedef struct line {
    const char *name, *set_by;
    double seconds, share, limit;
    rt_work work;
    bool indent;
} line;

static bool is(const char *set_by, const char *what) { return set_by && strcmp(set_by, what) == 0; }

static void put_rate(const line *l, rt_buf *out) {
    bool products = is(l->set_by, "products");
    double x = products ? l->work.flops : l->work.bytes + l->work.inner;
    if (x > 0 && l->seconds > 0) rt_buf_printf(out, "%8.1f %-7s", 1e-9 * x / l->seconds, products ? "GFLOP/s" : "GB/s");
    else rt_buf_printf(out, "%16s", "");
}
static void put_limit(const line *l, rt_buf *out) {
    if (l->limit > 0 && l->seconds > 0 && !is(l->set_by, "caches"))
        rt_buf_printf(out, " %9.2f  %-8s %6.0f", 1e3 * l->limit, l->set_by ? l->set_by : "", 100 * l->limit / l->seconds);
    else if (l->set_by) rt_buf_printf(out, " %9s  %s", "", l->set_by);
}
static void put_line(const line *l, rt_buf *out) {
    rt_buf_printf(out, "%s%-*s %9.2f ", l->indent ? "  " : "", l->indent ? 18 : 20, l->name, 1e3 * l->seconds);
    if (l->share >= 0) rt_buf_printf(out, "%6.1f ", 100 * l->share);
    else rt_buf_printf(out, "%6s ", "");
    put_rate(l, out);
    put_limit(l, out);
    while (out->size > 0 && out->data[out->size - 1] == ' ') out->data[--out->size] = 0;
    rt_buf_putc(out, '\n');
}

static line line_of(const rt_run_profile *p, const rt_profile_role *r) {
    line l = {.name = r->label, .seconds = per_step(p, r->seconds), .share = p->seconds > 0 ? r->seconds / p->seconds : 0, .work = r->work, .indent = true};
    l.limit = rt_run_profile_limit(p, &r->work, &l.set_by);
    return l;
}
/* Of a group, or of all (-1): limits add up, rates do not. */
static line sum_of(const rt_run_profile *p, const char *name, int group) {
    line sum = {.name = name};
    for (int i = 0; i < p->roles; i++) {
        if (group >= 0 && (int)p->role[i].group != group) continue;
        line l = line_of(p, &p->role[i]);
        sum.seconds += l.seconds, sum.share += l.share, sum.limit += l.limit;
    }
    return sum;
}

static const char *const group_names[RT_GROUPS] = {"teacher", "projector", "student forward", "head, both ways", "student backward", "optimizer", "the rest"};

static void put_group(const rt_run_profile *p, int group, rt_buf *out) {
    line sum = sum_of(p, group_names[group], group), only = {0};
    int shown = 0;
    for (int i = 0; i < p->roles; i++)
        if ((int)p->role[i].group == group && !empty(&p->role[i])) only = line_of(p, &p->role[i]), shown++;
    only.name = sum.name, only.indent = false;
    if (shown > 0) put_line(shown == 1 ? &only : &sum, out);
    for (int i = 0; i < p->roles && shown > 1; i++) {
        if ((int)p->role[i].group != group || empty(&p->role[i])) continue;
        line l = line_of(p, &p->role[i]);
        put_line(&l, out);
    }
}

static void put_beside(const rt_run_profile *p, const char *name, rt_phase phase, rt_work work, rt_buf *out) {
    double times = p->phases.calls[phase];
    char label[32];
    if (times < 1) return;
    snprintf(label, sizeof label, "%s (%d x)", name, p->phases.calls[phase]);
    line l = {.name = label, .seconds = p->phases.seconds[phase] / times, .share = -1, .work = {work.flops / times, work.bytes / times, 0}};
    l.limit = rt_run_profile_limit(p, &l.work, &l.set_by);
    put_line(&l, out);
}

/* ------------------------------------------------------------------------------ memory */

static void put_mib(const char *name, int64_t bytes, const char *note, rt_buf *out) {
    if (bytes > 0) rt_buf_printf(out, "  %-22s %9.2f%s%s\n", name, (double)bytes / 1048576, *note ? "  " : "", note);
}
static int64_t counted(const rt_profile_memory *m) {
    return m->weights + m->masters + m->gradients + m->moments + m->packed + m->step + m->evaluation + m->teacher + m->projector + m->scratch;
}
static void put_memory(const rt_profile_memory *m, rt_buf *out) {
    rt_buf_puts(out, "\nmemory                         MiB\n");
    put_mib("student's weights", m->weights, "", out);
    put_mib("student's masters", m->masters, "in f32, of weights that are not", out);
    put_mib("student's gradients", m->gradients, "", out);
    put_mib("student's moments", m->moments, "", out);
    put_mib("arena: the step", m->step, "activations and their gradients, planned", out);
    put_mib("arena: evaluation", m->evaluation, "", out);
    put_mib("teacher, packed", m->packed, "weights in the layout of the products", out);
    put_mib("arena: teacher", m->teacher, "", out);
    put_mib("arena: projector", m->projector, "", out);
    put_mib("scratch", m->scratch, "of all threads", out);
    put_mib("the rest", m->peak - counted(m), "data, libraries, what is mapped and resident", out);
    put_mib("at most, resident", m->peak, "of the process, while rates were not measured", out);
    put_mib("teacher, in its files", m->files, "mapped; resident where used and not packed", out);
}

enum { HELD_SHOWN = 12 };
static void put_held(const rt_run_profile *p, rt_buf *out) {
    const rt_profile_memory *m = &p->memory;
    int64_t rest = 0;
    if (m->moment.bytes == 0) return;
    rt_buf_printf(out, "\nthe step's arena at its fullest: %.2f of %.2f MiB, %s of %s\n", (double)m->moment.bytes / 1048576, (double)m->step / 1048576,
                  m->moment.phase, m->moment.role);
    rt_buf_puts(out, "  MiB                       values  gradients    scratch\n");
    for (int i = 0; i < p->held; i++) {
        const rt_profile_held *h = &p->hold[i];
        if (i < HELD_SHOWN)
            rt_buf_printf(out, "  %-22s %9.2f  %9.2f  %9.2f\n", h->role, (double)h->bytes[0] / 1048576, (double)h->bytes[1] / 1048576,
                          (double)h->bytes[2] / 1048576);
        else rest += h->bytes[0] + h->bytes[1] + h->bytes[2];
    }
    if (rest >= 1 << 14) rt_buf_printf(out, "  %-22s %9.2f\n", "others", (double)rest / 1048576);
}

static void put_head(const rt_run_profile *p, rt_buf *out) {
    double step = per_step(p, p->seconds);
    rt_buf_printf(out, "profile of %lld step%s (the first is not counted): %.1f ms a step, %.0f tokens/s\n", (long long)p->steps, p->steps == 1 ? "" : "s",
                  1e3 * step, (double)p->tokens / p->seconds);
    rt_buf_printf(out, "limits: products %.1f GFLOP/s (before the run %.1f, after it %.1f)\n", 1e-9 * product_rate(p), p->product[0], p->product[1]);
    rt_buf_printf(out, "        memory %.1f GB/s, copying (%.1f, %.1f)\n\n", 1e-9 * copy_rate(p), p->copy[0], p->copy[1]);
    rt_buf_puts(out, "role                   ms/step      %             rate  limit, ms  set by   reached\n");
}

void rt_run_profile_text(const rt_run_profile *p, rt_buf *out) {
    if (p->steps == 0) {
        rt_buf_puts(out, "profile: no step is counted, since the first one is not (it packs weights and touches memory): run two or more\n");
        return;
    }
    put_head(p, out);
    for (int group = 0; group < RT_GROUPS; group++) put_group(p, group, out);
    line all = sum_of(p, "a step", -1);
    rt_buf_putc(out, '\n');
    put_line(&all, out);
    put_beside(p, "evaluation", RT_PHASE_EVALUATION, p->evaluation, out);
    put_beside(p, "checkpoint", RT_PHASE_CHECKPOINT, (rt_work){0}, out);
    rt_buf_puts(out, "\nlimit: the longer of flops / product rate and bytes / copy rate; reached: limit /\n"
                     "time, in %. Above 100: panels beat the product rate, or the bytes were in a\n"
                     "cache; caches: most of what is read and written lives in tiles of rows.\n");
    put_memory(&p->memory, out);
    put_held(p, out);
}

/* ------------------------------------------------------------------------------ record */

static json_t *role_json(const rt_run_profile *p, const rt_profile_role *r) {
    const char *set_by;
    double limit = rt_run_profile_limit(p, &r->work, &set_by);
    json_t *o = json_pack("{s:s, s:f, s:f, s:f, s:f, s:f}", "role", r->name, "seconds", per_step(p, r->seconds), "flops", r->work.flops, "bytes", r->work.bytes,
                          "cache_bytes", r->work.inner, "limit_seconds", limit);
    if (o && set_by && json_object_set_new(o, "set_by", json_string(set_by)) != 0) return json_decref(o), NULL;
    return o;
}
static json_t *roles_json(const rt_run_profile *p) {
    json_t *list = json_array();
    for (int i = 0; list && i < p->roles; i++)
        if (!empty(&p->role[i]) && json_array_append_new(list, role_json(p, &p->role[i])) != 0) return json_decref(list), NULL;
    return list;
}
static json_t *fullest_json(const rt_run_profile *p) {
    json_t *roles = json_array();
    for (int i = 0; roles && i < p->held; i++) {
        const rt_profile_held *h = &p->hold[i];
        json_t *o = json_pack("{s:s, s:I, s:I, s:I}", "role", h->role, "values", (json_int_t)h->bytes[0], "gradients", (json_int_t)h->bytes[1], "scratch",
                              (json_int_t)h->bytes[2]);
        if (json_array_append_new(roles, o) != 0) return json_decref(roles), NULL;
    }
    const rt_graph_moment *m = &p->memory.moment;
    return json_pack("{s:s, s:s, s:I, s:o}", "role", m->role, "phase", m->phase, "bytes", (json_int_t)m->bytes, "roles", roles);
}
static json_t *memory_json(const rt_run_profile *p) {
    const rt_profile_memory *m = &p->memory;
    return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:o}", "weights", (json_int_t)m->weights, "masters", (json_int_t)m->masters,
                     "gradients", (json_int_t)m->gradients, "moments", (json_int_t)m->moments, "arena_step", (json_int_t)m->step, "arena_evaluation",
                     (json_int_t)m->evaluation, "arena_teacher", (json_int_t)m->teacher, "arena_projector", (json_int_t)m->projector, "teacher_files",
                     (json_int_t)m->files, "teacher_packed", (json_int_t)m->packed, "scratch", (json_int_t)m->scratch, "peak", (json_int_t)m->peak, "fullest",
                     fullest_json(p));
}
static json_t *beside_json(const rt_run_profile *p, rt_phase phase) {
    return json_pack("{s:i, s:f}", "times", p->phases.calls[phase], "seconds", p->phases.seconds[phase]);
}
json_t *rt_run_profile_json(const rt_run_profile *p) {
    return json_pack("{s:s, s:I, s:I, s:I, s:f, s:I, s:[f,f], s:[f,f], s:o, s:o, s:o, s:o}", "record", "profile", "step", (json_int_t)p->last_step, "steps",
                     (json_int_t)p->steps, "skipped", (json_int_t)p->skipped, "step_seconds", per_step(p, p->seconds), "tokens", (json_int_t)p->tokens,
                     "product_rate", p->product[0], p->product[1], "copy_rate", p->copy[0], p->copy[1], "roles", roles_json(p), "evaluation",
                     beside_json(p, RT_PHASE_EVALUATION), "checkpoint", beside_json(p, RT_PHASE_CHECKPOINT), "memory", memory_json(p));
}
