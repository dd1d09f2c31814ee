/* decoder.h - a frozen model that goes on where it was: rows of several sequences, fed in any number of runs, over a cache of
 * keys and values. Planned when opened, run many times; nothing is allocated in a run.
 *
 * Two numerics (decisions.md, 2). exact: every row has the bits of the forward pass over its whole sequence (`retort logits`),
 * however it was fed. Otherwise steps, and the last rows of a prompt (at most RT_DECODER_FEW), use the kernels for few rows, which
 * read the weights once, as they lie in the file: the difference of any logit is then at most 1e-5 of the row's largest absolute
 * logit, with f32 activations. With activations in half precision two orders of summation also round differently, and the
 * difference is of the size of that rounding. In both, a sequence's bits do not depend on the sequences beside it. */
#ifndef RETORT_INFER_DECODER_H
#define RETORT_INFER_DECODER_H
#include <retort/model/model.h>

enum { RT_DECODER_FEW = 16 };
typedef struct rt_decoder rt_decoder;
typedef struct rt_decoder_options {
    int64_t sequences, positions; /* how many, and rows of each at most */
    int64_t chunk;                /* rows of a run of rt_decoder_prefill at most; 0: 512, or `positions` when fewer */
    bool exact;
} rt_decoder_options;

/* `w` is borrowed and must outlive it. RT_E_CONFIG: more positions than the model computes. */
rt_status rt_decoder_open(rt_decoder **d, const rt_weights *w, const rt_precision *p, const rt_decoder_options *o, rt_error *err) RT_NODISCARD;
void rt_decoder_close(rt_decoder *d); /* NULL is fine */

/* Appends n >= 1 ids to a sequence; row 0 of the result has the logits after the last, f32 (f64) [sequences, config.vocab_size],
 * valid until the next call. RT_E_ARG: the sequence would outgrow its positions; RT_E_INPUT: an id outside the vocabulary;
 * RT_E_NUMERIC names the operation. After an error the sequence is as long as before. */
rt_status rt_decoder_prefill(rt_decoder *d, int64_t sequence, const int32_t *ids, int64_t n, const rt_tensor **logits, rt_error *err) RT_NODISCARD;
/* Appends one id to each of `count` different sequences; row i of the result has the logits after ids[i]. */
rt_status rt_decoder_step(rt_decoder *d, const int32_t *sequence, const int32_t *ids, int64_t count, const rt_tensor **logits, rt_error *err) RT_NODISCARD;

int64_t rt_decoder_length(const rt_decoder *d, int64_t sequence);
void rt_decoder_cut(rt_decoder *d, int64_t sequence, int64_t length); /* forgets rows from `length` on */
void rt_decoder_copy(rt_decoder *d, int64_t from, int64_t to);        /* `to` becomes what `from` is */

typedef struct rt_decoder_memory {
    int64_t keys_values, activations, packed; /* bytes; packed: copies of weights (exact only) */
} rt_decoder_memory;
rt_decoder_memory rt_decoder_memory_get(const rt_decoder *d);
#endif
