/* weights.h - the weights of a model as the forward pass reads them: one slot per matrix, experts stacked.
 *
 * The slots of a frozen model are the tensors of its files, borrowed: nothing is read before it is used. Experts are stacked
 * per layer in the layout of the experts operation: gate_up [E,2F,D] (gate rows first) and down [E,F,D] (transposed). A model
 * that is trained holds them so; the files hold them one by one, so a frozen model's expert slots have a shape but no data:
 * they are pieces of a bank (tensor/bank.h) that brings an expert when it is used. rt_weights_get gives a tensor of the files
 * back, bit for bit. */
#ifndef RETORT_MODEL_WEIGHTS_H
#define RETORT_MODEL_WEIGHTS_H
#include <retort/base/mem.h>
#include <retort/model/config.h>
#include <retort/model/precision.h>
#include <retort/tensor/bank.h>

typedef struct rt_slot {
    rt_weight_kind kind; /* EXPERT_GATE: gate_up, stacked; EXPERT_DOWN: down, stacked and transposed */
    int layer;           /* -1 where there is none */
    const char *name;    /* "layers.3.experts.gate_up" */
    rt_tensor t;         /* data NULL until allocated or bound, and in a slot of pieces */
    rt_pieces pieces;    /* of the experts of a frozen model; else without a bank */
    rt_role role;
} rt_slot;

typedef struct rt_weights {
    rt_model_config config;
    rt_slot *slots;
    int64_t count;
    void *block;       /* owned memory of slots that are not borrowed */
    size_t block_bytes;
    rt_bank *bank;       /* the experts of a frozen model; else NULL */
    const void **views;  /* [experts of all layers][gate, up, down]: the files' tensors, when there is a bank */
    rt_arena arena;
} rt_weights;

/* Shapes, names and dtypes by the policy; no data. */
rt_status rt_weights_layout(rt_weights *w, const rt_model_config *c, const rt_precision *p, rt_error *err) RT_NODISCARD;
/* The same slots, all f32 (f64 for f64): gradients, masters, moments. */
rt_status rt_weights_like(rt_weights *w, const rt_weights *of, rt_dtype t, rt_error *err) RT_NODISCARD;
rt_status rt_weights_alloc(rt_weights *w, rt_error *err) RT_NODISCARD; /* zeroed, one block, 64-byte aligned slots */
void rt_weights_free(rt_weights *w);                                   /* an all-zero one is fine */
/* N(0, 0.02); attention output and ffn down divided by sqrt(2 layers); norms 1, biases 0 (decisions.md, 22). */
void rt_weights_init(rt_weights *w, uint64_t seed);

/* Weight i of rt_weight_at, as it is in a file. */
typedef const rt_tensor *(*rt_weight_source)(void *context, int64_t i);
/* Borrows everything, experts through w->bank; slot dtypes become those of the source. For frozen models; reads no data. */
rt_status rt_weights_borrow(rt_weights *w, rt_weight_source source, void *context, rt_error *err) RT_NODISCARD;
/* At most so many bytes of experts present at once; 0: all that were used. RT_E_CONFIG: below one expert, or no experts. */
rt_status rt_weights_expert_budget(rt_weights *w, int64_t bytes, rt_error *err) RT_NODISCARD;
/* Copies all into allocated slots; a dtype that differs is RT_E_DTYPE. For models that are trained. */
rt_status rt_weights_copy(rt_weights *w, rt_weight_source source, void *context, rt_error *err) RT_NODISCARD;
/* Weight i as in a file: a view into a slot, or gathered into buffer (rows*columns elements of the slot's dtype). */
rt_tensor rt_weights_get(const rt_weights *w, int64_t i, void *buffer);
/* The slot of a kind in a layer (-1: none), or -1. */
int64_t rt_weights_find(const rt_weights *w, rt_weight_kind kind, int layer);
#endif
