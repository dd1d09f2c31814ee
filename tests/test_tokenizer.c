/* test_tokenizer.c - ids against Hugging Face's own on the fixtures, both ways; what a tokenizer tells about itself;
 * files. */
#include "tokenizer_kit.h"
#include "tokenizer_samples.h"
#include <retort/text/bpe_train.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

static rt_error err;

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
    rt_tokenizer *t = tok_fixture(name);
    if (!t) return;
    rt_encoder *e;
    RT_OK_OR_FAIL(rt_encoder_new(&e, t, &err));
    snprintf(path, sizeof path, "tokenizers/%s/vectors.inp", name);
    char *texts = tok_read_file(rt_fixture(path), &n), *text = texts;
    snprintf(path, sizeof path, "tokenizers/%s/vectors.out", name);
    char *lines = tok_read_file(rt_fixture(path), &m);
    const char *line = lines;
    int count = 0;
    for (char *end; (end = strstr(text, cut)); text = end + strlen(cut), count++) {
        rt_ids wanted = ids_of_line(&line);
        *end = 0;
        RT_CHECK(tok_check_text(e, t, text, (size_t)(end - text), &wanted, text), "%s: text %d differs: '%.100s'", name,
                 count, text);
        rt_ids_free(&wanted);
    }
    CU_ASSERT_EQUAL(count, 46);
    rt_free(texts), rt_free(lines);
    rt_encoder_free(e), rt_tokenizer_free(t);
}

/* What does not come back as it was: by the number of the string, what the library's own decode gives (0.23.2). */
typedef struct lossy {
    int number;
    const char *decoded;
} lossy;
static const lossy none[] = {{-1, NULL}};
static const lossy qwen2_lossy[] = {
    {154, "caf\u00e9"},
    {155, "\u00c5 \u00c5 \u00c5"},
    {156, "\u1e9b\u0323 \u1e9b\u0323"},
    {158, "\ud55c\uae00 jamo"},
    {172, "zalgo: Z\u0351\u036b\u0313\u036a\u0302\u036b\u033d\u034f\u0334\u0319\u0324\u031e\u0349"},
    {-1, NULL}};
static const lossy stories_lossy[] = {{181, "</s>  <unk>  <pad>"}, {183, " underscore piece"}, {-1, NULL}};

static bool check_string(const rt_tokenizer *t, rt_encoder *e, const json_t *record, const char *decoded) {
    json_t *text = json_object_get(record, "text"), *list = json_object_get(record, "ids");
    rt_ids wanted = {0};
    for (size_t i = 0; i < json_array_size(list); i++)
        rt_ids_add(&wanted, (int32_t)json_integer_value(json_array_get(list, i)));
    const char *s = json_string_value(text);
    bool ok = tok_check_text(e, t, s, json_string_length(text), &wanted, decoded ? decoded : s);
    rt_ids_free(&wanted);
    return ok;
}

static void strings(const char *name, const lossy *next) {
    char path[256];
    rt_tokenizer *t = tok_fixture(name);
    if (!t) return;
    rt_encoder *e;
    RT_OK_OR_FAIL(rt_encoder_new(&e, t, &err));
    snprintf(path, sizeof path, "tokenizers/%s/strings.jsonl", name);
    FILE *f = fopen(rt_fixture(path), "rb");
    int count = 0;
    for (json_t *j; (j = json_loadf(f, JSON_DISABLE_EOF_CHECK | JSON_ALLOW_NUL, NULL)); json_decref(j), count++) {
        bool changes = next->number == count;
        RT_CHECK(check_string(t, e, j, changes ? next->decoded : NULL), "%s: string %d differs: '%.100s'", name, count,
                 json_string_value(json_object_get(j, "text")));
        next += changes;
    }
    fclose(f);
    CU_ASSERT(count == 200 && next->number < 0);
    rt_encoder_free(e), rt_tokenizer_free(t);
}

static void gpt2_vectors(void) { vectors("gpt2"); }
static void qwen2_vectors(void) { vectors("qwen2"); }
static void stories_vectors(void) { vectors("stories260K"); }
static void gpt2_strings(void) { strings("gpt2", none); }
static void qwen2_strings(void) { strings("qwen2", qwen2_lossy); }
static void stories_strings(void) { strings("stories260K", stories_lossy); }

