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
#define NAMES_DENSE                                                                                                    \
    [RT_WEIGHT_FFN_GATE] = LAYER "mlp.gate_proj.weight", [RT_WEIGHT_FFN_UP] = LAYER "mlp.up_proj.weight",              \
    [RT_WEIGHT_FFN_DOWN] = LAYER "mlp.down_proj.weight"
#define MIXTRAL_EXPERT LAYER "block_sparse_moe.experts.%d."
#define NAMES_MIXTRAL                                                                                                  \
    [RT_WEIGHT_ROUTER] = LAYER "block_sparse_moe.gate.weight", [RT_WEIGHT_FFN_GATE] = MIXTRAL_EXPERT "w1.weight",      \
    [RT_WEIGHT_FFN_UP] = MIXTRAL_EXPERT "w3.weight", [RT_WEIGHT_FFN_DOWN] = MIXTRAL_EXPERT "w2.weight"

static const rt_arch archs[] = {
#define RT_ARCH(name, hf_class, moe, norm_topk, theta, window, ...)                                                    \
    {#name, hf_class, moe, norm_topk, theta, window, {__VA_ARGS__}},
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
