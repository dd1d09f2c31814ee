/* shard_json.c - X.bin.json, the description beside a token shard. */
#include <retort/base/file.h>
#include <retort/base/json.h>
#include <stdio.h>
#include <string.h>
#include "text/shard_format.h"

char *rt_path_with(const char *path, const char *suffix) {
    rt_buf b = {0};
    rt_buf_printf(&b, "%s%s", path, suffix);
    if (b.failed) rt_buf_free(&b);
    return b.data;
}

static json_t *id_or_null(int32_t id) { return id < 0 ? json_null() : json_integer(id); }

/* Only where there is a mask: without one the description is as it ever was. */
static bool add_mask(json_t *v, const rt_shard_info *n) {
    char hash[17];
    snprintf(hash, sizeof hash, "%016llx", (unsigned long long)n->mask_hash);
    return !n->masked || (json_object_set_new(v, "unmasked", json_integer(n->unmasked)) == 0 &&
                          json_object_set_new(v, "mask_hash", json_string(hash)) == 0);
}

rt_status rt_shard_json_save(const char *path, const rt_shard_info *n, rt_error *err) {
    char hash[17];
    snprintf(hash, sizeof hash, "%016llx", (unsigned long long)n->tokens_hash);
    json_t *v = json_pack("{s:s, s:I, s:I, s:I, s:I, s:o, s:o, s:s, s:s}", "format", "retort token shard 1", "tokens",
                          (json_int_t)n->tokens, "documents", (json_int_t)n->documents, "bytes", (json_int_t)n->bytes,
                          "vocab_size", (json_int_t)n->vocab, "bos_id", id_or_null(n->bos), "eos_id",
                          id_or_null(n->eos), "tokenizer", n->tokenizer, "tokens_hash", hash);
    if (v && !add_mask(v, n)) json_decref(v), v = NULL;
    rt_status s = rt_json_save(path, v, err);
    json_decref(v);
    return s;
}

static rt_status optional_int(const rt_json *o, const char *key, int64_t min, int64_t max, int64_t *out,
                              rt_error *err) {
    return rt_json_has(o, key) ? rt_json_int(o, key, min, max, out, err) : RT_OK;
}

static rt_status hexadecimal(const rt_json *o, const char *key, uint64_t *out, rt_error *err) {
    const char *text;
    unsigned long long hash;
    char rest;
    RT_TRY(rt_json_string(o, key, &text, err));
    if (sscanf(text, "%16llx%c", &hash, &rest) != 1)
        return rt_json_fail(o, err, "%s is no hexadecimal number: %.80s", key, text);
    *out = hash;
    return RT_OK;
}

static rt_status hashes(const rt_json *o, rt_shard_info *n, rt_error *err) {
    const char *text;
    if (rt_json_has(o, "tokenizer")) {
        RT_TRY(rt_json_string(o, "tokenizer", &text, err));
        if (strlen(text) >= sizeof n->tokenizer) return rt_json_fail(o, err, "tokenizer is no hash: %.80s", text);
        strcpy(n->tokenizer, text);
    }
    if (rt_json_has(o, "tokens_hash")) RT_TRY(hexadecimal(o, "tokens_hash", &n->tokens_hash, err));
    n->masked = rt_json_has(o, "mask_hash");
    return n->masked ? hexadecimal(o, "mask_hash", &n->mask_hash, err) : RT_OK;
}

static rt_status parse(const rt_json *o, rt_shard_info *n, rt_error *err) {
    int64_t bos = -1, eos = -1;
    RT_TRY(rt_json_int(o, "tokens", 1, INT32_MAX, &n->tokens, err));
    RT_TRY(optional_int(o, "documents", 0, INT32_MAX, &n->documents, err));
    RT_TRY(optional_int(o, "bytes", -1, INT64_MAX, &n->bytes, err));
    RT_TRY(optional_int(o, "vocab_size", 0, INT32_MAX, &n->vocab, err));
    RT_TRY(optional_int(o, "bos_id", -1, INT32_MAX, &bos, err));
    RT_TRY(optional_int(o, "eos_id", -1, INT32_MAX, &eos, err));
    n->bos = (int32_t)bos, n->eos = (int32_t)eos;
    return hashes(o, n, err);
}

rt_status rt_shard_json_load(const char *path, rt_shard_info *n, rt_error *err) {
    json_t *v;
    if (!rt_file_exists(path)) return RT_OK;
    RT_TRY(rt_json_load(path, 1 << 20, &v, err));
    rt_json root = rt_json_root(v, path);
    rt_status s = parse(&root, n, err);
    json_decref(v);
    n->described = s == RT_OK;
    return s;
}
