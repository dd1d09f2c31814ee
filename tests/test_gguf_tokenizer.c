/* test_gguf_tokenizer.c - tokenizers as GGUF keys: names for ways of cutting words, scores for merges, and what cannot be said. */
#include "harness.h"
#include "small_model.h"
#include <retort/base/file.h>
#include <retort/base/json.h>
#include <retort/io/gguf_model.h>
#include <stdio.h>
#include <string.h>

/* ------------------------------------------------------------ small tokenizers */

#define GPT2_STEP "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":true}"
#define SPLIT(regex) "{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\",\"pattern\":{\"Regex\":\"" regex "\"},\"behavior\":\"Isolated\",\"invert\":false}," \
    "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":false}]}"
#define WORDS "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?\\\\p{L}+|"
#define REST "| ?[^\\\\s\\\\p{L}\\\\p{N}]+[\\\\r\\\\n]*|\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)|\\\\s+"
#define LLAMA3 SPLIT(WORDS "\\\\p{N}{1,3}" REST)
#define QWEN2 SPLIT(WORDS "\\\\p{N}" REST)

/* Six tokens and one merge, byte-level. */
static void byte_level(rt_buf *b, const char *normalizer, const char *pre, const char *model, const char *post) {
    rt_buf_printf(b, "{\"version\":\"1.0\",\"added_tokens\":[{\"id\":4,\"content\":\"<end>\",\"single_word\":false,\"lstrip\":false,\"rstrip\":false,"
                     "\"normalized\":false,\"special\":true},{\"id\":6,\"content\":\"<user>\",\"single_word\":false,\"lstrip\":false,\"rstrip\":false,"
                     "\"normalized\":false,\"special\":false}],\"normalizer\":%s,\"pre_tokenizer\":%s,\"post_processor\":%s,\"decoder\":null,"
                     "\"model\":{\"type\":\"BPE\"%s,\"vocab\":{\"a\":0,\"b\":1,\"ab\":2,\"\u0120\":3},\"merges\":[\"a b\"]}}",
                  normalizer, pre, post, model);
}
/* Bytes, letters, and merges as a SentencePiece model has them. */
static void sentencepiece(rt_buf *b, const char *normalizer, const char *pre, const char *vocab, const char *merges) {
    rt_buf_puts(b, "{\"version\":\"1.0\",\"added_tokens\":[{\"id\":0,\"content\":\"<unk>\",\"single_word\":false,\"lstrip\":false,\"rstrip\":false,\"normalized\":false,"
                   "\"special\":true}],\"post_processor\":null,\"decoder\":null,");
    rt_buf_printf(b, "\"normalizer\":%s,\"pre_tokenizer\":%s,", normalizer, pre);
    rt_buf_puts(b, "\"model\":{\"type\":\"BPE\",\"unk_token\":\"<unk>\",\"fuse_unk\":true,\"byte_fallback\":true,\"vocab\":{\"<unk>\":0");
    for (int i = 0; i < 256; i++) rt_buf_printf(b, ",\"<0x%02X>\":%d", i, i + 1);
    rt_buf_printf(b, ",%s},\"merges\":[%s]}}", vocab, merges);
}
#define MARKS "{\"type\":\"Sequence\",\"normalizers\":[{\"type\":\"Prepend\",\"prepend\":\"\u2581\"},{\"type\":\"Replace\",\"pattern\":{\"String\":\" \"},\"content\":\"\u2581\"}]}"
#define LETTERS "\"a\":257,\"b\":258,\"\u2581\":259,\"ab\":260,\"\u2581ab\":261,\"\u2581a\":262"
#define RANKED "\"a b\",\"\u2581 a\",\"\u2581 ab\",\"\u2581a b\""

