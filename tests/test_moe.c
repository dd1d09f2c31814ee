/* test_moe.c - routing and experts beyond the case table: symmetry, row invariance, traces; the routers' statistics. */
#include "harness.h"
#include "ops/places.h"
#include <jansson.h>
#include <math.h>
#include <retort/base/mem.h>
#include <retort/base/rng.h>
#include <retort/base/threads.h>
#include <retort/graph/op.h>
#include <retort/ops/ops.h>
#include <retort/routers/coherence.h>
#include <retort/routers/health.h>
#include <retort/routers/router.h>
#include <stdio.h>
#include <string.h>

static rt_tensor made(rt_dtype t, int ndim, const int64_t *dim, double scale, uint64_t stream) {
    rt_tensor x = rt_tensor_make(t, ndim, dim, NULL);
    x.data = rt_zalloc(rt_tensor_bytes(&x));
    if (scale > 0) rt_fill_normal(&x, scale, stream);
    return x;
}
static bool same_bytes(const void *a, const void *b, size_t n) { return memcmp(a, b, n) == 0; }

/* ------------------------------------------------------------------- route */

/* scores -> weights, ids (owned copies). */
typedef struct routes {
    rt_tensor weights, ids;
} routes;
static rt_tensor copied(const rt_tensor *t) {
    rt_tensor c = *t;
    c.data = rt_alloc(rt_tensor_bytes(t));
    memcpy(c.data, t->data, rt_tensor_bytes(t));
    return c;
}
static routes route(const rt_tensor *scores, int64_t k, bool renormalise) {
    rt_error err = {0};
    rt_graph *g = rt_graph_new("t");
    const rt_router *topk = NULL;
    rt_ref used, z = rt_graph_input(g, "scores", scores);
    RT_OK_OR_FAIL(rt_router_find("topk", &topk, &err));
    rt_router_context c = {.options = {scores->dim[1], k, renormalise}, .prec = rt_prec_uniform(scores->dtype)};
    rt_routing r = topk->build(g, &c, z, &used, "route");
    CU_ASSERT_EQUAL(used.id, z.id);
    rt_graph_output(g, r.weights);
    rt_graph_output(g, r.ids);
    RT_OK_OR_FAIL(rt_graph_plan(g, false, &err));
    RT_OK_OR_FAIL(rt_graph_forward(g, &err));
    routes out = {copied(rt_graph_value(g, r.weights)), copied(rt_graph_value(g, r.ids))};
    rt_graph_free(g);
    return out;
}
static void close_routes(routes *r) { rt_free(r->weights.data), rt_free(r->ids.data); }
static int32_t id_at(const routes *r, int64_t n, int64_t j) { return ((const int32_t *)r->ids.data)[n * r->ids.dim[1] + j]; }

static void permuted_tokens_get_permuted_routes(void) {
    enum { N = 300, E = 37, K = 5 };
    rt_tensor s = made(RT_F32, 2, (int64_t[]){N, E}, 2, 1), p = made(RT_F32, 2, (int64_t[]){N, E}, 0, 0);
    for (int64_t n = 0; n < N; n++) memcpy((float *)p.data + n * E, (float *)s.data + (n * 7 % N) * E, E * sizeof(float));
    routes a = route(&s, K, true), b = route(&p, K, true);
    bool same = true;
    for (int64_t n = 0; n < N; n++) {
        int64_t m = n * 7 % N;
        same &= same_bytes((float *)a.weights.data + m * K, (float *)b.weights.data + n * K, K * sizeof(float));
        same &= same_bytes((int32_t *)a.ids.data + m * K, (int32_t *)b.ids.data + n * K, K * sizeof(int32_t));
    }
    CU_ASSERT_TRUE(same);
    close_routes(&a), close_routes(&b), rt_free(s.data), rt_free(p.data);
}

