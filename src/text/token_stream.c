/* token_stream.c - a list of segments, each a shard or a growing block of memory. Segments are few; a read finds its
 * segment from the one at hand by a scan, and a window crosses a segment's end at most once per segment. */
#include <retort/text/token_stream.h>
#include <retort/base/mem.h>
#include <retort/base/sha256.h>
#include <string.h>
#include "text/layout.h"

typedef struct segment {
    int64_t base, count; /* in the stream: [base, base + count) */
    int64_t skip;        /* tokens of the shard left out at its front: a boundary the stream has already */
    bool continues;      /* the boundary before it began its first document */
    rt_shard *shard;     /* owned; NULL: in memory */
    rt_buf ids, spans;   /* int32 [count], uint16 [count] */
    rt_buf mask;         /* uint8 [count], or empty: no token is masked */
} segment;

struct rt_token_stream {
    rt_vocab vocab;
    rt_token_stream_info info;
    segment *segments; /* [segment_count] */
    int segment_count;
    bool after_boundary; /* the last token is a boundary that begins the next document already */
    int64_t *sources;    /* [source_count] */
    int64_t source_count;
};

rt_status rt_token_stream_new(rt_token_stream **out, const rt_vocab *vocab, rt_error *err) {
    rt_token_stream *s = *out = rt_zalloc(sizeof *s);
    if (!s) return rt_fail(err, RT_E_NOMEM, "out of memory for a token stream");
    s->vocab = *vocab;
    s->info = (rt_token_stream_info){.bytes_known = true, .highest = -1, .bos = vocab->bos, .eos = vocab->eos};
    return RT_OK;
}

void rt_token_stream_free(rt_token_stream *s) {
    if (!s) return;
    for (int i = 0; i < s->segment_count; i++) {
        rt_shard_close(s->segments[i].shard);
        rt_buf_free(&s->segments[i].ids);
        rt_buf_free(&s->segments[i].spans);
        rt_buf_free(&s->segments[i].mask);
    }
    rt_free(s->sources);
    rt_free(s->segments);
    rt_free(s);
}

rt_token_stream_info rt_token_stream_about(const rt_token_stream *s) { return s->info; }
rt_token_view rt_token_stream_all(const rt_token_stream *s) { return (rt_token_view){s, 0, s->info.tokens}; }

static bool is_boundary(const rt_token_stream *s, int32_t id, uint16_t span) {
    return rt_vocab_shared(&s->vocab) && id == s->vocab.eos && (span & RT_SPAN_FIRST);
}

rt_status rt_token_stream_begin_source(rt_token_stream *s, rt_error *err) {
    int64_t *grown = rt_realloc(s->sources, rt_array_bytes((size_t)s->source_count + 1, sizeof *grown));
    if (!grown) return rt_fail(err, RT_E_NOMEM, "out of memory for a token stream");
    s->sources = grown;
    grown[s->source_count++] = s->info.tokens;
    return RT_OK;
}
const int64_t *rt_token_stream_sources(const rt_token_stream *s, int64_t *count) {
    *count = s->source_count;
    return s->sources;
}

static segment *new_segment(rt_token_stream *s, rt_error *err) {
    segment *grown = rt_realloc(s->segments, rt_array_bytes((size_t)s->segment_count + 1, sizeof *grown));
    if (!grown) return rt_fail(err, RT_E_NOMEM, "out of memory for a token stream"), NULL;
    s->segments = grown;
    grown += s->segment_count++;
    *grown = (segment){.base = s->info.tokens, .continues = s->after_boundary};
    return grown;
}

/* ----------------------------------------------------------------- memory */

/* The first masked token makes the segment's mask. */
static void put_mask(segment *g, bool masked) {
    if (!masked && !g->mask.size) return;
    while (!g->mask.failed && (int64_t)g->mask.size < g->count) rt_buf_putc(&g->mask, 1);
    rt_buf_putc(&g->mask, !masked);
}

