/* WordPiece: the longest token that begins the word, then the longest that goes on, which is spelled with a prefix in
 * the vocabulary; a word with a part that no token covers is unknown as a whole. Schuster & Nakajima 2012; Devlin et
 * al. 2019. */
#include "text/tokenizer_impl.h"
#include "text/utf8.h"

static rt_status load(rt_tokenizer *t, const tok_node *model, rt_error *err) {
    tok_model *m = &t->model;
    RT_TRY(rt_tok_load_vocab(t, model, err));
    RT_TRY(rt_tok_load_unk(t, model, "[UNK]", err));
    RT_TRY(rt_tok_load_affix(model, "continuing_subword_prefix", "##", &m->prefix, &m->prefix_bytes, err));
    RT_TRY(rt_tok_integer(model, "max_input_chars_per_word", 0, INT32_MAX, &m->longest_word, err));
    for (int32_t id = 0; id < t->vocab.size; id++) {
        const tok_entry *e = &t->vocab.entries[id];
        if (e->used && rt_tok_trie_add(&m->trie, rt_tok_vocab_string(&t->vocab, id), e->length, id) != RT_OK)
            return rt_tok_out_of_memory(err);
    }
    return RT_OK;
}

/* The longest token that goes on from *node in s[0..n): its bytes, 0 for none. */
static size_t longest(const tok_trie *trie, int32_t node, const char *s, size_t n, int32_t *id) {
    size_t found = 0;
    int32_t value;
    for (size_t i = 0; i < n && rt_tok_trie_step(trie, &node, s[i], &value); i++)
        if (value >= 0) *id = value, found = i + 1;
    return found;
}

/* Where the tokens with the prefix begin; false: there are none. */
static bool after_prefix(const tok_model *m, int32_t *node) {
    int32_t value;
    for (size_t i = 0; i < m->prefix_bytes; i++)
        if (!rt_tok_trie_step(&m->trie, node, m->prefix[i], &value)) return false;
    return true;
}

static bool too_long(const char *s, size_t n, int64_t limit) {
    int64_t count = 0;
    for (size_t i = 0; i < n; i++) count += (s[i] & 0xC0) != 0x80;
    return count > limit;
}

static rt_status encode(tok_work *w, const rt_tokenizer *t, const char *s, size_t n, rt_error *err) {
    const tok_model *m = &t->model;
    int32_t inside = 0, id = -1;
    bool goes_on = after_prefix(m, &inside), known = !too_long(s, n, m->longest_word);
    for (size_t begin = 0, length; known && begin < n; begin += length) {
        length = begin == 0 || goes_on ? longest(&m->trie, begin ? inside : 0, s + begin, n - begin, &id) : 0;
        known = length > 0;
        if (known && !rt_tok_work_push(w, id, length)) return rt_tok_out_of_memory(err);
    }
    if (known) return RT_OK;
    w->size = 0;
    if (m->unk < 0) return rt_tok_no_unk(t, err);
    return rt_tok_work_push(w, m->unk, n) ? RT_OK : rt_tok_out_of_memory(err);
}

const tok_model_kind rt_tok_model_wordpiece = {.type = "WordPiece", .load = load, .encode = encode};
