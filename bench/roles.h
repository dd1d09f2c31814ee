/* roles.h - where a step's time goes: seconds and arithmetic of each role of the tape, over the samples of a bench. */
#ifndef BENCH_ROLES_H
#define BENCH_ROLES_H
#include "harness.h"
#include "job.h"

enum { BENCH_ROLES_MAX = 128 };
typedef struct bench_role {
    char name[64]; /* "teacher.qkv", "student.experts.backward": all layers together */
    double flop, bytes, inner; /* of a step, as its operations say (rt_graph_works); flop 0 for what is no product */
    double seconds[BENCH_ROUNDS_MAX];
} bench_role;
typedef struct bench_roles {
    bench_job *job;
    bench_role role[BENCH_ROLES_MAX];
    int count, samples;
    bool warm;
} bench_roles;

/* A bench_case's run: one step with its profile. The first call, the warm-up, is not kept. */
rt_status bench_roles_step(void *roles, rt_error *err) RT_NODISCARD;
/* A figure per role, the optimizer's two passes, and "outside the tapes": what is left of the step (loader, measures). */
void bench_roles_report(bench *b, const bench_roles *r, const char *prefix);
/* The median seconds of all roles that begin with a text, in the rounds of the last bench_sample; figures of sums. */
void bench_roles_sum(bench *b, const bench_roles *r, const char *name, const char *const *parts, bool with_flop);
/* A table in Markdown on stdout: of each role flops, bytes, the limit that follows from the rounds' product rate and this copy rate
 * (GB/s), and what was measured. */
void bench_roofline(const bench *b, const bench_roles *r, double copy_rate);
/* Flops of the roles in a NULL-terminated list; r->job is set. */
double bench_roles_flop(bench_roles *r, const char *const *parts);
#endif
