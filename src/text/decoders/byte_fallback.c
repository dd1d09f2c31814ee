/* ByteFallback: neighbouring tokens <0x00>..<0xFF> become the text their bytes spell, or one U+FFFD each when they
 * spell none. */
#include "text/tok_step.h"
#include "text/utf8.h"
#include <string.h>

static int hex(char c) {
    return c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1;
}
static int byte_of(const char *s, size_t n) {
    if (n != 6 || memcmp(s, "<0x", 3) != 0 || s[5] != '>' || hex(s[3]) < 0 || hex(s[4]) < 0) return -1;
    return hex(s[3]) * 16 + hex(s[4]);
}

static void flush(rt_buf *bytes, tok_list *out) {
    if (bytes->size == 0) return;
    if (rt_utf8_valid_bytes(bytes->data, bytes->size) == bytes->size)
        rt_tok_list_add(out, bytes->data, bytes->size);
    else
        for (size_t i = 0; i < bytes->size; i++) rt_tok_list_add(out, "\xEF\xBF\xBD", 3);
    bytes->size = 0;
}

static rt_status run(const tok_step *s, const tok_matcher *m, const tok_list *in, tok_list *out, rt_error *err) {
    (void)s, (void)m;
    rt_buf bytes = {0};
    for (size_t i = 0, n; i < in->size; i++) {
        const char *token = rt_tok_list_get(in, i, &n);
        int byte = byte_of(token, n);
        if (byte >= 0)
            rt_buf_putc(&bytes, (char)byte);
        else {
            flush(&bytes, out);
            rt_tok_list_add(out, token, n);
        }
    }
    flush(&bytes, out);
    bool failed = bytes.failed;
    rt_buf_free(&bytes);
    return failed ? rt_tok_out_of_memory(err) : RT_OK;
}

const tok_kind rt_tok_decoder_byte_fallback = {.type = "ByteFallback", .decode = run};
