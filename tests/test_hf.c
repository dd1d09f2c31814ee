/* test_hf.c - model directories: the fixtures of other writers, what is refused and how, writing and reading again. config.json is in
 * test_hf_config.c. */
#include "harness.h"
#include <retort/base/file.h>
#include <retort/base/json.h>
#include <retort/io/hf.h>
#include <stdio.h>
#include <string.h>

static const char *in(const char *dir, const char *name) {
    static char paths[4][1024];
    static unsigned turn;
    char *p = paths[turn++ % 4];
    snprintf(p, 1024, "%s/%s", dir, name);
    return p;
}

/* ----------------------------------------------------------------- fixtures */

static const struct {
    const char *model, *variant, *arch;
    rt_dtype dtype;
    bool tied;
} fixtures[] = {
    {"llama", "f32", "llama", RT_F32, false},           {"llama", "f16", "llama", RT_F16, false},
    {"llama", "bf16", "llama", RT_BF16, false},         {"llama", "f16-sharded", "llama", RT_F16, false},
    {"llama3", "f32", "llama", RT_F32, true},           {"mistral", "f32", "mistral", RT_F32, true},
    {"mistral", "f16", "mistral", RT_F16, true},        {"mistral", "bf16", "mistral", RT_BF16, true},
    {"mixtral", "f32", "mixtral", RT_F32, true},        {"mixtral", "f16", "mixtral", RT_F16, true},
    {"mixtral", "bf16", "mixtral", RT_BF16, true},      {"stories260K", "hf-f32", "llama", RT_F32, true},
    {"stories260K", "hf-f16", "llama", RT_F16, true},   {"stories260K-moe4x", "hf-f32", "mixtral", RT_F32, true},
};
static int64_t expected_parameters(const char *model, const char *variant) {
    char name[128];
    rt_error err = {0};
    json_t *j = NULL;
    int64_t n = -1;
    snprintf(name, sizeof name, "models/%s/expected.json", model);
    const char *path = rt_fixture(name);
    if (!path || rt_json_load(path, 0, &j, &err) != RT_OK) return -1;
    rt_json root = rt_json_root(j, path), o = root;
    if (rt_json_has(&root, "variants")) {
        rt_json variants;
        RT_OK_OR_FAIL(rt_json_object(&root, "variants", &variants, &err));
        RT_OK_OR_FAIL(rt_json_object(&variants, variant, &o, &err));
        RT_OK_OR_FAIL(rt_json_int(&o, "parameters", 0, INT64_MAX, &n, &err));
    } else RT_OK_OR_FAIL(rt_json_int(&root, "parameters", 0, INT64_MAX, &n, &err));
    json_decref(j);
    return n;
}
static void opens(size_t i) {
    char name[128];
    rt_error err = {0};
    rt_hf *m;
    snprintf(name, sizeof name, "models/%s/%s", fixtures[i].model, fixtures[i].variant);
    const char *dir = rt_fixture(name);
    if (!dir) return;
    RT_OK_OR_FAIL(rt_hf_open(dir, &m, &err));
    if (!m) return;
    const rt_model_config *c = rt_hf_config(m);
    rt_param_count p = rt_model_parameters(c);
    CU_ASSERT_STRING_EQUAL(c->arch->name, fixtures[i].arch);
    CU_ASSERT_EQUAL(c->tie_embeddings, fixtures[i].tied);
    RT_CHECK(p.total == expected_parameters(fixtures[i].model, fixtures[i].variant), "%s: %lld parameters", name, (long long)p.total);
    CU_ASSERT_EQUAL(rt_hf_weight_bytes(m), p.total * (int64_t)rt_dtype_size(fixtures[i].dtype));
    CU_ASSERT_EQUAL(rt_hf_matrix_dtype(m), fixtures[i].dtype);
    RT_OK_OR_FAIL(rt_hf_assert_dtype(m, fixtures[i].dtype, &err));
    CU_ASSERT_EQUAL(rt_hf_assert_dtype(m, RT_F64, &err), RT_E_DTYPE);
    RT_CHECK(strstr(err.text, "model.embed_tokens.weight is "), "%s", err.text);
    CU_ASSERT_EQUAL(rt_hf_find(m, "lm_head.weight") == NULL, fixtures[i].tied);
    CU_ASSERT_PTR_EQUAL(rt_hf_weight(m, 0), rt_hf_find(m, "model.embed_tokens.weight"));
    CU_ASSERT_EQUAL(rt_hf_ignored(m), 0);
    rt_hf_close(m);
}
static void fixtures_open_and_count(void) {
    for (size_t i = 0; i < sizeof fixtures / sizeof *fixtures; i++) opens(i);
}

