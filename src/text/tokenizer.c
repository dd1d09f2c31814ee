/* tokenizer.c - what a tokenizer tells about itself, and the arrays it fills. */
#include "text/tokenizer_impl.h"

void rt_ids_add(rt_ids *ids, int32_t id) {
    size_t capacity = (size_t)ids->capacity;
    if (ids->failed || !rt_tok_grow((void **)&ids->data, (size_t)ids->size + 1, &capacity, sizeof id)) {
        ids->failed = true;
        return;
    }
    ids->capacity = (int64_t)capacity;
    ids->data[ids->size++] = id;
}
void rt_ids_free(rt_ids *ids) {
    rt_free(ids->data);
    *ids = (rt_ids){0};
}
void rt_spans_add(rt_spans *spans, rt_span span) {
    size_t capacity = (size_t)spans->capacity;
    if (spans->failed || !rt_tok_grow((void **)&spans->data, (size_t)spans->size + 1, &capacity, sizeof span)) {
        spans->failed = true;
        return;
    }
    spans->capacity = (int64_t)capacity;
    spans->data[spans->size++] = span;
}
void rt_spans_free(rt_spans *spans) {
    rt_free(spans->data);
    *spans = (rt_spans){0};
}

static const tok_entry *entry(const rt_tokenizer *t, int32_t id) {
    bool used = id >= 0 && id < t->vocab.size && t->vocab.entries[id].used;
    return used ? &t->vocab.entries[id] : NULL;
}
const char *rt_tokenizer_model(const rt_tokenizer *t) {
    bool bpe = t->model.kind == &rt_tok_model_bpe, bytes = false;
    for (size_t i = 0; i < t->pretokenizers.size; i++) bytes |= t->pretokenizers.items[i].kind->bytes;
    if (bpe && bytes) return "BPE over bytes";
    if (!t->model.byte_fallback) return t->model.kind->type;
    return bpe ? "BPE with bytes to fall back on" : "Unigram with bytes to fall back on";
}
int32_t rt_tokenizer_size(const rt_tokenizer *t) { return t->vocab.size; }
const char *rt_tokenizer_token(const rt_tokenizer *t, int32_t id, size_t *bytes) {
    const tok_entry *e = entry(t, id);
    if (bytes) *bytes = e ? e->length : 0;
    return e ? rt_tok_vocab_string(&t->vocab, id) : NULL;
}
int32_t rt_tokenizer_find(const rt_tokenizer *t, const char *token, size_t bytes) {
    return rt_tok_vocab_find(&t->vocab, token, bytes);
}
bool rt_tokenizer_is_special(const rt_tokenizer *t, int32_t id) {
    const tok_entry *e = entry(t, id);
    return e && e->special;
}
int64_t rt_tokenizer_token_bytes(const rt_tokenizer *t, int32_t id) {
    const tok_entry *e = entry(t, id);
    return e ? e->covers : 0;
}
int32_t rt_tokenizer_bos(const rt_tokenizer *t) { return t->bos; }
int32_t rt_tokenizer_eos(const rt_tokenizer *t) { return t->eos; }
int32_t rt_tokenizer_unk(const rt_tokenizer *t) { return t->unk; }
bool rt_tokenizer_adds_bos(const rt_tokenizer *t) {
    return t->bos >= 0 && t->before.size && t->before.ids[0] == t->bos;
}
bool rt_tokenizer_adds_eos(const rt_tokenizer *t) {
    return t->eos >= 0 && t->after.size && t->after.ids[t->after.size - 1] == t->eos;
}
const char *rt_tokenizer_hash(const rt_tokenizer *t) { return t->hash; }
const char *rt_tokenizer_json(const rt_tokenizer *t, size_t *bytes) {
    *bytes = t->json.size;
    return t->json.data;
}
const char *rt_tokenizer_config_json(const rt_tokenizer *t, size_t *bytes) {
    *bytes = t->config.size;
    return t->has_config ? t->config.data : NULL;
}
const char *rt_tokenizer_chat_file(const rt_tokenizer *t, size_t *bytes) {
    *bytes = t->chat.size;
    return !t->has_chat ? NULL : t->chat.data ? t->chat.data : "";
}
