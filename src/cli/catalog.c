/* catalog.c - the table made from commands.def. */
#include "cli/catalog.h"
#include <retort/base/cli.h>
#include <string.h>

#define RT_SECTION(title)
#define RT_GROUP(name, summary)
#define RT_COMMAND(id) extern const rt_command rt_command_##id;
#include "cli/commands.def"
#undef RT_SECTION
#undef RT_GROUP
#undef RT_COMMAND

typedef struct entry { /* one of: a section's title; a group's name and text; a command */
    const char *title, *group, *text;
    const rt_command *command;
} entry;
static const entry entries[] = {
#define RT_SECTION(name)        {.title = name},
#define RT_GROUP(name, summary) {.group = name, .text = summary},
#define RT_COMMAND(id)          {.command = &rt_command_##id},
#include "cli/commands.def"
};
enum { ENTRIES = sizeof entries / sizeof *entries };

static size_t first_word(const char *name) { return strcspn(name, " "); }
static bool begins(const rt_command *c, const char *word) {
    return first_word(c->name) == strlen(word) && strncmp(c->name, word, strlen(word)) == 0;
}
static const char *second_word(const rt_command *c) {
    return c->name[first_word(c->name)] ? c->name + first_word(c->name) + 1 : NULL;
}

/* --------------------------------------------------------------- finding */

bool rt_catalog_is_group(const char *word) {
    for (int i = 0; i < ENTRIES; i++)
        if (entries[i].group && strcmp(entries[i].group, word) == 0) return true;
    return false;
}

static const rt_command *find(const char *first, const char *second) {
    for (int i = 0; i < ENTRIES; i++) {
        const rt_command *c = entries[i].command;
        if (!c || !begins(c, first)) continue;
        if (second ? second_word(c) && strcmp(second_word(c), second) == 0 : !second_word(c)) return c;
    }
    return NULL;
}

/* What may stand in this place: after `group`, or (NULL) as the first word. */
static const char *nearest(const char *word, const char *group) {
    const char *names[ENTRIES + 1];
    int n = 0;
    for (int i = 0; i < ENTRIES; i++) {
        const rt_command *c = entries[i].command;
        if (group && c && begins(c, group)) names[n++] = second_word(c);
        if (!group && entries[i].group) names[n++] = entries[i].group;
        if (!group && c && !second_word(c)) names[n++] = c->name;
    }
    names[n] = NULL;
    return rt_nearest(word, names);
}

static rt_status unknown(const char *word, const char *group, rt_error *err) {
    const char *near = nearest(word, group), *space = group ? " " : "", *before = group ? group : "";
    if (near)
        return rt_fail(err, RT_E_USAGE, "unknown command '%s%s%.60s' (did you mean '%s%s%s'?)", before, space, word,
                       before, space, near);
    return rt_fail(err, RT_E_USAGE, "unknown command '%s%s%.60s'; see 'retort %s%s--help'", before, space, word, before,
                   space);
}

rt_status rt_catalog_find(int argc, const char *const *argv, const rt_command **out, int *used, rt_error *err) {
    bool group = rt_catalog_is_group(argv[0]);
    *used = group ? 2 : 1;
    if (group && argc < 2) return rt_fail(err, RT_E_USAGE, "%s: which one? See 'retort %s --help'", argv[0], argv[0]);
    *out = find(argv[0], group ? argv[1] : NULL);
    if (*out) return RT_OK;
    return group ? unknown(argv[1], argv[0], err) : unknown(argv[0], NULL, err);
}

/* ------------------------------------------------------------------ help */

static const char purpose[] =
    "retort distils a large float16 teacher into a small Mixture-of-Experts student,\n"
    "on ordinary CPUs.\n\n"
    "usage: retort COMMAND [arguments]\n"
    "       retort COMMAND --help       what a command takes\n";
static const char footer[] =
    "\nEvery command: --help, --quiet. Results go to stdout, talk to stderr.\n"
    "Exit codes: 0 done; 1 a check failed; 2 bad usage or configuration;\n"
    "            3 bad input file; 4 numerical failure; 5 out of memory or disk;\n"
    "            130 interrupted after a clean checkpoint\n"
    "\nWhere to begin:\n"
    "  retort doctor                               what this machine can do\n"
    "  retort data synth --out data --bytes 4MiB   texts to practise on, a tokenizer\n"
    "  retort distill --teacher DIR --data FILE --out DIR   a student, by defaults\n";

static void members(const char *group, rt_buf *out) {
    const char *comma = "";
    for (int i = 0; i < ENTRIES; i++) {
        const rt_command *c = entries[i].command;
        if (!c || !begins(c, group) || !second_word(c)) continue;
        rt_buf_printf(out, "%s%s", comma, second_word(c));
        comma = " | ";
    }
}

enum { SECOND = 13 }; /* the column of what a command is for */

static void group_line(const entry *e, rt_buf *out) {
    rt_buf line = {0};
    rt_buf_printf(&line, "%s: ", e->text);
    members(e->group, &line);
    if (line.failed) out->failed = true;
    else rt_help_wrap(line.data, SECOND, SECOND, out);
    rt_buf_putc(out, '\n');
    rt_buf_free(&line);
}

void rt_catalog_overview(bool colour, rt_buf *out) {
    const char *bold = colour ? "\033[1m" : "", *plain = colour ? "\033[0m" : "";
    rt_buf_puts(out, purpose);
    for (int i = 0; i < ENTRIES; i++) {
        const entry *e = &entries[i];
        if (e->title) rt_buf_printf(out, "\n%s%s%s\n", bold, e->title, plain);
        if (e->command && !second_word(e->command))
            rt_buf_printf(out, "  %-10s ", e->command->name), rt_help_wrap(e->command->summary, SECOND, SECOND, out), rt_buf_putc(out, '\n');
        if (!e->group) continue;
        rt_buf_printf(out, "  %-10s ", e->group);
        group_line(e, out);
    }
    rt_buf_puts(out, footer);
}

void rt_catalog_group(const char *group, rt_buf *out) {
    rt_buf_printf(out, "usage: retort %s COMMAND [arguments]\n", group);
    for (int i = 0; i < ENTRIES; i++)
        if (entries[i].group && strcmp(entries[i].group, group) == 0) rt_buf_printf(out, "\n%s\n\n", entries[i].text);
    for (int i = 0; i < ENTRIES; i++) {
        const rt_command *c = entries[i].command;
        if (c && begins(c, group) && second_word(c)) rt_buf_printf(out, "  %-16s %s\n", second_word(c), c->summary);
    }
    rt_buf_printf(out, "\n'retort %s COMMAND --help' tells what each takes.\n", group);
}

void rt_catalog_command(const rt_command *c, const rt_option *options, rt_buf *out) {
    rt_buf usage = {0}, about = {0};
    rt_buf_printf(&usage, "retort %s %s", c->name, c->usage);
    rt_buf_printf(&about, "%s%s%s", c->summary, c->about ? "\n\n" : "", c->about ? c->about : "");
    if (usage.failed || about.failed)
        out->failed = true;
    else
        rt_cli_help(options, usage.data, about.data, out);
    rt_buf_free(&usage);
    rt_buf_free(&about);
}
