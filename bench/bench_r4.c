/* bench_r4.c - long context: R1's models on one window of 8192 tokens. Memory is to be linear in T; attention's share counts the
 * causal half of the scores only. */
#include "harness.h"
#include "roles.h"
#include <stdio.h>

static bench_roles roles;

/* What a step of one window of T allocates: the arenas of both plans. */
static double plan_mib(const bench_job *job) {
    rt_graph_stats s = rt_graph_stats_get(job->trainer->graph.g), t = rt_graph_stats_get(job->trainer->teacher.g);
    return (double)(s.arena_bytes + t.arena_bytes) / 1048576;
}

static const char *const teacher_roles[] = {"teacher.attention", NULL}, *const forward_roles[] = {"student.attention", NULL},
                        *const backward_roles[] = {"student.attention.backward", NULL},
                        *const all_roles[] = {"teacher.attention", "student.attention", "student.attention.backward", NULL};

static rt_status measure(bench *b, bench_job *job, rt_error *err) {
    roles.job = job;
    double flop = bench_job_flop(job) + bench_roles_flop(&roles, all_roles);
    bench_case c[] = {{.name = "step", .flop = flop, .run = bench_roles_step, .context = &roles, .calls = 1}};
    RT_TRY(bench_sample(b, c, 1, false, err));
    bench_report(b, c, 0);
    bench_roles_sum(b, &roles, "attention", all_roles, true);
    bench_roles_sum(b, &roles, "attention.teacher", teacher_roles, true);
    bench_roles_sum(b, &roles, "attention.student", forward_roles, true);
    bench_roles_sum(b, &roles, "attention.student_backward", backward_roles, true);
    return RT_OK;
}

static rt_status one_length(bench *b, int64_t T, bool timed, double *mib, rt_error *err) {
    bench_job_spec spec = bench_job_r1();
    bench_job job;
    char name[64];
    spec.T = T, spec.windows = 1, spec.tokens = 12 * T;
    bench_peak_reset();
    RT_TRY(bench_job_open(&job, &spec, err));
    rt_status s = bench_job_step(&job, err);
    *mib = plan_mib(&job);
    snprintf(name, sizeof name, "plan.T %d", (int)T), bench_number(b, name, "MiB", *mib);
    snprintf(name, sizeof name, "memory.T %d", (int)T), bench_number(b, name, "MiB", bench_peak_mib());
    if (s == RT_OK && timed) s = measure(b, &job, err);
    bench_job_close(&job);
    return s;
}

/* What a token costs in the last doubling of T, relative to the first: 1 where memory is linear. */
static rt_status run(bench *b, rt_error *err) {
    int64_t longest = b->quick ? 1024 : 8192;
    double mib[4];
    for (int i = 0; i < 4; i++) RT_TRY(one_length(b, longest >> (3 - i), i == 3, &mib[i], err));
    bench_number(b, "plan.growth", "x", (mib[3] - mib[2]) / (mib[1] - mib[0]) / 4);
    return RT_OK;
}
BENCH("r4", 5, run)
