/* test_parity.c - the fixtures' models against Hugging Face's own numbers: logits, losses, router values, gradients. */
#include "fixture_models.h"
#include "harness.h"
#include "loss_graph.h"
#include <retort/base/threads.h>
#include <retort/io/safetensors.h>
#include <retort/infer/logits.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

static const char *const models[] = {"llama", "llama3", "mistral", "qwen2", "qwen3", "mixtral", "qwen2_moe", "qwen3_moe", "olmoe"};
static const char *const variants[] = {"f32", "f16", "bf16"};
enum { MODELS = sizeof models / sizeof *models, FIRST_MIXTURE = 5, VARIANTS = sizeof variants / sizeof *variants };

/* The largest differences seen, for the table that the last test prints. */
typedef enum number { LOGITS, LOSSES, ROUTER, GRADIENTS, WHATS } number;
static double seen[MODELS][WHATS];
static void note(const char *model, number w, double difference) {
    for (int i = 0; i < MODELS; i++)
        if (strcmp(models[i], model) == 0) seen[i][w] = fmax(seen[i][w], difference);
}
static void the_differences_in_a_table(void) {
    printf("\n    %-12s %10s %10s %10s %10s   (largest differences; gradients relative to a tensor's largest)\n", "family", "logits", "losses", "router", "gradients");
    for (int i = 0; i < MODELS; i++)
        printf("    %-12s %10.2g %10.2g %10.2g %10.2g\n", models[i], seen[i][LOGITS], seen[i][LOSSES], seen[i][ROUTER], seen[i][GRADIENTS]);
}

/* ------------------------------------------------------------------- logits */

/* Logits of both rows, [2,T,V], of a model directory; NULL after a failed check. rt_free */
static float *logits_of(const char *directory, rt_activations activations, const fixture *f) {
    rt_frozen m;
    rt_logits l = {0};
    rt_error err = {0};
    float *out = rt_zalloc(sizeof(float) * 2 * FIXTURE_T * FIXTURE_V);
    RT_OK_OR_FAIL(rt_frozen_open(&m, directory, activations, &err));
    if (err.status == RT_OK) RT_OK_OR_FAIL(rt_logits_open(&l, &m.weights, &m.precision, FIXTURE_T, &err));
    for (int row = 0; row < 2 && err.status == RT_OK; row++) {
        const rt_tensor *z = NULL;
        RT_OK_OR_FAIL(rt_logits_run(&l, f->ids + row * FIXTURE_T, FIXTURE_T, &z, &err));
        if (z) memcpy(out + row * FIXTURE_T * FIXTURE_V, z->data, sizeof(float) * FIXTURE_T * FIXTURE_V);
    }
    rt_logits_close(&l);
    rt_frozen_close(&m);
    if (err.status == RT_OK) return out;
    rt_free(out);
    return NULL;
}

/* The reference holds the positions from `first` on of both rows. */
static void compare_logits(const fixture *f, const char *variant, const float *want, int first) {
    float *z = logits_of(fixture_path(f, variant), RT_ACTIVATIONS_F32, f);
    double worst = 0;
    int n = FIXTURE_T - first;
    for (int row = 0; z && row < 2; row++)
        for (int i = 0; i < n * FIXTURE_V; i++)
            worst = fmax(worst, fabs((double)z[(row * FIXTURE_T + first) * FIXTURE_V + i] - (double)want[row * n * FIXTURE_V + i]));
    RT_CHECK(worst <= 1e-4, "%s/%s: logits differ by %.3g", f->name, variant, worst);
    note(f->name, LOGITS, worst);
    rt_free(z);
}

static void logits_equal_the_reference(void) {
    for (int i = 0; i < MODELS; i++) {
        fixture f;
        if (!fixture_open(&f, models[i])) return;
        compare_logits(&f, "f32", f.logits, 0);
        for (int half = 0; half < 2 && f.last4[half]; half++) compare_logits(&f, variants[1 + half], f.last4[half], FIXTURE_T - 4);
        fixture_close(&f);
    }
}

