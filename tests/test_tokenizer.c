/* test_tokenizer.c - ids against Hugging Face's own on the fixtures, both ways; offsets; refusals; damage; memory. */
#include "harness.h"
#include <retort/base/mem.h>
#include <retort/base/rng.h>
#include <retort/text/bpe_train.h>
#include <retort/text/tokenizer.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

static rt_error err;

/* ---- fixtures ---- */

static rt_tokenizer *fixture_tokenizer(const char *name) {
    char path[256];
    snprintf(path, sizeof path, "tokenizers/%s", name);
    const char *dir = rt_fixture(path);
    rt_tokenizer *t = NULL;
    rt_error_clear(&err);
    if (dir) RT_OK_OR_FAIL(rt_tokenizer_load(&t, dir, &err));
    return t;
}

static char *read_text(const char *path, size_t *n) {
    rt_buf b = {0};
    char block[4096];
    FILE *f = fopen(path, "rb");
    for (size_t got; f && (got = fread(block, 1, sizeof block, f)) > 0;) rt_buf_add(&b, block, got);
    if (f) fclose(f);
    *n = b.size;
    return b.data;
}

/* What every text must satisfy: ids as wanted (NULL: any), spans that tile the text, decode gives `back` (NULL: no
 * claim). */
static bool check_text(rt_encoder *e, const rt_tokenizer *t, const char *text, size_t n, const rt_ids *wanted,
                       const char *back) {
    rt_ids ids = {0}, plain = {0};
    rt_spans spans = {0};
    rt_buf out = {0};
    rt_error_clear(&err);
    RT_OK_OR_FAIL(rt_encoder_encode(e, text, n, false, &ids, &spans, &err));
    RT_OK_OR_FAIL(rt_tokenizer_encode(t, text, n, false, &plain, &err));
    bool ok = ids.size == plain.size && ids.size == spans.size &&
              (!ids.size || memcmp(ids.data, plain.data, (size_t)ids.size * 4) == 0);
    ok = ok && (!wanted ||
                (ids.size == wanted->size && (!ids.size || memcmp(ids.data, wanted->data, (size_t)ids.size * 4) == 0)));
    int64_t at = 0;
    for (int64_t i = 0; i < spans.size; i++) {
        ok = ok && spans.data[i].begin == at && spans.data[i].end >= at;
        at = spans.data[i].end;
    }
    ok = ok && (spans.size == 0 || at == (int64_t)n);
    RT_OK_OR_FAIL(rt_tokenizer_decode(t, ids.data, ids.size, false, &out, &err));
    if (back) ok = ok && out.size == strlen(back) && (out.size == 0 || memcmp(out.data, back, out.size) == 0);
    rt_ids_free(&ids), rt_ids_free(&plain), rt_spans_free(&spans), rt_buf_free(&out);
    return ok;
}

static rt_ids ids_of_line(const char **line) {
    rt_ids ids = {0};
    int used, id;
    while (**line && **line != '\n') {
        if (sscanf(*line, "%d%n", &id, &used) == 1)
            rt_ids_add(&ids, id), *line += used;
        else
            ++*line;
        while (**line == ' ') ++*line;
    }
    if (**line == '\n') ++*line;
    return ids;
}

static void vectors(const char *name) {
    static const char cut[] = "\n__ggml_vocab_test__\n";
    char path[256];
    size_t n, m;
    rt_tokenizer *t = fixture_tokenizer(name);
    if (!t) return;
    rt_encoder *e;
    RT_OK_OR_FAIL(rt_encoder_new(&e, t, &err));
    snprintf(path, sizeof path, "tokenizers/%s/vectors.inp", name);
    char *texts = read_text(rt_fixture(path), &n), *text = texts;
    snprintf(path, sizeof path, "tokenizers/%s/vectors.out", name);
    char *lines = read_text(rt_fixture(path), &m);
    const char *line = lines;
    int count = 0;
    for (char *end; (end = strstr(text, cut)); text = end + strlen(cut), count++) {
        rt_ids wanted = ids_of_line(&line);
        *end = 0;
        RT_CHECK(check_text(e, t, text, (size_t)(end - text), &wanted, text), "%s: text %d differs: '%.100s'", name,
                 count, text);
        rt_ids_free(&wanted);
    }
    CU_ASSERT_EQUAL(count, 46);
    rt_free(texts), rt_free(lines);
    rt_encoder_free(e), rt_tokenizer_free(t);
}

