/* command_line.h - runs the built program as a user would type it (program.h takes the words one by one). */
#ifndef RT_TESTS_COMMAND_LINE_H
#define RT_TESTS_COMMAND_LINE_H
#include <stddef.h>

/* `retort <arguments>` through the shell; returns its exit code. out gets stdout and stderr together, cut to size - 1. */
int command_line(char *out, size_t size, const char *arguments, ...) __attribute__((format(printf, 3, 4)));
#endif
