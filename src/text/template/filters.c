/* filters.c - "x | NAME(...)". */
#include "text/template/run.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef tpl_value (*filter)(tpl_run *, tpl_value, const tpl_args *);

static tpl_value by_method(tpl_run *r, tpl_value v, const char *name, const tpl_args *a) {
    v = tpl_str(r, v);
    return tpl_failed(r) ? TPL_NOTHING : tpl_call_method(r, v, name, a);
}
static tpl_value upper(tpl_run *r, tpl_value v, const tpl_args *a) { return by_method(r, v, "upper", a); }
static tpl_value lower(tpl_run *r, tpl_value v, const tpl_args *a) { return by_method(r, v, "lower", a); }
static tpl_value title(tpl_run *r, tpl_value v, const tpl_args *a) { return by_method(r, v, "title", a); }
static tpl_value capitalize(tpl_run *r, tpl_value v, const tpl_args *a) { return by_method(r, v, "capitalize", a); }
static tpl_value trim(tpl_run *r, tpl_value v, const tpl_args *a) { return by_method(r, v, "strip", a); }
static tpl_value replace(tpl_run *r, tpl_value v, const tpl_args *a) { return by_method(r, v, "replace", a); }
static tpl_value string(tpl_run *r, tpl_value v, const tpl_args *a) { return (void)a, tpl_str(r, v); }
static tpl_value safe(tpl_run *r, tpl_value v, const tpl_args *a) { return (void)r, (void)a, v; }

static tpl_value tojson(tpl_run *r, tpl_value v, const tpl_args *a) {
    tpl_text_buf b = {0};
    tpl_value indent = tpl_argument(a, 0, "indent"), sorted = tpl_argument(a, 3, "sort_keys");
    int64_t spaces = indent.kind == TPL_INT ? indent.i : -1;
    if (spaces > 64) return tpl_fail(r, a->at, RT_E_INPUT, "tojson with an indent of %lld", (long long)spaces);
    tpl_json(r, &b, v, spaces < 0 && indent.kind == TPL_INT ? 0 : spaces, 0, tpl_truth(sorted));
    return tpl_taken(&b);
}

static tpl_value length(tpl_run *r, tpl_value v, const tpl_args *a) {
    switch (v.kind) {
    case TPL_STRING: return tpl_charge(r, v.n), tpl_int((int64_t)tpl_length(v));
    case TPL_LIST: return tpl_int((int64_t)v.list->n);
    case TPL_DICT: return tpl_int((int64_t)v.dict->n);
    case TPL_UNDEFINED: return tpl_int(0);
    default: return tpl_fail(r, a->at, RT_E_INPUT, "length of %s", tpl_kind_name(v));
    }
}

static tpl_value fallback(tpl_run *r, tpl_value v, const tpl_args *a) {
    tpl_value other = tpl_argument(a, 0, "default_value"), falsy = tpl_argument(a, 1, "boolean");
    (void)r;
    if (v.kind != TPL_UNDEFINED && (tpl_truth(v) || !tpl_truth(falsy))) return v;
    return other.kind == TPL_UNDEFINED ? tpl_text("") : other;
}

/* A number, or the number that a string spells from its first to its last character; NAN: none. */
static double spelled(tpl_value v) {
    char text[64], *end;
    if (tpl_number(v)) return tpl_real(v);
    if (v.kind == TPL_STRING) v = tpl_strip(v, TPL_NOTHING, true, true);
    if (v.kind != TPL_STRING || v.n == 0 || v.n >= sizeof text) return (double)NAN;
    memcpy(text, v.s, v.n), text[v.n] = 0;
    if (text[strspn(text, "0123456789+-.eE")]) return (double)NAN;
    double x = strtod(text, &end);
    return *end ? (double)NAN : x;
}
static tpl_value to_int(tpl_run *r, tpl_value v, const tpl_args *a) {
    double x = spelled(v);
    tpl_value other = tpl_argument(a, 0, "default");
    (void)r;
    if (v.kind == TPL_INT) return v;
    return fabs(x) < 9e18 ? tpl_int((int64_t)x) : other.kind == TPL_UNDEFINED ? tpl_int(0) : other;
}
static tpl_value to_float(tpl_run *r, tpl_value v, const tpl_args *a) {
    double x = spelled(v);
    tpl_value other = tpl_argument(a, 0, "default");
    (void)r;
    return !isnan(x) ? tpl_float(x) : other.kind == TPL_UNDEFINED ? tpl_float(0) : other;
}
static tpl_value absolute(tpl_run *r, tpl_value v, const tpl_args *a) {
    if (v.kind == TPL_INT && v.i > INT64_MIN) return tpl_int(v.i < 0 ? -v.i : v.i);
    return v.kind == TPL_FLOAT ? tpl_float(fabs(v.f)) : tpl_fail(r, a->at, RT_E_INPUT, "abs of %s", tpl_kind_name(v));
}

/* -------------------------------------------------------------------- lists */

