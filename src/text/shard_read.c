/* shard_read.c - opening a token shard. Opening checks everything once (sizes, magic, every id, both hashes), so that
 * reading needs no checks and cannot fail. The scan costs about a nanosecond per token and warms the page cache. */
#include <retort/base/file.h>
#include <string.h>
#include "text/layout.h"
#include "text/shard_format.h"

struct rt_shard {
    char *path;
    rt_vocab vocab; /* bos, eos and token_bytes as used for derived spans; hash is not kept */
    rt_shard_info info;
    rt_map file, spans_file, mask_file;
    const void *tokens;    /* uint16 or uint32 [info.tokens] */
    const uint16_t *spans; /* [info.tokens] or NULL */
    const uint8_t *mask;   /* a bit a token, or NULL */
};

static rt_status bad_size(const rt_shard *s, int64_t count, rt_error *err) {
    return rt_fail(err, RT_E_INPUT, "%s: %zu bytes, but its header says %lld tokens of %d bytes (expected %lld bytes)",
                   s->path, s->file.size, (long long)count, s->info.width,
                   (long long)(RT_SHARD_HEADER + count * s->info.width));
}

static rt_status open_tokens(rt_shard *s, rt_error *err) {
    RT_TRY(rt_file_map(s->path, &s->file, err));
    if (s->file.size < RT_SHARD_HEADER)
        return rt_fail(err, RT_E_INPUT, "%s: %zu bytes, a token shard begins with %d bytes of header", s->path,
                       s->file.size, RT_SHARD_HEADER);
    int32_t header[3];
    memcpy(header, s->file.data, sizeof header);
    bool narrow = header[0] == RT_SHARD_MAGIC_16;
    if (!narrow && header[0] != RT_SHARD_MAGIC_32)
        return rt_fail(err, RT_E_INPUT, "%s: not a token shard (magic %d, expected %d or %d)", s->path, header[0],
                       RT_SHARD_MAGIC_16, RT_SHARD_MAGIC_32);
    int32_t version = narrow ? RT_SHARD_VERSION_16 : RT_SHARD_VERSION_32;
    if (header[1] != version)
        return rt_fail(err, RT_E_INPUT, "%s: shard version %d, expected %d for magic %d", s->path, header[1], version,
                       header[0]);
    s->info.width = narrow ? 2 : 4;
    if (header[2] < 0 || s->file.size != RT_SHARD_HEADER + (size_t)header[2] * (size_t)s->info.width)
        return bad_size(s, header[2], err);
    if (header[2] == 0) return rt_fail(err, RT_E_INPUT, "%s: the shard holds no tokens", s->path);
    s->tokens = s->file.data + RT_SHARD_HEADER;
    s->info.tokens = header[2];
    return RT_OK;
}

/* ------------------------------------------------------------ description */

static rt_status agree(const rt_shard *s, const rt_vocab *v, const rt_shard_info *d, rt_error *err) {
    if (v->hash && *d->tokenizer && strcmp(v->hash, d->tokenizer) != 0)
        return rt_fail(err, RT_E_INPUT, "%s: made with another tokenizer (hash %.12s, this one's is %.12s)", s->path,
                       d->tokenizer, v->hash);
    if (v->size && (v->bos != d->bos || v->eos != d->eos))
        return rt_fail(err, RT_E_INPUT, "%s: made with bos %d, eos %d; the tokenizer has bos %d, eos %d", s->path,
                       d->bos, d->eos, v->bos, v->eos);
    return RT_OK;
}

static rt_status open_description(rt_shard *s, const rt_vocab *v, uint64_t *hash, rt_error *err) {
    rt_shard_info d = {.bos = v->bos, .eos = v->eos, .bytes = -1};
    char *path = rt_path_with(s->path, ".json");
    if (!path) return rt_fail(err, RT_E_NOMEM, "%s: out of memory", s->path);
    rt_status status = rt_shard_json_load(path, &d, err);
    rt_free(path);
    RT_TRY(status);
    s->info.bos = s->vocab.bos = d.bos, s->info.eos = s->vocab.eos = d.eos;
    s->info.vocab = v->size ? v->size : d.vocab;
    s->info.described = d.described;
    if (!d.described) return RT_OK;
    if (d.tokens != s->info.tokens)
        return rt_fail(err, RT_E_INPUT, "%s.json: describes %lld tokens, the shard has %lld", s->path,
                       (long long)d.tokens, (long long)s->info.tokens);
    memcpy(s->info.tokenizer, d.tokenizer, sizeof d.tokenizer);
    s->info.masked = d.masked, s->info.mask_hash = d.mask_hash;
    *hash = d.tokens_hash;
    return agree(s, v, &d, err);
}

