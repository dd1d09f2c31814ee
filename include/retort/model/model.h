/* model.h - THE description of a forward pass. Teacher, student, training, evaluation and generation all build from this
 * one function; it holds no check, no dtype and no mode of its own.
 *
 *   block: x += o(attention(rope(qkv(norm x))));  x += ffn(norm x)   (dense: down(swiglu(gate_up)); MoE: router, experts)
 * and, where the family has them: biases of q, k, v; norms of queries and keys before rope; a shared expert beside the routed.
 * Touvron et al. 2023 (Llama); Jiang et al. 2024 (Mixtral); Yang et al. 2024, 2025 (Qwen2, Qwen3); Muennighoff et al. 2024 (OLMoE). */
#ifndef RETORT_MODEL_MODEL_H
#define RETORT_MODEL_MODEL_H
#include <retort/graph/graph.h>
#include <retort/model/kv_cache.h>
#include <retort/model/weights.h>
#include <retort/routers/router.h>

typedef struct rt_model_inputs { /* i32 [N] each; text/batch.h */
    rt_ref ids, position, start, valid;
    rt_ref sequence; /* instead of start when there is a cache: which sequence a row belongs to, -1 for padding */
} rt_model_inputs;

typedef struct rt_model_options {
    int64_t length;             /* rows of a window, T: the longest document segment */
    const rt_kv_cache *cache;   /* attention appends to it and reads past rows from it; NULL: rows see this run's only */
    bool recompute;             /* blocks are recomputed in backward: less memory, same bits */
    bool trace;                 /* coherence sums of the experts; no other bit changes */
    const rt_router *router;       /* the policy; NULL: the first of rt_routers (topk) */
    const rt_router_state *states; /* [layers] of the policy; NULL where it has none */
} rt_model_options;

typedef struct rt_model_layer { /* of a layer with experts; null references in a dense one */
    rt_ref scores;  /* clean router logits f32 [N,E] */
    rt_ref used;    /* those that were routed by; `scores` itself for a neutral policy */
    rt_ref weights; /* f32 [N,k] */
    rt_ref ids;     /* i32 [N,k] */
    rt_ref trace;   /* f64 [2E,D] when traced */
} rt_model_layer;

typedef struct rt_model {
    rt_ref hidden; /* after the final norm [N,D], dtype act[head] */
    rt_ref head;   /* the output matrix [V,D]: a parameter of the graph */
    rt_ref *weights; /* [slots]: their leaves */
    rt_model_layer *layers;
    int64_t n_layers;
    float *cos, *sin;    /* [max(length), head_dim/2], f32 by definition */
    double *cos64, *sin64; /* f64 models */
} rt_model;

/* Adds the model to the graph. `grads` (rt_weights_like) makes the weights trained; NULL leaves them constant, or, with
 * variable, fixed but changing between runs (the student's own weights in evaluation). The model must outlive the graph. */
rt_status rt_model_build(rt_graph *g, const rt_weights *w, const rt_weights *grads, bool variable, const rt_precision *p,
                         const rt_model_options *o, rt_model_inputs in, rt_model *m, rt_error *err) RT_NODISCARD;
void rt_model_free(rt_model *m);
/* Angles of position t, pair i: t / theta^(2i/head_dim), scaled as the configuration says; computed in f64. */
void rt_rope_frequencies(const rt_model_config *c, double *frequency /* [head_dim/2] */);
#endif
