/* test_tokenizer_damage.c - refusals that name the place; damaged files; memory that runs out. */
#include "tokenizer_kit.h"
#include <retort/base/mem.h>
#include <retort/base/rng.h>
#include <stdio.h>
#include <string.h>

static rt_error err;

static void refused(const char *json, size_t n, rt_status wanted, const char *part) {
    rt_tokenizer *t = NULL;
    rt_error_clear(&err);
    rt_status s = rt_tokenizer_from_json(&t, json, n, "bad.json", &err);
    RT_CHECK(s == wanted && !t && strstr(err.text, part) && strstr(err.text, "bad.json"), "%s: '%s', expected '%s'",
             rt_status_name(s), err.text, part);
    rt_tokenizer_free(t);
}
#define REFUSED(json, status, part) refused(json, strlen(json), status, part)

static void refusals_name_the_place(void) {
    REFUSED(SMALL("{\"type\": \"Precompiled\"}", "null", "null", MERGES), RT_E_INPUT,
            "normalizer.precompiled_charsmap: expected a string, found nothing");
    REFUSED(SMALL("{\"type\": \"NFKX\"}", "null", "null", MERGES), RT_E_UNSUPPORTED, "nearest: NFK");
    REFUSED(SMALL("null", "{\"type\": \"Split\", \"pattern\": {\"Regex\": \"(a\"}, \"behavior\": \"Isolated\"}", "null",
                  MERGES),
            RT_E_UNSUPPORTED, "pre_tokenizer.pattern.Regex: the expression does not compile");
    REFUSED(SMALL("null", "{\"type\": \"Split\", \"pattern\": {\"Regex\": \"[a&&b]\"}, \"behavior\": \"Isolated\"}",
                  "null", MERGES),
            RT_E_UNSUPPORTED, "'&&'");
    REFUSED(SMALL("null", "null", "{\"type\": \"Sequence\", \"decoders\": [{\"type\": \"CTC\"}]}", MERGES),
            RT_E_UNSUPPORTED, "decoder.decoders[0]: 'CTC'");
    REFUSED(SMALL("null", "null", "null", "[\"a b\", \"a x\"]"), RT_E_INPUT,
            "model.merges[1]: 'x' is not in the vocabulary");
    REFUSED(SMALL("null", "null", "null", "[\"b a\"]"), RT_E_INPUT, "the merged 'ba' is not in the vocabulary");
    REFUSED(SMALL("null", "null", "null", "[\"ab\"]"), RT_E_INPUT, "model.merges[0]: expected two strings");
    REFUSED(SMALL("null", "null", "null", "[7]"), RT_E_INPUT, "model.merges[0]");
    REFUSED("{\"model\": {\"vocab\": {\"a\": 0, \"b\": 0}, \"merges\": []}}", RT_E_INPUT,
            "id 0 is given to both 'a' and 'b'");
    REFUSED("{\"model\": {\"vocab\": {\"a\": 0, \"a\": 1}, \"merges\": []}}", RT_E_INPUT, "duplicate");
    REFUSED("{\"model\": {\"vocab\": {\"a\": -1}, \"merges\": []}}", RT_E_INPUT, "the id of 'a'");
    REFUSED("{\"model\": {\"vocab\": {\"a\": 99999999999}, \"merges\": []}}", RT_E_INPUT, "the id of 'a'");
    REFUSED("{\"model\": {\"type\": \"Unigram\", \"vocab\": {}}}", RT_E_INPUT, "model.vocab: expected an array");
    REFUSED("{\"model\": {\"type\": \"Unigrams\", \"vocab\": {}}}", RT_E_UNSUPPORTED,
            "model: 'Unigrams' is not supported (nearest: Unigram)");
    REFUSED("{\"model\": 3}", RT_E_INPUT, "model: expected an object");
    REFUSED("{\"model\": {\"vocab\": {\"a\": 0}, \"merges\": []}, \"added_tokens\": [{\"id\": 1, \"content\": \"a\"}]}",
            RT_E_INPUT, "added_tokens[0]");
    REFUSED("[]", RT_E_INPUT, "expected an object");
    rt_tokenizer *t = NULL;
    rt_error_clear(&err);
    CU_ASSERT_EQUAL(rt_tokenizer_load(&t, "/nonexistent/dir", &err), RT_E_INPUT);
    rt_error_clear(&err);
    CU_ASSERT_EQUAL(rt_tokenizer_load(&t, rt_test_dir(), &err), RT_E_INPUT);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "holds no tokenizer.json"));
}

