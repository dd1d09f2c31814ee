/* encode.c - documents through a tokenizer into a stream or a shard. */
#include <retort/text/encode.h>
#include <string.h>
#include <strings.h>

rt_status rt_tokenizer_vocab_make(rt_tokenizer_vocab *v, const rt_tokenizer *t, rt_error *err) {
    int32_t n = rt_tokenizer_size(t);
    *v = (rt_tokenizer_vocab){.token_bytes = rt_alloc(rt_array_bytes((size_t)n, sizeof *v->token_bytes))};
    if (!v->token_bytes) return rt_fail(err, RT_E_NOMEM, "out of memory for a vocabulary of %d", n);
    for (int32_t i = 0; i < n; i++) {
        int64_t bytes = rt_tokenizer_token_bytes(t, i);
        v->token_bytes[i] = (uint16_t)(bytes < RT_SPAN_BYTES ? bytes : RT_SPAN_BYTES);
    }
    v->vocab = (rt_vocab){n, rt_tokenizer_bos(t), rt_tokenizer_eos(t), rt_tokenizer_hash(t), v->token_bytes};
    return RT_OK;
}

void rt_tokenizer_vocab_free(rt_tokenizer_vocab *v) {
    rt_free(v->token_bytes);
    *v = (rt_tokenizer_vocab){0};
}

/* -------------------------------------------------- documents to tokens */

typedef rt_status (*document_sink)(void *context, const rt_tokens *d, rt_error *err);

typedef struct work {
    const rt_tokenizer *tokenizer;
    rt_corpus *corpus;
    rt_encoder *encoder;
    const rt_chat *chat;
    rt_chat_text rendered;
    rt_buf mask;
    rt_ids ids;
    rt_spans spans;
    uint32_t *bytes; /* [room] */
    int64_t room;
} work;

static void work_free(work *w) {
    rt_corpus_close(w->corpus);
    rt_encoder_free(w->encoder);
    rt_ids_free(&w->ids);
    rt_spans_free(&w->spans);
    rt_chat_text_free(&w->rendered);
    rt_buf_free(&w->mask);
    rt_free(w->bytes);
}

static rt_status count_bytes(work *w, rt_error *err) {
    if (w->ids.size > w->room) {
        rt_free(w->bytes);
        w->room = w->ids.size + w->ids.size / 2;
        w->bytes = rt_alloc(rt_array_bytes((size_t)w->room, sizeof *w->bytes));
        if (!w->bytes)
            return w->room = 0, rt_fail(err, RT_E_NOMEM, "out of memory for %lld tokens", (long long)w->ids.size);
    }
    for (int64_t i = 0; i < w->ids.size; i++) {
        int64_t n = w->spans.data[i].end - w->spans.data[i].begin;
        w->bytes[i] =
            rt_tokenizer_is_special(w->tokenizer, w->ids.data[i]) ? 0 : (uint32_t)(n < UINT32_MAX ? n : UINT32_MAX);
    }
    return RT_OK;
}

static rt_status encode_conversation(work *w, const rt_document *d, rt_error *err) {
    rt_chat_request q = {.messages = d->messages, .tools = d->tools, .supervise = true};
    w->mask.size = 0;
    RT_TRY(rt_chat_render(w->chat, &q, &w->rendered, err));
    return rt_chat_encode(w->encoder, &w->rendered, &w->ids, &w->spans, &w->mask, err);
}

static rt_status encode_document(work *w, const rt_document *d, document_sink sink, void *context, rt_error *err) {
    w->ids.size = w->spans.size = 0;
    if (d->messages) RT_TRY(encode_conversation(w, d, err));
    else RT_TRY(rt_encoder_encode(w->encoder, d->text, d->bytes, false, &w->ids, &w->spans, err));
    RT_TRY(count_bytes(w, err));
    rt_tokens tokens = {.ids = w->ids.data, .bytes = w->bytes, .n = w->ids.size, .as_is = d->messages,
                        .mask = d->messages ? (const uint8_t *)w->mask.data : NULL};
    return sink(context, &tokens, err);
}

static rt_status encode_all(work *w, document_sink sink, void *context, rt_error *err) {
    rt_document d;
    bool end = false;
    while (true) {
        RT_TRY(rt_corpus_next(w->corpus, &d, &end, err));
        if (end) return RT_OK;
        rt_status s = encode_document(w, &d, sink, context, err);
        if (s != RT_OK) return rt_error_prefix(err, "%s:%lld", d.path, (long long)d.line), s;
    }
}

