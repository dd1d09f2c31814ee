/* gguf_model_read.c - a GGUF file as a model: metadata to configuration, tensors to weights as the computation wants them.
 *
 * It shares the table of names with the writer, nothing else: rows are put back in order by its own rule, and whatever the file
 * asks for that is not computed here is refused by key. */
#include "io/gguf_arch.h"
#include <retort/io/gguf_model.h>
#include <retort/model/weights.h>
#include <stdio.h>
#include <string.h>

struct rt_gguf_model {
    rt_gguf *file;
    const gguf_arch *arch;
    rt_model_config config;
    rt_arena arena;
    rt_tensor *weights;
    void **copies;
    int64_t copy_count, used; /* used: tensors of the file that are weights */
    int64_t dense_size;       /* feed_forward_length of a mixture */
    rt_dtype role[RT_ROLE_COUNT];
};
static rt_status nomem(const rt_gguf_model *m, rt_error *err) { return rt_fail(err, RT_E_NOMEM, "%s: out of memory", rt_gguf_path(m->file)); }

/* ------------------------------------------------------------ configuration */

static const rt_gguf_value *find(const rt_gguf_model *m, const char *name, char key[96]) {
    snprintf(key, 96, "%s.%s", m->arch->architecture, name);
    return rt_gguf_find(m->file, key);
}
static rt_status bad(const rt_gguf_model *m, const char *key, const char *expected, rt_error *err) {
    return rt_fail(err, RT_E_INPUT, "%s: %s: expected %s", rt_gguf_path(m->file), key, expected);
}
/* A size; absent, *out stays if it is not 0 (a default). */
static rt_status size(const rt_gguf_model *m, const char *name, int64_t *out, rt_error *err) {
    char key[96];
    const rt_gguf_value *v = find(m, name, key);
    if (!v && *out) return RT_OK;
    if (!v) return rt_fail(err, RT_E_INPUT, "%s: %s is missing", rt_gguf_path(m->file), key);
    if (v->kind == RT_GGUF_ARRAY) return rt_fail(err, RT_E_UNSUPPORTED, "%s: %s differs by layer, which is not computed here", rt_gguf_path(m->file), key);
    return rt_gguf_int(v, out) && *out >= 1 && *out <= INT32_MAX ? RT_OK : bad(m, key, "a number from 1 up", err);
}
static rt_status real(const rt_gguf_model *m, const char *name, double *out, rt_error *err) {
    char key[96];
    const rt_gguf_value *v = find(m, name, key);
    return !v || rt_gguf_real(v, out) ? RT_OK : bad(m, key, "an f32", err);
}
static rt_status id(const rt_gguf_model *m, const char *key, int64_t *out, rt_error *err) {
    const rt_gguf_value *v = rt_gguf_find(m->file, key);
    *out = -1;
    return !v || (rt_gguf_int(v, out) && *out >= 0 && *out < m->config.vocab_size) ? RT_OK : bad(m, key, "an id of the vocabulary", err);
}

