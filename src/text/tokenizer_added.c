/* tokenizer_added.c - added tokens: found in the text before the model sees it, leftmost first, the longest there.
 *
 * A token with `normalized` is looked for, itself normalised, in the normalised text, and decoding writes it so; the
 * others in the raw text. lstrip and rstrip swallow white space around, single_word asks for no word character on
 * either side. The search goes on behind a token itself, so that the next may begin in the white space that rstrip
 * swallowed. */
#include "text/tokenizer_impl.h"
#include "text/utf8.h"
#include <stdlib.h>
#include <string.h>

static int by_first_byte_longer_first(const void *a, const void *b) {
    const tok_added *x = a, *y = b;
    int d = (int)(uint8_t)x->text[0] - (int)(uint8_t)y->text[0];
    if (d) return d;
    if (x->bytes != y->bytes) return x->bytes < y->bytes ? 1 : -1;
    return (x->id > y->id) - (x->id < y->id);
}

static void index_set(tok_added_set *set) {
    if (set->size) qsort(set->items, set->size, sizeof *set->items, by_first_byte_longer_first);
    uint32_t i = 0;
    for (int b = 0; b <= 256; b++) {
        while (i < set->size && (uint8_t)set->items[i].text[0] < b) i++;
        set->first[b] = i;
    }
}

void rt_tok_added_free(tok_added_set *set) {
    for (size_t i = 0; i < set->size; i++) rt_free(set->items[i].text);
    rt_free(set->items);
    *set = (tok_added_set){0};
}

/* ---- loading ---- */

static rt_status set_add(rt_tokenizer *t, tok_added a, const char *text, size_t n, rt_error *err) {
    tok_pieces p = {0};
    tok_view view = {text, n, NULL, 0};
    rt_status s = RT_OK;
    if (a.normalized) {
        s = rt_tok_matcher_new(&p.matcher, err);
        if (s == RT_OK) s = rt_tok_normalize(t, &p, &view, (int64_t)n, err);
    }
    tok_added_set *set = a.normalized ? &t->normalized : &t->raw;
    if (s == RT_OK && (view.n != n || memcmp(view.s, text, n) != 0) &&
        rt_tok_vocab_set_decoded(&t->vocab, a.id, view.s, view.n) != RT_OK)
        s = rt_tok_out_of_memory(err);
    if (s == RT_OK && view.n) { /* a token that normalises to nothing is never found */
        a.text = rt_strndup(view.s, view.n);
        a.bytes = view.n;
        if (a.text && rt_tok_grow((void **)&set->items, set->size + 1, &set->capacity, sizeof a))
            set->items[set->size++] = a;
        else {
            rt_free(a.text);
            s = rt_tok_out_of_memory(err);
        }
    }
    rt_tok_pieces_free(&p);
    return s;
}

static rt_status load_one(rt_tokenizer *t, const tok_node *item, int64_t limit, rt_error *err) {
    const char *text;
    size_t n;
    int64_t id;
    bool special;
    int32_t clash = -1;
    tok_added a = {0};
    RT_TRY(rt_tok_expect(item, JSON_OBJECT, err));
    RT_TRY(rt_tok_string(item, "content", NULL, &text, &n, err));
    RT_TRY(rt_tok_integer(item, "id", 0, limit - 1, &id, err));
    RT_TRY(rt_tok_bool(item, "special", false, &special, err));
    RT_TRY(rt_tok_bool(item, "single_word", false, &a.single_word, err));
    RT_TRY(rt_tok_bool(item, "lstrip", false, &a.lstrip, err));
    RT_TRY(rt_tok_bool(item, "rstrip", false, &a.rstrip, err));
    RT_TRY(rt_tok_bool(item, "normalized", !special, &a.normalized, err));
    if (n == 0) return RT_OK; /* as if it were not there */
    a.id = (int32_t)id;
    rt_status s = rt_tok_vocab_add(&t->vocab, a.id, text, n, &clash);
    if (s == RT_E_NOMEM) return rt_tok_out_of_memory(err);
    if (s != RT_OK && clash == a.id)
        return rt_tok_fail(item, s, err, "id %d is '%.60s' already, not '%.60s'", clash,
                           rt_tok_vocab_string(&t->vocab, clash), text);
    if (s != RT_OK) return rt_tok_fail(item, s, err, "'%.60s' has id %d already, not %d", text, clash, a.id);
    if (special) t->vocab.entries[a.id].special = true;
    return set_add(t, a, text, n, err);
}

rt_status rt_tok_load_added(rt_tokenizer *t, const tok_node *list, rt_error *err) {
    if (!rt_tok_absent(list)) RT_TRY(rt_tok_expect(list, JSON_ARRAY, err));
    int64_t limit = rt_tok_id_limit((size_t)t->vocab.size + json_array_size(list->json));
    for (size_t i = 0; i < json_array_size(list->json); i++) {
        tok_node item = rt_tok_item(list, i);
        RT_TRY(load_one(t, &item, limit, err));
    }
    index_set(&t->raw);
    index_set(&t->normalized);
    return RT_OK;
}

/* ---- finding ---- */

static size_t char_before(const char *s, size_t at) { /* where the character that ends at `at` > 0 begins */
    do at--;
    while (at > 0 && (s[at] & 0xC0) == 0x80);
    return at;
}
static bool stands_alone(const char *s, size_t n, size_t begin, size_t end) {
    size_t length, before = begin ? char_before(s, begin) : 0;
    if (begin && rt_utf8_is_word(rt_utf8_get(s + before, begin - before, &length))) return false;
    return end == n || !rt_utf8_is_word(rt_utf8_get(s + end, n - end, &length));
}

static tok_hit widen(const tok_added *a, const char *s, size_t n, size_t done, size_t begin) {
    tok_hit hit = {begin, begin + a->bytes, begin + a->bytes, a->id};
    size_t length;
    while (a->lstrip && hit.begin > 0) {
        size_t before = char_before(s, hit.begin);
        if (!rt_utf8_is_space(rt_utf8_get(s + before, hit.begin - before, &length))) break;
        hit.begin = before;
    }
    if (a->lstrip && hit.begin < done) hit.begin = done;
    while (a->rstrip && hit.end < n && rt_utf8_is_space(rt_utf8_get(s + hit.end, n - hit.end, &length)))
        hit.end += length;
    return hit;
}

static const tok_added *at_byte(const tok_added_set *set, const char *s, size_t n) {
    uint8_t b = (uint8_t)*s;
    for (uint32_t i = set->first[b]; i < set->first[b + 1]; i++)
        if (set->items[i].bytes <= n && memcmp(set->items[i].text, s, set->items[i].bytes) == 0) return &set->items[i];
    return NULL;
}

bool rt_tok_added_next(const tok_added_set *set, const char *s, size_t n, size_t from, size_t done, tok_hit *hit) {
    if (set->size == 0) return false;
    for (size_t i = from; i < n; i++) {
        const tok_added *a = at_byte(set, s + i, n - i);
        if (!a) continue;
        if (!a->single_word || stands_alone(s, n, i, i + a->bytes)) {
            *hit = widen(a, s, n, done, i);
            return true;
        }
        i += a->bytes - 1; /* a match that does not count still uses up its text */
    }
    return false;
}
