/* common.c - what operations share and is not worth inlining. */
#include "ops/common.h"

rt_status rt_infer_contract(rt_graph *g, rt_node *n) {
    const rt_contract *c = rt_contract_find(n->prec);
    if (c) return n->kernel = c->kernel, RT_OK;
    char a[48], b[48];
    return rt_infer_fail(g, n, RT_E_PREC, "no kernel for the contract '%s' (nearest: '%s')", rt_prec_text(n->prec, a),
                         rt_prec_text(rt_contract_nearest(n->prec)->prec, b));
}

void rt_call_overflow(const rt_call *c, const rt_tensor *t) {
    rt_call_fail(c, RT_E_NUMERIC, "%s overflow: a finite value is beyond the largest %s", rt_dtype_name(t->dtype), rt_dtype_name(t->dtype));
}

enum { BLOCK = 1 << 15 };
typedef struct pair {
    const rt_tensor *d, *s;
    int64_t n;
} pair;
static void add_block(void *context, int64_t task, int worker) {
    (void)worker;
    const pair *p = context;
    int64_t i = task * BLOCK, n = p->n - i < BLOCK ? p->n - i : BLOCK;
    if (p->d->dtype == RT_F64) {
        double *d = (double *)p->d->data + i;
        rt_rows_f64()->add(d, (const double *)p->s->data + i, d, n);
    } else {
        float *d = (float *)p->d->data + i;
        rt_rows_f32()->add(d, (const float *)p->s->data + i, d, n);
    }
}
void rt_add_gradient(const rt_tensor *d, const rt_tensor *s) {
    pair p = {d, s, rt_tensor_count(d)};
    rt_parallel((p.n + BLOCK - 1) / BLOCK, add_block, &p);
}
