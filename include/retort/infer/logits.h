/* logits.h - a frozen model's logits for whole sequences: what `retort logits` writes.
 * One window at a time, so the table is [T, V] of one window; training and evaluation never make one (the head streams). */
#ifndef RETORT_INFER_LOGITS_H
#define RETORT_INFER_LOGITS_H
#include <retort/infer/forward.h>
#include <retort/infer/frozen.h>

typedef struct rt_logits {
    rt_forward forward;
    rt_batch batch;
    rt_graph *head;
    rt_ref hidden, out;
} rt_logits;

/* Windows of at most T ids. */
rt_status rt_logits_open(rt_logits *l, const rt_weights *w, const rt_precision *p, int64_t T, rt_error *err) RT_NODISCARD;
void rt_logits_close(rt_logits *l); /* an all-zero one is fine */
/* n <= T ids of one document -> rows [0, n) of the result, f32 (f64 for f64 models) [T, config.vocab_size], valid until
 * the next call. RT_E_INPUT for an id outside the vocabulary; RT_E_NUMERIC names the first operation whose output is not
 * finite. */
rt_status rt_logits_run(rt_logits *l, const int32_t *ids, int64_t n, const rt_tensor **logits, rt_error *err) RT_NODISCARD;
#endif