static void strings(const char *name, int comes_back) {
    char path[256];
    rt_tokenizer *t = fixture_tokenizer(name);
    if (!t) return;
    rt_encoder *e;
    RT_OK_OR_FAIL(rt_encoder_new(&e, t, &err));
    snprintf(path, sizeof path, "tokenizers/%s/strings.jsonl", name);
    FILE *f = fopen(rt_fixture(path), "rb");
    int count = 0, back = 0;
    for (json_t *j; (j = json_loadf(f, JSON_DISABLE_EOF_CHECK | JSON_ALLOW_NUL, NULL)); json_decref(j), count++) {
        json_t *text = json_object_get(j, "text"), *list = json_object_get(j, "ids");
        rt_ids wanted = {0};
        for (size_t i = 0; i < json_array_size(list); i++)
            rt_ids_add(&wanted, (int32_t)json_integer_value(json_array_get(list, i)));
        const char *s = json_string_value(text);
        size_t n = json_string_length(text);
        RT_CHECK(check_text(e, t, s, n, &wanted, NULL), "%s: string %d differs: '%.100s'", name, count, s);
        rt_buf out = {0};
        RT_OK_OR_FAIL(rt_tokenizer_decode(t, wanted.data, wanted.size, false, &out, &err));
        back += out.size == n && (n == 0 || memcmp(out.data, s, n) == 0);
        rt_buf_free(&out);
        rt_ids_free(&wanted);
    }
    fclose(f);
    CU_ASSERT_EQUAL(count, 200);
    RT_CHECK(back == comes_back, "%s: %d of 200 strings come back, expected %d", name, back, comes_back);
    rt_encoder_free(e), rt_tokenizer_free(t);
}

static void gpt2_vectors(void) { vectors("gpt2"); }
static void qwen2_vectors(void) { vectors("qwen2"); }
static void stories_vectors(void) { vectors("stories260K"); }
static void gpt2_strings(void) { strings("gpt2", 200); }
static void qwen2_strings(void) { strings("qwen2", 195); }
static void stories_strings(void) { strings("stories260K", 198); }

/* ---- small tokenizers of our own ---- */

/* SentencePiece style; PRE, POST and DECODER may be replaced. Ids: 0 <unk>, 1 <s>, 2 </s>, 3 mark, 4 a, 5 b, 6 mark+a,
 * 7 ab, 8 mark+ab, 9.. the bytes of U+00E9; 11 [M], which is added. */
#define SMALL(normalizer, pre, decoder, merges)                                                                        \
    "{\"added_tokens\": [{\"id\": 0, \"content\": \"<unk>\", \"special\": true}, {\"id\": 1, \"content\": \"<s>\", "   \
    "\"special\": true},"                                                                                              \
    "{\"id\": 2, \"content\": \"</s>\", \"special\": true}, {\"id\": 11, \"content\": \"[M]\", \"lstrip\": true, "     \
    "\"rstrip\": true,"                                                                                                \
    "\"normalized\": false}], \"normalizer\": " normalizer ", \"pre_tokenizer\": " pre                                 \
    ", \"post_processor\": {\"type\":"                                                                                 \
    "\"TemplateProcessing\", \"single\": [{\"SpecialToken\": {\"id\": \"<s>\", \"type_id\": 0}}, {\"Sequence\": "      \
    "{\"id\": \"A\"}}],"                                                                                               \
    "\"special_tokens\": {\"<s>\": {\"ids\": [1]}}}, \"decoder\": " decoder                                            \
    ", \"model\": {\"type\": \"BPE\", \"unk_token\": \"<unk>\","                                                       \
    "\"fuse_unk\": true, \"byte_fallback\": true, \"vocab\": {\"<unk>\": 0, \"<s>\": 1, \"</s>\": 2, \"\u2581\": 3, "  \
    "\"a\": 4, \"b\": 5,"                                                                                              \
    "\"\u2581a\": 6, \"ab\": 7, \"\u2581ab\": 8, \"<0xC3>\": 9, \"<0xA9>\": 10}, \"merges\": " merges "}}"
#define SP_NORMALIZER                                                                                                  \
    "{\"type\": \"Sequence\", \"normalizers\": [{\"type\": \"Prepend\", \"prepend\": \"\u2581\"},"                     \
    "{\"type\": \"Replace\", \"pattern\": {\"String\": \" \"}, \"content\": \"\u2581\"}]}"