static void check_routes(const rt_tensor *s, const routes *r, bool renormalised) {
    int64_t E = s->dim[1], k = r->ids.dim[1];
    bool order = true, unit = true;
    for (int64_t n = 0; n < s->dim[0]; n++) {
        bool seen[1024] = {false};
        double sum = 0;
        for (int64_t j = 0; j < k; j++) {
            int32_t e = id_at(r, n, j), before = j ? id_at(r, n, j - 1) : e;
            double z = rt_get(s, n * E + e), last = rt_get(s, n * E + before), w = rt_get(&r->weights, n * k + j);
            order &= e >= 0 && e < E && !seen[e] && (j == 0 || last > z || (last == z && before < e));
            unit &= w >= 0;
            seen[e] = true;
            sum += w;
        }
        for (int64_t e = 0; e < E; e++) { /* nobody better was left out */
            double worst = rt_get(s, n * E + id_at(r, n, k - 1));
            order &= seen[e] || rt_get(s, n * E + e) < worst || (rt_get(s, n * E + e) == worst && e > id_at(r, n, k - 1));
        }
        unit &= renormalised ? fabs(sum - 1) <= 1e-6 : sum <= 1 + 1e-6;
    }
    RT_CHECK(order, "ids are not the %lld best of %lld, in order and unique", (long long)k, (long long)E);
    RT_CHECK(unit, "weights of the %lld best of %lld are negative or do not sum to 1", (long long)k, (long long)E);
}
static void routes_are_the_best_unique_and_ordered(void) {
    static const int64_t sizes[][2] = {{8, 2}, {64, 8}, {1, 1}, {16, 16}, {1024, 8}, {1024, 1024}, {5, 1}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        rt_tensor s = made(RT_F32, 2, (int64_t[]){20, sizes[i][0]}, 1, i);
        for (int64_t j = 0; j < rt_tensor_count(&s); j++) rt_put(&s, j, round(2 * rt_get(&s, j)) / 2); /* many ties */
        for (int renormalise = 0; renormalise < 2; renormalise++) {
            routes r = route(&s, sizes[i][1], renormalise);
            check_routes(&s, &r, renormalise);
            close_routes(&r);
        }
        rt_free(s.data);
    }
}

/* A planted router: rows of W_r equal to two token vectors. */
static void planted_rows_separate_tokens(void) {
    enum { D = 16, E = 4 };
    rt_error err = {0};
    rt_tensor x = made(RT_F32, 2, (int64_t[]){2, D}, 1, 3), w = made(RT_F32, 2, (int64_t[]){E, D}, 0.01, 4);
    memcpy((float *)w.data + 1 * D, x.data, D * sizeof(float));
    memcpy((float *)w.data + 3 * D, (float *)x.data + D, D * sizeof(float));
    rt_graph *g = rt_graph_new("t");
    rt_prec p = rt_prec_uniform(RT_F32);
    rt_ref s = rt_linear(g, rt_graph_input(g, "x", &x), rt_graph_param(g, "w", &w, NULL), p, "router");
    rt_routing r = rt_route(g, s, 1, true, p, "route");
    rt_graph_output(g, r.ids);
    RT_OK_OR_FAIL(rt_graph_plan(g, false, &err));
    RT_OK_OR_FAIL(rt_graph_forward(g, &err));
    const int32_t *id = rt_graph_value(g, r.ids)->data;
    CU_ASSERT_EQUAL(id[0], 1);
    CU_ASSERT_EQUAL(id[1], 3);
    rt_graph_free(g), rt_free(x.data), rt_free(w.data);
}

/* ------------------------------------------------------------------ places */

static void places_are_a_stable_sort(void) {
    enum { PAIRS = 4000, E = 9 };
    static int32_t ids[PAIRS], memory[20000];
    static rt_tile tiles[64];
    for (int64_t i = 0; i < PAIRS; i++) ids[i] = (int32_t)(i % 5 ? 2 : i % E); /* expert 2 gets most */
    CU_ASSERT_TRUE(rt_places_ints(PAIRS, E) <= 20000);
    rt_places p = rt_places_view(memory, PAIRS, E);
    CU_ASSERT_TRUE(rt_places_fill(&p, ids));
    bool good = true;
    int64_t covered = 0, n = rt_places_list(&p, tiles);
    for (int64_t e = 0; e < E; e++)
        for (int64_t i = 0; i < p.count[e]; i++) {
            int32_t pair = p.pair[p.start[e] + i];
            good &= ids[pair] == e && p.slot[pair] == p.start[e] + i && (i == 0 || pair > p.pair[p.start[e] + i - 1]);
        }
    for (int64_t t = 0; t < n; t++) {
        good &= tiles[t].n <= RT_EXPERT_ROWS && tiles[t].row % 16 == 0 && (t == 0 || tiles[t].n <= tiles[t - 1].n);
        covered += tiles[t].n;
    }
    CU_ASSERT_TRUE(good);
    CU_ASSERT_EQUAL(covered, PAIRS);
    CU_ASSERT_TRUE(n <= rt_places_tiles(PAIRS, E) && p.start[E - 1] + p.count[E - 1] <= rt_places_slots(PAIRS, E));
    ids[7] = E;
    CU_ASSERT_FALSE(rt_places_fill(&p, ids));
}

