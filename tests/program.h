/* program.h - runs the built `retort` and keeps what it said. */
#ifndef RETORT_TESTS_PROGRAM_H
#define RETORT_TESTS_PROGRAM_H
#include <retort/base/mem.h>

typedef struct rt_run {
    int code; /* exit code; 128 + n when signal n ended it; -1 when it could not be started */
    rt_buf out, err;
} rt_run;
/* Arguments up to NULL, without the program's name; `in`: what it reads from stdin, NULL for nothing. */
rt_run rt_program(const char *in, const char *const *arguments);
#define RT_PROGRAM(in, ...) rt_program(in, (const char *const[]){__VA_ARGS__, NULL})
void rt_run_free(rt_run *r);

/* The same in two halves, for what is to be disturbed while it runs. */
typedef struct rt_started {
    int pid; /* -1: it could not be started, which has failed the test */
    char dir[512];
} rt_started;
rt_started rt_program_start(const char *in, const char *const *arguments);
rt_run rt_program_end(rt_started *s); /* waits */
#define RT_PROGRAM_START(...) rt_program_start(NULL, (const char *const[]){__VA_ARGS__, NULL})
#endif
