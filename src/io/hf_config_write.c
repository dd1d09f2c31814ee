/* hf_config_write.c - rt_model_config -> config.json and generation_config.json, keys in alphabetical order as
 * transformers writes them. */
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

static void put_sizes(object *o, const rt_model_config *c) {
    put(o, "architectures", json_pack("[s]", c->arch->hf_class));
    put(o, "attention_bias", json_false());
    put(o, "attention_dropout", json_real(0));
    put(o, "bos_token_id", id_or_null(c->bos_id));
    put(o, "eos_token_id", id_or_null(c->eos_id));
    put(o, "head_dim", json_integer(c->head_dim));
    put(o, "hidden_act", json_string("silu"));
    put(o, "hidden_size", json_integer(c->hidden_size));
    put(o, "intermediate_size", json_integer(c->ffn_size));
    put(o, "max_position_embeddings", json_integer(c->max_position));
    put(o, "model_type", json_string(c->arch->name));
    put(o, "num_attention_heads", json_integer(c->heads));
    if (c->arch->moe) put(o, "num_experts_per_tok", json_integer(c->experts_per_token));
    put(o, "num_hidden_layers", json_integer(c->layers));
    put(o, "num_key_value_heads", json_integer(c->kv_heads));
    if (c->arch->moe) put(o, "num_local_experts", json_integer(c->experts));
}
static void put_options(object *o, const rt_model_config *c, rt_dtype dtype) {
    if (c->arch->moe) put(o, "output_router_logits", json_false());
    put(o, "pad_token_id", id_or_null(c->pad_id));
    put(o, "rms_norm_eps", json_real(c->norm_eps));
    put(o, "rope_scaling", rope_scaling(&c->rope));
    put(o, "rope_theta", json_real(c->rope_theta));
    if (c->arch->moe) put(o, "router_aux_loss_coef", json_real(c->router_aux_coef));
    if (c->arch->moe) put(o, "router_jitter_noise", json_real(0));
    if (c->arch->sliding_window != RT_NO_KEY) put(o, "sliding_window", json_null());
    put(o, "tie_word_embeddings", json_boolean(c->tie_embeddings));
    put(o, "torch_dtype", json_string(torch_name(dtype)));
    put(o, "use_cache", json_true());
    put(o, "vocab_size", json_integer(c->vocab_size));
}

static rt_status save(const char *path, object *o, rt_error *err) {
    rt_status s = o->failed ? rt_fail(err, RT_E_NOMEM, "%s: out of memory", path) : rt_json_save(path, o->value, err);
    json_decref(o->value);
    return s;
}
rt_status rt_hf_config_write(const char *path, const rt_model_config *c, rt_dtype dtype, rt_error *err) {
    object o = {.value = json_object()};
    put_sizes(&o, c);
    put_options(&o, c, dtype);
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
