/* bpe_train.c - the greedy merges: counts of pairs are kept up to date by recounting only the words that hold the
 * merged pair, and a heap with stale entries finds the most frequent one. */
#include "text/bpe_train_impl.h"
#include "text/byte_alphabet.h"
#include "text/tok_step.h"
#include "text/utf8.h"
#include <string.h>

/* ---- heap: highest count first, then lowest ids ---- */

static bool goes_first(const trainer *t, train_candidate a, train_candidate b) {
    const train_pair *x = &t->pairs[a.pair], *y = &t->pairs[b.pair];
    if (a.count != b.count) return a.count > b.count;
    return x->left != y->left ? x->left < y->left : x->right < y->right;
}
static bool heap_push(trainer *t, train_candidate c) {
    if (!rt_tok_grow((void **)&t->heap, t->heap_size + 1, &t->heap_capacity, sizeof c)) return false;
    size_t i = t->heap_size++;
    for (; i > 0 && goes_first(t, c, t->heap[(i - 1) / 2]); i = (i - 1) / 2) t->heap[i] = t->heap[(i - 1) / 2];
    t->heap[i] = c;
    return true;
}
static train_candidate heap_pop(trainer *t) {
    train_candidate top = t->heap[0], last = t->heap[--t->heap_size];
    size_t i = 0;
    for (size_t child; (child = 2 * i + 1) < t->heap_size; i = child) {
        if (child + 1 < t->heap_size && goes_first(t, t->heap[child + 1], t->heap[child])) child++;
        if (!goes_first(t, t->heap[child], last)) break;
        t->heap[i] = t->heap[child];
    }
    if (t->heap_size) t->heap[i] = last;
    return top;
}

/* ---- pairs ---- */

static bool pair_table_grow(trainer *t) {
    if (t->pair_index.slots && t->pair_count * 3 < t->pair_index.mask * 2) return true;
    tok_merges bigger = {0};
    if (rt_tok_merges_init(&bigger, t->pair_count * 2 + 4096) != RT_OK) return false;
    for (size_t i = 0; i < t->pair_count; i++)
        rt_tok_merges_add(&bigger, t->pairs[i].left, t->pairs[i].right, 0, (int32_t)i);
    rt_tok_merges_free(&t->pair_index);
    t->pair_index = bigger;
    return true;
}

static train_pair *pair_of(trainer *t, int32_t left, int32_t right) { /* NULL: out of memory */
    if (!pair_table_grow(t)) return NULL;
    const tok_merge *found = rt_tok_merges_find(&t->pair_index, left, right);
    if (found) return &t->pairs[found->id];
    if (!rt_tok_grow((void **)&t->pairs, t->pair_count + 1, &t->pair_capacity, sizeof *t->pairs)) return NULL;
    rt_tok_merges_add(&t->pair_index, left, right, 0, (int32_t)t->pair_count);
    t->pairs[t->pair_count] = (train_pair){.left = left, .right = right, .place = -1};
    return &t->pairs[t->pair_count++];
}

static bool add_place(trainer *t, train_pair *p, int32_t word) {
    if (p->place >= 0 && t->places[p->place].word == word) return true;
    if (t->place_count >= INT32_MAX ||
        !rt_tok_grow((void **)&t->places, t->place_count + 1, &t->place_capacity, sizeof *t->places))
        return false;
    t->places[t->place_count] = (train_place){word, p->place};
    p->place = (int32_t)t->place_count++;
    return true;
}

/* Adds (sign +1) or takes away (-1) the pairs of a word. Pairs that hold the symbol `fresh` (all of them when it is
 * INT32_MAX, none when it is negative) are new in this word: it is noted among their places. */
static bool count_word(trainer *t, int32_t word, int sign, int32_t fresh) {
    const train_word *w = &t->words[word];
    const int32_t *s = t->symbols + w->begin;
    for (int32_t i = 0; i + 1 < w->size; i++) {
        train_pair *p = pair_of(t, s[i], s[i + 1]);
        if (!p) return false;
        p->count += sign * w->count;
        bool is_new = fresh == INT32_MAX || (fresh >= 0 && (s[i] == fresh || s[i + 1] == fresh));
        if (is_new && !add_place(t, p, word)) return false;
    }
    return true;
}

