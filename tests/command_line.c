/* command_line.c - see command_line.h. */
#include "command_line.h"
#include "harness.h"
#include <stdarg.h>
#include <stdio.h>
#include <sys/wait.h>

int command_line(char *out, size_t size, const char *arguments, ...) {
    char command[8192];
    int n = snprintf(command, sizeof command, "%s/retort ", RT_BINARY_DIR);
    va_list args;
    va_start(args, arguments);
    n += vsnprintf(command + n, sizeof command - (size_t)n, arguments, args);
    va_end(args);
    snprintf(command + n, sizeof command - (size_t)n, " 2>&1");
    FILE *f = popen(command, "r");
    size_t got = f ? fread(out, 1, size - 1, f) : 0;
    out[got] = 0;
    int status = f ? pclose(f) : -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}
