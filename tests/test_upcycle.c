/* test_upcycle.c - experts from a dense model: the function is kept, whole copies are chosen, slices are what they say, noise
 * is as large as asked for. Its rounding: test_upcycle_rounding.c; runs from such a start: test_start.c. */
#include "harness.h"
#include "kernels/gemm.h"
#include "small_mixture.h"
#include <retort/base/rng.h>
#include <retort/infer/frozen.h>
#include <retort/infer/logits.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { T = 96 };

/* ------------------------------------------------------------------ models */

static rt_upcycle plan(int64_t experts, int64_t k, int64_t g) { return (rt_upcycle){experts, k, g, 0, 11}; }

static void as_f64(rt_weights *to, const rt_weights *from) {
    rt_error err = {0};
    rt_precision p = rt_precision_student(RT_F64);
    RT_OK_OR_FAIL(rt_weights_layout(to, &from->config, &p, &err));
    RT_OK_OR_FAIL(rt_weights_alloc(to, &err));
    for (int64_t i = 0; i < to->count; i++)
        for (int64_t k = 0; k < rt_tensor_count(&to->slots[i].t); k++) rt_put(&to->slots[i].t, k, rt_get(&from->slots[i].t, k));
}

/* Whole copies: the chosen ids are runs of g neighbours that begin at multiples of g. */
static int64_t broken_copies(const rt_logits *l, int64_t g) {
    int64_t broken = 0;
    for (int64_t layer = 0; layer < l->forward.model.n_layers; layer++) {
        const rt_tensor *ids = rt_graph_value(l->forward.g, l->forward.model.layers[layer].ids);
        const int32_t *id = ids->data;
        for (int64_t i = 0; i < rt_tensor_count(ids); i++) broken += i % g ? id[i] != id[i - 1] + 1 : id[i] % g != 0;
    }
    return broken;
}

/* [T, V] logits of random ids, owned; of a mixture also how many chosen copies are not whole. */
static double *logits_of(const rt_weights *w, const rt_precision *p, int64_t g, int64_t *broken) {
    rt_error err = {0};
    rt_logits l;
    int32_t ids[T];
    const rt_tensor *out = NULL;
    rt_rng r = rt_rng_make(3, "ids", 0);
    for (int i = 0; i < T; i++) ids[i] = (int32_t)rt_rng_below(r, (uint64_t)i, SMALL_V);
    RT_OK_OR_FAIL(rt_logits_open(&l, w, p, T, &err));
    RT_OK_OR_FAIL(rt_logits_run(&l, ids, T, &out, &err));
    double *copy = rt_alloc((size_t)(T * SMALL_V) * sizeof *copy);
    for (int64_t i = 0; i < T * SMALL_V; i++) copy[i] = rt_get(out, i);
    if (broken) *broken = broken_copies(&l, g);
    rt_logits_close(&l);
    return copy;
}
static double difference(const double *a, const double *b, double *largest) {
    double most = 0;
    *largest = 0;
    for (int64_t i = 0; i < T * SMALL_V; i++) {
        if (fabs(a[i]) > *largest) *largest = fabs(a[i]);
        if (!(fabs(a[i] - b[i]) <= most)) most = fabs(a[i] - b[i]);
    }
    return most;
}

/* ---------------------------------------------------------------- function */

static void compare(const char *folder, const rt_weights *dense, const rt_upcycle *u, rt_dtype t, double tolerance) {
    rt_precision p = rt_precision_student(t);
    rt_weights mixture, wide;
    int64_t broken = -1;
    double largest;
    small_mixture(&mixture, folder, u);
    if (t == RT_F64) as_f64(&wide, &mixture);
    double *want = logits_of(dense, &p, 1, NULL), *got = logits_of(t == RT_F64 ? &wide : &mixture, &p, u->granularity, &broken);
    double error = difference(want, got, &largest);
    RT_CHECK(broken == 0, "%s, %lld experts in slices of %lld: %lld choices are not of whole copies", folder, (long long)u->experts, (long long)u->granularity, (long long)broken);
    RT_CHECK(largest > 1 && error <= tolerance * largest, "%s, %lld experts, %lld a token, granularity %lld: logits up to %g differ by %g", folder, (long long)u->experts,
             (long long)u->experts_per_token, (long long)u->granularity, largest, error);
    rt_free(want), rt_free(got);
    if (t == RT_F64) rt_weights_free(&wide);
    rt_weights_free(&mixture);
}