static void same_logits(const float *a, const float *b, const char *what) {
    if (a && b) RT_CHECK(memcmp(a, b, sizeof(float) * 2 * FIXTURE_T * FIXTURE_V) == 0, "%s: logits are not the same bits", what);
}

static void shards_and_threads_change_no_bit(void) {
    static const rt_activations ways[] = {RT_ACTIVATIONS_F32, RT_ACTIVATIONS_NATIVE};
    fixture f;
    if (!fixture_open(&f, "llama")) return;
    float *whole = logits_of(fixture_path(&f, "f16"), RT_ACTIVATIONS_F32, &f), *sharded = logits_of(fixture_path(&f, "f16-sharded"), RT_ACTIVATIONS_F32, &f);
    same_logits(whole, sharded, "f16-sharded");
    rt_free(whole), rt_free(sharded);
    fixture_close(&f);
    if (!fixture_open(&f, "mixtral")) return;
    for (int way = 0; way < 2; way++) {
        float *z[3];
        for (int n = 0; n < 3; n++) {
            rt_threads_set(n + 1);
            z[n] = logits_of(fixture_path(&f, "f16"), ways[way], &f);
            same_logits(z[0], z[n], "threads");
        }
        for (int n = 0; n < 3; n++) rt_free(z[n]);
    }
    rt_threads_set(0);
    fixture_close(&f);
}

/* -------------------------------------------------- losses and router values */

static double item(const json_t *object, const char *key, size_t i) { return json_number_value(json_array_get(json_object_get(object, key), i)); }
static double item2(const json_t *object, const char *key, size_t i, size_t j) {
    return json_number_value(json_array_get(json_array_get(json_object_get(object, key), i), j));
}

static void check_near(double got, double want, double tolerance, const fixture *f, const char *variant, const char *what) {
    RT_CHECK(fabs(got - want) <= tolerance, "%s/%s: %s is %.9g, expected %.9g", f->name, variant, what, got, want);
    if (strcmp(what, "gradient norm") != 0) note(f->name, strncmp(what, "loss", 4) == 0 ? LOSSES : ROUTER, fabs(got - want));
}

static void check_losses(loss_graph *l, const fixture *f, const char *variant, const json_t *want) {
    double count;
    loss_graph_fill(l, f->ids);
    if (!loss_graph_forward(l)) return;
    check_near(loss_graph_sum(l, &count) / count, fixture_number(want, "loss_f64_from_logits"), 1e-5, f, variant, "loss");
    CU_ASSERT_EQUAL(count, 2 * (FIXTURE_T - 1));
}
static void check_row_losses(loss_graph *l, const fixture *f, const char *variant, const json_t *want) {
    for (int row = 0; row < 2; row++) {
        double count;
        loss_graph_fill(l, f->ids);
        for (int i = 0; i < FIXTURE_T; i++) l->batch.targets[(1 - row) * FIXTURE_T + i] = -1;
        if (!loss_graph_forward(l)) return;
        check_near(loss_graph_sum(l, &count) / count, item(want, "loss_row", (size_t)row), 1e-5, f, variant, "loss of a row");
    }
}