static void what_it_tells_about_itself(void) {
    rt_tokenizer *t = tok_from_text(SMALL_SP);
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
        tok_from_text(SMALL(SP_NORMALIZER, "null", SP_DECODER, "[[\"\u2581\", \"a\"],\n\"a b\", \"\u2581 ab\"]"));
    rt_tokenizer *other =
        tok_from_text(SMALL(SP_NORMALIZER, "null", SP_DECODER, "[\"a b\", \"\u2581 a\", \"\u2581 ab\"]"));
    CU_ASSERT_STRING_EQUAL(rt_tokenizer_hash(t), rt_tokenizer_hash(same));
    CU_ASSERT_STRING_NOT_EQUAL(rt_tokenizer_hash(t), rt_tokenizer_hash(other));
    rt_tokenizer_free(t), rt_tokenizer_free(same), rt_tokenizer_free(other);
}

static void models_have_names(void) {
    static const char *const names[][2] = {{"llama3", "BPE over bytes"},
                                           {"clip", "BPE over bytes"},
                                           {"mistral", "BPE with bytes to fall back on"},
                                           {"flags", "BPE"},
                                           {"t5", "Unigram"},
                                           {"albert", "Unigram with bytes to fall back on"},
                                           {"bert", "WordPiece"},
                                           {"word level", "WordLevel"}};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        rt_tokenizer *t = tok_from_text(tokenizer_sample_json(names[i][0]));
        CU_ASSERT_STRING_EQUAL(rt_tokenizer_model(t), names[i][1]);
        rt_tokenizer_free(t);
    }
}

/* One change at a time to a sample, of what may change ids: another hash; of what may not: the same. */
static void the_hash_covers_every_part(void) {
    static const struct {
        const char *sample, *from, *to;
        bool same;
    } cases[] = {
        {"t5", "[\"at\", -3.5]", "[\"at\", -3.25]", false},
        {"t5", "\"unk_id\": 2", "\"unk_id\": 1", false},
        {"t5", "\"type\": \"WhitespaceSplit\"", "\"type\": \"Whitespace\"", false},
        {"t5", "\"version\": \"1.0\"", "\"version\": \"1.0\", \"truncation\": {\"max_length\": 3}", true},
        {"albert", "\"byte_fallback\": true", "\"byte_fallback\": false", false},
        {"llama3", "\"ignore_merges\": true", "\"ignore_merges\": false", false},
        {"llama2", "\"fuse_unk\": true", "\"fuse_unk\": false", false},
        {"llama2", "\"unk_token\": \"<unk>\"", "\"unk_token\": null", false},
        {"clip", "\"end_of_word_suffix\": \"</w>\"", "\"end_of_word_suffix\": null", false},
        {"bert", "\"max_input_chars_per_word\": 12", "\"max_input_chars_per_word\": 13", false},
        {"flags", "\"content\": \"<l>\", \"single_word\": false, \"lstrip\": true",
         "\"content\": \"<l>\", \"single_word\": false, \"lstrip\": false", false},
        {"flags", "\"content\": \"at a\", \"single_word\": true", "\"content\": \"at a\", \"single_word\": false",
         false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *json = tokenizer_sample_json(cases[i].sample), *at = strstr(json, cases[i].from);
        rt_buf changed = {0};
        RT_CHECK(at, "%s holds no %s", cases[i].sample, cases[i].from);
        if (!at) continue;
        rt_buf_add(&changed, json, (size_t)(at - json));
        rt_buf_puts(&changed, cases[i].to);
        rt_buf_puts(&changed, at + strlen(cases[i].from));
        rt_tokenizer *t = tok_from_text(json), *u = tok_from_text(changed.data);
        bool same = t && u && strcmp(rt_tokenizer_hash(t), rt_tokenizer_hash(u)) == 0;
        RT_CHECK(same == cases[i].same, "%s: %s", cases[i].sample, cases[i].to);
        rt_tokenizer_free(t), rt_tokenizer_free(u), rt_buf_free(&changed);
    }
}

static void save_and_load_again(void) {
    rt_buf json = {0};
    rt_tokenizer *t = tok_trained(300, &json), *u = NULL, *v = NULL;
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
    char *bytes = tok_read_file(source, &n);
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

RT_SUITE(tokenizer) {
    RT_TEST(gpt2_vectors);
    RT_TEST(gpt2_strings);
    RT_TEST(qwen2_vectors);
    RT_TEST(qwen2_strings);
    RT_TEST(stories_vectors);
    RT_TEST(stories_strings);
    RT_TEST(what_it_tells_about_itself);
    RT_TEST(models_have_names);
    RT_TEST(the_hash_covers_every_part);
    RT_TEST(save_and_load_again);
    RT_TEST(packed_files_are_told_by_content);
}
