/* bench_r3.c - plain training of a dense model of GPT-2's smallest size, 4 x 1024 tokens a step.
 *
 * Ours is a Llama: width 768, 12 layers, 12 heads, V 50257, tied, SwiGLU of 2048, which has as many parameters as GPT-2's
 * two matrices of 3072. 123.6 M parameters; GPT-2 has 124.4 M, of these 0.8 M positions and 0.1 M biases. */
#include "harness.h"
#include "roles.h"
#include <retort/base/mem.h>

static const char *const sets[] = {"student.arch=llama", "student.hidden_size=768", "student.heads=12", "student.kv_heads=12", "student.ffn_size=2048",
                                   "student.tie=yes", "objective=[{loss: next_token}]", "run.eval_tokens=1024", NULL};
static const char *const all_layers[] = {"student.layers=12", NULL}, *const two_layers[] = {"student.layers=2", NULL};
static bench_roles roles;

static rt_status measure(bench *b, bench_job *job, rt_error *err) {
    bench_case c = {.name = "step", .flop = bench_job_flop(job), .run = bench_roles_step, .context = &roles, .calls = 1};
    double x[BENCH_ROUNDS_MAX];
    roles.job = job;
    RT_TRY(bench_job_step(job, err));
    double peak = bench_peak_mib();
    RT_TRY(bench_sample(b, &c, 1, false, err));
    bench_report(b, &c, 0);
    for (int r = 0; r < b->rounds; r++) x[r] = job->tokens / b->round[r].seconds[0];
    bench_figure(b, "tokens", "tokens/s", x, b->rounds, NULL);
    bench_number(b, "parameters", "M", 1e-6 * (double)rt_model_parameters(&job->trainer->config).total);
    bench_number(b, "memory", "MiB", peak);
    bench_number(b, "plan", "MiB", (double)rt_graph_stats_get(job->trainer->graph.g).arena_bytes / 1048576);
    bench_roles_report(b, &roles, "role");
    return RT_OK;
}

static bench_job_spec spec_of(const bench *b, const char *const *more) {
    return (bench_job_spec){.V = 50257, .T = b->quick ? 128 : 1024, .windows = 4, .tokens = 1 << 17, .sets = sets, .more = more};
}
static rt_status plain(bench *b, rt_error *err) {
    static const char *const parts[] = {"step", "tokens", "parameters", "memory", "plan", "role"};
    bool any = false;
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) any |= bench_wanted(b, parts[i]);
    if (!any) return RT_OK;
    bench_job_spec spec = spec_of(b, b->quick ? two_layers : all_layers);
    bench_job job;
    RT_TRY(bench_job_open(&job, &spec, err));
    rt_status s = measure(b, &job, err);
    bench_job_close(&job);
    return s;
}

/* -------------------------------------------------------------------------------------------------------- half storage */

static rt_status compare(bench *b, const char *name, bench_job *half, bench_job *whole, rt_error *err) {
    bench_case c[] = {{.flop = bench_job_flop(half), .run = bench_job_step, .context = half, .calls = 1},
                      {.name = "f32", .flop = bench_job_flop(whole), .run = bench_job_step, .context = whole, .calls = 1, .limit = BENCH_NONE}};
    char text[64];
    snprintf(c[0].name, sizeof c[0].name, "%s.step", name);
    RT_TRY(bench_sample(b, c, 2, true, err));
    bench_report(b, c, 0);
    snprintf(text, sizeof text, "%s.over_f32", name), bench_ratio(b, text, 0, 1);
    return RT_OK;
}
static rt_status alone(bench *b, const char *name, bench_job *job, rt_error *err) {
    char text[64];
    RT_TRY(bench_job_step(job, err));
    snprintf(text, sizeof text, "%s.memory", name), bench_number(b, text, "MiB", bench_peak_mib());
    snprintf(text, sizeof text, "%s.plan", name);
    bench_number(b, text, "MiB", (double)rt_graph_stats_get(job->trainer->graph.g).arena_bytes / 1048576);
    return RT_OK;
}
/* The same job with weights and activations in a half type: its memory while it is alone, then its time beside the f32 job's. */
static rt_status stored(bench *b, const char *name, rt_error *err) {
    char precision[64];
    const char *const more[] = {b->quick ? two_layers[0] : all_layers[0], precision, NULL};
    bench_job_spec half = spec_of(b, more), whole = spec_of(b, b->quick ? two_layers : all_layers);
    bench_job a, f = {0};
    if (!bench_wanted(b, name)) return RT_OK;
    snprintf(precision, sizeof precision, "precision.student=%s", name);
    rt_mem_trim();
    bench_peak_reset();
    RT_TRY(bench_job_open(&a, &half, err));
    rt_status s = alone(b, name, &a, err);
    if (s == RT_OK) s = bench_job_open(&f, &whole, err);
    if (s == RT_OK) s = compare(b, name, &a, &f, err), bench_job_close(&f);
    bench_job_close(&a);
    return s;
}

static rt_status run(bench *b, rt_error *err) {
    RT_TRY(plain(b, err));
    RT_TRY(stored(b, "bf16", err));
    return stored(b, "f16", err);
}
BENCH("r3", 5, run)
