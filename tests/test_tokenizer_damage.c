/* test_tokenizer_damage.c - refusals that name the place; damaged files; memory that runs out. */
#include "tokenizer_kit.h"
#include "tokenizer_samples.h"
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

/* Every truncation, and every byte of the files damaged: refused or loaded, never more. */
static void damage(const char *name, const char *json) {
    size_t size = strlen(json);
    char *copy = rt_alloc(size + 1);
    rt_rng r = rt_rng_make(1, "damage", 0);
    for (size_t n = 0; n < size; n++) {
        rt_tokenizer *t = NULL;
        rt_error_clear(&err);
        if (rt_tokenizer_from_json(&t, json, n, "cut", &err) == RT_OK) RT_FAILF("%s: %zu bytes were accepted", name, n);
        memcpy(copy, json, size);
        copy[n] = (char)rt_rng_u64(r, n);
        rt_error_clear(&err);
        if (rt_tokenizer_from_json(&t, copy, size, "damaged", &err) == RT_OK)
            tok_ids(t, "ab \u00e9 [M]a the cats 12", true);
        else
            RT_CHECK(*err.text && !strchr(err.text, '\n'), "%s: '%s'", name, err.text);
        rt_tokenizer_free(t);
    }
    rt_free(copy);
}
static void damaged_files(void) {
    rt_mem_stats before = rt_mem_stats_get();
    damage("small", SMALL_SP);
    for (const tokenizer_sample *s = tokenizer_samples; s->name; s++) damage(s->name, s->json);
    CU_ASSERT_EQUAL(rt_mem_stats_get().live_blocks, before.live_blocks);
}

/* ---- files made to hurt ---- */

static void hostile(const rt_buf *json, const char *part) {
    rt_mem_stats before = rt_mem_stats_get();
    rt_tokenizer *t = NULL;
    rt_error_clear(&err);
    rt_status s = rt_tokenizer_from_json(&t, json->data, json->size, "bad.json", &err);
    int64_t more = rt_mem_stats_get().peak_bytes - before.peak_bytes;
    RT_CHECK((s == RT_E_INPUT || s == RT_E_UNSUPPORTED) && strstr(err.text, part) && !strchr(err.text, '\n'),
             "%s: '%s', expected '%s'", rt_status_name(s), err.text, part);
    RT_CHECK(more < 64 << 20, "'%s' took %lld bytes", part, (long long)more);
    rt_tokenizer_free(t);
}
static void hostile_text(const char *json, const char *part) {
    rt_buf b = {0};
    rt_buf_puts(&b, json);
    hostile(&b, part);
    rt_buf_free(&b);
}
#define VOCAB(vocab) "{\"model\": {\"type\": \"BPE\", \"vocab\": {" vocab "}, \"merges\": []}}"

static void deep_files_are_refused(void) {
    rt_buf b = {0};
    for (int i = 0; i < 1000000; i++) rt_buf_putc(&b, '[');
    hostile(&b, "depth");
    b.size = 0;
    rt_buf_puts(&b, "{\"normalizer\": ");
    for (int i = 0; i < 100; i++) rt_buf_puts(&b, "{\"type\": \"Sequence\", \"normalizers\": [");
    for (int i = 0; i < 100; i++) rt_buf_puts(&b, "]}");
    rt_buf_puts(&b, "}");
    hostile(&b, "nested deeper");
    rt_buf_free(&b);
}

static void ids_are_checked(void) {
    hostile_text(VOCAB("\"a\": 2147483648"), "the id of 'a' is no integer in 0..");
    hostile_text(VOCAB("\"a\": 2147483647"), "the id of 'a' is no integer in 0..");
    hostile_text(VOCAB("\"a\": 16777215"), "the id of 'a' is no integer in 0..");
    hostile_text(VOCAB("\"a\": 1e3"), "the id of 'a' is no integer in 0..");
    hostile_text(VOCAB("\"a\": 0, \"b\": 0"), "given to both");
    hostile_text(VOCAB(""), "the vocabulary is empty");
    hostile_text("{\"added_tokens\": [{\"id\": 16777215, \"content\": \"x\"}], \"model\": {\"vocab\": {\"a\": 0}, "
                 "\"merges\": []}}",
                 "added_tokens[0].id: 16777215 is not in 0..");
    rt_tokenizer *t = tok_from_text(VOCAB("\"a\": 7, \"b\": 1000")); /* holes are fine */
    CU_ASSERT(rt_tokenizer_size(t) == 1001 && !rt_tokenizer_token(t, 8, NULL));
    CU_ASSERT_STRING_EQUAL(tok_ids(t, "ab", false), "7 1000");
    rt_tokenizer_free(t);
}

static void an_unknown_token_that_is_missing_is_needed_first(void) {
    rt_tokenizer *t = tok_from_text("{\"model\": {\"vocab\": {\"a\": 0}, \"merges\": [], \"unk_token\": \"<unk>\"}}");
    CU_ASSERT_STRING_EQUAL(tok_ids(t, "aa", false), "0 0");
    RT_CHECK(strstr(tok_ids(t, "ab", false), "no unknown token"), "'%s'", tok_ids(t, "ab", false));
    rt_tokenizer_free(t);
}

