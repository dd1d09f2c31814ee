/* test_optim.c - AdamW against its formula in f64, clipping, threads, resume, half copies, schedules, loss scaling. */
#include "harness.h"
#include <retort/base/mem.h>
#include <retort/base/rng.h>
#include <retort/base/threads.h>
#include <retort/optim/loss_scale.h>
#include <retort/optim/optim.h>
#include <retort/optim/schedule.h>
#include <math.h>
#include <string.h>

enum { PARAMS = 3, TOTAL = 70000 + 37 + 1500 };
static const int64_t counts[PARAMS] = {70000, 37, 1500};
static const rt_optim_config adamw = {"adamw", 0.9, 0.95, 1e-8, 0.1, 1.0};

typedef struct rig { /* three parameters cut from flat arrays; the second has no decay, the third a half copy */
    float *w, *g, *m, *v;
    rt_bf16 half[1500];
    rt_optim_param param[PARAMS];
    rt_optim *o;
} rig;

static void rig_free(rig *r) {
    rt_optim_free(r->o);
    rt_free(r->w), rt_free(r->g), rt_free(r->m), rt_free(r->v);
    *r = (rig){0};
}
static rt_status rig_make(rig *r, rt_error *err) {
    static const char *const names[] = {"matrix", "norm", "expert"};
    *r = (rig){.w = rt_zalloc(TOTAL * 4), .g = rt_zalloc(TOTAL * 4), .m = rt_zalloc(TOTAL * 4), .v = rt_zalloc(TOTAL * 4)};
    if (!r->w || !r->g || !r->m || !r->v) return RT_E_NOMEM;
    for (int64_t i = 0; i < TOTAL; i++) r->w[i] = (float)(0.02 * rt_rng_normal(rt_rng_make(1, "w", 0), (uint64_t)i));
    for (int64_t p = 0, at = 0; p < PARAMS; at += counts[p++])
        r->param[p] = (rt_optim_param){names[p], counts[p], r->w + at, r->g + at, r->m + at, r->v + at, NULL, RT_NONE, p != 1};
    r->param[2].compute = r->half;
    r->param[2].compute_dtype = RT_BF16;
    return rt_optim_create(&adamw, r->param, PARAMS, &r->o, err);
}
static void gradient(float *g, int64_t step) {
    rt_rng rng = rt_rng_make(2, "g", (uint64_t)step);
    for (int64_t i = 0; i < TOTAL; i++) g[i] = (float)(1e-2 * rt_rng_normal(rng, (uint64_t)i));
}

/* The formula of adamw.c, all f64, clip included; returns the gradient's norm. */
static double reference_step(double *w, double *m, double *v, const float *g, int t, double lr, double scale) {
    double norm = 0, b1 = adamw.beta1, b2 = adamw.beta2;
    for (int64_t i = 0; i < TOTAL; i++) norm += scale * (double)g[i] * scale * (double)g[i];
    norm = sqrt(norm);
    double factor = scale * (norm > adamw.clip ? adamw.clip / norm : 1);
    for (int64_t i = 0; i < TOTAL; i++) {
        double x = factor * (double)g[i], decay = i >= counts[0] && i < counts[0] + counts[1] ? 0 : adamw.weight_decay;
        m[i] = b1 * m[i] + (1 - b1) * x;
        v[i] = b2 * v[i] + (1 - b2) * x * x;
        w[i] -= lr * (m[i] / (1 - pow(b1, t)) / (sqrt(v[i] / (1 - pow(b2, t))) + adamw.eps) + decay * w[i]);
    }
    return norm;
}