/* ---- merging ---- */

static bool join_in_word(trainer *t, int32_t word, int32_t left, int32_t right, int32_t id) { /* did it occur? */
    train_word *w = &t->words[word];
    int32_t *s = t->symbols + w->begin, n = 0;
    for (int32_t i = 0; i < w->size; i++) {
        bool hit = i + 1 < w->size && s[i] == left && s[i + 1] == right;
        s[n++] = hit ? id : s[i];
        i += hit;
    }
    bool any = n < w->size;
    w->size = n;
    return any;
}

static bool has_pair(const trainer *t, int32_t word, int32_t left, int32_t right) {
    const train_word *w = &t->words[word];
    const int32_t *s = t->symbols + w->begin;
    for (int32_t i = 0; i + 1 < w->size; i++)
        if (s[i] == left && s[i + 1] == right) return true;
    return false;
}

/* The pairs around `id` in a word, whose counts went up: offered to the heap. */
static bool offer_word(trainer *t, int32_t word, int32_t id) {
    const train_word *w = &t->words[word];
    const int32_t *s = t->symbols + w->begin;
    for (int32_t i = 0; i + 1 < w->size; i++) {
        const tok_merge *found =
            s[i] == id || s[i + 1] == id ? rt_tok_merges_find(&t->pair_index, s[i], s[i + 1]) : NULL;
        if (found && !heap_push(t, (train_candidate){t->pairs[found->id].count, found->id})) return false;
    }
    return true;
}

/* Every word of the pair's list; offering comes after all counting, so that each new pair is offered at its final
 * count. */
static bool merge_pair(trainer *t, int32_t pair, int32_t id) {
    int32_t left = t->pairs[pair].left, right = t->pairs[pair].right, first = t->pairs[pair].place;
    t->pairs[pair].place = -1;
    for (int32_t at = first; at >= 0; at = t->places[at].next) {
        int32_t word = t->places[at].word;
        if (!has_pair(t, word, left, right)) continue;
        if (!count_word(t, word, -1, -1)) return false;
        join_in_word(t, word, left, right, id);
        if (!count_word(t, word, +1, id)) return false;
    }
    for (int32_t at = first; at >= 0; at = t->places[at].next)
        if (!offer_word(t, t->places[at].word, id)) return false;
    return true;
}

/* The id of left + right: a new one, or that of the same string reached another way. -1: out of memory. */
static int32_t token_of(trainer *t, const train_pair *p) {
    rt_buf joined = {0};
    int32_t ids[2] = {p->left, p->right}, clash;
    for (int i = 0; i < 2; i++)
        rt_buf_add(&joined, rt_tok_vocab_string(&t->tokens, ids[i]), t->tokens.entries[ids[i]].length);
    int32_t id = joined.failed ? -1 : rt_tok_vocab_find(&t->tokens, joined.data, joined.size);
    if (!joined.failed && id < 0) {
        id = t->tokens.size;
        if (rt_tok_vocab_add(&t->tokens, id, joined.data, joined.size, &clash) != RT_OK) id = -1;
    }
    rt_buf_free(&joined);
    return id;
}

