/* sampling.h - one choice among the logits of a position.
 *
 * Greedy takes the largest logit, ties to the lower id. Otherwise, in this order:
 *   1. temperature: p = softmax(z / temperature);
 *   2. top_k: the k largest logits alone, equal ones by ascending id;
 *   3. top_p: of these, from the largest on, as few as have together at least the share top_p of their sum (Holtzman et al. 2019);
 *   4. min_p: of these, those with at least min_p times the largest probability;
 * then one of them by its probability. The random number is the counter-based generator's at (seed, stream, place): equal seeds
 * give equal texts, for any number of threads, and a text does not depend on the others sampled beside it. */
#ifndef RETORT_INFER_SAMPLING_H
#define RETORT_INFER_SAMPLING_H
#include <retort/base/status.h>
#include <retort/tensor/tensor.h>

typedef struct rt_sampling {
    bool greedy;
    double temperature; /* > 0 */
    int64_t top_k;      /* 0: all */
    double top_p;       /* in (0, 1]; 0 and 1: all */
    double min_p;       /* in [0, 1] */
    uint64_t seed;
} rt_sampling;

typedef struct rt_sampler {
    rt_sampling s;
    int64_t vocab; /* ids below it are chosen */
    int32_t *order;
    double *p;
} rt_sampler;
/* RT_E_ARG: a number outside its range. */
rt_status rt_sampler_open(rt_sampler *m, const rt_sampling *s, int64_t vocab, rt_error *err) RT_NODISCARD;
void rt_sampler_close(rt_sampler *m); /* an all-zero one is fine */
/* Among row `row` of logits (f32 or f64 [rows, >= vocab]). stream: which of several texts; place: how many ids stand before it. */
int32_t rt_sampler_pick(rt_sampler *m, const rt_tensor *logits, int64_t row, int64_t stream, int64_t place);
#endif
