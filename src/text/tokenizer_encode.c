/* tokenizer_encode.c - text to ids: the way through the stages that tokenizer_impl.h lists.
 *
 * Only the begin of every id's stretch is recorded; it ends where the next begins, so that the ranges cover the text
 * without gap or overlap whatever the normalizers removed or added. */
#include "text/tokenizer_impl.h"
#include "text/utf8.h"
#include <ctype.h>
#include <string.h>

enum { CACHE_SLOTS = 1 << 14, CACHE_KEY = 22, CACHE_IDS = 8, CACHE_FROM_BYTES = 1 << 16 };

typedef struct cached { /* one cache line */
    uint8_t bytes, count;
    char key[CACHE_KEY];
    int32_t ids[CACHE_IDS];
    uint8_t lengths[CACHE_IDS];
} cached;

struct rt_encoder {
    const rt_tokenizer *t;
    tok_pieces normal, pieces; /* `normal` holds the normalised text that `pieces` cuts */
    tok_work work;
    cached *cache; /* direct-mapped; NULL: none */
    rt_ids *ids;
    int64_t *begins; /* of the ids of this text */
    size_t count, capacity;
    bool track;
    const uint8_t *data; /* of every byte of the text: 1 where no special token may be found; NULL: nowhere */
};

/* ---- output ---- */

static void emit(rt_encoder *e, int32_t id, int64_t begin) {
    rt_ids_add(e->ids, id);
    if (!e->track) return;
    if (!rt_tok_grow((void **)&e->begins, e->count + 1, &e->capacity, sizeof *e->begins))
        e->ids->failed = true;
    else
        e->begins[e->count++] = begin;
}

static int64_t origin(const rt_encoder *e, size_t i) { return e->track ? rt_tok_origin(&e->pieces.view, i) : 0; }

/* ---- pieces ---- */

static cached *cache_slot(rt_encoder *e, const char *s, size_t n) {
    return e->cache && n <= CACHE_KEY && n > 0 ? &e->cache[rt_tok_hash(s, n) % CACHE_SLOTS] : NULL;
}

static void remember(cached *c, const tok_work *w, const char *s, size_t n) {
    if (w->size > CACHE_IDS || w->lead) return;
    *c = (cached){.bytes = (uint8_t)n, .count = (uint8_t)w->size};
    memcpy(c->key, s, n);
    for (size_t i = 0; i < w->size; i++) {
        c->ids[i] = w->symbols[i].id;
        c->lengths[i] = (uint8_t)w->symbols[i].length;
    }
}

static rt_status encode_piece(rt_encoder *e, size_t begin, size_t end, rt_error *err) {
    const char *s = e->pieces.view.s + begin;
    size_t n = end - begin;
    cached *c = cache_slot(e, s, n);
    if (c && c->bytes == n && memcmp(c->key, s, n) == 0) {
        for (int i = 0; i < c->count; begin += c->lengths[i++]) emit(e, c->ids[i], origin(e, begin));
        return RT_OK;
    }
    tok_work *w = &e->work;
    RT_TRY(rt_tok_encode_piece(w, e->t, s, n, err));
    if (c) remember(c, w, s, n);
    begin += w->lead;
    for (size_t i = 0; i < w->size; begin += w->symbols[i++].length) emit(e, w->symbols[i].id, origin(e, begin));
    return RT_OK;
}

/* A piece may hold many words (SentencePiece has no pre-tokenizer): they are cut where no merge can cross. */
static rt_status encode_words(rt_encoder *e, size_t begin, size_t end, rt_error *err) {
    const char *s = e->pieces.view.s;
    bool after_mark = true;
    for (size_t i = begin; e->t->model.cut_at_mark && i < end; i++) {
        bool mark = end - i >= 3 && memcmp(s + i, "\xE2\x96\x81", 3) == 0;
        if (mark && !after_mark) {
            RT_TRY(encode_piece(e, begin, i, err));
            begin = i;
        }
        after_mark = mark;
        if (mark) i += 2;
    }
    return encode_piece(e, begin, end, err);
}

