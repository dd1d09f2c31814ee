/* moe_routes.h - routes of given scores through the registry's topk, for the suites moe and routers. */
#ifndef RT_TESTS_MOE_ROUTES_H
#define RT_TESTS_MOE_ROUTES_H
#include "harness.h"
#include <retort/base/mem.h>
#include <retort/graph/op.h>
#include <retort/ops/ops.h>
#include <retort/routers/router.h>
#include <string.h>

static inline rt_tensor made(rt_dtype t, int ndim, const int64_t *dim, double scale, uint64_t stream) {
    rt_tensor x = rt_tensor_make(t, ndim, dim, NULL);
    x.data = rt_zalloc(rt_tensor_bytes(&x));
    if (scale > 0) rt_fill_normal(&x, scale, stream);
    return x;
}

/* scores -> weights, ids (owned copies). */
typedef struct routes {
    rt_tensor weights, ids;
} routes;
static inline rt_tensor copied(const rt_tensor *t) {
    rt_tensor c = *t;
    c.data = rt_alloc(rt_tensor_bytes(t));
    memcpy(c.data, t->data, rt_tensor_bytes(t));
    return c;
}
static inline routes route(const rt_tensor *scores, int64_t k, bool renormalise) {
    rt_error err = {0};
    rt_graph *g = rt_graph_new("t");
    const rt_router *topk = NULL;
    rt_ref used, z = rt_graph_input(g, "scores", scores);
    RT_OK_OR_FAIL(rt_router_find("topk", &topk, &err));
    rt_router_context c = {.options = {scores->dim[1], k, renormalise}, .prec = rt_prec_uniform(scores->dtype)};
    rt_routing r = topk->build(g, &c, z, &used, "route");
    CU_ASSERT_EQUAL(used.id, z.id);
    rt_graph_output(g, r.weights);
    rt_graph_output(g, r.ids);
    RT_OK_OR_FAIL(rt_graph_plan(g, false, &err));
    RT_OK_OR_FAIL(rt_graph_forward(g, &err));
    routes out = {copied(rt_graph_value(g, r.weights)), copied(rt_graph_value(g, r.ids))};
    rt_graph_free(g);
    return out;
}
static inline void close_routes(routes *r) { rt_free(r->weights.data), rt_free(r->ids.data); }
#endif
