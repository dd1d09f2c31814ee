/* tokenizer_model.c - the "model" section: vocabulary, merges (both spellings), and what the symbols of bytes are. */
#include "text/byte_alphabet.h"
#include "text/tokenizer_impl.h"
#include "text/utf8.h"
#include <stdio.h>
#include <string.h>

static const char MARK[] = "\xE2\x96\x81"; /* U+2581, SentencePiece's space */

static rt_status load_vocab(rt_tokenizer *t, const tok_node *model, rt_error *err) {
    tok_node vocab = rt_tok_key(model, "vocab");
    RT_TRY(rt_tok_expect(&vocab, JSON_OBJECT, err));
    const char *token;
    json_t *value;
    json_object_foreach((json_t *)vocab.json, token, value) {
        json_int_t id = json_is_integer(value) ? json_integer_value(value) : -1;
        int32_t clash = -1;
        if (id < 0 || id >= TOK_MAX_ID)
            return rt_tok_fail(&vocab, RT_E_INPUT, err, "the id of '%.60s' is no integer in 0..%d", token,
                               TOK_MAX_ID - 1);
        rt_status s = rt_tok_vocab_add(&t->vocab, (int32_t)id, token, strlen(token), &clash);
        if (s == RT_E_NOMEM) return rt_tok_out_of_memory(err);
        if (s != RT_OK)
            return rt_tok_fail(&vocab, s, err, "id %d is given to both '%.60s' and '%.60s'", clash,
                               rt_tok_vocab_string(&t->vocab, clash), token);
        t->vocab.entries[id].in_model = true;
    }
    return t->vocab.size ? RT_OK : rt_tok_fail(&vocab, RT_E_INPUT, err, "the vocabulary is empty");
}

static rt_status check_affixes(const tok_node *model, rt_error *err) {
    static const char *const keys[] = {"continuing_subword_prefix", "end_of_word_suffix"};
    for (int i = 0; i < 2; i++) {
        const char *text;
        tok_node affix = rt_tok_key(model, keys[i]);
        RT_TRY(rt_tok_string(model, keys[i], "", &text, NULL, err));
        if (*text) return rt_tok_fail(&affix, RT_E_UNSUPPORTED, err, "'%.40s' is not supported (only none)", text);
    }
    return RT_OK;
}

rt_status rt_tok_load_model(rt_tokenizer *t, const tok_node *model, rt_error *err) {
    static const char *const types[] = {"BPE", NULL};
    const char *type, *unk;
    int which;
    tok_model *m = &t->model;
    RT_TRY(rt_tok_expect(model, JSON_OBJECT, err));
    RT_TRY(rt_tok_string(model, "type", "BPE", &type, NULL, err));
    RT_TRY(rt_tok_choice(model, type, types, &which, err));
    RT_TRY(check_affixes(model, err));
    RT_TRY(rt_tok_bool(model, "byte_fallback", false, &m->byte_fallback, err));
    RT_TRY(rt_tok_bool(model, "fuse_unk", false, &m->fuse_unk, err));
    RT_TRY(rt_tok_bool(model, "ignore_merges", false, &m->ignore_merges, err));
    RT_TRY(load_vocab(t, model, err));
    RT_TRY(rt_tok_string(model, "unk_token", "", &unk, NULL, err));
    m->unk = *unk ? rt_tok_vocab_find(&t->vocab, unk, strlen(unk)) : -1;
    if (*unk && m->unk < 0)
        return rt_tok_fail(model, RT_E_INPUT, err, "unk_token '%.60s' is not in the vocabulary", unk);
    return rt_tok_load_merges(t, model, err);
}

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

rt_status rt_tok_load_merges(rt_tokenizer *t, const tok_node *model, rt_error *err) {
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

/* ---- bytes ---- */

static int32_t find_byte(const rt_tokenizer *t, int byte) {
    char token[8];
    if (t->model.byte_level)
        return rt_tok_vocab_find_model(&t->vocab, token, rt_utf8_put(token, rt_byte_alphabet_char((uint8_t)byte)));
    snprintf(token, sizeof token, "<0x%02X>", (unsigned)byte);
    return t->model.byte_fallback ? rt_tok_vocab_find_model(&t->vocab, token, 6) : -1;
}

/* Does a token of the model hold the mark after another character? */
static bool mark_inside(const char *s, size_t n) {
    for (size_t i = 1; i + 3 <= n; i++)
        if (memcmp(s + i, MARK, 3) == 0 && (i < 3 || memcmp(s + i - 3, MARK, 3) != 0)) return true;
    return false;
}

rt_status rt_tok_finish_model(rt_tokenizer *t, const tok_node *model, rt_error *err) {
    tok_model *m = &t->model;
    int missing = 0;
    for (int b = 0; b < 256; b++) {
        m->byte_id[b] = find_byte(t, b);
        missing += m->byte_id[b] < 0;
    }
    if (m->byte_level && m->byte_fallback && missing)
        return rt_tok_fail(model, RT_E_UNSUPPORTED, err,
                           "byte_fallback together with a ByteLevel alphabet that lacks %d bytes", missing);
    m->cut_at_mark = !m->byte_level && !m->ignore_merges && rt_tok_vocab_find_model(&t->vocab, MARK, 3) >= 0;
    for (size_t i = 0; m->cut_at_mark && i <= m->merges.mask; i++) {
        const tok_merge *merge = &m->merges.slots[i];
        if (merge->id < 0) continue;
        m->cut_at_mark = !mark_inside(rt_tok_vocab_string(&t->vocab, merge->id), t->vocab.entries[merge->id].length);
    }
    return RT_OK;
}
