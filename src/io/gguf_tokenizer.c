/* gguf_tokenizer.c - a tokenizer.json as the keys tokenizer.*: what both kinds share. Source: llama.cpp, src/llama-vocab.cpp
 * (what is read, and its defaults), gguf-py/gguf/constants.py (names). */
#include "io/gguf_arch.h"
#include "io/gguf_tokenizer.h"
#include <retort/base/json.h>
#include <stdio.h>
#include <string.h>

void rt_gguf_note(rt_gguf_notes *n, const char *format, ...) {
    char line[512];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    if (n) rt_buf_printf(&n->text, "%s\n", line);
}
rt_status rt_gguf_unsaid(rt_error *err, const char *format, ...) {
    char reason[400];
    va_list args;
    va_start(args, format);
    vsnprintf(reason, sizeof reason, format, args);
    va_end(args);
    return rt_fail(err, RT_E_UNSUPPORTED, "the tokenizer cannot be said in GGUF: %s (--no-tokenizer leaves it out)", reason);
}
const char *rt_gguf_step(const json_t *step) {
    const char *type = json_string_value(json_object_get(step, "type"));
    return type ? type : "";
}

bool rt_gguf_merge_at(const json_t *merges, size_t i, gguf_merge *out) {
    const json_t *m = json_array_get(merges, i), *a = json_array_get(m, 0), *b = json_array_get(m, 1);
    if (json_is_string(a) && json_is_string(b)) {
        *out = (gguf_merge){json_string_value(a), json_string_value(b), json_string_length(a), json_string_length(b)};
        return true;
    }
    const char *text = json_string_value(m), *space = text ? strchr(text, ' ') : NULL;
    if (!space) return false;
    *out = (gguf_merge){text, space + 1, (size_t)(space - text), json_string_length(m) - (size_t)(space + 1 - text)};
    return true;
}

/* -------------------------------------------------------------------- tokens */

static rt_status find_types(gguf_vocab *v, rt_error *err) {
    size_t i;
    json_t *added;
    bool strips = false;
    for (int32_t id = 0; id < v->c->vocab_size; id++) {
        bool there = id < rt_tokenizer_size(v->t) && rt_tokenizer_token(v->t, id, &(size_t){0});
        v->types[id] = there ? TOKEN_NORMAL : TOKEN_UNUSED;
    }
    json_array_foreach(json_object_get(v->root, "added_tokens"), i, added) {
        json_int_t id = json_integer_value(json_object_get(added, "id"));
        if (id < 0 || id >= v->c->vocab_size) return rt_gguf_unsaid(err, "it has the id %lld, the model has %lld rows", (long long)id, (long long)v->c->vocab_size);
        v->types[id] = json_is_true(json_object_get(added, "special")) ? TOKEN_CONTROL : TOKEN_USER_DEFINED;
        strips |= json_is_true(json_object_get(added, "lstrip")) || json_is_true(json_object_get(added, "rstrip")) || json_is_true(json_object_get(added, "single_word"));
    }
    if (strips) rt_gguf_note(v->notes, "tokenizer: some added tokens take the spaces beside them, or only whole words; llama.cpp's do not");
    if (rt_tokenizer_unk(v->t) >= 0) v->types[rt_tokenizer_unk(v->t)] = TOKEN_UNKNOWN;
    return RT_OK;
}
static void put_tokens(const gguf_vocab *v) {
    rt_gguf_put_array(v->meta, "tokenizer.ggml.tokens", RT_GGUF_TEXT, (uint64_t)v->c->vocab_size);
    for (int32_t id = 0; id < v->c->vocab_size; id++) {
        char unused[32];
        size_t n = 0;
        const char *text = v->types[id] == TOKEN_UNUSED ? NULL : rt_tokenizer_token(v->t, id, &n);
        if (!text) text = unused, n = (size_t)snprintf(unused, sizeof unused, "[PAD%d]", id);
        rt_gguf_item_text(v->meta, text, n);
    }
    rt_gguf_put_array(v->meta, "tokenizer.ggml.token_type", RT_GGUF_I32, (uint64_t)v->c->vocab_size);
    for (int32_t id = 0; id < v->c->vocab_size; id++) rt_gguf_item_i32(v->meta, v->types[id]);
}

/* ------------------------------------------------------------------- specials */

