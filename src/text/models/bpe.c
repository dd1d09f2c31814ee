/* BPE: byte-pair encoding, byte-level or SentencePiece style with byte fallback; vocabulary and merges (both
 * spellings), and the symbols a piece begins as. The merging itself is bpe_merge.c. */
#include "text/byte_alphabet.h"
#include "text/tokenizer_impl.h"
#include "text/utf8.h"
#include <stdio.h>
#include <string.h>

static const char MARK[] = "\xE2\x96\x81"; /* U+2581, SentencePiece's space */

/* ---- merges ---- */

typedef struct half {
    const char *s;
    size_t n;
} half;

static rt_status split_merge(const tok_node *item, half part[2], rt_error *err) {
    if (json_is_array(item->json)) {
        if (json_array_size(item->json) != 2) return rt_tok_fail(item, RT_E_INPUT, err, "expected two strings");
        for (size_t i = 0; i < 2; i++) {
            tok_node side = rt_tok_item(item, i);
            RT_TRY(rt_tok_text_of(&side, &part[i].s, &part[i].n, err));
        }
        return RT_OK;
    }
    RT_TRY(rt_tok_text_of(item, &part[0].s, &part[0].n, err));
    const char *space = memchr(part[0].s, ' ', part[0].n);
    size_t left = space ? (size_t)(space - part[0].s) : 0;
    part[1] = (half){part[0].s + left + 1, part[0].n - left - 1};
    if (!space || memchr(part[1].s, ' ', part[1].n))
        return rt_tok_fail(item, RT_E_INPUT, err, "expected two strings with a space between");
    part[0].n = left;
    return RT_OK;
}

static rt_status add_merge(rt_tokenizer *t, const tok_node *item, size_t rank, rt_error *err) {
    half part[2];
    char joined[2048];
    int32_t id[2];
    RT_TRY(split_merge(item, part, err));
    for (int i = 0; i < 2; i++) {
        id[i] = rt_tok_vocab_find_model(&t->vocab, part[i].s, part[i].n);
        if (id[i] < 0)
            return rt_tok_fail(item, RT_E_INPUT, err, "'%.*s' is not in the vocabulary",
                               part[i].n > 60 ? 60 : (int)part[i].n, part[i].s);
    }
    size_t prefix = t->model.prefix_bytes; /* what goes on is spelled with the prefix, the merged token has it once */
    if (part[1].n < prefix || memcmp(part[1].s, t->model.prefix, prefix) != 0)
        return rt_tok_fail(item, RT_E_INPUT, err, "'%.*s' does not begin with the prefix '%s'",
                           part[1].n > 60 ? 60 : (int)part[1].n, part[1].s, t->model.prefix);
    part[1] = (half){part[1].s + prefix, part[1].n - prefix};
    size_t n = part[0].n + part[1].n;
    if (n > sizeof joined) return rt_tok_fail(item, RT_E_INPUT, err, "a merged token of %zu bytes is too long", n);
    memcpy(joined, part[0].s, part[0].n);
    memcpy(joined + part[0].n, part[1].s, part[1].n);
    int32_t merged = rt_tok_vocab_find_model(&t->vocab, joined, n);
    if (merged < 0)
        return rt_tok_fail(item, RT_E_INPUT, err, "the merged '%.*s' is not in the vocabulary", n > 60 ? 60 : (int)n,
                           joined);
    rt_tok_merges_add(&t->model.merges, id[0], id[1], (int32_t)rank, merged);
    return RT_OK;
}

static rt_status load_merges(rt_tokenizer *t, const tok_node *model, rt_error *err) {
    tok_node merges = rt_tok_key(model, "merges");
    RT_TRY(rt_tok_expect(&merges, JSON_ARRAY, err));
    size_t count = json_array_size(merges.json);
    if (count > INT32_MAX) return rt_tok_fail(&merges, RT_E_INPUT, err, "too many merges");
    if (rt_tok_merges_init(&t->model.merges, count) != RT_OK) return rt_tok_out_of_memory(err);
    for (size_t i = 0; i < count; i++) {
        tok_node item = {json_array_get(merges.json, i), merges.file, ""};
        const json_t *j = item.json;
        bool plain = json_is_string(j) || json_is_array(j);
        snprintf(item.path, sizeof item.path, "model.merges[%zu]", i);
        RT_TRY(plain ? add_merge(t, &item, i, err)
                     : rt_tok_fail(&item, RT_E_INPUT, err, "expected a string or a pair of strings"));
    }
    return RT_OK;
}