static void content_hash_ignores_sharding_and_sees_every_bit(void) {
    const char *single = rt_fixture("models/llama/f16"), *shards = rt_fixture("models/llama/f16-sharded");
    const char *other = rt_fixture("models/llama/bf16");
    rt_error err = {0};
    rt_hf *a, *b, *c;
    rt_hf_hash x, y, z;
    if (!single || !shards || !other) return;
    RT_OK_OR_FAIL(rt_hf_open(single, &a, &err));
    RT_OK_OR_FAIL(rt_hf_open(shards, &b, &err));
    RT_OK_OR_FAIL(rt_hf_open(other, &c, &err));
    RT_OK_OR_FAIL(rt_hf_content_hash(a, &x, &err));
    RT_OK_OR_FAIL(rt_hf_content_hash(b, &y, &err));
    RT_OK_OR_FAIL(rt_hf_content_hash(c, &z, &err));
    CU_ASSERT_STRING_EQUAL(x.hex, y.hex);
    CU_ASSERT_STRING_NOT_EQUAL(x.hex, z.hex);
    rt_hf_close(a);
    rt_hf_close(b);
    rt_hf_close(c);
}

/* ------------------------------------------------------- our own small models */

static rt_model_config tiny(const char *arch) {
    rt_model_config c = rt_model_config_default(rt_arch_find(arch));
    c.vocab_size = 11, c.hidden_size = 8, c.layers = 2, c.heads = 2, c.kv_heads = 1, c.head_dim = 6, c.ffn_size = 5;
    c.max_position = 32, c.norm_eps = 1.1e-6, c.rope_theta = 12345.678, c.bos_id = 1, c.eos_id = 2, c.pad_id = 0;
    if (c.arch->moe) c.experts = 3, c.experts_per_token = 2, c.router_aux_coef = 0.1;
    return c;
}
typedef struct model {
    rt_model_config config;
    rt_arena arena;
    rt_tensor *weights;
    int64_t count;
} model;
static model make_model(rt_model_config c, rt_dtype t) {
    model m = {.config = c, .count = rt_weight_count(&c)};
    m.weights = rt_arena_alloc(&m.arena, (size_t)m.count * sizeof *m.weights);
    for (int64_t i = 0; i < m.count; i++) {
        rt_weight_spec w = rt_weight_at(&c, i);
        m.weights[i] = rt_tensor_make(t, w.ndim, w.dim, NULL);
        m.weights[i].data = rt_arena_alloc(&m.arena, rt_tensor_bytes(&m.weights[i]));
        rt_fill_normal(&m.weights[i], 1, (uint64_t)i);
    }
    return m;
}
static const char *written(const model *m) {
    static char dir[600];
    rt_error err = {0};
    snprintf(dir, sizeof dir, "%s/m", rt_test_dir());
    RT_OK_OR_FAIL(rt_hf_write(dir, &m->config, m->weights, NULL, &err));
    return dir;
}

