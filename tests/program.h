/* program.h - runs the built program as a user would. */
#ifndef RT_TESTS_PROGRAM_H
#define RT_TESTS_PROGRAM_H
#include <stddef.h>

/* `retort <arguments>` through the shell; returns its exit code. out gets stdout and stderr together, cut to size - 1. */
int program(char *out, size_t size, const char *arguments, ...) __attribute__((format(printf, 3, 4)));
#endif
