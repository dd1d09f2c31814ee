/* tokenizer_decode.c - ids to text: the tokens' strings through the decoder's steps. */
#include "text/byte_alphabet.h"
#include "text/tokenizer_impl.h"
#include <string.h>

extern const tok_kind rt_tok_decoder_byte_level;

/* Runs steps over *list; with `each_only`, only those that map every token on its own. */
static rt_status run_steps(const rt_tokenizer *t, tok_list *list, bool each_only, rt_error *err) {
    tok_matcher m = {0};
    rt_status s = rt_tok_matcher_new(&m, err);
    for (size_t i = 0; i < t->decoders.size && s == RT_OK; i++) {
        const tok_step *step = &t->decoders.items[i];
        tok_list next = {0};
        if (each_only && !step->kind->each_token) continue;
        s = step->kind->decode(step, &m, list, &next, err);
        if (s == RT_OK && (next.failed || next.bytes.failed)) s = rt_tok_out_of_memory(err);
        rt_tok_list_free(list);
        *list = next;
    }
    rt_tok_matcher_free(&m);
    return s;
}

static rt_status gather(const rt_tokenizer *t, const int32_t *ids, int64_t n, bool skip_special, tok_list *list,
                        rt_error *err) {
    for (int64_t i = 0; i < n; i++) {
        size_t bytes;
        if (!rt_tokenizer_token(t, ids[i], NULL))
            return rt_fail(err, RT_E_INPUT, "%s: id %d at position %lld is not a token (ids are below %d)", t->file,
                           ids[i], (long long)i, t->vocab.size);
        if (skip_special && t->vocab.entries[ids[i]].special) continue;
        if (t->decoders.size == 0 && list->size) rt_buf_putc(&list->bytes, ' '); /* without a decoder: words */
        const char *token = rt_tok_vocab_decoded(&t->vocab, ids[i], &bytes);
        rt_tok_list_add(list, token, bytes);
    }
    return list->failed || list->bytes.failed ? rt_tok_out_of_memory(err) : RT_OK;
}

rt_status rt_tokenizer_decode(const rt_tokenizer *t, const int32_t *ids, int64_t n, bool skip_special, rt_buf *out,
                              rt_error *err) {
    tok_list list = {0};
    rt_status s = gather(t, ids, n, skip_special, &list, err);
    if (s == RT_OK) s = run_steps(t, &list, false, err);
    if (s == RT_OK) {
        rt_buf_add(out, list.bytes.data ? list.bytes.data : "", list.bytes.size);
        if (out->failed) s = rt_tok_out_of_memory(err);
    }
    rt_tok_list_free(&list);
    return s;
}

/* ---- bytes of text per token ---- */

static rt_status covers_of_strings(rt_tokenizer *t, rt_error *err) {
    tok_list list = {0};
    rt_tok_list_add(&list, "x", 1); /* a token that begins a text may lose its space: none of ours begins it */
    for (int32_t id = 0; id < t->vocab.size; id++) {
        size_t bytes = 0;
        const char *token = t->vocab.entries[id].used ? rt_tok_vocab_decoded(&t->vocab, id, &bytes) : "";
        rt_tok_list_add(&list, token, bytes);
    }
    rt_tok_list_add(&list, "x", 1); /* nor ends it */
    rt_status s = list.failed || list.bytes.failed ? rt_tok_out_of_memory(err) : run_steps(t, &list, true, err);
    for (int32_t id = 0; id < t->vocab.size && s == RT_OK; id++) {
        size_t n;
        rt_tok_list_get(&list, (size_t)id + 1, &n);
        t->vocab.entries[id].covers = (int32_t)n;
    }
    rt_tok_list_free(&list);
    return s;
}

/* Bytes at the end of a token that stand for no text. */
static size_t suffix_of(const tok_model *m, const char *token, size_t n) {
    size_t k = m->suffix_bytes;
    return k && n >= k && memcmp(token + n - k, m->suffix, k) == 0 ? k : 0;
}

static rt_status covers_of_bytes(rt_tokenizer *t, rt_error *err) {
    rt_buf room = {0};
    for (int32_t id = 0; id < t->vocab.size; id++) {
        tok_entry *e = &t->vocab.entries[id];
        if (!e->used) continue;
        const char *token = rt_tok_vocab_string(&t->vocab, id);
        room.size = 0;
        rt_buf_add(&room, token, e->length);
        if (room.failed) break;
        size_t n = e->length - suffix_of(&t->model, token, e->length);
        e->covers = (int32_t)(e->in_model ? rt_byte_alphabet_undo(token, n, room.data) : e->length);
    }
    bool failed = room.failed;
    rt_buf_free(&room);
    return failed ? rt_tok_out_of_memory(err) : RT_OK;
}

rt_status rt_tok_load_covers(rt_tokenizer *t, rt_error *err) {
    bool bytes = t->model.byte_level || rt_tok_steps_have(&t->decoders, &rt_tok_decoder_byte_level);
    RT_TRY(bytes ? covers_of_bytes(t, err) : covers_of_strings(t, err));
    for (int b = 0; b < 256; b++)
        if (t->model.byte_id[b] >= 0) t->vocab.entries[t->model.byte_id[b]].covers = 1;
    for (int32_t id = 0; id < t->vocab.size; id++)
        if (t->vocab.entries[id].special) t->vocab.entries[id].covers = 0;
    return RT_OK;
}
