/* test_workspace.c - plans that share a block: what outlives other graphs' runs, what is refused, what it saves; gradients in the plan;
 * outputs that are made again. None of it changes a bit. */
#include "harness.h"
#include "weighted_sum.h"
#include <retort/base/rng.h>
#include <retort/graph/workspace.h>
#include <retort/ops/ops.h>
#include <stdio.h>
#include <string.h>

/* --------------------------------------------------------------------- a tape */

/* Layers of x + down(swiglu(up(rmsnorm x))), and a loss on the last; a weight that no loss reaches beside them. */
enum { D = 32, F = 48, LAYERS = 3, ROWS_MAX = 400, WEIGHTS = 3 * LAYERS + 1 };
typedef struct tape {
    rt_graph *g;
    rt_ref hidden, loss, idle, weight[WEIGHTS], kept[LAYERS];
    rt_tensor value[WEIGHTS], grad[WEIGHTS];
    int n_weights;
    double gain;
    float x[ROWS_MAX * D], w[ROWS_MAX * D], memory[WEIGHTS][2 * F * D], gradient[WEIGHTS][2 * F * D];
} tape;
typedef struct variant {
    int64_t rows;
    rt_workspace *space;
    bool train, plan_gradients, recompute, sketch, keep; /* keep: what is cheap is an output, so that it is not made again */
} variant;

static rt_ref parameter(tape *t, int64_t rows, int64_t columns, bool train) {
    int i = t->n_weights++;
    char name[16];
    snprintf(name, sizeof name, "w%d", i);
    rt_rng r = rt_rng_make(5, "tape", (uint64_t)i);
    for (int64_t k = 0; k < rows * columns; k++) t->memory[i][k] = (float)(0.3 * rt_rng_normal(r, (uint64_t)k));
    t->value[i] = columns > 1 ? rt_tensor_2d(RT_F32, t->memory[i], rows, columns) : rt_tensor_1d(RT_F32, t->memory[i], rows);
    t->grad[i] = t->value[i];
    t->grad[i].data = t->gradient[i];
    return t->weight[i] = rt_graph_param(t->g, name, &t->value[i], train ? &t->grad[i] : NULL);
}
static rt_ref layer(tape *t, rt_ref x, int l, const variant *v) {
    rt_prec p = rt_prec_uniform(RT_F32), rows = p;
    rows.weight = RT_NONE;
    rt_graph_segment(t->g, v->recompute);
    rt_ref h = rt_rmsnorm(t->g, x, parameter(t, D, 1, v->train), 1e-5, p, "norm");
    rt_ref a = rt_swiglu(t->g, rt_linear(t->g, h, parameter(t, 2 * F, D, v->train), p, "up"), rows, "swiglu");
    if (v->keep) rt_graph_output(t->g, h), rt_graph_output(t->g, a);
    t->kept[l] = h;
    return rt_linear_residual(t->g, a, parameter(t, D, F, v->train), x, p, "down");
}
static rt_status tape_open(tape *t, const variant *v, rt_error *err) {
    rt_rng r = rt_rng_make(6, "rows", 0);
    *t = (tape){.gain = 1};
    for (int64_t i = 0; i < v->rows * D; i++) t->x[i] = (float)rt_rng_normal(r, (uint64_t)i), t->w[i] = (float)rt_rng_normal(r, (uint64_t)(ROWS_MAX * D + i));
    rt_tensor x = rt_tensor_2d(RT_F32, t->x, v->rows, D), w = rt_tensor_2d(RT_F32, t->w, v->rows, D);
    if (!(t->g = rt_graph_new("tape"))) return rt_fail(err, RT_E_NOMEM, "tape");
    rt_graph_workspace(t->g, v->space);
    if (v->plan_gradients) rt_graph_plan_gradients(t->g);
    if (v->sketch) rt_graph_sketch(t->g);
    rt_ref at = rt_graph_input(t->g, "x", &x);
    for (int l = 0; l < LAYERS; l++) at = layer(t, at, l, v);
    rt_graph_segment(t->g, false);
    t->idle = parameter(t, D, 1, v->train);
    rt_graph_output(t->g, t->hidden = at);
    t->loss = rt_weighted_sum(t->g, at, rt_graph_input(t->g, "w", &w));
    if (v->train) rt_graph_loss(t->g, t->loss, &t->gain);
    else rt_graph_output(t->g, t->loss);
    return rt_graph_plan(t->g, v->train, err);
}
static void tape_close(tape *t) { rt_graph_free(t->g); }

