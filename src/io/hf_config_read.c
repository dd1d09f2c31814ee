/* hf_config_read.c - config.json -> rt_model_config.
 *
 * Three tables: families (by class and model_type), sizes (key -> field), and demands: keys whose value must be the one
 * that is computed here, each with what it would mean otherwise. Keys that change nothing in a forward pass are skipped. */
#include <retort/base/json.h>
#include <retort/io/hf.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

static rt_json at(const rt_json *object, const char *key) {
    return (rt_json){json_object_get(object->value, key), object->file, object, key, 0};
}
static rt_status unsupported(const rt_json *object, const char *key, const char *what, rt_error *err) {
    rt_buf b = {0};
    rt_json_dump(json_object_get(object->value, key), 0, &b);
    rt_status s = rt_fail(err, RT_E_UNSUPPORTED, "%s: %s: found %.60s, %s", object->file, key, b.data ? b.data : "?", what);
    rt_buf_free(&b);
    return s;
}

/* ----------------------------------------------------------------- families */

static rt_status unknown_family(const rt_json *root, const char *key, const char *name, rt_error *err) {
    const char *near = rt_nearest(name, rt_arch_names());
    char list[160] = "";
    for (const char *const *n = rt_arch_names(); *n; n++)
        snprintf(list + strlen(list), sizeof list - strlen(list), "%s%s", *list ? ", " : "", *n);
    return rt_fail(err, RT_E_UNSUPPORTED, "%s: %s: found %.60s, expected one of %s%s%s%s", root->file, key, name, list,
                   near ? " (did you mean " : "", near ? near : "", near ? "?)" : "");
}
static rt_status read_family(const rt_json *root, const rt_arch **arch, rt_error *err) {
    rt_json classes, first;
    const char *name;
    RT_TRY(rt_json_string(root, "model_type", &name, err));
    if (!(*arch = rt_arch_find(name))) return unknown_family(root, "model_type", name, err);
    if (!rt_json_has(root, "architectures")) return RT_OK;
    RT_TRY(rt_json_array(root, "architectures", &classes, err));
    RT_TRY(rt_json_item(&classes, 0, JSON_STRING, &first, err));
    name = json_string_value(first.value);
    if (strcmp(name, (*arch)->hf_class) == 0) return RT_OK;
    return rt_fail(err, RT_E_UNSUPPORTED, "%s: architectures: found %.60s, expected %s (model_type is %s)", root->file, name,
                   (*arch)->hf_class, (*arch)->name);
}

/* ------------------------------------------------------------------ demands */

static const struct {
    const char *key;
    const char *expected; /* as JSON text; absent or null always passes */
    const char *reason;
} demands[] = {
    {"hidden_act", "\"silu\"", "expected \"silu\" (the only activation)"},
    {"attention_bias", "false", "expected false (projections have no bias)"},
    {"mlp_bias", "false", "expected false (projections have no bias)"},
    {"partial_rotary_factor", "1.0", "expected 1.0 (whole heads are rotated)"},
    {"quantization_config", "", "expected none (weights are f32, f16 or bf16)"},
    {"clip_qkv", "", "expected null (nothing is clipped)"},
    {"is_encoder_decoder", "false", "expected false (decoders only)"},
};
static bool is_text(const json_t *v, const char *text) {
    if (json_is_true(v) || json_is_false(v)) return strcmp(json_is_true(v) ? "true" : "false", text) == 0;
    if (json_is_number(v)) return strcmp(text, "1.0") == 0 && json_number_value(v) == 1;
    size_t n = strlen(text);
    return json_is_string(v) && n == json_string_length(v) + 2 && memcmp(text + 1, json_string_value(v), n - 2) == 0;
}
static rt_status check_demands(const rt_json *root, rt_error *err) {
    for (size_t i = 0; i < sizeof demands / sizeof *demands; i++) {
        if (!rt_json_has(root, demands[i].key)) continue;
        if (!is_text(json_object_get(root->value, demands[i].key), demands[i].expected))
            return unsupported(root, demands[i].key, demands[i].reason, err);
    }
    return RT_OK;
}

/* Attention over a window equals full attention as long as no sequence is longer than the window. */
static rt_status check_window(const rt_json *root, const rt_model_config *c, rt_error *err) {
    int64_t window = c->arch->sliding_window;
    if (window == RT_NO_KEY) return RT_OK;
    if (rt_json_has(root, "sliding_window")) RT_TRY(rt_json_int(root, "sliding_window", 1, INT64_MAX, &window, err));
    else if (json_object_get(root->value, "sliding_window")) window = 0;
    if (window == 0 || window >= c->max_position) return RT_OK;
    return rt_fail(err, RT_E_UNSUPPORTED, "%s: sliding_window: found %lld, expected null or at least max_position_embeddings "
                   "(%lld): only full attention is computed", root->file, (long long)window, (long long)c->max_position);
}

/* -------------------------------------------------------------------- sizes */