/* The mathematics: in f64 nothing is left of a wrong slice, factor or route. (down x 3 is rounded in f32: 1e-7.) */
static void the_function_is_kept(const char *arch) {
    rt_error err = {0};
    rt_frozen f;
    rt_weights wide;
    const char *folder = small_dense(arch, RT_F32);
    RT_OK_OR_FAIL(rt_frozen_open(&f, folder, RT_ACTIVATIONS_F32, &err));
    as_f64(&wide, &f.weights);
    for (int i = 0; i < SMALL_PLANS; i++) {
        bool exact = (small_plans[i].granularity & (small_plans[i].granularity - 1)) == 0;
        compare(folder, &wide, &small_plans[i], RT_F64, exact ? 1e-13 : 1e-6);
        compare(folder, &f.weights, &small_plans[i], RT_F32, 3e-6);
    }
    rt_weights_free(&wide);
    rt_frozen_close(&f);
}
static void a_llama_keeps_its_function(void) { the_function_is_kept("llama"); }
static void a_mistral_keeps_its_function(void) { the_function_is_kept("mistral"); }
static void a_qwen3_keeps_its_function(void) { the_function_is_kept("qwen3"); }

/* One whole copy a token: its weight is exactly 1, and oneDNN's products have the bits of the dense ones. Our own (processors
 * without AVX-512) sum in the order of k, the dense ones from the residual, the experts' from zero. */
static void one_whole_copy_has_the_same_bits(void) {
    rt_error err = {0};
    rt_frozen f;
    rt_upcycle u = plan(8, 1, 1);
    const char *folder = small_dense("llama", RT_F32);
    RT_OK_OR_FAIL(rt_frozen_open(&f, folder, RT_ACTIVATIONS_F32, &err));
    compare(folder, &f.weights, &u, RT_F32, strcmp(rt_gemm_f32_library(), "retort") == 0 ? 3e-6 : 0);
    rt_frozen_close(&f);
}

/* Copies that tie are cut between copies too: ids of a copy are neighbours. */
static void copies_that_tie_are_not_mixed(void) {
    rt_precision p = rt_precision_student(RT_F32);
    for (int i = 0; i < SMALL_PLANS; i++) {
        rt_weights w;
        int64_t broken = -1;
        small_mixture(&w, small_dense("llama", RT_F32), &small_plans[i]);
        for (int l = 0; l < 2; l++) {
            rt_tensor *router = &w.slots[rt_weights_find(&w, RT_WEIGHT_ROUTER, l)].t;
            memset(router->data, 0, rt_tensor_bytes(router));
        }
        rt_free(logits_of(&w, &p, small_plans[i].granularity, &broken));
        RT_CHECK(broken == 0, "plan %d: %lld choices are not of whole copies", i, (long long)broken);
        rt_weights_free(&w);
    }
}

/* ----------------------------------------------------------------- weights */

/* Element (i, j) of a matrix of expert e, as the files have it. */
static double element(const rt_weights *w, rt_weight_kind kind, int layer, int e, int64_t i, int64_t j) {
    int64_t F = w->config.ffn_size, D = w->config.hidden_size;
    bool down = kind == RT_WEIGHT_EXPERT_DOWN;
    const rt_slot *s = &w->slots[rt_weights_find(w, down ? kind : RT_WEIGHT_EXPERT_GATE, layer)];
    if (down) return rt_get(&s->t, (e * F + j) * D + i);
    return rt_get(&s->t, (e * 2 * F + (kind == RT_WEIGHT_EXPERT_UP ? F : 0) + i) * D + j);
}
static const rt_tensor *dense_matrix(const rt_frozen *f, rt_weight_kind kind, int layer) {
    return &f->weights.slots[rt_weights_find(&f->weights, kind - RT_WEIGHT_EXPERT_GATE + RT_WEIGHT_FFN_GATE, layer)].t;
}

