/* tok_text.c - growable text with origins, ranges, string lists. */
#include "text/tok_text.h"
#include <string.h>

bool rt_tok_grow(void **data, size_t needed, size_t *capacity, size_t element) {
    if (needed <= *capacity) return true;
    size_t more = needed + needed / 2 + 16;
    void *p = rt_realloc(*data, rt_array_bytes(more, element));
    if (!p) return false;
    *data = p;
    *capacity = more;
    return true;
}

int64_t rt_tok_origin(const tok_view *v, size_t i) { return v->at ? v->at[i] : v->base + (int64_t)i; }

void rt_tok_text_clear(tok_text *t, bool track) {
    if (track && !t->track) rt_tok_text_free(t); /* the two arrays share one capacity */
    t->n = 0;
    t->failed = false;
    t->track = track;
}

/* Room for n more bytes and the entry after the last. */
static bool room(tok_text *t, size_t n) {
    size_t needed = t->n + n + 1, capacity = t->capacity, at_capacity = t->capacity;
    if (t->failed || needed < n) return t->failed = true, false;
    if (t->track && !rt_tok_grow((void **)&t->at, needed, &at_capacity, sizeof *t->at)) return t->failed = true, false;
    if (!rt_tok_grow((void **)&t->s, needed, &capacity, 1)) return t->failed = true, false;
    t->capacity = capacity;
    return true;
}

void rt_tok_text_add(tok_text *t, const char *s, size_t n, int64_t begin, int64_t end) {
    if (!room(t, n)) return;
    memcpy(t->s + t->n, s, n);
    if (t->track)
        for (size_t k = 0; k < n; k++) t->at[t->n + k] = begin + (int64_t)k < end ? begin + (int64_t)k : end;
    t->n += n;
}

void rt_tok_text_copy(tok_text *t, const tok_view *v, size_t begin, size_t end) {
    size_t n = end - begin;
    if (!room(t, n)) return;
    memcpy(t->s + t->n, v->s + begin, n);
    if (t->track)
        for (size_t k = 0; k < n; k++) t->at[t->n + k] = rt_tok_origin(v, begin + k);
    t->n += n;
}

tok_view rt_tok_text_view(tok_text *t, int64_t end) {
    if (!room(t, 0)) return (tok_view){"", 0, NULL, end};
    if (t->track) t->at[t->n] = end;
    return (tok_view){t->s, t->n, t->track ? t->at : NULL, 0};
}

void rt_tok_text_free(tok_text *t) {
    rt_free(t->s);
    rt_free(t->at);
    *t = (tok_text){0};
}

void rt_tok_ranges_add(tok_ranges *r, size_t begin, size_t end) {
    if (r->failed || !rt_tok_grow((void **)&r->data, r->size + 1, &r->capacity, sizeof *r->data)) {
        r->failed = true;
        return;
    }
    r->data[r->size++] = (tok_range){begin, end};
}
void rt_tok_ranges_free(tok_ranges *r) {
    rt_free(r->data);
    *r = (tok_ranges){0};
}

const char *rt_tok_list_get(const tok_list *l, size_t i, size_t *n) {
    size_t begin = i ? l->ends[i - 1] : 0;
    *n = l->ends[i] - begin;
    return l->bytes.data ? l->bytes.data + begin : "";
}
void rt_tok_list_close(tok_list *l) {
    if (l->failed || l->bytes.failed || !rt_tok_grow((void **)&l->ends, l->size + 1, &l->capacity, sizeof *l->ends)) {
        l->failed = true;
        return;
    }
    l->ends[l->size++] = l->bytes.size;
}
void rt_tok_list_add(tok_list *l, const char *s, size_t n) {
    rt_buf_add(&l->bytes, s, n);
    rt_tok_list_close(l);
}
void rt_tok_list_free(tok_list *l) {
    rt_buf_free(&l->bytes);
    rt_free(l->ends);
    *l = (tok_list){0};
}
