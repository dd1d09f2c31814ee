/* main.c - finds the command, reads its options, runs it; the status becomes the exit code.
 *
 *     retort COMMAND [arguments]      retort --help      retort --version      retort COMMAND --help      retort help
 * COMMAND */
#include "cli/catalog.h"
#include "cli/console.h"
#include "cli/libraries.h"
#include <retort/base/cli.h>
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

/* Options of every command: they stand behind the command's own, in table and in memory. */
typedef struct common {
    bool quiet;
} common;
static const rt_option common_options[] = {
    RT_OPT_FLAG(common, quiet, "no", "say nothing but warnings and errors", .letter = 'q'), RT_OPT_END};

static int64_t rows(const rt_option *table) {
    int64_t n = 0;
    while (table[n].name) n++;
    return n;
}
static size_t common_offset(const rt_command *c) { return (c->size + 15) / 16 * 16; }

static rt_option *all_options(const rt_command *c, rt_arena *arena) {
    int64_t own = rows(c->options), more = rows(common_options);
    rt_option *table = rt_arena_alloc(arena, (size_t)(own + more + 1) * sizeof *table);
    if (!table) return NULL;
    memcpy(table, c->options, (size_t)own * sizeof *table);
    memcpy(table + own, common_options, (size_t)(more + 1) * sizeof *table);
    for (int64_t i = own; i < own + more; i++) table[i].offset += common_offset(c);
    return table;
}

/* --------------------------------------------------------------- commands */

static rt_status nomem(rt_error *err) { return rt_fail(err, RT_E_NOMEM, "out of memory"); }

static rt_status parse(rt_context *c, const rt_command *command, const rt_option *options, int argc,
                       const char *const *argv, void *arguments, bool *help, rt_error *err) {
    rt_status s = rt_cli_parse(options, argc, argv, arguments, c->arena, help, err);
    size_t used = strlen(err->text);
    if (s == RT_E_USAGE) snprintf(err->text + used, sizeof err->text - used, "; see 'retort %s --help'", command->name);
    return s;
}

static rt_status run(rt_context *c, const rt_command *command, int argc, const char *const *argv, rt_error *err) {
    bool help;
    rt_option *options = all_options(command, c->arena);
    char *arguments = rt_arena_alloc(c->arena, common_offset(command) + sizeof(common));
    if (!options || !arguments) return nomem(err);
    RT_TRY(parse(c, command, options, argc, argv, arguments, &help, err));
    if (help) {
        rt_buf page = {0};
        rt_catalog_command(command, options, &page);
        return rt_out_buf(c, &page, err);
    }
    c->quiet = c->quiet || ((common *)(void *)(arguments + common_offset(command)))->quiet;
    if (c->quiet) rt_console_quiet();
    return command->run(c, arguments, err);
}

static bool is(const char *word, const char *a, const char *b) { return strcmp(word, a) == 0 || strcmp(word, b) == 0; }

static rt_status overview(rt_context *c, rt_error *err) {
    rt_buf page = {0};
    rt_catalog_overview(c->colour, &page);
    return rt_out_buf(c, &page, err);
}

static rt_status version(rt_context *c, rt_error *err) {
    rt_buf page = {0};
    rt_libraries_page(&page);
    return rt_out_buf(c, &page, err);
}

static rt_status group_help(rt_context *c, const char *group, rt_error *err) {
    rt_buf page = {0};
    rt_catalog_group(group, &page);
    return rt_out_buf(c, &page, err);
}

static rt_status find_and_run(rt_context *c, int argc, const char *const *argv, rt_error *err) {
    const rt_command *command;
    int used;
    bool group = rt_catalog_is_group(argv[0]);
    if (group && argc > 1 && is(argv[1], "--help", "-h")) return group_help(c, argv[0], err);
    RT_TRY(rt_catalog_find(argc, argv, &command, &used, err));
    return run(c, command, argc - used, argv + used, err);
}

/* retort help [COMMAND] */
static rt_status help(rt_context *c, int argc, const char *const *argv, rt_error *err) {
    static const char *const ask[] = {"--help"};
    const rt_command *command;
    int used;
    if (argc == 0) return overview(c, err);
    if (argc == 1 && rt_catalog_is_group(argv[0])) return group_help(c, argv[0], err);
    RT_TRY(rt_catalog_find(argc, argv, &command, &used, err));
    return run(c, command, 1, ask, err);
}

static rt_status dispatch(rt_context *c, int argc, const char *const *argv, rt_error *err) {
    while (argc > 0 && is(argv[0], "--quiet", "-q")) argc--, argv++, c->quiet = true;
    if (argc == 0) return rt_fail(err, RT_E_USAGE, "which command? See 'retort --help'");
    if (is(argv[0], "--help", "-h")) return overview(c, err);
    if (is(argv[0], "--version", "-V")) return version(c, err);
    if (strcmp(argv[0], "help") == 0) return help(c, argc - 1, argv + 1, err);
    if (argv[0][0] == '-')
        return rt_fail(err, RT_E_USAGE, "the command comes first (found '%.60s'); see 'retort --help'", argv[0]);
    return find_and_run(c, argc, argv, err);
}

/* ------------------------------------------------------------------- main */

/* What is still in the buffer may meet a full disk: that, too, is a failure. */
static rt_status finish(rt_context *c, rt_status s, rt_error *err) {
    errno = 0;
    if (fflush(c->out) == 0 || s != RT_OK) return s;
    c->out_errno = errno;
    return rt_fail(err, RT_E_IO, "standard output: %s", strerror(errno));
}

/* A reader that has left (`retort ... | head`) is not an error worth a line; the exit is that of any program so cut
 * short. */
static void die_of_the_pipe(void) {
    signal(SIGPIPE, SIG_DFL);
    raise(SIGPIPE);
}

int main(int argc, char **argv) {
    rt_error err = {0};
    rt_arena arena = {0};
    rt_context c = {
        .arena = &arena, .out = stdout, .terminal = isatty(STDOUT_FILENO), .colour = rt_console_colour(STDOUT_FILENO)};
    signal(SIGPIPE, SIG_IGN); /* a run must not die because whoever watched its log has gone */
    signal(SIGXFSZ, SIG_IGN); /* a file beyond the limit of its size is one that cannot be written: an error with its name */
    rt_console_open();
    rt_status s = dispatch(&c, argc - 1, (const char *const *)argv + 1, &err);
    s = finish(&c, s, &err);
    rt_console_close();
    rt_arena_free(&arena);
    if (s == RT_E_IO && c.out_errno == EPIPE) die_of_the_pipe();
    if (s != RT_OK) rt_console_error(*err.text ? err.text : rt_status_text(s));
    return rt_status_exit(s);
}
