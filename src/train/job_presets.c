/* job_presets.c - the sizes behind --student, and the objective where none is given. */
#include "train/job_private.h"
#include <stdio.h>
#include <string.h>

static const struct preset {
    const char *name;
    int64_t hidden_size, layers, heads, kv_heads, ffn_size, experts, experts_per_token;
    const char *doc;
} presets[] = {
    {"tiny", 64, 2, 4, 2, 128, 4, 2, "seconds: a trial"},
    {"small", 256, 4, 8, 4, 512, 8, 2, "minutes to hours: the default"},
    {"base", 512, 8, 8, 4, 1024, 8, 2, "hours to days"},
};
enum { PRESETS = sizeof presets / sizeof *presets };

static rt_status unknown(const char *size, rt_error *err) {
    const char *names[PRESETS + 1] = {NULL};
    for (int i = 0; i < PRESETS; i++) names[i] = presets[i].name;
    const char *near = rt_nearest(size, names);
    return rt_fail(err, RT_E_USAGE, "--student: found '%.40s', expected one of: tiny, small, base%s%s%s", size,
                   near ? "; did you mean '" : "", near ? near : "", near ? "'?" : "");
}

rt_status rt_job_preset(rt_job *job, const char *size, rt_error *err) {
    rt_job_student *s = &job->student;
    for (const struct preset *p = presets; p < presets + PRESETS; p++) {
        if (strcmp(p->name, size) != 0) continue;
        s->hidden_size = p->hidden_size, s->layers = p->layers, s->heads = p->heads, s->kv_heads = p->kv_heads;
        s->head_dim = 0, s->ffn_size = p->ffn_size, s->experts = s->experts_per_token = -1;
        if (rt_job_moe(job)) s->experts = p->experts, s->experts_per_token = p->experts_per_token;
        return RT_OK;
    }
    return unknown(size, err);
}

void rt_job_presets(rt_buf *out) {
    rt_buf_puts(out, "  size   hidden  layers  heads  kv_heads    ffn  experts  per token\n");
    for (const struct preset *p = presets; p < presets + PRESETS; p++)
        rt_buf_printf(out, "  %-6s %6lld %7lld %6lld %9lld %6lld %8lld %10lld   %s\n", p->name, (long long)p->hidden_size,
                      (long long)p->layers, (long long)p->heads, (long long)p->kv_heads, (long long)p->ffn_size,
                      (long long)p->experts, (long long)p->experts_per_token, p->doc);
}

/* Distillation: Hinton et al. 2015 (soft targets at tau 2 beside the true ones); the router's terms with the weights of Switch
 * (Fedus et al. 2022, section 2.2) and ST-MoE (Zoph et al. 2022, section 3.3). A baseline without a teacher keeps the
 * router's terms, or its experts would collapse and the comparison would be with a broken model. */
rt_status rt_job_default_objective(rt_job *job, rt_error *err) {
    char text[256];
    if (job->objective.count > 0) return RT_OK;
    RT_TRY(rt_job_resolve_family(job, err));
    const char *imitate = job->teacher.path ? "{loss: forward_kl, weight: 0.7, temperature: 2}, {loss: next_token, weight: 0.3}"
                                            : "{loss: next_token, weight: 1}";
    const char *route = rt_job_moe(job) ? ", {loss: balance, weight: 1e-2}, {loss: router_z, weight: 1e-3}" : "";
    snprintf(text, sizeof text, "objective=[%s%s]", imitate, route);
    return rt_options_set(rt_job_options(), job, text, &job->arena, err);
}
