/* common.c - what operations share and is not worth inlining. */
#include "ops/common.h"
#include <string.h>

rt_status rt_infer_contract(rt_graph *g, rt_node *n) {
    const rt_contract *c = rt_contract_find(n->prec);
    if (c) return n->kernel = c->kernel, RT_OK;
    char a[48], b[48];
    return rt_infer_fail(g, n, RT_E_PREC, "no kernel for the contract '%s' (nearest: '%s')", rt_prec_text(n->prec, a),
                         rt_prec_text(rt_contract_nearest(n->prec)->prec, b));
}

void rt_call_overflow(const rt_call *c, const rt_tensor *t) {
    bool rounded = t->dtype == RT_F32 && rt_dtype_is_half(c->node->prec.out); /* inside a chain: f32, but rounded */
    const char *name = rt_dtype_name(rounded ? c->node->prec.out : t->dtype);
    rt_call_fail(c, RT_E_NUMERIC, "%s overflow: a finite value is beyond the largest %s", name, name);
}

enum { BLOCK = 1 << 15 };
typedef struct pair {
    const rt_tensor *d, *s;
    int64_t n;
    bool fresh;
} pair;
static void add_block(void *context, int64_t task, int worker) {
    (void)worker;
    const pair *p = context;
    int64_t i = task * BLOCK, n = p->n - i < BLOCK ? p->n - i : BLOCK;
    size_t size = rt_dtype_size(p->d->dtype);
    void *d = (char *)p->d->data + (size_t)i * size;
    const void *s = (const char *)p->s->data + (size_t)i * size;
    if (p->fresh) memcpy(d, s, (size_t)n * size);
    else if (p->d->dtype == RT_F64) rt_rows_f64()->add(d, s, d, n);
    else rt_rows_f32()->add(d, s, d, n);
}
void rt_add_gradient(const rt_call *c, int k, const rt_tensor *s) {
    pair p = {&c->din[k], s, rt_tensor_count(s), rt_is_fresh(c, k)};
    rt_parallel((p.n + BLOCK - 1) / BLOCK, add_block, &p);
}
