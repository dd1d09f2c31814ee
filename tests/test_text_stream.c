/* test_text_stream.c - text as ids come: the pieces make the whole, are whole characters, and stop where they should. */
#include "harness.h"
#include <retort/base/mem.h>
#include <retort/base/rng.h>
#include <retort/text/text_stream.h>
#include <stdio.h>
#include <string.h>

static const char *const tokenizers[] = {"tokenizers/stories260K", "tokenizers/gpt2", "tokenizers/qwen2"};
enum { TOKENIZERS = 3, TEXTS = 25, LONG = 80 };

static rt_tokenizer *load(int i) {
    rt_error err = {0};
    rt_tokenizer *t = NULL;
    const char *folder = rt_fixture(tokenizers[i]);
    if (folder) RT_OK_OR_FAIL(rt_tokenizer_load(&t, folder, &err));
    return t;
}
/* Random ids: tokens, and the bytes of characters one by one, sometimes cut off. A run of bytes is followed by another token. */
static int64_t some_ids(const rt_tokenizer *t, int32_t *ids, uint64_t text) {
    static const char *const characters[] = {"\xd1\xb9", "\xe2\x80\x94", "\xf0\x9f\x98\x80", "\xe4\xb8\xad"};
    rt_rng r = rt_rng_make(11, "text", text);
    int64_t n = 1 + (int64_t)rt_rng_below(r, 0, LONG), i = 0;
    for (uint64_t draw = 1; i < n; draw += 4) {
        const char *c = characters[rt_rng_below(r, draw, 4)];
        uint64_t bytes = rt_rng_below(r, draw + 1, strlen(c) + 4);
        for (uint64_t b = 0; b < bytes && c[b % strlen(c)] && bytes <= strlen(c) && i < n; b++) {
            char spelled[8];
            int length = snprintf(spelled, sizeof spelled, "<0x%02X>", (unsigned)(unsigned char)c[b]);
            int32_t id = rt_tokenizer_find(t, spelled, (size_t)length);
            ids[i++] = id >= 0 ? id : (int32_t)rt_rng_below(r, draw + 2, 256); /* byte-level: any of the first 256 ids is a byte */
        }
        for (bool found = false; !found && i < n; draw++) {
            ids[i] = (int32_t)(260 + rt_rng_below(r, draw + 3, (uint64_t)rt_tokenizer_size(t) - 260));
            found = rt_tokenizer_token(t, ids[i], NULL) != NULL;
            i += found;
        }
    }
    return n;
}
static bool whole_characters(const char *s, size_t n) {
    for (size_t i = 0, more; i < n; i += more + 1) {
        unsigned char c = (unsigned char)s[i];
        more = c < 0x80 ? 0 : c < 0xe0 ? 1 : c < 0xf0 ? 2 : 3;
        if ((c >= 0x80 && c < 0xc2) || i + more >= n) return false;
        for (size_t k = 1; k <= more; k++)
            if (((unsigned char)s[i + k] & 0xc0) != 0x80) return false;
    }
    return true;
}

static void check_text(const rt_tokenizer *t, int which, uint64_t text) {
    rt_error err = {0};
    rt_text_stream s;
    rt_buf whole = {0}, pieces = {0};
    int32_t ids[LONG];
    int64_t n = some_ids(t, ids, text), split = 0;
    RT_OK_OR_FAIL(rt_tokenizer_decode(t, ids, n, true, &whole, &err));
    rt_text_stream_open(&s, t, NULL, 0);
    for (int64_t i = 0; i < n; i++) {
        size_t before = pieces.size;
        RT_OK_OR_FAIL(rt_text_stream_add(&s, ids + i, 1, true, &pieces, &err));
        split += pieces.size > before && !whole_characters(pieces.data + before, pieces.size - before);
    }
    RT_OK_OR_FAIL(rt_text_stream_end(&s, &pieces, &err));
    bool same = pieces.size == whole.size && (whole.size == 0 || memcmp(pieces.data, whole.data, whole.size) == 0);
    RT_CHECK(same && split == 0, "%s, text %d: '%s' in pieces, '%s' at once, %d cut characters", tokenizers[which], (int)text, pieces.data ? pieces.data : "",
             whole.data ? whole.data : "", (int)split);
    rt_text_stream_close(&s);
    rt_buf_free(&whole), rt_buf_free(&pieces);
}
static void pieces_make_the_whole(void) {
    for (int i = 0; i < TOKENIZERS; i++) {
        rt_tokenizer *t = load(i);
        for (uint64_t text = 0; t && text < TEXTS; text++) check_text(t, i, text);
        rt_tokenizer_free(t);
    }
}