static void what_is_written_is_read(void) {
    rt_dtype types[] = {RT_F32, RT_F16, RT_BF16};
    int64_t live = rt_mem_stats_get().live_blocks;
    for (int i = 0; i < 12; i++) {
        rt_error err = {0};
        rt_hf *h;
        rt_model_config c = tiny(i % 2 ? "mixtral" : i % 3 ? "llama" : "mistral");
        c.tie_embeddings = i & 2;
        if (i % 4 == 1) c.rope = (rt_rope_scaling){RT_ROPE_LLAMA3, 8.3, 1.1, 4.7, 16}, c.pad_id = c.bos_id = -1;
        if (i % 4 == 2) c.rope = (rt_rope_scaling){.kind = RT_ROPE_LINEAR, .factor = 2.5};
        model m = make_model(c, types[i % 3]);
        RT_OK_OR_FAIL(rt_hf_open(written(&m), &h, &err));
        CU_ASSERT_TRUE(rt_model_config_equal(&c, rt_hf_config(h)));
        for (int64_t k = 0; k < m.count; k++) CU_ASSERT_EQUAL(rt_tensor_hash(&m.weights[k]), rt_tensor_hash(rt_hf_weight(h, k)));
        rt_hf_close(h);
        rt_arena_free(&m.arena);
    }
    CU_ASSERT_EQUAL(rt_mem_stats_get().live_blocks, live);
}
static void config_json_is_what_transformers_reads(void) {
    rt_error err = {0};
    json_t *j, *g;
    rt_model_config c = tiny("mixtral");
    model m = make_model(c, RT_F16);
    const char *dir = written(&m);
    RT_OK_OR_FAIL(rt_json_load(in(dir, "config.json"), 0, &j, &err));
    CU_ASSERT_STRING_EQUAL(json_string_value(json_array_get(json_object_get(j, "architectures"), 0)), "MixtralForCausalLM");
    CU_ASSERT_STRING_EQUAL(json_string_value(json_object_get(j, "model_type")), "mixtral");
    CU_ASSERT_STRING_EQUAL(json_string_value(json_object_get(j, "torch_dtype")), "float16");
    CU_ASSERT_EQUAL(json_integer_value(json_object_get(j, "num_local_experts")), 3);
    CU_ASSERT_TRUE(json_is_null(json_object_get(j, "sliding_window")));
    CU_ASSERT_TRUE(json_real_value(json_object_get(j, "rope_theta")) == 12345.678);
    RT_OK_OR_FAIL(rt_json_load(in(dir, "generation_config.json"), 0, &g, &err));
    CU_ASSERT_EQUAL(json_integer_value(json_object_get(g, "eos_token_id")), 2);
    json_decref(j);
    json_decref(g);
    rt_arena_free(&m.arena);
    const char *fixture = rt_fixture("models/mixtral/f32"); /* no key that transformers wrote is forgotten */
    if (!fixture) return;
    const char *skip = "initializer_range transformers_version", *key;
    json_t *theirs, *value, *ours;
    RT_OK_OR_FAIL(rt_json_load(in(fixture, "config.json"), 0, &theirs, &err));
    RT_OK_OR_FAIL(rt_json_load(in(dir, "config.json"), 0, &ours, &err));
    json_object_foreach(theirs, key, value) RT_CHECK(strstr(skip, key) || json_object_get(ours, key), "no key %s", key);
    json_decref(theirs);
    json_decref(ours);
}

/* ---------------------------------------------------------------- refusals */