static void put_id(const gguf_vocab *v, const char *key, int64_t id) {
    if (id >= 0) rt_gguf_put_u32(v->meta, key, (uint32_t)id);
}
void rt_gguf_special_ids(const rt_tokenizer *t, const rt_model_config *c, int64_t *bos, int64_t *eos) {
    *bos = rt_tokenizer_bos(t) >= 0 ? rt_tokenizer_bos(t) : c->bos_id;
    *eos = rt_tokenizer_eos(t) >= 0 ? rt_tokenizer_eos(t) : c->eos_id;
}
/* Around a text a reader can put bos and eos, and nothing else. */
static rt_status check_around(const gguf_vocab *v, rt_error *err) {
    rt_ids ids = {0};
    rt_status s = rt_tokenizer_encode(v->t, "", 0, true, &ids, err);
    int64_t expected = rt_tokenizer_adds_bos(v->t) + rt_tokenizer_adds_eos(v->t), found = ids.size;
    rt_ids_free(&ids);
    if (s != RT_OK || found == expected) return s;
    return rt_gguf_unsaid(err, "its post-processor puts %lld ids around a text, other than bos and eos", (long long)found);
}
static rt_status put_specials(const gguf_vocab *v, rt_error *err) {
    int64_t bos, eos;
    RT_TRY(check_around(v, err));
    rt_gguf_special_ids(v->t, v->c, &bos, &eos);
    put_id(v, "tokenizer.ggml.bos_token_id", bos);
    put_id(v, "tokenizer.ggml.eos_token_id", eos);
    put_id(v, "tokenizer.ggml.unknown_token_id", rt_tokenizer_unk(v->t));
    put_id(v, "tokenizer.ggml.padding_token_id", v->c->pad_id);
    rt_gguf_put_bool(v->meta, "tokenizer.ggml.add_bos_token", rt_tokenizer_adds_bos(v->t));
    rt_gguf_put_bool(v->meta, "tokenizer.ggml.add_eos_token", rt_tokenizer_adds_eos(v->t));
    return RT_OK;
}

/* chat_template: a text, or a list of {name, template}; "default" has no name of its own. */
static void put_template(const gguf_vocab *v, const char *name, const json_t *text) {
    char key[128] = "tokenizer.chat_template";
    if (!json_is_string(text)) return;
    if (name && strcmp(name, "default") != 0) snprintf(key, sizeof key, "tokenizer.chat_template.%.80s", name);
    rt_gguf_put_text(v->meta, key, json_string_value(text), json_string_length(text));
}
static rt_status put_templates(const gguf_vocab *v, const char *given, rt_error *err) {
    size_t n, i;
    const char *text = rt_tokenizer_config_json(v->t, &n);
    json_t *config = NULL, *one;
    if (given) return rt_gguf_put_text(v->meta, "tokenizer.chat_template", given, strlen(given)), RT_OK;
    if (!text) return RT_OK;
    RT_TRY(rt_json_parse(text, n, "tokenizer_config.json", &config, err));
    const json_t *templates = json_object_get(config, "chat_template");
    put_template(v, NULL, templates);
    json_array_foreach(templates, i, one) put_template(v, json_string_value(json_object_get(one, "name")), json_object_get(one, "template"));
    json_decref(config);
    return RT_OK;
}

/* ------------------------------------------------------------------------ all */

static rt_status put_all(gguf_vocab *v, const char *chat_template, rt_error *err) {
    const json_t *model = json_object_get(v->root, "model");
    const char *type = json_string_value(json_object_get(model, "type"));
    size_t n;
    bool bpe = type ? strcmp(type, "BPE") == 0 : json_is_array(json_object_get(model, "merges"));
    if (!bpe) return rt_gguf_unsaid(err, "its model is %.40s, expected BPE", type ? type : "not named");
    if (rt_tokenizer_size(v->t) > v->c->vocab_size)
        return rt_gguf_unsaid(err, "it has %d ids, the model has %lld rows", rt_tokenizer_size(v->t), (long long)v->c->vocab_size);
    RT_TRY(find_types(v, err));
    RT_TRY(json_is_true(json_object_get(model, "byte_fallback")) ? rt_gguf_put_sentencepiece(v, err) : rt_gguf_put_byte_level(v, err));
    put_tokens(v);
    RT_TRY(put_specials(v, err));
    RT_TRY(put_templates(v, chat_template, err));
    const char *json = rt_tokenizer_json(v->t, &n);
    rt_gguf_put_text(v->meta, "tokenizer.huggingface.json", json, n);
    return RT_OK;
}
rt_status rt_gguf_put_tokenizer(rt_gguf_meta *m, const rt_tokenizer *t, const rt_model_config *c, const char *chat_template, rt_gguf_notes *notes,
                                rt_error *err) {
    size_t n;
    const char *text = rt_tokenizer_json(t, &n);
    json_t *root = NULL;
    RT_TRY(rt_json_parse_nul(text, n, "tokenizer.json", &root, err));
    gguf_vocab v = {m, t, c, root, rt_zalloc(rt_array_bytes((size_t)c->vocab_size, sizeof(int32_t))), notes};
    rt_status s = v.types ? put_all(&v, chat_template, err) : rt_fail(err, RT_E_NOMEM, "out of memory: the tokenizer");
    rt_free(v.types);
    json_decref(root);
    return s;
}