/* Frees b. The keys in a file that is read again (NULL: refused, with the reason in err), for a model of V rows. */
static rt_gguf *put(rt_buf *b, const char *config, int64_t V, rt_buf *notes, rt_error *why) {
    rt_error err = {0};
    rt_tokenizer *t = NULL;
    rt_gguf_meta m = {0};
    rt_gguf_notes n = {0};
    rt_gguf *g = NULL;
    char path[700];
    rt_model_config c = small_config(0);
    c.vocab_size = V, c.bos_id = c.eos_id = -1;
    snprintf(path, sizeof path, "%s/t.gguf", rt_test_dir());
    RT_OK_OR_FAIL(rt_tokenizer_from_texts(&t, b->data, b->size, config, config ? strlen(config) : 0, "tokenizer.json", &err));
    rt_buf_free(b);
    if (t && rt_gguf_put_tokenizer(&m, t, &c, NULL, &n, &err) == RT_OK) {
        RT_OK_OR_FAIL(rt_gguf_write(path, &m, NULL, 0, NULL, NULL, &err));
        RT_OK_OR_FAIL(rt_gguf_open(path, &g, &err));
    }
    *why = err;
    if (notes) rt_buf_puts(notes, n.text.data ? n.text.data : "");
    rt_buf_free(&n.text);
    rt_gguf_meta_free(&m);
    rt_tokenizer_free(t);
    return g;
}
static bool is_text(const rt_gguf *g, const char *key, const char *expected) {
    const char *text;
    size_t n;
    return g && rt_gguf_text(rt_gguf_find(g, key), &text, &n) && n == strlen(expected) && memcmp(text, expected, n) == 0;
}
static bool texts_are(const rt_gguf *g, const char *key, const char *const *expected) {
    rt_gguf_texts place = {0};
    const char *text;
    size_t n;
    for (; g && *expected; expected++)
        if (!rt_gguf_next_text(rt_gguf_find(g, key), &place, &text, &n) || n != strlen(*expected) || memcmp(text, *expected, n) != 0) return false;
    return g && !rt_gguf_next_text(rt_gguf_find(g, key), &place, &text, &n);
}
static int64_t item(const rt_gguf *g, const char *key, uint64_t i) {
    int64_t x = -99;
    double r;
    const rt_gguf_value *v = g ? rt_gguf_find(g, key) : NULL;
    return rt_gguf_item_int(v, i, &x) ? x : rt_gguf_item_real(v, i, &r) ? (int64_t)r : x;
}
static int64_t number(const rt_gguf *g, const char *key) {
    int64_t x = -99;
    return g && rt_gguf_int(rt_gguf_find(g, key), &x) ? x : -99;
}

/* -------------------------------------------------------------------- byte level */

