/* test_damage_hf.c - model directories with a damaged config.json, index or shard, and with files made to harm. */
#include "damage.h"
#include "harness.h"
#include "small_model.h"
#include <retort/base/file.h>
#include <retort/base/json.h>
#include <retort/io/hf.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const rt_status refusals[] = {RT_E_INPUT, RT_E_UNSUPPORTED, RT_OK};
static char directory[512];
static const char *in(const char *name) {
    static char paths[4][1024];
    static unsigned turn;
    char *p = paths[turn++ % 4];
    snprintf(p, 1024, "%s/%s", directory, name);
    return p;
}

/* What opens must be a model: a configuration that passes its checks, each of its weights with its shape, readable. */
static rt_status open_and_touch(void *context, rt_error *err) {
    rt_hf *m;
    rt_error why = {0};
    volatile uint64_t sum = 0;
    (void)context;
    RT_TRY(rt_hf_open(directory, &m, err));
    rt_status s = rt_model_config_check(rt_hf_config(m), &why);
    RT_CHECK(s == RT_OK, "%s", why.text);
    for (int64_t i = 0; i < rt_weight_count(rt_hf_config(m)); i++) {
        rt_weight_spec w = rt_weight_at(rt_hf_config(m), i);
        const rt_tensor *t = rt_hf_weight(m, i);
        CU_ASSERT_TRUE(t == rt_hf_find(m, w.name) && t->ndim == w.ndim && t->dim[0] == w.dim[0]);
        for (size_t k = 0; k < rt_tensor_bytes(t); k++) sum += ((const uint8_t *)t->data)[k];
    }
    rt_hf_close(m);
    return RT_OK;
}

static rt_model_config tiny(int64_t experts) {
    rt_model_config c = small_config(experts);
    c.vocab_size = 11, c.hidden_size = 8, c.heads = 2, c.kv_heads = 1, c.head_dim = 6, c.ffn_size = 5, c.max_position = 32;
    c.rope = (rt_rope_scaling){RT_ROPE_LLAMA3, 8, 1, 4, 16};
    return c;
}
static rt_damage patient(const char *file) {
    rt_weights w = {0};
    rt_model_config c = tiny(3);
    rt_precision p = rt_precision_student(RT_F16);
    snprintf(directory, sizeof directory, "%s", rt_test_dir());
    small_model(&w, &c, &p, 0.1);
    small_folder(directory, &w);
    rt_weights_free(&w);
    static char path[1024];
    snprintf(path, sizeof path, "%s", in(file));
    return (rt_damage){.path = path, .read = open_and_touch, .refusals = refusals};
}

/* ------------------------------------------------------------------ config.json */

