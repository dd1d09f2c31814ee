/* test_model_config.c - the table of families, checks of sizes, the list of weights, parameter counts. */
#include "harness.h"
#include <retort/model/config.h>
#include <string.h>

static rt_model_config small(const char *arch) {
    rt_model_config c = rt_model_config_default(rt_arch_find(arch));
    c.vocab_size = 512, c.hidden_size = 64, c.layers = 3, c.heads = 4, c.kv_heads = 2, c.head_dim = 16, c.ffn_size = 36;
    c.max_position = 512;
    if (c.arch->moe) c.ffn_size = 12, c.experts = 8, c.experts_per_token = 2;
    if (c.arch->shared_expert) c.shared_size = 20;
    return c;
}

static void families_are_found_by_name_and_class(void) {
    int n = 0;
    for (const char *const *name = rt_arch_names(); *name; name++, n++) {
        const rt_arch *a = rt_arch_find(*name);
        CU_ASSERT_PTR_NOT_NULL_FATAL(a);
        CU_ASSERT_PTR_EQUAL(rt_arch_find_class(a->hf_class), a);
        CU_ASSERT_EQUAL(a->moe, a->names[RT_WEIGHT_ROUTER] != NULL);
    }
    CU_ASSERT_TRUE(n >= 3);
    CU_ASSERT_PTR_NULL(rt_arch_find("gpt2"));
    CU_ASSERT_PTR_NULL(rt_arch_find_class("GPT2LMHeadModel"));
    CU_ASSERT_STRING_EQUAL(rt_nearest("mixtrl", rt_arch_names()), "mixtral");
}

static void refused(rt_model_config c, const char *text) {
    rt_error err = {0};
    CU_ASSERT_EQUAL(rt_model_config_check(&c, &err), RT_E_CONFIG);
    RT_CHECK(strstr(err.text, text), "'%s' is not in '%s'", text, err.text);
}
#define REFUSED(text, change)                                                                                          \
    do {                                                                                                               \
        rt_model_config c = small("mixtral");                                                                          \
        change;                                                                                                        \
        refused(c, text);                                                                                              \
    } while (0)
static void sizes_that_do_not_fit_are_refused(void) {
    rt_error err = {0};
    for (const char *const *name = rt_arch_names(); *name; name++) {
        rt_model_config c = small(*name);
        RT_OK_OR_FAIL(rt_model_config_check(&c, &err));
    }
    REFUSED("heads 6 is not a multiple of kv_heads 4", (c.heads = 6, c.kv_heads = 4));
    REFUSED("head_dim is 15, expected an even", c.head_dim = 15);
    REFUSED("vocab_size is 0", c.vocab_size = 0);
    REFUSED("hidden_size is -1", c.hidden_size = -1);
    REFUSED("layers is 100000", c.layers = 100000);
    REFUSED("ffn_size is 9223372036854775807", c.ffn_size = INT64_MAX);
    REFUSED("experts is 0", c.experts = 0);
    REFUSED("experts_per_token is 9, expected 1 to 8", c.experts_per_token = 9);
    REFUSED("experts is 8, but arch llama is dense", c.arch = rt_arch_find("llama"));
    REFUSED("norm_eps is 0", c.norm_eps = 0);
    REFUSED("rope_theta is nan", c.rope_theta = __builtin_nan(""));
    REFUSED("rope_scaling.factor is 0", (c.rope.kind = RT_ROPE_LINEAR, c.rope.factor = 0));
    REFUSED("high_freq_factor 1 is not above low_freq_factor 1",
            (c.rope = (rt_rope_scaling){RT_ROPE_LLAMA3, 8, 1, 1, 64}));
    REFUSED("bos_id is 512, expected -1 to 511", c.bos_id = 512);
    REFUSED("arch is not set", c.arch = NULL);
    REFUSED("arch mixtral has no dense layers", c.dense[0] = 2);
    REFUSED("shared_size is 4, expected 0 to 0", c.shared_size = 4);
    REFUSED("sliding_window is -1", c.sliding_window = -1);
    REFUSED("dense_ffn_size is 0, expected 1", (c.arch = rt_arch_find("qwen3_moe"), c.dense[0] = 2));
}

