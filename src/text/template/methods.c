/* methods.c - methods of strings and dicts, as Python has them. What would change a value is refused, as in Jinja's
 * immutable sandbox. Letters change case by Unicode's simple mappings, one character for one, but for the
 * sharp s. */
#include "text/template/run.h"
#include "text/utf8.h"
#include <string.h>
#include <utf8proc.h>

typedef tpl_value (*method)(tpl_run *, tpl_value, const tpl_args *);

/* ------------------------------------------------------------------ letters */

typedef enum letters { UPPER, LOWER, TITLE, CAPITAL } letters;
static bool cased(int32_t c) {
    utf8proc_category_t k = utf8proc_category(c);
    return k == UTF8PROC_CATEGORY_LU || k == UTF8PROC_CATEGORY_LL || k == UTF8PROC_CATEGORY_LT;
}
static tpl_value with_letters(tpl_run *r, tpl_value v, letters how) {
    tpl_text_buf b = {0};
    bool inside = false; /* of a word, or behind the first character */
    size_t length;
    for (size_t i = 0; i < v.n && !tpl_failed(r); i += length) {
        int32_t c = rt_utf8_get(v.s + i, v.n - i, &length);
        bool up = how == UPPER || ((how == TITLE || how == CAPITAL) && !inside);
        int32_t to = up ? how == UPPER ? utf8proc_toupper(c) : utf8proc_totitle(c) : utf8proc_tolower(c);
        uint16_t marks[4], mark = v.marks ? v.marks[i] : 0;
        char bytes[4];
        for (int k = 0; k < 4; k++) marks[k] = mark;
        bool sharp = how == UPPER && c == 0xdf; /* the one letter of common text that becomes two */
        if (sharp) memcpy(bytes, "SS", 2);
        tpl_add(r, &b, tpl_bytes(bytes, sharp ? 2 : rt_utf8_put(bytes, to), mark ? marks : NULL));
        inside = how == CAPITAL || cased(c);
    }
    return tpl_taken(&b);
}
static tpl_value upper(tpl_run *r, tpl_value v, const tpl_args *a) { return (void)a, with_letters(r, v, UPPER); }
static tpl_value lower(tpl_run *r, tpl_value v, const tpl_args *a) { return (void)a, with_letters(r, v, LOWER); }
static tpl_value title(tpl_run *r, tpl_value v, const tpl_args *a) { return (void)a, with_letters(r, v, TITLE); }
static tpl_value capitalize(tpl_run *r, tpl_value v, const tpl_args *a) { return (void)a, with_letters(r, v, CAPITAL); }

/* -------------------------------------------------------------------- parts */

/* Every character of the one is compared with every character of the other, at worst; both are below TPL_MEMORY. */
static bool afford(tpl_run *r, tpl_value v, tpl_value other) {
    if (other.kind == TPL_STRING) tpl_charge(r, v.n * other.n);
    return !tpl_failed(r);
}
static tpl_value stripped(tpl_run *r, tpl_value v, const tpl_args *a, bool left, bool right) {
    tpl_value chars = tpl_argument(a, 0, "chars");
    return afford(r, v, chars) ? tpl_strip(v, chars, left, right) : TPL_NOTHING;
}
static tpl_value strip(tpl_run *r, tpl_value v, const tpl_args *a) { return stripped(r, v, a, true, true); }
static tpl_value lstrip(tpl_run *r, tpl_value v, const tpl_args *a) { return stripped(r, v, a, true, false); }
static tpl_value rstrip(tpl_run *r, tpl_value v, const tpl_args *a) { return stripped(r, v, a, false, true); }

typedef struct parts { /* a list that grows */
    tpl_value *items;
    size_t n, capacity;
} parts;
static void add_part(tpl_run *r, parts *p, tpl_value v) {
    if (p->n == p->capacity) {
        size_t capacity = p->capacity ? 2 * p->capacity : 8;
        tpl_value *grown = tpl_alloc(r, rt_array_bytes(capacity, sizeof *grown));
        if (!grown) return;
        if (p->n) memcpy(grown, p->items, p->n * sizeof *grown);
        p->items = grown, p->capacity = capacity;
    }
    p->items[p->n++] = v;
}
static tpl_value as_list(tpl_run *r, const parts *p) {
    tpl_value out = tpl_list_new(r, 0);
    if (!tpl_failed(r)) *out.list = (tpl_list){p->items, p->n};
    return out;
}

static tpl_value split_words(tpl_run *r, tpl_value v, int64_t most) {
    parts p = {0};
    for (v = tpl_strip(v, TPL_NOTHING, true, false); v.n && !tpl_failed(r); most--) {
        size_t end = 0, length = 0;
        while (end < v.n && !tpl_is_space(rt_utf8_get(v.s + end, v.n - end, &length))) end += length;
        if (most == 0) end = tpl_strip(v, TPL_NOTHING, false, true).n;
        add_part(r, &p, tpl_part(v, 0, end));
        v = tpl_strip(tpl_part(v, end, v.n), TPL_NOTHING, true, false);
    }
    return as_list(r, &p);
}

