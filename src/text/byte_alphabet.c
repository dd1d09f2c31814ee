/* byte_alphabet.c - both directions by rule, no tables. */
#include "text/byte_alphabet.h"
#include "text/utf8.h"
#include <string.h>

/* The hidden bytes are 0..32, 127..160 and 173: their characters are 256 + their order. */
int32_t rt_byte_alphabet_char(uint8_t b) {
    if (b <= 32) return 256 + b;
    if (b >= 127 && b <= 160) return 256 + 33 + b - 127;
    return b == 173 ? 256 + 67 : b;
}
int rt_byte_alphabet_byte(int32_t c) {
    if (c >= 256) return c < 256 + 33 ? c - 256 : c < 256 + 67 ? c - 256 - 33 + 127 : c == 256 + 67 ? 173 : -1;
    return c <= 32 || (c >= 127 && c <= 160) || c == 173 ? -1 : c;
}
size_t rt_byte_alphabet_undo(const char *token, size_t n, char *out) {
    size_t count = 0;
    for (size_t i = 0, length; i < n; i += length) {
        int byte = rt_byte_alphabet_byte(rt_utf8_get(token + i, n - i, &length));
        if (byte < 0) return memcpy(out, token, n), n;
        out[count++] = (char)byte;
    }
    return count;
}
void rt_byte_alphabet_spell(const tok_view *v, size_t begin, size_t end, tok_text *out) {
    char c[4];
    for (size_t i = begin; i < end; i++) {
        size_t n = rt_utf8_put(c, rt_byte_alphabet_char((uint8_t)v->s[i]));
        rt_tok_text_add(out, c, n, rt_tok_origin(v, i), rt_tok_origin(v, i + 1));
    }
}