static tpl_value list(tpl_run *r, tpl_value v, const tpl_args *a) { return tpl_items(r, a->at, v); }
static tpl_value end_of(tpl_run *r, tpl_value v, const tpl_args *a, bool last) {
    tpl_value items = tpl_items(r, a->at, v);
    if (tpl_failed(r) || items.list->n == 0) return TPL_NOTHING;
    return items.list->items[last ? items.list->n - 1 : 0];
}
static tpl_value first(tpl_run *r, tpl_value v, const tpl_args *a) { return end_of(r, v, a, false); }
static tpl_value last(tpl_run *r, tpl_value v, const tpl_args *a) { return end_of(r, v, a, true); }

static tpl_value pairs(tpl_run *r, tpl_value v, const tpl_args *a) {
    if (v.kind == TPL_DICT) return tpl_pairs(r, v.dict);
    return v.kind == TPL_UNDEFINED ? tpl_list_new(r, 0) : tpl_fail(r, a->at, RT_E_INPUT, "items of %s", tpl_kind_name(v));
}

static tpl_value reverse(tpl_run *r, tpl_value v, const tpl_args *a) {
    if (v.kind == TPL_STRING) return tpl_slice(r, a->at, v, tpl_none(), tpl_none(), tpl_int(-1));
    tpl_value items = tpl_items(r, a->at, v);
    return tpl_failed(r) ? TPL_NOTHING : tpl_slice(r, a->at, items, tpl_none(), tpl_none(), tpl_int(-1));
}

/* "a.b" or a key. */
static tpl_value member(tpl_run *r, const tpl_node *at, tpl_value v, tpl_value name) {
    if (name.kind != TPL_STRING) return tpl_item(r, at, v, name);
    for (size_t dot; !tpl_failed(r) && v.kind != TPL_UNDEFINED; name = tpl_part(name, dot + 1, name.n)) {
        dot = tpl_find(name, tpl_text("."), 0);
        v = tpl_item(r, at, v, tpl_part(name, 0, dot));
        if (dot == name.n) break;
    }
    return v;
}

static tpl_value join(tpl_run *r, tpl_value v, const tpl_args *a) {
    tpl_value items = tpl_items(r, a->at, v), by = tpl_argument(a, 0, "d"), name = tpl_argument(a, 1, "attribute");
    tpl_text_buf b = {0};
    for (size_t i = 0; !tpl_failed(r) && i < items.list->n && tpl_step(r, a->at); i++) {
        tpl_value item = items.list->items[i];
        if (i && by.kind == TPL_STRING) tpl_add(r, &b, by);
        tpl_add(r, &b, tpl_str(r, name.kind == TPL_UNDEFINED ? item : member(r, a->at, item, name)));
    }
    return tpl_taken(&b);
}

/* The arguments from `from` on, for the filter or test that they name. */
static tpl_args rest(const tpl_args *a, size_t from) {
    tpl_args out = {.at = a->at};
    if (a->n > from) out.items = a->items + from, out.names = a->names + from, out.n = a->n - from;
    return out;
}
/* The name of a filter or test given as a string, as a C string; "": none. */
static const char *named(const tpl_args *a, size_t position, char text[48]) {
    tpl_value v = tpl_argument(a, position, NULL);
    size_t n = v.kind == TPL_STRING && v.n < 48 ? v.n : 0;
    if (n) memcpy(text, v.s, n);
    text[n] = 0;
    return text;
}

static tpl_value map(tpl_run *r, tpl_value v, const tpl_args *a) {
    tpl_value items = tpl_items(r, a->at, v), name = tpl_argument(a, SIZE_MAX, "attribute"), other = tpl_argument(a, SIZE_MAX, "default"), out;
    tpl_args more = rest(a, 1);
    char text[48];
    if (tpl_failed(r)) return TPL_NOTHING;
    out = tpl_list_new(r, items.list->n);
    for (size_t i = 0; !tpl_failed(r) && i < items.list->n && tpl_step(r, a->at); i++) {
        tpl_value item = items.list->items[i], *to = &out.list->items[i];
        if (name.kind == TPL_UNDEFINED) *to = tpl_filter(r, item, named(a, 0, text), &more);
        else *to = member(r, a->at, item, name);
        if (to->kind == TPL_UNDEFINED) *to = other;
    }
    return out;
}

