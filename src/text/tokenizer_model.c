/* tokenizer_model.c - the "model" section: which kind, and what the kinds share. */
#include "text/byte_alphabet.h"
#include "text/tokenizer_impl.h"
#include "text/utf8.h"
#include <stdio.h>
#include <string.h>

enum { HOLES = 1 << 16 };

#define TOK_MODEL(name) extern const tok_model_kind rt_tok_model_##name;
#include "text/models.def"
#undef TOK_MODEL
static const tok_model_kind *const kinds[] = {
#define TOK_MODEL(name) &rt_tok_model_##name,
#include "text/models.def"
#undef TOK_MODEL
};
enum { KINDS = sizeof kinds / sizeof *kinds };

/* ---- loading ---- */

/* Old files do not say their type. BPE alone has merges; Unigram's vocabulary is a list; WordPiece has a limit. */
static const char *usual_type(const tok_node *model) {
    if (json_object_get(model->json, "merges")) return "BPE";
    if (json_is_array(json_object_get(model->json, "vocab"))) return "Unigram";
    return json_object_get(model->json, "max_input_chars_per_word") ? "WordPiece" : "BPE";
}

rt_status rt_tok_load_model(rt_tokenizer *t, const tok_node *model, rt_error *err) {
    const char *names[KINDS + 1] = {0}, *type;
    int which;
    for (int i = 0; i < KINDS; i++) names[i] = kinds[i]->type;
    RT_TRY(rt_tok_expect(model, JSON_OBJECT, err));
    RT_TRY(rt_tok_string(model, "type", usual_type(model), &type, NULL, err));
    RT_TRY(rt_tok_choice(model, type, names, &which, err));
    t->model.kind = kinds[which];
    t->model.unk = -1;
    return t->model.kind->load(t, model, err);
}

rt_status rt_tok_finish_model(rt_tokenizer *t, const tok_node *model, rt_error *err) {
    for (int b = 0; b < 256; b++) t->model.byte_id[b] = t->model.byte_fallback ? rt_tok_byte_token(t, b) : -1;
    return t->model.kind->finish ? t->model.kind->finish(t, model, err) : RT_OK;
}

int64_t rt_tok_id_limit(size_t tokens) {
    int64_t limit = (int64_t)(tokens < TOK_MAX_ID ? tokens : TOK_MAX_ID) * 4 + HOLES;
    return limit < TOK_MAX_ID ? limit : TOK_MAX_ID;
}

rt_status rt_tok_load_vocab(rt_tokenizer *t, const tok_node *model, rt_error *err) {
    tok_node vocab = rt_tok_key(model, "vocab");
    RT_TRY(rt_tok_expect(&vocab, JSON_OBJECT, err));
    int64_t limit = rt_tok_id_limit(json_object_size(vocab.json));
    const char *token;
    json_t *value;
    json_object_foreach((json_t *)vocab.json, token, value) {
        json_int_t id = json_is_integer(value) ? json_integer_value(value) : -1;
        int32_t clash = -1;
        if (id < 0 || id >= limit)
            return rt_tok_fail(&vocab, RT_E_INPUT, err, "the id of '%.60s' is no integer in 0..%lld", token,
                               (long long)limit - 1);
        rt_status s = rt_tok_vocab_add(&t->vocab, (int32_t)id, token, strlen(token), &clash);
        if (s == RT_E_NOMEM) return rt_tok_out_of_memory(err);
        if (s != RT_OK)
            return rt_tok_fail(&vocab, s, err, "id %d is given to both '%.60s' and '%.60s'", clash,
                               rt_tok_vocab_string(&t->vocab, clash), token);
        t->vocab.entries[id].in_model = true;
    }
    return t->vocab.size ? RT_OK : rt_tok_fail(&vocab, RT_E_INPUT, err, "the vocabulary is empty");
}

rt_status rt_tok_load_unk(rt_tokenizer *t, const tok_node *model, const char *otherwise, rt_error *err) {
    const char *unk;
    size_t n;
    RT_TRY(rt_tok_string(model, "unk_token", otherwise, &unk, &n, err));
    t->model.unk = n ? rt_tok_vocab_find_model(&t->vocab, unk, n) : -1;
    t->model.unk_missing = n && t->model.unk < 0;
    return RT_OK;
}

rt_status rt_tok_load_affix(const tok_node *model, const char *key, const char *otherwise, char **out, size_t *bytes,
                            rt_error *err) {
    const char *text;
    tok_node affix = rt_tok_key(model, key);
    RT_TRY(rt_tok_string(model, key, otherwise, &text, bytes, err));
    if (*bytes > TOK_MAX_AFFIX)
        return rt_tok_fail(&affix, RT_E_UNSUPPORTED, err, "%zu bytes are too long (at most %d)", *bytes, TOK_MAX_AFFIX);
    *out = rt_strndup(text, *bytes);
    return *out ? RT_OK : rt_tok_out_of_memory(err);
}

void rt_tok_model_free(tok_model *m) {
    rt_tok_merges_free(&m->merges);
    rt_tok_trie_free(&m->trie);
    rt_free(m->scores);
    rt_free(m->prefix);
    rt_free(m->suffix);
}

/* ---- running ---- */

bool rt_tok_work_push(tok_work *w, int32_t id, size_t length) {
    if (!rt_tok_grow((void **)&w->symbols, w->size + 1, &w->symbol_capacity, sizeof *w->symbols)) return false;
    w->symbols[w->size++] = (tok_symbol){.id = id, .length = (uint32_t)length};
    return true;
}
void rt_tok_work_free(tok_work *w) {
    rt_free(w->symbols);
    rt_free(w->heap);
    rt_free(w->best);
    *w = (tok_work){0};
}

rt_status rt_tok_encode_piece(tok_work *w, const rt_tokenizer *t, const char *s, size_t n, rt_error *err) {
    w->size = w->lead = 0;
    w->dropped = false;
    if (n > INT32_MAX) return rt_fail(err, RT_E_INPUT, "a piece of %zu bytes is too long for the tokenizer", n);
    return t->model.kind->encode(w, t, s, n, err);
}

rt_status rt_tok_no_unk(const rt_tokenizer *t, rt_error *err) {
    return rt_fail(err, RT_E_INPUT,
                   "%s: the text holds what is not in the vocabulary, and the model has no unknown token", t->file);
}

int32_t rt_tok_byte_token(const rt_tokenizer *t, int byte) {
    char token[8];
    snprintf(token, sizeof token, "<0x%02X>", (unsigned)byte);
    return rt_tok_vocab_find_model(&t->vocab, token, 6);
}
bool rt_tok_have_bytes(const tok_model *m, const char *s, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (m->byte_id[(uint8_t)s[i]] < 0) return false;
    return true;
}
