/* optim.h - one optimizer step over flat f32 parameter blocks: clip, update, round into the compute copies.
 *
 *     norm = || scale g ||   over all parameters;   g <- scale min(1, clip / norm) g;   then the method, element by element
 *
 * Master weights, gradients and moments are f32 arrays owned by the caller. Norms are sums in f64 over fixed blocks of
 * 65536 elements, added in order: bits do not depend on the number of threads. A step allocates nothing. The state to save is
 * m, v, and the number of steps; with them a continued run has the bits of an uninterrupted one. */
#ifndef RETORT_OPTIM_OPTIM_H
#define RETORT_OPTIM_OPTIM_H
#include <retort/tensor/dtype.h>

typedef struct rt_optim_param {
    const char *name;  /* for errors; borrowed for the optimizer's life */
    int64_t count;     /* elements of each array; > 0 */
    float *master;     /* [count] updated in place */
    const float *grad; /* [count] */
    float *m, *v;      /* [count] first and second moments; zeroed by the caller before the first step */
    void *compute;     /* [count] a copy rounded to compute_dtype after every step, or NULL */
    rt_dtype compute_dtype; /* RT_F16 or RT_BF16 (round to nearest even) or RT_F32; ignored without `compute` */
    bool decay;             /* weight decay applies: matrices, not norms, biases, embeddings */
} rt_optim_param;

typedef struct rt_optim_config {
    const char *name; /* of optimizers.def: "adamw" */
    double beta1, beta2;
    double eps; /* a normal f32 number: one that rounds to 0 would divide by 0 */
    double weight_decay;
    double clip; /* largest global gradient norm; 0: no clipping */
} rt_optim_config;

typedef struct rt_optim_stats {
    double grad_norm;   /* scaled, before clipping */
    double clip;        /* the factor applied, 1 where none was */
    double param_norm;  /* after the step */
    double update_norm; /* of what was subtracted, decay included */
} rt_optim_stats;

/* Of the last step: wall seconds of its two passes, and the bytes that each moves at least. */
typedef struct rt_optim_cost {
    double norm_seconds, norm_bytes, update_seconds, update_bytes;
} rt_optim_cost;

typedef struct rt_optim rt_optim;
/* Copies the descriptions, not the arrays. RT_E_ARG: a missing gradient, arrays that overlap (a parameter in two
 * groups), constants out of range. RT_E_CONFIG: an unknown method. */
rt_status rt_optim_create(const rt_optim_config *config, const rt_optim_param *params, int64_t count, rt_optim **out,
                          rt_error *err) RT_NODISCARD;
void rt_optim_free(rt_optim *o); /* NULL is fine */
/* grad_scale: 1 / (loss scale), or 1. RT_E_NUMERIC, with nothing changed, when the gradient's norm is not finite: the error
 * names the first such parameter, stats->grad_norm is set. stats may be NULL. */
rt_status rt_optim_step(rt_optim *o, double lr, double grad_scale, rt_optim_stats *stats, rt_error *err) RT_NODISCARD;
/* Rounds every master into its compute copy, as after a step: once the masters are filled or restored. */
void rt_optim_refresh(rt_optim *o);
int64_t rt_optim_steps(const rt_optim *o);
rt_optim_cost rt_optim_cost_get(const rt_optim *o);
void rt_optim_set_steps(rt_optim *o, int64_t steps); /* on resume */

/* Names of the methods, NULL-terminated. */
extern const char *const rt_optim_names[];
#endif
