/* generate.h - text, token by token: logits after all ids so far, one choice (sampling.h), and again, over a cache of keys and
 * values (decoder.h). Several texts may be written from one prompt, side by side: text i is the same as if it were written
 * alone, whatever the number of threads. */
#ifndef RETORT_INFER_GENERATE_H
#define RETORT_INFER_GENERATE_H
#include <retort/text/tokenizer.h>
#include <retort/infer/decoder.h>
#include <retort/infer/sampling.h>

typedef enum rt_stop {
    RT_STOP_TOKENS,    /* as many as asked for */
    RT_STOP_END,       /* an end token was chosen; it is the last id */
    RT_STOP_POSITIONS, /* the model has no further position */
    RT_STOP_TEXT,      /* who is told of ids asked for it */
} rt_stop;
const char *rt_stop_name(rt_stop s); /* "tokens", "end", "positions", "text" */

typedef struct rt_generation {
    rt_sampling sampling;
    int64_t tokens;     /* at most so many new ids */
    int64_t vocab;      /* ids below it are chosen; 0: config.vocab_size */
    const int32_t *end; /* stop after any of these */
    int64_t ends;
    int64_t samples;    /* texts; 0: one */
    bool exact;         /* the bits of the forward pass over the whole text */
    /* Told of each new id, the last of ids; *stop = true ends this text. NULL is fine. */
    rt_status (*chosen)(void *context, int64_t sample, const rt_ids *ids, bool *stop, rt_error *err);
    void *context;
} rt_generation;

typedef struct rt_generation_report {
    int64_t prompt, prefilled, decoded;        /* ids: of the prompt, fed in chunks, fed one by one (of all texts) */
    double prefill_seconds, decode_seconds;    /* choosing and telling included */
    rt_decoder_memory memory;
} rt_generation_report;

/* ids [samples]: ids[0] is the prompt, at least one id; the others get a copy of it (they may be all-zero); new ids are
 * appended. why [samples]; report may be NULL. RT_E_ARG: an empty prompt, or one longer than the model has positions. */
rt_status rt_generate(const rt_weights *w, const rt_precision *p, const rt_generation *o, rt_ids *ids, rt_stop *why, rt_generation_report *report,
                      rt_error *err) RT_NODISCARD;
#endif