/* Mean softmax probability of each expert, from the scores. */
static void mean_probabilities(const rt_tensor *scores, double *mean) {
    int64_t N = scores->dim[0], E = scores->dim[1];
    const float *s = scores->data;
    for (int64_t n = 0; n < N; n++, s += E) {
        double sum = 0;
        for (int64_t e = 0; e < E; e++) sum += exp((double)s[e]);
        for (int64_t e = 0; e < E; e++) mean[e] += exp((double)s[e]) / sum / (double)N;
    }
}
static void check_experts(const loss_graph *l, size_t layer, const fixture *f, const char *variant, const json_t *want) {
    const rt_tensor *ids = rt_graph_value(l->g, l->model.layers[layer].ids), *scores = rt_graph_value(l->g, l->model.layers[layer].scores);
    double mean[64] = {0}, counts[64] = {0};
    mean_probabilities(scores, mean);
    for (int64_t i = 0; i < rt_tensor_count(ids); i++) counts[((const int32_t *)ids->data)[i]]++;
    for (size_t e = 0; e < (size_t)scores->dim[1]; e++) {
        check_near(mean[e], item2(want, "mean_router_prob_per_layer", layer, e), 1e-5, f, variant, "mean router probability");
        check_near(counts[e], item2(want, "expert_counts_per_layer", layer, e), 0, f, variant, "expert count");
    }
}
/* Hugging Face's auxiliary loss: E sum over slots and experts of f P, with means over the tokens of all layers together. */
static double auxiliary_loss(const loss_graph *l) {
    enum { SLOTS = 4, EXPERTS = 16 };
    int64_t layers = l->model.n_layers, tokens = 2 * FIXTURE_T, E = l->files.weights.config.experts, k = l->files.weights.config.experts_per_token;
    double mean[EXPERTS] = {0}, chosen[SLOTS][EXPERTS] = {{0}}, sum = 0;
    for (int64_t layer = 0; layer < layers; layer++) {
        const int32_t *ids = rt_graph_value(l->g, l->model.layers[layer].ids)->data;
        mean_probabilities(rt_graph_value(l->g, l->model.layers[layer].scores), mean);
        for (int64_t i = 0; i < tokens * k; i++) chosen[i % k][ids[i]]++;
    }
    for (int64_t s = 0; s < k; s++)
        for (int64_t e = 0; e < E; e++) sum += chosen[s][e] / (double)(tokens * layers) * mean[e] / (double)layers;
    return sum * (double)E;
}
static void check_router(loss_graph *l, const fixture *f, const char *variant, const json_t *want) {
    for (size_t i = 0; l->balance && i < (size_t)l->model.n_layers; i++) {
        check_near(*(double *)rt_graph_value(l->g, l->z[i])->data, item(want, "z_loss_per_layer", i), 1e-5, f, variant, "router z");
        check_near(*(double *)rt_graph_value(l->g, l->balance[i])->data, item(want, "load_balance_per_layer", i), 1e-5, f, variant, "balance");
        check_experts(l, i, f, variant, want);
    }
    if (l->balance) check_near(auxiliary_loss(l), fixture_number(want, "aux_loss_f64"), 1e-5, f, variant, "auxiliary loss");
}

static void losses_and_routing_equal_the_reference(void) {
    for (int i = 0; i < MODELS * VARIANTS; i++) {
        fixture f;
        loss_graph l;
        const char *variant = variants[i % VARIANTS];
        if (!fixture_open(&f, models[i / VARIANTS])) return;
        const json_t *want = i % VARIANTS ? json_object_get(f.expected, variant) : f.expected;
        if (want && loss_graph_open(&l, fixture_path(&f, variant), RT_ACTIVATIONS_F32, 2, FIXTURE_T, false)) {
            check_losses(&l, &f, variant, want);
            check_router(&l, &f, variant, want);
            check_row_losses(&l, &f, variant, want);
            loss_graph_close(&l);
        }
        fixture_close(&f);
    }
}

static double router_difference(loss_graph *l, const fixture *f) {
    int64_t layers = l->model.n_layers, each = 2 * FIXTURE_T * l->files.weights.config.experts;
    float *want = fixture_floats(fixture_path(f, "router_logits.f32"), layers * each);
    loss_graph_fill(l, f->ids);
    double worst = want && loss_graph_forward(l) ? 0 : HUGE_VAL;
    for (int64_t i = 0; worst < HUGE_VAL && i < layers * each; i++) {
        const float *scores = rt_graph_value(l->g, l->model.layers[i / each].scores)->data;
        worst = fmax(worst, fabs((double)scores[i % each] - (double)want[i]));
    }
    rt_free(want);
    return worst;
}
static void router_logits_equal_the_reference(void) {
    for (int i = FIRST_MIXTURE; i < MODELS; i++) {
        fixture f;
        loss_graph l;
        if (!fixture_open(&f, models[i])) return;
        if (loss_graph_open(&l, fixture_path(&f, "f32"), RT_ACTIVATIONS_F32, 2, FIXTURE_T, false)) {
            double worst = router_difference(&l, &f);
            RT_CHECK(worst <= 1e-5, "%s: router logits differ by %.3g", f.name, worst);
            note(f.name, ROUTER, worst);
            loss_graph_close(&l);
        }
        fixture_close(&f);
    }
}