static rt_status read_sizes(rt_gguf_model *m, rt_error *err) {
    rt_model_config *c = &m->config;
    RT_TRY(size(m, "context_length", &c->max_position, err));
    RT_TRY(size(m, "embedding_length", &c->hidden_size, err));
    RT_TRY(size(m, "block_count", &c->layers, err));
    RT_TRY(size(m, "attention.head_count", &c->heads, err));
    c->kv_heads = c->heads;
    RT_TRY(size(m, "attention.head_count_kv", &c->kv_heads, err));
    c->head_dim = c->hidden_size / c->heads;
    int64_t value_length;
    RT_TRY(size(m, "attention.key_length", &c->head_dim, err));
    value_length = c->head_dim;
    RT_TRY(size(m, "attention.value_length", &value_length, err));
    if (value_length != c->head_dim)
        return rt_fail(err, RT_E_UNSUPPORTED, "%s: keys of %lld and values of %lld", rt_gguf_path(m->file), (long long)c->head_dim, (long long)value_length);
    RT_TRY(size(m, "feed_forward_length", &c->ffn_size, err));
    return real(m, "attention.layer_norm_rms_epsilon", &c->norm_eps, err);
}
static rt_status read_experts(rt_gguf_model *m, rt_error *err) {
    rt_model_config *c = &m->config;
    char key[96];
    int64_t gating = 1, norm = m->arch->norm_topk;
    const rt_gguf_value *v;
    if (!c->arch->moe) return RT_OK;
    RT_TRY(size(m, "expert_count", &c->experts, err));
    RT_TRY(size(m, "expert_used_count", &c->experts_per_token, err));
    m->dense_size = c->ffn_size;
    RT_TRY(size(m, "expert_feed_forward_length", &c->ffn_size, err));
    if ((v = find(m, "expert_gating_func", key)) && (!rt_gguf_int(v, &gating) || gating != 1)) return bad(m, key, "1 (softmax)", err);
    c->norm_topk = m->arch->norm_topk;
    if ((v = find(m, "expert_weights_norm", key)) && (!rt_gguf_int(v, &norm) || norm != c->norm_topk))
        return bad(m, key, c->norm_topk ? "true: llama.cpp computes nothing else for it" : "false: llama.cpp computes nothing else for it", err);
    if (m->arch->names[RT_WEIGHT_SHARED_GATE]) {
        c->shared_size = m->dense_size;
        RT_TRY(size(m, "expert_shared_feed_forward_length", &c->shared_size, err));
    }
    return RT_OK;
}

static rt_status read_llama3(rt_gguf_model *m, rt_error *err) {
    static const char *const missing = RT_GGUF_LLAMA3 "*: the numbers of the rule behind " RT_GGUF_ROPE_FREQS;
    rt_rope_scaling *r = &m->config.rope;
    r->kind = RT_ROPE_LLAMA3;
    if (rt_gguf_real(rt_gguf_find(m->file, RT_GGUF_LLAMA3 "factor"), &r->factor) &&
        rt_gguf_real(rt_gguf_find(m->file, RT_GGUF_LLAMA3 "low_freq_factor"), &r->low_freq_factor) &&
        rt_gguf_real(rt_gguf_find(m->file, RT_GGUF_LLAMA3 "high_freq_factor"), &r->high_freq_factor) &&
        rt_gguf_int(rt_gguf_find(m->file, RT_GGUF_LLAMA3 "original_context_length"), &r->original_max_position))
        return RT_OK;
    return rt_fail(err, RT_E_UNSUPPORTED, "%s: needs the keys %s", rt_gguf_path(m->file), missing);
}
static rt_status read_rope(rt_gguf_model *m, rt_error *err) {
    rt_model_config *c = &m->config;
    char key[96];
    const char *text;
    size_t n;
    int64_t turned = c->head_dim;
    RT_TRY(real(m, "rope.freq_base", &c->rope_theta, err));
    RT_TRY(size(m, "rope.dimension_count", &turned, err));
    if (turned != c->head_dim)
        return rt_fail(err, RT_E_UNSUPPORTED, "%s: rope over %lld of %lld numbers of a head", rt_gguf_path(m->file), (long long)turned, (long long)c->head_dim);
    if (rt_gguf_tensor_find(m->file, RT_GGUF_ROPE_FREQS)) return read_llama3(m, err);
    const rt_gguf_value *v = find(m, "rope.scaling.type", key);
    if (!v || (rt_gguf_text(v, &text, &n) && n == 4 && memcmp(text, "none", 4) == 0)) return RT_OK;
    if (!rt_gguf_text(v, &text, &n) || n != 6 || memcmp(text, "linear", 6) != 0) return bad(m, key, "none or linear", err);
    c->rope.kind = RT_ROPE_LINEAR;
    return real(m, "rope.scaling.factor", &c->rope.factor, err);
}

