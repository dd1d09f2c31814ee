/* command.h - one command of the program, as data: what main needs to find it, explain it, read its options and run it.
 *
 *     typedef struct arguments { const char *model; int64_t limit; } arguments;
 *     static const rt_option options[] = {RT_OPT_STRING(arguments, model, ...), RT_OPT_INT(arguments, limit, ...),
 * RT_OPT_END}; static rt_status run(rt_context *c, const void *given, rt_error *err) { const arguments *a = given; ...
 * } const rt_command rt_command_eval = {"eval", "measures a model", "MODEL --data FILE... [options]", about, options,
 *                                         sizeof(arguments), run};
 *
 * and one line in src/cli/commands.def: RT_COMMAND(eval). A name of two words ("data encode") is
 * RT_COMMAND(data_encode).
 * --help and --quiet are every command's; do not list them. What a command computes goes to stdout, through rt_out;
 * what it says goes to stderr, through rt_log. The status it returns becomes the exit code, the error's text the one
 * line on stderr. */
#ifndef RETORT_BASE_COMMAND_H
#define RETORT_BASE_COMMAND_H
#include <retort/base/log.h>
#include <retort/base/options.h>
#include <stdio.h>

typedef struct rt_context {
    rt_arena *arena;       /* freed after the command */
    FILE *out;             /* stdout, fully buffered unless it is a terminal */
    int out_errno;         /* why a write to it failed; 0 */
    bool terminal, colour; /* out is a terminal; and wants colours (NO_COLOR unset) */
    bool quiet;            /* only warnings and errors are wanted; rt_log knows */
} rt_context;

typedef struct rt_command {
    const char *name;    /* "eval", "data encode" */
    const char *summary; /* one line: lower case, no final stop */
    const char *usage;   /* what follows the name: "MODEL --data FILE... [options]" */
    const char *about;   /* a paragraph or more for --help, or NULL */
    const rt_option *options;
    size_t size; /* of the struct the options fill */
    rt_status (*run)(rt_context *c, const void *arguments, rt_error *err);
} rt_command;

/* To stdout. RT_E_IO when it cannot be written; main does not report a reader that has left. */
rt_status rt_out(rt_context *c, const void *bytes, size_t n, rt_error *err) RT_NODISCARD;
rt_status rt_out_printf(rt_context *c, rt_error *err, const char *format, ...) RT_NODISCARD RT_PRINTF(3, 4);
rt_status rt_out_buf(rt_context *c, rt_buf *text, rt_error *err) RT_NODISCARD; /* frees the text, also after an error */
/* Indented, with a line end; takes over `value` (NULL, from a failed constructor, is out of memory). */
rt_status rt_out_json(rt_context *c, json_t *value, rt_error *err) RT_NODISCARD;
/* rt_out as a callback: context is the rt_context. */
rt_status rt_out_sink(void *context, const char *text, size_t bytes, rt_error *err) RT_NODISCARD;
#endif
