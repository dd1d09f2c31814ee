/* bench_r3.c - plain training of a dense model of GPT-2's smallest size, 4 x 1024 tokens a step.
 *
 * Ours is a Llama: width 768, 12 layers, 12 heads, V 50257, tied, SwiGLU of 2048, which has as many parameters as GPT-2's
 * two matrices of 3072. 123.6 M parameters; GPT-2 has 124.4 M, of these 0.8 M positions and 0.1 M biases. */
#include "harness.h"
#include "roles.h"

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

static rt_status run(bench *b, rt_error *err) {
    bench_job_spec spec = {.V = 50257, .T = b->quick ? 128 : 1024, .windows = 4, .tokens = 1 << 17, .sets = sets, .more = b->quick ? two_layers : all_layers};
    bench_job job;
    RT_TRY(bench_job_open(&job, &spec, err));
    rt_status s = measure(b, &job, err);
    bench_job_close(&job);
    return s;
}
BENCH("r3", 5, run)
