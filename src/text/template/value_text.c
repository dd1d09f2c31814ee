/* value_text.c - values as text: str(), repr() and json.dumps() of Python, which is what templates are written against. */
#include "text/template/run.h"
#include "text/utf8.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The shortest digits that read back exactly, with ".0" where it looks whole, exponents from 1e16 as Python does. */
static void add_float(tpl_run *r, tpl_text_buf *b, double x, bool json) {
    char text[40];
    if (!isfinite(x)) {
        const char *names[] = {"nan", "inf", "-inf", "NaN", "Infinity", "-Infinity"};
        tpl_add_text(r, b, names[(json ? 3 : 0) + (isnan(x) ? 0 : x > 0 ? 1 : 2)]);
        return;
    }
    int digits = 1;
    do snprintf(text, sizeof text, "%.*e", digits - 1, x);
    while (strtod(text, NULL) != x && ++digits <= 17);
    int exponent = atoi(strchr(text, 'e') + 1), decimals = digits - 1 - exponent;
    if (exponent >= -4 && exponent < 16) snprintf(text, sizeof text, "%.*f", decimals > 1 ? decimals : 1, x);
    tpl_add_text(r, b, text); /* copied */
}

static void add_int(tpl_run *r, tpl_text_buf *b, int64_t i) {
    char text[24];
    tpl_add(r, b, tpl_bytes(text, (size_t)snprintf(text, sizeof text, "%lld", (long long)i), NULL));
}

/* A string within quotes. */
static void add_quoted(tpl_run *r, tpl_text_buf *b, tpl_value v, char quote, bool json) {
    char q[2] = {quote}, out[8];
    size_t from = 0;
    tpl_add(r, b, tpl_bytes(q, 1, NULL));
    for (size_t i = 0; i < v.n; i++) {
        unsigned char c = (unsigned char)v.s[i];
        if (c >= ' ' && c != 127 && c != '\\' && c != (unsigned char)quote) continue;
        if (c == 127 && json) continue;
        static const char special[] = "\n\t\r\b\f";
        const char *named = c ? strchr(special, c) : NULL;
        if (c == '\\' || c == (unsigned char)quote) snprintf(out, sizeof out, "\\%c", c);
        else if (named && (json || named < special + 3)) snprintf(out, sizeof out, "\\%c", "ntrbf"[named - special]);
        else snprintf(out, sizeof out, json ? "\\u%04x" : "\\x%02x", c);
        tpl_add(r, b, tpl_part(v, from, i));
        tpl_add_text(r, b, out);
        from = i + 1;
    }
    tpl_add(r, b, tpl_part(v, from, v.n));
    tpl_add(r, b, tpl_bytes(q, 1, NULL));
}

static void repr_string(tpl_run *r, tpl_text_buf *b, tpl_value v) {
    bool single = v.n && memchr(v.s, '\'', v.n), twice = v.n && memchr(v.s, '"', v.n);
    add_quoted(r, b, v, single && !twice ? '"' : '\'', false);
}

/* An undefined value is nothing by itself, and says so within a list. */
static void repr_inside(tpl_run *r, tpl_text_buf *b, tpl_value v) {
    if (v.kind == TPL_UNDEFINED) tpl_add_text(r, b, "Undefined");
    else tpl_repr(r, b, v);
}

static void repr_list(tpl_run *r, tpl_text_buf *b, tpl_value v) {
    tpl_add_text(r, b, v.tuple ? "(" : "[");
    for (size_t i = 0; i < v.list->n && !tpl_failed(r); i++) {
        if (i) tpl_add_text(r, b, ", ");
        repr_inside(r, b, v.list->items[i]);
    }
    tpl_add_text(r, b, v.tuple ? v.list->n == 1 ? ",)" : ")" : "]");
}
static void repr_dict(tpl_run *r, tpl_text_buf *b, const tpl_dict *d) {
    tpl_add_text(r, b, "{");
    for (size_t i = 0; i < d->n && !tpl_failed(r); i++) {
        if (i) tpl_add_text(r, b, ", ");
        tpl_repr(r, b, d->pairs[i].key);
        tpl_add_text(r, b, ": ");
        repr_inside(r, b, d->pairs[i].value);
    }
    tpl_add_text(r, b, "}");
}

