/* utf8.c - the well-formed byte sequences of Unicode 15, table 3-7. */
#include "text/utf8.h"
#include <string.h>
#include <utf8proc.h>

size_t rt_utf8_length(unsigned char first) {
    return first < 0xC2 ? 1 : first < 0xE0 ? 2 : first < 0xF0 ? 3 : first < 0xF5 ? 4 : 1;
}

/* Bytes of s that agree with a well-formed character; *whole: they are one. Never 0. */
static size_t character(const unsigned char *s, size_t n, bool *whole) {
    unsigned char c = s[0], low = 0x80, high = 0xBF;
    *whole = c < 0x80;
    if (c < 0xC2 || c > 0xF4) return 1;
    if (c == 0xE0) low = 0xA0;
    if (c == 0xED) high = 0x9F;
    if (c == 0xF0) low = 0x90;
    if (c == 0xF4) high = 0x8F;
    size_t length = rt_utf8_length(c), i = 1;
    for (; i < length && i < n && s[i] >= low && s[i] <= high; i++) low = 0x80, high = 0xBF;
    *whole = i == length;
    return i;
}

size_t rt_utf8_valid_bytes(const char *s, size_t n) {
    const unsigned char *p = (const unsigned char *)s;
    for (size_t i = 0; i < n;) {
        uint64_t eight;
        if (i + 8 <= n && (memcpy(&eight, p + i, 8), !(eight & 0x8080808080808080u))) {
            i += 8;
            continue;
        }
        bool whole;
        size_t length = character(p + i, n - i, &whole);
        if (!whole) return i;
        i += length;
    }
    return n;
}

int32_t rt_utf8_get(const char *s, size_t n, size_t *length) {
    const unsigned char *p = (const unsigned char *)s;
    size_t bytes = rt_utf8_length(*p);
    *length = bytes = bytes > n ? n : bytes;
    if (bytes == 1) return *p;
    int32_t c = *p & (0xFF >> (bytes + 1));
    for (size_t i = 1; i < bytes; i++) c = c << 6 | (p[i] & 0x3F);
    return c;
}

size_t rt_utf8_put(char out[4], int32_t c) { return (size_t)utf8proc_encode_char(c, (utf8proc_uint8_t *)out); }

void rt_utf8_add_lossy(rt_buf *out, const char *s, size_t n) {
    for (size_t i = 0; i < n;) {
        size_t good = rt_utf8_valid_bytes(s + i, n - i);
        rt_buf_add(out, s + i, good);
        if ((i += good) == n) return;
        bool whole;
        i += character((const unsigned char *)s + i, n - i, &whole);
        rt_buf_puts(out, "\xEF\xBF\xBD");
    }
}

bool rt_utf8_is_space(int32_t c) {
    if (c < 0x80) return c == ' ' || (c >= 9 && c <= 13);
    return c == 0x85 || c == 0xA0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 ||
           c == 0x202F || c == 0x205F || c == 0x3000;
}

bool rt_utf8_is_word(int32_t c) {
    switch (utf8proc_category(c)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_PC:
        return true;
    default: /* joiners, and the circled and squared letters, which are symbols but alphabetic */
        return c == 0x200C || c == 0x200D || (c >= 0x24B6 && c <= 0x24E9) || (c >= 0x1F130 && c <= 0x1F149) ||
               (c >= 0x1F150 && c <= 0x1F169) || (c >= 0x1F170 && c <= 0x1F189);
    }
}
