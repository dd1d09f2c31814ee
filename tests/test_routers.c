/* test_routers.c - policies, router health, coherence: sums that add up, numbers by hand, and the independent fixtures. */
#include "moe_routes.h"
#include <jansson.h>
#include <math.h>
#include <retort/routers/coherence.h>
#include <retort/routers/health.h>
#include <stdio.h>

/* --------------------------------------------------------------- statistics */

static void statistics_add_up(void) {
    enum { N = 96, E = 7, K = 2 };
    rt_error err = {0};
    rt_tensor z = made(RT_F32, 2, (int64_t[]){N, E}, 1.5, 21), valid = made(RT_I32, 1, (int64_t[]){N}, 0, 0);
    for (int64_t n = 0; n < N; n++) ((int32_t *)valid.data)[n] = n % 5 != 3;
    routes r = route(&z, K, true);
    rt_router_health whole, parts, other;
    RT_OK_OR_FAIL(rt_router_health_open(&whole, E, K, &err));
    RT_OK_OR_FAIL(rt_router_health_open(&parts, E, K, &err));
    RT_OK_OR_FAIL(rt_router_health_open(&other, E, K, &err));
    rt_router_health_add(&whole, &z, NULL, &r.ids, &valid);
    for (int64_t b = 0; b < 4; b++) {
        int64_t n = N / 4, from = b * n;
        rt_tensor zb = rt_tensor_2d(RT_F32, (float *)z.data + from * E, n, E), ib = rt_tensor_2d(RT_I32, (int32_t *)r.ids.data + from * K, n, K);
        rt_tensor vb = rt_tensor_1d(RT_I32, (int32_t *)valid.data + from, n);
        rt_router_health_add(b < 2 ? &parts : &other, &zb, &zb, &ib, &vb);
    }
    rt_router_health_merge(&parts, &other);
    double load_a[E], load_b[E];
    rt_router_report a = rt_router_health_report(&whole, load_a), b = rt_router_health_report(&parts, load_b);
    CU_ASSERT_EQUAL(a.tokens, 77);
    CU_ASSERT_EQUAL(b.tokens, a.tokens);
    CU_ASSERT_TRUE(memcmp(load_a, load_b, sizeof load_a) == 0);
    CU_ASSERT_TRUE(a.max_vio == b.max_vio && a.cv == b.cv && a.dead_fraction == b.dead_fraction);
    CU_ASSERT_DOUBLE_EQUAL(a.router_z, b.router_z, 1e-12);
    CU_ASSERT_DOUBLE_EQUAL(a.neff, b.neff, 1e-12);
    CU_ASSERT_DOUBLE_EQUAL(a.entropy, b.entropy, 1e-12);
    CU_ASSERT_TRUE(a.js == 0 && a.flip == 0 && a.moved == 0); /* topk is neutral: exactly 0 */
    rt_router_health_reset(&whole);
    CU_ASSERT_EQUAL(rt_router_health_report(&whole, NULL).tokens, 0);
    rt_router_health_close(&whole), rt_router_health_close(&parts), rt_router_health_close(&other);
    close_routes(&r), rt_free(z.data), rt_free(valid.data);
}
/* Two experts swapped in the used logits: every number by hand. */
static void changed_routing_is_measured(void) {
    rt_error err = {0};
    double clean[] = {1, 0, -1, 1, 0, -1}, used[] = {1, 0, -1, 0, 1, -1};
    int32_t ids[] = {0, 1};
    rt_tensor z = rt_tensor_2d(RT_F64, clean, 2, 3), u = rt_tensor_2d(RT_F64, used, 2, 3), i = rt_tensor_2d(RT_I32, ids, 2, 1);
    rt_router_health h;
    RT_OK_OR_FAIL(rt_router_health_open(&h, 3, 1, &err));
    rt_router_health_add(&h, &z, &u, &i, NULL);
    rt_router_report r = rt_router_health_report(&h, NULL);
    double s = exp(1) + 1 + exp(-1), p = exp(1) / s, q = 1 / s, m = (p + q) / 2;
    CU_ASSERT_DOUBLE_EQUAL(r.flip, 0.5, 0);
    CU_ASSERT_DOUBLE_EQUAL(r.moved, 0.5, 0);
    CU_ASSERT_DOUBLE_EQUAL(r.js, (p * log(p / m) + q * log(q / m)) / 2, 1e-14);
    CU_ASSERT_DOUBLE_EQUAL(r.dead_fraction, 1.0 / 3, 1e-15);
    rt_router_health_close(&h);
}

/* ----------------------------------------------------------------- fixtures */

