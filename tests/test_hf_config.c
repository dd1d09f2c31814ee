/* test_hf_config.c - config.json: what is understood, what is refused and how, what is harmless. Damage is in test_damage_hf.c. */
#include "harness.h"
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

static void configurations_are_understood(void) {
    rt_error err = {0};
    rt_model_config c;
    const char *dir = rt_fixture("models/llama3/f32");
    if (!dir) return;
    RT_OK_OR_FAIL(rt_hf_config_read(in(dir, "config.json"), &c, &err));
    CU_ASSERT_TRUE(c.rope.kind == RT_ROPE_LLAMA3 && c.rope.factor == 8 && c.rope.low_freq_factor == 1);
    CU_ASSERT_TRUE(c.rope.high_freq_factor == 4 && c.rope.original_max_position == 64 && c.rope_theta == 500000);
    CU_ASSERT_TRUE(c.kv_heads == 1 && c.head_dim == 16 && c.bos_id == 1 && c.eos_id == 2 && c.pad_id == -1);
    if (!(dir = rt_fixture("models/mixtral/f16"))) return;
    RT_OK_OR_FAIL(rt_hf_config_read(in(dir, "config.json"), &c, &err));
    CU_ASSERT_TRUE(c.experts == 8 && c.experts_per_token == 2 && c.norm_topk && c.router_aux_coef == 0.02);
    CU_ASSERT_TRUE(c.norm_eps == 1e-5 && c.ffn_size == 12 && c.rope.kind == RT_ROPE_PLAIN);
}

