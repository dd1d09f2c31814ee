/* inspect.c - `retort data inspect`: what a token shard or a text holds, as a model will see it: cut into documents, and
 * with what is learnt of them set apart. */
#include <retort/base/command.h>
#include <retort/text/encode.h>

typedef struct arguments {
    const char *data, *tokenizer, *separator, *text_key, *csv_column, *chat_template;
    bool csv_header;
    int64_t limit;
} arguments;

static const rt_option options[] = {
    RT_OPT_STRING(arguments, data, NULL, "token shard; or a text, a .jsonl, .csv, .tsv, which need --tokenizer", .positional = true,
                  .operand = "X.bin|FILE", .required = true),
    RT_OPT_STRING(arguments, tokenizer, NULL, "folder with tokenizer.json: shows text instead of ids", .letter = 't',
                  .operand = "DIR"),
    RT_OPT_STRING(arguments, separator, "none",
                  "between the documents of a text: none, line, blank_line, or a text of your own", .operand = "TEXT"),
    RT_OPT_STRING(arguments, text_key, "text", "the member of a .jsonl record that holds the text", .operand = "KEY"),
    RT_OPT_STRING(arguments, csv_column, "text", "the column of a .csv or .tsv: its name, or its number from 1", .operand = "COLUMN"),
    RT_OPT_FLAG(arguments, csv_header, "yes", "a .csv or .tsv begins with the names of its columns"),
    RT_OPT_STRING(arguments, chat_template, NULL, "for conversations: a file, or one of the tokenizer's by name", .operand = "TEMPLATE"),
    RT_OPT_INT(arguments, limit, "100", 0, 1e8, "tokens to show", .letter = 'n'), RT_OPT_END};

typedef struct view { /* the first n tokens */
    const rt_tokenizer *tokenizer;
    const rt_token_stream *stream;
    bool colour, masked;
    int32_t *ids;
    uint16_t *spans;
    uint8_t *mask;
    int64_t n, total;
} view;

/* What sets learnt tokens apart: colour where there is one, else marks as of wdiff. */
static const char *begin_mark(const view *v) { return !v->masked ? "" : v->colour ? "\033[1;32m" : "{+"; }
static const char *end_mark(const view *v) { return !v->masked ? "" : v->colour ? "\033[0m" : "+}"; }

/* Control characters are made visible; a line end of the text also ends the line on the page. */
static void add_visible(rt_buf *out, const char *text, size_t n) {
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c == '\n') rt_buf_puts(out, "\\n\n  ");
        else if (c == '\t') rt_buf_puts(out, "\\t");
        else if (c < ' ' || c == 127) rt_buf_printf(out, "\\x%02x", c);
        else rt_buf_putc(out, (char)c);
    }
}

static rt_status add_tokens(const view *v, int64_t first, int64_t end, rt_buf *out, rt_error *err) {
    rt_buf text = {0};
    if (!v->tokenizer) {
        for (int64_t i = first; i < end; i++) rt_buf_printf(out, "%s%d", i > first ? " " : "", v->ids[i]);
        return RT_OK;
    }
    rt_status s = rt_tokenizer_decode(v->tokenizer, v->ids + first, end - first, false, &text, err);
    if (s == RT_OK) add_visible(out, text.data ? text.data : "", text.size);
    rt_buf_free(&text);
    return s;
}

/* A token's own place decides whether it is a target (batch.h); here only what the mask says counts. */
static rt_status add_stretches(const view *v, int64_t first, int64_t end, rt_buf *out, rt_error *err) {
    for (int64_t i = first, stop; i < end; i = stop) {
        bool learnt = v->mask[i];
        for (stop = i + 1; stop < end && v->mask[stop] == v->mask[i]; stop++) {
        }
        if (!v->tokenizer && i > first) rt_buf_putc(out, ' ');
        if (learnt) rt_buf_puts(out, begin_mark(v));
        RT_TRY(add_tokens(v, i, stop, out, err));
        if (learnt) rt_buf_puts(out, end_mark(v));
    }
    return RT_OK;
}

static rt_status add_documents(const view *v, rt_buf *out, rt_error *err) {
    int64_t number = 0;
    for (int64_t i = 0, end; i < v->n; i = end) {
        int64_t bytes = v->spans[i] & RT_SPAN_BYTES, learnt = v->mask[i];
        for (end = i + 1; end < v->n && !(v->spans[end] & RT_SPAN_FIRST); end++)
            bytes += v->spans[end] & RT_SPAN_BYTES, learnt += v->mask[end];
        bool cut = end == v->n && v->n < v->total;
        if (out->size) rt_buf_putc(out, '\n');
        rt_buf_printf(out, "document %lld: %lld%s tokens, %lld bytes", (long long)number++, (long long)(end - i),
                      cut ? " of its" : "", (long long)bytes);
        if (v->masked) rt_buf_printf(out, ", %lld learnt", (long long)learnt);
        rt_buf_puts(out, "\n  ");
        RT_TRY(add_stretches(v, i, end, out, err));
        rt_buf_puts(out, cut ? " ...\n" : "\n");
    }
    return RT_OK;
}