/* Every weight of the experts against the dense matrix: the slice, times g in down, exactly; f16 and bf16 widened. */
static void experts_are_slices(rt_dtype t, int64_t g) {
    rt_error err = {0};
    rt_frozen f;
    rt_weights w;
    rt_upcycle u = plan(2 * g, g, g);
    const char *folder = small_dense("llama", t);
    int64_t F = 48 / g, D = 32, wrong = 0;
    RT_OK_OR_FAIL(rt_frozen_open(&f, folder, RT_ACTIVATIONS_F32, &err));
    small_mixture(&w, folder, &u);
    CU_ASSERT_TRUE(w.config.ffn_size == F && w.config.experts == 2 * g && strcmp(w.config.arch->name, "mixtral") == 0);
    for (int e = 0; e < 2 * g; e++)
        for (int64_t i = 0; i < F * D; i++) {
            int64_t a = i / D, d = i % D, row = e % g * F + a;
            wrong += element(&w, RT_WEIGHT_EXPERT_GATE, 1, e, a, d) != rt_get(dense_matrix(&f, RT_WEIGHT_EXPERT_GATE, 1), row * D + d);
            wrong += element(&w, RT_WEIGHT_EXPERT_UP, 1, e, a, d) != rt_get(dense_matrix(&f, RT_WEIGHT_EXPERT_UP, 1), row * D + d);
            wrong += element(&w, RT_WEIGHT_EXPERT_DOWN, 1, e, d, a) != (double)g * rt_get(dense_matrix(&f, RT_WEIGHT_EXPERT_DOWN, 1), d * 48 + row);
        }
    RT_CHECK(wrong == 0, "%s, granularity %lld: %lld weights are not the dense ones", rt_dtype_name(t), (long long)g, (long long)wrong);
    rt_weights_free(&w);
    rt_frozen_close(&f);
}
static void experts_are_slices_of_the_dense_matrices(void) {
    static const rt_dtype dtypes[] = {RT_F32, RT_F16, RT_BF16};
    for (int t = 0; t < 3; t++)
        for (int64_t g = 1; g <= 4; g *= 2) experts_are_slices(dtypes[t], g);
}

/* Standard deviation of the noise over that asked for, and the correlation of two experts' noise, for one kind of matrix. */
static void noise_statistics(const rt_frozen *f, const rt_weights *w, rt_weight_kind kind, double *ratio, double *correlation) {
    const rt_tensor *dense = dense_matrix(f, kind, 0);
    bool down = kind == RT_WEIGHT_EXPERT_DOWN;
    int64_t rows = down ? 32 : 24, columns = down ? 24 : 32;
    double square = 0, cross = 0, mean_square = 0;
    for (int64_t i = 0; i < rt_tensor_count(dense); i++) mean_square += rt_get(dense, i) * rt_get(dense, i) / (double)rt_tensor_count(dense);
    for (int64_t i = 0; i < rows * columns; i++) {
        int64_t a = i / columns, b = i % columns;
        double scale = down ? 2 : 1, x = element(w, kind, 0, 0, a, b) / scale - rt_get(dense, a * dense->dim[1] + b),
               y = element(w, kind, 0, 2, a, b) / scale - rt_get(dense, a * dense->dim[1] + b);
        square += x * x, cross += x * y;
    }
    *ratio = sqrt(square / (double)(rows * columns) / mean_square) / 0.1;
    *correlation = cross / square;
}
static void noise_is_as_large_as_asked(void) {
    rt_error err = {0};
    rt_frozen f;
    rt_weights w, again, other;
    const char *folder = small_dense("llama", RT_F32);
    rt_upcycle u = {4, 2, 2, 0.1, 5}, v = u;
    v.seed = 6;
    RT_OK_OR_FAIL(rt_frozen_open(&f, folder, RT_ACTIVATIONS_F32, &err));
    small_mixture(&w, folder, &u), small_mixture(&again, folder, &u), small_mixture(&other, folder, &v);
    for (int kind = RT_WEIGHT_EXPERT_GATE; kind <= RT_WEIGHT_EXPERT_DOWN; kind++) { /* 768 numbers: 5 sigma of the estimate is 0.13 */
        double ratio, correlation;
        noise_statistics(&f, &w, (rt_weight_kind)kind, &ratio, &correlation);
        RT_CHECK(fabs(ratio - 1) < 0.13 && fabs(correlation) < 0.19, "%s: noise %g of what was asked, correlation of two copies %g",
                 rt_weight_kind_text((rt_weight_kind)kind), ratio, correlation);
    }
    CU_ASSERT_TRUE(memcmp(w.block, again.block, w.block_bytes) == 0 && memcmp(w.block, other.block, w.block_bytes) != 0);
    rt_weights_free(&w), rt_weights_free(&again), rt_weights_free(&other);
    rt_frozen_close(&f);
}

