/* vocab_loss.h - the record that a vocabulary-level loss or metric is. Defined in src/losses, run by `head`.
 *
 * For every supervised position the head forms, from the logits z of each side it has, log p = z/tau - lse with p = softmax(z/tau).
 * A record then says which sums over the vocabulary it wants (`values`, tile by tile: src/kernels/head.h), what a position's
 * value is (`finish`), and, if it can be trained on, the gradient of that value with respect to the student's logits. `needs`
 * says what must exist: what no record needs is not computed, what several need (the exps at a temperature) is computed once. */
#ifndef RETORT_OPS_VOCAB_LOSS_H
#define RETORT_OPS_VOCAB_LOSS_H
#include <retort/base/status.h>
#include <stdint.h>

struct rt_head_tile; /* src/kernels/head.h */

enum {
    RT_NEEDS_TEACHER = 1,      /* the teacher's logits */
    RT_NEEDS_STUDENT_LSE = 2,  /* the log-sum-exps at the record's temperature */
    RT_NEEDS_TEACHER_LSE = 4,
    RT_NEEDS_STUDENT_TOP = 8,  /* the five largest logits' ids */
    RT_NEEDS_TEACHER_TOP = 16,
    RT_NEEDS_TOTALS = 32,      /* the gradient reads the sums over the whole vocabulary: values in a pass of their own */
    RT_SUMS_IF_SMOOTHED = 64,  /* `values` only matters with label smoothing */
    RT_FIXED_TEMPERATURE = 128 /* another one than the default is refused */
};

/* What `finish` gets of one position. Logarithms are natural, everything f64. */
typedef struct rt_vocab_row {
    int32_t target;
    int64_t vocab;
    double temperature, beta, label_smoothing;
    double student, teacher;         /* logits of the target (0 for an absent side) */
    double student_lse, teacher_lse; /* logsumexp(z/temperature), where needed */
    const double *sum;               /* [record's sums] over the vocabulary */
    const int32_t *student_top, *teacher_top; /* [5] ids by descending logit, ties to the lower id, -1: none; where needed */
    double student_top_logit;
} rt_vocab_row;

typedef struct rt_vocab_loss {
    const char *name, *about;
    unsigned needs;
    double temperature; /* the default */
    int sums;           /* sums over the vocabulary that `values` makes (0..2) */
    int columns;        /* results per term, summed over positions (>= 1) */
    void (*values)(const struct rt_head_tile *t);         /* t->sum[..]; NULL with sums 0 */
    void (*gradient)(const struct rt_head_tile *t);       /* t->dz += t->gain * d(value)/dz; NULL: a metric */
    void (*values_gradient)(const struct rt_head_tile *t); /* both at once, the same bits; optional */
    void (*finish)(const rt_vocab_row *r, double *columns); /* adds one position's value(s) */
    /* The number to report, from columns summed over `count` > 0 positions; NULL: columns[0]/count. */
    double (*report)(const double *columns, double count);
} rt_vocab_loss;

/* Reads one row of head's output (f64 [terms, width]; also of a sum of such outputs). Without positions 0. */
double rt_vocab_report(const rt_vocab_loss *loss, const double *row, int64_t width);
static inline double rt_vocab_count(const double *row, int64_t width) { return row[width - 1]; }
#endif
