/* test_tokenizer_steps.c - normalizers, pre-tokenizers and decoders by hand, with the offsets they keep. */
#include "tokenizer_kit.h"
#include <retort/base/rng.h>
#include <stdio.h>
#include <string.h>

static rt_error err;

static void sentencepiece_by_hand(void) {
    rt_tokenizer *t = tok_from_text(SMALL_SP);
    CU_ASSERT_STRING_EQUAL(tok_encoded(t, "ab ab", true), "1@0 6@0 5@1 6@2 5@4"); /* mark+a goes first, so no mark+ab */
    CU_ASSERT_STRING_EQUAL(tok_encoded(t, "a", false), "6@0");
    CU_ASSERT_STRING_EQUAL(tok_encoded(t, "\u00e9xyb", false),
                           "3@0 9@0 10@1 0@2 5@4"); /* bytes; x and y unknown, fused */
    CU_ASSERT_STRING_EQUAL(tok_encoded(t, "", true), "1@0");
    CU_ASSERT_STRING_EQUAL(tok_encoded(t, "a [M] b</s>b", false), "6@0 11@1 3@6 5@6 2@7 3@11 5@11");
    CU_ASSERT(tok_decodes(t, (int32_t[]){1, 6, 9, 10, 2}, 5, true, "a\u00e9"));
    CU_ASSERT(tok_decodes(t, (int32_t[]){6, 9, 5}, 3, true, "a\uFFFDb"));
    CU_ASSERT_EQUAL(rt_tokenizer_decode(t, (int32_t[]){12}, 1, true, &(rt_buf){0}, &err), RT_E_INPUT);
    rt_tokenizer_free(t);
}

static void metaspace_by_hand(void) {
    rt_tokenizer *t = tok_from_text(SMALL("null", META("first"), META("first"), MERGES));
    CU_ASSERT_STRING_EQUAL(tok_encoded(t, "a a</s>a", false), "6@0 6@1 2@3 4@7"); /* no mark after </s> */
    CU_ASSERT(tok_decodes(t, (int32_t[]){6, 6}, 2, false, "a a"));
    rt_tokenizer_free(t);
    t = tok_from_text(SMALL("null", META("always"), META("always"), MERGES));
    CU_ASSERT_STRING_EQUAL(tok_encoded(t, "a a</s>a", false), "6@0 6@1 2@3 6@7");
    rt_tokenizer_free(t);
}

#define CUT(behavior, invert)                                                                                          \
    "{\"type\": \"Split\", \"pattern\": {\"Regex\": \"b\"}, \"behavior\": \"" behavior "\", \"invert\": " invert "}"
static void split_behaviours(void) { /* "abbab": pieces show in where `ab` merges (7) and where not (4 5) */
    static const struct {
        const char *json, *ids;
    } cases[] = {
        {SMALL("null", CUT("Removed", "false"), "null", MERGES), "4@0 4@3"},
        {SMALL("null", CUT("Removed", "true"), "null", MERGES), "5@0 5@2 5@4"},
        {SMALL("null", CUT("Isolated", "false"), "null", MERGES), "4@0 5@1 5@2 4@3 5@4"},
        {SMALL("null", CUT("MergedWithPrevious", "false"), "null", MERGES), "7@0 5@2 7@3"},
        {SMALL("null", CUT("MergedWithNext", "false"), "null", MERGES), "4@0 5@1 5@2 4@3 5@4"},
        {SMALL("null", CUT("MergedWithNext", "true"), "null", MERGES), "7@0 5@2 7@3"},
        {SMALL("null", CUT("Contiguous", "false"), "null", MERGES), "4@0 5@1 5@2 4@3 5@4"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        rt_tokenizer *t = tok_from_text(cases[i].json);
        const char *got = tok_encoded(t, "abbab", false);
        RT_CHECK(strcmp(got, cases[i].ids) == 0, "case %zu: '%s', expected '%s'", i, got, cases[i].ids);
        rt_tokenizer_free(t);
    }
}

static void normalizers_keep_the_offsets(void) {
    rt_tokenizer *t = tok_from_text(SMALL("{\"type\": \"NFC\"}", "null", "null", MERGES));
    CU_ASSERT_STRING_EQUAL(tok_encoded(t, "be\u0301b", false), "5@0 9@1 10@2 5@4"); /* 3 bytes became 2 */
    rt_tokenizer_free(t);
    t = tok_from_text(SMALL(
        "{\"type\": \"Sequence\", \"normalizers\": [{\"type\": \"NFKD\"}, {\"type\": \"StripAccents\"}, {\"type\": "
        "\"Lowercase\"}, {\"type\": \"Strip\", \"strip_left\": true, \"strip_right\": true}]}",
        "null", "null", MERGES));
    CU_ASSERT_STRING_EQUAL(tok_encoded(t, "  \u00c1B \u24d0 ", false),
                           "7@0 0@5 4@6"); /* circled a; the space has no token */
    rt_tokenizer_free(t);
}

/* Long pieces go through the heap, short ones through the scan: a long one must equal a naive repetition of the rule.
 */
static void long_pieces_merge_like_short_ones(void) {
    rt_tokenizer *t = tok_from_text(SMALL("null", "null", "null", "[\"a b\", \"\u2581 a\", \"\u2581 ab\"]"));
    char text[601];
    rt_rng r = rt_rng_make(7, "ab", 0);
    for (int i = 0; i < 600; i++) text[i] = "ab"[rt_rng_u64(r, (uint64_t)i) & 1];
    text[600] = 0;
    rt_ids ids = {0};
    RT_OK_OR_FAIL(rt_tokenizer_encode(t, text, 600, false, &ids, &err));
    int64_t k = 0;
    bool same = true;
    for (int i = 0; i < 600; k++) {
        int32_t wanted = text[i] == 'a' && text[i + 1] == 'b' ? 7 : text[i] == 'a' ? 4 : 5;
        same = same && k < ids.size && ids.data[k] == wanted;
        i += wanted == 7 ? 2 : 1;
    }
    CU_ASSERT(same && k == ids.size);
    rt_ids_free(&ids), rt_tokenizer_free(t);
}

RT_SUITE(tokenizer_steps) {
    RT_TEST(sentencepiece_by_hand);
    RT_TEST(metaspace_by_hand);
    RT_TEST(split_behaviours);
    RT_TEST(normalizers_keep_the_offsets);
    RT_TEST(long_pieces_merge_like_short_ones);
}