/* ------------------------------------------------------------------ spans */

static rt_status check_spans(const rt_shard *s, const rt_spans_header *h, rt_error *err) {
    if (memcmp(h->magic, RT_SPANS_MAGIC, sizeof h->magic) != 0)
        return rt_fail(err, RT_E_INPUT, "%s.spans: not a spans file (expected %s)", s->path, RT_SPANS_MAGIC);
    if (h->count != (uint64_t)s->info.tokens || s->spans_file.size != sizeof *h + 2 * (size_t)s->info.tokens)
        return rt_fail(err, RT_E_INPUT, "%s.spans: %zu bytes for %llu tokens, the shard has %lld", s->path,
                       s->spans_file.size, (unsigned long long)h->count, (long long)s->info.tokens);
    uint64_t hash = RT_FNV_START;
    for (int64_t i = 0; i < s->info.tokens; i++) hash = rt_fnv_add(hash, s->spans[i]);
    if (hash != h->spans_hash) return rt_fail(err, RT_E_INPUT, "%s.spans: damaged (its check sum differs)", s->path);
    if (s->info.tokens_hash != h->tokens_hash)
        return rt_fail(err, RT_E_INPUT, "%s.spans: belongs to other tokens, or the shard is damaged", s->path);
    return RT_OK;
}

static rt_status open_spans(rt_shard *s, rt_error *err) {
    char *path = rt_path_with(s->path, ".spans");
    if (!path) return rt_fail(err, RT_E_NOMEM, "%s: out of memory", s->path);
    s->info.spans = rt_file_exists(path);
    rt_status status = s->info.spans ? rt_file_map(path, &s->spans_file, err) : RT_OK;
    rt_free(path);
    RT_TRY(status);
    if (!s->info.spans) return RT_OK;
    rt_spans_header h;
    if (s->spans_file.size < sizeof h) return rt_fail(err, RT_E_INPUT, "%s.spans: truncated header", s->path);
    memcpy(&h, s->spans_file.data, sizeof h);
    s->spans = (const uint16_t *)(const void *)(s->spans_file.data + sizeof h);
    return check_spans(s, &h, err);
}

/* ------------------------------------------------------------------- mask */

uint64_t rt_mask_hash(const uint8_t *bits, size_t bytes) {
    uint64_t h = RT_FNV_START;
    for (size_t i = 0; i < bytes; i++) h = rt_fnv_add(h, bits[i]);
    return h;
}

static rt_status check_mask(rt_shard *s, rt_error *err) {
    rt_spans_header h;
    size_t bytes = ((size_t)s->info.tokens + 7) / 8;
    if (s->mask_file.size != sizeof h + bytes)
        return rt_fail(err, RT_E_INPUT, "%s.mask: %zu bytes, %zu are expected for %lld tokens", s->path, s->mask_file.size,
                       sizeof h + bytes, (long long)s->info.tokens);
    memcpy(&h, s->mask_file.data, sizeof h);
    s->mask = s->mask_file.data + sizeof h;
    if (memcmp(h.magic, RT_MASK_MAGIC, sizeof h.magic) != 0)
        return rt_fail(err, RT_E_INPUT, "%s.mask: not a mask file (expected %s)", s->path, RT_MASK_MAGIC);
    if (h.count != (uint64_t)s->info.tokens || h.tokens_hash != s->info.tokens_hash)
        return rt_fail(err, RT_E_INPUT, "%s.mask: belongs to other tokens, or the shard is damaged", s->path);
    if (rt_mask_hash(s->mask, bytes) != h.spans_hash || (s->info.described && h.spans_hash != s->info.mask_hash))
        return rt_fail(err, RT_E_INPUT, "%s.mask: damaged (its check sum differs)", s->path);
    s->info.mask_hash = h.spans_hash;
    s->info.unmasked = 0;
    for (size_t i = 0; i < bytes; i++) s->info.unmasked += __builtin_popcount(s->mask[i]);
    return RT_OK;
}

/* A shard that is described with a mask is refused without it: everything would be learnt, and nobody would know. */
static rt_status open_mask(rt_shard *s, rt_error *err) {
    char *path = rt_path_with(s->path, ".mask");
    if (!path) return rt_fail(err, RT_E_NOMEM, "%s: out of memory", s->path);
    bool there = rt_file_exists(path), wanted = s->info.masked;
    rt_status status = there ? rt_file_map(path, &s->mask_file, err) : RT_OK;
    rt_free(path);
    RT_TRY(status);
    s->info.masked = there, s->info.unmasked = s->info.tokens;
    if (there && s->info.described && !wanted)
        return rt_fail(err, RT_E_INPUT, "%s.mask: does not belong to the shard (%s.json describes none)", s->path, s->path);
    if (!there && wanted) return rt_fail(err, RT_E_INPUT, "%s.mask: is missing, %s.json describes it", s->path, s->path);
    return there ? check_mask(s, err) : RT_OK;
}

