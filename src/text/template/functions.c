/* functions.c - what templates can call without an object: raise_exception and strftime_now are Hugging Face's. */
#include "text/template/run.h"
#include <string.h>
#include <time.h>

static tpl_value raise(tpl_run *r, const tpl_args *a) {
    tpl_value v = tpl_argument(a, 0, "message");
    return tpl_fail(r, a->at, RT_E_INPUT, "the template refuses: %.*s", v.kind == TPL_STRING ? (int)(v.n < 300 ? v.n : 300) : 0, v.kind == TPL_STRING ? v.s : "");
}

static tpl_value strftime_now(tpl_run *r, const tpl_args *a) {
    tpl_value v = tpl_argument(a, 0, "format");
    char format[128], text[512];
    struct tm t;
    time_t now = (time_t)r->now;
    if (v.kind != TPL_STRING || v.n >= sizeof format) return tpl_fail(r, a->at, RT_E_INPUT, "strftime_now needs a short format");
    memcpy(format, v.s, v.n), format[v.n] = 0;
    size_t n = gmtime_r(&now, &t) && v.n ? strftime(text, sizeof text, format, &t) : 0;
    tpl_text_buf b = {0};
    tpl_add(r, &b, tpl_bytes(text, n, NULL));
    return tpl_taken(&b);
}

static tpl_value range(tpl_run *r, const tpl_args *a) {
    tpl_value x = tpl_argument(a, 0, NULL), y = tpl_argument(a, 1, NULL), z = tpl_argument(a, 2, NULL);
    if (x.kind != TPL_INT || (a->n > 1 && y.kind != TPL_INT) || (a->n > 2 && (z.kind != TPL_INT || z.i == 0 || z.i < -INT32_MAX || z.i > INT32_MAX)))
        return tpl_fail(r, a->at, RT_E_INPUT, "range needs integers, and a step that is not 0");
    int64_t first = a->n > 1 ? x.i : 0, end = a->n > 1 ? y.i : x.i, step = a->n > 2 ? z.i : 1, most = 1000000000;
    if (first < -most || first > most || end < -most || end > most) return tpl_fail(r, a->at, RT_E_INPUT, "range goes beyond %lld", (long long)most);
    int64_t n = step > 0 ? (end - first + step - 1) / step : (first - end - step - 1) / -step;
    tpl_value out = tpl_list_new(r, n > 0 ? (size_t)n : 0);
    for (int64_t i = 0; i < n && !tpl_failed(r); i++) out.list->items[i] = tpl_int(first + i * step);
    return out;
}

static tpl_value dict(tpl_run *r, const tpl_args *a) {
    tpl_value out = tpl_dict_new(r), from = tpl_argument(a, 0, NULL);
    for (size_t i = 0; from.kind == TPL_DICT && i < from.dict->n && !tpl_failed(r); i++)
        tpl_dict_put(r, out.dict, from.dict->pairs[i].key, from.dict->pairs[i].value);
    for (size_t i = 0; i < a->n && !tpl_failed(r); i++)
        if (a->names[i]) tpl_dict_put(r, out.dict, tpl_text(a->names[i]), a->items[i]);
    return out;
}

static tpl_value namespace(tpl_run *r, const tpl_args *a) {
    tpl_value out = dict(r, a);
    if (!tpl_failed(r)) out.dict->is_namespace = true;
    return out;
}

static const struct {
    const char *name;
    tpl_value (*call)(tpl_run *, const tpl_args *);
} functions[] = {{"raise_exception", raise}, {"strftime_now", strftime_now}, {"range", range}, {"namespace", namespace}, {"dict", dict}};

int64_t tpl_function_find(const char *name) {
    for (size_t i = 0; i < sizeof functions / sizeof *functions; i++)
        if (strcmp(functions[i].name, name) == 0) return (int64_t)i;
    return -1;
}
tpl_value tpl_call_function(tpl_run *r, int64_t which, const tpl_args *a) { return functions[which].call(r, a); }
