/* cli.c - command lines by option tables. */
#include "base/options_private.h"
#include <retort/base/cli.h>
#include <assert.h>
#include <ctype.h>
#include <stdio.h>
#include <string.h>

enum { NAME = 64, MAX_OPTIONS = 64 };
typedef struct words {
    const rt_option *table;
    int argc, next;
    const char *const *argv;
    void *out;
    rt_arena *arena;
    bool given[MAX_OPTIONS], only_positional, help;
    rt_error *err;
} words;

static const char *spelled(const rt_option *o, char buffer[NAME]) { /* "--sequence-length" */
    snprintf(buffer, NAME, "--%s", o->name);
    for (char *p = buffer; *p; p++)
        if (*p == '_') *p = '-';
    return buffer;
}

static bool same_key(const char *word, size_t length, const char *name) {
    if (strlen(name) != length) return false;
    for (size_t i = 0; i < length; i++)
        if (word[i] != name[i] && !(word[i] == '-' && name[i] == '_')) return false;
    return true;
}
static const rt_option *by_name(const rt_option *table, const char *word, size_t length) {
    for (; table->name; table++)
        if (!table->positional && same_key(word, length, table->name)) return table;
    return NULL;
}
static const rt_option *by_letter(const rt_option *table, char letter) {
    for (; table->name; table++)
        if (table->letter == letter && letter) return table;
    return NULL;
}

static rt_status unknown(words *w, const char *word, size_t length) {
    char spellings[MAX_OPTIONS][NAME], shown[NAME], hint[NAME + 32] = "";
    const char *names[MAX_OPTIONS + 1];
    int n = 0;
    for (const rt_option *o = w->table; o->name && n < MAX_OPTIONS; o++)
        if (!o->positional) names[n] = spelled(o, spellings[n]), n++;
    names[n] = NULL;
    snprintf(shown, sizeof shown, "%.*s", (int)(length < NAME ? length : NAME - 1), word);
    const char *near = rt_nearest(shown, names);
    if (near) snprintf(hint, sizeof hint, " (did you mean '%s'?)", near);
    return rt_fail(w->err, RT_E_USAGE, "unknown option '%s'%s", shown, hint);
}

static bool is_list(const rt_option *o) { return o->type == RT_OPTION_STRINGS || o->type == RT_OPTION_REALS; }

/* The first value given for a list takes the default's place; later ones are added. */
static rt_status store(words *w, const rt_option *o, const char *value, const char *name) {
    bool *given = &w->given[o - w->table];
    void *field = rt_option_field(o, w->out);
    if (!*given && o->type == RT_OPTION_STRINGS) *(rt_strings *)field = (rt_strings){0};
    if (!*given && o->type == RT_OPTION_REALS) *(rt_reals *)field = (rt_reals){0};
    *given = true;
    return rt_option_parse(o, value, field, name, RT_E_USAGE, w->arena, w->err);
}

/* "-" is a file (standard input) and "-1" a number; anything else that begins with '-' is an option. */
static bool is_value(const char *word) { return word[0] != '-' || !word[1] || isdigit((unsigned char)word[1]) || word[1] == '.'; }

static rt_status take_values(words *w, const rt_option *o, const char *name) {
    if (w->next >= w->argc || !is_value(w->argv[w->next])) {
        char expects[160];
        return rt_fail(w->err, RT_E_USAGE, "%s: found no value, expected %s", name, rt_option_expects(o, expects));
    }
    RT_TRY(store(w, o, w->argv[w->next++], name));
    while (is_list(o) && w->next < w->argc && is_value(w->argv[w->next])) RT_TRY(store(w, o, w->argv[w->next++], name));
    return RT_OK;
}