static int64_t counted(const rt_model_config *c) {
    int64_t n = 0;
    for (int64_t i = 0; i < rt_weight_count(c); i++) {
        rt_weight_spec w = rt_weight_at(c, i), found;
        n += w.dim[0] * w.dim[1];
        CU_ASSERT_EQUAL(w.ndim, w.dim[1] == 1 && (strstr(w.name, "norm") || strstr(w.name, "bias")) ? 1 : 2);
        CU_ASSERT_TRUE(rt_weight_find(c, w.kind, w.layer, w.expert, &found) && strcmp(found.name, w.name) == 0);
    }
    return n;
}
static void weights_are_listed_in_order_with_shapes(void) {
    rt_model_config c = small("mixtral");
    int64_t n = rt_weight_count(&c);
    CU_ASSERT_EQUAL(n, 1 + 3 * (7 + 3 * 8) + 2);
    CU_ASSERT_STRING_EQUAL(rt_weight_at(&c, 0).name, "model.embed_tokens.weight");
    CU_ASSERT_STRING_EQUAL(rt_weight_at(&c, 7).name, "model.layers.0.block_sparse_moe.gate.weight");
    rt_weight_spec w = rt_weight_at(&c, 1 + 31 + 7 + 3 * 5 + 2);
    CU_ASSERT_STRING_EQUAL(w.name, "model.layers.1.block_sparse_moe.experts.5.w2.weight");
    CU_ASSERT_TRUE(w.layer == 1 && w.expert == 5 && w.dim[0] == 64 && w.dim[1] == 12);
    CU_ASSERT_STRING_EQUAL(rt_weight_at(&c, n - 2).name, "model.norm.weight");
    CU_ASSERT_STRING_EQUAL(rt_weight_at(&c, n - 1).name, "lm_head.weight");
    c.tie_embeddings = true;
    CU_ASSERT_EQUAL(rt_weight_count(&c), n - 1);
    CU_ASSERT_FALSE(rt_weight_find(&c, RT_WEIGHT_HEAD, -1, -1, &w));
    CU_ASSERT_FALSE(rt_weight_find(&c, RT_WEIGHT_EXPERT_UP, 0, 8, &w));
    CU_ASSERT_FALSE(rt_weight_find(&c, RT_WEIGHT_EXPERT_UP, 3, 0, &w));
    CU_ASSERT_FALSE(rt_weight_find(&c, RT_WEIGHT_EXPERT_UP, 0, -1, &w));
    c = small("llama");
    CU_ASSERT_TRUE(rt_weight_find(&c, RT_WEIGHT_FFN_UP, 2, -1, &w));
    CU_ASSERT_STRING_EQUAL(w.name, "model.layers.2.mlp.up_proj.weight");
    CU_ASSERT_FALSE(rt_weight_find(&c, RT_WEIGHT_ROUTER, 0, -1, &w));
}

