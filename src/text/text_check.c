/* text_check.c - validation; utf8proc decides on the sequences, a word-wise pass skips ASCII, which is most of most corpora. */
#include "text/text_check.h"
#include <stdint.h>
#include <string.h>
#include <utf8proc.h>

size_t rt_utf8_invalid(const char *text, size_t n) {
    size_t i = 0;
    while (i < n) {
        uint64_t word;
        while (n - i >= sizeof word && (memcpy(&word, text + i, sizeof word), !(word & 0x8080808080808080u))) i += sizeof word;
        if (i == n) break;
        if ((unsigned char)text[i] < 0x80) {
            i++;
            continue;
        }
        utf8proc_int32_t point;
        size_t left = n - i < 4 ? n - i : 4;
        utf8proc_ssize_t length = utf8proc_iterate((const utf8proc_uint8_t *)text + i, (utf8proc_ssize_t)left, &point);
        if (length <= 0) return i;
        i += (size_t)length;
    }
    return n;
}
