/* shard_write.c - writing X.bin, X.bin.spans and X.bin.json (shard.h). The header's count is known only at the end, so
 * the header is written as zeros first and patched before the file is synced and renamed: a reader never sees the
 * zeros. */
#include <retort/base/file.h>
#include <errno.h>
#include <string.h>
#include <unistd.h>
#include "text/layout.h"
#include "text/shard_format.h"

enum { BLOCK = 1 << 14 }; /* tokens per write */

struct rt_shard_writer {
    char *path, *spans_path, *json_path, *mask_path;
    rt_vocab vocab;
    rt_shard_info info;
    rt_file_writer tokens, spans;
    bool after_boundary;
    uint64_t spans_hash;
    rt_buf mask; /* a bit a token, once one of them is masked */
    int used;
    uint32_t ids[BLOCK]; /* the block being filled */
    uint16_t words[BLOCK];
};

static rt_status open_files(rt_shard_writer *w, const char *path, rt_error *err) {
    static const char zeros[RT_SHARD_HEADER];
    w->path = rt_strdup(path), w->spans_path = rt_path_with(path, ".spans"), w->json_path = rt_path_with(path, ".json");
    w->mask_path = rt_path_with(path, ".mask");
    if (!w->path || !w->spans_path || !w->json_path || !w->mask_path) return rt_fail(err, RT_E_NOMEM, "%s: out of memory", path);
    RT_TRY(rt_file_writer_open(w->path, &w->tokens, err));
    RT_TRY(rt_file_writer_open(w->spans_path, &w->spans, err));
    RT_TRY(rt_file_writer_add(&w->tokens, zeros, RT_SHARD_HEADER, err));
    return rt_file_writer_add(&w->spans, zeros, sizeof(rt_spans_header), err);
}

rt_status rt_shard_writer_open(rt_shard_writer **out, const char *path, const rt_vocab *vocab, rt_error *err) {
    rt_shard_writer *w = rt_zalloc(sizeof *w);
    *out = NULL;
    if (!w) return rt_fail(err, RT_E_NOMEM, "%s: out of memory", path);
    w->vocab = *vocab;
    w->info = (rt_shard_info){.vocab = vocab->size, .bos = vocab->bos, .eos = vocab->eos, .tokens_hash = RT_FNV_START};
    w->info.width = vocab->size > 0 && vocab->size <= 65536 ? 2 : 4;
    w->info.described = w->info.spans = true;
    w->spans_hash = RT_FNV_START;
    if (vocab->hash) strncpy(w->info.tokenizer, vocab->hash, sizeof w->info.tokenizer - 1);
    rt_status s = open_files(w, path, err);
    if (s != RT_OK) return rt_shard_writer_free(w), s;
    *out = w;
    return RT_OK;
}

void rt_shard_writer_free(rt_shard_writer *w) {
    if (!w) return;
    rt_file_writer_discard(&w->tokens);
    rt_file_writer_discard(&w->spans);
    rt_free(w->path), rt_free(w->spans_path), rt_free(w->json_path), rt_free(w->mask_path);
    rt_buf_free(&w->mask);
    rt_free(w);
}

static rt_status write_block(rt_shard_writer *w, rt_error *err) {
    size_t n = (size_t)w->used;
    w->used = 0;
    if (w->info.width == 2) {
        uint16_t narrow[BLOCK];
        for (size_t i = 0; i < n; i++) narrow[i] = (uint16_t)w->ids[i];
        RT_TRY(rt_file_writer_add(&w->tokens, narrow, 2 * n, err));
    } else
        RT_TRY(rt_file_writer_add(&w->tokens, w->ids, 4 * n, err));
    return rt_file_writer_add(&w->spans, w->words, 2 * n, err);
}

/* The first masked token makes the mask: all before it may be targets. */
static rt_status put_mask(rt_shard_writer *w, bool masked, rt_error *err) {
    int64_t i = w->info.tokens;
    w->info.unmasked += !masked;
    if (!masked && !w->info.masked) return RT_OK;
    for (w->info.masked = true; !w->mask.failed && (int64_t)w->mask.size * 8 <= i;) rt_buf_putc(&w->mask, (char)0xff);
    if (w->mask.failed) return rt_fail(err, RT_E_NOMEM, "%s: out of memory for the mask", w->path);
    if (masked) w->mask.data[i / 8] = (char)(w->mask.data[i / 8] & ~(1 << i % 8));
    return RT_OK;
}