#define SP_DECODER                                                                                                     \
    "{\"type\": \"Sequence\", \"decoders\": [{\"type\": \"Replace\", \"pattern\": {\"String\": \"\u2581\"}, "          \
    "\"content\": \" \"},"                                                                                             \
    "{\"type\": \"ByteFallback\"}, {\"type\": \"Fuse\"}, {\"type\": \"Strip\", \"content\": \" \", \"start\": 1, "     \
    "\"stop\": 0}]}"
#define MERGES "[\"\u2581 a\", [\"a\", \"b\"], [\"\u2581\", \"ab\"]]"
static const char small[] = SMALL(SP_NORMALIZER, "null", SP_DECODER, MERGES);

static rt_tokenizer *from_text(const char *json) {
    rt_tokenizer *t = NULL;
    rt_error_clear(&err);
    RT_OK_OR_FAIL(rt_tokenizer_from_json(&t, json, strlen(json), "small.json", &err));
    return t;
}

/* The ids and their begins as "id@begin id@begin ...". */
static const char *encoded(const rt_tokenizer *t, const char *text, bool special) {
    static char line[1024];
    rt_encoder *e = NULL;
    rt_ids ids = {0};
    rt_spans spans = {0};
    size_t used = 0;
    RT_OK_OR_FAIL(rt_encoder_new(&e, t, &err));
    RT_OK_OR_FAIL(rt_encoder_encode(e, text, strlen(text), special, &ids, &spans, &err));
    for (int64_t i = 0; i < ids.size && used < sizeof line - 32; i++)
        used += (size_t)snprintf(line + used, sizeof line - used, "%s%d@%d", i ? " " : "", ids.data[i],
                                 (int)spans.data[i].begin);
    line[used] = 0;
    rt_encoder_free(e), rt_ids_free(&ids), rt_spans_free(&spans);
    return line;
}
static bool decodes(const rt_tokenizer *t, const int32_t *ids, int64_t n, bool skip, const char *wanted) {
    rt_buf out = {0};
    RT_OK_OR_FAIL(rt_tokenizer_decode(t, ids, n, skip, &out, &err));
    bool same = out.size == strlen(wanted) && memcmp(out.data ? out.data : "", wanted, out.size) == 0;
    if (!same) printf("\n    decoded '%s'", out.data);
    rt_buf_free(&out);
    return same;
}

static void sentencepiece_by_hand(void) {
    rt_tokenizer *t = from_text(small);
    CU_ASSERT_STRING_EQUAL(encoded(t, "ab ab", true), "1@0 6@0 5@1 6@2 5@4"); /* mark+a goes first, so no mark+ab */
    CU_ASSERT_STRING_EQUAL(encoded(t, "a", false), "6@0");
    CU_ASSERT_STRING_EQUAL(encoded(t, "\u00e9xyb", false), "3@0 9@0 10@1 0@2 5@4"); /* bytes; x and y unknown, fused */
    CU_ASSERT_STRING_EQUAL(encoded(t, "", true), "1@0");
    CU_ASSERT_STRING_EQUAL(encoded(t, "a [M] b</s>b", false), "6@0 11@1 3@6 5@6 2@7 3@11 5@11");
    CU_ASSERT(decodes(t, (int32_t[]){1, 6, 9, 10, 2}, 5, true, "a\u00e9"));
    CU_ASSERT(decodes(t, (int32_t[]){6, 9, 5}, 3, true, "a\uFFFDb"));
    CU_ASSERT_EQUAL(rt_tokenizer_decode(t, (int32_t[]){12}, 1, true, &(rt_buf){0}, &err), RT_E_INPUT);
    rt_tokenizer_free(t);
}

static void what_it_tells_about_itself(void) {
    rt_tokenizer *t = from_text(small);
    static const int64_t covers[] = {0, 0, 0, 1, 1, 1, 2, 2, 3, 1, 1, 3};
    CU_ASSERT_EQUAL(rt_tokenizer_size(t), 12);
    for (int32_t i = 0; i < 12; i++) CU_ASSERT_EQUAL(rt_tokenizer_token_bytes(t, i), covers[i]);
    CU_ASSERT(rt_tokenizer_bos(t) == 1 && rt_tokenizer_eos(t) == 2 && rt_tokenizer_unk(t) == 0);
    CU_ASSERT(rt_tokenizer_adds_bos(t) && !rt_tokenizer_adds_eos(t));
    CU_ASSERT(rt_tokenizer_find(t, "ab", 2) == 7 && rt_tokenizer_find(t, "ba", 2) == -1);
    CU_ASSERT(rt_tokenizer_is_special(t, 2) && !rt_tokenizer_is_special(t, 11) && !rt_tokenizer_is_special(t, 99));
    CU_ASSERT_PTR_NULL(rt_tokenizer_token(t, 12, NULL));
    CU_ASSERT_PTR_NULL(rt_tokenizer_token(t, -1, NULL));
    rt_tokenizer *same =
        from_text(SMALL(SP_NORMALIZER, "null", SP_DECODER, "[[\"\u2581\", \"a\"],\n\"a b\", \"\u2581 ab\"]"));
    rt_tokenizer *other = from_text(SMALL(SP_NORMALIZER, "null", SP_DECODER, "[\"a b\", \"\u2581 a\", \"\u2581 ab\"]"));
    CU_ASSERT_STRING_EQUAL(rt_tokenizer_hash(t), rt_tokenizer_hash(same));
    CU_ASSERT_STRING_NOT_EQUAL(rt_tokenizer_hash(t), rt_tokenizer_hash(other));
    rt_tokenizer_free(t), rt_tokenizer_free(same), rt_tokenizer_free(other);
}