static rt_status read_arch(rt_gguf_model *m, rt_error *err) {
    const char *text;
    size_t n;
    char key[128];
    int64_t experts = 0;
    if (!rt_gguf_text(rt_gguf_find(m->file, "general.architecture"), &text, &n)) return bad(m, "general.architecture", "a text", err);
    if (n > 64) n = 64;
    snprintf(key, sizeof key, "%.*s.expert_count", (int)n, text);
    rt_gguf_int(rt_gguf_find(m->file, key), &experts);
    m->arch = rt_gguf_arch_named(text, n, experts > 0);
    if (m->arch) return m->config = rt_model_config_default(rt_arch_find(m->arch->family)), RT_OK;
    bool plain = true;
    for (size_t i = 0; i < n; i++) plain &= text[i] >= 0x20 && text[i] != 0x7f;
    return rt_fail(err, RT_E_UNSUPPORTED, "%s: general.architecture %.*s%s is not computed here", rt_gguf_path(m->file), plain ? (int)n : 0, text,
                   experts ? " with experts" : "");
}
/* What would change the computation: only these values leave it as it is. */
static rt_status check_demands(const rt_gguf_model *m, rt_error *err) {
    static const struct {
        const char *key;
        double neutral[2];
    } demands[] = {{"expert_weights_scale", {0, 1}},   {"expert_group_count", {0, 1}},          {"leading_dense_block_count", {0, 0}},
                   {"logit_scale", {0, 1}},            {"residual_scale", {0, 1}},              {"embedding_scale", {0, 1}},
                   {"attn_logit_softcapping", {0, 0}}, {"final_logit_softcapping", {0, 0}},     {"attention.clamp_kqv", {0, 0}},
                   {"attention.scale", {0, 0}},        {"attention.max_alibi_bias", {0, 0}},    {"attention.causal", {1, 1}},
                   {"nextn_predict_layers", {0, 0}},   {"rope.scaling.attn_factor", {0, 1}}};
    for (size_t i = 0; i < sizeof demands / sizeof *demands; i++) {
        char key[96];
        int64_t n;
        double x;
        const rt_gguf_value *v = find(m, demands[i].key, key);
        if (!v) continue;
        if (rt_gguf_int(v, &n)) x = (double)n;
        else if (!rt_gguf_real(v, &x)) return bad(m, key, "a number", err);
        if (x != demands[i].neutral[0] && x != demands[i].neutral[1])
            return rt_fail(err, RT_E_UNSUPPORTED, "%s: %s is %g, expected %g: nothing else is computed here", rt_gguf_path(m->file), key, x, demands[i].neutral[1]);
    }
    return RT_OK;
}
static rt_status read_config(rt_gguf_model *m, rt_error *err) {
    RT_TRY(read_arch(m, err));
    RT_TRY(check_demands(m, err));
    RT_TRY(read_sizes(m, err));
    RT_TRY(read_experts(m, err));
    RT_TRY(read_rope(m, err));
    const rt_gguf_tensor *table = rt_gguf_tensor_find(m->file, m->arch->names[RT_WEIGHT_EMBED]);
    if (!table || table->ndim != 2) return rt_fail(err, RT_E_INPUT, "%s: tensor %s is missing", rt_gguf_path(m->file), m->arch->names[RT_WEIGHT_EMBED]);
    m->config.vocab_size = table->dim[0];
    m->config.tie_embeddings = !rt_gguf_tensor_find(m->file, m->arch->names[RT_WEIGHT_HEAD]);
    RT_TRY(id(m, "tokenizer.ggml.bos_token_id", &m->config.bos_id, err));
    RT_TRY(id(m, "tokenizer.ggml.eos_token_id", &m->config.eos_id, err));
    RT_TRY(id(m, "tokenizer.ggml.padding_token_id", &m->config.pad_id, err));
    rt_error why = {0};
    if (rt_model_config_check(&m->config, &why) == RT_OK) return RT_OK;
    return rt_fail(err, RT_E_INPUT, "%s: %s", rt_gguf_path(m->file), why.text);
}
/* The factors in the file must be those of the rule. */
static rt_status check_factors(const rt_gguf_model *m, rt_error *err) {
    float expected[RT_GGUF_MAX_HALF_HEAD], found[RT_GGUF_MAX_HALF_HEAD];
    const rt_gguf_tensor *t = rt_gguf_tensor_find(m->file, RT_GGUF_ROPE_FREQS);
    int64_t half = m->config.head_dim / 2;
    if (!t) return RT_OK;
    rt_gguf_rope_factors(&m->config, expected);
    if (t->type == RT_GGUF_TYPE_F32 && t->ndim == 1 && t->dim[0] == half && rt_gguf_load(t, 0, half, found) &&
        memcmp(found, expected, (size_t)half * sizeof *found) == 0)
        return RT_OK;
    return rt_fail(err, RT_E_INPUT, "%s: %s does not hold the factors of the llama3 rule", rt_gguf_path(m->file), t->name);
}

