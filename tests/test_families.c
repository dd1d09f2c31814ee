/* test_families.c - what families differ in: keys of config.json, names of tensors, dense layers among mixtures, sliding
 * windows, a language model inside a larger model. Their numbers: test_parity.c. */
#include "harness.h"
#include "small_model.h"
#include <retort/base/file.h>
#include <retort/base/json.h>
#include <retort/io/hf.h>
#include <retort/infer/logits.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { T = 24, MOST = 128 };

static rt_model_config family(const char *arch) {
    rt_model_config c = rt_model_config_default(rt_arch_find(arch));
    c.vocab_size = SMALL_V, c.hidden_size = 32, c.layers = 3, c.heads = 4, c.kv_heads = 2, c.head_dim = 10, c.ffn_size = 24, c.max_position = 64;
    if (c.arch->moe) c.experts = 4, c.experts_per_token = 2;
    if (c.arch->shared_expert) c.shared_size = 20;
    if (c.arch->dense_layers) c.dense[0] = 2, c.dense_ffn_size = 40;
    return c;
}
static const char *at(const char *name) {
    static char paths[4][700];
    static unsigned turn;
    char *p = paths[turn++ % 4];
    snprintf(p, 700, "%s/%s", rt_test_dir(), name);
    return p;
}

/* ------------------------------------------------------------ configurations */

static void every_family_is_written_and_read(void) {
    for (const char *const *name = rt_arch_names(); *name; name++)
        for (int window = 0; window < 2; window++) {
            rt_error err = {0};
            rt_model_config c = family(*name), back;
            c.norm_topk = c.arch->norm_topk_key ? window : c.norm_topk;
            c.sliding_window = window && c.arch->window != RT_WINDOW_NONE ? 48 : 0;
            c.pad_id = window ? 3 : -1;
            if (c.arch->shared_expert) c.qkv_bias = window;
            const char *path = at("config.json");
            RT_OK_OR_FAIL(rt_hf_config_write(path, &c, RT_F32, &err));
            RT_OK_OR_FAIL(rt_hf_config_read(path, &back, &err));
            RT_CHECK(rt_model_config_equal(&c, &back), "%s is not read as it was written", *name);
        }
}

/* No key that transformers wrote is forgotten. */
static void no_key_is_missing(const char *arch, const char *file) {
    const char *skip = "initializer_range transformers_version max_window_layers mlp_bias pretraining_tp clip_qkv", *key;
    rt_error err = {0};
    rt_model_config c;
    json_t *theirs, *ours, *value;
    const char *path = at("config.json");
    RT_OK_OR_FAIL(rt_hf_config_read(file, &c, &err));
    CU_ASSERT_STRING_EQUAL(c.arch->name, arch);
    RT_OK_OR_FAIL(rt_hf_config_write(path, &c, RT_F32, &err));
    RT_OK_OR_FAIL(rt_json_load(file, 0, &theirs, &err));
    RT_OK_OR_FAIL(rt_json_load(path, 0, &ours, &err));
    json_object_foreach(theirs, key, value) {
        json_t *mine = json_object_get(ours, key);
        RT_CHECK(strstr(skip, key) || mine, "%s: no key %s", arch, key);
        bool free = strstr("pad_token_id sliding_window", key) != NULL;
        RT_CHECK(!mine || free || json_equal(value, mine) || (json_is_number(value) && json_number_value(value) == json_number_value(mine)),
                 "%s: %s has another value", arch, key);
    }
    json_decref(theirs), json_decref(ours);
}
static void the_keys_are_those_of_transformers(void) {
    static const char *const archs[] = {"llama", "mistral", "qwen2", "qwen3", "mixtral", "qwen2_moe", "qwen3_moe", "olmoe"};
    for (size_t i = 0; i < sizeof archs / sizeof *archs; i++) {
        char file[128];
        snprintf(file, sizeof file, "models/%s/f32/config.json", archs[i]);
        const char *path = rt_fixture(file);
        if (!path) return;
        no_key_is_missing(archs[i], path);
    }
}