#define META(scheme) "{\"type\": \"Metaspace\", \"replacement\": \"\u2581\", \"prepend_scheme\": \"" scheme "\"}"
static void metaspace_by_hand(void) {
    rt_tokenizer *t = from_text(SMALL("null", META("first"), META("first"), MERGES));
    CU_ASSERT_STRING_EQUAL(encoded(t, "a a</s>a", false), "6@0 6@1 2@3 4@7"); /* no mark after </s> */
    CU_ASSERT(decodes(t, (int32_t[]){6, 6}, 2, false, "a a"));
    rt_tokenizer_free(t);
    t = from_text(SMALL("null", META("always"), META("always"), MERGES));
    CU_ASSERT_STRING_EQUAL(encoded(t, "a a</s>a", false), "6@0 6@1 2@3 6@7");
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
        rt_tokenizer *t = from_text(cases[i].json);
        const char *got = encoded(t, "abbab", false);
        RT_CHECK(strcmp(got, cases[i].ids) == 0, "case %zu: '%s', expected '%s'", i, got, cases[i].ids);
        rt_tokenizer_free(t);
    }
}

static void normalizers_keep_the_offsets(void) {
    rt_tokenizer *t = from_text(SMALL("{\"type\": \"NFC\"}", "null", "null", MERGES));
    CU_ASSERT_STRING_EQUAL(encoded(t, "be\u0301b", false), "5@0 9@1 10@2 5@4"); /* 3 bytes became 2 */
    rt_tokenizer_free(t);
    t = from_text(SMALL(
        "{\"type\": \"Sequence\", \"normalizers\": [{\"type\": \"NFKD\"}, {\"type\": \"StripAccents\"}, {\"type\": "
        "\"Lowercase\"}, {\"type\": \"Strip\", \"strip_left\": true, \"strip_right\": true}]}",
        "null", "null", MERGES));
    CU_ASSERT_STRING_EQUAL(encoded(t, "  \u00c1B \u24d0 ", false),
                           "7@0 0@5 4@6"); /* circled a; the space has no token */
    rt_tokenizer_free(t);
}