static rt_status put(void *context, int32_t id, uint16_t span, bool masked, rt_error *err) {
    rt_token_stream *s = context;
    segment *g = &s->segments[s->segment_count - 1];
    rt_buf_add(&g->ids, &id, sizeof id);
    rt_buf_add(&g->spans, &span, sizeof span);
    put_mask(g, masked);
    s->info.masked |= masked;
    if (g->ids.failed || g->spans.failed || g->mask.failed)
        return rt_fail(err, RT_E_NOMEM, "out of memory for %lld tokens", (long long)g->count);
    g->count++;
    s->info.tokens++;
    s->info.bytes += span & RT_SPAN_BYTES;
    s->after_boundary = is_boundary(s, id, span);
    if (id > s->info.highest) s->info.highest = id;
    return RT_OK;
}

rt_status rt_token_stream_add(rt_token_stream *s, const int32_t *ids, const uint32_t *bytes, int64_t n, rt_error *err) {
    return rt_token_stream_add_tokens(s, &(rt_tokens){.ids = ids, .bytes = bytes, .n = n}, err);
}

rt_status rt_token_stream_add_tokens(rt_token_stream *s, const rt_tokens *d, rt_error *err) {
    bool in_memory = s->segment_count && !s->segments[s->segment_count - 1].shard;
    if (!in_memory && !new_segment(s, err)) return RT_E_NOMEM;
    if (!d->bytes && !s->vocab.token_bytes) s->info.bytes_known = false;
    RT_TRY(rt_layout_document(&s->vocab, d, s->after_boundary, put, s, err));
    s->info.documents++;
    return RT_OK;
}

/* ----------------------------------------------------------------- shards */

static rt_status same_ends(rt_token_stream *s, const rt_shard_info *n, const char *path, rt_error *err) {
    if (!s->vocab.size && !s->segment_count) {
        s->vocab.bos = s->info.bos = n->bos;
        s->vocab.eos = s->info.eos = n->eos;
    }
    if (s->vocab.bos == n->bos && s->vocab.eos == n->eos) return RT_OK;
    return rt_fail(err, RT_E_INPUT, "%s: bos %d, eos %d; the data before it has bos %d, eos %d", path, n->bos, n->eos,
                   s->vocab.bos, s->vocab.eos);
}

static void append_shard(rt_token_stream *s, segment *g, rt_shard *shard) {
    const rt_shard_info *n = rt_shard_about(shard);
    int32_t last;
    uint16_t span;
    rt_shard_read(shard, n->tokens - 1, 1, &last, &span);
    s->after_boundary = is_boundary(s, last, span);
    s->info.masked |= n->masked;
    g->shard = shard;
    g->count = n->tokens - g->skip;
    s->info.tokens += g->count;
    s->info.documents += n->documents;
    s->info.bytes += n->bytes > 0 ? n->bytes : 0;
    s->info.bytes_known &= n->bytes >= 0;
    if (n->highest > s->info.highest) s->info.highest = n->highest;
}

rt_status rt_token_stream_add_shard(rt_token_stream *s, const char *path, rt_error *err) {
    rt_shard *shard;
    int32_t first;
    RT_TRY(rt_shard_open(&shard, path, &s->vocab, err));
    rt_status status = same_ends(s, rt_shard_about(shard), path, err);
    segment *g = status == RT_OK ? new_segment(s, err) : NULL;
    if (!g) {
        rt_shard_close(shard);
        return status == RT_OK ? RT_E_NOMEM : status;
    }
    rt_shard_read(shard, 0, 1, &first, NULL);
    g->skip = g->continues && first == s->vocab.eos;
    append_shard(s, g, shard);
    return RT_OK;
}

/* ---------------------------------------------------------------- reading */

static void read_segment(const segment *g, int64_t at, int64_t n, int32_t *ids, uint16_t *spans) {
    if (g->shard)
        rt_shard_read(g->shard, g->skip + at, n, ids, spans);
    else {
        if (ids) memcpy(ids, (const int32_t *)(const void *)g->ids.data + at, (size_t)n * sizeof *ids);
        if (spans) memcpy(spans, (const uint16_t *)(const void *)g->spans.data + at, (size_t)n * sizeof *spans);
    }
    /* a file begins a document, whatever it says of itself, unless a boundary kept once began it already */
    if (spans && at == 0 && !g->continues) spans[0] |= RT_SPAN_FIRST;
}

