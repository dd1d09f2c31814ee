/* archs.c - the table of families (archs.def) and look-up in it. */
#include <retort/model/config.h>
#include <string.h>

#define LAYER "model.layers.%d."
#define NAMES_COMMON                                                                                                   \
    [RT_WEIGHT_EMBED] = "model.embed_tokens.weight", [RT_WEIGHT_ATTN_NORM] = LAYER "input_layernorm.weight",           \
    [RT_WEIGHT_QUERY] = LAYER "self_attn.q_proj.weight", [RT_WEIGHT_KEY] = LAYER "self_attn.k_proj.weight",            \
    [RT_WEIGHT_VALUE] = LAYER "self_attn.v_proj.weight", [RT_WEIGHT_ATTN_OUT] = LAYER "self_attn.o_proj.weight",       \
    [RT_WEIGHT_FFN_NORM] = LAYER "post_attention_layernorm.weight", [RT_WEIGHT_FINAL_NORM] = "model.norm.weight",      \
    [RT_WEIGHT_HEAD] = "lm_head.weight"
#define NAMES_BIAS                                                                                                     \
    [RT_WEIGHT_QUERY_BIAS] = LAYER "self_attn.q_proj.bias", [RT_WEIGHT_KEY_BIAS] = LAYER "self_attn.k_proj.bias",      \
    [RT_WEIGHT_VALUE_BIAS] = LAYER "self_attn.v_proj.bias"
#define NAMES_QK_NORM                                                                                                  \
    [RT_WEIGHT_QUERY_NORM] = LAYER "self_attn.q_norm.weight", [RT_WEIGHT_KEY_NORM] = LAYER "self_attn.k_norm.weight"
#define NAMES_DENSE                                                                                                    \
    [RT_WEIGHT_FFN_GATE] = LAYER "mlp.gate_proj.weight", [RT_WEIGHT_FFN_UP] = LAYER "mlp.up_proj.weight",              \
    [RT_WEIGHT_FFN_DOWN] = LAYER "mlp.down_proj.weight"
#define EXPERT LAYER "mlp.experts.%d."
#define NAMES_EXPERTS                                                                                                  \
    [RT_WEIGHT_ROUTER] = LAYER "mlp.gate.weight", [RT_WEIGHT_EXPERT_GATE] = EXPERT "gate_proj.weight",                 \
    [RT_WEIGHT_EXPERT_UP] = EXPERT "up_proj.weight", [RT_WEIGHT_EXPERT_DOWN] = EXPERT "down_proj.weight"
#define NAMES_SHARED                                                                                                   \
    [RT_WEIGHT_SHARED_SCORE] = LAYER "mlp.shared_expert_gate.weight",                                                  \
    [RT_WEIGHT_SHARED_GATE] = LAYER "mlp.shared_expert.gate_proj.weight",                                              \
    [RT_WEIGHT_SHARED_UP] = LAYER "mlp.shared_expert.up_proj.weight",                                                  \
    [RT_WEIGHT_SHARED_DOWN] = LAYER "mlp.shared_expert.down_proj.weight"
#define MIXTRAL_EXPERT LAYER "block_sparse_moe.experts.%d."
#define NAMES_MIXTRAL                                                                                                  \
    [RT_WEIGHT_ROUTER] = LAYER "block_sparse_moe.gate.weight", [RT_WEIGHT_EXPERT_GATE] = MIXTRAL_EXPERT "w1.weight",   \
    [RT_WEIGHT_EXPERT_UP] = MIXTRAL_EXPERT "w3.weight", [RT_WEIGHT_EXPERT_DOWN] = MIXTRAL_EXPERT "w2.weight"
#define WEIGHTS(...) .names = {__VA_ARGS__}

static const rt_arch archs[] = {
#define RT_ARCH(id, class, ...) {.name = #id, .hf_class = class, __VA_ARGS__},
#include "archs.def"
#undef RT_ARCH
};
enum { ARCHS = sizeof archs / sizeof *archs };

static const char *const arch_names[ARCHS + 1] = {
#define RT_ARCH(name, ...) #name,
#include "archs.def"
#undef RT_ARCH
};

const char *const *rt_arch_names(void) { return arch_names; }
const rt_arch *rt_arch_find(const char *name) {
    for (int i = 0; i < ARCHS; i++)
        if (strcmp(archs[i].name, name) == 0) return &archs[i];
    return NULL;
}
const rt_arch *rt_arch_find_class(const char *hf_class) {
    for (int i = 0; i < ARCHS; i++)
        if (strcmp(archs[i].hf_class, hf_class) == 0) return &archs[i];
    return NULL;
}