/* ---- refusals ---- */

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
    REFUSED(SMALL("{\"type\": \"Precompiled\"}", "null", "null", MERGES), RT_E_UNSUPPORTED,
            "normalizer: 'Precompiled' is not supported");
    REFUSED(SMALL("{\"type\": \"NFKX\"}", "null", "null", MERGES), RT_E_UNSUPPORTED, "nearest: NFK");
    REFUSED(SMALL("null",
                  "{\"type\": \"Sequence\", \"pretokenizers\": [{\"type\": \"ByteLevel\"}, {\"type\": \"Digits\"}]}",
                  "null", MERGES),
            RT_E_UNSUPPORTED, "ByteLevel must be the last");
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
    REFUSED("{\"model\": {\"type\": \"Unigram\", \"vocab\": {}}}", RT_E_UNSUPPORTED,
            "model: 'Unigram' is not supported");
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
    char copy[sizeof small];
    rt_rng r = rt_rng_make(1, "damage", 0);
    for (size_t n = 0; n < sizeof small - 1; n++) {
        rt_tokenizer *t = NULL;
        rt_error_clear(&err);
        if (rt_tokenizer_from_json(&t, small, n, "cut", &err) == RT_OK) RT_FAILF("%zu bytes were accepted", n);
        memcpy(copy, small, sizeof small);
        copy[n] = (char)rt_rng_u64(r, n);
        if (rt_tokenizer_from_json(&t, copy, sizeof small - 1, "damaged", &err) == RT_OK)
            encoded(t, "ab \u00e9 [M]a", true);
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
    static const char *const files[] = {small, SMALL("{\"type\": \"NFC\"}", META("always"), META("always"), MERGES)};
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

/* ---- training, files, random text ---- */

static const char rhyme[] = "the cat sat on the mat, the cat sat on the hat; the fat cat and the bat sat in the vat.\n"
                            "that cat's mat isn't the hat's. 12 cats, 34 bats, \u00e9t\u00e9, \u00e9t\u00e9!\n";

static rt_tokenizer *trained(int32_t vocab, rt_buf *json) {
    rt_bpe_train_options o = {.vocab = vocab, .bos_eos = true, .add_special = true};
    rt_error_clear(&err);
    RT_OK_OR_FAIL(rt_bpe_train(rhyme, strlen(rhyme), &o, json, &err));
    return from_text(json->data);
}

static void training_learns_the_frequent_pairs(void) {
    rt_buf json = {0};
    rt_tokenizer *t = trained(275, &json);
    CU_ASSERT_EQUAL(rt_tokenizer_size(t), 275);
    CU_ASSERT_STRING_EQUAL(rt_tokenizer_token(t, 258, NULL), "at"); /* 15 times */
    CU_ASSERT(rt_tokenizer_find(t, "\u0120the", 5) > 0 && rt_tokenizer_find(t, "\u0120cat", 5) > 0);
    CU_ASSERT_EQUAL(rt_tokenizer_token_bytes(t, rt_tokenizer_find(t, "\u0120the", 5)), 4);
    CU_ASSERT(rt_tokenizer_bos(t) == 0 && rt_tokenizer_eos(t) == 1 && rt_tokenizer_adds_bos(t) &&
              rt_tokenizer_adds_eos(t));
    rt_buf again = {0};
    rt_tokenizer *u = trained(275, &again);
    CU_ASSERT(again.size == json.size && memcmp(again.data, json.data, json.size) == 0);
    rt_encoder *e = NULL;
    RT_OK_OR_FAIL(rt_encoder_new(&e, t, &err));
    CU_ASSERT(check_text(e, t, rhyme, strlen(rhyme), NULL, rhyme));
    rt_encoder_free(e), rt_tokenizer_free(t), rt_tokenizer_free(u), rt_buf_free(&json), rt_buf_free(&again);
}

static void training_refuses_and_stops(void) {
    rt_buf json = {0};
    rt_bpe_train_options o = {.vocab = 200};
    rt_error_clear(&err);
    CU_ASSERT_EQUAL(rt_bpe_train("a", 1, &o, &json, &err), RT_E_ARG);
    o.vocab = 300;
    rt_error_clear(&err);
    CU_ASSERT_EQUAL(rt_bpe_train("a\xff", 2, &o, &json, &err), RT_E_INPUT);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "byte 1"));
    rt_error_clear(&err);
    RT_OK_OR_FAIL(rt_bpe_train("", 0, &o, &json, &err));
    rt_tokenizer *t = from_text(json.data);
    CU_ASSERT_EQUAL(rt_tokenizer_size(t), 256);
    rt_tokenizer_free(t), rt_buf_free(&json);
}

static void training_runs_out_of_memory_cleanly(void) {
    rt_bpe_train_options o = {.vocab = 300, .bos_eos = true};
    rt_mem_stats before = rt_mem_stats_get();
    rt_buf json = {0};
    int64_t calls = 1;
    for (int64_t n = 0; n <= calls; n++) { /* n = 0: none fails, to count them */
        rt_error_clear(&err);
        rt_mem_fail_at(n);
        rt_status s = rt_bpe_train(rhyme, strlen(rhyme), &o, &json, &err);
        rt_mem_fail_at(0);
        if (n == 0) calls = rt_mem_stats_get().calls - before.calls;
        rt_buf_free(&json);
        if (s != RT_OK && (s != RT_E_NOMEM || n == 0)) RT_FAILF("allocation %d: %s", (int)n, err.text);
        if (rt_mem_stats_get().live_blocks != before.live_blocks) RT_FAILF("allocation %d leaks", (int)n);
    }
    CU_ASSERT(calls > 50);
}