/* ------------------------------------------------------------------ weights */

static rt_dtype dtype_of(const rt_gguf_tensor *t) { return t->type == RT_GGUF_TYPE_F16 ? RT_F16 : t->type == RT_GGUF_TYPE_BF16 ? RT_BF16 : RT_F32; }
/* One dtype a role (infer/frozen.h): f32 where the file's differ, as biases beside half matrices do, or are in blocks. */
static void note_dtype(rt_gguf_model *m, rt_weight_kind k, const rt_gguf_tensor *t) {
    rt_dtype *role = &m->role[rt_weight_role(k)];
    *role = *role == RT_NONE || *role == dtype_of(t) ? dtype_of(t) : RT_F32;
}
static rt_status check_tensor(const rt_gguf_model *m, const rt_gguf_tensor *t, const rt_weight_spec *s, rt_error *err) {
    int lead = s->expert >= 0;
    bool fits = t->ndim == s->ndim + lead && (!lead || t->dim[0] == m->config.experts);
    for (int i = 0; fits && i < s->ndim; i++) fits = t->dim[lead + i] == s->dim[i];
    if (!fits) return rt_fail(err, RT_E_INPUT, "%s: tensor %s has not the sizes that the metadata says", rt_gguf_path(m->file), t->name);
    float one[RT_Q8_0_BLOCK];
    if (rt_gguf_load(t, 0, rt_gguf_type_find((uint32_t)t->type)->block, one)) return RT_OK;
    return rt_fail(err, RT_E_UNSUPPORTED, "%s: tensor %s is %s, expected F32, F16, BF16 or Q8_0", rt_gguf_path(m->file), t->name,
                   rt_gguf_type_find((uint32_t)t->type)->name);
}
/* Rows that stand in pairs, one of each half of a head, go back to their halves. */
static bool reordered(const rt_gguf_model *m, rt_weight_kind k) { return m->arch->interleaved && (k == RT_WEIGHT_QUERY || k == RT_WEIGHT_KEY); }
static int64_t row_in_file(int64_t head_dim, int64_t row) {
    int64_t head = row / head_dim, half = row % head_dim / (head_dim / 2), pair = row % (head_dim / 2);
    return head * head_dim + 2 * pair + half;
}
static void copy_rows(const rt_gguf_model *m, const rt_gguf_tensor *t, int64_t first, const rt_weight_spec *s, rt_tensor *to) {
    int64_t columns = s->ndim == 2 ? s->dim[1] : 1, rows = s->dim[0];
    bool back = reordered(m, s->kind), widen = to->dtype == RT_F32;
    size_t bytes = (size_t)columns * rt_dtype_size(to->dtype);
    if (s->ndim == 1 && !back) columns = rows, rows = 1, bytes *= (size_t)columns; /* blocks run along it */
    for (int64_t r = 0; r < rows; r++) {
        int64_t at = first + (back ? row_in_file(m->config.head_dim, r) : r) * columns;
        char *out = (char *)to->data + (size_t)r * bytes;
        if (widen) rt_gguf_load(t, at, columns, (float *)(void *)out);
        else memcpy(out, (const char *)t->data + (size_t)at * rt_dtype_size(to->dtype), bytes);
    }
}
static rt_status find_weight(const rt_gguf_model *m, const rt_weight_spec *s, const rt_gguf_tensor **t, rt_error *err) {
    char name[RT_WEIGHT_NAME];
    snprintf(name, sizeof name, m->arch->names[s->kind], s->layer);
    *t = rt_gguf_tensor_find(m->file, name);
    return *t ? RT_OK : rt_fail(err, RT_E_INPUT, "%s: tensor %s is missing", rt_gguf_path(m->file), name);
}
static rt_status meet_weight(rt_gguf_model *m, int64_t i, rt_error *err) {
    rt_weight_spec s = rt_weight_at(&m->config, i);
    const rt_gguf_tensor *t;
    if (s.expert > 0) return RT_OK; /* in the tensor of the first */
    RT_TRY(find_weight(m, &s, &t, err));
    RT_TRY(check_tensor(m, t, &s, err));
    note_dtype(m, s.kind, t);
    m->used++;
    return RT_OK;
}
static rt_status set_weight(rt_gguf_model *m, int64_t i, rt_error *err) {
    rt_weight_spec s = rt_weight_at(&m->config, i);
    const rt_gguf_tensor *t;
    RT_TRY(find_weight(m, &s, &t, err));
    rt_tensor *w = &m->weights[i];
    *w = rt_tensor_make(m->role[rt_weight_role(s.kind)], s.ndim, s.dim, NULL);
    int64_t first = s.expert > 0 ? s.expert * rt_tensor_count(w) : 0;
    bool as_it_lies = !reordered(m, s.kind) && t->type != RT_GGUF_TYPE_Q8_0 && dtype_of(t) == w->dtype;
    if (as_it_lies) return w->data = (char *)(uintptr_t)t->data + (size_t)first * rt_dtype_size(w->dtype), RT_OK;
    if (!(w->data = rt_alloc(rt_tensor_bytes(w)))) return nomem(m, err);
    m->copies[m->copy_count++] = w->data;
    copy_rows(m, t, first, &s, w);
    return RT_OK;
}
static rt_status check_leftovers(const rt_gguf_model *m, rt_error *err) {
    int64_t known = m->used + (rt_gguf_tensor_find(m->file, RT_GGUF_ROPE_FREQS) != NULL);
    if (known == rt_gguf_count(m->file)) return RT_OK;
    return rt_fail(err, RT_E_INPUT, "%s: holds %lld tensors, of which %lld are explained by its metadata", rt_gguf_path(m->file),
                   (long long)rt_gguf_count(m->file), (long long)known);
}
static rt_status read_weights(rt_gguf_model *m, rt_error *err) {
    size_t n = (size_t)rt_weight_count(&m->config);
    if ((int64_t)n / (m->config.experts ? m->config.experts : 1) > 4 * rt_gguf_count(m->file)) /* before room is made for so many */
        return rt_fail(err, RT_E_INPUT, "%s: holds too few tensors for its metadata", rt_gguf_path(m->file));
    m->weights = rt_arena_alloc(&m->arena, rt_array_bytes(n, sizeof *m->weights));
    m->copies = rt_arena_alloc(&m->arena, rt_array_bytes(n, sizeof *m->copies));
    if (!m->weights || !m->copies) return nomem(m, err);
    for (size_t i = 0; i < n; i++) RT_TRY(meet_weight(m, (int64_t)i, err));
    for (size_t i = 0; i < n; i++) RT_TRY(set_weight(m, (int64_t)i, err));
    return check_leftovers(m, err);
}

