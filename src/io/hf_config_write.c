/* hf_config_write.c - rt_model_config -> config.json and generation_config.json. */
#include <retort/base/json.h>
#include <retort/io/hf.h>

static const char *torch_name(rt_dtype t) {
    switch (t) {
    case RT_F64: return "float64";
    case RT_F16: return "float16";
    case RT_BF16: return "bfloat16";
    default: return "float32";
    }
}
static json_t *id_or_null(int64_t id) { return id < 0 ? json_null() : json_integer(id); }

/* jansson's setters refuse NULL, so one answer at the end tells of any allocation that failed on the way. */
typedef struct object {
    json_t *value;
    bool failed;
} object;
static void put(object *o, const char *key, json_t *value) {
    if (json_object_set_new(o->value, key, value) != 0) o->failed = true;
}

static json_t *rope_scaling(const rt_rope_scaling *r) {
    if (r->kind == RT_ROPE_PLAIN) return json_null();
    object o = {.value = json_object()};
    put(&o, "factor", json_real(r->factor));
    if (r->kind == RT_ROPE_LLAMA3) {
        put(&o, "high_freq_factor", json_real(r->high_freq_factor));
        put(&o, "low_freq_factor", json_real(r->low_freq_factor));
        put(&o, "original_max_position_embeddings", json_integer(r->original_max_position));
    }
    put(&o, "rope_type", json_string(r->kind == RT_ROPE_LLAMA3 ? "llama3" : "linear"));
    if (!o.failed) return o.value;
    json_decref(o.value);
    return NULL;
}

static json_t *dense_layers(const rt_model_config *c) {
    json_t *a = json_array();
    for (int64_t l = 0; a && l < c->layers; l++)
        if (!rt_model_mixture(c, l) && json_array_append_new(a, json_integer(l)) != 0) json_decref(a), a = NULL;
    return a;
}
static void put_mixture(object *o, const rt_model_config *c) {
    const rt_arch *a = c->arch;
    put(o, a->experts_key, json_integer(c->experts));
    put(o, a->expert_size_key, json_integer(c->ffn_size));
    put(o, "num_experts_per_tok", json_integer(c->experts_per_token));
    put(o, "output_router_logits", json_false());
    put(o, "router_aux_loss_coef", json_real(c->router_aux_coef));
    if (a->norm_topk_key) put(o, a->norm_topk_key, json_boolean(c->norm_topk));
    else put(o, "router_jitter_noise", json_real(0));
    if (a->shared_expert) put(o, "shared_expert_intermediate_size", json_integer(c->shared_size));
    if (!a->dense_layers) return;
    put(o, "decoder_sparse_step", json_integer(1));
    put(o, "intermediate_size", json_integer(c->dense_ffn_size));
    put(o, "mlp_only_layers", dense_layers(c));
}
static void put_window(object *o, const rt_model_config *c) {
    if (c->arch->window == RT_WINDOW_NONE) return;
    if (c->arch->window == RT_WINDOW_SWITCHED) put(o, "use_sliding_window", json_boolean(c->sliding_window > 0));
    put(o, "sliding_window", c->sliding_window ? json_integer(c->sliding_window) : json_null());
}
static void put_sizes(object *o, const rt_model_config *c) {
    put(o, "attention_bias", json_false());
    put(o, "attention_dropout", json_real(0));
    put(o, "bos_token_id", id_or_null(c->bos_id));
    put(o, "eos_token_id", id_or_null(c->eos_id));
    put(o, "head_dim", json_integer(c->head_dim));
    put(o, "hidden_act", json_string("silu"));
    put(o, "hidden_size", json_integer(c->hidden_size));
    if (c->arch->moe) put_mixture(o, c);
    else put(o, "intermediate_size", json_integer(c->ffn_size));
    put(o, "max_position_embeddings", json_integer(c->max_position));
    put(o, "num_attention_heads", json_integer(c->heads));
    put(o, "num_hidden_layers", json_integer(c->layers));
    put(o, "num_key_value_heads", json_integer(c->kv_heads));
}
static void put_options(object *o, const rt_model_config *c, rt_dtype dtype) {
    put(o, "pad_token_id", id_or_null(c->pad_id));
    if (c->arch->shared_expert && c->arch->names[RT_WEIGHT_QUERY_BIAS]) put(o, "qkv_bias", json_boolean(c->qkv_bias));
    put(o, "rms_norm_eps", json_real(c->norm_eps));
    put(o, "rope_scaling", rope_scaling(&c->rope));
    put(o, "rope_theta", json_real(c->rope_theta));
    put_window(o, c);
    put(o, "tie_word_embeddings", json_boolean(c->tie_embeddings));
    put(o, "torch_dtype", json_string(torch_name(dtype)));
    put(o, "use_cache", json_true());
    put(o, "vocab_size", json_integer(c->vocab_size));
}
/* Where the family describes its language model inside a larger description: {"a": {"b": inner}}. */
static void nest(object *o, const char *const *path, json_t *inner) {
    if (!path[1]) {
        put(o, path[0], inner);
        return;
    }
    object next = {.value = json_object()};
    nest(&next, path + 1, inner);
    o->failed |= next.failed;
    put(o, path[0], next.value);
}

static rt_status save(const char *path, object *o, rt_error *err) {
    rt_status s = o->failed ? rt_fail(err, RT_E_NOMEM, "%s: out of memory", path) : rt_json_save(path, o->value, err);
    json_decref(o->value);
    return s;
}
rt_status rt_hf_config_write(const char *path, const rt_model_config *c, rt_dtype dtype, rt_error *err) {
    object o = {.value = json_object()}, inner = {.value = c->arch->config_path[0] ? json_object() : o.value};
    put_sizes(&inner, c);
    put_options(&inner, c, dtype);
    o.failed = inner.failed;
    if (c->arch->config_path[0]) nest(&o, c->arch->config_path, inner.value);
    put(&o, "architectures", json_pack("[s]", c->arch->hf_class));
    put(&o, "model_type", json_string(c->arch->name));
    return save(path, &o, err);
}
rt_status rt_hf_generation_config_write(const char *path, const rt_model_config *c, rt_error *err) {
    object o = {.value = json_object()};
    put(&o, "_from_model_config", json_true());
    if (c->bos_id >= 0) put(&o, "bos_token_id", json_integer(c->bos_id));
    if (c->eos_id >= 0) put(&o, "eos_token_id", json_integer(c->eos_id));
    if (c->pad_id >= 0) put(&o, "pad_token_id", json_integer(c->pad_id));
    return save(path, &o, err);
}