/* ----------------------------------------------------------------- experts */

typedef struct layer {
    rt_prec p;
    int64_t N, D, F, E, k;
    rt_tensor x, w, ids, valid, gate_up, down, d[4], y, trace; /* d: gradients of x, w, gate_up, down */
} layer;
static rt_tensor *owned(layer *l, int i) {
    rt_tensor *all[] = {&l->x, &l->w, &l->ids, &l->valid, &l->gate_up, &l->down, &l->d[0], &l->d[1], &l->d[2], &l->d[3], &l->y, &l->trace};
    return i < 12 ? all[i] : NULL;
}
static layer open_layer(rt_prec p, int64_t N, int64_t D, int64_t F, int64_t E, int64_t k) {
    layer l = {p, N, D, F, E, k};
    int64_t x[] = {N, D}, w[] = {N, k}, gate_up[] = {E, 2 * F, D}, down[] = {E, F, D};
    l.x = made(p.in, 2, x, 1, 11), l.w = made(p.acc, 2, w, 0.5, 12), l.ids = made(RT_I32, 2, w, 0, 0), l.valid = made(RT_I32, 1, x, 0, 0);
    l.gate_up = made(p.weight, 3, gate_up, 0.2, 13), l.down = made(p.weight, 3, down, 0.2, 14);
    l.d[0] = made(p.grad, 2, x, 0, 0), l.d[1] = made(p.grad, 2, w, 0, 0), l.d[2] = made(p.grad, 3, gate_up, 0, 0), l.d[3] = made(p.grad, 3, down, 0, 0);
    l.y = made(p.out, 2, x, 0, 0), l.trace = made(RT_F64, 2, (int64_t[]){2 * E, D}, 0, 0);
    for (int64_t n = 0; n < N; n++) {
        ((int32_t *)l.valid.data)[n] = n % 3 != 1;
        for (int64_t j = 0; j < k; j++) ((int32_t *)l.ids.data)[n * k + j] = (int32_t)((n * n + 3 * j + n / 2) % (E / k) * k + j);
    }
    return l;
}
static void close_layer(layer *l) {
    for (int i = 0; owned(l, i); i++) rt_free(owned(l, i)->data);
}
/* sum of y squared / 2: dy = y. */
static rt_status half_square_infer(rt_graph *g, rt_node *n) { return rt_infer_out(g, n, 0, RT_F64, 1, (int64_t[]){1}); }
static void half_square(const rt_call *c) { *(double *)c->out[0].data = 0; }
static void half_square_back(const rt_call *c) {
    for (int64_t i = 0; i < rt_tensor_count(&c->in[0]); i++)
        rt_put((rt_tensor *)(uintptr_t)&c->din[0], i, rt_get(&c->din[0], i) + rt_get(&c->in[0], i));
}
static const rt_op half_square_op = {.name = "half_square", .n_in = 1, .n_out = 1, .diff = RT_IN(0), .saves = RT_IN(0),
                                     .infer = half_square_infer, .forward = half_square, .backward = half_square_back};