static void a_damaged_configuration_is_survived(void) {
    rt_damage d = patient("config.json");
    d.every = 8;
    rt_damage_all(&d);
    CU_ASSERT_TRUE(d.cases > 1500 && d.accepted > 10 && d.accepted < d.cases);
}
/* Of every family, with what it can have: only config.json is read. */
static char config_path[1024];
static rt_status read_config(void *context, rt_error *err) {
    rt_model_config c;
    (void)context;
    RT_TRY(rt_hf_config_read(config_path, &c, err));
    volatile int64_t sum = rt_weight_count(&c) + rt_model_parameters(&c).total;
    for (int64_t i = 0, n = rt_weight_count(&c); i < n && i < 1000; i++) sum += rt_weight_at(&c, n - 1 - i).dim[0];
    return rt_model_config_check(&c, err);
}
static void a_damaged_configuration_of_every_family_is_survived(void) {
    for (const char *const *name = rt_arch_names(); *name; name++) {
        rt_error err = {0};
        const rt_arch *arch = rt_arch_find(*name);
        rt_model_config c = rt_model_config_default(arch);
        c.vocab_size = 11, c.hidden_size = 8, c.layers = 4, c.heads = 2, c.kv_heads = 1, c.head_dim = arch->head_dim ? 6 : 4, c.ffn_size = 5, c.max_position = 32;
        c.bos_id = 1, c.eos_id = 2, c.pad_id = -1;
        if (arch->moe) c.experts = 3, c.experts_per_token = 2;
        if (arch->shared_expert) c.shared_size = 7;
        if (arch->dense_layers) c.dense_ffn_size = 9, c.dense[0] = 2;
        snprintf(config_path, sizeof config_path, "%s/config.json", rt_test_dir());
        RT_OK_OR_FAIL(rt_hf_config_write(config_path, &c, RT_F16, &err));
        rt_damage d = {.path = config_path, .read = read_config, .refusals = refusals, .every = 8};
        rt_damage_all(&d);
        RT_CHECK(d.cases > 1500 && d.accepted > 10 && d.accepted < d.cases, "%s: %lld of %lld", *name, (long long)d.accepted, (long long)d.cases);
    }
}
/* config.json with `key` set to JSON text, which need not be valid: it stands for "@@" in what is written. */
static rt_status with_key(rt_damage *d, const char *key, const char *json) {
    rt_error err = {0};
    json_t *j;
    rt_buf b = {0}, out = {0};
    RT_OK_OR_FAIL(rt_json_load(d->path, 0, &j, &err));
    json_object_set_new(j, key, json_string("@@"));
    rt_json_dump(j, 0, &b);
    json_decref(j);
    char *at = strstr(b.data, "\"@@\"");
    rt_buf_add(&out, b.data, (size_t)(at - b.data));
    rt_buf_puts(&out, json);
    rt_buf_puts(&out, at + 4);
    rt_status s = rt_damage_replace(d, out.data, out.size, json);
    rt_buf_free(&b), rt_buf_free(&out);
    return s;
}
static void hostile_configurations_are_refused(void) {
    static const char *const values[] = {"1e999", "-1e999", "NaN", "Infinity", "9223372036854775808", "-9223372036854775809", "1e18", "0", "-1",
                                         "0.5", "\"32\"", "[]", "{}", "null", "true", "2147483648", "1, \"hidden_size\": 8", "\"\xff\"", "\"\\ud800\"", "\"\\u0000\""};
    static const char *const keys[] = {"num_hidden_layers", "num_local_experts", "vocab_size", "num_key_value_heads"};
    rt_damage d = patient("config.json");
    for (size_t k = 0; k < 4; k++)
        for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
            rt_status s = with_key(&d, keys[k], values[i]);
            RT_CHECK(s != RT_OK, "%s = %s: accepted", keys[k], values[i]);
        }
    CU_ASSERT_NOT_EQUAL(with_key(&d, "rms_norm_eps", "1e-400"), RT_OK);
    CU_ASSERT_NOT_EQUAL(with_key(&d, "rope_theta", "\"nan\""), RT_OK);
    CU_ASSERT_NOT_EQUAL(with_key(&d, "model_type", "\"\\u001b[2J\""), RT_OK);
    CU_ASSERT_EQUAL(with_key(&d, "a \\\" key", "18446744073709551616"), RT_OK);
}
/* The largest sizes that pass for a configuration ask for 12.6 million weights: said at once, without room for them. */
static void more_weights_than_tensors_are_refused_at_once(void) {
    rt_damage d = patient("config.json");
    rt_error err = {0};
    rt_model_config c = tiny(3);
    c.layers = 1024, c.experts = 4096;
    rt_buf b = {0};
    char path[1024];
    snprintf(path, sizeof path, "%s/other.json", rt_test_dir());
    RT_OK_OR_FAIL(rt_hf_config_write(path, &c, RT_F16, &err));
    RT_OK_OR_FAIL(rt_file_read(path, 1 << 20, &b, &err));
    CU_ASSERT_EQUAL(rt_damage_replace(&d, b.data, b.size, "1024 layers of 4096 experts"), RT_E_INPUT);
    rt_buf_free(&b);
}
static void nested_and_repeated_json_is_refused(void) {
    rt_damage d = patient("config.json");
    rt_buf b = {0};
    rt_buf_puts(&b, "{\"a\":");
    for (int i = 0; i < 1000000; i++) rt_buf_putc(&b, '[');
    CU_ASSERT_EQUAL(rt_damage_replace(&d, b.data, b.size, "a million levels"), RT_E_INPUT);
    b.size = 0;
    rt_buf_puts(&b, "{\"model_type\":\"llama\",\"model_type\":\"mixtral\"}");
    CU_ASSERT_EQUAL(rt_damage_replace(&d, b.data, b.size, "a key twice"), RT_E_INPUT);
    for (int i = 0; i < 1 << 20; i++) rt_buf_putc(&b, ' ');
    CU_ASSERT_EQUAL(rt_damage_replace(&d, b.data, b.size, "more than a configuration needs"), RT_E_INPUT);
    rt_buf_free(&b);
}

/* ----------------------------------------------------------------------- shards */

/* The model split over a.safetensors and b.safetensors; returns its weight_map, owned. */
static json_t *split(void) {
    rt_error err = {0};
    rt_safetensors *s;
    json_t *map = json_object();
    RT_OK_OR_FAIL(rt_safetensors_open(in("model.safetensors"), &s, &err));
    for (int part = 0; part < 2; part++) {
        rt_named_tensor t[64];
        int64_t n = 0;
        const char *file = part ? "b.safetensors" : "a.safetensors";
        for (int64_t i = part; i < rt_safetensors_count(s); i += 2) {
            t[n++] = *rt_safetensors_at(s, i);
            json_object_set_new(map, t[n - 1].name, json_string(file));
        }
        RT_OK_OR_FAIL(rt_safetensors_write(in(file), t, n, NULL, &err));
    }
    rt_safetensors_close(s);
    CU_ASSERT_EQUAL(unlink(in("model.safetensors")), 0);
    return map;
}
static rt_damage sharded(const char *file, json_t **map) {
    rt_damage d = patient(file);
    rt_error err = {0};
    *map = split();
    json_t *index = json_pack("{s:{s:i}, s:O}", "metadata", "total_size", 1, "weight_map", *map);
    RT_OK_OR_FAIL(rt_json_save(in("model.safetensors.index.json"), index, &err));
    json_decref(index);
    return d;
}
static void a_damaged_index_is_survived(void) {
    json_t *map;
    rt_damage d = sharded("model.safetensors.index.json", &map);
    d.every = 16;
    rt_damage_all(&d);
    CU_ASSERT_TRUE(d.cases > 1500 && d.accepted < d.cases / 2);
    json_decref(map);
}
static void a_damaged_shard_is_survived(void) {
    json_t *map;
    rt_damage d = sharded("b.safetensors", &map);
    int64_t size = 0;
    rt_error err = {0};
    RT_OK_OR_FAIL(rt_file_size(d.path, &size, &err));
    d.whole = (size_t)size, d.to = 1500, d.every = 16;
    rt_damage_all(&d);
    CU_ASSERT_TRUE(d.cases > 1500 && d.accepted < d.cases / 2);
    json_decref(map);
}