static void adamw_follows_its_formula(void) {
    rt_error err = {0};
    rig r;
    RT_OK_OR_FAIL(rig_make(&r, &err));
    double *w = rt_zalloc(TOTAL * 8), *m = rt_zalloc(TOTAL * 8), *v = rt_zalloc(TOTAL * 8), worst = 0;
    for (int64_t i = 0; i < TOTAL; i++) w[i] = (double)r.w[i];
    for (int t = 1; t <= 10; t++) {
        rt_optim_stats s;
        double lr = 1e-3 * t, update = 0, weight = 0;
        gradient(r.g, t);
        double *before = rt_alloc(TOTAL * 8);
        memcpy(before, w, TOTAL * 8);
        double norm = reference_step(w, m, v, r.g, t, lr, 0.5);
        RT_OK_OR_FAIL(rt_optim_step(r.o, lr, 0.5, &s, &err));
        for (int64_t i = 0; i < TOTAL; i++) {
            update += (w[i] - before[i]) * (w[i] - before[i]), weight += w[i] * w[i];
            worst = fmax(worst, fabs(w[i] - (double)r.w[i]) / 0.02);
        }
        CU_ASSERT_DOUBLE_EQUAL(s.grad_norm / norm, 1, 1e-12);
        CU_ASSERT_DOUBLE_EQUAL(s.clip / (1 / norm), 1, 1e-12);
        CU_ASSERT_DOUBLE_EQUAL(s.param_norm / sqrt(weight), 1, 1e-6);
        CU_ASSERT_DOUBLE_EQUAL(s.update_norm / sqrt(update), 1, 1e-6);
        rt_free(before);
    }
    RT_CHECK(worst < 1e-5, "largest deviation %g of the weights' scale", worst);
    CU_ASSERT_EQUAL(rt_optim_steps(r.o), 10);
    for (int i = 0; i < 1500; i++)
        if (r.half[i].bits != rt_f32_to_bf16(r.param[2].master[i]).bits) CU_FAIL_FATAL("half copy differs");
    rt_free(w), rt_free(m), rt_free(v);
    rig_free(&r);
}

static uint64_t run(int from, int to, rig *r) {
    rt_error err = {0};
    for (int t = from; t < to; t++) {
        gradient(r->g, t);
        RT_OK_OR_FAIL(rt_optim_step(r->o, 1e-3, 1, NULL, &err));
    }
    rt_tensor all[] = {rt_tensor_1d(RT_F32, r->w, TOTAL), rt_tensor_1d(RT_F32, r->m, TOTAL), rt_tensor_1d(RT_F32, r->v, TOTAL)};
    return rt_tensor_hash(&all[0]) ^ 3 * rt_tensor_hash(&all[1]) ^ 5 * rt_tensor_hash(&all[2]);
}
static void bits_do_not_depend_on_threads(void) {
    int before = rt_threads();
    uint64_t hash[3];
    for (int threads = 1; threads <= 3; threads++) {
        rig r;
        rt_threads_set(threads);
        CU_ASSERT_EQUAL(rig_make(&r, NULL), RT_OK);
        hash[threads - 1] = run(0, 4, &r);
        rig_free(&r);
    }
    CU_ASSERT_TRUE(hash[0] == hash[1] && hash[0] == hash[2]);
    rt_threads_set(before);
}

static void a_resumed_run_has_the_same_bits(void) {
    rig whole, first, second;
    CU_ASSERT_TRUE(rig_make(&whole, NULL) == RT_OK && rig_make(&first, NULL) == RT_OK && rig_make(&second, NULL) == RT_OK);
    uint64_t expected = run(0, 6, &whole);
    run(0, 3, &first);
    memcpy(second.w, first.w, TOTAL * 4), memcpy(second.m, first.m, TOTAL * 4), memcpy(second.v, first.v, TOTAL * 4);
    rt_optim_set_steps(second.o, rt_optim_steps(first.o));
    rt_optim_refresh(second.o);
    CU_ASSERT_EQUAL(memcmp(second.half, first.half, sizeof first.half), 0);
    CU_ASSERT_EQUAL(run(3, 6, &second), expected);
    rig_free(&whole), rig_free(&first), rig_free(&second);
}

static void a_gradient_that_is_not_finite_changes_nothing(void) {
    static const float bad[] = {INFINITY, NAN};
    for (int i = 0; i < 2; i++) {
        rt_error err = {0};
        rig r;
        rt_optim_stats s;
        RT_OK_OR_FAIL(rig_make(&r, &err));
        uint64_t before = run(0, 1, &r);
        r.g[counts[0] + 3] = bad[i];
        CU_ASSERT_EQUAL(rt_optim_step(r.o, 1e-3, 1, &s, &err), RT_E_NUMERIC);
        CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "'norm'"));
        CU_ASSERT_TRUE(!isfinite(s.grad_norm) && rt_optim_steps(r.o) == 1 && run(1, 1, &r) == before);
        rig_free(&r);
    }
}

static void a_step_allocates_nothing(void) {
    rig r;
    CU_ASSERT_EQUAL(rig_make(&r, NULL), RT_OK);
    run(0, 1, &r);
    int64_t calls = rt_mem_stats_get().calls;
    run(1, 3, &r);
    CU_ASSERT_EQUAL(rt_mem_stats_get().calls, calls);
    rig_free(&r);
}