static json_t *loaded(const char *name) {
    const char *path = rt_fixture(name);
    json_error_t e;
    json_t *j = path ? json_load_file(path, 0, &e) : NULL;
    RT_CHECK(!path || j, "%s cannot be read", name);
    return j;
}
static const json_t *at(const json_t *j, const char *path) { /* "a/b/c" */
    char copy[128], *rest = copy;
    snprintf(copy, sizeof copy, "%s", path);
    for (char *key; j && (key = strsep(&rest, "/"));) j = json_object_get(j, key);
    RT_CHECK(j != NULL, "the fixture lacks %s", path);
    return j;
}
/* Nested arrays, flattened; null is NaN. */
static int64_t flatten(const json_t *j, double *out) {
    if (!json_is_array(j)) return *out = json_is_null(j) ? (double)NAN : json_number_value(j), 1;
    int64_t n = 0;
    for (size_t i = 0; i < json_array_size(j); i++) n += flatten(json_array_get(j, i), out + n);
    return n;
}
static double number(const json_t *j, const char *path) { return json_number_value(at(j, path)); }
static rt_tensor table(const json_t *j, const char *path, rt_dtype t, int ndim, const int64_t *dim) {
    rt_tensor x = rt_tensor_make(t, ndim, dim, NULL);
    double *flat = rt_zalloc((size_t)rt_tensor_count(&x) * sizeof(double));
    x.data = rt_zalloc(rt_tensor_bytes(&x));
    int64_t n = flatten(at(j, path), flat);
    RT_CHECK(n == rt_tensor_count(&x), "%s has %lld numbers", path, (long long)n);
    for (int64_t i = 0; i < n; i++) rt_put(&x, i, flat[i]);
    rt_free(flat);
    return x;
}
static void near(const char *what, double got, double want) { RT_CHECK(fabs(got - want) <= 1e-6 * fmax(1, fabs(want)), "%s is %.9g, the fixture says %.9g", what, got, want); }
static void near_table(const json_t *j, const char *path, const double *got, int64_t n) {
    double *want = rt_zalloc(4096 * sizeof *want);
    CU_ASSERT_EQUAL(flatten(at(j, path), want), n);
    for (int64_t i = 0; i < n; i++)
        if (!isnan(want[i])) near(path, got[i], want[i]);
    rt_free(want);
}
static void near_tensor(const json_t *j, const char *path, const rt_tensor *got) {
    double flat[512];
    for (int64_t i = 0; i < rt_tensor_count(got); i++) flat[i] = rt_get(got, i);
    near_table(j, path, flat, rt_tensor_count(got));
}

static void router_losses_equal(const json_t *j, const rt_tensor *z, const rt_tensor *ids) {
    rt_error err = {0};
    const double one = 1;
    rt_prec p = rt_prec_uniform(RT_F32);
    for (int i = 0; i < 2; i++) {
        rt_tensor grad = made(RT_F32, 2, z->dim, 0, 0), valid = made(RT_I32, 1, z->dim, 0, 0);
        memset(valid.data, 1, rt_tensor_bytes(&valid));
        rt_graph *g = rt_graph_new("t");
        rt_ref s = rt_graph_param(g, "z", z, &grad), v = rt_graph_input(g, "valid", &valid);
        rt_ref loss = i ? rt_router_z(g, s, v, p, "z") : rt_balance(g, s, rt_graph_input(g, "ids", ids), v, p, "balance");
        rt_graph_loss(g, loss, &one);
        RT_OK_OR_FAIL(rt_graph_plan(g, true, &err));
        RT_OK_OR_FAIL(rt_graph_forward(g, &err));
        RT_OK_OR_FAIL(rt_graph_backward(g, &err));
        near(i ? "router_z" : "balance", *(double *)rt_graph_value(g, loss)->data, number(j, i ? "balance/z_loss" : "balance/load_balance_topk"));
        near_tensor(j, i ? "balance/grad_z_loss" : "balance/grad_load_balance_topk", &grad);
        rt_graph_free(g), rt_free(grad.data), rt_free(valid.data);
    }
}
static void router_health_equals(const json_t *j, const rt_tensor *z, const rt_tensor *ids) {
    rt_error err = {0};
    rt_router_health h;
    double load[8];
    RT_OK_OR_FAIL(rt_router_health_open(&h, 8, 2, &err));
    rt_router_health_add(&h, z, z, ids, NULL);
    rt_router_report r = rt_router_health_report(&h, load);
    near("router_z", r.router_z, number(j, "balance/z_loss"));
    near("balance", r.balance, number(j, "balance/load_balance_topk"));
    near("entropy", r.entropy, number(j, "balance/mean_token_entropy"));
    near("neff", r.neff, number(j, "balance/n_eff"));
    near("max_vio", r.max_vio, number(j, "balance/max_vio_topk"));
    near_table(j, "balance/f_topk", load, 8);
    rt_router_health_close(&h);
}
static void router_fixture(void) {
    json_t *j = loaded("moe/router.json");
    if (!j) return;
    rt_tensor z = table(j, "inputs/logits", RT_F32, 2, (int64_t[]){50, 8});
    for (int renormalise = 0; renormalise < 2; renormalise++) {
        routes r = route(&z, 2, renormalise);
        near_tensor(j, "softmax_topk_renormalise/indices", &r.ids);
        near_tensor(j, renormalise ? "softmax_topk_renormalise/weights" : "softmax_topk_renormalise/probs_unnormalised", &r.weights);
        if (renormalise) router_losses_equal(j, &z, &r.ids), router_health_equals(j, &z, &r.ids);
        close_routes(&r);
    }
    rt_free(z.data);
    json_decref(j);
}

