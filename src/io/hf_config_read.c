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

/* Attention over a window equals full attention as long as no sequence is longer than the window: the model's builder sees to
 * that (model/model.h). */
static rt_status read_window(const rt_json *root, rt_model_config *c, rt_error *err) {
    bool used = c->arch->window == RT_WINDOW_PLAIN;
    if (c->arch->window == RT_WINDOW_SWITCHED && rt_json_has(root, "use_sliding_window"))
        RT_TRY(rt_json_bool(root, "use_sliding_window", &used, err));
    if (!used) return RT_OK;
    c->sliding_window = at(root, "sliding_window").value ? 0 : c->arch->sliding_window; /* null says none */
    return rt_json_has(root, "sliding_window") ? rt_json_int(root, "sliding_window", 1, INT32_MAX, &c->sliding_window, err) : RT_OK;
}

/* -------------------------------------------------------------------- sizes */

typedef struct size {
    const char *key;
    size_t field;
} size;
static rt_status read_list(const rt_json *root, const size *list, size_t count, rt_model_config *c, rt_error *err) {
    for (size_t i = 0; i < count; i++) RT_TRY(rt_json_int(root, list[i].key, 1, INT32_MAX, (int64_t *)((char *)c + list[i].field), err));
    return RT_OK;
}
static const size sizes[] = {{"vocab_size", offsetof(rt_model_config, vocab_size)},
                             {"hidden_size", offsetof(rt_model_config, hidden_size)},
                             {"num_hidden_layers", offsetof(rt_model_config, layers)},
                             {"num_attention_heads", offsetof(rt_model_config, heads)},
                             {"max_position_embeddings", offsetof(rt_model_config, max_position)}};

static rt_status read_heads(const rt_json *root, rt_model_config *c, rt_error *err) {
    c->kv_heads = c->heads;
    if (rt_json_has(root, "num_key_value_heads"))
        RT_TRY(rt_json_int(root, "num_key_value_heads", 1, INT32_MAX, &c->kv_heads, err));
    c->head_dim = c->arch->head_dim ? c->arch->head_dim : c->hidden_size / c->heads;
    if (rt_json_has(root, "head_dim")) return rt_json_int(root, "head_dim", 1, INT32_MAX, &c->head_dim, err);
    if (c->arch->head_dim || c->hidden_size % c->heads == 0) return RT_OK;
    return rt_fail(err, RT_E_INPUT, "%s: hidden_size %lld is not a multiple of num_attention_heads %lld, and there is no head_dim",
                   root->file, (long long)c->hidden_size, (long long)c->heads);
}

/* Which layers of a mixture are dense: those listed, and those that decoder_sparse_step skips. */
static rt_status read_dense_layers(const rt_json *root, rt_model_config *c, rt_error *err) {
    rt_json list, item;
    int64_t step = 1, layer;
    if (rt_json_has(root, "decoder_sparse_step")) RT_TRY(rt_json_int(root, "decoder_sparse_step", 1, INT32_MAX, &step, err));
    for (int64_t l = 0; l < c->layers && l < RT_MAX_LAYERS; l++)
        if ((l + 1) % step) c->dense[l / 64] |= 1ull << (l % 64);
    if (!rt_json_has(root, "mlp_only_layers")) return RT_OK;
    RT_TRY(rt_json_array(root, "mlp_only_layers", &list, err));
    for (size_t i = 0; i < rt_json_count(&list); i++) {
        RT_TRY(rt_json_item(&list, i, JSON_INTEGER, &item, err));
        RT_TRY(rt_json_as_int(&item, 0, c->layers - 1 < RT_MAX_LAYERS - 1 ? c->layers - 1 : RT_MAX_LAYERS - 1, &layer, err));
        c->dense[layer / 64] |= 1ull << (layer % 64);
    }
    return RT_OK;
}
static rt_status read_feed_forward(const rt_json *root, rt_model_config *c, rt_error *err) {
    const rt_arch *a = c->arch;
    if (!a->moe) return rt_json_int(root, "intermediate_size", 1, INT32_MAX, &c->ffn_size, err);
    RT_TRY(rt_json_int(root, a->expert_size_key, 1, INT32_MAX, &c->ffn_size, err));
    RT_TRY(rt_json_int(root, a->experts_key, 1, INT32_MAX, &c->experts, err));
    RT_TRY(rt_json_int(root, "num_experts_per_tok", 1, INT32_MAX, &c->experts_per_token, err));
    if (a->norm_topk_key && rt_json_has(root, a->norm_topk_key)) RT_TRY(rt_json_bool(root, a->norm_topk_key, &c->norm_topk, err));
    if (a->shared_expert) RT_TRY(rt_json_int(root, "shared_expert_intermediate_size", 1, INT32_MAX, &c->shared_size, err));
    if (!a->dense_layers) return RT_OK;
    if (rt_json_has(root, "intermediate_size")) RT_TRY(rt_json_int(root, "intermediate_size", 0, INT32_MAX, &c->dense_ffn_size, err));
    return read_dense_layers(root, c, err);
}