static rt_status long_option(words *w, const char *word) {
    char name[NAME];
    size_t length = strcspn(word + 2, "=");
    const char *value = word[2 + length] == '=' ? word + 2 + length + 1 : NULL;
    const rt_option *o = by_name(w->table, word + 2, length);
    bool negated = !o && strncmp(word + 2, "no-", 3) == 0 && (o = by_name(w->table, word + 5, length - 3)) != NULL;
    if (!o || (negated && (o->type != RT_OPTION_FLAG || value))) return unknown(w, word, length + 2);
    spelled(o, name);
    if (value) return store(w, o, value, name);
    if (o->type == RT_OPTION_FLAG) return store(w, o, negated ? "no" : "yes", name);
    return take_values(w, o, name);
}

static rt_status short_option(words *w, const char *word) {
    char name[NAME];
    const rt_option *o = by_letter(w->table, word[1]);
    if (!o) return unknown(w, word, strlen(word));
    snprintf(name, sizeof name, "-%c", word[1]);
    if (o->type == RT_OPTION_FLAG) return word[2] ? unknown(w, word, strlen(word)) : store(w, o, "yes", name);
    return word[2] ? store(w, o, word + 2, name) : take_values(w, o, name);
}

static rt_status positional(words *w, const char *word) {
    for (const rt_option *o = w->table; o->name; o++)
        if (o->positional && (!w->given[o - w->table] || is_list(o))) return store(w, o, word, o->operand ? o->operand : o->name);
    return rt_fail(w->err, RT_E_USAGE, "unexpected argument '%.60s'", word);
}

static rt_status one_word(words *w) {
    const char *word = w->argv[w->next++];
    if (w->only_positional || is_value(word)) return positional(w, word);
    if (strcmp(word, "--") == 0) return w->only_positional = true, RT_OK;
    if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0) return w->help = true, RT_OK;
    return word[1] == '-' ? long_option(w, word) : short_option(w, word);
}

static rt_status check_required(words *w) {
    char name[NAME];
    for (const rt_option *o = w->table; o->name; o++)
        if (o->required && !w->given[o - w->table])
            return rt_fail(w->err, RT_E_USAGE, "missing %s", o->positional ? o->operand ? o->operand : o->name : spelled(o, name));
    return RT_OK;
}

rt_status rt_cli_parse(const rt_option *table, int argc, const char *const *argv, void *out, rt_arena *arena, bool *help,
                       rt_error *err) {
    words w = {.table = table, .argc = argc, .argv = argv, .out = out, .arena = arena, .err = err};
    for (const rt_option *o = table; o->name; o++) assert(o - table < MAX_OPTIONS);
    *help = false;
    RT_TRY(rt_options_defaults(table, out, arena, err));
    while (w.next < argc && !w.help) RT_TRY(one_word(&w));
    *help = w.help;
    return w.help ? RT_OK : check_required(&w);
}

static const char *const value_names[] = {"", " N", " SIZE", " X", " TEXT", " NAME", " TEXT...", " X...", "", ""};

static void help_line(const rt_option *o, rt_buf *out) {
    char left[160], name[NAME];
    if (o->positional) snprintf(left, sizeof left, "%s", o->operand ? o->operand : o->name);
    else {
        int n = o->letter ? snprintf(left, sizeof left, "-%c, ", o->letter) : 0;
        const char *space = o->operand ? " " : "", *value = o->operand ? o->operand : value_names[o->type];
        snprintf(left + n, sizeof left - (size_t)n, "%s%s%s", spelled(o, name), space, value);
    }
    rt_option_help_line(o, left, out);
}

void rt_cli_help(const rt_option *table, const char *usage, const char *about, rt_buf *out) {
    enum { AFTER_USAGE = 7 };
    rt_buf_puts(out, "usage: ");
    rt_help_wrap(usage, AFTER_USAGE, AFTER_USAGE, out);
    rt_buf_putc(out, '\n');
    if (about) rt_buf_putc(out, '\n'), rt_help_text(about, out);
    rt_buf_putc(out, '\n');
    for (const rt_option *o = table; o->name; o++)
        if (o->positional) help_line(o, out);
    for (const rt_option *o = table; o->name; o++)
        if (!o->positional) help_line(o, out);
    rt_buf_puts(out, "  -h, --help                  print this\n");
}