/* ---------------------------------------------------------------------- all */

static rt_status open_all(rt_gguf_model *m, const char *path, rt_error *err) {
    RT_TRY(rt_gguf_open(path, &m->file, err));
    RT_TRY(read_config(m, err));
    RT_TRY(check_factors(m, err));
    return read_weights(m, err);
}
rt_status rt_gguf_model_open(const char *path, rt_gguf_model **out, rt_error *err) {
    rt_gguf_model *m = rt_zalloc(sizeof *m);
    *out = NULL;
    if (!m) return rt_fail(err, RT_E_NOMEM, "%s: out of memory", path);
    rt_status s = open_all(m, path, err);
    if (s != RT_OK) return rt_gguf_model_close(m), s;
    *out = m;
    return RT_OK;
}
void rt_gguf_model_close(rt_gguf_model *m) {
    if (!m) return;
    for (int64_t i = 0; i < m->copy_count; i++) rt_free(m->copies[i]);
    rt_gguf_close(m->file);
    rt_arena_free(&m->arena);
    rt_free(m);
}
const rt_model_config *rt_gguf_model_config(const rt_gguf_model *m) { return &m->config; }
const rt_gguf *rt_gguf_model_file(const rt_gguf_model *m) { return m->file; }
const rt_tensor *rt_gguf_model_weight(const rt_gguf_model *m, int64_t i) { return &m->weights[i]; }