static const struct {
    const char *key;
    size_t field;
    bool moe; /* asked of mixtures only */
} sizes[] = {
    {"vocab_size", offsetof(rt_model_config, vocab_size), false},
    {"hidden_size", offsetof(rt_model_config, hidden_size), false},
    {"num_hidden_layers", offsetof(rt_model_config, layers), false},
    {"num_attention_heads", offsetof(rt_model_config, heads), false},
    {"intermediate_size", offsetof(rt_model_config, ffn_size), false},
    {"max_position_embeddings", offsetof(rt_model_config, max_position), false},
    {"num_local_experts", offsetof(rt_model_config, experts), true},
    {"num_experts_per_tok", offsetof(rt_model_config, experts_per_token), true},
};
static rt_status read_sizes(const rt_json *root, rt_model_config *c, rt_error *err) {
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        if (sizes[i].moe && !c->arch->moe) continue;
        RT_TRY(rt_json_int(root, sizes[i].key, 1, INT32_MAX, (int64_t *)((char *)c + sizes[i].field), err));
    }
    c->kv_heads = c->heads;
    if (rt_json_has(root, "num_key_value_heads"))
        RT_TRY(rt_json_int(root, "num_key_value_heads", 1, INT32_MAX, &c->kv_heads, err));
    c->head_dim = c->hidden_size / c->heads;
    if (rt_json_has(root, "head_dim")) return rt_json_int(root, "head_dim", 1, INT32_MAX, &c->head_dim, err);
    if (c->hidden_size % c->heads == 0) return RT_OK;
    return rt_fail(err, RT_E_INPUT, "%s: hidden_size %lld is not a multiple of num_attention_heads %lld, and there is no head_dim",
                   root->file, (long long)c->hidden_size, (long long)c->heads);
}

static rt_status read_options(const rt_json *root, rt_model_config *c, rt_error *err) {
    RT_TRY(rt_json_real(root, "rms_norm_eps", &c->norm_eps, err));
    if (rt_json_has(root, "tie_word_embeddings"))
        RT_TRY(rt_json_bool(root, "tie_word_embeddings", &c->tie_embeddings, err));
    if (c->arch->moe && rt_json_has(root, "router_aux_loss_coef"))
        RT_TRY(rt_json_real(root, "router_aux_loss_coef", &c->router_aux_coef, err));
    return RT_OK;
}

/* An id, null, or a list of ids whose first is the one that is written; -1 stands for none in old files. */
static rt_status read_id(const rt_json *root, const char *key, int64_t fallback, int64_t *id, rt_error *err) {
    rt_json c = at(root, key), list, first;
    *id = c.value ? -1 : fallback;
    if (!c.value || json_is_null(c.value)) return RT_OK;
    if (!json_is_array(c.value)) return rt_json_as_int(&c, -1, INT32_MAX, id, err);
    RT_TRY(rt_json_array(root, key, &list, err));
    RT_TRY(rt_json_item(&list, 0, JSON_INTEGER, &first, err));
    return rt_json_as_int(&first, 0, INT32_MAX, id, err);
}
static rt_status read_ids(const rt_json *root, rt_model_config *c, rt_error *err) {
    RT_TRY(read_id(root, "bos_token_id", 1, &c->bos_id, err)); /* transformers' defaults for these families */
    RT_TRY(read_id(root, "eos_token_id", 2, &c->eos_id, err));
    return read_id(root, "pad_token_id", -1, &c->pad_id, err);
}

/* --------------------------------------------------------------------- rope */

static rt_status read_llama3(const rt_json *o, rt_rope_scaling *r, rt_error *err) {
    r->kind = RT_ROPE_LLAMA3;
    RT_TRY(rt_json_real(o, "low_freq_factor", &r->low_freq_factor, err));
    RT_TRY(rt_json_real(o, "high_freq_factor", &r->high_freq_factor, err));
    return rt_json_int(o, "original_max_position_embeddings", 1, INT32_MAX, &r->original_max_position, err);
}
static rt_status read_scaling(const rt_json *o, rt_rope_scaling *r, rt_error *err) {
    const char *key = rt_json_has(o, "rope_type") ? "rope_type" : "type", *kind;
    RT_TRY(rt_json_string(o, key, &kind, err));
    if (strcmp(kind, "default") == 0) return RT_OK;
    bool llama3 = strcmp(kind, "llama3") == 0;
    if (!llama3 && strcmp(kind, "linear") != 0) return unsupported(o, key, "expected default, linear or llama3", err);
    r->kind = RT_ROPE_LINEAR;
    RT_TRY(rt_json_real(o, "factor", &r->factor, err));
    return llama3 ? read_llama3(o, r, err) : RT_OK;
}
/* transformers 5 moved rope_theta and rope_scaling into rope_parameters. */
static rt_status read_rope(const rt_json *root, rt_model_config *c, rt_error *err) {
    rt_json o;
    if (rt_json_has(root, "rope_theta")) RT_TRY(rt_json_real(root, "rope_theta", &c->rope_theta, err));
    const char *key = rt_json_has(root, "rope_parameters") ? "rope_parameters" : "rope_scaling";
    if (!rt_json_has(root, key)) return RT_OK;
    RT_TRY(rt_json_object(root, key, &o, err));
    if (rt_json_has(&o, "rope_theta")) RT_TRY(rt_json_real(&o, "rope_theta", &c->rope_theta, err));
    return read_scaling(&o, &c->rope, err);
}

/* ---------------------------------------------------------------------- all */

static rt_status read_all(const rt_json *root, rt_model_config *c, rt_error *err) {
    const rt_arch *arch;
    RT_TRY(read_family(root, &arch, err));
    *c = rt_model_config_default(arch);
    RT_TRY(check_demands(root, err));
    RT_TRY(read_sizes(root, c, err));
    RT_TRY(read_options(root, c, err));
    RT_TRY(read_rope(root, c, err));
    RT_TRY(read_ids(root, c, err));
    RT_TRY(check_window(root, c, err));
    rt_error why = {0};
    if (rt_model_config_check(c, &why) == RT_OK) return RT_OK;
    return rt_fail(err, RT_E_INPUT, "%s: %s", root->file, why.text);
}

rt_status rt_hf_config_read(const char *path, rt_model_config *out, rt_error *err) {
    json_t *value;
    RT_TRY(rt_json_load(path, 1 << 20, &value, err));
    rt_json root = rt_json_root(value, path);
    rt_status status = json_is_object(value) ? read_all(&root, out, err) : rt_json_fail(&root, err, "expected an object");
    json_decref(value);
    return status;
}