static rt_status with_map(rt_damage *d, const json_t *map, const char *tensor, json_t *file, const char *what) {
    json_t *copy = json_copy((json_t *)(uintptr_t)map), *index;
    rt_buf b = {0};
    if (file) json_object_set_new(copy, tensor, file);
    else json_object_del(copy, tensor);
    index = json_pack("{s:o}", "weight_map", copy);
    rt_json_dump(index, 0, &b);
    rt_status s = rt_damage_replace(d, b.data, b.size, what);
    rt_buf_free(&b);
    json_decref(index);
    return s;
}
static void an_index_names_only_files_beside_it(void) {
    static const char *const names[] = {"../a.safetensors", "/etc/passwd", "./a.safetensors", "x/../a.safetensors", "..", ".", "", "a.safetensors/", "/",
                                        ".hidden.safetensors", "no.safetensors", "config.json", "model.safetensors.index.json", "folder", "pipe"};
    json_t *map;
    rt_damage d = sharded("model.safetensors.index.json", &map);
    const char *norm = "model.norm.weight";
    CU_ASSERT_TRUE(mkdir(in("folder"), 0777) == 0 && mkfifo(in("pipe"), 0666) == 0);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        rt_status s = with_map(&d, map, norm, json_string(names[i]), names[i]);
        RT_CHECK(s == RT_E_INPUT, "'%s': %s", names[i], rt_status_name(s));
    }
    char longest[5000];
    memset(longest, 'x', sizeof longest - 1), longest[sizeof longest - 1] = 0;
    CU_ASSERT_EQUAL(with_map(&d, map, norm, json_string(longest), "a name of 5000 bytes"), RT_E_INPUT);
    CU_ASSERT_EQUAL(with_map(&d, map, norm, json_integer(1), "a number for a file"), RT_E_INPUT);
    CU_ASSERT_EQUAL(with_map(&d, map, norm, NULL, "a tensor that is not listed"), RT_E_INPUT);
    CU_ASSERT_EQUAL(with_map(&d, map, "other.weight", json_string("a.safetensors"), "a tensor that is not there"), RT_E_INPUT);
    json_decref(map);
}
static void a_tensor_in_two_shards_is_refused(void) {
    json_t *map;
    rt_error err = {0};
    rt_safetensors *a, *b;
    rt_named_tensor t[64];
    int64_t n = 0;
    rt_damage d = sharded("b.safetensors", &map);
    RT_OK_OR_FAIL(rt_safetensors_open(in("a.safetensors"), &a, &err));
    RT_OK_OR_FAIL(rt_safetensors_open(in("b.safetensors"), &b, &err));
    while (n < rt_safetensors_count(b)) t[n] = *rt_safetensors_at(b, n), n++;
    t[n++] = *rt_safetensors_at(a, 0);
    char other[1024];
    snprintf(other, sizeof other, "%s", in("c.safetensors"));
    RT_OK_OR_FAIL(rt_safetensors_write(other, t, n, NULL, &err));
    rt_safetensors_close(a), rt_safetensors_close(b);
    rt_buf bytes = {0};
    RT_OK_OR_FAIL(rt_file_read(other, 1 << 20, &bytes, &err));
    CU_ASSERT_EQUAL(rt_damage_replace(&d, bytes.data, bytes.size, "a tensor of a in b too"), RT_E_INPUT);
    rt_buf_free(&bytes);
    json_decref(map);
}

RT_SUITE(damage_hf) {
    RT_TEST(a_damaged_configuration_is_survived);
    RT_TEST(a_damaged_configuration_of_every_family_is_survived);
    RT_TEST(hostile_configurations_are_refused);
    RT_TEST(more_weights_than_tensors_are_refused_at_once);
    RT_TEST(nested_and_repeated_json_is_refused);
    RT_TEST(a_damaged_index_is_survived);
    RT_TEST(a_damaged_shard_is_survived);
    RT_TEST(an_index_names_only_files_beside_it);
    RT_TEST(a_tensor_in_two_shards_is_refused);
}
