/* console.h - stderr: log lines, a progress line that is overwritten, the one line of an error; colours where wanted.
 */
#ifndef RETORT_CLI_CONSOLE_H
#define RETORT_CLI_CONSOLE_H
#include <retort/base/status.h>

/* From here on rt_log goes to stderr. quiet: warnings only. */
void rt_console_open(void);
void rt_console_quiet(void);
/* Ends a progress line that is still open. */
void rt_console_close(void);
/* "retort: text", one line whatever the text holds. */
void rt_console_error(const char *text);
/* May colours be written to this descriptor? A terminal, NO_COLOR unset or empty (no-color.org), TERM not "dumb". */
bool rt_console_colour(int descriptor);
#endif