static uint64_t hash(const tape *t, rt_ref r) { return rt_tensor_hash(rt_graph_value(t->g, r)); }
static uint64_t gradients(const tape *t) {
    uint64_t h = 1;
    for (int i = 0; i < t->n_weights; i++) h = h * 31 + rt_tensor_hash(rt_graph_gradient(t->g, t->weight[i]));
    return h;
}
static uint64_t trained(tape *t) {
    rt_error err = {0};
    rt_graph_fresh_gradients(t->g);
    RT_OK_OR_FAIL(rt_graph_forward(t->g, &err));
    RT_OK_OR_FAIL(rt_graph_backward(t->g, &err));
    return gradients(t);
}
static int64_t shared(const tape *t) {
    rt_graph_stats s = rt_graph_stats_get(t->g);
    return s.arena_bytes - s.own_bytes;
}

/* -------------------------------------------------------------------- the block */

static void outputs_outlive_other_graphs(void) {
    static tape small, large;
    rt_error err = {0};
    rt_workspace *space = rt_workspace_new();
    RT_OK_OR_FAIL(tape_open(&small, &(variant){.rows = 90, .space = space}, &err));
    RT_OK_OR_FAIL(rt_graph_forward(small.g, &err));
    const void *at = rt_graph_value(small.g, small.hidden)->data;
    uint64_t value = hash(&small, small.hidden), loss = hash(&small, small.loss);
    RT_OK_OR_FAIL(tape_open(&large, &(variant){.rows = 400, .space = space}, &err)); /* the block moves */
    CU_ASSERT_EQUAL(rt_workspace_bytes(space), shared(&large));
    CU_ASSERT_TRUE(shared(&small) < shared(&large) && rt_graph_stats_get(small.g).own_bytes >= 90 * D * 4);
    CU_ASSERT_TRUE(hash(&small, small.hidden) == value && hash(&small, small.loss) == loss);
    RT_OK_OR_FAIL(rt_graph_forward(large.g, &err));
    CU_ASSERT_TRUE(hash(&small, small.hidden) == value && hash(&small, small.loss) == loss);
    RT_OK_OR_FAIL(rt_graph_forward(small.g, &err));
    CU_ASSERT_TRUE(hash(&small, small.hidden) == value && rt_graph_value(small.g, small.hidden)->data == at);
    tape_close(&large), tape_close(&small);
    rt_workspace_free(space);
}

/* Two that train in turn, in a block together and each in its own: the same bits, run after run. */
static void sharing_changes_no_bit(void) {
    static tape alone, one, two;
    rt_error err = {0};
    for (int recompute = 0; recompute < 2; recompute++) {
        rt_workspace *space = rt_workspace_new();
        RT_OK_OR_FAIL(tape_open(&alone, &(variant){.rows = 300, .train = true, .recompute = recompute}, &err));
        RT_OK_OR_FAIL(tape_open(&one, &(variant){.rows = 300, .space = space, .train = true, .recompute = recompute, .plan_gradients = true}, &err));
        RT_OK_OR_FAIL(tape_open(&two, &(variant){.rows = 400, .space = space, .train = true, .plan_gradients = true}, &err));
        uint64_t bits = trained(&alone), loss = hash(&alone, alone.loss);
        for (int i = 0; i < 3; i++) {
            trained(&two);
            CU_ASSERT_EQUAL(trained(&one), bits);
            CU_ASSERT_TRUE(hash(&one, one.loss) == loss && gradients(&one) == bits);
        }
        CU_ASSERT_EQUAL(trained(&alone), bits);
        tape_close(&alone), tape_close(&one), tape_close(&two);
        rt_workspace_free(space);
    }
}