static tpl_value split(tpl_run *r, tpl_value v, const tpl_args *a) {
    tpl_value by = tpl_argument(a, 0, "sep"), limit = tpl_argument(a, 1, "maxsplit");
    int64_t most = limit.kind == TPL_INT ? limit.i : -1;
    parts p = {0};
    if (by.kind != TPL_STRING) return split_words(r, v, most);
    if (by.n == 0) return tpl_fail(r, a->at, RT_E_INPUT, "split by an empty string");
    for (size_t at; most != 0 && !tpl_failed(r) && (at = tpl_find(v, by, 0)) < v.n; most--) {
        add_part(r, &p, tpl_part(v, 0, at));
        v = tpl_part(v, at + by.n, v.n);
    }
    add_part(r, &p, v);
    return as_list(r, &p);
}

static size_t find_last(tpl_value v, tpl_value by, size_t end) {
    for (size_t at = end; at >= by.n; at--)
        if (memcmp(v.s + at - by.n, by.s, by.n) == 0) return at - by.n;
    return v.n;
}
static tpl_value rsplit(tpl_run *r, tpl_value v, const tpl_args *a) {
    tpl_value by = tpl_argument(a, 0, "sep"), limit = tpl_argument(a, 1, "maxsplit");
    if (by.kind != TPL_STRING || limit.kind != TPL_INT || limit.i < 0) return split(r, v, a);
    parts p = {0};
    if (by.n == 0) return tpl_fail(r, a->at, RT_E_INPUT, "split by an empty string");
    if (!afford(r, v, by)) return TPL_NOTHING;
    tpl_value rest = v;
    for (int64_t most = limit.i; most > 0 && !tpl_failed(r); most--) {
        size_t at = find_last(rest, by, rest.n);
        if (at == rest.n) break;
        add_part(r, &p, tpl_part(rest, at + by.n, rest.n));
        rest = tpl_part(rest, 0, at);
    }
    add_part(r, &p, rest);
    for (size_t i = 0; i < p.n / 2; i++) {
        tpl_value other = p.items[i];
        p.items[i] = p.items[p.n - 1 - i], p.items[p.n - 1 - i] = other;
    }
    return as_list(r, &p);
}

static tpl_value splitlines(tpl_run *r, tpl_value v, const tpl_args *a) {
    parts p = {0};
    (void)a;
    while (v.n && !tpl_failed(r)) {
        size_t at = tpl_find(v, tpl_text("\n"), 0), end = at && at < v.n && v.s[at - 1] == '\r' ? at - 1 : at;
        add_part(r, &p, tpl_part(v, 0, end));
        v = tpl_part(v, at < v.n ? at + 1 : v.n, v.n);
    }
    return as_list(r, &p);
}

static tpl_value replace(tpl_run *r, tpl_value v, const tpl_args *a) {
    tpl_value old = tpl_argument(a, 0, "old"), new = tpl_argument(a, 1, "new"), limit = tpl_argument(a, 2, "count");
    int64_t most = limit.kind == TPL_INT ? limit.i : -1;
    tpl_text_buf b = {0};
    if (old.kind != TPL_STRING || new.kind != TPL_STRING) return tpl_fail(r, a->at, RT_E_INPUT, "replace needs two strings");
    if (old.n == 0) return tpl_fail(r, a->at, RT_E_UNSUPPORTED, "replace of an empty string");
    size_t at = tpl_find(v, old, 0);
    if (at == v.n) return v;
    for (; most != 0 && at < v.n && !tpl_failed(r); most--, at = tpl_find(v, old, 0)) {
        tpl_add(r, &b, tpl_part(v, 0, at));
        tpl_add(r, &b, new);
        v = tpl_part(v, at + old.n, v.n);
    }
    tpl_add(r, &b, v);
    return tpl_taken(&b);
}

/* ---------------------------------------------------------------- questions */

