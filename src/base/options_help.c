/* options_help.c - the text of --help, from the same tables. */
#include <retort/base/options.h>
#include <stdio.h>
#include <string.h>

enum { COLUMN = 30 };

void rt_option_help_line(const rt_option *o, const char *left, rt_buf *out) {
    char expects[160];
    rt_buf_printf(out, "  %-*s %s (%s", COLUMN - 3, left, o->doc, rt_option_expects(o, expects));
    if (o->fallback) rt_buf_printf(out, "; %s", *o->fallback ? o->fallback : "\"\"");
    rt_buf_puts(out, ")\n");
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