static rt_status read_front(view *v, int64_t limit, rt_error *err) {
    rt_token_stream_info n = rt_token_stream_about(v->stream);
    v->total = n.tokens, v->masked = n.masked;
    v->n = v->total < limit ? v->total : limit;
    v->ids = rt_alloc((size_t)v->n * sizeof *v->ids);
    v->spans = rt_alloc((size_t)v->n * sizeof *v->spans);
    v->mask = rt_alloc((size_t)v->n);
    if (!v->ids || !v->spans || !v->mask) return rt_fail(err, RT_E_NOMEM, "out of memory for %lld tokens", (long long)v->n);
    rt_token_stream_read(v->stream, 0, v->n, v->ids, v->spans);
    rt_token_stream_read_mask(v->stream, 0, v->n, v->mask);
    return RT_OK;
}

static rt_status show(rt_context *c, const rt_token_stream *s, const rt_tokenizer *t, int64_t limit, rt_buf *out, rt_error *err) {
    view v = {.tokenizer = t, .stream = s, .colour = c->colour};
    rt_status status = read_front(&v, limit, err);
    if (status == RT_OK && v.masked && v.n) rt_buf_printf(out, "\nlearnt is what stands %sso%s\n", begin_mark(&v), end_mark(&v));
    if (status == RT_OK) status = add_documents(&v, out, err);
    rt_free(v.ids), rt_free(v.spans), rt_free(v.mask);
    return status;
}

/* The stream to look at; of a text only as much as is asked for. */
static rt_status open_stream(const arguments *a, const rt_tokenizer *t, const rt_tokenizer_vocab *v, rt_chat *chat, rt_token_stream **s,
                             rt_buf *out, rt_error *err) {
    rt_corpus_options o = {.separator = a->separator, .key = a->text_key, .column = a->csv_column, .no_header = !a->csv_header, .chat = chat};
    if (!rt_is_shard(a->data) && !t)
        return rt_fail(err, RT_E_USAGE, "%s: is no token shard (X.bin); a text needs --tokenizer DIR", a->data);
    if (!rt_is_shard(a->data)) return rt_token_stream_sample(s, a->data, a->limit > 0 ? a->limit : 1, &o, t, v, err);
    RT_TRY(rt_shard_inspect(a->data, NULL, 0, out, err));
    return rt_token_stream_load(s, &a->data, 1, NULL, t, t ? v : NULL, err);
}

static rt_status inspect(rt_context *c, const arguments *a, const rt_tokenizer *t, rt_buf *out, rt_error *err) {
    rt_tokenizer_vocab v = {.vocab = RT_VOCAB_NONE};
    rt_token_stream *s = NULL;
    rt_chat *chat = NULL;
    rt_status status = t ? rt_tokenizer_vocab_make(&v, t, err) : RT_OK;
    if (status == RT_OK && t) status = rt_chat_open(&chat, t, a->chat_template, err);
    if (status == RT_OK) status = open_stream(a, t, &v, chat, &s, out, err);
    if (status == RT_OK) status = show(c, s, t, a->limit, out, err);
    rt_token_stream_free(s);
    rt_chat_free(chat);
    rt_tokenizer_vocab_free(&v);
    return status;
}

static rt_status run(rt_context *c, const void *given, rt_error *err) {
    const arguments *a = given;
    rt_tokenizer *t = NULL;
    rt_buf out = {0};
    if (a->tokenizer) RT_TRY(rt_tokenizer_load(&t, a->tokenizer, err));
    rt_status s = inspect(c, a, t, &out, err);
    rt_tokenizer_free(t);
    if (s == RT_OK && out.failed) s = rt_fail(err, RT_E_NOMEM, "out of memory for the description");
    if (s == RT_OK) return rt_out_buf(c, &out, err);
    rt_buf_free(&out);
    return s;
}

const rt_command rt_command_data_inspect = {
    "data inspect",
    "what a token shard, or a text to be, holds",
    "X.bin|FILE [--tokenizer DIR] [--limit N]",
    "Prints a shard's counts, then the first tokens, document by document, as ids or (--tokenizer) as text. Of conversations\n"
    "what is learnt is coloured, or stands in {+ +}. A text file is shown as training would see it.",
    options,
    sizeof(arguments),
    run};
