/* tokenizer.c - the tokenizer's files of an exported folder: copied as they are, and complete. */
#include "export/private.h"
#include <retort/base/file.h>
#include <retort/base/json.h>
#include <retort/base/log.h>
#include <retort/infer/frozen.h>
#include <stdio.h>
#include <string.h>

static rt_status nomem(rt_error *err) { return rt_fail(err, RT_E_NOMEM, "out of memory: the tokenizer"); }
static const char *const files[] = {"tokenizer.json",  "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "tokenizer.model",
                                    "vocab.json",      "merges.txt",            "chat_template.jinja",     "chat_template.json", NULL};

static bool holds(const char *folder, const char *name) {
    char path[8192];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return rt_file_exists(path);
}
static rt_status put(const char *to, const char *name, const char *bytes, size_t n, json_t *names, rt_error *err) {
    char target[8192];
    snprintf(target, sizeof target, "%s/%s", to, name);
    RT_TRY(rt_file_write_atomic(target, bytes, n, err));
    return json_array_append_new(names, json_string(name)) == 0 ? RT_OK : nomem(err);
}
static rt_status copy(const char *from, const char *to, const char *name, json_t *names, rt_error *err) {
    char source[8192];
    rt_buf b = {0};
    snprintf(source, sizeof source, "%s/%s", from, name);
    rt_status s = rt_file_read(source, (size_t)1 << 30, &b, err);
    if (s == RT_OK) s = put(to, name, b.data ? b.data : "", b.size, names, err);
    rt_buf_free(&b);
    return s;
}

/* ------------------------------------------------------- what is not there */

static bool put_token(json_t *o, const char *key, const rt_tokenizer *t, int64_t id) {
    size_t n = 0;
    const char *text = id >= 0 && id < rt_tokenizer_size(t) ? rt_tokenizer_token(t, (int32_t)id, &n) : NULL;
    return !text || json_object_set_new(o, key, json_stringn(text, n)) == 0;
}
static int64_t either(int64_t a, int64_t b) { return a >= 0 ? a : b; }
/* The class that takes everything from tokenizer.json, and the special tokens by name. */
static rt_status make_config(const rt_tokenizer *t, const rt_model_config *c, const char *to, json_t *names, rt_error *err) {
    rt_buf text = {0};
    json_t *o = json_pack("{s:b, s:I, s:s}", "clean_up_tokenization_spaces", 0, "model_max_length", (json_int_t)rt_model_longest(c), "tokenizer_class",
                          "PreTrainedTokenizerFast");
    bool ok = o && put_token(o, "bos_token", t, either(rt_tokenizer_bos(t), c->bos_id)) && put_token(o, "eos_token", t, either(rt_tokenizer_eos(t), c->eos_id)) &&
              put_token(o, "unk_token", t, rt_tokenizer_unk(t)) && put_token(o, "pad_token", t, c->pad_id);
    if (ok) rt_json_dump(o, 2, &text);
    rt_buf_putc(&text, '\n');
    rt_status s = !ok || text.failed ? nomem(err) : put(to, "tokenizer_config.json", text.data, text.size, names, err);
    json_decref(o);
    rt_buf_free(&text);
    return s;
}
static rt_status put_loaded(const rt_tokenizer *t, const char *from, const rt_model_config *c, const char *to, json_t *names, rt_error *err) {
    size_t n;
    const char *json = rt_tokenizer_json(t, &n);
    if (!holds(from, "tokenizer.json")) RT_TRY(put(to, "tokenizer.json", json, n, names, err));
    if (holds(from, "tokenizer_config.json")) return RT_OK;
    const char *config = rt_tokenizer_config_json(t, &n);
    return config ? put(to, "tokenizer_config.json", config, n, names, err) : make_config(t, c, to, names, err);
}

rt_status rt_export_tokenizer(const char *from, const rt_model_config *c, const char *to, json_t *names, rt_error *err) {
    rt_tokenizer *t = NULL;
    rt_error why = {0};
    for (const char *const *name = files; *name; name++)
        if (holds(from, *name)) RT_TRY(copy(from, to, *name, names, err));
    if (!rt_model_has_tokenizer(from) || (holds(from, "tokenizer.json") && holds(from, "tokenizer_config.json"))) return RT_OK;
    rt_status s = rt_model_tokenizer(&t, from, &why);
    if (s == RT_E_NOMEM) return nomem(err);
    if (s != RT_OK) return rt_log(RT_LOG_WARNING, "tokenizer_config.json is not made: %s", why.text), RT_OK;
    s = put_loaded(t, from, c, to, names, err);
    rt_tokenizer_free(t);
    return s;
}