/* ---- stages ---- */

static rt_status encode_normal(rt_encoder *e, const tok_view *view, size_t begin, size_t end, rt_error *err) {
    tok_pieces *p = &e->pieces;
    if (begin == end) return RT_OK;
    p->view = *view;
    p->end = rt_tok_origin(view, end);
    p->list.size = 0;
    rt_tok_ranges_add(&p->list, begin, end);
    if (p->list.failed) return rt_tok_out_of_memory(err);
    for (size_t i = 0; i < e->t->pretokenizers.size; i++) {
        const tok_step *step = &e->t->pretokenizers.items[i];
        RT_TRY(step->kind->pretokenize(step, p, err));
    }
    for (size_t i = 0; i < p->list.size; i++)
        if (p->list.data[i].begin < p->list.data[i].end)
            RT_TRY(encode_words(e, p->list.data[i].begin, p->list.data[i].end, err));
    return RT_OK;
}

rt_status rt_tok_normalize(const rt_tokenizer *t, tok_pieces *p, tok_view *view, int64_t end, rt_error *err) {
    for (size_t i = 0; i < t->normalizers.size; i++) {
        const tok_step *step = &t->normalizers.items[i];
        tok_text *out = &p->text[i % 2];
        rt_tok_text_clear(out, p->track);
        RT_TRY(step->kind->normalize(step, &p->matcher, view, out, err));
        *view = rt_tok_text_view(out, end);
        if (out->failed) return rt_tok_out_of_memory(err);
    }
    return RT_OK;
}

/* The next added token from hit->next on, passing over special ones that data spells. White space beside a token may be
 * data: it is swallowed, not part of the name. */
static bool spelled_by_data(const rt_encoder *e, const tok_view *view, const tok_hit *hit) {
    if (!e->data || !e->t->vocab.entries[hit->id].special) return false;
    for (size_t i = hit->begin; i < hit->end; i++)
        if (!isspace((unsigned char)view->s[i]) && e->data[rt_tok_origin(view, i)]) return true;
    return false;
}
static bool next_added(const rt_encoder *e, const tok_added_set *set, const tok_view *view, size_t done, tok_hit *hit) {
    while (rt_tok_added_next(set, view->s, view->n, hit->next, done, hit))
        if (!spelled_by_data(e, view, hit)) return true;
    return false;
}

/* A stretch of raw text without added tokens that are looked for there. */
static rt_status encode_stretch(rt_encoder *e, const char *s, size_t begin, size_t end, rt_error *err) {
    tok_view view = {s + begin, end - begin, NULL, (int64_t)begin};
    tok_hit hit = {0};
    size_t from = 0;
    if (begin == end) return RT_OK;
    RT_TRY(rt_tok_normalize(e->t, &e->normal, &view, (int64_t)end, err));
    for (; next_added(e, &e->t->normalized, &view, from, &hit); from = hit.end) {
        if (from < hit.begin) RT_TRY(encode_normal(e, &view, from, hit.begin, err));
        emit(e, hit.id, e->track ? rt_tok_origin(&view, hit.begin) : 0);
    }
    return encode_normal(e, &view, from, view.n, err);
}

static rt_status encode_all(rt_encoder *e, const char *s, size_t n, bool add_special, rt_error *err) {
    const rt_tokenizer *t = e->t;
    tok_hit hit = {0};
    size_t from = 0, valid = rt_utf8_valid_bytes(s, n);
    if (valid < n) return rt_fail(err, RT_E_INPUT, "the text is not valid UTF-8 at byte %zu", valid);
    for (int i = 0; add_special && i < t->before.size; i++) emit(e, t->before.ids[i], 0);
    size_t first = e->count;
    for (tok_view raw = {s, n, NULL, 0}; next_added(e, &t->raw, &raw, from, &hit); from = hit.end) {
        if (from < hit.begin) RT_TRY(encode_stretch(e, s, from, hit.begin, err));
        emit(e, hit.id, (int64_t)hit.begin);
    }
    RT_TRY(encode_stretch(e, s, from, n, err));
    if (e->count > first) e->begins[first] = 0;
    for (int i = 0; add_special && i < t->after.size; i++) emit(e, t->after.ids[i], (int64_t)n);
    return e->ids->failed ? rt_tok_out_of_memory(err) : RT_OK;
}