static rt_status read_options(const rt_json *root, rt_model_config *c, rt_error *err) {
    RT_TRY(rt_json_real(root, "rms_norm_eps", &c->norm_eps, err));
    if (c->qkv_bias && rt_json_has(root, "qkv_bias")) RT_TRY(rt_json_bool(root, "qkv_bias", &c->qkv_bias, err));
    if (rt_json_has(root, "tie_word_embeddings"))
        RT_TRY(rt_json_bool(root, "tie_word_embeddings", &c->tie_embeddings, err));
    if (c->arch->moe && rt_json_has(root, "router_aux_loss_coef"))
        RT_TRY(rt_json_real(root, "router_aux_loss_coef", &c->router_aux_coef, err));
    return RT_OK;
}

/* An id, null, or a list of ids whose first is the one that is written; -1 stands for none in old files. An id that the file
 * does not give is the family's, unless this model's vocabulary ends below it: then there is none. */
static rt_status read_id(const rt_json *root, const char *key, int64_t fallback, int64_t *id, rt_error *err) {
    rt_json c = at(root, key), list, first;
    *id = c.value ? -1 : fallback;
    if (!c.value || json_is_null(c.value)) return RT_OK;
    if (!json_is_array(c.value)) return rt_json_as_int(&c, -1, INT32_MAX, id, err);
    RT_TRY(rt_json_array(root, key, &list, err));
    RT_TRY(rt_json_item(&list, 0, JSON_INTEGER, &first, err));
    return rt_json_as_int(&first, 0, INT32_MAX, id, err);
}
static int64_t within(const rt_model_config *c, int64_t id) { return id < c->vocab_size ? id : -1; }
static rt_status read_ids(const rt_json *root, rt_model_config *c, rt_error *err) {
    RT_TRY(read_id(root, "bos_token_id", within(c, c->arch->bos_id), &c->bos_id, err));
    RT_TRY(read_id(root, "eos_token_id", within(c, c->arch->eos_id), &c->eos_id, err));
    return read_id(root, "pad_token_id", within(c, c->arch->pad_id), &c->pad_id, err);
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

/* The object that describes the language model: the root, or a part of it where the file describes more. */
static rt_status find_part(rt_json *levels, const char *const *path, const rt_json **part, rt_error *err) {
    for (; *path; levels++, path++) RT_TRY(rt_json_object(levels, *path, levels + 1, err));
    *part = levels;
    return RT_OK;
}
static rt_status read_all(rt_json *levels, rt_model_config *c, rt_error *err) {
    const rt_arch *arch;
    const rt_json *part;
    RT_TRY(read_family(levels, &arch, err));
    RT_TRY(find_part(levels, arch->config_path, &part, err));
    *c = rt_model_config_default(arch);
    RT_TRY(check_demands(part, err));
    RT_TRY(read_list(part, sizes, sizeof sizes / sizeof *sizes, c, err));
    RT_TRY(read_heads(part, c, err));
    RT_TRY(read_feed_forward(part, c, err));
    RT_TRY(read_options(part, c, err));
    RT_TRY(read_rope(part, c, err));
    RT_TRY(read_ids(part, c, err));
    RT_TRY(read_window(part, c, err));
    rt_error why = {0};
    if (rt_model_config_check(c, &why) == RT_OK) return RT_OK;
    return rt_fail(err, RT_E_INPUT, "%s: %s", levels->file, why.text);
}

rt_status rt_hf_config_read(const char *path, rt_model_config *out, rt_error *err) {
    json_t *value;
    RT_TRY(rt_json_load(path, 1 << 20, &value, err));
    rt_json levels[4] = {rt_json_root(value, path)};
    rt_status status = json_is_object(value) ? read_all(levels, out, err) : rt_json_fail(levels, err, "expected an object");
    json_decref(value);
    return status;
}
