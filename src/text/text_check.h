/* text_check.h - is it UTF-8? */
#ifndef RETORT_SRC_TEXT_TEXT_CHECK_H
#define RETORT_SRC_TEXT_TEXT_CHECK_H
#include <stddef.h>

/* The offset of the first byte that begins no valid sequence (RFC 3629: no surrogates, no overlong forms); n if all are. */
size_t rt_utf8_invalid(const char *text, size_t n);
#endif