static void refused(const char *dir, rt_status expected, const char *text) {
    rt_error err = {0};
    rt_hf *h;
    rt_status s = rt_hf_open(dir, &h, &err);
    RT_CHECK(s == expected, "%s %s", rt_status_name(s), err.text);
    RT_CHECK(strstr(err.text, text) && strstr(err.text, dir), "'%s' is not in '%s'", text, err.text);
    rt_hf_close(h);
}
/* The model's tensors with one change, written over model.safetensors. */
static void rewrite(const char *dir, const model *m, int64_t drop, const rt_named_tensor *extra) {
    rt_error err = {0};
    rt_named_tensor t[128];
    rt_weight_spec w[128];
    int64_t n = 0;
    for (int64_t i = 0; i < m->count; i++) {
        w[i] = rt_weight_at(&m->config, i);
        if (i != drop) t[n++] = (rt_named_tensor){w[i].name, m->weights[i]};
    }
    if (extra) t[n++] = *extra;
    RT_OK_OR_FAIL(rt_safetensors_write(in(dir, "model.safetensors"), t, n, NULL, &err));
}
static void tensors_must_be_those_of_the_configuration(void) {
    model m = make_model(tiny("llama"), RT_F16);
    float numbers[4] = {0};
    rt_error err = {0};
    rt_hf *h;
    const char *dir = written(&m);
    rewrite(dir, &m, 3, NULL);
    refused(dir, RT_E_INPUT, "tensor model.layers.0.self_attn.k_proj.weight is missing (config.json asks for 21 tensors, there are 20)");
    rt_named_tensor extra = {"model.layers.2.input_layernorm.weight", rt_tensor_1d(RT_F32, numbers, 4)};
    rewrite(dir, &m, 3, &extra);
    refused(dir, RT_E_INPUT, "is missing (1 of the 21 that config.json asks for are)");
    rewrite(dir, &m, -1, &extra);
    refused(dir, RT_E_INPUT, "tensor model.layers.2.input_layernorm.weight is not explained by config.json (a llama with 2 layers)");
    extra.name = "model.norm.weight";
    rewrite(dir, &m, m.count - 2, &extra);
    refused(dir, RT_E_INPUT, "tensor model.norm.weight is f32 [4], but config.json says f32 [8]");
    extra.name = "model.layers.0.self_attn.rotary_emb.inv_freq";
    rewrite(dir, &m, -1, &extra);
    RT_OK_OR_FAIL(rt_hf_open(dir, &h, &err));
    CU_ASSERT_EQUAL(rt_hf_ignored(h), 1);
    CU_ASSERT_PTR_NULL(rt_hf_find(h, extra.name));
    rt_hf_close(h);
    int32_t integers[8] = {0};
    extra = (rt_named_tensor){"model.norm.weight", rt_tensor_1d(RT_I32, integers, 8)};
    rewrite(dir, &m, m.count - 2, &extra);
    refused(dir, RT_E_INPUT, "tensor model.norm.weight is i32, expected a floating-point type");
    remove(in(dir, "model.safetensors"));
    refused(dir, RT_E_INPUT, "found neither model.safetensors nor model.safetensors.index.json");
    RT_OK_OR_FAIL(rt_file_write_atomic(in(dir, "pytorch_model.bin"), "x", 1, &err));
    refused(dir, RT_E_INPUT, "pytorch_model.bin is not read");
    refused(in(dir, "config.json"), RT_E_INPUT, "is not a folder");
    refused("/nonexistent", RT_E_INPUT, "is not a folder");
    rt_arena_free(&m.arena);
}
static void a_stored_tied_head_must_be_the_embedding(void) {
    rt_model_config c = tiny("llama");
    c.tie_embeddings = true;
    model m = make_model(c, RT_F32);
    rt_error err = {0};
    rt_hf *h;
    const char *dir = written(&m);
    rt_named_tensor head = {"lm_head.weight", m.weights[0]};
    rewrite(dir, &m, -1, &head);
    RT_OK_OR_FAIL(rt_hf_open(dir, &h, &err));
    CU_ASSERT_EQUAL(rt_hf_ignored(h), 1);
    rt_hf_close(h);
    float other[11 * 8] = {0};
    head.tensor.data = other;
    rewrite(dir, &m, -1, &head);
    refused(dir, RT_E_INPUT, "tensor lm_head.weight is not explained by config.json (a llama with 2 layers, tied embeddings)");
    rt_arena_free(&m.arena);
}

/* ------------------------------------------------------------------- shards */

