/* generate.h - text, token by token: the model's logits after all ids so far, one choice, and again.
 *
 * Greedy takes the largest logit, ties to the lower id. Sampling: p = softmax(z / temperature) over the top_k largest logits,
 * a uniform number of the counter-based generator at (seed, place in the text): equal seeds give equal texts, whatever the
 * number of threads. Every step runs the whole sequence again, in plans of 64, 128, 256, ... rows; the choice of plan changes
 * no bit (a row's bits do not depend on the number of rows). */
#ifndef RETORT_TRAIN_GENERATE_H
#define RETORT_TRAIN_GENERATE_H
#include <retort/text/tokenizer.h>
#include <retort/train/logits.h>

typedef struct rt_sampling {
    bool greedy;
    double temperature; /* > 0 */
    int64_t top_k;      /* 0: all */
    uint64_t seed;
} rt_sampling;

/* One choice among `vocab` logits (f32, or f64); place: how many ids stand before it. order: scratch [vocab]. */
int32_t rt_sample(const rt_sampling *s, const rt_tensor *logits, int64_t vocab, int64_t place, int32_t *order);

typedef enum rt_stop {
    RT_STOP_TOKENS,    /* as many as asked for */
    RT_STOP_END,       /* the end token was chosen; it is the last id */
    RT_STOP_POSITIONS, /* the model has no further position */
} rt_stop;

typedef struct rt_generation {
    rt_sampling sampling;
    int64_t tokens; /* at most so many new ids */
    int64_t vocab;  /* ids below it are chosen; 0: config.vocab_size */
    int32_t end;    /* stop after it; -1: none */
    const rt_ids *ends; /* or after one of these; NULL: none */
    rt_status (*chosen)(void *context, const rt_ids *ids, rt_error *err); /* told of each new id, the last of ids; NULL is fine */
    void *context;
} rt_generation;

/* ids: the prompt, at least one; new ids are appended. RT_E_ARG: an empty prompt, or one longer than the model has positions. */
rt_status rt_generate(const rt_weights *w, const rt_precision *p, const rt_generation *o, rt_ids *ids, rt_stop *why, rt_error *err) RT_NODISCARD;
#endif
