/* token_stream.h - the tokens of all documents, in order, as one sequence: from memory, from shards, or both.
 *
 * A stream knows for every token how many bytes of original text it covers and whether a document begins there; windows
 * and batches (batch.h) are cut from it. Files join like documents do: a shared boundary token between them is kept
 * once. */
#ifndef RETORT_TEXT_TOKEN_STREAM_H
#define RETORT_TEXT_TOKEN_STREAM_H
#include <retort/base/status.h>
#include <retort/text/shard.h>
#include <retort/text/vocab.h>

typedef struct rt_token_stream rt_token_stream;

/* An empty stream. `vocab` is copied; its hash and token_bytes are borrowed until rt_token_stream_free. */
rt_status rt_token_stream_new(rt_token_stream **s, const rt_vocab *vocab, rt_error *err) RT_NODISCARD;
/* Appends one document (as rt_shard_writer_add), kept in memory: 6 bytes per token. After a failure to append, only
 * rt_token_stream_free is allowed. */
rt_status rt_token_stream_add(rt_token_stream *s, const int32_t *ids, const uint32_t *bytes, int64_t n,
                              rt_error *err) RT_NODISCARD;
/* The same with a mask, or without anything around it (a rendered conversation). */
rt_status rt_token_stream_add_tokens(rt_token_stream *s, const rt_tokens *d, rt_error *err) RT_NODISCARD;
/* What is appended from here on comes from another source: data.train's next entry (loader.h weighs them). */
rt_status rt_token_stream_begin_source(rt_token_stream *s, rt_error *err) RT_NODISCARD;
/* The token at which each source begins, ascending; *count 0 where none was begun. */
const int64_t *rt_token_stream_sources(const rt_token_stream *s, int64_t *count);
/* Appends a shard, mapped; the file must stay as it is until rt_token_stream_free. A stream made with RT_VOCAB_NONE
 * takes bos and eos from the first shard's description; later ones must agree. */
rt_status rt_token_stream_add_shard(rt_token_stream *s, const char *path, rt_error *err) RT_NODISCARD;
void rt_token_stream_free(rt_token_stream *s); /* NULL is fine */

typedef struct rt_token_stream_info {
    int64_t tokens, documents;
    int64_t bytes;    /* original text covered */
    bool bytes_known; /* false: some shard has neither spans nor token_bytes, and bytes is too small */
    bool masked;      /* some tokens are never targets */
    int32_t highest;  /* highest token id present; -1 = no tokens */
    int32_t bos, eos; /* -1 = none */
} rt_token_stream_info;
rt_token_stream_info rt_token_stream_about(const rt_token_stream *s);

/* Tokens [first, first+n): ids [n], spans [n] (either may be NULL); the range must lie within the stream. Allocates
 * nothing. */
void rt_token_stream_read(const rt_token_stream *s, int64_t first, int64_t n, int32_t *ids, uint16_t *spans);

/* Of the same tokens 1 where the mask lets them be targets. */
void rt_token_stream_read_mask(const rt_token_stream *s, int64_t first, int64_t n, uint8_t *mask);

/* A part of a stream, which must outlive it. Its first token begins a document. */
typedef struct rt_token_view {
    const rt_token_stream *stream;
    int64_t begin, end;
} rt_token_view;
rt_token_view rt_token_stream_all(const rt_token_stream *s);
/* Holds out the last `fraction` of the tokens (decision 14: 0.05). The cut is at the document start nearest to it, if
 * one lies within half of the fraction on either side; else it is exact. A shared boundary token at the cut belongs to
 * both: the last target of `train`, the first input of `valid`. RT_E_INPUT when a side would have fewer than two
 * tokens. */
rt_status rt_token_stream_split(const rt_token_stream *s, double fraction, rt_token_view *train, rt_token_view *valid,
                                rt_error *err) RT_NODISCARD;
/* SHA-256 (hex) over the view's ids as little-endian uint32, then, where the stream has a mask, a byte 0 or 1 for each:
 * names the data in logs and checkpoints, however it is stored. */
void rt_token_view_hash(const rt_token_view *v, char hex[65]);
/* Is token i (with its id and span) scored when it is the target of token i-1? Not a bos, nor what only begins a
 * document. */
bool rt_token_is_target(const rt_token_stream *s, int32_t id, uint16_t span);
#endif
