/* id_lines.c - lines of ids: text to ids and back, for pipes. */
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
    const rt_chat *chat;
    rt_chat_text rendered;
    rt_encoder *encoder;
    rt_ids ids;
    rt_buf line;
} job;

static rt_status encode_conversation(job *j, const rt_document *d, rt_error *err) {
    rt_chat_request q = {.messages = d->messages, .tools = d->tools};
    RT_TRY(rt_chat_render(j->chat, &q, &j->rendered, err));
    return rt_chat_encode(j->encoder, &j->rendered, &j->ids, NULL, NULL, err);
}

static rt_status encode_one(job *j, const rt_document *d, rt_error *err) {
    j->ids.size = 0;
    if (d->messages) RT_TRY(encode_conversation(j, d, err));
    else RT_TRY(rt_encoder_encode(j->encoder, d->text, d->bytes, j->special, &j->ids, NULL, err));
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
            return rt_fail(err, RT_E_INPUT, "column %lld: not a token id (found \"%.*s\")",
                           (long long)(word - d->text + 1), shown < 24 ? shown : 24, word);
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

static rt_status each_document(job *j, rt_corpus *c, rt_status (*one)(job *, const rt_document *, rt_error *),
                               rt_text_sink sink, void *context, rt_error *err) {
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
    rt_chat_text_free(&j->rendered);
    rt_ids_free(&j->ids);
    rt_buf_free(&j->line);
}

rt_status rt_encode_files(const char *const *paths, int count, const rt_corpus_options *o, const rt_tokenizer *t,
                          bool add_special, rt_text_sink sink, void *context, rt_error *err) {
    rt_corpus_options all = o ? *o : (rt_corpus_options){0};
    job j = {.tokenizer = t, .special = add_special, .chat = all.chat};
    rt_corpus *c;
    all.conversations = all.chat != NULL;
    RT_TRY(rt_corpus_open(&c, paths, count, &all, err));
    rt_status s = rt_encoder_new(&j.encoder, t, err);
    if (s == RT_OK) s = each_document(&j, c, encode_one, sink, context, err);
    job_free(&j);
    rt_corpus_close(c);
    return s;
}

rt_status rt_decode_files(const char *const *paths, int count, const rt_tokenizer *t, bool skip_special,
                          rt_text_sink sink, void *context, rt_error *err) {
    job j = {.tokenizer = t, .special = skip_special};
    rt_corpus *c;
    rt_corpus_options lines = {.format = RT_CORPUS_TEXT, .separator = "line", .keep_empty = true};
    RT_TRY(rt_corpus_open(&c, paths, count, &lines, err));
    rt_status s = each_document(&j, c, decode_one, sink, context, err);
    job_free(&j);
    rt_corpus_close(c);
    return s;
}

static rt_status each_line(rt_corpus *c, rt_ids *ids, rt_id_line_fn fn, void *context, rt_error *err) {
    rt_document d;
    bool end = false;
    while (true) {
        RT_TRY(rt_corpus_next(c, &d, &end, err));
        if (end) return RT_OK;
        ids->size = 0;
        rt_status s = parse_ids(&d, ids, err);
        if (s == RT_OK) s = fn(context, ids->data, ids->size, err);
        if (s != RT_OK) return rt_error_prefix(err, "%s:%lld", d.path, (long long)d.line), s;
    }
}

rt_status rt_id_lines(const char *path, rt_id_line_fn fn, void *context, rt_error *err) {
    rt_corpus *c;
    rt_corpus_options lines = {.format = RT_CORPUS_TEXT, .separator = "line"};
    rt_ids ids = {0};
    RT_TRY(rt_corpus_open(&c, &path, 1, &lines, err));
    rt_status s = each_line(c, &ids, fn, context, err);
    rt_ids_free(&ids);
    rt_corpus_close(c);
    return s;
}