static void save_and_load_again(void) {
    rt_buf json = {0};
    rt_tokenizer *t = trained(300, &json), *u = NULL, *v = NULL;
    const char *dir = rt_test_dir();
    char path[600];
    RT_OK_OR_FAIL(rt_tokenizer_save(t, dir, &err));
    snprintf(path, sizeof path, "%s/tokenizer_config.json", dir);
    FILE *f = fopen(path, "wb");
    fputs("{\"bos_token\": null, \"eos_token\": {\"content\": \"<|eos|>\"}, \"add_bos_token\": false}", f);
    fclose(f);
    RT_OK_OR_FAIL(rt_tokenizer_load(&u, dir, &err));
    size_t n;
    CU_ASSERT(memcmp(rt_tokenizer_json(u, &n), json.data, json.size) == 0 && n == json.size);
    CU_ASSERT_STRING_EQUAL(rt_tokenizer_hash(t), rt_tokenizer_hash(u));
    CU_ASSERT(!rt_tokenizer_adds_bos(u) && rt_tokenizer_adds_eos(u) && rt_tokenizer_eos(u) == 1);
    const char *copy = rt_test_dir();
    RT_OK_OR_FAIL(rt_tokenizer_save(u, copy, &err));
    RT_OK_OR_FAIL(rt_tokenizer_load(&v, copy, &err));
    CU_ASSERT_PTR_NOT_NULL(rt_tokenizer_config_json(v, &n));
    CU_ASSERT(!rt_tokenizer_adds_bos(v));
    rt_tokenizer_free(t), rt_tokenizer_free(u), rt_tokenizer_free(v), rt_buf_free(&json);
}

static void packed_files_are_told_by_content(void) {
    rt_tokenizer *t = NULL;
    char path[600];
    size_t n;
    const char *dir = rt_test_dir(), *source = rt_fixture("tokenizers/gpt2/tokenizer.json.gz");
    if (!source) return;
    char *bytes = read_text(source, &n);
    snprintf(path, sizeof path, "%s/tokenizer.json.gz", dir);
    FILE *f = fopen(path, "wb");
    fwrite(bytes, 1, n / 2, f);
    fclose(f);
    rt_error_clear(&err);
    CU_ASSERT_EQUAL(rt_tokenizer_load(&t, dir, &err), RT_E_INPUT);
    CU_ASSERT_PTR_NOT_NULL(strstr(err.text, "cannot unpack"));
    rt_tokenizer_free(t), rt_free(bytes);
    rt_error_clear(&err);
    RT_OK_OR_FAIL(rt_tokenizer_load(&t, source, &err)); /* by its own path */
    CU_ASSERT(rt_tokenizer_size(t) == 50257 && rt_tokenizer_eos(t) == 50256 && rt_tokenizer_bos(t) == -1);
    CU_ASSERT_EQUAL(rt_tokenizer_token_bytes(t, 50256), 0);
    rt_tokenizer_free(t);
}

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
    rt_tokenizer *t = trained(300, &json);
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
        RT_CHECK(check_text(e, t, text, n, NULL, text), "text %d does not come back: '%s'", i, text);
    }
    rt_encoder_free(e), rt_tokenizer_free(t), rt_buf_free(&json);
}

static void random_bytes_are_refused_or_encoded(void) {
    rt_tokenizer *t = from_text(small);
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

/* Long pieces go through the heap, short ones through the scan: a long one must equal a naive repetition of the rule.
 */
static void long_pieces_merge_like_short_ones(void) {
    rt_tokenizer *t = from_text(SMALL("null", "null", "null", "[\"a b\", \"\u2581 a\", \"\u2581 ab\"]"));
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

RT_SUITE(tokenizer) {
    RT_TEST(gpt2_vectors);
    RT_TEST(gpt2_strings);
    RT_TEST(qwen2_vectors);
    RT_TEST(qwen2_strings);
    RT_TEST(stories_vectors);
    RT_TEST(stories_strings);
    RT_TEST(sentencepiece_by_hand);
    RT_TEST(what_it_tells_about_itself);
    RT_TEST(metaspace_by_hand);
    RT_TEST(split_behaviours);
    RT_TEST(normalizers_keep_the_offsets);
    RT_TEST(refusals_name_the_place);
    RT_TEST(damaged_files);
    RT_TEST(memory_runs_out_cleanly);
    RT_TEST(training_learns_the_frequent_pairs);
    RT_TEST(training_refuses_and_stops);
    RT_TEST(training_runs_out_of_memory_cleanly);
    RT_TEST(save_and_load_again);
    RT_TEST(packed_files_are_told_by_content);
    RT_TEST(random_text_comes_back);
    RT_TEST(random_bytes_are_refused_or_encoded);
    RT_TEST(long_pieces_merge_like_short_ones);
}