/* ---------------------------------------------------------------- gradients */

static void compare_gradient(const rt_tensor *got, const rt_tensor *want, const char *model, const char *name, double *norm) {
    double worst = 0, largest = 0;
    const float *a = got->data, *b = want->data;
    for (int64_t i = 0; i < rt_tensor_count(want); i++) {
        worst = fmax(worst, fabs((double)a[i] - (double)b[i]));
        largest = fmax(largest, fabs((double)b[i]));
        *norm += (double)a[i] * (double)a[i];
    }
    RT_CHECK(worst <= 1e-4 * largest, "%s: gradient of %s differs by %.3g, its largest is %.3g", model, name, worst, largest);
    if (largest > 0) note(model, GRADIENTS, worst / largest);
}

static void compare_gradients(loss_graph *l, const fixture *f, const rt_safetensors *file) {
    const rt_model_config *c = &l->grads.config;
    float *buffer = rt_zalloc(sizeof(float) * (size_t)(c->ffn_size * c->hidden_size));
    double norm = 0;
    int64_t n = rt_weight_count(c);
    RT_CHECK(n == rt_safetensors_count(file), "%s: %lld weights, %lld gradients", f->name, (long long)n, (long long)rt_safetensors_count(file));
    for (int64_t i = 0; i < n; i++) {
        rt_weight_spec spec = rt_weight_at(c, i);
        rt_tensor got = rt_weights_get(&l->grads, i, buffer);
        const rt_tensor *want = rt_safetensors_find(file, spec.name);
        RT_CHECK(want && rt_tensor_same_shape(want, &got), "%s: no gradient of %s", f->name, spec.name);
        if (want) compare_gradient(&got, want, f->name, spec.name, &norm);
    }
    check_near(sqrt(norm), fixture_number(f->expected, "grad_norm"), 1e-4, f, "f32", "gradient norm");
    rt_free(buffer);
}

static void gradients_of(const fixture *f) {
    rt_error err = {0};
    rt_safetensors *file = NULL;
    loss_graph l;
    RT_OK_OR_FAIL(rt_safetensors_open(fixture_path(f, "grads.safetensors"), &file, &err));
    if (file && loss_graph_open(&l, fixture_path(f, "f32"), RT_ACTIVATIONS_F32, 2, FIXTURE_T, true)) {
        l.gain = 1.0 / (2 * (FIXTURE_T - 1));
        loss_graph_fill(&l, f->ids);
        if (loss_graph_forward(&l)) RT_OK_OR_FAIL(rt_graph_backward(l.g, &err));
        compare_gradients(&l, f, file);
        loss_graph_close(&l);
    }
    rt_safetensors_close(file);
}

static void gradients_equal_the_reference(void) {
    for (int i = 0; i < MODELS; i++) {
        fixture f;
        if (!fixture_open(&f, models[i])) return;
        gradients_of(&f);
        fixture_close(&f);
    }
}

RT_SUITE(parity) {
    RT_TEST(logits_equal_the_reference);
    RT_TEST(shards_and_threads_change_no_bit);
    RT_TEST(losses_and_routing_equal_the_reference);
    RT_TEST(router_logits_equal_the_reference);
    RT_TEST(gradients_equal_the_reference);
    RT_TEST(the_differences_in_a_table);
}