/* Every truncation, and every byte of the file damaged: refused or loaded, never more. */
static void damaged_files(void) {
    rt_mem_stats before = rt_mem_stats_get();
    char copy[sizeof SMALL_SP];
    rt_rng r = rt_rng_make(1, "damage", 0);
    for (size_t n = 0; n < sizeof SMALL_SP - 1; n++) {
        rt_tokenizer *t = NULL;
        rt_error_clear(&err);
        if (rt_tokenizer_from_json(&t, SMALL_SP, n, "cut", &err) == RT_OK) RT_FAILF("%zu bytes were accepted", n);
        memcpy(copy, SMALL_SP, sizeof SMALL_SP);
        copy[n] = (char)rt_rng_u64(r, n);
        if (rt_tokenizer_from_json(&t, copy, sizeof SMALL_SP - 1, "damaged", &err) == RT_OK)
            tok_encoded(t, "ab \u00e9 [M]a", true);
        rt_tokenizer_free(t);
    }
    CU_ASSERT_EQUAL(rt_mem_stats_get().live_blocks, before.live_blocks);
}

static rt_status load_and_use(const char *json) {
    rt_tokenizer *t = NULL;
    rt_encoder *e = NULL;
    rt_ids ids = {0};
    rt_spans spans = {0};
    rt_buf out = {0};
    rt_error_clear(&err);
    rt_status s = rt_tokenizer_from_json(&t, json, strlen(json), "small.json", &err);
    if (s == RT_OK) s = rt_encoder_new(&e, t, &err);
    if (s == RT_OK) s = rt_encoder_encode(e, "ab e\u0301[M]", 9, true, &ids, &spans, &err);
    if (s == RT_OK) s = rt_tokenizer_decode(t, ids.data, ids.size, false, &out, &err);
    rt_tokenizer_free(t), rt_encoder_free(e), rt_ids_free(&ids), rt_spans_free(&spans), rt_buf_free(&out);
    return s;
}
static void memory_runs_out_cleanly(void) {
    static const char *const files[] = {SMALL_SP, SMALL("{\"type\": \"NFC\"}", META("always"), META("always"), MERGES)};
    rt_mem_stats before = rt_mem_stats_get();
    for (int f = 0; f < 2; f++) {
        int64_t calls = rt_mem_stats_get().calls, failed = 0;
        RT_OK_OR_FAIL(load_and_use(files[f]));
        calls = rt_mem_stats_get().calls - calls;
        for (int64_t n = 1; n <= calls; n++) {
            rt_mem_fail_at(n);
            rt_status s = load_and_use(files[f]);
            rt_mem_fail_at(0);
            failed += s == RT_E_NOMEM; /* not all: a pattern that cannot be compiled to machine code is interpreted */
            if (s != RT_OK && s != RT_E_NOMEM) RT_FAILF("allocation %d: %s: %s", (int)n, rt_status_name(s), err.text);
            if (rt_mem_stats_get().live_blocks != before.live_blocks) RT_FAILF("allocation %d leaks", (int)n);
        }
        RT_CHECK(failed > 30, "only %d of %d failures reported", (int)failed, (int)calls);
    }
}

RT_SUITE(tokenizer_damage) {
    RT_TEST(refusals_name_the_place);
    RT_TEST(damaged_files);
    RT_TEST(memory_runs_out_cleanly);
}
