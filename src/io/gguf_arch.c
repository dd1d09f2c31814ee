/* gguf_arch.c - the table of architectures (gguf.def), and what a configuration becomes in them. */
#include "io/gguf_arch.h"
#include <retort/io/gguf_model.h>
#include <retort/model/model.h>
#include <string.h>

#define BLK "blk.%d."
#define GGUF_COMMON                                                                                                    \
    [RT_WEIGHT_EMBED] = "token_embd.weight", [RT_WEIGHT_ATTN_NORM] = BLK "attn_norm.weight",                           \
    [RT_WEIGHT_QUERY] = BLK "attn_q.weight", [RT_WEIGHT_KEY] = BLK "attn_k.weight",                                    \
    [RT_WEIGHT_VALUE] = BLK "attn_v.weight", [RT_WEIGHT_ATTN_OUT] = BLK "attn_output.weight",                          \
    [RT_WEIGHT_FFN_NORM] = BLK "ffn_norm.weight", [RT_WEIGHT_FINAL_NORM] = "output_norm.weight",                       \
    [RT_WEIGHT_HEAD] = "output.weight"
#define GGUF_DENSE                                                                                                     \
    [RT_WEIGHT_FFN_GATE] = BLK "ffn_gate.weight", [RT_WEIGHT_FFN_UP] = BLK "ffn_up.weight",                            \
    [RT_WEIGHT_FFN_DOWN] = BLK "ffn_down.weight"
#define GGUF_EXPERTS                                                                                                   \
    [RT_WEIGHT_ROUTER] = BLK "ffn_gate_inp.weight", [RT_WEIGHT_EXPERT_GATE] = BLK "ffn_gate_exps.weight",              \
    [RT_WEIGHT_EXPERT_UP] = BLK "ffn_up_exps.weight", [RT_WEIGHT_EXPERT_DOWN] = BLK "ffn_down_exps.weight"
#define GGUF_SHARED                                                                                                    \
    [RT_WEIGHT_SHARED_SCORE] = BLK "ffn_gate_inp_shexp.weight", [RT_WEIGHT_SHARED_GATE] = BLK "ffn_gate_shexp.weight", \
    [RT_WEIGHT_SHARED_UP] = BLK "ffn_up_shexp.weight", [RT_WEIGHT_SHARED_DOWN] = BLK "ffn_down_shexp.weight"
#define GGUF_BIAS                                                                                                      \
    [RT_WEIGHT_QUERY_BIAS] = BLK "attn_q.bias", [RT_WEIGHT_KEY_BIAS] = BLK "attn_k.bias",                              \
    [RT_WEIGHT_VALUE_BIAS] = BLK "attn_v.bias"
#define GGUF_QK_NORM [RT_WEIGHT_QUERY_NORM] = BLK "attn_q_norm.weight", [RT_WEIGHT_KEY_NORM] = BLK "attn_k_norm.weight"

static const gguf_arch archs[] = {
#define GGUF_ARCH(family, architecture, interleaved, norm_topk, ...)                                                           \
    {#family, architecture, interleaved, norm_topk, {__VA_ARGS__}},
#include "gguf.def"
#undef GGUF_ARCH
};
enum { ARCHS = sizeof archs / sizeof *archs };

const gguf_arch *rt_gguf_arch_of(const char *family) {
    for (int i = 0; i < ARCHS; i++)
        if (strcmp(archs[i].family, family) == 0) return &archs[i];
    return NULL;
}
const gguf_arch *rt_gguf_arch_named(const char *architecture, size_t n, bool moe) {
    for (int i = 0; i < ARCHS; i++) {
        const gguf_arch *a = &archs[i];
        if (strlen(a->architecture) == n && memcmp(a->architecture, architecture, n) == 0 && rt_arch_find(a->family)->moe == moe) return a;
    }
    return NULL;
}

/* ------------------------------------------------------------ configuration */

void rt_gguf_rope_factors(const rt_model_config *c, float *factor) {
    double plain[RT_GGUF_MAX_HALF_HEAD], scaled[RT_GGUF_MAX_HALF_HEAD];
    rt_model_config without = *c;
    without.rope.kind = RT_ROPE_PLAIN;
    rt_rope_frequencies(&without, plain);
    rt_rope_frequencies(c, scaled);
    for (int64_t i = 0; i < c->head_dim / 2; i++) factor[i] = (float)(plain[i] / scaled[i]);
}

/* What a file's f32 is read as. */
static double as_f32(double x) {
    float f = (float)x;
    rt_gguf_value v = {.kind = RT_GGUF_F32, .count = 1, .data = (const unsigned char *)&f};
    double held = x;
    return rt_gguf_real(&v, &held) ? held : x;
}
/* The architecture's tensors are those of the model, none more, none less. */
static rt_status check_kinds(const rt_model_config *c, const gguf_arch *a, rt_error *err) {
    bool met[RT_WEIGHT_KINDS] = {false};
    for (int64_t i = 0; i < rt_weight_count(c); i++) met[rt_weight_at(c, i).kind] = true;
    for (int k = 0; k < RT_WEIGHT_KINDS; k++) {
        const char *what = rt_weight_kind_text((rt_weight_kind)k);
        if (met[k] && !a->names[k])
            return rt_fail(err, RT_E_UNSUPPORTED, "this %s model has the weight '%s', for which GGUF's %s has no tensor", c->arch->name, what, a->architecture);
        if (!met[k] && a->names[k] && k != RT_WEIGHT_HEAD)
            return rt_fail(err, RT_E_UNSUPPORTED, "this %s model has no weight '%s', which GGUF's %s asks for", c->arch->name, what, a->architecture);
    }
    return RT_OK;
}
static rt_status unknown(const rt_model_config *c, rt_error *err) {
    rt_buf b = {0};
    for (int i = 0; i < ARCHS; i++) rt_buf_printf(&b, "%s%s", i ? ", " : "", archs[i].family);
    rt_status s = rt_fail(err, RT_E_UNSUPPORTED, "a %s model cannot be written as GGUF, only: %s", c->arch->name, b.data ? b.data : "");
    rt_buf_free(&b);
    return s;
}
rt_status rt_gguf_config(const rt_model_config *c, const rt_tokenizer *t, rt_model_config *held, rt_error *err) {
    const gguf_arch *a = rt_gguf_arch_of(c->arch->name);
    if (!a) return unknown(c, err);
    RT_TRY(check_kinds(c, a, err));
    if (c->experts && c->norm_topk != a->norm_topk)
        return rt_fail(err, RT_E_UNSUPPORTED, "this %s model's chosen probabilities are %smade to sum to 1; for GGUF's %s llama.cpp computes only the other", c->arch->name,
                       c->norm_topk ? "" : "not ", a->architecture);
    *held = *c;
    held->arch = rt_arch_find(rt_gguf_arch_named(a->architecture, strlen(a->architecture), c->arch->moe)->family);
    held->norm_eps = as_f32(c->norm_eps);
    held->rope_theta = as_f32(c->rope_theta);
    if (c->rope.kind == RT_ROPE_LINEAR) held->rope.factor = as_f32(c->rope.factor);
    held->max_position = rt_model_longest(c); /* the format's readers compute full attention for these */
    held->sliding_window = held->dense_ffn_size = 0;
    held->router_aux_coef = 0;
    if (t) rt_gguf_special_ids(t, c, &held->bos_id, &held->eos_id);
    return RT_OK;
}
