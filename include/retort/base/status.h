/* status.h - what a fallible function returns, and the text that explains it.
 *
 * Every function that can fail returns rt_status and fills a caller-owned rt_error (which may be NULL). The library
 * never prints, exits or aborts. An error text is one line: what, where, found, expected, nearest valid name. */
#ifndef RETORT_BASE_STATUS_H
#define RETORT_BASE_STATUS_H
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

/*      name            exit  text */
#define RT_STATUS_LIST(X)                                                                                              \
    X(OK, 0, "ok")                                                                                                     \
    X(E_CHECK, 1, "a check or comparison failed")                                                                      \
    X(E_USAGE, 2, "bad usage")                                                                                         \
    X(E_CONFIG, 2, "bad configuration")                                                                                \
    X(E_ARG, 2, "bad argument")                                                                                        \
    X(E_DTYPE, 2, "dtype differs from the contract")                                                                   \
    X(E_PREC, 2, "no kernel for this precision")                                                                       \
    X(E_SHAPE, 2, "shape does not fit")                                                                                \
    X(E_UNSUPPORTED, 2, "not supported")                                                                               \
    X(E_INPUT, 3, "bad input file")                                                                                    \
    X(E_NUMERIC, 4, "numerical failure")                                                                               \
    X(E_NOMEM, 5, "out of memory")                                                                                     \
    X(E_IO, 5, "input/output failure")                                                                                 \
    X(E_INTERRUPTED, 130, "interrupted after a clean checkpoint")

typedef enum rt_status {
#define X(name, code, text) RT_##name,
    RT_STATUS_LIST(X)
#undef X
        RT_STATUS_COUNT
} rt_status;

#define RT_NODISCARD __attribute__((warn_unused_result))
#define RT_PRINTF(f, a) __attribute__((format(printf, f, a)))

typedef struct rt_error {
    rt_status status;
    char text[512];
} rt_error;

const char *rt_status_name(rt_status s); /* "E_DTYPE" */
const char *rt_status_text(rt_status s); /* "dtype differs from the contract" */
int rt_status_exit(rt_status s);         /* the program's exit code, interfaces.md */

/* Records the failure (the first one wins: a full `err` is left as it is) and returns s. err may be NULL. */
rt_status rt_fail(rt_error *err, rt_status s, const char *format, ...) RT_PRINTF(3, 4);
rt_status rt_vfail(rt_error *err, rt_status s, const char *format, va_list args) RT_PRINTF(3, 0);
/* Puts "context: " in front of a recorded text; returns err->status. */
rt_status rt_error_prefix(rt_error *err, const char *format, ...) RT_PRINTF(2, 3);
void rt_error_clear(rt_error *err);

#define RT_TRY(expression)                                                                                             \
    do {                                                                                                               \
        rt_status rt_try_status_ = (expression);                                                                       \
        if (rt_try_status_ != RT_OK) return rt_try_status_;                                                            \
    } while (0)

/* The entry of `names` (NULL-terminated) nearest to `word` by edit distance, or NULL when nothing is near. */
const char *rt_nearest(const char *word, const char *const *names);
#endif
