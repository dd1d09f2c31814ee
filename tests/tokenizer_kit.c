/* tokenizer_kit.c - see tokenizer_kit.h. */
#include "tokenizer_kit.h"
#include <retort/text/bpe_train.h>
#include <stdio.h>
#include <string.h>

static rt_error err;

rt_tokenizer *tok_fixture(const char *name) {
    char path[256];
    snprintf(path, sizeof path, "tokenizers/%s", name);
    const char *dir = rt_fixture(path);
    rt_tokenizer *t = NULL;
    rt_error_clear(&err);
    if (dir) RT_OK_OR_FAIL(rt_tokenizer_load(&t, dir, &err));
    return t;
}

char *tok_read_file(const char *path, size_t *n) {
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
bool tok_check_text(rt_encoder *e, const rt_tokenizer *t, const char *text, size_t n, const rt_ids *wanted,
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

rt_tokenizer *tok_from_text(const char *json) {
    rt_tokenizer *t = NULL;
    rt_error_clear(&err);
    RT_OK_OR_FAIL(rt_tokenizer_from_json(&t, json, strlen(json), "small.json", &err));
    return t;
}

/* The ids and their begins as "id@begin id@begin ...". */
const char *tok_encoded(const rt_tokenizer *t, const char *text, bool special) {
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
bool tok_decodes(const rt_tokenizer *t, const int32_t *ids, int64_t n, bool skip, const char *wanted) {
    rt_buf out = {0};
    RT_OK_OR_FAIL(rt_tokenizer_decode(t, ids, n, skip, &out, &err));
    bool same = out.size == strlen(wanted) && memcmp(out.data ? out.data : "", wanted, out.size) == 0;
    if (!same) printf("\n    decoded '%s'", out.data);
    rt_buf_free(&out);
    return same;
}

const char *tok_ids(const rt_tokenizer *t, const char *text, bool special) {
    static char line[4096];
    rt_ids ids = {0};
    size_t used = 0;
    rt_error_clear(&err);
    line[0] = 0;
    if (rt_tokenizer_encode(t, text, strlen(text), special, &ids, &err) != RT_OK)
        snprintf(line, sizeof line, "%s", err.text);
    for (int64_t i = 0; i < ids.size && used < sizeof line - 16; i++)
        used += (size_t)snprintf(line + used, sizeof line - used, "%s%d", i ? " " : "", ids.data[i]);
    rt_ids_free(&ids);
    return line;
}

const char tok_rhyme[] = "the cat sat on the mat, the cat sat on the hat; the fat cat and the bat sat in the vat.\n"
                         "that cat's mat isn't the hat's. 12 cats, 34 bats, \u00e9t\u00e9, \u00e9t\u00e9!\n";

rt_tokenizer *tok_trained(int32_t vocab, rt_buf *json) {
    rt_bpe_train_options o = {.vocab = vocab, .bos_eos = true, .add_special = true};
    rt_error_clear(&err);
    RT_OK_OR_FAIL(rt_bpe_train(tok_rhyme, strlen(tok_rhyme), &o, json, &err));
    return tok_from_text(json->data);
}