static void backward_follows_its_own_forward(void) {
    static tape one, two;
    rt_error err = {0};
    rt_workspace *space = rt_workspace_new();
    RT_OK_OR_FAIL(tape_open(&one, &(variant){.rows = 64, .space = space, .train = true}, &err));
    RT_OK_OR_FAIL(tape_open(&two, &(variant){.rows = 48, .space = space}, &err));
    RT_OK_OR_FAIL(rt_graph_forward(one.g, &err));
    RT_OK_OR_FAIL(rt_graph_forward(two.g, &err));
    CU_ASSERT_EQUAL(rt_graph_backward(one.g, &err), RT_E_ARG);
    RT_CHECK(strstr(err.text, "backward after another graph of its workspace"), "%s", err.text);
    rt_error_clear(&err);
    RT_OK_OR_FAIL(rt_graph_forward(one.g, &err));
    RT_OK_OR_FAIL(rt_graph_find_nonfinite(two.g, &err)); /* a forward run, too */
    CU_ASSERT_EQUAL(rt_graph_backward(one.g, &err), RT_E_ARG);
    rt_error_clear(&err);
    tape_close(&two); /* what is left is not disturbed by one that goes */
    uint64_t bits = trained(&one);
    CU_ASSERT_EQUAL(trained(&one), bits);
    tape_close(&one);
    rt_workspace_free(space);
}

static void a_sketch_has_the_figures_of_the_plan(void) {
    static tape a, b;
    rt_error err = {0};
    for (int i = 0; i < 4; i++) {
        rt_workspace *real = rt_workspace_new(), *paper = rt_workspace_new();
        variant v = {.rows = 200, .train = i > 0, .plan_gradients = i > 1, .recompute = i > 2, .space = real};
        RT_OK_OR_FAIL(tape_open(&a, &v, &err));
        int64_t before = rt_mem_stats_get().live_bytes;
        rt_graph_stats s = rt_graph_stats_get(a.g);
        v.space = paper, v.sketch = true;
        RT_OK_OR_FAIL(tape_open(&b, &v, &err));
        rt_graph_stats t = rt_graph_stats_get(b.g);
        CU_ASSERT_TRUE(s.arena_bytes == t.arena_bytes && s.own_bytes == t.own_bytes && s.least_bytes == t.least_bytes && rt_workspace_bytes(real) == rt_workspace_bytes(paper));
        CU_ASSERT_TRUE(s.least_bytes <= s.arena_bytes && s.own_bytes > 0 && s.own_bytes < s.arena_bytes);
        CU_ASSERT_TRUE(rt_mem_stats_get().live_bytes - before < 120000); /* the tape's own lists */
        CU_ASSERT_EQUAL(rt_graph_forward(b.g, &err), RT_E_ARG);
        rt_error_clear(&err);
        tape_close(&a), tape_close(&b);
        rt_workspace_free(real), rt_workspace_free(paper);
    }
}

static void memory_runs_out_cleanly(void) {
    static tape first, second;
    int64_t live = rt_mem_stats_get().live_blocks;
    bool opened = false;
    for (int i = 1; !opened && i < 2000; i++) {
        rt_error err = {0}, lack = {0};
        rt_workspace *space = rt_workspace_new();
        RT_OK_OR_FAIL(tape_open(&first, &(variant){.rows = 60, .space = space}, &err));
        rt_mem_fail_at(i);
        opened = tape_open(&second, &(variant){.rows = 400, .space = space, .train = true, .plan_gradients = true}, &lack) == RT_OK;
        rt_mem_fail_at(0);
        CU_ASSERT_TRUE(opened || lack.status == RT_E_NOMEM);
        tape_close(&second);
        RT_OK_OR_FAIL(rt_graph_forward(first.g, &err)); /* its place is still there */
        tape_close(&first);
        rt_workspace_free(space);
        CU_ASSERT_EQUAL(rt_mem_stats_get().live_blocks, live);
    }
    CU_ASSERT_TRUE(opened);
}

