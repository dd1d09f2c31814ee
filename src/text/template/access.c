/* access.c - parts of values: attributes, items, slices, and what can be gone through. */
#include "text/template/run.h"
#include "text/utf8.h"
#include <string.h>

static tpl_value of_loop(const tpl_loop *l, const char *name) {
    size_t n = l->items->n, i = l->index;
    const struct {
        const char *name;
        tpl_value value;
    } known[] = {{"index", tpl_int((int64_t)i + 1)}, {"index0", tpl_int((int64_t)i)}, {"first", tpl_bool(i == 0)}, {"last", tpl_bool(i + 1 == n)},
                 {"length", tpl_int((int64_t)n)}, {"revindex", tpl_int((int64_t)(n - i))}, {"revindex0", tpl_int((int64_t)(n - i) - 1)},
                 {"previtem", i ? l->items->items[i - 1] : tpl_undefined("loop.previtem")},
                 {"nextitem", i + 1 < n ? l->items->items[i + 1] : tpl_undefined("loop.nextitem")}};
    for (size_t k = 0; k < sizeof known / sizeof *known; k++)
        if (strcmp(known[k].name, name) == 0) return known[k].value;
    return tpl_undefined(name);
}

tpl_value tpl_attribute(tpl_run *r, tpl_value object, const char *name) {
    if (object.kind == TPL_LOOP) return of_loop(object.loop, name);
    const tpl_value *v = object.kind == TPL_DICT ? tpl_dict_get(r, object.dict, tpl_text(name)) : NULL;
    return v ? *v : tpl_undefined(name);
}

/* The byte at which character `index` begins; s.n when there are fewer. */
static size_t byte_of(tpl_value s, size_t index) {
    size_t at = 0;
    for (; index > 0 && at < s.n; index--) at += rt_utf8_length((unsigned char)s.s[at]);
    return at < s.n ? at : s.n;
}

static tpl_value character(tpl_value s, int64_t i) {
    int64_t n = (int64_t)tpl_length(s);
    if (i < 0) i += n;
    if (i < 0 || i >= n) return TPL_NOTHING;
    size_t at = byte_of(s, (size_t)i);
    return tpl_part(s, at, byte_of(tpl_part(s, at, s.n), 1) + at);
}

tpl_value tpl_item(tpl_run *r, const tpl_node *at, tpl_value object, tpl_value key) {
    if (object.kind == TPL_DICT) {
        const tpl_value *v = tpl_dict_get(r, object.dict, key);
        return v ? *v : TPL_NOTHING;
    }
    if (object.kind == TPL_STRING && key.kind == TPL_INT) return tpl_charge(r, object.n), character(object, key.i);
    if (object.kind == TPL_LIST && key.kind == TPL_INT) {
        int64_t n = (int64_t)object.list->n, i = key.i < 0 ? key.i + n : key.i;
        return i >= 0 && i < n ? object.list->items[i] : TPL_NOTHING;
    }
    if (object.kind == TPL_NONE) return tpl_fail(r, at, RT_E_INPUT, "none has no items");
    return TPL_NOTHING;
}

/* ------------------------------------------------------------------- slices */

static int64_t bound(tpl_value v, int64_t fallback, int64_t n, int64_t low, int64_t high) {
    if (v.kind != TPL_INT) return fallback;
    int64_t i = v.i < 0 ? v.i + n : v.i;
    return i < low ? low : i > high ? high : i;
}

static tpl_value reversed_characters(tpl_run *r, tpl_value s, int64_t first, int64_t end, int64_t step) {
    tpl_text_buf b = {0};
    for (int64_t i = first; (step > 0 ? i < end : i > end) && tpl_step(r, NULL); i += step) {
        tpl_charge(r, s.n);
        tpl_add(r, &b, character(s, i));
    }
    return tpl_taken(&b);
}

tpl_value tpl_slice(tpl_run *r, const tpl_node *at, tpl_value v, tpl_value a, tpl_value b, tpl_value c) {
    if (v.kind != TPL_STRING && v.kind != TPL_LIST) return tpl_fail(r, at, RT_E_INPUT, "a slice of %s", tpl_kind_name(v));
    int64_t n = v.kind == TPL_LIST ? (int64_t)v.list->n : (int64_t)tpl_length(v), step = c.kind == TPL_INT ? c.i : 1;
    if (step == 0 || step < -INT32_MAX || step > INT32_MAX) return tpl_fail(r, at, RT_E_INPUT, "a slice with step %lld", (long long)step);
    int64_t first = step > 0 ? bound(a, 0, n, 0, n) : bound(a, n - 1, n, -1, n - 1);
    int64_t end = step > 0 ? bound(b, n, n, 0, n) : bound(b, -1, n, -1, n - 1);
    if (v.kind == TPL_STRING) tpl_charge(r, v.n);
    if (v.kind == TPL_STRING && step == 1) {
        size_t from = byte_of(v, (size_t)first), to = end > first ? byte_of(v, (size_t)end) : from;
        return tpl_part(v, from, to);
    }
    if (v.kind == TPL_STRING) return reversed_characters(r, v, first, end, step);
    int64_t count = step > 0 ? (end - first + step - 1) / step : (first - end - step - 1) / -step;
    tpl_value out = tpl_list_new(r, count > 0 ? (size_t)count : 0);
    for (int64_t i = 0; i < count && !tpl_failed(r); i++) out.list->items[i] = v.list->items[first + i * step];
    out.tuple = v.tuple;
    return out;
}

/* -------------------------------------------------------------- going through */

static tpl_value characters(tpl_run *r, tpl_value s) {
    tpl_value out = tpl_list_new(r, tpl_length(s));
    for (size_t i = 0, at = 0; !tpl_failed(r) && i < out.list->n; i++) {
        size_t end = at + rt_utf8_length((unsigned char)s.s[at]);
        out.list->items[i] = tpl_part(s, at, end < s.n ? end : s.n);
        at = end;
    }
    return out;
}

static tpl_value keys(tpl_run *r, const tpl_dict *d) {
    tpl_value out = tpl_list_new(r, d->n);
    for (size_t i = 0; !tpl_failed(r) && i < d->n; i++) out.list->items[i] = d->pairs[i].key;
    return out;
}

tpl_value tpl_pairs(tpl_run *r, const tpl_dict *d) {
    tpl_value out = tpl_list_new(r, d->n);
    for (size_t i = 0; !tpl_failed(r) && i < d->n; i++) {
        tpl_value pair = tpl_list_new(r, 2);
        if (tpl_failed(r)) return pair;
        pair.tuple = true;
        pair.list->items[0] = d->pairs[i].key, pair.list->items[1] = d->pairs[i].value;
        out.list->items[i] = pair;
    }
    return out;
}

tpl_value tpl_items(tpl_run *r, const tpl_node *at, tpl_value v) {
    if (tpl_failed(r)) return TPL_NOTHING;
    switch (v.kind) {
    case TPL_LIST: return v;
    case TPL_DICT: return keys(r, v.dict);
    case TPL_STRING: return characters(r, v);
    case TPL_UNDEFINED: return tpl_list_new(r, 0);
    default: return tpl_fail(r, at, RT_E_INPUT, "%s cannot be gone through", tpl_kind_name(v));
    }
}