/* ---------------------------------------------------------------- refusals */

static void families_find_each_other(void) {
    static const char *const pairs[][2] = {{"llama", "mixtral"}, {"mistral", "mixtral"}, {"qwen3", "qwen3_moe"}, {"qwen2", NULL}, {"mixtral", NULL}, {"olmoe", NULL}};
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        const rt_arch *to = rt_upcycle_arch(rt_arch_find(pairs[i][0]));
        RT_CHECK(to ? pairs[i][1] && strcmp(to->name, pairs[i][1]) == 0 : !pairs[i][1], "%s becomes %s", pairs[i][0], to ? to->name : "nothing");
    }
}

static void plans_that_do_not_fit_are_refused(void) {
    static const struct {
        const char *dense, *to;
        rt_upcycle u;
        const char *text;
    } cases[] = {
        {"llama", "mixtral", {8, 2, 5, 0, 1}, "student.granularity: found 5, expected a divisor of 48, the inner width of DIR"},
        {"llama", "mixtral", {7, 2, 2, 0, 1}, "student.experts: found 7, expected a multiple of student.granularity 2"},
        {"llama", "mixtral", {8, 3, 2, 0, 1}, "student.experts_per_token: found 3, expected a multiple of student.granularity 2"},
        {"llama", "mixtral", {4, 6, 2, 0, 1}, "student: experts_per_token is 6"},
        {"llama", "qwen3_moe", {8, 2, 1, 0, 1}, "student.arch: found qwen3_moe, expected mixtral: DIR is a llama"},
        {"llama", "mistral", {8, 2, 1, 0, 1}, "student.arch: found mistral, expected mixtral: DIR is a llama"},
        {"qwen2", "mixtral", {8, 2, 1, 0, 1}, "DIR is a qwen2, which no family with experts takes over weight by weight"},
        {"mixtral", "mixtral", {8, 2, 1, 0, 1}, "DIR is a mixtral and has experts already"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        rt_error err = {0};
        rt_model_config dense = small_config(0), out;
        dense.arch = rt_arch_find(cases[i].dense);
        rt_status s = rt_upcycle_config(&dense, rt_arch_find(cases[i].to), &cases[i].u, "DIR", &out, &err);
        RT_CHECK(s == RT_E_CONFIG && strstr(err.text, cases[i].text), "%s '%s', expected '%s'", rt_status_name(s), err.text, cases[i].text);
    }
}

RT_SUITE(upcycle) {
    RT_TEST(families_find_each_other);
    RT_TEST(plans_that_do_not_fit_are_refused);
    RT_TEST(a_llama_keeps_its_function);
    RT_TEST(a_mistral_keeps_its_function);
    RT_TEST(a_qwen3_keeps_its_function);
    RT_TEST(one_whole_copy_has_the_same_bits);
    RT_TEST(copies_that_tie_are_not_mixed);
    RT_TEST(experts_are_slices_of_the_dense_matrices);
    RT_TEST(noise_is_as_large_as_asked);
}