static rt_status encode_files(const char *const *paths, int count, const rt_corpus_options *o, const rt_tokenizer *t,
                              document_sink sink, void *context, rt_error *err) {
    rt_corpus_options all = o ? *o : (rt_corpus_options){0};
    work w = {.tokenizer = t, .chat = all.chat};
    all.conversations = all.chat != NULL;
    rt_status s = rt_corpus_open(&w.corpus, paths, count, &all, err);
    if (s == RT_OK) s = rt_encoder_new(&w.encoder, t, err);
    if (s == RT_OK) s = encode_all(&w, sink, context, err);
    work_free(&w);
    return s;
}

/* ---------------------------------------------------------------- streams */

static rt_status to_stream(void *context, const rt_tokens *d, rt_error *err) {
    return rt_token_stream_add_tokens(context, d, err);
}

bool rt_is_shard(const char *path) {
    size_t n = strlen(path);
    return n > 4 && strcasecmp(path + n - 4, ".bin") == 0;
}

static rt_status load_file(rt_token_stream *s, const char *path, const rt_corpus_options *o, const rt_tokenizer *t,
                           rt_error *err) {
    if (rt_is_shard(path)) return rt_token_stream_add_shard(s, path, err);
    if (!t)
        return rt_fail(err, RT_E_ARG, "%s: text needs a tokenizer (data.tokenizer names its folder); without one only token shards (.bin) can be read",
                       path);
    return encode_files(&path, 1, o, t, to_stream, s, err);
}

rt_status rt_token_stream_load(rt_token_stream **out, const char *const *paths, int count, const rt_corpus_options *o,
                               const rt_tokenizer *t, const rt_tokenizer_vocab *v, rt_error *err) {
    *out = NULL;
    if (count < 1) return rt_fail(err, RT_E_ARG, "no data files given");
    rt_token_stream *s;
    RT_TRY(rt_token_stream_new(&s, v ? &v->vocab : &RT_VOCAB_NONE, err));
    for (int i = 0; i < count; i++) {
        rt_status status = rt_token_stream_begin_source(s, err);
        if (status == RT_OK) status = load_file(s, paths[i], o, t, err);
        if (status != RT_OK) return rt_token_stream_free(s), status;
    }
    *out = s;
    return RT_OK;
}

typedef struct sample {
    rt_token_stream *stream;
    int64_t tokens;
    bool full;
} sample;
static rt_status to_sample(void *context, const rt_tokens *d, rt_error *err) {
    sample *s = context;
    RT_TRY(rt_token_stream_add_tokens(s->stream, d, err));
    s->full = rt_token_stream_about(s->stream).tokens >= s->tokens;
    return s->full ? rt_fail(err, RT_E_INTERRUPTED, "enough") : RT_OK;
}

rt_status rt_token_stream_sample(rt_token_stream **out, const char *path, int64_t tokens, const rt_corpus_options *o,
                                 const rt_tokenizer *t, const rt_tokenizer_vocab *v, rt_error *err) {
    sample s = {.tokens = tokens};
    *out = NULL;
    RT_TRY(rt_token_stream_new(&s.stream, &v->vocab, err));
    rt_status status = encode_files(&path, 1, o, t, to_sample, &s, err);
    if (status == RT_E_INTERRUPTED && s.full) rt_error_clear(err), status = RT_OK;
    if (status != RT_OK) return rt_token_stream_free(s.stream), status;
    *out = s.stream;
    return RT_OK;
}

/* ----------------------------------------------------------------- shards */

static rt_status to_shard(void *context, const rt_tokens *d, rt_error *err) {
    return rt_shard_writer_add_tokens(context, d, err);
}

rt_status rt_shard_make(const char *out, const char *const *paths, int count, const rt_corpus_options *o,
                        const rt_tokenizer *t, rt_shard_info *info, rt_error *err) {
    rt_vocab v = {rt_tokenizer_size(t), rt_tokenizer_bos(t), rt_tokenizer_eos(t), rt_tokenizer_hash(t), NULL};
    rt_shard_writer *w;
    RT_TRY(rt_shard_writer_open(&w, out, &v, err));
    rt_status s = encode_files(paths, count, o, t, to_shard, w, err);
    if (s == RT_OK) s = rt_shard_writer_commit(w, info, err);
    rt_shard_writer_free(w);
    return s;
}
