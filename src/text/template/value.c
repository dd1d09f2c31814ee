/* value.c - making and comparing values. */
#include "text/template/value.h"
#include "text/template/run.h"
#include "text/utf8.h"
#include <string.h>

tpl_value tpl_text(const char *s) { return tpl_bytes(s, strlen(s), NULL); }
tpl_value tpl_undefined(const char *name) { return (tpl_value){.kind = TPL_UNDEFINED, .s = name}; }

tpl_value tpl_list_new(tpl_run *r, size_t n) {
    tpl_list *l = tpl_alloc(r, sizeof *l);
    tpl_value *items = tpl_alloc(r, rt_array_bytes(n, sizeof *items));
    if (!l || !items) return TPL_NOTHING;
    *l = (tpl_list){items, n};
    return (tpl_value){.kind = TPL_LIST, .list = l};
}

tpl_value tpl_dict_new(tpl_run *r) {
    tpl_dict *d = tpl_alloc(r, sizeof *d);
    return d ? (tpl_value){.kind = TPL_DICT, .dict = d} : TPL_NOTHING;
}

const tpl_value *tpl_dict_get(tpl_run *r, const tpl_dict *d, tpl_value key) {
    tpl_charge(r, 8 * d->n);
    for (size_t i = 0; i < d->n; i++)
        if (tpl_equal(r, d->pairs[i].key, key)) return &d->pairs[i].value;
    return NULL;
}

void tpl_dict_put(tpl_run *r, tpl_dict *d, tpl_value key, tpl_value value) {
    if (tpl_failed(r)) return;
    tpl_charge(r, d->n);
    tpl_value *there = (tpl_value *)tpl_dict_get(r, d, key);
    if (there) {
        *there = value;
        return;
    }
    if (d->n == d->capacity) {
        size_t capacity = d->capacity ? 2 * d->capacity : 4;
        tpl_pair *pairs = tpl_alloc(r, rt_array_bytes(capacity, sizeof *pairs));
        if (!pairs) return;
        if (d->n) memcpy(pairs, d->pairs, d->n * sizeof *pairs);
        d->pairs = pairs, d->capacity = capacity;
    }
    d->pairs[d->n++] = (tpl_pair){key, value};
}

/* ------------------------------------------------------------------ strings */

static bool room(tpl_run *r, tpl_text_buf *b, size_t n, bool marks) {
    bool grow = b->n + n > b->capacity;
    size_t capacity = grow ? (b->n + n) * 3 / 2 + 32 : b->capacity;
    if (grow) {
        char *s = tpl_alloc(r, capacity);
        if (!s) return false;
        if (b->n) memcpy(s, b->s, b->n);
        b->s = s;
    }
    if (b->marks ? grow : marks) {
        uint16_t *m = tpl_alloc(r, rt_array_bytes(capacity, sizeof *m));
        if (!m) return false;
        if (b->n && b->marks) memcpy(m, b->marks, b->n * sizeof *m);
        if (b->n && !b->marks) memset(m, 0, b->n * sizeof *m);
        b->marks = m;
    }
    b->capacity = capacity;
    return true;
}

void tpl_add(tpl_run *r, tpl_text_buf *b, tpl_value v) {
    if (tpl_failed(r) || v.n == 0 || !room(r, b, v.n, v.marks != NULL)) return;
    memcpy(b->s + b->n, v.s, v.n);
    if (v.marks) memcpy(b->marks + b->n, v.marks, v.n * sizeof *v.marks);
    else if (b->marks) memset(b->marks + b->n, 0, v.n * sizeof *b->marks);
    b->n += v.n;
    tpl_charge(r, v.n);
}

void tpl_add_text(tpl_run *r, tpl_text_buf *b, const char *text) { tpl_add(r, b, tpl_text(text)); }
tpl_value tpl_taken(const tpl_text_buf *b) { return tpl_bytes(b->n ? b->s : "", b->n, b->marks); }

tpl_value tpl_concat(tpl_run *r, tpl_value a, tpl_value b) {
    if (a.n == 0) return b;
    if (b.n == 0) return a;
    tpl_text_buf t = {0};
    bool marks = a.marks || b.marks;
    if (!room(r, &t, a.n + b.n, marks)) return TPL_NOTHING;
    tpl_add(r, &t, a);
    tpl_add(r, &t, b);
    return tpl_taken(&t);
}

bool tpl_is(tpl_value v, const char *text) {
    return v.kind == TPL_STRING && v.n == strlen(text) && memcmp(v.s, text, v.n) == 0;
}

size_t tpl_length(tpl_value v) {
    size_t n = 0;
    for (size_t i = 0; i < v.n; i++) n += ((unsigned char)v.s[i] & 0xC0) != 0x80;
    return n;
}

/* str.isspace: the White_Space property and the four separators U+001C to U+001F. */
bool tpl_is_space(int32_t c) { return (c >= 0x1c && c <= 0x1f) || rt_utf8_is_space(c); }

