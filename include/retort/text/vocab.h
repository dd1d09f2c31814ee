/* vocab.h - what token data needs to know of a tokenizer, and how documents are laid out as tokens (decision 13).
 *
 * A document is [bos] tokens [eos], with what the tokenizer has. A bos is never a target. Where only one end-of-text id
 * exists (no bos, or bos = eos) it is both the last target of a document and the first input of the next; the stream
 * then begins with one, so that the first document's first token is predicted too:
 *
 *   bos and eos     <bos> a b </s> <bos> c d </s>      targets: a b </s>, c d </s>
 *   one id          <eot> a b <eot> c d <eot>          targets: a b <eot>, c d <eot>
 *   neither         a b c d                            targets: b, d */
#ifndef RETORT_TEXT_VOCAB_H
#define RETORT_TEXT_VOCAB_H
#include <stdbool.h>
#include <stdint.h>

typedef struct rt_vocab {
    int64_t size;                /* V = highest id + 1; 0 = unknown: ids are then only checked to be below 2^31 */
    int32_t bos, eos;            /* -1 = none */
    const char *hash;            /* the tokenizer's hash (SHA-256, hex), borrowed; NULL = unknown: not compared */
    const uint16_t *token_bytes; /* [size] bytes of text a token stands for, special tokens 0, borrowed; NULL = unknown.
                                    Only consulted where the data does not record what each token covers. */
} rt_vocab;

/* One document to be laid out. */
typedef struct rt_tokens {
    const int32_t *ids;    /* [n], without bos and eos */
    const uint32_t *bytes; /* [n] bytes of text each covers; NULL: rt_vocab.token_bytes */
    const uint8_t *mask;   /* [n] 1 where the token may be a target; NULL: everywhere */
    int64_t n;
    bool as_is; /* a rendered conversation: nothing is put around it, it only begins a document */
} rt_tokens;

#define RT_VOCAB_NONE ((rt_vocab){.bos = -1, .eos = -1})
#endif