void tpl_repr(tpl_run *r, tpl_text_buf *b, tpl_value v) {
    bool in = tpl_enter(r, NULL) && tpl_step(r, NULL);
    if (in) switch (v.kind) {
        case TPL_UNDEFINED: break;
        case TPL_NONE: tpl_add_text(r, b, "None"); break;
        case TPL_BOOL: tpl_add_text(r, b, v.b ? "True" : "False"); break;
        case TPL_INT: add_int(r, b, v.i); break;
        case TPL_FLOAT: add_float(r, b, v.f, false); break;
        case TPL_STRING: repr_string(r, b, v); break;
        case TPL_LIST: repr_list(r, b, v); break;
        case TPL_DICT: repr_dict(r, b, v.dict); break;
        default: tpl_fail(r, NULL, RT_E_INPUT, "%s cannot be written", tpl_kind_name(v));
        }
    tpl_leave(r);
}

tpl_value tpl_str(tpl_run *r, tpl_value v) {
    tpl_text_buf b = {0};
    if (v.kind == TPL_STRING) return v;
    tpl_repr(r, &b, v);
    return tpl_taken(&b);
}

/* --------------------------------------------------------------------- JSON */

static void new_line(tpl_run *r, tpl_text_buf *b, int64_t indent, int level) {
    if (indent < 0) return;
    tpl_add_text(r, b, "\n");
    for (int64_t i = 0; i < indent * level && !tpl_failed(r); i++) tpl_add_text(r, b, " ");
}
static void separate(tpl_run *r, tpl_text_buf *b, size_t i, int64_t indent, int level) {
    if (i) tpl_add_text(r, b, indent < 0 ? ", " : ",");
    new_line(r, b, indent, level);
}

static void json_list(tpl_run *r, tpl_text_buf *b, const tpl_list *l, int64_t indent, int level, bool sorted) {
    tpl_add_text(r, b, "[");
    for (size_t i = 0; i < l->n && !tpl_failed(r); i++) {
        separate(r, b, i, indent, level + 1);
        tpl_json(r, b, l->items[i], indent, level + 1, sorted);
    }
    if (l->n) new_line(r, b, indent, level);
    tpl_add_text(r, b, "]");
}

static void json_key(tpl_run *r, tpl_text_buf *b, tpl_value key) {
    if (key.kind == TPL_STRING) {
        add_quoted(r, b, key, '"', true);
        return;
    }
    tpl_add_text(r, b, "\"");
    tpl_json(r, b, key, -1, 0, false);
    tpl_add_text(r, b, "\"");
}

static int by_key(const void *a, const void *b) {
    int order = 0;
    return tpl_order(((const tpl_pair *)a)->key, ((const tpl_pair *)b)->key, &order) ? order : 0;
}
static const tpl_pair *sorted_pairs(tpl_run *r, const tpl_dict *d) {
    tpl_pair *p = tpl_alloc(r, rt_array_bytes(d->n, sizeof *p));
    if (p && d->n) qsort(memcpy(p, d->pairs, d->n * sizeof *p), d->n, sizeof *p, by_key);
    return p;
}

static void json_dict(tpl_run *r, tpl_text_buf *b, const tpl_dict *d, int64_t indent, int level, bool sorted) {
    const tpl_pair *pairs = sorted ? sorted_pairs(r, d) : d->pairs;
    tpl_add_text(r, b, "{");
    for (size_t i = 0; i < d->n && !tpl_failed(r); i++) {
        separate(r, b, i, indent, level + 1);
        json_key(r, b, pairs[i].key);
        tpl_add_text(r, b, ": ");
        tpl_json(r, b, pairs[i].value, indent, level + 1, sorted);
    }
    if (d->n) new_line(r, b, indent, level);
    tpl_add_text(r, b, "}");
}

void tpl_json(tpl_run *r, tpl_text_buf *b, tpl_value v, int64_t indent, int level, bool sorted) {
    bool in = tpl_enter(r, NULL) && tpl_step(r, NULL);
    if (in) switch (v.kind) {
        case TPL_NONE: tpl_add_text(r, b, "null"); break;
        case TPL_BOOL: tpl_add_text(r, b, v.b ? "true" : "false"); break;
        case TPL_INT: add_int(r, b, v.i); break;
        case TPL_FLOAT: add_float(r, b, v.f, true); break;
        case TPL_STRING: add_quoted(r, b, v, '"', true); break;
        case TPL_LIST: json_list(r, b, v.list, indent, level, sorted); break;
        case TPL_DICT: json_dict(r, b, v.dict, indent, level, sorted); break;
        default: tpl_fail(r, NULL, RT_E_INPUT, "tojson of %s", tpl_kind_name(v));
        }
    tpl_leave(r);
}