static rt_status create(rt_optim_config c, const rt_optim_param *p, int64_t n) {
    rt_optim *o;
    rt_error err = {0};
    rt_status s = rt_optim_create(&c, p, n, &o, &err);
    CU_ASSERT_TRUE(s == RT_OK || *err.text);
    rt_optim_free(o);
    return s;
}
static void nonsense_is_refused(void) {
    rig r;
    rt_optim_config c = adamw;
    CU_ASSERT_EQUAL(rig_make(&r, NULL), RT_OK);
    rt_optim_param p[PARAMS];
    memcpy(p, r.param, sizeof p);
    c.eps = 1e-40; /* a subnormal f32 */
    CU_ASSERT_EQUAL(create(c, p, PARAMS), RT_E_ARG);
    c = adamw, c.beta2 = 1;
    CU_ASSERT_EQUAL(create(c, p, PARAMS), RT_E_ARG);
    c = adamw, c.clip = NAN;
    CU_ASSERT_EQUAL(create(c, p, PARAMS), RT_E_ARG);
    c = adamw, c.name = "adamz";
    CU_ASSERT_EQUAL(create(c, p, PARAMS), RT_E_CONFIG);
    p[1].grad = NULL;
    CU_ASSERT_EQUAL(create(adamw, p, PARAMS), RT_E_ARG);
    p[1] = r.param[1], p[1].master = p[0].master + 5;
    CU_ASSERT_EQUAL(create(adamw, p, PARAMS), RT_E_ARG);
    p[1] = r.param[1], p[2].compute_dtype = RT_I32;
    CU_ASSERT_EQUAL(create(adamw, p, PARAMS), RT_E_DTYPE);
    CU_ASSERT_EQUAL(create(adamw, p, 0), RT_OK);
    CU_ASSERT_EQUAL(rt_optim_step(r.o, NAN, 1, NULL, NULL), RT_E_ARG);
    rig_free(&r);
}

static void out_of_memory_is_clean(void) {
    int64_t before = rt_mem_stats_get().live_blocks;
    int n = 1;
    for (rt_status s = RT_E_NOMEM; s != RT_OK && n < 50; n++) {
        rig r;
        rt_mem_fail_at(n);
        s = rig_make(&r, NULL);
        rt_mem_fail_at(0);
        CU_ASSERT_TRUE(s == RT_OK || s == RT_E_NOMEM);
        rig_free(&r);
        CU_ASSERT_EQUAL(rt_mem_stats_get().live_blocks, before);
    }
    CU_ASSERT_TRUE(n > 4 && n < 50);
}

/* Every half value, its neighbours in f32, the midpoints to the next half value, infinities and NaN. */
static void half_copies_round_as_scalars_do(void) {
    enum { PER = 6, N = 1 << 16 };
    float *x = rt_alloc(N * PER * 4), *m = rt_zalloc(N * PER * 4), *v = rt_zalloc(N * PER * 4), *g = rt_zalloc(N * PER * 4);
    uint16_t *y = rt_alloc(N * PER * 2);
    for (int kind = 0; kind < 2; kind++) {
        for (uint32_t h = 0; h < N; h++) {
            float a = kind ? rt_bf16_to_f32((rt_bf16){(uint16_t)h}) : rt_f16_to_f32((rt_f16){(uint16_t)h});
            float b = kind ? rt_bf16_to_f32((rt_bf16){(uint16_t)(h + 1)}) : rt_f16_to_f32((rt_f16){(uint16_t)(h + 1)});
            float middle = a * 0.5f + b * 0.5f, cases[PER] = {a, nextafterf(a, INFINITY), nextafterf(a, -INFINITY), middle,
                                                               nextafterf(middle, INFINITY), nextafterf(middle, -INFINITY)};
            memcpy(x + (size_t)h * PER, cases, sizeof cases);
        }
        rt_optim_param p = {"x", N * PER, x, g, m, v, y, kind ? RT_BF16 : RT_F16, false};
        rt_optim *o;
        CU_ASSERT_EQUAL(rt_optim_create(&adamw, &p, 1, &o, NULL), RT_OK);
        rt_optim_refresh(o);
        for (int i = 0; i < N * PER; i++) {
            uint16_t expected = kind ? rt_f32_to_bf16(x[i]).bits : rt_f32_to_f16(x[i]).bits;
            if (y[i] != expected) {
                RT_FAILF("%a: %04x, expected %04x", (double)x[i], y[i], expected);
                break;
            }
        }
        rt_optim_free(o);
    }
    rt_free(x), rt_free(m), rt_free(v), rt_free(g), rt_free(y);
}