/* ---- interface ---- */

static rt_status encoder_init(rt_encoder *e, const rt_tokenizer *t, bool cache, rt_error *err) {
    *e = (rt_encoder){.t = t};
    RT_TRY(rt_tok_matcher_new(&e->normal.matcher, err));
    RT_TRY(rt_tok_matcher_new(&e->pieces.matcher, err));
    e->cache = cache ? rt_zalloc(CACHE_SLOTS * sizeof *e->cache) : NULL;
    return cache && !e->cache ? rt_tok_out_of_memory(err) : RT_OK;
}

void rt_tok_pieces_free(tok_pieces *p) {
    rt_tok_ranges_free(&p->list);
    rt_tok_ranges_free(&p->spare);
    rt_tok_text_free(&p->text[0]);
    rt_tok_text_free(&p->text[1]);
    rt_tok_matcher_free(&p->matcher);
}
static void encoder_close(rt_encoder *e) {
    rt_tok_pieces_free(&e->normal);
    rt_tok_pieces_free(&e->pieces);
    rt_tok_work_free(&e->work);
    rt_free(e->cache);
    rt_free(e->begins);
}

rt_status rt_encoder_new(rt_encoder **out, const rt_tokenizer *t, rt_error *err) {
    *out = NULL;
    rt_encoder *e = rt_alloc(sizeof *e);
    if (!e) return rt_tok_out_of_memory(err);
    rt_status s = encoder_init(e, t, true, err);
    if (s == RT_OK)
        *out = e;
    else
        rt_encoder_free(e);
    return s;
}
void rt_encoder_free(rt_encoder *e) {
    if (e) encoder_close(e);
    rt_free(e);
}

static void add_spans(const rt_encoder *e, size_t n, rt_spans *spans) {
    for (size_t i = 0; i < e->count; i++)
        rt_spans_add(spans, (rt_span){e->begins[i], i + 1 < e->count ? e->begins[i + 1] : (int64_t)n});
}

rt_status rt_encoder_encode(rt_encoder *e, const char *utf8, size_t bytes, bool add_special, rt_ids *ids,
                            rt_spans *spans, rt_error *err) {
    return rt_encoder_encode_data(e, utf8, bytes, NULL, add_special, ids, spans, err);
}

rt_status rt_encoder_encode_data(rt_encoder *e, const char *utf8, size_t bytes, const uint8_t *data, bool add_special,
                                 rt_ids *ids, rt_spans *spans, rt_error *err) {
    int64_t ids_before = ids->size, spans_before = spans ? spans->size : 0;
    e->ids = ids;
    e->count = 0;
    e->data = data;
    e->track = spans || data || e->t->needs_origin;
    e->normal.track = e->pieces.track = e->track;
    e->pieces.list.failed = e->pieces.spare.failed = false; /* of an earlier text that memory did not suffice for */
    rt_status s = encode_all(e, utf8, bytes, add_special, err);
    if (s == RT_OK && spans) add_spans(e, bytes, spans);
    if (s == RT_OK && spans && spans->failed) s = rt_tok_out_of_memory(err);
    if (s == RT_OK) return s;
    ids->size = ids_before;
    if (spans) spans->size = spans_before;
    return s;
}

rt_status rt_tokenizer_encode(const rt_tokenizer *t, const char *utf8, size_t bytes, bool add_special, rt_ids *ids,
                              rt_error *err) {
    rt_encoder e;
    rt_status s = encoder_init(&e, t, bytes >= CACHE_FROM_BYTES, err);
    if (s == RT_OK) s = rt_encoder_encode(&e, utf8, bytes, add_special, ids, NULL, err);
    encoder_close(&e);
    return s;
}
