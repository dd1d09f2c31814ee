/* Unigram: of all ways to write a piece as tokens the one of the highest sum of log-probabilities (Viterbi). Kudo 2018.
 *
 * A character that is no token itself may be unknown, at 10 below the least probable token. Neighbouring unknowns are
 * one; with byte_fallback they become the tokens of their bytes. Of two equal sums the one found first stays, tokens
 * from the left, shorter before longer: as Hugging Face's library does it, whose order of additions this is. */
#include "text/tokenizer_impl.h"
#include "text/utf8.h"
#include <math.h>

enum { MAX_TOKEN = 1 << 12 }; /* bytes; a path has to be looked at for every length */
static const double UNKNOWN_PENALTY = 10.0;

/* ---- loading ---- */

static rt_status load_entry(rt_tokenizer *t, const tok_node *pair, int32_t id, rt_error *err) {
    const char *text;
    size_t n;
    tok_node token = rt_tok_item(pair, 0), score = rt_tok_item(pair, 1);
    if (!json_is_array(pair->json) || json_array_size(pair->json) != 2 || !json_is_number(score.json))
        return rt_tok_fail(pair, RT_E_INPUT, err, "expected [token, score]");
    RT_TRY(rt_tok_text_of(&token, &text, &n, err));
    if (n > MAX_TOKEN) return rt_tok_fail(&token, RT_E_INPUT, err, "a token of %zu bytes is too long", n);
    t->model.scores[id] = json_number_value(score.json);
    if (rt_tok_vocab_put(&t->vocab, id, text, n) != RT_OK || rt_tok_trie_add(&t->model.trie, text, n, id) != RT_OK)
        return rt_tok_out_of_memory(err);
    t->vocab.entries[id].in_model = true;
    if (t->model.scores[id] < t->model.unknown_score) t->model.unknown_score = t->model.scores[id];
    return RT_OK;
}

static rt_status load_pairs(rt_tokenizer *t, const tok_node *model, rt_error *err) {
    tok_node vocab = rt_tok_key(model, "vocab");
    RT_TRY(rt_tok_expect(&vocab, JSON_ARRAY, err));
    size_t count = json_array_size(vocab.json);
    if (count == 0 || count > TOK_MAX_ID)
        return rt_tok_fail(&vocab, RT_E_INPUT, err, "%zu tokens: expected 1..%d", count, TOK_MAX_ID);
    t->model.scores = rt_alloc(rt_array_bytes(count, sizeof *t->model.scores));
    if (!t->model.scores) return rt_tok_out_of_memory(err);
    t->model.unknown_score = INFINITY;
    t->model.scored = (int32_t)count;
    for (size_t i = 0; i < count; i++) {
        tok_node pair = rt_tok_item(&vocab, i);
        RT_TRY(load_entry(t, &pair, (int32_t)i, err));
    }
    t->model.unknown_score -= UNKNOWN_PENALTY;
    return RT_OK;
}

static rt_status load(rt_tokenizer *t, const tok_node *model, rt_error *err) {
    tok_node unk = rt_tok_key(model, "unk_id");
    int64_t id = -1;
    RT_TRY(rt_tok_bool(model, "byte_fallback", false, &t->model.byte_fallback, err));
    RT_TRY(load_pairs(t, model, err));
    if (!rt_tok_absent(&unk)) RT_TRY(rt_tok_integer(model, "unk_id", 0, t->vocab.size - 1, &id, err));
    t->model.unk = (int32_t)id;
    return RT_OK;
}

/* ---- the best path ---- */

static void offer(tok_best *best, double score, size_t begin, int32_t id) {
    if (best->id >= 0 && !(score > best->score)) return;
    *best = (tok_best){score, (uint32_t)begin, id};
}

static rt_status walk(tok_best *best, const rt_tokenizer *t, const char *s, size_t n, rt_error *err) {
    const tok_model *m = &t->model;
    for (size_t i = 0, length; i < n; i += length) {
        int32_t node = 0, id;
        bool alone = false;
        rt_utf8_get(s + i, n - i, &length);
        for (size_t k = i; k < n && rt_tok_trie_step(&m->trie, &node, s[k], &id); k++) {
            if (id < 0) continue;
            offer(&best[k + 1], best[i].score + m->scores[id], i, id);
            alone |= k + 1 == i + length;
        }
        if (!alone && m->unk < 0) return rt_tok_no_unk(t, err);
        if (!alone) offer(&best[i + length], best[i].score + m->unknown_score, i, m->unk);
    }
    return RT_OK;
}

/* What neighbouring unknowns [s, s + n) become, in reverse. */
static bool push_unknown(tok_work *w, const rt_tokenizer *t, const char *s, size_t n) {
    const tok_model *m = &t->model;
    int32_t id = rt_tok_vocab_find_model(&t->vocab, s, n);
    if (id >= 0 || !m->byte_fallback || !rt_tok_have_bytes(m, s, n))
        return rt_tok_work_push(w, id >= 0 ? id : m->unk, n);
    for (size_t i = n; i > 0; i--)
        if (!rt_tok_work_push(w, m->byte_id[(uint8_t)s[i - 1]], 1)) return false;
    return true;
}

static bool push_path(tok_work *w, const rt_tokenizer *t, const char *s, size_t n) {
    bool ok = true;
    for (size_t end = n, begin; end > 0 && ok; end = begin) {
        begin = w->best[end].begin;
        bool unknown = w->best[end].id == t->model.unk;
        while (unknown && begin > 0 && w->best[begin].id == t->model.unk) begin = w->best[begin].begin;
        ok = unknown ? push_unknown(w, t, s + begin, end - begin) : rt_tok_work_push(w, w->best[end].id, end - begin);
    }
    for (size_t i = 0, j = w->size; ok && i + 1 < j; i++) {
        tok_symbol last = w->symbols[--j];
        w->symbols[j] = w->symbols[i];
        w->symbols[i] = last;
    }
    return ok;
}

static rt_status encode(tok_work *w, const rt_tokenizer *t, const char *s, size_t n, rt_error *err) {
    if (!rt_tok_grow((void **)&w->best, n + 1, &w->best_capacity, sizeof *w->best)) return rt_tok_out_of_memory(err);
    w->best[0] = (tok_best){0, 0, 0};
    for (size_t i = 1; i <= n; i++) w->best[i].id = -1;
    RT_TRY(walk(w->best, t, s, n, err));
    return push_path(w, t, s, n) ? RT_OK : rt_tok_out_of_memory(err);
}

const tok_model_kind rt_tok_model_unigram = {.type = "Unigram", .load = load, .encode = encode};