void rt_token_stream_read(const rt_token_stream *s, int64_t first, int64_t n, int32_t *ids, uint16_t *spans) {
    for (const segment *g = s->segments; n > 0; g++) {
        int64_t at = first - g->base, part = g->count - at;
        if (part <= 0) continue;
        if (part > n) part = n;
        read_segment(g, at, part, ids, spans);
        first += part, n -= part;
        if (ids) ids += part;
        if (spans) spans += part;
    }
}

static void read_segment_mask(const segment *g, int64_t at, int64_t n, uint8_t *mask) {
    if (g->shard) rt_shard_read_mask(g->shard, g->skip + at, n, mask);
    else if (g->mask.size) memcpy(mask, g->mask.data + at, (size_t)n);
    else memset(mask, 1, (size_t)n);
}
void rt_token_stream_read_mask(const rt_token_stream *s, int64_t first, int64_t n, uint8_t *mask) {
    if (!s->info.masked) memset(mask, 1, (size_t)n);
    for (const segment *g = s->segments; s->info.masked && n > 0; g++) {
        int64_t at = first - g->base, part = g->count - at;
        if (part <= 0) continue;
        if (part > n) part = n;
        read_segment_mask(g, at, part, mask);
        first += part, n -= part, mask += part;
    }
}

bool rt_token_is_target(const rt_token_stream *s, int32_t id, uint16_t span) {
    bool shared = rt_vocab_shared(&s->vocab) && id == s->vocab.eos;
    return shared || (!(span & RT_SPAN_FIRST) && id != s->vocab.bos);
}

void rt_token_view_hash(const rt_token_view *v, char hex[65]) {
    int32_t ids[1024];
    rt_sha256 hash;
    rt_sha256_start(&hash);
    for (int64_t at = v->begin; at < v->end; at += 1024) {
        int64_t n = v->end - at < 1024 ? v->end - at : 1024;
        rt_token_stream_read(v->stream, at, n, ids, NULL);
        rt_sha256_add(&hash, ids, (size_t)n * sizeof *ids);
    }
    uint8_t mask[1024];
    for (int64_t at = v->begin; v->stream->info.masked && at < v->end; at += 1024) {
        int64_t n = v->end - at < 1024 ? v->end - at : 1024;
        rt_token_stream_read_mask(v->stream, at, n, mask);
        rt_sha256_add(&hash, mask, (size_t)n);
    }
    rt_sha256_end_hex(&hash, hex);
}

/* ------------------------------------------------------------------ split */

static bool starts_document(const rt_token_stream *s, int64_t i) {
    uint16_t span;
    if (i <= 0 || i >= s->info.tokens) return false;
    rt_token_stream_read(s, i, 1, NULL, &span);
    return span & RT_SPAN_FIRST;
}

rt_status rt_token_stream_split(const rt_token_stream *s, double fraction, rt_token_view *train, rt_token_view *valid,
                                rt_error *err) {
    int64_t total = s->info.tokens, held = (int64_t)((double)total * fraction), cut = total - held, reach = held / 2;
    for (int64_t d = 0; d <= reach; d++) {
        bool below = starts_document(s, cut - d), above = !below && starts_document(s, cut + d);
        if (!below && !above) continue;
        cut += above ? d : -d;
        break;
    }
    int32_t id = -1;
    if (cut > 0 && cut < total) rt_token_stream_read(s, cut, 1, &id, NULL);
    bool both = rt_vocab_shared(&s->vocab) && id == s->vocab.eos;
    *train = (rt_token_view){s, 0, cut + both};
    *valid = (rt_token_view){s, cut, total};
    if (train->end >= 2 && total - cut >= 2) return RT_OK;
    return rt_fail(err, RT_E_INPUT, "%lld tokens are too few to hold out %.3g %% for validation; give validation data",
                   (long long)total, 100 * fraction);
}