/* A merge of nothing and something gives that something again: it must not go round for ever. */
static void merges_do_not_go_round(void) {
    rt_tokenizer *t =
        tok_from_text("{\"model\": {\"vocab\": {\"\": 0, \"a\": 1, \"aa\": 2}, \"merges\": [[\"\", \"a\"], "
                      "[\"a\", \"\"], [\"a\", \"a\"], [\"\", \"\"]]}}");
    CU_ASSERT_STRING_EQUAL(tok_ids(t, "aaa", false), "2 1");
    rt_tokenizer_free(t);
}

static void models_and_steps_are_checked(void) {
#define UNIGRAM(fields)  "{\"model\": {\"type\": \"Unigram\", " fields "}}"
#define STEP(kind, step) "{\"" kind "\": " step ", \"model\": {\"vocab\": {\"a\": 0}, \"merges\": []}}"
    hostile_text(UNIGRAM("\"vocab\": []"), "0 tokens");
    hostile_text(UNIGRAM("\"vocab\": [[\"a\"]]"), "model.vocab[0]: expected [token, score]");
    hostile_text(UNIGRAM("\"vocab\": [[\"a\", \"b\"]]"), "model.vocab[0]: expected [token, score]");
    hostile_text(UNIGRAM("\"vocab\": [[\"a\", 0]], \"unk_id\": 1"), "unk_id");
    hostile_text("{\"model\": {\"vocab\": {\"a\": 0}, \"merges\": [], \"dropout\": 0.1}}", "dropout");
    hostile_text("{\"model\": {\"vocab\": {\"a\": 0, \"b\": 1, \"ab\": 2}, \"merges\": [\"a b\"], "
                 "\"continuing_subword_prefix\": \"##\"}}",
                 "'b' does not begin with the prefix '##'");
    hostile_text("{\"model\": {\"vocab\": {\"a\": 0}, \"merges\": [], \"end_of_word_suffix\": \"</w>\", "
                 "\"byte_fallback\": true}}",
                 "byte_fallback together with");
    hostile_text(STEP("normalizer", "{\"type\": \"Precompiled\", \"precompiled_charsmap\": \"****\"}"), "not base64");
    hostile_text(STEP("normalizer", "{\"type\": \"Precompiled\", \"precompiled_charsmap\": \"\"}"),
                 "a trie of 0 bytes");
    hostile_text(STEP("normalizer", "{\"type\": \"Precompiled\", \"precompiled_charsmap\": \"/P///w==\"}"),
                 "a trie of 4294967292 bytes");
    hostile_text(STEP("pre_tokenizer", "{\"type\": \"FixedLength\", \"length\": 0}"), "0 is not in 1..");
    hostile_text(STEP("pre_tokenizer", "{\"type\": \"CharDelimiterSplit\", \"delimiter\": \"ab\"}"),
                 "expected one character");
    hostile_text(STEP("decoder", "{\"type\": \"CTC\"}"), "'CTC' is not supported");
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
static void starve(const char *name, const char *json) {
    rt_mem_stats before = rt_mem_stats_get();
    int64_t calls = before.calls, failed = 0;
    RT_OK_OR_FAIL(load_and_use(json));
    calls = rt_mem_stats_get().calls - calls;
    for (int64_t n = 1; n <= calls; n++) {
        rt_mem_fail_at(n);
        rt_status s = load_and_use(json);
        rt_mem_fail_at(0);
        failed += s == RT_E_NOMEM; /* not all: a pattern that cannot be compiled to machine code is interpreted */
        if (s != RT_OK && s != RT_E_NOMEM) RT_FAILF("%s: allocation %d: %s", name, (int)n, err.text);
        if (rt_mem_stats_get().live_blocks != before.live_blocks) RT_FAILF("%s: allocation %d leaks", name, (int)n);
    }
    RT_CHECK(failed > 30, "%s: only %d of %d failures reported", name, (int)failed, (int)calls);
}
static void memory_runs_out_cleanly(void) {
    starve("small", SMALL_SP);
    starve("metaspace", SMALL("{\"type\": \"NFC\"}", META("always"), META("always"), MERGES));
    for (const tokenizer_sample *s = tokenizer_samples; s->name; s++) starve(s->name, s->json);
}

RT_SUITE(tokenizer_damage) {
    RT_TEST(refusals_name_the_place);
    RT_TEST(damaged_files);
    RT_TEST(deep_files_are_refused);
    RT_TEST(ids_are_checked);
    RT_TEST(an_unknown_token_that_is_missing_is_needed_first);
    RT_TEST(merges_do_not_go_round);
    RT_TEST(models_and_steps_are_checked);
    RT_TEST(memory_runs_out_cleanly);
}
