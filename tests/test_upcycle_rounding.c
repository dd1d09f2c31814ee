/* test_upcycle_rounding.c - what f32 makes of an upcycled feed-forward layer, against the bound of upcycle.h, element by element. */
#include "harness.h"
#include "small_mixture.h"
#include <retort/ops/ops.h>
#include <retort/infer/frozen.h>
#include <math.h>
#include <string.h>

enum { ROWS = 64 };
/* The feed-forward part of layer 0 alone, dense or a mixture, on rows of N(0,1): y [ROWS, D]. */
static void feed_forward(const rt_weights *w, float *rows, float *y) {
    rt_error err = {0};
    rt_graph *g = rt_graph_new("block");
    rt_prec p = rt_prec_uniform(RT_F32), plain = {RT_F32, RT_NONE, RT_F32, RT_F32, RT_F32};
    int64_t D = w->config.hidden_size;
    rt_tensor in = rt_tensor_2d(RT_F32, rows, ROWS, D);
#define WEIGHT(kind) rt_graph_param(g, #kind, &w->slots[rt_weights_find(w, RT_WEIGHT_##kind, 0)].t, NULL)
    rt_ref x = rt_graph_input(g, "x", &in), out;
    if (w->config.experts) {
        rt_routing r = rt_route(g, rt_linear(g, x, WEIGHT(ROUTER), p, "router"), w->config.experts_per_token, true, plain, "route");
        out = rt_experts(g, x, r, RT_NULL, WEIGHT(EXPERT_GATE), WEIGHT(EXPERT_DOWN), NULL, p, "experts");
    } else {
        rt_ref gate_up = rt_linear_cat(g, x, (rt_ref[]){WEIGHT(FFN_GATE), WEIGHT(FFN_UP)}, NULL, 2, p, "gate_up");
        out = rt_linear(g, rt_swiglu(g, gate_up, plain, "swiglu"), WEIGHT(FFN_DOWN), p, "down");
    }
#undef WEIGHT
    rt_graph_output(g, out);
    RT_OK_OR_FAIL(rt_graph_plan(g, false, &err));
    RT_OK_OR_FAIL(rt_graph_forward(g, &err));
    memcpy(y, rt_graph_value(g, out)->data, (size_t)(ROWS * D) * sizeof *y);
    rt_graph_free(g);
}

/* sum_f |d_f a_f(x)| of one row, and the activations behind it, from the formula. */
static void magnitudes(const rt_weights *dense, const float *x, double *S) {
    const rt_tensor *gate = &dense->slots[rt_weights_find(dense, RT_WEIGHT_FFN_GATE, 0)].t, *up = &dense->slots[rt_weights_find(dense, RT_WEIGHT_FFN_UP, 0)].t,
                    *down = &dense->slots[rt_weights_find(dense, RT_WEIGHT_FFN_DOWN, 0)].t;
    int64_t F = gate->dim[0], D = gate->dim[1];
    memset(S, 0, (size_t)D * sizeof *S);
    for (int64_t f = 0; f < F; f++) {
        double a = 0, b = 0;
        for (int64_t d = 0; d < D; d++) a += rt_get(gate, f * D + d) * (double)x[d], b += rt_get(up, f * D + d) * (double)x[d];
        for (int64_t d = 0; d < D; d++) S[d] += fabs(rt_get(down, d * F + f) * a / (1 + exp(-a)) * b);
    }
}

static void the_rounding_is_within_its_bound(void) {
    enum { D = 32, F = 48 };
    static float x[ROWS * D], want[ROWS * D], got[ROWS * D];
    rt_error err = {0};
    rt_frozen f;
    rt_tensor fill = rt_tensor_2d(RT_F32, x, ROWS, D);
    const char *folder = small_dense("llama", RT_F32);
    RT_OK_OR_FAIL(rt_frozen_open(&f, folder, RT_ACTIVATIONS_F32, &err));
    rt_fill_normal(&fill, 1, 7);
    feed_forward(&f.weights, x, want);
    for (int i = 0; i < SMALL_PLANS; i++) {
        rt_weights w;
        double worst = 0, S[D], bound = (2 * F + (double)small_plans[i].experts_per_token + 4) * 0x1p-24;
        small_mixture(&w, folder, &small_plans[i]);
        feed_forward(&w, x, got);
        for (int64_t n = 0; n < ROWS; n++) {
            magnitudes(&f.weights, x + n * D, S);
            for (int64_t d = 0; d < D; d++) worst = fmax(worst, fabs((double)got[n * D + d] - (double)want[n * D + d]) / (bound * S[d]));
        }
        RT_CHECK(worst <= 1, "plan %d: %g of the bound", i, worst);
        CU_ASSERT_TRUE(memcmp(got, want, sizeof got) != 0 || small_plans[i].experts_per_token == 1);
        rt_weights_free(&w);
    }
    rt_frozen_close(&f);
}

RT_SUITE(upcycle_rounding) { RT_TEST(the_rounding_is_within_its_bound); }
