/* tok_vocab.h - the two tables of a BPE model: token string <-> id, and (left id, right id) -> (rank, merged id). */
#ifndef TEXT_TOK_VOCAB_H
#define TEXT_TOK_VOCAB_H
#include <retort/base/mem.h>

enum { TOK_MAX_ID = 1 << 24 }; /* a file that names higher ids is damaged: the table is indexed by id */

typedef struct tok_entry {
    size_t begin;    /* in `bytes` */
    size_t decoded;  /* in `bytes`: what stands for it in decoding, its string but for some added tokens */
    uint32_t length; /* bytes of the token's string */
    uint32_t decoded_length;
    int32_t covers; /* bytes of text it stands for */
    bool used, in_model, special;
} tok_entry;

typedef struct tok_vocab {
    rt_buf bytes; /* all strings, each followed by a NUL */
    tok_entry *entries;
    int32_t size; /* highest id + 1 */
    size_t capacity;
    int32_t *slots; /* open addressing: id + 1, 0 = free */
    size_t mask, filled;
} tok_vocab;

/* RT_E_INPUT when the id is taken by another string or the string has another id (*clash: that id). */
rt_status rt_tok_vocab_add(tok_vocab *v, int32_t id, const char *s, size_t n, int32_t *clash) RT_NODISCARD;
/* The same where a string may come twice: it is found under the id it was given last, the others keep it for decoding.
 * The id must be new. */
rt_status rt_tok_vocab_put(tok_vocab *v, int32_t id, const char *s, size_t n) RT_NODISCARD;
int32_t rt_tok_vocab_find(const tok_vocab *v, const char *s, size_t n); /* -1: none */
int32_t rt_tok_vocab_find_model(const tok_vocab *v, const char *s, size_t n);
const char *rt_tok_vocab_string(const tok_vocab *v, int32_t id); /* id is used */
rt_status rt_tok_vocab_set_decoded(tok_vocab *v, int32_t id, const char *s, size_t n) RT_NODISCARD;
const char *rt_tok_vocab_decoded(const tok_vocab *v, int32_t id, size_t *n);
void rt_tok_vocab_free(tok_vocab *v);

typedef struct tok_merge {
    uint64_t pair; /* left << 32 | right */
    int32_t rank, id;
} tok_merge;
typedef struct tok_merges {
    tok_merge *slots; /* id < 0: free */
    size_t mask;
    int64_t count;
} tok_merges;
rt_status rt_tok_merges_init(tok_merges *m, size_t count) RT_NODISCARD; /* room for count merges */
void rt_tok_merges_add(tok_merges *m, int32_t left, int32_t right, int32_t rank, int32_t id); /* a later one replaces */
const tok_merge *rt_tok_merges_find(const tok_merges *m, int32_t left, int32_t right);        /* NULL: none */
void rt_tok_merges_free(tok_merges *m);

uint64_t rt_tok_hash(const char *s, size_t n);
#endif