static rt_status put(void *context, int32_t id, uint16_t span, bool masked, rt_error *err) {
    rt_shard_writer *w = context;
    if (w->info.tokens == INT32_MAX)
        return rt_fail(err, RT_E_UNSUPPORTED, "%s: a shard holds at most 2^31-1 tokens; split the input", w->path);
    RT_TRY(put_mask(w, masked, err));
    w->ids[w->used] = (uint32_t)id, w->words[w->used++] = span;
    w->info.tokens++;
    w->after_boundary = rt_vocab_shared(&w->vocab) && id == w->vocab.eos && (span & RT_SPAN_FIRST);
    w->info.bytes += span & RT_SPAN_BYTES;
    if (id > w->info.highest) w->info.highest = id;
    w->info.tokens_hash = rt_fnv_add(w->info.tokens_hash, (uint32_t)id);
    w->spans_hash = rt_fnv_add(w->spans_hash, span);
    return w->used == BLOCK ? write_block(w, err) : RT_OK;
}

rt_status rt_shard_writer_add(rt_shard_writer *w, const int32_t *ids, const uint32_t *bytes, int64_t n, rt_error *err) {
    return rt_shard_writer_add_tokens(w, &(rt_tokens){.ids = ids, .bytes = bytes, .n = n}, err);
}

rt_status rt_shard_writer_add_tokens(rt_shard_writer *w, const rt_tokens *d, rt_error *err) {
    rt_status s = rt_layout_document(&w->vocab, d, w->after_boundary, put, w, err);
    if (s != RT_OK) return rt_error_prefix(err, "%s", w->path), s;
    w->info.documents++;
    return RT_OK;
}

static rt_status patch(rt_file_writer *f, const void *header, size_t n, rt_error *err) {
    if (!rt_file_told_to_fail() && pwrite(f->descriptor, header, n, 0) == (ssize_t)n) return RT_OK;
    return rt_fail(err, RT_E_IO, "%s: cannot write its header: %s", f->path, strerror(errno));
}

static rt_status patch_headers(rt_shard_writer *w, rt_error *err) {
    bool narrow = w->info.width == 2;
    int32_t header[RT_SHARD_HEADER / 4] = {narrow ? RT_SHARD_MAGIC_16 : RT_SHARD_MAGIC_32,
                                           narrow ? RT_SHARD_VERSION_16 : RT_SHARD_VERSION_32, (int32_t)w->info.tokens};
    rt_spans_header spans = {
        .count = (uint64_t)w->info.tokens, .tokens_hash = w->info.tokens_hash, .spans_hash = w->spans_hash};
    memcpy(spans.magic, RT_SPANS_MAGIC, sizeof spans.magic);
    RT_TRY(patch(&w->tokens, header, sizeof header, err));
    return patch(&w->spans, &spans, sizeof spans, err);
}

static rt_status write_mask(rt_shard_writer *w, rt_error *err) {
    rt_file_writer f;
    rt_spans_header h = {.count = (uint64_t)w->info.tokens, .tokens_hash = w->info.tokens_hash, .spans_hash = w->info.mask_hash};
    memcpy(h.magic, RT_MASK_MAGIC, sizeof h.magic);
    RT_TRY(rt_file_writer_open(w->mask_path, &f, err));
    rt_status s = rt_file_writer_add(&f, &h, sizeof h, err);
    if (s == RT_OK) s = rt_file_writer_add(&f, w->mask.data, w->mask.size, err);
    if (s == RT_OK) s = rt_file_writer_commit(&f, err);
    rt_file_writer_discard(&f);
    return s;
}

static void close_mask(rt_shard_writer *w) {
    if (!w->info.masked) return;
    int left = (int)(w->info.tokens % 8);
    if (left) w->mask.data[w->mask.size - 1] = (char)(w->mask.data[w->mask.size - 1] & ((1 << left) - 1));
    w->info.mask_hash = rt_mask_hash((const uint8_t *)w->mask.data, w->mask.size);
}

/* X.bin last: where it did not exist before, it exists only with its sidecars. A mask of what lay there before belongs
 * to other tokens and is refused by its hash should the process die before it is removed. */
static rt_status publish(rt_shard_writer *w, rt_error *err) {
    close_mask(w);
    if (w->info.masked) RT_TRY(write_mask(w, err));
    RT_TRY(rt_file_writer_commit(&w->spans, err));
    RT_TRY(rt_shard_json_save(w->json_path, &w->info, err));
    RT_TRY(rt_file_writer_commit(&w->tokens, err));
    if (!w->info.masked) unlink(w->mask_path);
    return RT_OK;
}

rt_status rt_shard_writer_commit(rt_shard_writer *w, rt_shard_info *info, rt_error *err) {
    if (!w->info.tokens) return rt_fail(err, RT_E_INPUT, "%s: no documents to write", w->path);
    RT_TRY(write_block(w, err));
    RT_TRY(patch_headers(w, err));
    rt_status s = publish(w, err);
    if (s != RT_OK && !rt_file_exists(w->path)) unlink(w->spans_path), unlink(w->json_path), unlink(w->mask_path);
    if (s == RT_OK && info) *info = w->info;
    return s;
}
