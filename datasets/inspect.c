/* inspect.c - `retort data inspect`: what a token shard holds: its counts, and its first tokens as a model will see
 * them, cut into documents. */
#include <retort/base/command.h>
#include <retort/text/encode.h>

typedef struct arguments {
    const char *shard, *tokenizer;
    int64_t limit;
} arguments;

static const rt_option options[] = {
    RT_OPT_STRING(arguments, shard, NULL, "token shard", .positional = true, .operand = "X.bin", .required = true),
    RT_OPT_STRING(arguments, tokenizer, NULL, "folder with tokenizer.json: shows text instead of ids", .letter = 't',
                  .operand = "DIR"),
    RT_OPT_INT(arguments, limit, "100", 0, 1e8, "tokens to show", .letter = 'n'), RT_OPT_END};

typedef struct view { /* the first n tokens */
    const rt_tokenizer *tokenizer;
    int32_t *ids;
    uint16_t *spans;
    int64_t n, total;
} view;

/* Line ends and control characters are made visible, so that a token's place on the page is its place in the document.
 */
static void add_visible(rt_buf *out, const char *text, size_t n) {
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c == '\n')
            rt_buf_puts(out, "\\n");
        else if (c == '\t')
            rt_buf_puts(out, "\\t");
        else if (c < ' ' || c == 127)
            rt_buf_printf(out, "\\x%02x", c);
        else
            rt_buf_putc(out, (char)c);
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

static rt_status add_documents(const view *v, rt_buf *out, rt_error *err) {
    int64_t number = 0;
    for (int64_t i = 0, end; i < v->n; i = end) {
        int64_t bytes = v->spans[i] & RT_SPAN_BYTES;
        for (end = i + 1; end < v->n && !(v->spans[end] & RT_SPAN_FIRST); end++) bytes += v->spans[end] & RT_SPAN_BYTES;
        bool cut = end == v->n && v->n < v->total;
        rt_buf_printf(out, "\ndocument %lld: %lld%s tokens, %lld bytes\n  ", (long long)number++, (long long)(end - i),
                      cut ? " of its" : "", (long long)bytes);
        RT_TRY(add_tokens(v, i, end, out, err));
        rt_buf_puts(out, cut ? " ...\n" : "\n");
    }
    return RT_OK;
}

static rt_status show_documents(const char *path, const rt_tokenizer *t, const rt_vocab *vocab, int64_t limit,
                                rt_buf *out, rt_error *err) {
    rt_shard *s;
    RT_TRY(rt_shard_open(&s, path, vocab, err));
    view v = {.tokenizer = t, .total = rt_shard_about(s)->tokens};
    v.n = v.total < limit ? v.total : limit;
    v.ids = rt_alloc((size_t)v.n * sizeof *v.ids);
    v.spans = rt_alloc((size_t)v.n * sizeof *v.spans);
    rt_status status =
        v.ids && v.spans ? RT_OK : rt_fail(err, RT_E_NOMEM, "out of memory for %lld tokens", (long long)v.n);
    if (status == RT_OK) {
        rt_shard_read(s, 0, v.n, v.ids, v.spans);
        status = add_documents(&v, out, err);
    }
    rt_free(v.ids);
    rt_free(v.spans);
    rt_shard_close(s);
    return status;
}

static rt_status inspect(const arguments *a, const rt_tokenizer *t, rt_buf *out, rt_error *err) {
    rt_tokenizer_vocab v = {.vocab = RT_VOCAB_NONE};
    RT_TRY(rt_shard_inspect(a->shard, t, 0, out, err));
    if (a->limit == 0) return RT_OK;
    if (t) RT_TRY(rt_tokenizer_vocab_make(&v, t, err));
    rt_status s = show_documents(a->shard, t, &v.vocab, a->limit, out, err);
    rt_tokenizer_vocab_free(&v);
    return s;
}

static rt_status run(rt_context *c, const void *given, rt_error *err) {
    const arguments *a = given;
    rt_buf out = {0};
    rt_tokenizer *t = NULL;
    if (a->tokenizer) RT_TRY(rt_tokenizer_load(&t, a->tokenizer, err));
    rt_status s = inspect(a, t, &out, err);
    rt_tokenizer_free(t);
    if (s == RT_OK) return rt_out_buf(c, &out, err);
    rt_buf_free(&out);
    return s;
}

const rt_command rt_command_data_inspect = {"data inspect",
                                            "what a token shard holds",
                                            "X.bin [--tokenizer DIR] [--limit N]",
                                            "Prints \"key: value\" lines and the first tokens, document by document: "
                                            "with a tokenizer as text, otherwise as ids.",
                                            options,
                                            sizeof(arguments),
                                            run};
