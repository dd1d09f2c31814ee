/* projector.h - the logit projector: a teacher's hidden state h [D_t] as logits over the student's vocabulary.
 *
 *   shared     z = h P^T, P the teacher's own output matrix (a const view): its logits, bit for bit; no parameters
 *   factored   z = (W h + b) E_s^T, W [D_s,D_t], b [D_s]; E_s the student's output matrix (the embedding if tied)
 *
 * Two objects. An rt_projector is the weights. An rt_projection is a plan of it over the hidden states of one teacher
 * pass; training and evaluation build it with the same function and read the same W and b. Either kind gives the
 * teacher side of the student's head: {rt_projection_hidden, rt_projector_matrix, rt_projector_prec}, three addresses
 * and contracts that never change, so a trainer need not know the kind.
 *
 * W and b are created in the dtype of the teacher's hidden states and stay in it; f32 masters and moments stand beside
 * them, and after each step one rounding refreshes W and b. E_s is borrowed and never recast: a cast node copies it
 * into the projector's dtype once per optimizer step (rt_projector_refresh). No gradient reaches E_s or the teacher,
 * and the student's graph, which gets W h + b as an input, cannot train W or b: only next-token cross-entropy does
 * (rt_projection_run, TRAIN). A projector in another dtype than the teacher's states is RT_E_DTYPE when a plan is
 * opened, in every use alike. */
#ifndef RETORT_TRAIN_PROJECTOR_H
#define RETORT_TRAIN_PROJECTOR_H
#include <retort/text/loader.h>
#include <retort/infer/forward.h>
#include <retort/train/job.h>

/* Ids of both tokenizers mean the same, which both kinds need. RT_E_CONFIG names sizes and hashes of both. */
typedef struct rt_tokenizer_id {
    const char *hash; /* SHA-256, hex; NULL: unknown */
    int64_t size;     /* V */
} rt_tokenizer_id;
rt_status rt_projector_check(int kind, rt_tokenizer_id teacher, rt_tokenizer_id student, rt_error *err) RT_NODISCARD;

/* ------------------------------------------------------------------- weights */

typedef struct rt_projector_options {
    int kind;                  /* RT_PROJECTOR_SHARED or RT_PROJECTOR_FACTORED */
    const rt_weights *teacher; /* borrowed for the projector's life, like all that follows */
    const rt_precision *teacher_precision;
    const rt_weights *student;        /* its compute weights; NULL with shared */
    rt_dtype dtype;                   /* of W and b; RT_NONE: the dtype of the teacher's hidden states */
    int64_t vocab;                    /* V: rows of the matrices beyond it are padding */
    const rt_optim_config *optimizer; /* factored; NULL: for evaluation only, no masters and moments */
    bool sketch;                      /* no memory, and none in its projections: only to be measured (rt_graph_sketch) */
    rt_workspace *space;             /* of its plans (rt_projection_open); NULL: memory of their own */
} rt_projector_options;

typedef struct rt_projector rt_projector;
/* W and b are 0 until rt_projector_fit or rt_projector_load. */
rt_status rt_projector_open(rt_projector **out, const rt_projector_options *o, rt_error *err) RT_NODISCARD;
void rt_projector_close(rt_projector *p); /* NULL is fine */

/* The closed-form start: W = argmin ||E_s W - E_t||^2 + lambda ||W||^2 over the rows < V, b = 0; moments and steps 0.
 * E_t is the teacher's output matrix. Solved in f64 (normal equations, Cholesky) and rounded into
 * the f32 masters, these into W as after any step. With shared: nothing.
 * RT_E_NUMERIC: the matrix is not positive definite (lambda 0), or a weight is beyond the dtype's range. */
rt_status rt_projector_fit(rt_projector *p, double lambda, rt_error *err) RT_NODISCARD;
/* Casts E_s again: after each step of the student, and after its weights were loaded. With shared: nothing. */
rt_status rt_projector_refresh(rt_projector *p, rt_error *err) RT_NODISCARD;
/* One optimizer step on the gradients gathered since the last, which it clears. With shared: nothing. stats or NULL. */
rt_status rt_projector_step(rt_projector *p, double lr, rt_optim_stats *stats, rt_error *err) RT_NODISCARD;
void rt_projector_forget(rt_projector *p); /* clears the gradients gathered since: a step that failed on its way */