/* ---- the section ---- */

/* Dropout leaves out merges at random: a text would have no one encoding. */
static rt_status check_dropout(const tok_node *model, rt_error *err) {
    tok_node dropout = rt_tok_key(model, "dropout");
    if (rt_tok_absent(&dropout) || (json_is_number(dropout.json) && json_number_value(dropout.json) == 0)) return RT_OK;
    return rt_tok_fail(&dropout, RT_E_UNSUPPORTED, err,
                       "merges left out at random give a text no certain ids (only null)");
}

static rt_status load(rt_tokenizer *t, const tok_node *model, rt_error *err) {
    tok_model *m = &t->model;
    RT_TRY(check_dropout(model, err));
    RT_TRY(rt_tok_load_affix(model, "continuing_subword_prefix", "", &m->prefix, &m->prefix_bytes, err));
    RT_TRY(rt_tok_load_affix(model, "end_of_word_suffix", "", &m->suffix, &m->suffix_bytes, err));
    RT_TRY(rt_tok_bool(model, "byte_fallback", false, &m->byte_fallback, err));
    RT_TRY(rt_tok_bool(model, "fuse_unk", false, &m->fuse_unk, err));
    RT_TRY(rt_tok_bool(model, "ignore_merges", false, &m->ignore_merges, err));
    if (m->byte_fallback && (m->prefix_bytes || m->suffix_bytes))
        return rt_tok_fail(model, RT_E_UNSUPPORTED, err, "byte_fallback together with a prefix or suffix of words");
    RT_TRY(rt_tok_load_vocab(t, model, err));
    RT_TRY(rt_tok_load_unk(t, model, "", err));
    return load_merges(t, model, err);
}

/* Does a token of the model hold the mark after another character? */
static bool mark_inside(const char *s, size_t n) {
    for (size_t i = 1; i + 3 <= n; i++)
        if (memcmp(s + i, MARK, 3) == 0 && (i < 3 || memcmp(s + i - 3, MARK, 3) != 0)) return true;
    return false;
}

static rt_status finish(rt_tokenizer *t, const tok_node *model, rt_error *err) {
    (void)model, (void)err;
    tok_model *m = &t->model;
    char token[8];
    for (int b = 0; m->byte_level && b < 256; b++)
        m->byte_id[b] =
            rt_tok_vocab_find_model(&t->vocab, token, rt_utf8_put(token, rt_byte_alphabet_char((uint8_t)b)));
    m->cut_at_mark = !m->byte_level && !m->ignore_merges && !m->prefix_bytes && !m->suffix_bytes &&
                     rt_tok_vocab_find_model(&t->vocab, MARK, 3) >= 0;
    for (size_t i = 0; m->cut_at_mark && i <= m->merges.mask; i++) {
        const tok_merge *merge = &m->merges.slots[i];
        if (merge->id < 0) continue;
        m->cut_at_mark = !mark_inside(rt_tok_vocab_string(&t->vocab, merge->id), t->vocab.entries[merge->id].length);
    }
    return RT_OK;
}

/* ---- symbols ---- */

/* What has no symbol waits as an unknown token for the next symbol of the vocabulary; with fuse_unk all that waits is
 * one. The tokens of bytes do not make it stand before them: where only some bytes have one, Hugging Face's library
 * puts it behind them, and so do we. */
typedef struct unknown {
    size_t waiting; /* bytes; 0: none */
} unknown;

