/* health.h - how a router behaves over valid tokens: sums that add up over micro-batches and ranks, and the report they give.
 * One code for training and evaluation. Method, section 4.
 *
 * With p the softmax of the clean scores, n valid tokens, c_e how often e was chosen:
 *   router_z = mean logsumexp^2;  balance = E sum_e f_e P_e of each micro-batch, weighted by its tokens (decisions.md, 11);
 *   load_e = c_e/(n k);  cv = std/mean of load;  max_vio = (max - mean)/mean of load;  dead_fraction: experts with c_e = 0;
 *   entropy = mean over tokens of H(p);  neff = exp(H(mean p));  saturation = max_e mean p_e.
 * Clean against used routing, all exactly 0 when they are the same: js = mean Jensen-Shannon divergence of the two softmaxes,
 * flip = tokens whose first choice is not the clean first choice, moved = chosen experts that clean top-k would not choose. */
#ifndef RETORT_ROUTERS_HEALTH_H
#define RETORT_ROUTERS_HEALTH_H
#include <retort/tensor/tensor.h>

typedef struct rt_router_health {
    int64_t experts, k, tokens, flips, moved;
    double z, balance, entropy, js; /* sums over tokens */
    int64_t *count;                 /* [E] */
    double *probability;            /* [E] sums of p */
    void *memory;                   /* owned: all arrays, and rows for `add` */
} rt_router_health;

rt_status rt_router_health_open(rt_router_health *h, int64_t experts, int64_t k, rt_error *err) RT_NODISCARD;
void rt_router_health_close(rt_router_health *h);
void rt_router_health_reset(rt_router_health *h);
/* clean, used [N,E] f32 or f64 (both alike); ids i32 [N,k]; valid i32 [N] or NULL (all). used may be NULL or clean itself. */
void rt_router_health_add(rt_router_health *h, const rt_tensor *clean, const rt_tensor *used, const rt_tensor *ids, const rt_tensor *valid);
void rt_router_health_merge(rt_router_health *h, const rt_router_health *other);

typedef struct rt_router_report {
    int64_t tokens; /* 0: nothing was seen, the rest is 0 */
    double router_z, balance, cv, max_vio, entropy, neff, saturation, dead_fraction, js, flip, moved;
} rt_router_report;
/* load [E] may be NULL. */
rt_router_report rt_router_health_report(const rt_router_health *h, double *load);
#endif