int rt_projector_kind_of(const rt_projector *p);
bool rt_projector_trainable(const rt_projector *p); /* factored, with an optimizer */
int64_t rt_projector_steps(const rt_projector *p);
/* [V',D]: E_t, or E_s in the projector's dtype; its place never moves. And the contract of hidden x matrix in a head. */
const rt_tensor *rt_projector_matrix(const rt_projector *p);
rt_prec rt_projector_prec(const rt_projector *p);
/* W and b as they are computed with; data NULL with shared. */
const rt_tensor *rt_projector_weight(const rt_projector *p);
const rt_tensor *rt_projector_bias(const rt_projector *p);
int64_t rt_projector_bytes(const rt_projector *p); /* W, b, what belongs to them, and the cast E_s; 0 with shared */
/* What rt_projector_fit takes while it runs; 0 with shared. */
int64_t rt_projector_fit_bytes(const rt_projector *p);

/* A safetensors file: projector.weight, projector.bias, and, where there is an optimizer, .master, .m, .v of each, and
 * the steps. `projector` is an rt_projector: the signature is rt_checkpoint_file's. With shared there is nothing to
 * save: RT_E_ARG. */
rt_status rt_projector_save(const char *path, void *projector, rt_error *err) RT_NODISCARD;
/* Bit for bit what was saved. RT_E_DTYPE, RT_E_SHAPE, RT_E_INPUT when the file does not fit. Without an optimizer only
 * W, b. */
rt_status rt_projector_load(rt_projector *p, const char *path, rt_error *err) RT_NODISCARD;

/* --------------------------------------------------------------------- plans */

typedef enum rt_projection_use {
    RT_PROJECTION_HIDDEN,  /* W h + b alone: evaluation, and training with an unchanging projector */
    RT_PROJECTION_TRAIN,   /* the same, and gradients of next-token cross-entropy; not trainable: as HIDDEN */
    RT_PROJECTION_COMPARE, /* the same, and KL(teacher, projected) at temperature 1: how well the projector fits */
} rt_projection_use;

typedef struct rt_projection rt_projection;
/* `teacher_hidden` [N,D_t] is read in place at each run (rt_forward_hidden). budget: bytes of head scratch, 0: default. */
rt_status rt_projection_open(rt_projection **out, rt_projector *p, const rt_tensor *teacher_hidden,
                             rt_projection_use use, int64_t budget, rt_error *err) RT_NODISCARD;
void rt_projection_close(rt_projection *x); /* NULL is fine; before its projector */
/* After the teacher's pass. `targets` i32 [N] (-1: not supervised; HIDDEN: not read). TRAIN adds `gain` x d(sum of the
 * cross-entropies)/d(W, b) to the projector's gradients: gain is 1 / (supervised targets of the whole optimizer batch).
 */
rt_status rt_projection_run(rt_projection *x, int32_t *targets, double gain, rt_error *err) RT_NODISCARD;
/* W h + b [N,D_s], or with shared the teacher's own tensor; valid until the next run, its place never moves. */
const rt_tensor *rt_projection_hidden(const rt_projection *x);
rt_graph *rt_projection_graph(const rt_projection *x); /* NULL where nothing is computed */
/* Of the last run: cross-entropy (TRAIN) or KL (COMPARE) in nats summed over `count` supervised positions; else zeros.
 */
void rt_projection_sum(const rt_projection *x, double *sum, double *count);

/* ---------------------------------------------------------------- whole loops */

typedef struct rt_projector_prefit {
    int64_t steps;
    double lr;
    int64_t batch, accumulate, T; /* batch * T: the rows the teacher is planned for */
    uint64_t seed;                /* of the run; the order of windows is a stream of its own */
    int64_t budget;
    const double *weights; /* [weight_count] of the sources (loader.h); NULL: all 1 */
    int64_t weight_count;
    /* After each step, with the mean cross-entropy before it; false stops with RT_E_INTERRUPTED. NULL is fine. */
    bool (*each)(void *context, int64_t step, double cross_entropy);
    void *context;
} rt_projector_prefit;
/* Steps on true next tokens of `train`, before the first step of the student. */
rt_status rt_projector_run_prefit(rt_projector *p, rt_forward *teacher, rt_token_view train,
                                  const rt_projector_prefit *o, rt_error *err) RT_NODISCARD;
/* Mean KL(teacher, projected) over the supervised positions of the first `limit` windows (0: all). Changes nothing. */
rt_status rt_projector_kl(rt_projector *p, rt_forward *teacher, const rt_windows *w, int64_t limit, int64_t budget,
                          double *kl, rt_error *err) RT_NODISCARD;
#endif
