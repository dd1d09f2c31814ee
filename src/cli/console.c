/* console.c - what is said while a command runs. On a terminal a progress line is rewritten in place; elsewhere it
 * becomes a plain line every few seconds, so that a log file stays readable. */
#include "cli/console.h"
#include <retort/base/log.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

enum { PLAIN_SECONDS = 5 };
static struct {
    bool terminal, colour, quiet, open_line;
    time_t last_plain;
} console;

bool rt_console_colour(int descriptor) {
    const char *no = getenv("NO_COLOR"), *term = getenv("TERM");
    return isatty(descriptor) && !(no && *no) && term && strcmp(term, "dumb") != 0;
}

static int width(void) {
    struct winsize size;
    return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 10 ? size.ws_col : 80;
}

static void clear(void) {
    if (console.open_line) fputs("\r\033[K", stderr);
    console.open_line = false;
}

static void progress(const char *line) {
    if (!*line) {
        clear();
        return;
    }
    if (console.terminal) {
        fprintf(stderr, "\r%.*s\033[K", width() - 1, line);
        console.open_line = true;
        return;
    }
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    if (console.last_plain && now.tv_sec - console.last_plain < PLAIN_SECONDS) return;
    console.last_plain = now.tv_sec;
    fprintf(stderr, "%s\n", line);
}

static void say(void *context, rt_log_level level, const char *line) {
    (void)context;
    if (console.quiet && level != RT_LOG_WARNING) return;
    if (level == RT_LOG_PROGRESS) {
        progress(line);
        return;
    }
    clear();
    if (level == RT_LOG_WARNING) fputs(console.colour ? "\033[33mwarning:\033[0m " : "warning: ", stderr);
    fprintf(stderr, "%s\n", line);
}

void rt_console_open(void) {
    console.terminal = isatty(STDERR_FILENO);
    console.colour = rt_console_colour(STDERR_FILENO);
    rt_log_set_sink(say, NULL);
}
void rt_console_quiet(void) { console.quiet = true; }

void rt_console_close(void) {
    if (console.open_line) fputc('\n', stderr);
    console.open_line = false;
}

void rt_console_error(const char *text) {
    char line[sizeof((rt_error *)0)->text + 64];
    snprintf(line, sizeof line, "%s", text);
    for (char *p = line; *p; p++)
        if ((unsigned char)*p < ' ' || *p == 127) *p = '?';
    rt_console_close();
    fprintf(stderr, "%s%s\n", console.colour ? "\033[1;31mretort:\033[0m " : "retort: ", line);
}
