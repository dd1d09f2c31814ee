/* test_profile.c - the graph's profile: it accounts for the time of the runs and changes no bit. */
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

RT_SUITE(profile) {
    RT_TEST(times_add_up);
    RT_TEST(bits_stay);
    RT_TEST(memory_runs_out);
}