static void byte_level_is_said(void) {
    rt_error err = {0};
    rt_buf b = {0};
    byte_level(&b, "null", GPT2_STEP, "", "null");
    rt_gguf *g = put(&b, "{\"eos_token\":\"<end>\",\"add_eos_token\":true,\"chat_template\":\"{{x}}\"}", 8, NULL, &err);
    RT_CHECK(is_text(g, "tokenizer.ggml.model", "gpt2") && is_text(g, "tokenizer.ggml.pre", "gpt-2"), "%s", err.text);
    CU_ASSERT_TRUE(texts_are(g, "tokenizer.ggml.tokens", (const char *const[]){"a", "b", "ab", "\u0120", "<end>", "[PAD5]", "<user>", "[PAD7]", NULL}));
    CU_ASSERT_TRUE(texts_are(g, "tokenizer.ggml.merges", (const char *const[]){"a b", NULL}));
    static const int types[] = {1, 1, 1, 1, 3, 5, 4, 5};
    for (int i = 0; i < 8; i++) CU_ASSERT_EQUAL(item(g, "tokenizer.ggml.token_type", (uint64_t)i), types[i]);
    CU_ASSERT_TRUE(number(g, "tokenizer.ggml.eos_token_id") == 4 && number(g, "tokenizer.ggml.bos_token_id") == -99);
    CU_ASSERT_TRUE(number(g, "tokenizer.ggml.add_eos_token") == 1 && number(g, "tokenizer.ggml.add_bos_token") == 0);
    CU_ASSERT_TRUE(is_text(g, "tokenizer.chat_template", "{{x}}"));
    rt_gguf_close(g);
}
static void check_pre(const char *pre, const char *model, const char *expected) {
    rt_error err = {0};
    rt_buf b = {0};
    byte_level(&b, "null", pre, model, "null");
    rt_gguf *g = put(&b, NULL, 7, NULL, &err);
    if (expected) RT_CHECK(is_text(g, "tokenizer.ggml.pre", expected), "expected %s: %s", expected, err.text);
    else RT_CHECK(!g && err.status == RT_E_UNSUPPORTED && strstr(err.text, "pre-tokenizer"), "%s", err.text);
    rt_gguf_close(g);
}
static void words_are_cut_under_a_name_or_not_at_all(void) {
    check_pre(LLAMA3, ",\"ignore_merges\":true", "llama-bpe");
    check_pre(LLAMA3, "", "smaug-bpe");
    check_pre(QWEN2, "", "qwen2");
    check_pre(QWEN2, ",\"ignore_merges\":true", NULL);
    check_pre(SPLIT("'s|'t|'re|'ve|'m|'ll|'d| ?\\\\p{L}+| ?\\\\p{N}+| ?[^\\\\s\\\\p{L}\\\\p{N}]+|\\\\s+(?!\\\\S)|\\\\s+"), "", "gpt-2");
    check_pre("{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Digits\",\"individual_digits\":true}," GPT2_STEP "]}", "", "smollm");
    check_pre(SPLIT("\\\\p{L}+"), "", NULL);
    check_pre("{\"type\":\"ByteLevel\",\"add_prefix_space\":true,\"use_regex\":true}", "", NULL);
    check_pre("{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Digits\",\"individual_digits\":false}," GPT2_STEP "]}", "", NULL);
}
static void what_stands_around_must_be_bos_and_eos(void) {
    rt_error err = {0};
    rt_buf b = {0}, notes = {0};
    byte_level(&b, "{\"type\":\"NFC\"}", GPT2_STEP, "",
               "{\"type\":\"TemplateProcessing\",\"single\":[{\"SpecialToken\":{\"id\":\"<end>\",\"type_id\":0}},{\"Sequence\":{\"id\":\"A\",\"type_id\":0}},"
               "{\"SpecialToken\":{\"id\":\"<end>\",\"type_id\":0}},{\"SpecialToken\":{\"id\":\"<end>\",\"type_id\":0}}],\"pair\":[],"
               "\"special_tokens\":{\"<end>\":{\"id\":\"<end>\",\"ids\":[4],\"tokens\":[\"<end>\"]}}}");
    CU_ASSERT_PTR_NULL(put(&b, NULL, 7, &notes, &err));
    RT_CHECK(strstr(err.text, "puts 3 ids around a text, other than bos and eos") && strstr(err.text, "--no-tokenizer"), "%s", err.text);
    RT_CHECK(strstr(notes.data, "NFC"), "%s", notes.data);
    rt_error_clear(&err);
    byte_level(&b, "{\"type\":\"Lowercase\"}", GPT2_STEP, "", "null");
    CU_ASSERT_PTR_NULL(put(&b, NULL, 7, NULL, &err));
    RT_CHECK(strstr(err.text, "its normalizer is Lowercase"), "%s", err.text);
    rt_error_clear(&err);
    byte_level(&b, "null", GPT2_STEP, "", "null");
    CU_ASSERT_PTR_NULL(put(&b, NULL, 6, NULL, &err));
    RT_CHECK(strstr(err.text, "it has 7 ids, the model has 6 rows"), "%s", err.text);
    rt_buf_free(&notes);
}

/* ----------------------------------------------------------------- SentencePiece */