static void schedules_have_their_shapes(void) {
    rt_schedule s = {RT_SCHEDULE_COSINE, 10, 110, 0.1, 0.2};
    CU_ASSERT_DOUBLE_EQUAL(rt_schedule_factor(&s, 0), 0.1, 1e-15);
    CU_ASSERT_EQUAL(rt_schedule_factor(&s, 9), 1);
    CU_ASSERT_EQUAL(rt_schedule_factor(&s, 10), 1);
    CU_ASSERT_DOUBLE_EQUAL(rt_schedule_factor(&s, 60), 0.55, 1e-15);
    CU_ASSERT_DOUBLE_EQUAL(rt_schedule_factor(&s, 35), 0.1 + 0.9 * (1 + sqrt(0.5)) / 2, 1e-15);
    CU_ASSERT_DOUBLE_EQUAL(rt_schedule_factor(&s, 110), 0.1, 1e-15);
    CU_ASSERT_DOUBLE_EQUAL(rt_schedule_factor(&s, 999), 0.1, 1e-15);
    s.kind = RT_SCHEDULE_LINEAR;
    CU_ASSERT_DOUBLE_EQUAL(rt_schedule_factor(&s, 35), 1 - 0.9 * 0.25, 1e-15);
    s.kind = RT_SCHEDULE_WSD;
    CU_ASSERT_EQUAL(rt_schedule_factor(&s, 90), 1);
    CU_ASSERT_DOUBLE_EQUAL(rt_schedule_factor(&s, 100), 0.55, 1e-12);
    CU_ASSERT_DOUBLE_EQUAL(rt_schedule_factor(&s, 110), 0.1, 1e-12);
    s.kind = RT_SCHEDULE_CONSTANT;
    CU_ASSERT_EQUAL(rt_schedule_factor(&s, 100), 1);
    s = (rt_schedule){RT_SCHEDULE_COSINE, 0, 0, 0.5, 0};
    CU_ASSERT_EQUAL(rt_schedule_factor(&s, 0), 1);
    CU_ASSERT_EQUAL(rt_schedule_between(RT_SCHEDULE_LINEAR, 4, 2, 25, 100), 3.5);
    CU_ASSERT_EQUAL(rt_schedule_between(RT_SCHEDULE_CONSTANT, 4, 2, 25, 100), 4);
    CU_ASSERT_EQUAL(rt_schedule_between(RT_SCHEDULE_COSINE, 4, 2, 100, 100), 2);
}

static void the_loss_scale_halves_and_doubles(void) {
    rt_error err = {0};
    rt_loss_scale s = rt_loss_scale_start();
    CU_ASSERT_EQUAL(s.scale, 65536);
    for (int i = 0; i < 1999; i++) RT_OK_OR_FAIL(rt_loss_scale_update(&s, true, &err));
    CU_ASSERT_EQUAL(s.scale, 65536);
    RT_OK_OR_FAIL(rt_loss_scale_update(&s, true, &err));
    CU_ASSERT_EQUAL(s.scale, 131072);
    for (int i = 0; i < 17; i++) RT_OK_OR_FAIL(rt_loss_scale_update(&s, false, &err));
    CU_ASSERT_TRUE(s.scale == 1 && s.good_steps == 0);
    CU_ASSERT_EQUAL(rt_loss_scale_update(&s, false, &err), RT_E_NUMERIC);
    for (int i = 0; i < 100000; i++) RT_OK_OR_FAIL(rt_loss_scale_update(&s, true, NULL));
    CU_ASSERT_EQUAL(s.scale, 16777216);
}

RT_SUITE(optim) {
    RT_TEST(adamw_follows_its_formula);
    RT_TEST(bits_do_not_depend_on_threads);
    RT_TEST(a_resumed_run_has_the_same_bits);
    RT_TEST(a_gradient_that_is_not_finite_changes_nothing);
    RT_TEST(a_step_allocates_nothing);
    RT_TEST(nonsense_is_refused);
    RT_TEST(out_of_memory_is_clean);
    RT_TEST(half_copies_round_as_scalars_do);
    RT_TEST(schedules_have_their_shapes);
    RT_TEST(the_loss_scale_halves_and_doubles);
}