/* `prompt` then `text`, id by id; what comes out after the prompt. */
static void stopped_text(const rt_tokenizer *t, const char *prompt, const char *text, const char *const *stop, int64_t stops, bool want_stop, const char *want) {
    rt_error err = {0};
    rt_text_stream s;
    rt_ids ids = {0};
    rt_buf out = {0}, whole = {0};
    int64_t before = 0;
    rt_buf_puts(&whole, prompt), rt_buf_puts(&whole, text);
    RT_OK_OR_FAIL(rt_tokenizer_encode(t, whole.data, whole.size, false, &ids, &err));
    for (rt_buf_puts(&out, ""); strcmp(out.data, prompt) != 0 && before < ids.size; before++) { /* how many ids the prompt has */
        rt_buf_free(&out);
        RT_OK_OR_FAIL(rt_tokenizer_decode(t, ids.data, before + 1, true, &out, &err));
    }
    rt_buf_free(&out);
    rt_text_stream_open(&s, t, stop, stops);
    RT_OK_OR_FAIL(rt_text_stream_add(&s, ids.data, before, false, &out, &err));
    rt_buf_puts(&out, "");
    size_t echo = out.size, shown = out.size;
    for (int64_t i = before; i < ids.size; i++) {
        RT_OK_OR_FAIL(rt_text_stream_add(&s, ids.data + i, 1, true, &out, &err));
        RT_CHECK(strncmp(out.data + echo, want, out.size - echo) == 0, "'%s' was shown before '%s'", out.data + echo, want);
        shown = out.size;
    }
    RT_OK_OR_FAIL(rt_text_stream_end(&s, &out, &err));
    RT_CHECK(s.stopped == want_stop && strcmp(out.data + echo, want) == 0, "'%s', expected '%s' (%d bytes came before the end)", out.data + echo, want, (int)(shown - echo));
    rt_text_stream_close(&s);
    rt_ids_free(&ids), rt_buf_free(&out), rt_buf_free(&whole);
}
static void it_ends_before_a_stop_text(void) {
    for (int i = 0; i < TOKENIZERS; i++) {
        rt_tokenizer *t = load(i);
        if (!t) return;
        stopped_text(t, "The cat", " sat on the mat.\nUser: and", (const char *[]){"\nUser:"}, 1, true, " sat on the mat.");
        stopped_text(t, "The cat", " sat on the mat.\nUser and", (const char *[]){"\nUser:"}, 1, false, " sat on the mat.\nUser and");
        stopped_text(t, "The cat", " sat on the mat.\nUse", (const char *[]){"\nUser:", ""}, 2, false, " sat on the mat.\nUse"); /* held back, then shown */
        stopped_text(t, "The cat", " sat on the mat", (const char *[]){"the mat", "on"}, 2, true, " sat ");
        stopped_text(t, "The stop cat", " sat stop here", (const char *[]){"stop"}, 1, true, " sat "); /* not in the prompt */
        stopped_text(t, "", "aaab", (const char *[]){"aab"}, 1, true, "a");
        stopped_text(t, "", "caf\xc3\xa9 \xf0\x9f\x98\x80 x", (const char *[]){"\xf0\x9f\x98\x80"}, 1, true, "caf\xc3\xa9 ");
        rt_tokenizer_free(t);
    }
}

static void lack_of_memory_is_clean(void) {
    rt_tokenizer *t = load(0);
    if (!t) return;
    int32_t ids[LONG];
    int64_t n = some_ids(t, ids, 3), before = rt_mem_stats_get().live_blocks;
    rt_status s = RT_E_NOMEM;
    for (int k = 1; s != RT_OK && k < 10000; k++) {
        rt_text_stream stream;
        rt_buf out = {0};
        rt_text_stream_open(&stream, t, (const char *[]){"q"}, 1);
        rt_mem_fail_at(k);
        s = rt_text_stream_add(&stream, ids, n, true, &out, NULL);
        if (s == RT_OK) s = rt_text_stream_end(&stream, &out, NULL);
        rt_mem_fail_at(0);
        rt_text_stream_close(&stream);
        rt_buf_free(&out);
        CU_ASSERT_TRUE((s == RT_OK || s == RT_E_NOMEM) && rt_mem_stats_get().live_blocks == before);
    }
    CU_ASSERT_EQUAL(s, RT_OK);
    rt_tokenizer_free(t);
}

RT_SUITE(text_stream) {
    RT_TEST(pieces_make_the_whole);
    RT_TEST(it_ends_before_a_stop_text);
    RT_TEST(lack_of_memory_is_clean);
}