static void scores_say_the_order_of_merges(void) {
    rt_error err = {0};
    rt_buf b = {0};
    sentencepiece(&b, MARKS, "null", LETTERS, RANKED);
    rt_gguf *g = put(&b, NULL, 263, NULL, &err);
    RT_CHECK(is_text(g, "tokenizer.ggml.model", "llama") && is_text(g, "tokenizer.ggml.pre", "default"), "%s", err.text);
    CU_ASSERT_TRUE(item(g, "tokenizer.ggml.scores", 260) == 0 && item(g, "tokenizer.ggml.scores", 262) == -1 && item(g, "tokenizer.ggml.scores", 261) == -2);
    CU_ASSERT_TRUE(item(g, "tokenizer.ggml.scores", 257) == -4 && item(g, "tokenizer.ggml.scores", 5) == 0);
    CU_ASSERT_TRUE(item(g, "tokenizer.ggml.token_type", 0) == 2 && item(g, "tokenizer.ggml.token_type", 1) == 6 && item(g, "tokenizer.ggml.token_type", 256) == 6);
    CU_ASSERT_TRUE(item(g, "tokenizer.ggml.token_type", 257) == 1 && number(g, "tokenizer.ggml.add_space_prefix") == 1 && number(g, "tokenizer.ggml.unknown_token_id") == 0);
    rt_gguf_close(g);
    sentencepiece(&b, "null", "{\"type\":\"Metaspace\",\"replacement\":\"\u2581\",\"prepend_scheme\":\"never\",\"split\":false}", LETTERS, RANKED);
    g = put(&b, NULL, 263, NULL, &err);
    RT_CHECK(number(g, "tokenizer.ggml.add_space_prefix") == 0, "%s", err.text);
    rt_gguf_close(g);
}
static void spm_refused(const char *normalizer, const char *vocab, const char *merges, const char *text) {
    rt_error err = {0};
    rt_buf b = {0};
    sentencepiece(&b, normalizer, "null", vocab, merges);
    rt_gguf *g = put(&b, NULL, 263, NULL, &err);
    RT_CHECK(!g && err.status == RT_E_UNSUPPORTED && strstr(err.text, text), "'%s' is not in '%s'", text, err.text);
    rt_gguf_close(g);
}
static void merges_that_no_score_says_are_refused(void) {
    spm_refused(MARKS, LETTERS, "\"a b\",\"\u2581 ab\",\"\u2581 a\",\"\u2581a b\"", "merge 3 gives a token that an earlier merge gave, with others between");
    spm_refused(MARKS, LETTERS, "\"a b\",\"\u2581 a\",\"\u2581 ab\"", "the tokens 262 and 258 make token 261, which is no merge");
    spm_refused("{\"type\":\"NFKC\"}", LETTERS, RANKED, "its normalizer does more than marking spaces");
    spm_refused("null", LETTERS, RANKED, "its spaces are marked by neither");
}

/* ------------------------------------------------------------------------- back */

static void a_file_gives_its_tokenizer_back(void) {
    static const char text[] = "Once upon a time </s> \xf0\x9f\x98\x80 x";
    rt_error err = {0};
    rt_tokenizer *t = NULL, *back = NULL;
    rt_gguf_meta m = {0};
    rt_ids a = {0}, b = {0};
    char path[700];
    rt_model_config c = small_config(0);
    const char *from = rt_fixture("models/stories260K/hf-f32");
    if (!from) return;
    c.vocab_size = 512;
    snprintf(path, sizeof path, "%s/t.gguf", rt_test_dir());
    RT_OK_OR_FAIL(rt_tokenizer_load(&t, from, &err));
    RT_OK_OR_FAIL(rt_gguf_put_tokenizer(&m, t, &c, NULL, NULL, &err));
    RT_OK_OR_FAIL(rt_gguf_write(path, &m, NULL, 0, NULL, NULL, &err));
    RT_OK_OR_FAIL(rt_gguf_tokenizer(path, &back, &err));
    if (t && back) {
        CU_ASSERT_STRING_EQUAL(rt_tokenizer_hash(t), rt_tokenizer_hash(back));
        RT_OK_OR_FAIL(rt_tokenizer_encode(t, text, sizeof text - 1, true, &a, &err));
        RT_OK_OR_FAIL(rt_tokenizer_encode(back, text, sizeof text - 1, true, &b, &err));
        CU_ASSERT_TRUE(a.size == b.size && memcmp(a.data, b.data, (size_t)a.size * sizeof *a.data) == 0);
        CU_ASSERT_TRUE(rt_tokenizer_bos(back) == 1 && rt_tokenizer_eos(back) == 2 && rt_tokenizer_adds_bos(back));
    }
    rt_ids_free(&a), rt_ids_free(&b);
    rt_gguf_meta_free(&m);
    rt_tokenizer_free(t), rt_tokenizer_free(back);
}

RT_SUITE(gguf_tokenizer) {
    RT_TEST(byte_level_is_said);
    RT_TEST(words_are_cut_under_a_name_or_not_at_all);
    RT_TEST(what_stands_around_must_be_bos_and_eos);
    RT_TEST(scores_say_the_order_of_merges);
    RT_TEST(merges_that_no_score_says_are_refused);
    RT_TEST(a_file_gives_its_tokenizer_back);
}