/* The sums that `experts` would trace, from the fixture's outputs of tokens from..to. */
static void add_outputs(rt_coherence *c, const rt_tensor *y, const rt_tensor *w, const rt_tensor *ids, int64_t from, int64_t to) {
    enum { D = 16, E = 8, K = 2 };
    double sums[2 * E * D] = {0};
    for (int64_t p = from * K; p < to * K; p++)
        for (int64_t d = 0, e = (int64_t)rt_get(ids, p); d < D; d++) {
            sums[e * D + d] += rt_get(y, p * D + d);
            sums[(E + e) * D + d] += rt_get(w, p) * rt_get(y, p * D + d);
        }
    rt_tensor trace = rt_tensor_2d(RT_F64, sums, 2 * E, D), part = rt_tensor_2d(RT_I32, (int32_t *)ids->data + from * K, to - from, K);
    rt_coherence_add(c, &trace, &part, NULL);
}
static void coherence_equals(const json_t *j, int64_t tokens) {
    rt_error err = {0};
    rt_tensor ids = table(j, "indices", RT_I32, 2, (int64_t[]){tokens, 2}), w = table(j, "weights", RT_F64, 2, (int64_t[]){tokens, 2});
    rt_tensor y = table(j, "expert_outputs", RT_F64, 3, (int64_t[]){tokens, 2, 16});
    rt_coherence c;
    RT_OK_OR_FAIL(rt_coherence_open(&c, 8, 16, &err));
    add_outputs(&c, &y, &w, &ids, 0, tokens / 2);
    add_outputs(&c, &y, &w, &ids, tokens / 2, tokens);
    rt_expert_coherence x[8];
    rt_layer_coherence l = rt_coherence_report(&c, 4, x);
    double phi[8], loo[8];
    for (int e = 0; e < 8; e++) {
        phi[e] = x[e].phi, loo[e] = x[e].phi_loo;
        CU_ASSERT_EQUAL(x[e].valid, x[e].tokens > 0);
        CU_ASSERT_DOUBLE_EQUAL(x[e].phi_norm, 2 * phi[e], 1e-15);
    }
    near_table(j, "phi", phi, 8);
    near_table(j, "phi_leave_one_out", loo, 8);
    near("psi", l.psi, number(j, "Psi"));
    near("psi_loo", l.psi_loo, number(j, "Psi_leave_one_out"));
    rt_coherence_close(&c);
    rt_free(ids.data), rt_free(w.data), rt_free(y.data);
}
static void averages_equal(const json_t *j) {
    static const char *const decay[] = {"0.9", "0.99", "0.999"};
    rt_error err = {0};
    rt_ema e;
    double x[20 * 8], seen[3][20 * 8];
    RT_OK_OR_FAIL(rt_ema_open(&e, 8, &err));
    CU_ASSERT_TRUE(isnan(rt_ema_value(&e, 0, 0)));
    flatten(at(j, "inputs/phi"), x);
    for (int64_t i = 0; i < 160; i++) {
        rt_ema_observe(&e, i % 8, x[i]);
        for (int r = 0; r < 3; r++) seen[r][i] = rt_ema_value(&e, r, i % 8);
    }
    for (int r = 0; r < 3; r++) near_table(json_object_get(at(j, "outputs_by_decay"), decay[r]), "phi", seen[r], 160);
    CU_ASSERT_DOUBLE_EQUAL(rt_ema_drift(&e, 3), seen[0][155] - seen[2][155], 1e-15);
    rt_ema_close(&e);
}
static void coherence_fixture(void) {
    json_t *j = loaded("moe/coherence.json");
    if (!j) return;
    coherence_equals(at(j, "all_experts_used"), 50);
    coherence_equals(at(j, "with_unused_experts"), 25);
    averages_equal(at(j, "ema"));
    json_decref(j);
}