static bool at_end(tpl_value v, tpl_value part, bool end) {
    return part.kind == TPL_STRING && part.n <= v.n && (part.n == 0 || memcmp(v.s + (end ? v.n - part.n : 0), part.s, part.n) == 0);
}
static tpl_value at_either(tpl_run *r, tpl_value v, const tpl_args *a, bool end) {
    tpl_value part = tpl_argument(a, 0, NULL);
    if (part.kind == TPL_LIST) tpl_charge(r, part.list->n * (v.n + 64));
    if (tpl_failed(r)) return TPL_NOTHING;
    bool any = part.kind != TPL_LIST && at_end(v, part, end);
    for (size_t i = 0; part.kind == TPL_LIST && i < part.list->n; i++) any |= at_end(v, part.list->items[i], end);
    return tpl_bool(any);
}
static tpl_value startswith(tpl_run *r, tpl_value v, const tpl_args *a) { return at_either(r, v, a, false); }
static tpl_value endswith(tpl_run *r, tpl_value v, const tpl_args *a) { return at_either(r, v, a, true); }
static tpl_value find(tpl_run *r, tpl_value v, const tpl_args *a) {
    tpl_value part = tpl_argument(a, 0, NULL);
    if (part.kind != TPL_STRING) return tpl_fail(r, a->at, RT_E_INPUT, "find needs a string");
    size_t at = tpl_find(v, part, 0);
    return tpl_int(at == v.n && part.n ? -1 : (int64_t)tpl_length(tpl_part(v, 0, at)));
}
static tpl_value count(tpl_run *r, tpl_value v, const tpl_args *a) {
    tpl_value part = tpl_argument(a, 0, NULL);
    int64_t n = 0;
    if (part.kind != TPL_STRING || part.n == 0) return tpl_fail(r, a->at, RT_E_INPUT, "count needs a string");
    for (size_t at = 0; (at = tpl_find(v, part, at)) < v.n; at += part.n) n++;
    return tpl_int(n);
}
static tpl_value isdigit_all(tpl_run *r, tpl_value v, const tpl_args *a) {
    bool all = v.n > 0;
    (void)r, (void)a;
    for (size_t i = 0; i < v.n; i++) all &= v.s[i] >= '0' && v.s[i] <= '9';
    return tpl_bool(all);
}
static tpl_value isspace_all(tpl_run *r, tpl_value v, const tpl_args *a) {
    return (void)r, (void)a, tpl_bool(v.n && tpl_strip(v, TPL_NOTHING, true, false).n == 0);
}
static tpl_value join(tpl_run *r, tpl_value v, const tpl_args *a) {
    tpl_args by = {.at = a->at, .items = &v, .names = (const char *[]){NULL}, .n = 1};
    return tpl_filter(r, tpl_argument(a, 0, NULL), "join", &by);
}

/* -------------------------------------------------------------------- dicts */

static tpl_value get(tpl_run *r, tpl_value v, const tpl_args *a) {
    const tpl_value *found = tpl_dict_get(r, v.dict, tpl_argument(a, 0, "key"));
    tpl_value other = tpl_argument(a, 1, "default");
    return found ? *found : other.kind == TPL_UNDEFINED ? tpl_none() : other;
}
static tpl_value items(tpl_run *r, tpl_value v, const tpl_args *a) { return (void)a, tpl_pairs(r, v.dict); }
static tpl_value keys(tpl_run *r, tpl_value v, const tpl_args *a) { return tpl_items(r, a->at, v); }
static tpl_value values(tpl_run *r, tpl_value v, const tpl_args *a) {
    tpl_value out = tpl_list_new(r, v.dict->n);
    (void)a;
    for (size_t i = 0; !tpl_failed(r) && i < v.dict->n; i++) out.list->items[i] = v.dict->pairs[i].value;
    return out;
}

static const struct {
    tpl_kind of;
    const char *name;
    method call;
} methods[] = {{TPL_STRING, "strip", strip}, {TPL_STRING, "lstrip", lstrip}, {TPL_STRING, "rstrip", rstrip}, {TPL_STRING, "split", split},
               {TPL_STRING, "rsplit", rsplit}, {TPL_STRING, "splitlines", splitlines}, {TPL_STRING, "startswith", startswith},
               {TPL_STRING, "endswith", endswith}, {TPL_STRING, "upper", upper}, {TPL_STRING, "lower", lower}, {TPL_STRING, "title", title},
               {TPL_STRING, "capitalize", capitalize}, {TPL_STRING, "replace", replace}, {TPL_STRING, "find", find}, {TPL_STRING, "count", count},
               {TPL_STRING, "isdigit", isdigit_all}, {TPL_STRING, "isspace", isspace_all}, {TPL_STRING, "join", join}, {TPL_DICT, "get", get},
               {TPL_DICT, "items", items}, {TPL_DICT, "keys", keys}, {TPL_DICT, "values", values}};

tpl_value tpl_call_method(tpl_run *r, tpl_value v, const char *name, const tpl_args *a) {
    if (v.kind == TPL_STRING) tpl_charge(r, v.n);
    for (size_t i = 0; i < sizeof methods / sizeof *methods; i++)
        if (methods[i].of == v.kind && strcmp(methods[i].name, name) == 0) return methods[i].call(r, v, a);
    return tpl_fail(r, a->at, RT_E_UNSUPPORTED, "%s has no method '%.40s'", tpl_kind_name(v), name);
}
