/* coherence.h - do the experts pull in one direction? Method, section 4.
 *
 * ybar_e: mean unweighted output of expert e over its n_e tokens; ybar_mix: mean mixture over all valid tokens.
 *   phi_e = cos(ybar_e, ybar_mix);  phi_loo_e = cos(ybar_e, ybar_mix without e's own weighted part);
 *   phi_norm_e = phi_e sqrt(neff);  psi = sum_e share_e phi_e, share_e = n_e / (sum n).
 * Cosines need directions only, so sums serve for means. Sums (the trace of `rt_experts`, counts) add up over micro-batches and
 * ranks. An expert without tokens, or a direction of (almost) no length, is undefined: flagged, never 0. */
#ifndef RETORT_ROUTERS_COHERENCE_H
#define RETORT_ROUTERS_COHERENCE_H
#include <retort/tensor/tensor.h>

typedef struct rt_coherence {
    int64_t experts, width, tokens;
    int64_t *count; /* [E] chosen pairs of valid tokens */
    double *sum;    /* [2E,D] as in rt_experts' trace: outputs, weighted outputs */
    void *memory;   /* owned */
} rt_coherence;

rt_status rt_coherence_open(rt_coherence *c, int64_t experts, int64_t width, rt_error *err) RT_NODISCARD;
void rt_coherence_close(rt_coherence *c);
void rt_coherence_reset(rt_coherence *c);
/* trace f64 [2E,D]; ids i32 [N,k]; valid i32 [N] or NULL (all). */
void rt_coherence_add(rt_coherence *c, const rt_tensor *trace, const rt_tensor *ids, const rt_tensor *valid);
void rt_coherence_merge(rt_coherence *c, const rt_coherence *other);

typedef struct rt_expert_coherence {
    double phi, phi_loo, phi_norm;
    int64_t tokens;
    bool valid, loo_valid; /* phi and phi_norm are defined; phi_loo is */
} rt_expert_coherence;
typedef struct rt_layer_coherence {
    double psi, psi_loo; /* over the experts whose value is defined */
    bool valid, loo_valid;
} rt_layer_coherence;
/* neff: of the same tokens (health.h). experts: [E]. */
rt_layer_coherence rt_coherence_report(const rt_coherence *c, double neff, rt_expert_coherence *experts);

/* Averages at three rates, which move only when their track is observed:
 *   m = d m + (1 - d) x,  value = m / (1 - d^observations).
 * The arrays are the whole state: saved and restored as they are. */
enum { RT_EMA_FAST, RT_EMA_MIDDLE, RT_EMA_SLOW, RT_EMA_RATES };
extern const double rt_ema_decay[RT_EMA_RATES]; /* 0.9, 0.99, 0.999 */
typedef struct rt_ema {
    int64_t tracks;
    double *mean;          /* [RT_EMA_RATES, tracks], not yet corrected; owned */
    int64_t *observations; /* [tracks], in the same block */
} rt_ema;

rt_status rt_ema_open(rt_ema *e, int64_t tracks, rt_error *err) RT_NODISCARD;
void rt_ema_close(rt_ema *e);
void rt_ema_observe(rt_ema *e, int64_t track, double x);
double rt_ema_value(const rt_ema *e, int rate, int64_t track); /* NaN before the first observation */
double rt_ema_drift(const rt_ema *e, int64_t track);           /* fast - slow; NaN before the first */
#endif
