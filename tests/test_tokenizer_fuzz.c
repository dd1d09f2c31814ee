/* test_tokenizer_fuzz.c - random text comes back, random bytes are refused or encoded. */
#include "tokenizer_kit.h"
#include <retort/base/mem.h>
#include <retort/base/rng.h>
#include <stdio.h>
#include <string.h>

static rt_error err;

static size_t put_utf8(char *s, uint32_t c) {
    if (c < 0x80) return s[0] = (char)c, 1;
    if (c < 0x800) return s[0] = (char)(0xC0 | c >> 6), s[1] = (char)(0x80 | (c & 63)), 2;
    if (c < 0x10000)
        return s[0] = (char)(0xE0 | c >> 12), s[1] = (char)(0x80 | (c >> 6 & 63)), s[2] = (char)(0x80 | (c & 63)), 3;
    s[0] = (char)(0xF0 | c >> 18), s[1] = (char)(0x80 | (c >> 12 & 63)), s[2] = (char)(0x80 | (c >> 6 & 63));
    return s[3] = (char)(0x80 | (c & 63)), 4;
}
static void random_text_comes_back(void) {
    rt_buf json = {0};
    rt_tokenizer *t = tok_trained(300, &json);
    rt_encoder *e = NULL;
    rt_rng r = rt_rng_make(5, "text", 0);
    char text[4 * 200 + 1];
    uint64_t draw = 0;
    RT_OK_OR_FAIL(rt_encoder_new(&e, t, &err));
    for (int i = 0; i < 600; i++) {
        size_t n = 0;
        for (uint64_t k = rt_rng_below(r, draw++, i % 20 ? 20 : 200); k > 0; k--) {
            static const uint32_t tops[] = {0x80, 0x80, 0x300, 0x3000, 0x20000};
            uint32_t c = 1 + (uint32_t)rt_rng_below(r, draw, tops[rt_rng_below(r, draw + 1, 5)] - 1);
            draw += 2;
            n += put_utf8(text + n, c >= 0xD800 && c < 0xE000 ? 'x' : c);
        }
        text[n] = 0;
        RT_CHECK(tok_check_text(e, t, text, n, NULL, text), "text %d does not come back: '%s'", i, text);
    }
    rt_encoder_free(e), rt_tokenizer_free(t), rt_buf_free(&json);
}

static void random_bytes_are_refused_or_encoded(void) {
    rt_tokenizer *t = tok_from_text(SMALL_SP);
    rt_rng r = rt_rng_make(6, "bytes", 0);
    rt_ids ids = {0};
    for (uint64_t i = 0; i < 3000; i++) {
        char bytes[8];
        for (uint64_t k = 0; k < 8; k++)
            bytes[k] = (char)(rt_rng_u64(r, i * 8 + k) >> (i & 1 ? 1 : 0) & (i % 3 ? 0xFF : 0x7F));
        rt_error_clear(&err);
        int64_t before = ids.size;
        rt_status s = rt_tokenizer_encode(t, bytes, 8, false, &ids, &err);
        if (s != RT_OK && (s != RT_E_INPUT || ids.size != before || !strstr(err.text, "UTF-8 at byte")))
            RT_FAILF("%s", err.text);
    }
    rt_error_clear(&err);
    CU_ASSERT_EQUAL(rt_tokenizer_encode(t, "ab\xed\xa0\x80", 5, false, &ids, &err), RT_E_INPUT); /* a surrogate */
    CU_ASSERT_STRING_EQUAL(err.text, "the text is not valid UTF-8 at byte 2");
    rt_ids_free(&ids), rt_tokenizer_free(t);
}

RT_SUITE(tokenizer_fuzz) {
    RT_TEST(random_text_comes_back);
    RT_TEST(random_bytes_are_refused_or_encoded);
}