static void undefined_coherence_is_never_zero(void) {
    rt_error err = {0};
    rt_coherence c;
    double sums[] = {1, 2, 0, 0, 0, 0, 0.5, 1, 0, 0, 0, 0}; /* three experts, width 2: only the first has outputs */
    int32_t ids[] = {0, 1};
    rt_tensor trace = rt_tensor_2d(RT_F64, sums, 6, 2), i = rt_tensor_2d(RT_I32, ids, 2, 1);
    rt_expert_coherence x[3];
    RT_OK_OR_FAIL(rt_coherence_open(&c, 3, 2, &err));
    rt_coherence_add(&c, &trace, &i, NULL);
    rt_layer_coherence l = rt_coherence_report(&c, 1, x);
    CU_ASSERT_TRUE(x[0].valid && fabs(x[0].phi - 1) < 1e-15);
    CU_ASSERT_FALSE(x[0].loo_valid); /* nothing is left of the mixture */
    CU_ASSERT_TRUE(x[1].tokens == 1 && !x[1].valid); /* tokens, but no length */
    CU_ASSERT_TRUE(x[2].tokens == 0 && !x[2].valid);
    CU_ASSERT_TRUE(l.valid && !l.loo_valid && fabs(l.psi - 0.5) < 1e-15);
    rt_coherence_reset(&c);
    CU_ASSERT_FALSE(rt_coherence_report(&c, 1, x).valid);
    rt_coherence_close(&c);
}

/* A policy with state, as later ones have: its arrays are made, handed out and changed in one place. */
static void declare_bias(const rt_router_options *o, rt_router_state *s) {
    s->count = 1;
    s->name[0] = "bias";
    s->array[0] = rt_tensor_1d(RT_F32, NULL, o->experts);
}
static void move_bias(const rt_router_options *o, rt_router_state *s, const rt_router_observation *seen) {
    for (int64_t e = 0; e < o->experts; e++) ((float *)s->array[0].data)[e] += (float)seen->count[e];
}
static void policies_and_their_state(void) {
    rt_error err = {0};
    const rt_router *r = NULL;
    rt_router_options o = {3, 1, true};
    rt_router_state s;
    rt_router_observation seen = {.tokens = 3, .count = (int64_t[]){1, 0, 2}};
    const rt_router biased = {.name = "biased", .declare = declare_bias, .update = move_bias};
    CU_ASSERT_EQUAL(rt_router_find("topq", &r, &err), RT_E_CONFIG);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "nearest: 'topk'"));
    rt_error_clear(&err);
    RT_OK_OR_FAIL(rt_router_find("topk", &r, &err));
    RT_OK_OR_FAIL(rt_router_state_open(&s, r, &o, &err));
    CU_ASSERT_EQUAL(s.count, 0);
    rt_router_update(r, &o, &s, &seen);
    rt_router_state_close(&s);
    RT_OK_OR_FAIL(rt_router_state_open(&s, &biased, &o, &err));
    rt_router_update(&biased, &o, &s, &seen);
    CU_ASSERT_EQUAL(rt_get(&s.array[0], 2), 2);
    rt_router_state_close(&s);
}

static rt_status open_all(rt_error *err) {
    const rt_router biased = {.name = "biased", .declare = declare_bias};
    rt_router_health h;
    rt_coherence c = {0};
    rt_ema e = {0};
    rt_router_state state = {0};
    rt_status s = rt_router_health_open(&h, 4, 2, err);
    if (s == RT_OK) s = rt_coherence_open(&c, 4, 8, err);
    if (s == RT_OK) s = rt_ema_open(&e, 4, err);
    if (s == RT_OK) s = rt_router_state_open(&state, &biased, &(rt_router_options){4, 2, true}, err);
    rt_router_state_close(&state), rt_ema_close(&e), rt_coherence_close(&c), rt_router_health_close(&h);
    return s;
}
static void no_memory_is_clean(void) {
    int64_t before = rt_mem_stats_get().live_blocks;
    rt_status s = RT_E_NOMEM;
    for (int64_t n = 1; s != RT_OK && n < 20; n++) {
        rt_error err = {0};
        rt_mem_fail_at(n);
        s = open_all(&err);
        CU_ASSERT_TRUE(s == RT_OK || s == RT_E_NOMEM);
    }
    rt_mem_fail_at(0);
    CU_ASSERT_EQUAL(s, RT_OK);
    CU_ASSERT_EQUAL(rt_mem_stats_get().live_blocks, before);
}

RT_SUITE(routers) {
    RT_TEST(statistics_add_up);
    RT_TEST(changed_routing_is_measured);
    RT_TEST(router_fixture);
    RT_TEST(coherence_fixture);
    RT_TEST(undefined_coherence_is_never_zero);
    RT_TEST(policies_and_their_state);
    RT_TEST(no_memory_is_clean);
}
