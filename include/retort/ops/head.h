/* head.h - the vocabulary head: output projection and all vocabulary-level losses in one streamed pass.
 *
 * No buffer of size tokens x vocabulary exists, in training or evaluation: rows go through in chunks of `rows`, the
 * vocabulary in tiles; tiles are transposed, z^T [tile of V][rows of the chunk], so that lanes are tokens. A chunk keeps both
 * sides' logits for all V (that is what the budget pays for). Pass 1: logits, maxima, log-sum-exps; pass 2: values;
 * pass 3 (training): dz, and at once dW and dH. The operation is terminal: values and gradients come in one run.
 *
 * A loss or metric is a record: one file in src/losses, one line in losses.def. */
#ifndef RETORT_OPS_HEAD_H
#define RETORT_OPS_HEAD_H
#include <retort/graph/graph.h>

typedef struct rt_vocab_loss rt_vocab_loss; /* <retort/ops/vocab_loss.h> */

/* A side: hidden [N,D] with weight [V,D], or given logits [N,V] (f32; tests and caches). Null references: absent. */
typedef struct rt_head_side {
    rt_ref hidden, weight, logits;
    rt_prec prec;
} rt_head_side;

typedef struct rt_head_term {
    const rt_vocab_loss *loss;
    double temperature, beta, label_smoothing; /* temperature 0: the loss's default */
} rt_head_term;

typedef struct rt_head_config {
    rt_head_side student, teacher;
    rt_ref targets;  /* i32 [N]; -1: position not supervised */
    rt_ref gains;    /* f64 [terms]: d(objective)/d(sum of term i over supervised positions), read in training plans */
    const rt_head_term *terms;
    int n_terms;
    int64_t vocab; /* losses use ids < vocab; rows of the weights beyond it are padding */
    int64_t budget; /* bytes of all head scratch; rows a chunk follow from it */
    int64_t rows;   /* > 0: use this many rows a chunk (stored by a checkpoint) */
} rt_head_config;

/* -> f64 [terms, width]: per term the sums over supervised positions, count last (vocab_loss.h says which); *rows_used is set. */
rt_ref rt_head(rt_graph *g, const rt_head_config *c, const char *role, int64_t *rows_used);
/* All bytes of scratch the head needs for these shapes: what the budget bounds. */
int64_t rt_head_scratch(int64_t rows, int64_t vocab, int64_t student_width, int64_t teacher_width, bool teacher_weight_half);
#endif
