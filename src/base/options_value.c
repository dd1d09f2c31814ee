/* options_value.c - the text of one scalar into the type its option has, and what to say when it does not fit. */
#include "base/options_private.h"
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <utf8proc.h>

static bool bounded(const rt_option *o) { return o->min < o->max; }
static bool in_range(const rt_option *o, double x) { return !bounded(o) || (x >= o->min && x <= o->max); }

/* "1 to 64", ">= 1", "<= 64" behind a noun. */
static void add_range(const rt_option *o, const char *noun, char *buffer, size_t size) {
    bool low = bounded(o) && isfinite(o->min), high = bounded(o) && isfinite(o->max);
    if (low && high) snprintf(buffer, size, "%s, %.15g to %.15g", noun, o->min, o->max);
    else if (low) snprintf(buffer, size, "%s >= %.15g", noun, o->min);
    else if (high) snprintf(buffer, size, "%s <= %.15g", noun, o->max);
    else snprintf(buffer, size, "%s", noun);
}

static void add_choices(const rt_option *o, char *buffer, size_t size) {
    size_t n = (size_t)snprintf(buffer, size, "one of:");
    for (const char *const *c = o->choices; *c && n < size; c++)
        n += (size_t)snprintf(buffer + n, size - n, "%s %s", c == o->choices ? "" : ",", *c);
}

const char *rt_option_expects(const rt_option *o, char buffer[160]) {
    static const char *const nouns[] = {"true or false", "an integer",        "a size such as 96MiB", "a number",  "a string",
                                        "a name",        "a list of strings", "a list of numbers",    "a mapping", "a list of mappings"};
    if (o->type == RT_OPTION_BYTES && o->choices) snprintf(buffer, 160, "%s, or %s", nouns[RT_OPTION_BYTES], o->choices[0]);
    else if (o->choices) add_choices(o, buffer, 160);
    else add_range(o, nouns[o->type], buffer, 160);
    return buffer;
}

static bool parse_flag(const char *text, bool *out) {
    static const char *const words[] = {"false", "true", "no", "yes", "off", "on"};
    for (int i = 0; i < 6; i++)
        if (strcasecmp(text, words[i]) == 0) return *out = i & 1, true;
    return false;
}

static bool parse_int(const char *text, int64_t *out) {
    const char *digits = text + (*text == '-' || *text == '+');
    if (!*digits || digits[strspn(digits, "0123456789")]) return false;
    errno = 0;
    long long x = strtoll(text, NULL, 10);
    *out = x;
    return errno == 0;
}

static bool parse_real(const char *text, double *out) {
    char *end;
    if (!*text || text[strspn(text, "0123456789+-.eE")]) return false; /* no hexadecimal, nan, inf */
    *out = strtod(text, &end);
    return !*end && isfinite(*out);
}

