/* gguf_sentencepiece.c - SentencePiece's BPE as GGUF's "llama": a score for each token instead of ranked merges.
 *
 * llama.cpp merges any two neighbours whose texts together are a token, the highest score first, then the leftmost. That is what the
 * ranked merges of tokenizer.json do exactly when (1) every way to part a token into two tokens is a merge, and (2) the merges
 * that give one token follow each other. Both hold where the file was made from a SentencePiece model, and are checked; then minus the
 * rank of a token's first merge is its score. Source: llama.cpp, src/llama-vocab.cpp, llm_tokenizer_spm_session. */
#include "io/gguf_tokenizer.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct ranked {
    const gguf_vocab *v;
    const json_t *merges;
    uint64_t *pairs; /* left << 32 | right, sorted */
    int64_t *first;  /* [vocab]: rank of the token's first merge, -1 */
    size_t count;
} ranked;

static int by_value(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}
static rt_status read_merge(ranked *r, size_t i, int64_t *last, rt_error *err) {
    gguf_merge m;
    char whole[1024];
    if (!rt_gguf_merge_at(r->merges, i, &m) || m.left_bytes + m.right_bytes > sizeof whole) return rt_gguf_unsaid(err, "merge %zu is not a pair", i);
    memcpy(whole, m.left, m.left_bytes);
    memcpy(whole + m.left_bytes, m.right, m.right_bytes);
    int32_t left = rt_tokenizer_find(r->v->t, m.left, m.left_bytes), right = rt_tokenizer_find(r->v->t, m.right, m.right_bytes);
    int32_t id = rt_tokenizer_find(r->v->t, whole, m.left_bytes + m.right_bytes);
    if (left < 0 || right < 0 || id < 0) return rt_gguf_unsaid(err, "merge %zu is of what are not tokens", i);
    r->pairs[i] = (uint64_t)left << 32 | (uint32_t)right;
    if (r->first[id] < 0) r->first[id] = (int64_t)i;
    if (r->first[id] < *last)
        return rt_gguf_unsaid(err, "merge %zu gives a token that an earlier merge gave, with others between: no score says that order", i);
    *last = r->first[id];
    return RT_OK;
}
static rt_status read_merges(ranked *r, rt_error *err) {
    int64_t last = 0;
    for (int64_t id = 0; id < r->v->c->vocab_size; id++) r->first[id] = -1;
    for (size_t i = 0; i < r->count; i++) RT_TRY(read_merge(r, i, &last, err));
    qsort(r->pairs, r->count, sizeof *r->pairs, by_value);
    return RT_OK;
}
static rt_status check_splits(const ranked *r, int32_t id, rt_error *err) {
    size_t n;
    const char *text = rt_tokenizer_token(r->v->t, id, &n);
    for (size_t k = 1; k < n; k++) {
        if (((unsigned char)text[k] & 0xc0) == 0x80) continue; /* within a character */
        int32_t left = rt_tokenizer_find(r->v->t, text, k), right = rt_tokenizer_find(r->v->t, text + k, n - k);
        uint64_t pair = (uint64_t)left << 32 | (uint32_t)right;
        if (left < 0 || right < 0 || r->v->types[left] != TOKEN_NORMAL || r->v->types[right] != TOKEN_NORMAL) continue;
        if (!bsearch(&pair, r->pairs, r->count, sizeof pair, by_value))
            return rt_gguf_unsaid(err, "the tokens %d and %d make token %d, which is no merge, but llama.cpp would merge them", left, right, id);
    }
    return RT_OK;
}