static bool push_unknown(tok_work *w, const tok_model *m, unknown *u) {
    size_t length = u->waiting;
    u->waiting = 0;
    return !length || rt_tok_work_push(w, m->unk, length);
}
static bool push_known(tok_work *w, const tok_model *m, int32_t id, size_t length, unknown *u) {
    return push_unknown(w, m, u) && rt_tok_work_push(w, id, length);
}
/* Without an unknown token the symbol before covers what has none. */
static bool add_unknown(tok_work *w, const tok_model *m, size_t length, unknown *u) {
    bool ok = m->fuse_unk || push_unknown(w, m, u);
    w->dropped = m->unk < 0;
    if (m->unk >= 0)
        u->waiting += length;
    else if (w->size)
        w->symbols[w->size - 1].length += (uint32_t)length;
    else
        w->lead += length;
    return ok;
}

static bool push_bytes(tok_work *w, const tok_model *m, const char *s, size_t n) {
    unknown u = {0};
    for (size_t i = 0; i < n; i++) {
        int32_t id = m->byte_id[(uint8_t)s[i]];
        if (id >= 0 ? !push_known(w, m, id, 1, &u) : !add_unknown(w, m, 1, &u)) return false;
    }
    return push_unknown(w, m, &u);
}

/* A character as the vocabulary spells it: what continues a piece has the prefix, the last one the suffix. */
static const char *spelled(const tok_model *m, const char *s, size_t n, bool first, bool last, char *room,
                           size_t *bytes) {
    size_t used = 0;
    *bytes = n;
    if ((first || !m->prefix_bytes) && (!last || !m->suffix_bytes)) return s;
    if (!first) memcpy(room, m->prefix, used = m->prefix_bytes);
    memcpy(room + used, s, n);
    used += n;
    if (last) memcpy(room + used, m->suffix, m->suffix_bytes), used += m->suffix_bytes;
    *bytes = used;
    return room;
}

static bool push_character(tok_work *w, const rt_tokenizer *t, int32_t id, const char *s, size_t n, unknown *u) {
    const tok_model *m = &t->model;
    if (id >= 0) return push_known(w, m, id, n, u);
    if (!m->byte_fallback || !rt_tok_have_bytes(m, s, n)) return add_unknown(w, m, n, u);
    for (size_t i = 0; i < n; i++)
        if (!rt_tok_work_push(w, m->byte_id[(uint8_t)s[i]], 1)) return false;
    return true;
}

static bool push_characters(tok_work *w, const rt_tokenizer *t, const char *s, size_t n) {
    char room[2 * TOK_MAX_AFFIX + 4];
    unknown u = {0};
    for (size_t i = 0, length, bytes; i < n; i += length) {
        rt_utf8_get(s + i, n - i, &length);
        const char *key = spelled(&t->model, s + i, length, i == 0, i + length == n, room, &bytes);
        if (!push_character(w, t, rt_tok_vocab_find_model(&t->vocab, key, bytes), s + i, length, &u)) return false;
    }
    return push_unknown(w, &t->model, &u);
}

/* ---- a piece ---- */

/* ignore_merges: a piece that is a token as it stands is that token. */
static int32_t whole(const tok_vocab *v, const tok_model *m, const char *s, size_t n) {
    char token[1024];
    size_t used = 0;
    if (!m->byte_level) return rt_tok_vocab_find_model(v, s, n);
    if (n > sizeof token / 2) return -1;
    for (size_t i = 0; i < n; i++) used += rt_utf8_put(token + used, rt_byte_alphabet_char((uint8_t)s[i]));
    return rt_tok_vocab_find_model(v, token, used);
}

static rt_status encode(tok_work *w, const rt_tokenizer *t, const char *s, size_t n, rt_error *err) {
    const tok_model *m = &t->model;
    int32_t id = m->ignore_merges ? whole(&t->vocab, m, s, n) : -1;
    bool ok = id >= 0         ? rt_tok_work_push(w, id, n)
              : m->byte_level ? push_bytes(w, m, s, n)
                              : push_characters(w, t, s, n);
    if (ok && w->dropped && m->unk_missing) return rt_tok_no_unk(t, err);
    return ok && rt_bpe_merge(w, m) ? RT_OK : rt_tok_out_of_memory(err);
}

const tok_model_kind rt_tok_model_bpe = {.type = "BPE", .load = load, .finish = finish, .encode = encode};