/* select, reject, selectattr, rejectattr: a test, or truth; of the item or of its attribute. */
static tpl_value chosen(tpl_run *r, tpl_value v, const tpl_args *a, bool attribute, bool wanted) {
    tpl_value items = tpl_items(r, a->at, v), out;
    tpl_args more = rest(a, attribute + 1);
    char text[48];
    const char *test = named(a, attribute, text);
    size_t n = 0;
    if (tpl_failed(r)) return TPL_NOTHING;
    out = tpl_list_new(r, items.list->n);
    for (size_t i = 0; !tpl_failed(r) && i < items.list->n && tpl_step(r, a->at); i++) {
        tpl_value item = items.list->items[i], looked_at = attribute ? member(r, a->at, item, tpl_argument(a, 0, NULL)) : item;
        bool holds = *test ? tpl_test(r, looked_at, test, &more) : tpl_truth(looked_at);
        if (holds == wanted) out.list->items[n++] = item;
    }
    if (!tpl_failed(r)) out.list->n = n;
    return out;
}
static tpl_value select_ones(tpl_run *r, tpl_value v, const tpl_args *a) { return chosen(r, v, a, false, true); }
static tpl_value reject(tpl_run *r, tpl_value v, const tpl_args *a) { return chosen(r, v, a, false, false); }
static tpl_value selectattr(tpl_run *r, tpl_value v, const tpl_args *a) { return chosen(r, v, a, true, true); }
static tpl_value rejectattr(tpl_run *r, tpl_value v, const tpl_args *a) { return chosen(r, v, a, true, false); }

static tpl_value unique(tpl_run *r, tpl_value v, const tpl_args *a) {
    tpl_value items = tpl_items(r, a->at, v), out = tpl_list_new(r, tpl_failed(r) ? 0 : items.list->n);
    if (tpl_failed(r)) return out;
    out.list->n = 0;
    for (size_t i = 0; i < items.list->n && !tpl_failed(r); i++)
        if (!tpl_contains(r, a->at, out, items.list->items[i])) out.list->items[out.list->n++] = items.list->items[i];
    return out;
}

static int by_order(const void *x, const void *y) {
    int order = 0;
    return tpl_order(*(const tpl_value *)x, *(const tpl_value *)y, &order) ? order : 0;
}
static tpl_value sort(tpl_run *r, tpl_value v, const tpl_args *a) {
    tpl_value items = tpl_items(r, a->at, v), out = tpl_list_new(r, tpl_failed(r) ? 0 : items.list->n);
    int order;
    if (a->n) return tpl_fail(r, a->at, RT_E_UNSUPPORTED, "sort with arguments");
    for (size_t i = 0; !tpl_failed(r) && i < items.list->n; i++) {
        out.list->items[i] = items.list->items[i];
        if (!tpl_order(out.list->items[0], out.list->items[i], &order)) tpl_fail(r, a->at, RT_E_INPUT, "sort of values without an order");
    }
    if (!tpl_failed(r) && out.list->n) qsort(out.list->items, out.list->n, sizeof *out.list->items, by_order);
    return out;
}

static tpl_value indent(tpl_run *r, tpl_value v, const tpl_args *a) {
    tpl_value width = tpl_argument(a, 0, "width"), first_too = tpl_argument(a, 1, "first"), blank_too = tpl_argument(a, 2, "blank");
    int64_t n = width.kind == TPL_INT ? width.i : 4;
    tpl_text_buf b = {0}, pad = {0};
    v = tpl_str(r, v);
    if (n < 0 || n > 64) return tpl_fail(r, a->at, RT_E_INPUT, "indent by %lld", (long long)n);
    for (int64_t i = 0; i < n; i++) tpl_add_text(r, &pad, " ");
    for (bool start = true; !tpl_failed(r); start = false) {
        size_t at = tpl_find(v, tpl_text("\n"), 0);
        if ((start ? tpl_truth(first_too) : at > 0 || tpl_truth(blank_too))) tpl_add(r, &b, width.kind == TPL_STRING ? width : tpl_taken(&pad));
        tpl_add(r, &b, tpl_part(v, 0, at));
        if (at == v.n) break;
        tpl_add_text(r, &b, "\n");
        v = tpl_part(v, at + 1, v.n);
    }
    return tpl_taken(&b);
}

static const struct {
    const char *name;
    filter call;
} filters[] = {{"trim", trim}, {"tojson", tojson}, {"length", length}, {"count", length}, {"join", join}, {"upper", upper}, {"lower", lower},
               {"title", title}, {"capitalize", capitalize}, {"replace", replace}, {"default", fallback}, {"d", fallback}, {"first", first},
               {"last", last}, {"list", list}, {"map", map}, {"select", select_ones}, {"reject", reject}, {"selectattr", selectattr},
               {"rejectattr", rejectattr}, {"string", string}, {"safe", safe}, {"int", to_int}, {"float", to_float}, {"abs", absolute},
               {"items", pairs}, {"reverse", reverse}, {"unique", unique}, {"sort", sort}, {"indent", indent}};
enum { FILTERS = sizeof filters / sizeof *filters };

tpl_value tpl_filter(tpl_run *r, tpl_value v, const char *name, const tpl_args *a) {
    const char *names[FILTERS + 1] = {0};
    for (int i = 0; i < FILTERS; i++) {
        if (strcmp(filters[i].name, name) == 0) return filters[i].call(r, v, a);
        names[i] = filters[i].name;
    }
    const char *near = rt_nearest(name, names);
    return tpl_fail(r, a->at, RT_E_UNSUPPORTED, "no filter '%.40s'%s%s%s", name, near ? " (did you mean '" : "", near ? near : "", near ? "'?)" : "");
}