static void write_index(const char *dir, const char *map) {
    rt_error err = {0};
    rt_buf b = {0};
    rt_buf_printf(&b, "{\"metadata\": {}, \"weight_map\": %s}", map);
    RT_OK_OR_FAIL(rt_file_write_atomic(in(dir, "model.safetensors.index.json"), b.data, b.size, &err));
    rt_buf_free(&b);
}
/* All weights in a.safetensors (even) and b.safetensors (odd). Returns the weight_map, owned. */
static json_t *split(const char *dir, const model *m) {
    rt_error err = {0};
    rt_named_tensor t[128];
    rt_weight_spec w[128];
    json_t *map = json_object();
    for (int part = 0; part < 2; part++) {
        int64_t n = 0;
        const char *file = part ? "b.safetensors" : "a.safetensors";
        for (int64_t i = part; i < m->count; i += 2) {
            w[i] = rt_weight_at(&m->config, i);
            t[n++] = (rt_named_tensor){w[i].name, m->weights[i]};
            json_object_set_new(map, w[i].name, json_string(file));
        }
        RT_OK_OR_FAIL(rt_safetensors_write(in(dir, file), t, n, NULL, &err));
    }
    remove(in(dir, "model.safetensors"));
    return map;
}
static void with_map(const char *dir, json_t *map, const char *key, const char *file) {
    char *text;
    json_t *copy = json_copy(map);
    if (file) json_object_set_new(copy, key, json_string(file));
    else json_object_del(copy, key);
    text = json_dumps(copy, 0);
    write_index(dir, text);
    rt_free(text);
    json_decref(copy);
}
static void shards_and_index_must_agree(void) {
    model m = make_model(tiny("mixtral"), RT_BF16);
    rt_error err = {0};
    rt_hf *h;
    const char *dir = written(&m), *norm = "model.norm.weight";
    json_t *map = split(dir, &m);
    with_map(dir, map, norm, json_string_value(json_object_get(map, norm)));
    RT_OK_OR_FAIL(rt_hf_open(dir, &h, &err));
    for (int64_t k = 0; k < m.count; k++) CU_ASSERT_EQUAL(rt_tensor_hash(&m.weights[k]), rt_tensor_hash(rt_hf_weight(h, k)));
    rt_hf_close(h);
    with_map(dir, map, norm, "c.safetensors");
    refused(dir, RT_E_INPUT, "c.safetensors: No such file");
    with_map(dir, map, norm, "../m/a.safetensors");
    refused(dir, RT_E_INPUT, "expected one in this folder");
    with_map(dir, map, norm, "");
    refused(dir, RT_E_INPUT, "expected one in this folder");
    with_map(dir, map, "model.layers.9.x", "a.safetensors");
    refused(dir, RT_E_INPUT, "weight_map: model.layers.9.x is not in a.safetensors");
    with_map(dir, map, norm, NULL);
    refused(dir, RT_E_INPUT, "tensors, but its files hold");
    write_index(dir, "[]");
    refused(dir, RT_E_INPUT, "weight_map: found an array, expected an object");
    write_index(dir, "{\"a\": 1}");
    refused(dir, RT_E_INPUT, "weight_map.a: found an integer, expected a string");
    json_decref(map);
    rt_arena_free(&m.arena);
}

static void running_out_of_memory_is_clean(void) {
    model m = make_model(tiny("llama"), RT_F16);
    const char *dir = written(&m);
    rt_status status = RT_E_NOMEM;
    int64_t live = rt_mem_stats_get().live_blocks;
    for (int64_t n = 1; status != RT_OK && n < 10000; n++) {
        rt_error err = {0};
        rt_hf *h;
        rt_hf_hash hash;
        rt_mem_fail_at(n);
        status = rt_hf_write(dir, &m.config, m.weights, NULL, &err);
        if (status == RT_OK && (status = rt_hf_open(dir, &h, &err)) == RT_OK) {
            status = rt_hf_content_hash(h, &hash, &err);
            rt_hf_close(h);
        }
        RT_CHECK(status == RT_OK || status == RT_E_NOMEM, "%s %s", rt_status_name(status), err.text);
        CU_ASSERT_EQUAL(rt_mem_stats_get().live_blocks, live);
    }
    rt_mem_fail_at(0);
    CU_ASSERT_EQUAL(status, RT_OK);
    rt_arena_free(&m.arena);
}
static void shapes_are_checked_when_writing(void) {
    model m = make_model(tiny("llama"), RT_F16);
    rt_error err = {0};
    m.weights[2].dim[0]--;
    CU_ASSERT_EQUAL(rt_hf_write(rt_test_dir(), &m.config, m.weights, NULL, &err), RT_E_SHAPE);
    RT_CHECK(strstr(err.text, "model.layers.0.self_attn.q_proj.weight is f16 [11,8], expected f16 [12,8]"), "%s", err.text);
    rt_arena_free(&m.arena);
}

RT_SUITE(hf) {
    RT_TEST(fixtures_open_and_count);
    RT_TEST(content_hash_ignores_sharding_and_sees_every_bit);
    RT_TEST(what_is_written_is_read);
    RT_TEST(config_json_is_what_transformers_reads);
    RT_TEST(tensors_must_be_those_of_the_configuration);
    RT_TEST(a_stored_tied_head_must_be_the_embedding);
    RT_TEST(shards_and_index_must_agree);
    RT_TEST(running_out_of_memory_is_clean);
    RT_TEST(shapes_are_checked_when_writing);
}
