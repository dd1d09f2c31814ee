/* test_moe.c - routing and experts beyond the case table: symmetry, row invariance, traces. */
#include "moe_routes.h"
#include "ops/places.h"
#include <math.h>
#include <retort/base/rng.h>
#include <retort/base/threads.h>
#include <stdio.h>

static bool same_bytes(const void *a, const void *b, size_t n) { return memcmp(a, b, n) == 0; }

/* ------------------------------------------------------------------- route */

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

static void no_memory_is_clean(void) {
    int64_t before = rt_mem_stats_get().live_blocks;
    layer l = open_layer(precs[1], 20, 8, 4, 4, 2);
    rt_status s = RT_E_NOMEM;
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
    RT_TEST(no_memory_is_clean);
}
