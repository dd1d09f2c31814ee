/* cli.h - a command's arguments, read by the same tables as configurations (options.h).
 *
 *     --key value   --key=value   -k value   -kvalue   --flag   --no-flag   --list a b c   --   positional
 *
 * Keys are spelled with '-' (or '_'). A list takes all values up to the next option, and may be repeated. Positional
 * options are filled in the table's order; a positional list takes the rest. --help and -h are always there. Errors are
 * RT_E_USAGE: unknown option '--temprature' (did you mean '--temperature'?). */
#ifndef RETORT_BASE_CLI_H
#define RETORT_BASE_CLI_H
#include <retort/base/options.h>

/* Fills `out` with defaults, then with `argc` arguments (the command's name not among them). `*help` is set when --help
 * was asked for; then nothing is required and the rest is not read. Strings live in the arena. */
rt_status rt_cli_parse(const rt_option *table, int argc, const char *const *argv, void *out, rt_arena *arena, bool *help,
                       rt_error *err) RT_NODISCARD;
/* usage: "retort eval MODEL --data FILE... [options]"; about: a paragraph, or NULL. */
void rt_cli_help(const rt_option *table, const char *usage, const char *about, rt_buf *out);
#endif