static rt_status run_layer(layer *l, bool train, bool traced, bool recompute, rt_error *err) {
    const double gain = 1;
    rt_graph *g = rt_graph_new("t");
    if (!g) return rt_fail(err, RT_E_NOMEM, "out of memory");
    for (int i = 0; i < 4; i++) memset(l->d[i].data, 0, rt_tensor_bytes(&l->d[i]));
    rt_ref x = train ? rt_graph_param(g, "x", &l->x, &l->d[0]) : rt_graph_input(g, "x", &l->x), trace = RT_NULL;
    rt_routing r = {train ? rt_graph_param(g, "w", &l->w, &l->d[1]) : rt_graph_input(g, "w", &l->w), rt_graph_input(g, "ids", &l->ids)};
    rt_ref valid = rt_graph_input(g, "valid", &l->valid), gate_up = rt_graph_param(g, "gate_up", &l->gate_up, train ? &l->d[2] : NULL);
    rt_ref down = rt_graph_param(g, "down", &l->down, train ? &l->d[3] : NULL);
    rt_graph_segment(g, recompute);
    rt_ref y = rt_experts(g, x, r, valid, gate_up, down, traced ? &trace : NULL, l->p, "experts");
    rt_graph_segment(g, false);
    rt_graph_output(g, y);
    rt_graph_output(g, trace);
    if (train) rt_graph_loss(g, rt_graph_add(g, &half_square_op, "loss", rt_prec_uniform(RT_F64), NULL, 0, &y, 1, NULL), &gain);
    rt_status s = rt_graph_plan(g, train, err);
    if (s == RT_OK) s = rt_graph_forward(g, err);
    if (s == RT_OK) memcpy(l->y.data, rt_graph_value(g, y)->data, rt_tensor_bytes(&l->y));
    if (s == RT_OK && traced) memcpy(l->trace.data, rt_graph_value(g, trace)->data, rt_tensor_bytes(&l->trace));
    if (s == RT_OK && train) s = rt_graph_backward(g, err);
    rt_graph_free(g);
    return s;
}
static uint64_t bits(layer *l, bool train, bool traced, bool recompute) {
    rt_error err = {0};
    RT_OK_OR_FAIL(run_layer(l, train, traced, recompute, &err));
    uint64_t h = rt_tensor_hash(&l->y);
    for (int i = 0; train && i < 4; i++) h = h * 31 + rt_tensor_hash(&l->d[i]);
    return h;
}

static const rt_prec precs[] = {{RT_F64, RT_F64, RT_F64, RT_F64, RT_F64}, {RT_F32, RT_F32, RT_F32, RT_F32, RT_F32},
                                {RT_F16, RT_F16, RT_F32, RT_F16, RT_F32}, {RT_BF16, RT_BF16, RT_F32, RT_F32, RT_F32}};
enum { PRECS = sizeof precs / sizeof *precs };

static void same_bits_whatever_is_asked(void) {
    int before = rt_threads();
    for (int i = 0; i < PRECS; i++) {
        layer l = open_layer(precs[i], 333, 40, 24, 6, 2);
        rt_threads_set(1);
        uint64_t one = bits(&l, true, false, false), forward = rt_tensor_hash(&l.y), trace = 0;
        for (int threads = 1; threads <= 3; threads++) {
            rt_threads_set(threads);
            CU_ASSERT_EQUAL(bits(&l, true, false, false), one);
            CU_ASSERT_EQUAL(bits(&l, true, true, false), one);
            if (threads > 1) CU_ASSERT_EQUAL(rt_tensor_hash(&l.trace), trace);
            trace = rt_tensor_hash(&l.trace);
            CU_ASSERT_EQUAL(bits(&l, true, true, true), one);
            CU_ASSERT_EQUAL(rt_tensor_hash(&l.trace), trace);
            CU_ASSERT_EQUAL(bits(&l, false, false, false), forward);
        }
        rt_threads_set(before);
        close_layer(&l);
    }
}

/* Token 0 of a single expert, whose load is M: the same bits for all M, first or last. Shapes on both sides of the library's
 * own thresholds. */
