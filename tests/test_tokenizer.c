/* test_tokenizer.c - ids against Hugging Face's own on the fixtures, both ways; offsets; refusals; damage; memory. */
#include "harness.h"
#include <retort/base/mem.h>
#include <retort/base/rng.h>
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

/* What every text must satisfy: ids as wanted (NULL: any), spans that tile the text, decode gives `back` (NULL: no claim). */
static bool check_text(rt_encoder *e, const rt_tokenizer *t, const char *text, size_t n, const rt_ids *wanted, const char *back) {
    rt_ids ids = {0}, plain = {0};
    rt_spans spans = {0};
    rt_buf out = {0};
    rt_error_clear(&err);
    RT_OK_OR_FAIL(rt_encoder_encode(e, text, n, false, &ids, &spans, &err));
    RT_OK_OR_FAIL(rt_tokenizer_encode(t, text, n, false, &plain, &err));
    bool ok = ids.size == plain.size && ids.size == spans.size && (!ids.size || memcmp(ids.data, plain.data, (size_t)ids.size * 4) == 0);
    ok = ok && (!wanted || (ids.size == wanted->size && (!ids.size || memcmp(ids.data, wanted->data, (size_t)ids.size * 4) == 0)));
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
        if (sscanf(*line, "%d%n", &id, &used) == 1) rt_ids_add(&ids, id), *line += used;
        else ++*line;
        while (**line == ' ') ++*line;
    }
    if (**line == '\n') ++*line;
    return ids;
}

/* Does a text come back? Not one that NFC changes (Qwen2), nor one with a token spelled out in front (SentencePiece). */
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
        RT_CHECK(check_text(e, t, text, (size_t)(end - text), &wanted, text), "%s: text %d differs: '%.100s'", name, count, text);
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
        for (size_t i = 0; i < json_array_size(list); i++) rt_ids_add(&wanted, (int32_t)json_integer_value(json_array_get(list, i)));
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

RT_SUITE(tokenizer) {
    RT_TEST(gpt2_vectors);
    RT_TEST(gpt2_strings);
    RT_TEST(qwen2_vectors);
    RT_TEST(qwen2_strings);
    RT_TEST(stories_vectors);
    RT_TEST(stories_strings);
}
