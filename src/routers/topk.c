/* topk: softmax over all experts, the k highest, weights divided by their sum where the architecture says so. The neutral
 * policy: routes by the clean scores, keeps no state.   Mixtral (Jiang et al. 2024), Qwen3-MoE. */
#include <retort/routers/router.h>

static rt_routing build(rt_graph *g, const rt_router_context *c, rt_ref z_clean, rt_ref *used, const char *role) {
    *used = z_clean;
    return rt_route(g, z_clean, c->options.k, c->options.renormalise, c->prec, role);
}

extern const rt_router rt_router_topk;
const rt_router rt_router_topk = {.name = "topk", .summary = "softmax, the k highest", .build = build};