static rt_model_config tiny(const char *arch) {
    rt_model_config c = rt_model_config_default(rt_arch_find(arch));
    c.vocab_size = 11, c.hidden_size = 8, c.layers = 2, c.heads = 2, c.kv_heads = 1, c.head_dim = 6, c.ffn_size = 5;
    c.max_position = 32, c.norm_eps = 1.1e-6, c.rope_theta = 12345.678, c.bos_id = 1, c.eos_id = 2, c.pad_id = 0;
    if (c.arch->moe) c.experts = 3, c.experts_per_token = 2, c.router_aux_coef = 0.1;
    return c;
}
/* config.json of a tiny model with `key` set to the JSON `value` (NULL: removed). */
static void config_refused(const char *arch, const char *key, const char *value, rt_status expected, const char *text) {
    rt_error err = {0};
    json_t *j;
    rt_model_config c = tiny(arch), back;
    const char *path = in(rt_test_dir(), "config.json");
    RT_OK_OR_FAIL(rt_hf_config_write(path, &c, RT_F32, &err));
    RT_OK_OR_FAIL(rt_json_load(path, 0, &j, &err));
    if (value) json_object_set_new(j, key, json_loads(value, JSON_DECODE_ANY, NULL));
    else json_object_del(j, key);
    RT_OK_OR_FAIL(rt_json_save(path, j, &err));
    json_decref(j);
    rt_status s = rt_hf_config_read(path, &back, &err);
    RT_CHECK(s == expected, "%s = %s: %s %s", key, value ? value : "nothing", rt_status_name(s), err.text);
    RT_CHECK(s == RT_OK || (strstr(err.text, text) && strstr(err.text, path)), "%s = %s: '%s' is not in '%s'", key,
             value ? value : "nothing", text, err.text);
}
static void configurations_are_refused_with_a_reason(void) {
    config_refused("llama", "hidden_act", "\"gelu\"", RT_E_UNSUPPORTED, "hidden_act: found \"gelu\", expected \"silu\"");
    config_refused("llama", "attention_bias", "true", RT_E_UNSUPPORTED, "attention_bias: found true, expected false");
    config_refused("llama", "mlp_bias", "true", RT_E_UNSUPPORTED, "mlp_bias");
    config_refused("llama", "quantization_config", "{\"bits\":4}", RT_E_UNSUPPORTED, "quantization_config: found {\"bits\":4}, expected none");
    config_refused("llama", "partial_rotary_factor", "0.5", RT_E_UNSUPPORTED, "partial_rotary_factor");
    config_refused("llama", "model_type", "\"gpt2\"", RT_E_UNSUPPORTED, "found gpt2, expected one of llama, mistral, qwen2");
    config_refused("llama", "model_type", "\"mixtrel\"", RT_E_UNSUPPORTED, "did you mean mixtral?");
    config_refused("llama", "model_type", NULL, RT_E_INPUT, "model_type");
    config_refused("llama", "architectures", "[\"LlamaForSequenceClassification\"]", RT_E_UNSUPPORTED, "expected LlamaForCausalLM");
    config_refused("llama", "architectures", "[]", RT_E_INPUT, "architectures");
    config_refused("llama", "rope_scaling", "{\"rope_type\":\"yarn\",\"factor\":2}", RT_E_UNSUPPORTED, "rope_type: found \"yarn\", expected default, linear or llama3");
    config_refused("llama", "rope_scaling", "{\"rope_type\":\"linear\"}", RT_E_INPUT, "rope_scaling.factor");
    config_refused("llama", "rope_scaling", "{}", RT_E_INPUT, "rope_scaling.type");
    config_refused("llama", "num_key_value_heads", "3", RT_E_INPUT, "heads 2 is not a multiple of kv_heads 3");
    config_refused("llama", "hidden_size", "\"8\"", RT_E_INPUT, "hidden_size: found a string, expected an integer");
    config_refused("llama", "vocab_size", NULL, RT_E_INPUT, "vocab_size");
    config_refused("llama", "vocab_size", "99999999999", RT_E_INPUT, "vocab_size");
    config_refused("mixtral", "num_local_experts", NULL, RT_E_INPUT, "num_local_experts");
    config_refused("mixtral", "num_experts_per_tok", "4", RT_E_INPUT, "experts_per_token is 4");
    config_refused("llama", "rms_norm_eps", "0", RT_E_INPUT, "norm_eps");
    config_refused("llama", "bos_token_id", "11", RT_E_INPUT, "bos_id is 11");
    config_refused("llama", "eos_token_id", "[\"2\"]", RT_E_INPUT, "eos_token_id[0]");
}
static void harmless_variants_are_accepted(void) {
    config_refused("llama", "hidden_act", NULL, RT_OK, "");
    config_refused("llama", "eos_token_id", "[2, 3]", RT_OK, "");
    config_refused("llama", "pad_token_id", "-1", RT_OK, "");
    config_refused("llama", "unknown_key", "{}", RT_OK, "");
    config_refused("mistral", "sliding_window", "31", RT_OK, "");
    config_refused("llama", "rope_theta", "10000", RT_OK, "");
    config_refused("llama", "rope_scaling", "{\"type\":\"default\"}", RT_OK, "");
    config_refused("llama", "rope_parameters", "{\"rope_type\":\"llama3\",\"rope_theta\":5e5,\"factor\":8.0,\"low_freq_factor\":1,"
                   "\"high_freq_factor\":4,\"original_max_position_embeddings\":16}", RT_OK, "");
}

/* An olmoe that says nothing of its end of text has id 50279 by its family: none where the vocabulary ends below that. */
static void ids_of_the_family_stay_within_the_vocabulary(void) {
    rt_error err = {0};
    const char *path = in(rt_test_dir(), "config.json");
    rt_model_config back = {0};
    for (int64_t vocab = 50279; vocab <= 50280; vocab++) {
        json_t *j;
        rt_model_config c = tiny("olmoe");
        c.vocab_size = vocab;
        RT_OK_OR_FAIL(rt_hf_config_write(path, &c, RT_F32, &err));
        RT_OK_OR_FAIL(rt_json_load(path, 0, &j, &err));
        json_object_del(j, "eos_token_id");
        RT_OK_OR_FAIL(rt_json_save(path, j, &err));
        json_decref(j);
        RT_OK_OR_FAIL(rt_hf_config_read(path, &back, &err));
        CU_ASSERT_EQUAL(back.eos_id, vocab > 50279 ? 50279 : -1);
    }
}

RT_SUITE(hf_config) {
    RT_TEST(configurations_are_understood);
    RT_TEST(configurations_are_refused_with_a_reason);
    RT_TEST(harmless_variants_are_accepted);
    RT_TEST(ids_of_the_family_stay_within_the_vocabulary);
}
