/* shard.h - token shards on disk, in llm.c's layout, so that existing corpora work (github karpathy/llm.c, dev/data).
 *
 *   X.bin        int32 header[256]: magic 20240520, version 1, count, zeros; then count uint16 tokens; or
 *                                   magic 20240801, version 7, count, zeros; then count uint32 tokens. Little-endian.
 *   X.bin.json   optional: tokens, documents, bytes (original UTF-8 text), vocab_size, bos_id, eos_id (null: none),
 *                tokenizer (its hash), tokens_hash (rt_shard_info).
 *   X.bin.mask   optional: "RTMASK01", uint64 count, tokens_hash, mask_hash; then a bit a token, the lowest of a byte
 *                first: 1 where the token may be a target. Without it every token may.
 *   X.bin.spans  optional: "RTSPANS1", uint64 count, tokens_hash, spans_hash; then count uint16 words: bits 0-14 the
 * bytes of original text the token covers, bit 15 set where the token begins a document.
 *
 * Ours have all three. The spans make bits per byte exact (what a token covers depends on its text: normalisation,
 * unknown characters) and keep document boundaries without an end-of-text id. Without them a document begins at every
 * bos (at every eos where that is the only id), and bytes come from rt_vocab.token_bytes. Sidecars of another X.bin are
 * refused. */
#ifndef RETORT_TEXT_SHARD_H
#define RETORT_TEXT_SHARD_H
#include <retort/base/mem.h>
#include <retort/base/status.h>
#include <retort/text/vocab.h>

enum { RT_SPAN_FIRST = 0x8000, RT_SPAN_BYTES = 0x7fff };

typedef struct rt_shard_info {
    int64_t tokens, documents;
    int64_t bytes;         /* original text covered; -1 = unknown */
    int64_t vocab;         /* 0 = unknown */
    int32_t bos, eos;      /* -1 = none */
    int width;             /* bytes per token on disk: 2 or 4 */
    int32_t highest;       /* highest token id present */
    bool described, spans; /* X.bin.json, X.bin.spans are there */
    bool masked;           /* X.bin.mask is there */
    int64_t unmasked;      /* tokens that may be targets; all without a mask */
    char tokenizer[65];    /* hash, "" = unknown */
    uint64_t mask_hash;    /* FNV-1a over the bytes of the mask */
    uint64_t tokens_hash;  /* FNV-1a over the ids as 32-bit units: finds damage; provenance uses rt_token_stream_hash */
} rt_shard_info;

/* ---- writing. Nothing is visible under the final names before commit; X.bin itself is renamed last. */
typedef struct rt_shard_writer rt_shard_writer;
/* 16-bit tokens when vocab->size is known and <= 65536. `vocab` is copied, its hash and token_bytes borrowed until
 * free. */
rt_status rt_shard_writer_open(rt_shard_writer **w, const char *path, const rt_vocab *vocab,
                               rt_error *err) RT_NODISCARD;
/* One document: ids [n] without bos and eos, and the bytes [n] each covers (NULL: rt_vocab.token_bytes).
 * RT_E_INPUT: an id outside the vocabulary; RT_E_UNSUPPORTED: a token covering over 32767 bytes, or over 2^31-1 tokens.
 */
rt_status rt_shard_writer_add(rt_shard_writer *w, const int32_t *ids, const uint32_t *bytes, int64_t n,
                              rt_error *err) RT_NODISCARD;
/* The same with a mask, or without anything around it. */
rt_status rt_shard_writer_add_tokens(rt_shard_writer *w, const rt_tokens *d, rt_error *err) RT_NODISCARD;
/* Makes the files appear; `info` may be NULL. RT_E_INPUT when there are no documents. */
rt_status rt_shard_writer_commit(rt_shard_writer *w, rt_shard_info *info, rt_error *err) RT_NODISCARD;
void rt_shard_writer_free(rt_shard_writer *w); /* without commit: removes the temporary files. NULL is fine */

/* ---- reading. Opening maps the file and reads all of it once: a shard that opened is sound. */
typedef struct rt_shard rt_shard;
/* `vocab` is copied, its token_bytes borrowed until close. Its bos and eos are used unless X.bin.json has them (they
 * must agree when vocab->size is known). RT_E_INPUT names file, position and token: bad magic, version or size, a token
 * >= vocab->size, sidecars that do not belong, another tokenizer. */
rt_status rt_shard_open(rt_shard **s, const char *path, const rt_vocab *vocab, rt_error *err) RT_NODISCARD;
void rt_shard_close(rt_shard *s); /* NULL is fine */
const rt_shard_info *rt_shard_about(const rt_shard *s);
/* Tokens [first, first+n): ids [n], spans [n] (either may be NULL). The range must lie within the shard. */
void rt_shard_read(const rt_shard *s, int64_t first, int64_t n, int32_t *ids, uint16_t *spans);
/* Of the same tokens 1 where they may be targets. */
void rt_shard_read_mask(const rt_shard *s, int64_t first, int64_t n, uint8_t *mask);
#endif
