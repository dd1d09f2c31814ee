/* footprint.h - the memory that a use of a model would take, from the plans that this use would make. Nothing is computed and none of
 * it is taken: the plans are sketches (rt_graph_sketch). All in bytes. */
#ifndef RETORT_TRAIN_FOOTPRINT_H
#define RETORT_TRAIN_FOOTPRINT_H
#include <retort/infer/frozen.h>

typedef struct rt_run_memory {
    int64_t packed;      /* weights in the layout of the products, kept from the first run on; output matrix included */
    int64_t activations; /* of one window */
    int64_t scratch;     /* of all threads */
} rt_run_memory;
/* A forward pass over a window of T tokens with the logits of its last: `described` is from rt_frozen_describe. */
rt_status rt_footprint_run(const rt_frozen *described, int64_t T, rt_run_memory *out, rt_error *err) RT_NODISCARD;
/* Keys and values of one token, in the dtype of the attention's activations. */
int64_t rt_footprint_key_values(const rt_model_config *c, const rt_precision *p);

typedef struct rt_train_memory {
    int64_t weights, masters, moments;
    int64_t activations, recomputed; /* of the training step, gradients among them; with run.recompute */
    int64_t evaluation;              /* what the evaluation's plan keeps beside them: its outputs */
    int64_t scratch;                 /* of all threads */
    int64_t head_rows;
} rt_train_memory;
/* What a job without a teacher would take to train such a student: weights as the policy says, `batch` windows of T tokens. */
rt_status rt_footprint_train(const rt_model_config *c, const rt_precision *p, int64_t T, int64_t batch, rt_train_memory *out,
                             rt_error *err) RT_NODISCARD;
#endif