static bool stripped(tpl_value v, size_t at, size_t n, tpl_value chars) {
    size_t length;
    if (chars.kind != TPL_STRING) return tpl_is_space(rt_utf8_get(v.s + at, n, &length));
    for (size_t i = 0; i < chars.n; i += length) {
        rt_utf8_get(chars.s + i, chars.n - i, &length);
        if (length == n && memcmp(chars.s + i, v.s + at, n) == 0) return true;
    }
    return false;
}

tpl_value tpl_strip(tpl_value v, tpl_value chars, bool left, bool right) {
    size_t begin = 0, end = v.n, length;
    while (left && begin < end) {
        rt_utf8_get(v.s + begin, end - begin, &length);
        if (!stripped(v, begin, length, chars)) break;
        begin += length;
    }
    while (right && begin < end) {
        size_t at = end - 1;
        while (at > begin && ((unsigned char)v.s[at] & 0xC0) == 0x80) at--;
        if (!stripped(v, at, end - at, chars)) break;
        end = at;
    }
    return tpl_part(v, begin, end);
}

size_t tpl_find(tpl_value v, tpl_value part, size_t from) {
    if (from > v.n) return v.n;
    const char *hit = part.n ? memmem(v.s + from, v.n - from, part.s, part.n) : v.s + from;
    return hit ? (size_t)(hit - v.s) : v.n;
}

/* --------------------------------------------------------------- comparison */

const char *tpl_kind_name(tpl_value v) {
    static const char *const names[] = {"an undefined value", "none", "a boolean", "an integer", "a number", "a string",
                                        "a list", "a mapping", "the loop", "a macro", "a function"};
    return names[v.kind];
}

bool tpl_number(tpl_value v) { return v.kind == TPL_BOOL || v.kind == TPL_INT || v.kind == TPL_FLOAT; }
double tpl_real(tpl_value v) { return v.kind == TPL_FLOAT ? v.f : v.kind == TPL_BOOL ? (double)v.b : (double)v.i; }

bool tpl_truth(tpl_value v) {
    switch (v.kind) {
    case TPL_UNDEFINED:
    case TPL_NONE: return false;
    case TPL_BOOL: return v.b;
    case TPL_INT: return v.i != 0;
    case TPL_FLOAT: return v.f != 0;
    case TPL_STRING: return v.n > 0;
    case TPL_LIST: return v.list->n > 0;
    case TPL_DICT: return v.dict->is_namespace || v.dict->n > 0;
    default: return true;
    }
}

static bool lists_equal(tpl_run *r, const tpl_list *a, const tpl_list *b) {
    if (a->n != b->n) return false;
    for (size_t i = 0; i < a->n; i++)
        if (!tpl_equal(r, a->items[i], b->items[i])) return false;
    return true;
}
static bool dicts_equal(tpl_run *r, const tpl_dict *a, const tpl_dict *b) {
    if (a->n != b->n) return false;
    for (size_t i = 0; i < a->n; i++) {
        const tpl_value *other = tpl_dict_get(r, b, a->pairs[i].key);
        if (!other || !tpl_equal(r, a->pairs[i].value, *other)) return false;
    }
    return true;
}
/* Lists can nest deeper than the stack, and share parts so that a comparison takes exponential time: both are bounded. */
static bool inside_equal(tpl_run *r, tpl_value a, tpl_value b) {
    bool in = tpl_enter(r, NULL) && tpl_step(r, NULL);
    bool equal = in && (a.kind == TPL_LIST ? lists_equal(r, a.list, b.list) : dicts_equal(r, a.dict, b.dict));
    tpl_leave(r);
    return equal;
}

bool tpl_equal(tpl_run *r, tpl_value a, tpl_value b) {
    if (tpl_number(a) && tpl_number(b))
        return a.kind == TPL_INT && b.kind == TPL_INT ? a.i == b.i : tpl_real(a) == tpl_real(b);
    if (a.kind != b.kind) return false;
    switch (a.kind) {
    case TPL_STRING: return a.n == b.n && memcmp(a.s, b.s, a.n) == 0;
    case TPL_LIST: return a.list == b.list || inside_equal(r, a, b);
    case TPL_DICT: return a.dict == b.dict || (!a.dict->is_namespace && inside_equal(r, a, b));
    case TPL_LOOP: return a.loop == b.loop;
    case TPL_MACRO: return a.macro == b.macro;
    case TPL_FUNCTION: return a.i == b.i;
    default: return true;
    }
}

bool tpl_order(tpl_value a, tpl_value b, int *order) {
    if (tpl_number(a) && tpl_number(b)) {
        bool whole = a.kind == TPL_INT && b.kind == TPL_INT;
        double x = tpl_real(a), y = tpl_real(b);
        *order = whole ? (a.i > b.i) - (a.i < b.i) : (x > y) - (x < y);
        return true;
    }
    if (a.kind != TPL_STRING || b.kind != TPL_STRING) return false;
    size_t n = a.n < b.n ? a.n : b.n;
    int c = n ? memcmp(a.s, b.s, n) : 0; /* the order of UTF-8 bytes is that of code points */
    *order = c ? (c > 0) - (c < 0) : (a.n > b.n) - (a.n < b.n);
    return true;
}
