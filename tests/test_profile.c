/* test_profile.c - the graph's profile: it accounts for the time of the runs and changes no bit; what the arena holds at its fullest. */
#include "harness.h"
#include <retort/base/rng.h>
#include <retort/ops/ops.h>
#include <string.h>
#include <time.h>

enum { N = 300, D = 48, F = 64 };
typedef struct chain {
    float x[N * D], up[2 * F * D], down[D * F], d_up[2 * F * D];
    rt_graph *g;
    rt_ref y;
} chain;

static rt_status build(chain *c, rt_error *err) {
    rt_rng r = rt_rng_make(3, "profile", 0);
    for (int i = 0; i < N * D; i++) c->x[i] = (float)rt_rng_normal(r, (uint64_t)i);
    for (int i = 0; i < 2 * F * D; i++) c->up[i] = (float)rt_rng_normal(r, (uint64_t)(N * D + i));
    memcpy(c->down, c->up, sizeof c->down);
    rt_tensor x = rt_tensor_2d(RT_F32, c->x, N, D), up = rt_tensor_2d(RT_F32, c->up, 2 * F, D), down = rt_tensor_2d(RT_F32, c->down, D, F);
    rt_tensor d_up = rt_tensor_2d(RT_F32, c->d_up, 2 * F, D);
    rt_prec p = rt_prec_uniform(RT_F32);
    c->g = rt_graph_new("chain");
    rt_ref in = rt_graph_input(c->g, "x", &x), h = rt_linear(c->g, in, rt_graph_param(c->g, "up", &up, &d_up), p, "up");
    c->y = rt_linear_residual(c->g, rt_swiglu(c->g, h, p, "act"), rt_graph_param(c->g, "down", &down, NULL), in, p, "down");
    rt_graph_output(c->g, c->y);
    return rt_graph_plan(c->g, false, err);
}

typedef struct sums {
    int nodes;
    double forward, backward, least;
} sums;
static void add(void *context, const rt_graph_cost *c) {
    sums *s = context;
    if (s->nodes == 0 || c->forward < s->least) s->least = c->forward;
    s->nodes++;
    s->forward += c->forward;
    s->backward += c->backward;
}
static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void times_add_up(void) {
    static chain c;
    rt_error err = {0};
    sums none = {0}, s = {0};
    RT_OK_OR_FAIL(build(&c, &err));
    RT_OK_OR_FAIL(rt_graph_profile(c.g, true, &err));
    double start = now();
    for (int i = 0; i < 5; i++) RT_OK_OR_FAIL(rt_graph_forward(c.g, &err));
    double wall = now() - start;
    rt_graph_costs(c.g, add, &s);
    CU_ASSERT_EQUAL(s.nodes, 3);
    CU_ASSERT_TRUE(s.least > 0 && s.forward <= wall && s.backward == 0);
    RT_OK_OR_FAIL(rt_graph_profile(c.g, false, &err));
    rt_graph_costs(c.g, add, &none);
    CU_ASSERT_EQUAL(none.nodes, 0);
    rt_graph_free(c.g);
}

static void bits_stay(void) {
    static chain c;
    static float plain[N * D];
    rt_error err = {0};
    RT_OK_OR_FAIL(build(&c, &err));
    RT_OK_OR_FAIL(rt_graph_forward(c.g, &err));
    memcpy(plain, rt_graph_value(c.g, c.y)->data, sizeof plain);
    RT_OK_OR_FAIL(rt_graph_profile(c.g, true, &err));
    RT_OK_OR_FAIL(rt_graph_forward(c.g, &err));
    CU_ASSERT_TRUE(memcmp(plain, rt_graph_value(c.g, c.y)->data, sizeof plain) == 0);
    rt_graph_free(c.g);
}

static void memory_runs_out(void) {
    static chain c;
    rt_error err = {0};
    RT_OK_OR_FAIL(build(&c, &err));
    rt_mem_fail_at(1);
    CU_ASSERT_EQUAL(rt_graph_profile(c.g, true, &err), RT_E_NOMEM);
    rt_mem_fail_at(0);
    rt_graph_free(c.g);
}

/* ------------------------------------------------------------------------ the arena at its fullest */

typedef struct seen {
    int64_t of[3], all;
    bool strange;
} seen;
static void look(void *context, const char *role, rt_held what, int64_t bytes) {
    seen *s = context;
    s->of[what] += bytes;
    s->all += bytes;
    s->strange |= strncmp(role, "chain.", 6) != 0 || bytes % 64 != 0;
}
static int64_t rounded(int64_t bytes) { /* a buffer's place; debug builds put a redzone behind it */
#ifdef RT_MEMCHECK
    bytes += 64;
#endif
    return (bytes + 63) / 64 * 64;
}