/* --------------------------------------------------------------------- gradients */

static void gradients_in_the_plan_are_those_beside_it(void) {
    static tape beside, inside;
    rt_error err = {0};
    int64_t given = 0;
    RT_OK_OR_FAIL(tape_open(&beside, &(variant){.rows = 300, .train = true}, &err));
    RT_OK_OR_FAIL(tape_open(&inside, &(variant){.rows = 300, .train = true, .plan_gradients = true}, &err));
    uint64_t bits = trained(&beside);
    for (int i = 0; i < 3; i++) {
        RT_OK_OR_FAIL(rt_graph_forward(inside.g, &err)); /* never told that they are fresh: they always are */
        RT_OK_OR_FAIL(rt_graph_backward(inside.g, &err));
        CU_ASSERT_EQUAL(gradients(&inside), bits);
    }
    for (int i = 0; i < inside.n_weights; i++) {
        const rt_tensor *d = rt_graph_gradient(inside.g, inside.weight[i]);
        CU_ASSERT_TRUE(d->data && d->data != inside.gradient[i] && inside.gradient[i][0] == 0);
        given += (int64_t)rt_tensor_bytes(d);
    }
    const rt_tensor *idle = rt_graph_gradient(inside.g, inside.idle);
    for (int64_t k = 0; k < rt_tensor_count(idle); k++) CU_ASSERT_EQUAL(rt_get(idle, k), 0);
    int64_t apart = rt_graph_stats_get(beside.g).arena_bytes + given, together = rt_graph_stats_get(inside.g).arena_bytes;
    RT_CHECK(together < apart - given / 2, "%lld bytes with %lld of gradients, %lld without", (long long)together, (long long)given, (long long)apart);
    tape_close(&beside), tape_close(&inside);
}

/* -------------------------------------------------------------- made again, cheaply */

static int count(const char *text, const char *word) {
    int n = 0;
    for (const char *at = text; (at = strstr(at, word)); at++) n++;
    return n;
}
static void cheap_outputs_are_made_again_and_not_kept(void) {
    static tape again, kept;
    rt_error err = {0};
    rt_buf plan = {0}, whole = {0};
    RT_OK_OR_FAIL(tape_open(&again, &(variant){.rows = 300, .train = true}, &err));
    RT_OK_OR_FAIL(tape_open(&kept, &(variant){.rows = 300, .train = true, .keep = true}, &err));
    rt_graph_describe(again.g, true, &plan);
    rt_graph_describe(kept.g, true, &whole);
    CU_ASSERT_EQUAL(count(plan.data, " again "), 2 * LAYERS); /* norm and swiglu, each right before the backward that reads it */
    CU_ASSERT_EQUAL(count(whole.data, " again "), 0);
    const char *made = strstr(plan.data, "again    tape.swiglu"), *read = made ? strstr(made, "backward tape.down") : NULL;
    CU_ASSERT_TRUE(made && read && strchr(made, '\n') && strchr(strchr(made, '\n') + 1, '\n') > read);
    CU_ASSERT_EQUAL(trained(&again), trained(&kept));
    int64_t saved = rt_graph_stats_get(kept.g).arena_bytes - rt_graph_stats_get(again.g).arena_bytes;
    RT_CHECK(saved >= (LAYERS - 1) * 300 * (D + F) * 4, "%lld bytes saved", (long long)saved);
    rt_buf_free(&plan), rt_buf_free(&whole);
    tape_close(&again), tape_close(&kept);
}

RT_SUITE(workspace) {
    RT_TEST(outputs_outlive_other_graphs);
    RT_TEST(sharing_changes_no_bit);
    RT_TEST(backward_follows_its_own_forward);
    RT_TEST(a_sketch_has_the_figures_of_the_plan);
    RT_TEST(memory_runs_out_cleanly);
    RT_TEST(gradients_in_the_plan_are_those_beside_it);
    RT_TEST(cheap_outputs_are_made_again_and_not_kept);
}