/* Dense layers of a mixture have the dense names and width; the layers around them keep their experts. */
static void dense_layers_stand_among_mixtures(void) {
    rt_model_config c = small("qwen3_moe");
    rt_weight_spec w;
    c.dense[0] = 2, c.dense_ffn_size = 40;
    int64_t moe = 8 + 1 + 3 * 8, dense = 8 + 3;
    CU_ASSERT_EQUAL(rt_weight_count(&c), 3 + 2 * moe + dense);
    CU_ASSERT_STRING_EQUAL(rt_weight_at(&c, 1 + moe + 8).name, "model.layers.1.mlp.gate_proj.weight");
    CU_ASSERT_EQUAL(rt_weight_at(&c, 1 + moe + 8).dim[0], 40);
    CU_ASSERT_STRING_EQUAL(rt_weight_at(&c, 1 + moe + dense).name, "model.layers.2.input_layernorm.weight");
    CU_ASSERT_STRING_EQUAL(rt_weight_at(&c, 1 + 8).name, "model.layers.0.mlp.gate.weight");
    CU_ASSERT_FALSE(rt_weight_find(&c, RT_WEIGHT_EXPERT_UP, 1, 0, &w));
    CU_ASSERT_FALSE(rt_weight_find(&c, RT_WEIGHT_FFN_UP, 0, -1, &w));
    CU_ASSERT_EQUAL(rt_model_parameters(&c).total, counted(&c));
    CU_ASSERT_EQUAL(rt_model_parameters(&c).total - rt_model_parameters(&c).active, 2 * 6 * 3 * 64 * 12);
}

static void parameters_are_counted(void) {
    for (const char *const *name = rt_arch_names(); *name; name++)
        for (int tie = 0; tie < 2; tie++) {
            rt_model_config c = small(*name);
            c.tie_embeddings = tie;
            rt_param_count p = rt_model_parameters(&c);
            CU_ASSERT_EQUAL(p.total, counted(&c));
            CU_ASSERT_EQUAL(p.total - p.total_body, 512 * 64 * (2 - tie));
            CU_ASSERT_EQUAL(p.total - p.active, c.arch->moe ? 3 * 6 * 3 * 64 * 12 : 0);
            CU_ASSERT_EQUAL(p.total_body - p.active_body, p.total - p.active);
        }
    /* Mixtral-8x7B's model card: 46.7 and 12.9 billion */
    rt_model_config c = rt_model_config_default(rt_arch_find("mixtral"));
    c.vocab_size = 32000, c.hidden_size = 4096, c.layers = 32, c.heads = 32, c.kv_heads = 8, c.head_dim = 128;
    c.ffn_size = 14336, c.experts = 8, c.experts_per_token = 2, c.max_position = 32768;
    rt_param_count p = rt_model_parameters(&c);
    CU_ASSERT_EQUAL(p.total, 46702792704);
    CU_ASSERT_EQUAL(p.active, 12879925248);
}

static void the_largest_sizes_do_not_overflow(void) {
    rt_model_config c = small("mixtral");
    rt_error err = {0};
    c.vocab_size = 1 << 24, c.hidden_size = 1 << 16, c.layers = 1 << 10, c.heads = c.kv_heads = 1 << 10;
    c.head_dim = 1 << 12, c.ffn_size = 1 << 18, c.experts = c.experts_per_token = 1 << 12;
    RT_OK_OR_FAIL(rt_model_config_check(&c, &err));
    CU_ASSERT_TRUE(rt_model_parameters(&c).total > 0 && rt_model_parameters(&c).total < INT64_MAX / 8);
}

static void configurations_are_compared(void) {
    rt_model_config a = small("llama"), b = a;
    CU_ASSERT_TRUE(rt_model_config_equal(&a, &b));
    b.rope.low_freq_factor = 3; /* not read without scaling */
    CU_ASSERT_TRUE(rt_model_config_equal(&a, &b));
    a.rope.kind = b.rope.kind = RT_ROPE_LLAMA3;
    CU_ASSERT_FALSE(rt_model_config_equal(&a, &b));
    b = small("llama"), a = b, b.norm_eps = 1e-6;
    CU_ASSERT_FALSE(rt_model_config_equal(&a, &b));
}

RT_SUITE(model_config) {
    RT_TEST(families_are_found_by_name_and_class);
    RT_TEST(sizes_that_do_not_fit_are_refused);
    RT_TEST(weights_are_listed_in_order_with_shapes);
    RT_TEST(dense_layers_stand_among_mixtures);
    RT_TEST(parameters_are_counted);
    RT_TEST(the_largest_sizes_do_not_overflow);
    RT_TEST(configurations_are_compared);
}
