/* shard_inspect.c - what a token shard holds, in words. */
#include <retort/text/encode.h>

static void add_id(rt_buf *out, const char *name, int32_t id) {
    if (id < 0)
        rt_buf_printf(out, "%s: none\n", name);
    else
        rt_buf_printf(out, "%s: %d\n", name, id);
}

static void describe(const rt_shard_info *n, rt_buf *out) {
    rt_buf_printf(out, "tokens: %lld\nbytes_per_token: %d\nhighest_id: %d\ndocuments: %lld\n", (long long)n->tokens,
                  n->width, n->highest, (long long)n->documents);
    if (n->bytes < 0)
        rt_buf_puts(out, "text_bytes: unknown\n");
    else
        rt_buf_printf(out, "text_bytes: %lld\ntext_bytes_per_token: %.4f\n", (long long)n->bytes,
                      (double)n->bytes / (double)n->tokens);
    if (n->vocab)
        rt_buf_printf(out, "vocab_size: %lld\n", (long long)n->vocab);
    else
        rt_buf_puts(out, "vocab_size: unknown\n");
    add_id(out, "bos_id", n->bos);
    add_id(out, "eos_id", n->eos);
    if (n->masked)
        rt_buf_printf(out, "targets: %lld (%.1f %%)\n", (long long)n->unmasked, 100.0 * (double)n->unmasked / (double)n->tokens);
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
    for (int64_t i = 0; i < n; i++) rt_buf_printf(out, "%s%d", i ? " " : "", ids[i]);
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