static bool parse_bytes(const char *text, int64_t *out) {
    static const struct {
        const char *unit;
        int64_t bytes;
    } units[] = {{"", 1},           {"B", 1},           {"kB", 1000},      {"MB", 1000000},   {"GB", 1000000000},
                 {"TB", 1000000000000}, {"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1ll << 30}, {"TiB", 1ll << 40}};
    char digits[24];
    size_t n = strspn(text, "0123456789"), space = strspn(text + n, " ");
    if (n == 0 || n >= sizeof digits) return false;
    memcpy(digits, text, n), digits[n] = 0;
    int64_t x;
    if (!parse_int(digits, &x)) return false;
    for (size_t i = 0; i < sizeof units / sizeof *units; i++)
        if (strcasecmp(text + n + space, units[i].unit) == 0) return !__builtin_mul_overflow(x, units[i].bytes, out);
    return false;
}

static int choice(const rt_option *o, const char *text) {
    for (int i = 0; o->choices[i]; i++)
        if (strcmp(o->choices[i], text) == 0) return i;
    return -1;
}

void *rt_option_grow(void **items, int64_t *count, size_t size, rt_arena *arena) {
    char *bigger = rt_arena_alloc(arena, rt_array_bytes((size_t)*count + 1, size));
    if (!bigger) return NULL;
    if (*count) memcpy(bigger, *items, (size_t)*count * size);
    *items = bigger;
    return bigger + (size_t)(*count)++ * size;
}

typedef enum outcome { FITS, DOES_NOT, NO_MEMORY } outcome;

/* What is no UTF-8 could not be written into the run's JSON. */
static bool is_utf8(const char *text) {
    utf8proc_int32_t code;
    for (utf8proc_ssize_t n; *text; text += n)
        if ((n = utf8proc_iterate((const utf8proc_uint8_t *)text, -1, &code)) <= 0) return false;
    return true;
}

static outcome add_string(rt_strings *list, const char *text, rt_arena *arena) {
    if (!is_utf8(text)) return DOES_NOT;
    char *copy = rt_arena_strdup(arena, text);
    void *items = list->item;
    const char **slot = copy ? rt_option_grow(&items, &list->count, sizeof *list->item, arena) : NULL;
    if (!slot) return NO_MEMORY;
    list->item = items;
    *slot = copy;
    return FITS;
}

static outcome add_real(const rt_option *o, rt_reals *list, const char *text, rt_arena *arena) {
    double x;
    if (!parse_real(text, &x) || !in_range(o, x)) return DOES_NOT;
    void *items = list->item;
    double *slot = rt_option_grow(&items, &list->count, sizeof *list->item, arena);
    if (!slot) return NO_MEMORY;
    list->item = items;
    *slot = x;
    return FITS;
}

static outcome set_string(const rt_option *o, const char *text, const char **field, rt_arena *arena) {
    if ((o->choices && choice(o, text) < 0) || !is_utf8(text)) return DOES_NOT;
    *field = rt_arena_strdup(arena, text);
    return *field ? FITS : NO_MEMORY;
}

static outcome parse(const rt_option *o, const char *text, void *field, rt_arena *arena) {
    int64_t i;
    double x;
    int c;
    switch (o->type) {
    case RT_OPTION_FLAG: return parse_flag(text, field) ? FITS : DOES_NOT;
    case RT_OPTION_INT:
    case RT_OPTION_BYTES:
        if (o->choices && (c = choice(o, text)) >= 0) return *(int64_t *)field = -1 - c, FITS;
        if (!(o->type == RT_OPTION_INT ? parse_int(text, &i) : parse_bytes(text, &i)) || !in_range(o, (double)i)) return DOES_NOT;
        return *(int64_t *)field = i, FITS;
    case RT_OPTION_REAL:
        if (!parse_real(text, &x) || !in_range(o, x)) return DOES_NOT;
        return *(double *)field = x, FITS;
    case RT_OPTION_STRING: return set_string(o, text, field, arena);
    case RT_OPTION_ENUM: return (c = choice(o, text)) < 0 ? DOES_NOT : (*(int *)field = c, FITS);
    case RT_OPTION_STRINGS: return add_string(field, text, arena);
    case RT_OPTION_REALS: return add_real(o, field, text, arena);
    default: return DOES_NOT;
    }
}

rt_status rt_option_parse(const rt_option *o, const char *text, void *field, const char *where, rt_status refusal,
                          rt_arena *arena, rt_error *err) {
    char expects[160], hint[96] = "";
    outcome result = parse(o, text, field, arena);
    if (result == FITS) return RT_OK;
    if (result == NO_MEMORY) return rt_fail(err, RT_E_NOMEM, "%s: out of memory", where);
    rt_option item = *o; /* of a list, one item is meant */
    item.type = o->type == RT_OPTION_STRINGS ? RT_OPTION_STRING : o->type == RT_OPTION_REALS ? RT_OPTION_REAL : o->type;
    const char *near = o->choices ? rt_nearest(text, o->choices) : NULL;
    if (near) snprintf(hint, sizeof hint, "; did you mean '%s'?", near);
    return rt_fail(err, refusal, "%s: found '%.60s', expected %s%s", where, text, rt_option_expects(&item, expects), hint);
}