static rt_status learn(trainer *t, const rt_bpe_train_options *o, rt_error *err) {
    int64_t least = o->min_count > 0 ? o->min_count : 2;
    for (size_t i = 0; i < t->word_count; i++)
        if (!count_word(t, (int32_t)i, +1, INT32_MAX)) return rt_tok_out_of_memory(err);
    for (size_t i = 0; i < t->pair_count; i++)
        if (!heap_push(t, (train_candidate){t->pairs[i].count, (int32_t)i})) return rt_tok_out_of_memory(err);
    while (t->tokens.size < o->vocab && t->heap_size) {
        train_candidate c = heap_pop(t);
        train_pair *p = &t->pairs[c.pair];
        if (p->count < least) continue;
        if (p->count != c.count) { /* a higher count was offered when it rose: this one fell */
            if (p->count < c.count && !heap_push(t, (train_candidate){p->count, c.pair}))
                return rt_tok_out_of_memory(err);
            continue;
        }
        int32_t id = token_of(t, p);
        if (id < 0 || !rt_tok_grow((void **)&t->merges, t->merge_count + 1, &t->merge_capacity, sizeof *t->merges))
            return rt_tok_out_of_memory(err);
        if (!p->merged)
            t->merges[t->merge_count++] = c.pair; /* a pair may come back when its parts arise another way */
        p->merged = true;
        if (!merge_pair(t, c.pair, id)) return rt_tok_out_of_memory(err);
    }
    return RT_OK;
}

/* ---- the whole ---- */

static rt_status add_special(trainer *t, const char *text, rt_error *err) {
    int32_t clash;
    size_t n = strlen(text);
    if (n == 0 || rt_utf8_valid_bytes(text, n) < n)
        return rt_fail(err, RT_E_ARG, "a special token is %s", n ? "not valid UTF-8" : "empty");
    rt_status s = rt_tok_vocab_add(&t->tokens, t->special, text, n, &clash);
    if (s == RT_E_INPUT) return rt_fail(err, RT_E_ARG, "the special token '%.60s' is given twice", text);
    t->special++;
    return s == RT_OK ? s : rt_tok_out_of_memory(err);
}

static rt_status first_tokens(trainer *t, const rt_bpe_train_options *o, rt_error *err) {
    static const char *const ends[] = {"<|bos|>", "<|eos|>"};
    int32_t clash, c = 0;
    char token[5] = {0};
    rt_status s = RT_OK;
    for (int i = 0; i < 2 && o->bos_eos; i++) RT_TRY(add_special(t, ends[i], err));
    for (int i = 0; i < o->special_count; i++) RT_TRY(add_special(t, o->special[i], err));
    for (int32_t id = t->special; c < 512 && s == RT_OK; c++)
        if (rt_byte_alphabet_byte(c) >= 0) s = rt_tok_vocab_add(&t->tokens, id++, token, rt_utf8_put(token, c), &clash);
    if (s == RT_E_INPUT)
        return rt_fail(err, RT_E_ARG, "the special token '%s' is the character of a byte",
                       rt_tok_vocab_string(&t->tokens, clash));
    return s == RT_OK ? s : rt_tok_out_of_memory(err);
}

static void trainer_free(trainer *t) {
    rt_tok_vocab_free(&t->tokens);
    rt_tok_merges_free(&t->pair_index);
    void *blocks[] = {t->words, t->symbols, t->pairs, t->places, t->heap, t->merges};
    for (size_t i = 0; i < sizeof blocks / sizeof *blocks; i++) rt_free(blocks[i]);
}

rt_status rt_bpe_train(const char *text, size_t bytes, const rt_bpe_train_options *o, rt_buf *json, rt_error *err) {
    int32_t least = 256 + 2 * o->bos_eos + o->special_count;
    if (o->vocab < least || o->vocab >= TOK_MAX_ID)
        return rt_fail(err, RT_E_ARG, "a byte-level vocabulary of %d: expected %d..%d", o->vocab, least,
                       TOK_MAX_ID - 1);
    size_t valid = rt_utf8_valid_bytes(text, bytes);
    if (valid < bytes) return rt_fail(err, RT_E_INPUT, "the text is not valid UTF-8 at byte %zu", valid);
    trainer t = {0};
    rt_status s = first_tokens(&t, o, err);
    if (s == RT_OK) s = rt_train_read_words(&t, o, text, bytes, err);
    if (s == RT_OK) s = learn(&t, o, err);
    if (s == RT_OK) s = rt_train_write_json(&t, o, json, err);
    trainer_free(&t);
    return s;
}
