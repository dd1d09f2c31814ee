/* utf8.h - UTF-8 checks and the few character classes that the tokenizer needs outside of patterns. */
#ifndef TEXT_UTF8_H
#define TEXT_UTF8_H
#include <retort/base/mem.h>

size_t rt_utf8_valid_bytes(const char *s, size_t n); /* length of the longest valid prefix: n when all is valid */
/* The character that begins at s (valid UTF-8, n > 0); *length gets its bytes. */
int32_t rt_utf8_get(const char *s, size_t n, size_t *length);
size_t rt_utf8_put(char out[4], int32_t c);
size_t rt_utf8_length(unsigned char first); /* bytes of a character by its first byte, 1 for a stray one */
/* Appends bytes, every maximal invalid part replaced by U+FFFD (Unicode 15 section 3.9, as Rust's from_utf8_lossy). */
void rt_utf8_add_lossy(rt_buf *out, const char *s, size_t n);
bool rt_utf8_is_space(int32_t c); /* property White_Space */
bool rt_utf8_is_word(int32_t c);  /* Alphabetic, marks, decimal digits, connectors, joiners: \w of Unicode TS 18 */
#endif