static void one_load(layer *all, int64_t M, int64_t at, const void *want, const void *want_dx) {
    layer l = *all;
    size_t row_x = (size_t)l.D * rt_dtype_size(l.p.in), row_y = (size_t)l.D * rt_dtype_size(l.p.out), row_d = (size_t)l.D * rt_dtype_size(l.p.grad);
    l.N = M;
    for (int i = 0; i < 12; i++)
        if (i != 4 && i != 5 && i != 8 && i != 9 && i != 11) owned(&l, i)->dim[0] = M;
    char *x = rt_alloc(rt_tensor_bytes(&l.x)), *w = rt_alloc(rt_tensor_bytes(&l.w));
    size_t size_w = rt_dtype_size(l.p.acc);
    memcpy(x, l.x.data, rt_tensor_bytes(&l.x)), memcpy(w, l.w.data, rt_tensor_bytes(&l.w));
    memcpy(x, (char *)l.x.data + (size_t)at * row_x, row_x), memcpy(x + (size_t)at * row_x, l.x.data, row_x); /* swap 0 and at */
    memcpy(w, (char *)l.w.data + (size_t)at * size_w, size_w), memcpy(w + (size_t)at * size_w, l.w.data, size_w);
    l.x.data = x, l.w.data = w;
    rt_error err = {0};
    RT_OK_OR_FAIL(run_layer(&l, true, false, false, &err));
    RT_CHECK(same_bytes((char *)l.y.data + (size_t)at * row_y, want, row_y), "load %lld, place %lld: other bits", (long long)M, (long long)at);
    RT_CHECK(same_bytes((char *)l.d[0].data + (size_t)at * row_d, want_dx, row_d), "load %lld, place %lld: other bits of dx", (long long)M, (long long)at);
    rt_free(x), rt_free(w);
}
static void loads_of(rt_prec p, int64_t D, int64_t F, bool all) {
    layer l = open_layer(p, 600, D, F, 1, 1);
    char want[400 * 8], want_dx[400 * 8];
    rt_error err = {0};
    RT_OK_OR_FAIL(run_layer(&l, true, false, false, &err));
    memcpy(want, l.y.data, (size_t)D * rt_dtype_size(p.out));
    memcpy(want_dx, l.d[0].data, (size_t)D * rt_dtype_size(p.grad));
    for (int64_t M = 1; M <= 600; M += all ? 1 : 1 + M / 5) one_load(&l, M, M % 2 ? M - 1 : M / 3, want, want_dx);
    close_layer(&l);
}
static void a_row_does_not_depend_on_its_experts_load(void) {
    int before = rt_threads();
    rt_threads_set(1); /* many small runs */
    for (int i = 0; i < PRECS; i++) {
        loads_of(precs[i], 12, 4, i == 1);
        loads_of(precs[i], 64, 40, i == 1);
        loads_of(precs[i], 400, 12, false);
    }
    rt_threads_set(before);
}

static void bad_ids_are_named(void) {
    rt_error err = {0};
    layer l = open_layer(precs[1], 5, 8, 4, 4, 2);
    ((int32_t *)l.ids.data)[3] = 4;
    CU_ASSERT_EQUAL(run_layer(&l, false, false, false, &err), RT_E_INPUT);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "t.experts (experts): an expert id is outside 0..3"));
    close_layer(&l);
}

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
    CU_ASSERT_TRUE(same_bytes(load_a, load_b, sizeof load_a));
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
    layer l = open_layer(precs[1], 20, 8, 4, 4, 2);
    s = RT_E_NOMEM;
    for (int64_t n = 1; s != RT_OK && n < 100; n++) {
        rt_error err = {0};
        rt_scratch_release();
        rt_mem_fail_at(n);
        s = run_layer(&l, true, true, false, &err);
        CU_ASSERT_TRUE(s == RT_OK || s == RT_E_NOMEM);
    }
    rt_mem_fail_at(0);
    CU_ASSERT_EQUAL(s, RT_OK);
    close_layer(&l);
    rt_scratch_release();
    CU_ASSERT_TRUE(rt_mem_stats_get().live_blocks <= before);
}

RT_SUITE(moe) {
    RT_TEST(permuted_tokens_get_permuted_routes);
    RT_TEST(routes_are_the_best_unique_and_ordered);
    RT_TEST(planted_rows_separate_tokens);
    RT_TEST(places_are_a_stable_sort);
    RT_TEST(same_bits_whatever_is_asked);
    RT_TEST(a_row_does_not_depend_on_its_experts_load);
    RT_TEST(bad_ids_are_named);
    RT_TEST(statistics_add_up);
    RT_TEST(changed_routing_is_measured);
    RT_TEST(router_fixture);
    RT_TEST(coherence_fixture);
    RT_TEST(undefined_coherence_is_never_zero);
    RT_TEST(policies_and_their_state);
    RT_TEST(no_memory_is_clean);
}