/* The configuration of a family with `text`, an object, laid over it. */
static rt_status read_with(const char *arch, const char *text, rt_model_config *out, rt_error *err) {
    rt_model_config c = family(arch);
    json_t *j = NULL, *change = json_loads(text, 0, NULL);
    const char *path = at("config.json");
    memset(c.dense, 0, sizeof c.dense);
    *err = (rt_error){0};
    RT_TRY(rt_hf_config_write(path, &c, RT_F32, err));
    RT_TRY(rt_json_load(path, 0, &j, err));
    json_object_update(j, change);
    RT_TRY(rt_json_save(path, j, err));
    json_decref(j), json_decref(change);
    return rt_hf_config_read(path, out, err);
}
static void dense_layers_are_listed_or_counted(void) {
    rt_model_config c;
    rt_error err;
    RT_OK_OR_FAIL(read_with("qwen3_moe", "{\"num_hidden_layers\":6,\"decoder_sparse_step\":2}", &c, &err));
    for (int l = 0; l < 6; l++) CU_ASSERT_EQUAL(rt_model_mixture(&c, l), (l + 1) % 2 == 0);
    RT_OK_OR_FAIL(read_with("qwen2_moe", "{\"num_hidden_layers\":6,\"decoder_sparse_step\":3,\"mlp_only_layers\":[5]}", &c, &err));
    for (int l = 0; l < 6; l++) CU_ASSERT_EQUAL(rt_model_mixture(&c, l), l == 2);
    CU_ASSERT_EQUAL(read_with("qwen3_moe", "{\"mlp_only_layers\":[3]}", &c, &err), RT_E_INPUT);
    RT_CHECK(strstr(err.text, "mlp_only_layers[0]: found 3, expected 0 to 2"), "%s", err.text);
    CU_ASSERT_EQUAL(read_with("qwen3_moe", "{\"mlp_only_layers\":[1],\"intermediate_size\":0}", &c, &err), RT_E_INPUT);
    RT_CHECK(strstr(err.text, "dense_ffn_size is 0"), "%s", err.text);
}
static void windows_count_where_the_family_uses_them(void) {
    rt_model_config c;
    rt_error err;
    RT_OK_OR_FAIL(read_with("qwen2", "{\"sliding_window\":16,\"use_sliding_window\":false}", &c, &err));
    CU_ASSERT_EQUAL(rt_model_longest(&c), 64);
    RT_OK_OR_FAIL(read_with("qwen2", "{\"sliding_window\":16,\"use_sliding_window\":true}", &c, &err));
    CU_ASSERT_EQUAL(rt_model_longest(&c), 16);
    RT_OK_OR_FAIL(read_with("mistral", "{\"sliding_window\":null}", &c, &err));
    CU_ASSERT_EQUAL(rt_model_longest(&c), 64);
    RT_OK_OR_FAIL(read_with("mistral", "{\"sliding_window\":128}", &c, &err));
    CU_ASSERT_EQUAL(rt_model_longest(&c), 64);
    CU_ASSERT_EQUAL(read_with("mistral", "{\"sliding_window\":0}", &c, &err), RT_E_INPUT);
}

/* ------------------------------------------------------------------- models */