/* ------------------------------------------------------------------- scan */

static inline uint32_t token(const rt_shard *s, int64_t i) {
    return s->info.width == 2 ? ((const uint16_t *)s->tokens)[i] : ((const uint32_t *)s->tokens)[i];
}

static rt_status scan_ids(rt_shard *s, rt_error *err) {
    uint32_t limit = s->info.vocab ? (uint32_t)s->info.vocab : 1u << 31;
    uint64_t hash = RT_FNV_START;
    for (int64_t i = 0; i < s->info.tokens; i++) {
        uint32_t id = token(s, i);
        if (id >= limit)
            return rt_fail(err, RT_E_INPUT,
                           "%s: token %lld is %u, the vocabulary has %u (is this the right tokenizer?)", s->path,
                           (long long)i, id, limit);
        if ((int32_t)id > s->info.highest) s->info.highest = (int32_t)id;
        hash = rt_fnv_add(hash, id);
    }
    s->info.tokens_hash = hash;
    return RT_OK;
}

static void count_documents(rt_shard *s) {
    int64_t firsts = 0, bytes = 0;
    bool closed = false; /* by a shared boundary at the end, which opens nothing */
    for (int64_t i = 0; i < s->info.tokens; i++) {
        uint16_t span = s->spans ? s->spans[i] : rt_span_derived(&s->vocab, (int32_t)token(s, i));
        firsts += i == 0 || (span & RT_SPAN_FIRST);
        bytes += span & RT_SPAN_BYTES;
        closed = span & RT_SPAN_FIRST && rt_vocab_shared(&s->vocab) && (int32_t)token(s, i) == s->vocab.eos;
    }
    s->info.documents = firsts - (closed && firsts > 1);
    s->info.bytes = s->spans || s->vocab.token_bytes ? bytes : -1;
}

static rt_status open_all(rt_shard *s, const rt_vocab *v, rt_error *err) {
    uint64_t described = 0;
    RT_TRY(open_tokens(s, err));
    RT_TRY(open_description(s, v, &described, err));
    RT_TRY(scan_ids(s, err));
    if (described && described != s->info.tokens_hash)
        return rt_fail(err, RT_E_INPUT, "%s: damaged, or %s.json belongs to other tokens (check sums differ)", s->path,
                       s->path);
    RT_TRY(open_spans(s, err));
    RT_TRY(open_mask(s, err));
    count_documents(s);
    return RT_OK;
}

rt_status rt_shard_open(rt_shard **out, const char *path, const rt_vocab *vocab, rt_error *err) {
    rt_shard *s = rt_zalloc(sizeof *s);
    *out = NULL;
    if (!s || !(s->path = rt_strdup(path))) {
        rt_free(s);
        return rt_fail(err, RT_E_NOMEM, "%s: out of memory", path);
    }
    s->vocab = *vocab, s->vocab.hash = NULL;
    rt_status status = open_all(s, vocab, err);
    if (status != RT_OK) return rt_shard_close(s), status;
    *out = s;
    return RT_OK;
}

void rt_shard_close(rt_shard *s) {
    if (!s) return;
    rt_file_unmap(&s->file);
    rt_file_unmap(&s->spans_file);
    rt_file_unmap(&s->mask_file);
    rt_free(s->path);
    rt_free(s);
}

const rt_shard_info *rt_shard_about(const rt_shard *s) { return &s->info; }

void rt_shard_read(const rt_shard *s, int64_t first, int64_t n, int32_t *ids, uint16_t *spans) {
    for (int64_t i = 0; ids && i < n; i++) ids[i] = (int32_t)token(s, first + i);
    if (!spans) return;
    if (s->spans)
        memcpy(spans, s->spans + first, (size_t)n * sizeof *spans);
    else
        for (int64_t i = 0; i < n; i++) spans[i] = rt_span_derived(&s->vocab, (int32_t)token(s, first + i));
}

void rt_shard_read_mask(const rt_shard *s, int64_t first, int64_t n, uint8_t *mask) {
    for (int64_t i = 0; i < n; i++) mask[i] = !s->mask || (s->mask[(first + i) / 8] >> ((first + i) % 8) & 1);
}
