/* vocab_loss.h - the record that a vocabulary-level loss or metric is. Defined in src/losses, run by `head`.
 *
 * For every supervised position the head forms, from the logits z of each side it has, log p = z/tau - lse with p = softmax(z/tau).
 * A record then says which sums over the vocabulary it wants (of those that exist: src/kernels/head.h), what a position's value
 * is (`finish`), and, if it can be trained on, the gradient of that value with respect to the student's logits. `needs` says what
 * else must exist. What no record needs is not computed; what several need (exps at a temperature, a sum) is computed once. */
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
    RT_SUMS_IF_SMOOTHED = 32,  /* `sums` are wanted with label smoothing only */
    RT_FIXED_TEMPERATURE = 64  /* another one than the default is refused */
};

/* What `finish` gets of one position. Logarithms are natural, everything f64. */
typedef struct rt_vocab_row {
    int32_t target;
    int64_t vocab;
    double temperature, beta, label_smoothing;
    double student, teacher;         /* logits of the target (0 for an absent side) */
    double student_lse, teacher_lse; /* logsumexp(z/temperature), where needed */
    const double *sum;               /* [RT_SUM_KINDS] over the vocabulary; those of the record are there */
    const int32_t *student_top, *teacher_top; /* [5] ids by descending logit, ties to the lower id, -1: none; where needed */
    double student_top_logit;
} rt_vocab_row;

typedef struct rt_vocab_loss {
    const char *name, *about;
    unsigned needs;
    double temperature; /* the default */
    int columns;        /* results per term, summed over positions (>= 1) */
    /* Sets of sums over the vocabulary, each the bit 1 << RT_SUM_... of src/kernels/head.h: */
    unsigned sums;   /* what `finish` reads */
    unsigned totals; /* what `gradient` reads, of the whole vocabulary */
    unsigned along;  /* what `gradient` makes besides where it is asked to, with the same exps and the same bits */
    void (*gradient)(const struct rt_head_tile *t); /* t->dz += t->gain * d(value)/dz; NULL: a metric */
    void (*finish)(const rt_vocab_row *r, double *columns); /* adds one position's value(s) */
    /* The number to report, from columns summed over `count` > 0 positions; NULL: columns[0]/count. */
    double (*report)(const double *columns, double count);
} rt_vocab_loss;

/* Reads one row of head's output (f64 [terms, width]; also of a sum of such outputs). Without positions 0. */
double rt_vocab_report(const rt_vocab_loss *loss, const double *row, int64_t width);
static inline double rt_vocab_count(const double *row, int64_t width) { return row[width - 1]; }
#endif
