/* options_help.c - the text of --help, from the same tables. */
#include <retort/base/options.h>
#include <stdio.h>
#include <string.h>

enum { COLUMN = 30 };

/* A flag speaks for itself, and so do texts; only their defaults are worth a word. */
static bool obvious(const rt_option *o) {
    return o->type == RT_OPTION_FLAG || (o->type == RT_OPTION_STRING && !o->choices) || (o->type == RT_OPTION_STRINGS && o->operand);
}
static const char *worth_saying(const rt_option *o) {
    bool off = o->type == RT_OPTION_FLAG && o->fallback && strcmp(o->fallback, "no") == 0;
    return !o->fallback || off ? NULL : *o->fallback ? o->fallback : "\"\"";
}

void rt_option_help_line(const rt_option *o, const char *left, rt_buf *out) {
    char expects[160];
    const char *fallback = worth_saying(o), *type = obvious(o) ? NULL : rt_option_expects(o, expects);
    rt_buf_printf(out, "  %-*s %s", COLUMN - 3, left, o->doc);
    if (type || fallback) rt_buf_printf(out, " (%s%s%s)", type ? type : "", type && fallback ? "; " : "", fallback ? fallback : "");
    rt_buf_putc(out, '\n');
}

static bool nested(const rt_option *o) { return o->type >= RT_OPTION_SECTION; }

static void help(const rt_option *table, const char *prefix, rt_buf *out) {
    char left[128];
    for (const rt_option *o = table; o->name; o++) {
        if (nested(o)) continue;
        snprintf(left, sizeof left, "%s%s", prefix, o->name);
        rt_option_help_line(o, left, out);
    }
    for (const rt_option *o = table; o->name; o++) {
        if (!nested(o)) continue;
        snprintf(left, sizeof left, "%s%s%s", prefix, o->name, o->type == RT_OPTION_SECTIONS ? ".N." : ".");
        rt_buf_printf(out, "%s%s: %s\n", prefix, o->name, o->doc);
        help(o->table, left, out);
    }
}
void rt_options_help(const rt_option *table, rt_buf *out) { help(table, "", out); }