/* Without chains and as a sketch: while act runs, h [N,2F] is read and a [N,F] written; up and down need scratch for panels, less here. */
static void the_fullest_moment_is_counted(void) {
    rt_error err = {0};
    rt_tensor x = rt_tensor_2d(RT_F32, NULL, N, D), up = rt_tensor_2d(RT_F32, NULL, 2 * F, D), y = rt_tensor_2d(RT_F32, NULL, N, 2 * F);
    rt_prec p = rt_prec_uniform(RT_F32);
    rt_graph *g = rt_graph_new("chain");
    rt_graph_sketch(g);
    rt_graph_no_chains(g);
    rt_ref h = rt_linear(g, rt_graph_input(g, "x", &x), rt_graph_variable(g, "up", &up), p, "up");
    rt_ref wide = rt_add(g, h, rt_graph_input(g, "y", &y), p, "wide");
    rt_graph_output(g, rt_swiglu(g, wide, p, "act"));
    seen none = {0}, s = {0};
    CU_ASSERT_EQUAL(rt_graph_fullest(g, look, &none).bytes, 0); /* not planned */
    RT_OK_OR_FAIL(rt_graph_plan(g, false, &err));
    rt_graph_moment m = rt_graph_fullest(g, look, &s);
    int64_t values = 2 * rounded(4 * N * 2 * F); /* of wide: what it reads and what it writes */
    RT_CHECK(strcmp(m.role, "chain.wide") == 0 && strcmp(m.phase, "forward") == 0, "fullest in %s of %s", m.phase, m.role);
    RT_CHECK(m.bytes == values && s.all == values && s.of[RT_HELD_VALUE] == values && !s.strange, "%lld bytes, %lld of values; counted %lld",
        (long long)m.bytes,
             (long long)s.of[RT_HELD_VALUE], (long long)values);
    CU_ASSERT_TRUE(m.bytes <= rt_graph_stats_get(g).arena_bytes);
    rt_graph_free(g);
}
/* The plan holds the gradient of a parameter, which no operation has made as a value: it is told under its first reader. */
static void gradients_of_parameters_are_told(void) {
    static float weight[4 * D * D];
    rt_error err = {0};
    rt_tensor x = rt_tensor_2d(RT_F32, NULL, 4, D), w = rt_tensor_2d(RT_F32, weight, 4 * D, D), d = rt_tensor_2d(RT_F32, NULL, 4 * D, D), valid = rt_tensor_1d(RT_I32, NULL, 4);
    rt_prec p = rt_prec_uniform(RT_F32), z = {RT_F32, RT_NONE, RT_F32, RT_F32, RT_F32};
    static const double gain = 1;
    rt_graph *g = rt_graph_new("chain");
    rt_graph_sketch(g);
    rt_graph_plan_gradients(g);
    rt_ref h = rt_linear(g, rt_graph_input(g, "x", &x), rt_graph_param(g, "w", &w, &d), p, "wide");
    rt_graph_loss(g, rt_router_z(g, h, rt_graph_input(g, "valid", &valid), z, "z"), &gain);
    RT_OK_OR_FAIL(rt_graph_plan(g, true, &err));
    seen s = {0};
    rt_graph_moment m = rt_graph_fullest(g, look, &s);
    RT_CHECK(strcmp(m.role, "chain.wide") == 0 && !s.strange && s.all == m.bytes, "fullest in %s of %s: %lld of %lld bytes told", m.phase, m.role, (long long)s.all, (long long)m.bytes);
    RT_CHECK(s.of[RT_HELD_GRADIENT] >= rounded((int64_t)sizeof weight), "%lld bytes of gradients", (long long)s.of[RT_HELD_GRADIENT]);
    rt_graph_free(g);
}
/* A training plan: gradients and scratch are told apart. */
static void gradients_and_scratch_are_told_apart(void) {
    static float weight[D * D], d_weight[D * D];
    rt_error err = {0};
    rt_tensor x = rt_tensor_2d(RT_F32, NULL, N, D), w = rt_tensor_2d(RT_F32, weight, D, D), d = rt_tensor_2d(RT_F32, d_weight, D, D),
        valid = rt_tensor_1d(RT_I32, NULL, N);
    rt_prec p = rt_prec_uniform(RT_F32), z = {RT_F32, RT_NONE, RT_F32, RT_F32, RT_F32};
    static const double gain = 1;
    rt_graph *g = rt_graph_new("chain");
    rt_graph_sketch(g);
    rt_ref in = rt_graph_input(g, "x", &x), weights = rt_graph_param(g, "w", &w, &d), h = rt_linear(g, rt_linear(g, in, weights, p, "first"), weights, p,
        "second");
    rt_graph_loss(g, rt_router_z(g, h, rt_graph_input(g, "valid", &valid), z, "z"), &gain);
    RT_OK_OR_FAIL(rt_graph_plan(g, true, &err));
    seen s = {0};
    rt_graph_moment m = rt_graph_fullest(g, look, &s);
    int64_t rows = rounded(4 * N * D);
    RT_CHECK(strcmp(m.role, "chain.second") == 0 && strcmp(m.phase, "backward") == 0, "fullest in %s of %s", m.phase, m.role);
    RT_CHECK(s.of[RT_HELD_GRADIENT] == 2 * rows, "%lld bytes of gradients, counted %lld", (long long)s.of[RT_HELD_GRADIENT],
        (long long)(2 * rows)); /* dy and dx */
    RT_CHECK(s.of[RT_HELD_SCRATCH] > 0 && s.of[RT_HELD_VALUE] >= rows && s.all == m.bytes, "scratch %lld, values %lld, all %lld",
        (long long)s.of[RT_HELD_SCRATCH],
             (long long)s.of[RT_HELD_VALUE], (long long)s.all);
    rt_graph_free(g);
}

RT_SUITE(profile) {
    RT_TEST(the_fullest_moment_is_counted);
    RT_TEST(gradients_and_scratch_are_told_apart);
    RT_TEST(gradients_of_parameters_are_told);
    RT_TEST(times_add_up);
    RT_TEST(bits_stay);
    RT_TEST(memory_runs_out);
}
