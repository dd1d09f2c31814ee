/* evaluate.h - the one evaluation, in-loop and standalone (method, section 7). On the same batch it equals the training forward
 * bit for bit; two evaluations of the same weights on the same data give the same digits. */
#ifndef RETORT_TRAIN_EVALUATE_H
#define RETORT_TRAIN_EVALUATE_H
#include <retort/train/measure.h>
#include <retort/train/projector.h>

/* What evaluation reports, as terms of the head: `kl` at temperature tau, JSD with beta. Returns how many it wrote. */
enum { RT_METRIC_TERMS = 10 };
int rt_metric_terms(bool with_teacher, double tau, double beta, rt_head_term out[RT_METRIC_TERMS]);

typedef struct rt_evaluator_options {
    const rt_weights *weights;       /* of the student, or of any model; read at each run */
    const rt_precision *precision;
    rt_forward *teacher;             /* planned for the same windows and T; NULL without a teacher */
    rt_projector *projector;         /* with a teacher */
    const rt_head_term *objective;   /* terms before the metrics, at the temperatures they were built with: then the tape is the */
    int n_objective;                 /* training tape of that objective. 0: none */
    int64_t windows, T, vocab;
    double temperature;              /* of `kl`: the job's; 0: 1 */
    double jsd_beta;                 /* 0: 0.5 */
    bool trace;
    const rt_router *router;
    const rt_router_state *states;
    int64_t head_budget, head_rows;
    bool sketch;                     /* no memory for plans and batch: only to be measured */
    rt_workspace *space;             /* the teacher's; NULL: memory of its own */
} rt_evaluator_options;

typedef struct rt_evaluator rt_evaluator;
rt_status rt_evaluator_open(rt_evaluator **out, const rt_evaluator_options *o, rt_error *err) RT_NODISCARD;
void rt_evaluator_close(rt_evaluator *e); /* NULL is fine */

typedef struct rt_evaluation {
    int64_t tokens, windows;
    double bytes, seconds;
    double ce, perplexity, bits_per_byte;                /* bits_per_byte NaN when the data does not know its bytes */
    bool with_teacher;
    double teacher_ce, kl_t1, kl, reverse_kl, jsd, top1_agreement, top5_overlap, acceptance, calibration_error;
    double drafts[3];                                    /* expected tokens per teacher pass for drafts of 2, 4, 8 */
    double projector_kl;                                 /* KL(projected, teacher); 0 with shared */
    double router_z, balance;
} rt_evaluation;

/* Over windows [0, count) of w, at most `limit` supervised tokens (0: all; whole batches). RT_E_INPUT: nothing to score. */
rt_status rt_evaluator_run(rt_evaluator *e, const rt_windows *w, int64_t limit, rt_evaluation *out, rt_error *err) RT_NODISCARD;
/* Everything of the last run but provenance: the keys of interfaces.md, layers included. NULL: out of memory. */
json_t *rt_evaluator_json(const rt_evaluator *e, const rt_evaluation *v);
/* Of the last run: the objective's terms, then the metrics. */
const rt_measures *rt_evaluator_measures(const rt_evaluator *e);
const rt_graph *rt_evaluator_graph(const rt_evaluator *e);
/* Of the teacher's states through the projector, and of how well it fits them; NULL where nothing is computed. */
const rt_graph *rt_evaluator_projection(const rt_evaluator *e, bool fit);
#endif
