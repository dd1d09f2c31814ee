/* head.h - the vocabulary head: output projection and all vocabulary-level losses in one streamed pass.
 *
 * No buffer of size tokens x vocabulary exists, in training or evaluation: rows go through in chunks of `rows`, the
 * vocabulary in tiles; tiles are transposed, z^T [tile of V][rows of the chunk], so that lanes are tokens. A chunk keeps both
 * sides' logits for all V (that is what the budget pays for). Pass 1: logits, maxima, log-sum-exps; pass 2: sums over
 * the vocabulary, equal ones once; pass 3 (training): dz, and at once dW and dH. Passes and sides that no active term needs are skipped. The
 * operation is terminal: values and gradients come in one run.
 *
 * A position's values have the same bits whatever the chunk, its place in it, the number of threads, the other terms, and in
 * training as in evaluation; gradients of weights are summed chunk by chunk, so their bits depend on `rows`.
 *
 * Which terms are active and at which temperatures may change from run to run (so one tape serves training and evaluation);
 * scratch, and with it `rows`, is that of all terms.
 *
 * A loss or metric is a record (<retort/ops/vocab_loss.h>): one file in src/losses, one line in losses.def. */
#ifndef RETORT_OPS_HEAD_H
#define RETORT_OPS_HEAD_H
#include <retort/graph/graph.h>
#include <retort/ops/vocab_loss.h>

/* A side: hidden [N,D] (prec.in) with weight [V_padded,D] (prec.weight), or given logits [N,V_padded] (prec.acc; tests and
 * caches). Logits are prec.acc = prec.out: f32, or f64 with everything f64. Null references: absent. The student's hidden,
 * weight and logits get gradients where they are wanted; the teacher's never do. */
typedef struct rt_head_side {
    rt_ref hidden, weight, logits;
    rt_prec prec;
} rt_head_side;

typedef struct rt_head_term {
    const rt_vocab_loss *loss;
    double temperature, beta, label_smoothing; /* temperature 0: the loss's default */
} rt_head_term;

enum { RT_HEAD_TERMS_MAX = 24 };
#define RT_HEAD_BUDGET ((int64_t)96 << 20)

typedef struct rt_head_config {
    rt_head_side student, teacher;
    rt_ref targets; /* i32 [N], the id to be predicted; -1: position not supervised */
    rt_ref gains;   /* f64 [terms]: d(objective)/d(sum of term i over supervised positions), read in training plans; null: zeros */
    rt_ref active;  /* i32 [terms], read at each run: a term with 0 is skipped, its row stays 0; null: all are active */
    rt_ref temperatures; /* f64 [terms], read at each run: > 0 replaces the term's temperature; null: none does.
                          * A loss defined at one temperature refuses another: RT_E_CONFIG from the run. */
    const rt_head_term *terms;
    int n_terms;
    int64_t vocab;  /* losses use ids < vocab; rows of the weights beyond it are padding */
    int64_t budget; /* bytes of all head scratch (0: RT_HEAD_BUDGET); rows a chunk follow from it */
    int64_t rows;   /* > 0: use this many rows a chunk, a multiple of 16 (stored by a checkpoint) */
} rt_head_config;

/* -> f64 [terms, width]: per term its columns summed over supervised positions, their count last (rt_vocab_report reads a
 * row). *rows_used (optional) is set. RT_E_CONFIG: the budget does not hold 16 rows. */
rt_ref rt_head(rt_graph *g, const rt_head_config *c, const char *role, int64_t *rows_used);
/* Bytes of scratch for chunks of `rows`: what the budget bounds. It counts what 4 threads use; each further one adds a
 * tile of dz and, for half weights, a converted tile. */
int64_t rt_head_scratch(const rt_graph *g, const rt_head_config *c, int64_t rows);
#endif
