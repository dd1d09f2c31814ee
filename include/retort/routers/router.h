/* router.h - routing policies: from clean scores z = x W_r^T [N,E] to the experts of each token and their weights.
 *
 * A policy is one file in src/routers and one line in routers.def. It only sees [N,E]: a token's route depends on that token
 * alone, permuting tokens permutes routes. It never changes z_clean; a policy that routes by other logits makes them with
 * nodes of its own and hands them out as `used`, so that health can compare both.
 *
 * State (biases, trust) is const while a graph runs. It lives in named arrays that a session binds as inputs, saves to
 * state.json and restores; it changes in one place only, rt_router_update, after an optimizer step. */
#ifndef RETORT_ROUTERS_ROUTER_H
#define RETORT_ROUTERS_ROUTER_H
#include <retort/ops/ops.h>

/* What the architecture fixes. */
typedef struct rt_router_options {
    int64_t experts, k;
    bool renormalise; /* the k weights sum to 1 */
} rt_router_options;

enum { RT_ROUTER_ARRAYS = 4 };
/* One layer's state: arrays of f32, f64 or i64, owned. A policy without state has none. */
typedef struct rt_router_state {
    int count;
    const char *name[RT_ROUTER_ARRAYS];
    rt_tensor array[RT_ROUTER_ARRAYS];
} rt_router_state;

/* What one optimizer step showed of one layer, over its valid tokens. */
typedef struct rt_router_observation {
    int64_t tokens;
    const int64_t *count;    /* [E] chosen pairs */
    const double *coherence; /* [E] slow average of each expert's phi, NaN where never observed; NULL when not traced */
} rt_router_observation;

typedef struct rt_router_context {
    rt_router_options options;
    int layer;
    rt_prec prec;                 /* f32 (f64 in reference graphs) */
    const rt_router_state *state; /* NULL when the policy has none */
} rt_router_context;

typedef struct rt_router {
    const char *name, *summary;
    /* Names and shapes (data NULL) of one layer's arrays, which start zeroed. NULL: no state. */
    void (*declare)(const rt_router_options *o, rt_router_state *shapes);
    /* Sets *used to the logits that were routed by: z_clean itself for a neutral policy. */
    rt_routing (*build)(rt_graph *g, const rt_router_context *c, rt_ref z_clean, rt_ref *used, const char *role);
    void (*update)(const rt_router_options *o, rt_router_state *s, const rt_router_observation *seen); /* NULL: nothing moves */
} rt_router;

extern const rt_router *const rt_routers[]; /* routers.def, NULL-terminated */
/* RT_E_CONFIG with the nearest name when there is none of this name. */
rt_status rt_router_find(const char *name, const rt_router **router, rt_error *err) RT_NODISCARD;
rt_status rt_router_state_open(rt_router_state *s, const rt_router *r, const rt_router_options *o, rt_error *err) RT_NODISCARD;
void rt_router_state_close(rt_router_state *s); /* a zeroed one is fine */
void rt_router_update(const rt_router *r, const rt_router_options *o, rt_router_state *s, const rt_router_observation *seen);
#endif
