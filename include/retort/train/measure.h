/* measure.h - everything a pass over batches tells: sums of losses and metrics, router health, coherence. Sums add up over
 * micro-batches; a report divides once. The same code in training and in evaluation. */
#ifndef RETORT_TRAIN_MEASURE_H
#define RETORT_TRAIN_MEASURE_H
#include <retort/base/json.h>
#include <retort/routers/coherence.h>
#include <retort/routers/health.h>
#include <retort/train/step_graph.h>

typedef struct rt_measures {
    const rt_head_term *terms; /* borrowed */
    int n_terms;
    int64_t width;        /* columns of a head row */
    double *head;         /* [n_terms, width] sums */
    int64_t layers, experts;
    bool *mixture;        /* [layers] */
    rt_router_health *health;
    rt_coherence *coherence;
    bool traced;
    int64_t supervised, valid, batches;
    double bytes; /* original text covered by the supervised targets */
} rt_measures;

rt_status rt_measures_open(rt_measures *m, const rt_model_config *c, const rt_step_graph *s, const rt_head_term *terms, bool traced,
                           rt_error *err) RT_NODISCARD;
void rt_measures_close(rt_measures *m);
void rt_measures_reset(rt_measures *m);
void rt_measures_add(rt_measures *m, const rt_step_graph *s, const rt_batch *b);

double rt_measures_term(const rt_measures *m, int i);  /* mean of a term; 0 without positions */
double rt_measures_router_z(const rt_measures *m);     /* mean over MoE layers, unscaled */
double rt_measures_balance(const rt_measures *m);
/* One MoE layer: router_z, balance, load[], entropy, neff, max_vio, dead_fraction, ..., coherence[], psi. NULL: out of memory. */
json_t *rt_measures_layer_json(const rt_measures *m, int64_t layer);
json_t *rt_measures_layers_json(const rt_measures *m); /* array of objects with "layer", of MoE layers */
#endif
