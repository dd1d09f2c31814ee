/* id_lines.c - lines of ids: text to ids and back, for pipes; and a shard described in words. */
#include <ctype.h>
#include <retort/text/encode.h>
#include <string.h>

static rt_status send(rt_buf *line, rt_text_sink sink, void *context, rt_error *err) {
    if (line->failed) return rt_fail(err, RT_E_NOMEM, "out of memory for a line of output");
    rt_status s = sink(context, line->data, line->size, err);
    line->size = 0;
    return s;
}

static void add_ids(rt_buf *line, const int32_t *ids, int64_t n) {
    for (int64_t i = 0; i < n; i++) rt_buf_printf(line, "%s%d", i ? " " : "", ids[i]);
}

typedef struct job { /* one of the two directions, and its working memory */
    const rt_tokenizer *tokenizer;
    bool special;
    rt_encoder *encoder;
    rt_ids ids;
    rt_buf line;
} job;

static rt_status encode_one(job *j, const rt_document *d, rt_error *err) {
    j->ids.size = 0;
    RT_TRY(rt_encoder_encode(j->encoder, d->text, d->bytes, j->special, &j->ids, NULL, err));
    add_ids(&j->line, j->ids.data, j->ids.size);
    rt_buf_putc(&j->line, '\n');
    return RT_OK;
}

static rt_status parse_ids(const rt_document *d, rt_ids *ids, rt_error *err) {
    const char *p = d->text, *end = d->text + d->bytes;
    while (true) {
        while (p < end && isspace((unsigned char)*p)) p++;
        if (p == end) break;
        const char *word = p;
        int64_t id = 0;
        while (p < end && isdigit((unsigned char)*p) && id <= INT32_MAX) id = 10 * id + (*p++ - '0');
        if (p == word || id > INT32_MAX || (p < end && !isspace((unsigned char)*p))) {
            int shown = (int)strcspn(word, " \t\r\n");
            return rt_fail(err, RT_E_INPUT, "column %lld: not a token id (found \"%.*s\")", (long long)(word - d->text + 1),
                           shown < 24 ? shown : 24, word);
        }
        rt_ids_add(ids, (int32_t)id);
    }
    return ids->failed ? rt_fail(err, RT_E_NOMEM, "out of memory for a line of ids") : RT_OK;
}

static rt_status decode_one(job *j, const rt_document *d, rt_error *err) {
    j->ids.size = 0;
    RT_TRY(parse_ids(d, &j->ids, err));
    RT_TRY(rt_tokenizer_decode(j->tokenizer, j->ids.data, j->ids.size, j->special, &j->line, err));
    rt_buf_putc(&j->line, '\n');
    return RT_OK;
}

static rt_status each_document(job *j, rt_corpus *c, rt_status (*one)(job *, const rt_document *, rt_error *), rt_text_sink sink,
                               void *context, rt_error *err) {
    rt_document d;
    bool end = false;
    while (true) {
        RT_TRY(rt_corpus_next(c, &d, &end, err));
        if (end) return RT_OK;
        rt_status s = one(j, &d, err);
        if (s != RT_OK) return rt_error_prefix(err, "%s:%lld", d.path, (long long)d.line), s;
        RT_TRY(send(&j->line, sink, context, err));
    }
}

static void job_free(job *j) {
    rt_encoder_free(j->encoder);
    rt_ids_free(&j->ids);
    rt_buf_free(&j->line);
}

rt_status rt_encode_files(const char *const *paths, int count, const rt_corpus_options *o, const rt_tokenizer *t, bool add_special,
                          rt_text_sink sink, void *context, rt_error *err) {
    job j = {.tokenizer = t, .special = add_special};
    rt_corpus *c;
    RT_TRY(rt_corpus_open(&c, paths, count, o, err));
    rt_status s = rt_encoder_new(&j.encoder, t, err);
    if (s == RT_OK) s = each_document(&j, c, encode_one, sink, context, err);
    job_free(&j);
    rt_corpus_close(c);
    return s;
}

rt_status rt_decode_files(const char *const *paths, int count, const rt_tokenizer *t, bool skip_special, rt_text_sink sink,
                          void *context, rt_error *err) {
    job j = {.tokenizer = t, .special = skip_special};
    rt_corpus *c;
    rt_corpus_options lines = {.format = RT_CORPUS_TEXT, .separator = "line", .keep_empty = true};
    RT_TRY(rt_corpus_open(&c, paths, count, &lines, err));
    rt_status s = each_document(&j, c, decode_one, sink, context, err);
    job_free(&j);
    rt_corpus_close(c);
    return s;
}

/* ---------------------------------------------------------------- inspect */

static void add_id(rt_buf *out, const char *name, int32_t id) {
    if (id < 0) rt_buf_printf(out, "%s: none\n", name);
    else rt_buf_printf(out, "%s: %d\n", name, id);
}

static void describe(const rt_shard_info *n, rt_buf *out) {
    rt_buf_printf(out, "tokens: %lld\nbytes_per_token: %d\nhighest_id: %d\ndocuments: %lld\n", (long long)n->tokens, n->width,
                  n->highest, (long long)n->documents);
    if (n->bytes < 0) rt_buf_puts(out, "text_bytes: unknown\n");
    else rt_buf_printf(out, "text_bytes: %lld\ntext_bytes_per_token: %.4f\n", (long long)n->bytes, (double)n->bytes / (double)n->tokens);
    if (n->vocab) rt_buf_printf(out, "vocab_size: %lld\n", (long long)n->vocab);
    else rt_buf_puts(out, "vocab_size: unknown\n");
    add_id(out, "bos_id", n->bos);
    add_id(out, "eos_id", n->eos);
    rt_buf_printf(out, "tokenizer: %s\nspans: %s\ntokens_hash: %016llx\n", *n->tokenizer ? n->tokenizer : "unknown",
                  n->spans ? "recorded" : "absent", (unsigned long long)n->tokens_hash);
}

static rt_status show_front(const rt_shard *s, const rt_tokenizer *t, int64_t show, rt_buf *out, rt_error *err) {
    int64_t n = rt_shard_about(s)->tokens < show ? rt_shard_about(s)->tokens : show;
    if (n <= 0) return RT_OK;
    int32_t *ids = rt_alloc(rt_array_bytes((size_t)n, sizeof *ids));
    if (!ids) return rt_fail(err, RT_E_NOMEM, "out of memory for %lld ids", (long long)n);
    rt_shard_read(s, 0, n, ids, NULL);
    rt_buf_puts(out, "front: ");
    add_ids(out, ids, n);
    rt_buf_puts(out, t ? "\nfront_text: " : "\n");
    rt_status status = t ? rt_tokenizer_decode(t, ids, n, false, out, err) : RT_OK;
    if (t) rt_buf_puts(out, "\n");
    rt_free(ids);
    return status;
}

rt_status rt_shard_inspect(const char *path, const rt_tokenizer *t, int64_t show, rt_buf *out, rt_error *err) {
    rt_tokenizer_vocab v = {.vocab = RT_VOCAB_NONE};
    rt_shard *s = NULL;
    if (t) RT_TRY(rt_tokenizer_vocab_make(&v, t, err));
    rt_status status = rt_shard_open(&s, path, &v.vocab, err);
    if (status == RT_OK) {
        describe(rt_shard_about(s), out);
        status = show_front(s, t, show, out, err);
        if (status == RT_OK && out->failed) status = rt_fail(err, RT_E_NOMEM, "%s: out of memory", path);
    }
    rt_shard_close(s);
    rt_tokenizer_vocab_free(&v);
    return status;
}
