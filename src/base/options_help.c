/* options_help.c - the text of --help, from the same tables. */
#include <retort/base/options.h>
#include <stdio.h>
#include <string.h>

enum { COLUMN = 30, WIDTH = 80 };

/* What stays on one line: up to a space that is not within [...], as usages have it. */
static int word_length(const char *text) {
    int n = 0, depth = 0;
    for (; text[n] && text[n] != '\n' && (text[n] != ' ' || depth > 0); n++) depth += (text[n] == '[') - (text[n] == ']');
    return n;
}
void rt_help_wrap(const char *text, int at, int indent, rt_buf *out) {
    for (bool first = true; *text; first = false) {
        text += strspn(text, " \n");
        int n = word_length(text);
        if (!n) return;
        bool fits = first || at + 1 + n <= WIDTH;
        rt_buf_printf(out, "%s%*s%.*s", fits ? "" : "\n", first ? 0 : fits ? 1 : indent, "", n, text);
        at = (fits ? at + !first : indent) + n;
        text += n;
    }
}

/* The lines of a paragraph, up to an empty line or one that is set in. */
static size_t paragraph_length(const char *text) {
    size_t n = 0;
    do n += strcspn(text + n, "\n") + (text[n + strcspn(text + n, "\n")] == '\n');
    while (text[n] && text[n] != '\n' && text[n] != ' ');
    return n;
}
static void paragraph(const char *text, size_t n, rt_buf *out) {
    rt_buf one = {0};
    rt_buf_add(&one, text, n);
    rt_buf_putc(&one, 0);
    if (one.failed) out->failed = true;
    else rt_help_wrap(one.data, 0, 0, out);
    rt_buf_free(&one);
}
void rt_help_text(const char *text, rt_buf *out) {
    while (*text) {
        bool as_it_stands = *text == ' ' || *text == '\n';
        size_t n = as_it_stands ? strcspn(text, "\n") : paragraph_length(text);
        if (as_it_stands) rt_buf_add(out, text, n), n += text[n] == '\n';
        else paragraph(text, n, out);
        rt_buf_putc(out, '\n');
        text += n;
    }
}

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
    rt_buf right = {0};
    rt_buf_puts(&right, o->doc);
    if (type || fallback) rt_buf_printf(&right, " (%s%s%s)", type ? type : "", type && fallback ? "; " : "", fallback ? fallback : "");
    rt_buf_printf(out, "  %-*s ", COLUMN - 3, left);
    int taken = (int)strlen(left) + 3;
    if (right.failed) out->failed = true;
    else rt_help_wrap(right.data, taken > COLUMN ? taken : COLUMN, COLUMN, out);
    rt_buf_putc(out, '\n');
    rt_buf_free(&right);
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