static rt_status mark_bytes(const gguf_vocab *v, rt_error *err) {
    for (int b = 0; b < 256; b++) {
        char name[8];
        int32_t id = rt_tokenizer_find(v->t, name, (size_t)snprintf(name, sizeof name, "<0x%02X>", b));
        if (id < 0) return rt_gguf_unsaid(err, "it has no token <0x%02X>", b);
        v->types[id] = TOKEN_BYTE;
    }
    return RT_OK;
}
static rt_status put_scores(const gguf_vocab *v, rt_error *err) {
    ranked r = {.v = v, .merges = json_object_get(json_object_get(v->root, "model"), "merges")};
    r.count = json_array_size(r.merges);
    r.pairs = rt_alloc(rt_array_bytes(r.count, sizeof *r.pairs));
    r.first = rt_alloc(rt_array_bytes((size_t)v->c->vocab_size, sizeof *r.first));
    rt_status s = r.pairs && r.first ? read_merges(&r, err) : rt_fail(err, RT_E_NOMEM, "out of memory: scores");
    for (int32_t id = 0; id < v->c->vocab_size && s == RT_OK; id++)
        if (v->types[id] == TOKEN_NORMAL) s = check_splits(&r, id, err);
    if (s == RT_OK) rt_gguf_put_array(v->meta, "tokenizer.ggml.scores", RT_GGUF_F32, (uint64_t)v->c->vocab_size);
    for (int64_t id = 0; id < v->c->vocab_size && s == RT_OK; id++) {
        int64_t rank = r.first[id] >= 0 ? r.first[id] : (int64_t)r.count; /* single characters come last, as SentencePiece has them */
        rt_gguf_item_f32(v->meta, v->types[id] == TOKEN_NORMAL ? -(float)rank : 0);
    }
    rt_free(r.pairs), rt_free(r.first);
    return s;
}

/* ------------------------------------------------------------- spaces in front */

static bool is_text(const json_t *object, const char *key, const char *text) {
    const char *found = json_string_value(json_object_get(object, key));
    return found && strcmp(found, text) == 0;
}
#define MARK "\xe2\x96\x81"
/* Spaces become the mark, and with Prepend one stands in front. */
static bool normalizes(const json_t *normalizer, bool *prefix, bool *marks) {
    const json_t *list = json_object_get(normalizer, "normalizers");
    if (!json_is_object(normalizer)) return true;
    for (size_t i = 0; i < (json_is_array(list) ? json_array_size(list) : 1); i++) {
        const json_t *step = json_is_array(list) ? json_array_get(list, i) : normalizer;
        if (strcmp(rt_gguf_step(step), "Prepend") == 0 && is_text(step, "prepend", MARK)) *prefix = true;
        else if (strcmp(rt_gguf_step(step), "Replace") == 0 && is_text(json_object_get(step, "pattern"), "String", " ") && is_text(step, "content", MARK))
            *marks = true;
        else return false;
    }
    return true;
}
static rt_status find_prefix(const gguf_vocab *v, bool *prefix, rt_error *err) {
    const json_t *pre = json_object_get(v->root, "pre_tokenizer");
    bool marks = false;
    if (!normalizes(json_object_get(v->root, "normalizer"), prefix, &marks)) return rt_gguf_unsaid(err, "its normalizer does more than marking spaces");
    if (!json_is_object(pre) && marks) return RT_OK;
    if (strcmp(rt_gguf_step(pre), "Metaspace") != 0 || marks || !is_text(pre, "replacement", MARK))
        return rt_gguf_unsaid(err, "its spaces are marked by neither Replace nor Metaspace with U+2581");
    bool scheme = json_object_get(pre, "prepend_scheme") != NULL;
    *prefix = scheme ? !is_text(pre, "prepend_scheme", "never") : !json_is_false(json_object_get(pre, "add_prefix_space"));
    if (is_text(pre, "prepend_scheme", "first"))
        rt_gguf_note(v->notes, "tokenizer: only the first word gets a space in front; llama.cpp gives one to what follows a special token too");
    return RT_OK;
}

rt_status rt_gguf_put_sentencepiece(const gguf_vocab *v, rt_error *err) {
    bool prefix = false;
    RT_TRY(find_prefix(v, &prefix, err));
    RT_TRY(mark_bytes(v, err));
    rt_gguf_put_text(v->meta, "tokenizer.ggml.model", "llama", 5);
    rt_gguf_put_text(v->meta, "tokenizer.ggml.pre", "default", 7);
    RT_TRY(put_scores(v, err));
    rt_gguf_put_bool(v->meta, "tokenizer.ggml.add_space_prefix", prefix);
    return RT_OK;
}