/* ------------------------------------------------------------------------ back */

static json_t *token_at(const rt_gguf *g, int64_t id) {
    rt_gguf_texts place = {0};
    const char *text;
    size_t n;
    while (rt_gguf_next_text(rt_gguf_find(g, "tokenizer.ggml.tokens"), &place, &text, &n))
        if ((int64_t)place.index - 1 == id) return json_stringn(text, n);
    return json_null();
}
/* What tokenizer_config.json would have said; NULL: out of memory. */
static json_t *config_of(const rt_gguf *g) {
    static const char *const ids[][2] = {{"bos_token", "tokenizer.ggml.bos_token_id"}, {"eos_token", "tokenizer.ggml.eos_token_id"},
                                         {"unk_token", "tokenizer.ggml.unknown_token_id"}, {"pad_token", "tokenizer.ggml.padding_token_id"}};
    static const char *const flags[][2] = {{"add_bos_token", "tokenizer.ggml.add_bos_token"}, {"add_eos_token", "tokenizer.ggml.add_eos_token"}};
    json_t *o = json_object();
    const char *text;
    size_t n;
    int64_t x;
    bool ok = o;
    for (int i = 0; i < 4; i++)
        if (rt_gguf_int(rt_gguf_find(g, ids[i][1]), &x)) ok &= json_object_set_new(o, ids[i][0], token_at(g, x)) == 0;
    for (int i = 0; i < 2; i++)
        if (rt_gguf_int(rt_gguf_find(g, flags[i][1]), &x)) ok &= json_object_set_new(o, flags[i][0], json_boolean(x)) == 0;
    if (rt_gguf_text(rt_gguf_find(g, "tokenizer.chat_template"), &text, &n)) ok &= json_object_set_new(o, "chat_template", json_stringn(text, n)) == 0;
    if (ok) return o;
    json_decref(o);
    return NULL;
}
static const char whole[] = "tokenizer.huggingface.json";
bool rt_gguf_has_tokenizer(const char *path) {
    rt_gguf *g = NULL;
    bool has = rt_gguf_open(path, &g, NULL) == RT_OK && rt_gguf_find(g, whole);
    rt_gguf_close(g);
    return has;
}
static rt_status read_back(const rt_gguf *g, rt_tokenizer **out, rt_error *err) {
    const char *json;
    size_t n;
    rt_buf config = {0};
    if (!rt_gguf_text(rt_gguf_find(g, whole), &json, &n))
        return rt_fail(err, RT_E_INPUT, "%s: has no tokenizer.huggingface.json: give a tokenizer of its own", rt_gguf_path(g));
    json_t *o = config_of(g);
    if (o) rt_json_dump(o, 1, &config);
    json_decref(o);
    rt_status s = !o || config.failed ? rt_fail(err, RT_E_NOMEM, "out of memory: the tokenizer")
                                      : rt_tokenizer_from_texts(out, json, n, config.data, config.size, rt_gguf_path(g), err);
    rt_buf_free(&config);
    return s;
}
rt_status rt_gguf_tokenizer(const char *path, rt_tokenizer **out, rt_error *err) {
    rt_gguf *g;
    *out = NULL;
    RT_TRY(rt_gguf_open(path, &g, err));
    rt_status s = read_back(g, out, err);
    rt_gguf_close(g);
    return s;
}