/* Logits of T fixed ids, [T,V]; NULL after a failed check or the status `want`. rt_free */
static float *logits_with(const rt_weights *w, const rt_precision *p, int64_t length, rt_status want, const char *text) {
    rt_logits l = {0};
    rt_error err = {0};
    const rt_tensor *z = NULL;
    int32_t ids[T];
    for (int i = 0; i < T; i++) ids[i] = (i * 37 + 5) % SMALL_V;
    rt_status s = rt_logits_open(&l, w, p, length, &err);
    RT_CHECK(s == want && strstr(err.text, text), "%s: %s", rt_status_name(s), err.text);
    if (s == RT_OK) RT_OK_OR_FAIL(rt_logits_run(&l, ids, T, &z, &err));
    float *out = z ? rt_alloc(sizeof(float) * T * SMALL_V) : NULL;
    if (out) memcpy(out, z->data, sizeof(float) * T * SMALL_V);
    rt_logits_close(&l);
    return out;
}
static float *logits_of(const rt_weights *w) {
    rt_precision p = rt_precision_teacher(RT_F32, true);
    return logits_with(w, &p, T, RT_OK, "");
}
static void fill(rt_weights *w, const rt_model_config *c) {
    rt_precision p = rt_precision_teacher(RT_F32, true);
    small_model(w, c, &p, 0.2);
}
static rt_tensor *slot(const rt_weights *w, rt_weight_kind kind, int layer) { return &w->slots[rt_weights_find(w, kind, layer)].t; }

static void longer_than_the_window_is_refused(void) {
    rt_model_config c = family("mistral");
    rt_precision p = rt_precision_teacher(RT_F32, true);
    rt_weights w;
    c.sliding_window = 32;
    fill(&w, &c);
    rt_free(logits_with(&w, &p, 32, RT_OK, ""));
    rt_free(logits_with(&w, &p, 33, RT_E_UNSUPPORTED, "sequence length 33 is beyond the model's sliding window of 32 tokens"));
    rt_free(logits_with(&w, &p, 65, RT_E_CONFIG, "sequence length 65 is beyond the model's 64 positions"));
    rt_weights_free(&w);
}

/* A dense layer computes what a mixture of equal experts with renormalised weights does. */
static void equal_experts_are_the_dense_layer(void) {
    rt_model_config with = family("qwen3_moe"), without = with;
    rt_weights a, b;
    with.norm_topk = without.norm_topk = true;
    with.dense_ffn_size = with.ffn_size;
    memset(without.dense, 0, sizeof without.dense);
    fill(&a, &with), fill(&b, &without);
    for (int64_t i = 0; i < b.count; i++) { /* the same weights wherever both have them */
        int64_t k = rt_weights_find(&a, b.slots[i].kind, b.slots[i].layer);
        if (k >= 0) memcpy(b.slots[i].t.data, a.slots[k].t.data, rt_tensor_bytes(&b.slots[i].t));
    }
    int64_t F = with.ffn_size, D = with.hidden_size;
    float *gate_up = slot(&b, RT_WEIGHT_EXPERT_GATE, 1)->data, *down = slot(&b, RT_WEIGHT_EXPERT_DOWN, 1)->data;
    const float *dense_down = slot(&a, RT_WEIGHT_FFN_DOWN, 1)->data;
    for (int64_t e = 0; e < with.experts; e++) {
        memcpy(gate_up + e * 2 * F * D, slot(&a, RT_WEIGHT_FFN_GATE, 1)->data, (size_t)(F * D) * sizeof(float));
        memcpy(gate_up + (e * 2 + 1) * F * D, slot(&a, RT_WEIGHT_FFN_UP, 1)->data, (size_t)(F * D) * sizeof(float));
        for (int64_t f = 0; f < F; f++)
            for (int64_t d = 0; d < D; d++) down[(e * F + f) * D + d] = dense_down[d * F + f];
    }
    float *x = logits_of(&a), *y = logits_of(&b);
    for (int i = 0; x && y && i < T * SMALL_V; i++) CU_ASSERT_TRUE(fabs((double)x[i] - (double)y[i]) <= 1e-5);
    rt_free(x), rt_free(y);
    rt_weights_free(&a), rt_weights_free(&b);
}

/* A zero score halves the shared expert's part; a shared expert of zeros is none. */
static void the_shared_expert_is_weighted_by_its_gate(void) {
    rt_model_config c = family("qwen2_moe");
    rt_weights w;
    fill(&w, &c);
    c = w.config;
    float *with = logits_of(&w);
    for (int l = 0; l < 3; l++)
        if (rt_model_mixture(&c, l)) memset(slot(&w, RT_WEIGHT_SHARED_DOWN, l)->data, 0, rt_tensor_bytes(slot(&w, RT_WEIGHT_SHARED_DOWN, l)));
    float *zero = logits_of(&w);
    w.config.shared_size = 0;
    float *none = logits_of(&w);
    CU_ASSERT_TRUE(with && zero && none && memcmp(with, zero, sizeof(float) * T * SMALL_V) != 0);
    CU_ASSERT_TRUE(zero && none && memcmp(zero, none, sizeof(float) * T * SMALL_V) == 0);
    rt_free(with), rt_free(zero), rt_free(none);
    rt_weights_free(&w);
}

/* ------------------------------------------------------- a part of a larger model */

static void write_omni(const char *directory, const rt_weights *w) {
    rt_error err = {0};
    rt_model_config c = w->config;
    rt_named_tensor t[MOST];
    rt_weight_spec spec[MOST];
    void *buffer[MOST];
    float other[6] = {1};
    int64_t n = rt_weight_count(&c);
    char path[800];
    c.arch = rt_arch_find("qwen3_omni_moe");
    CU_ASSERT_TRUE_FATAL(n + 3 <= MOST);
    for (int64_t i = 0; i < n; i++) {
        spec[i] = rt_weight_at(&c, i);
        buffer[i] = rt_alloc(sizeof(float) * 64 * 64);
        t[i] = (rt_named_tensor){spec[i].name, rt_weights_get(w, i, buffer[i])};
    }
    t[n] = (rt_named_tensor){"talker.model.norm.weight", rt_tensor_1d(RT_F32, other, 6)};
    t[n + 1] = (rt_named_tensor){"thinker.audio_tower.conv1.bias", rt_tensor_1d(RT_F32, other, 6)};
    t[n + 2] = (rt_named_tensor){"code2wav.a", rt_tensor_1d(RT_F32, other, 6)};
    snprintf(path, sizeof path, "%s/model.safetensors", directory);
    RT_OK_OR_FAIL(rt_dir_make(directory, &err));
    RT_OK_OR_FAIL(rt_safetensors_write(path, t, n + 3, NULL, &err));
    snprintf(path, sizeof path, "%s/config.json", directory);
    RT_OK_OR_FAIL(rt_hf_config_write(path, &c, RT_F32, &err));
    for (int64_t i = 0; i < n; i++) rt_free(buffer[i]);
}
static void the_thinker_is_found_in_the_larger_model(void) {
    rt_model_config c = family("qwen3_moe");
    rt_weights w;
    rt_frozen f = {0};
    rt_error err = {0};
    char directory[700];
    snprintf(directory, sizeof directory, "%s", at("omni"));
    c.norm_topk = true;
    fill(&w, &c);
    write_omni(directory, &w);
    RT_OK_OR_FAIL(rt_frozen_open(&f, directory, RT_ACTIVATIONS_F32, &err));
    if (err.status == RT_OK) {
        CU_ASSERT_EQUAL(rt_hf_ignored(f.files), 3);
        float *x = logits_of(&w), *y = logits_of(&f.weights);
        CU_ASSERT_TRUE(x && y && memcmp(x, y, sizeof(float) * T * SMALL_V) == 0);
        rt_free(x), rt_free(y);
    }
    rt_frozen_close(&f);
    rt_weights_free(&w);
}

RT_SUITE(families) {
    RT_TEST(every_family_is_written_and_read);
    RT_TEST(the_keys_are_those_of_transformers);
    RT_TEST(dense_layers_are_listed_or_counted);
    RT_TEST(windows_count_where_the_family_uses_them);
    RT_TEST(longer_than_the_window_is_refused);
    RT_TEST(equal_experts_are_the_dense_layer);
    RT_TEST(the_shared_expert_is_weighted_by_its_gate);
    RT_TEST(the_thinker_is_found_in_the_larger_model);
}
