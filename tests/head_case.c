/* head_case.c - one run of the head: leaves of every kind, filled at random or by the test, and what comes out. */
#include "head_case.h"
#include <retort/base/mem.h>
#include <retort/base/rng.h>
#include <string.h>

const rt_prec head_f64 = {RT_F64, RT_F64, RT_F64, RT_F64, RT_F64};
const rt_prec head_f32 = {RT_F32, RT_F32, RT_F32, RT_F32, RT_F32};
const rt_prec head_f16 = {RT_F16, RT_F16, RT_F32, RT_F32, RT_F32};

static rt_tensor matrix(rt_dtype t, int64_t rows, int64_t columns, double scale, uint64_t stream) {
    rt_tensor m = rt_tensor_2d(t, NULL, rows, columns);
    m.data = rt_zalloc(rt_tensor_bytes(&m));
    if (scale > 0) rt_fill_normal(&m, scale, stream);
    return m;
}

void head_case_make(head_case *c) {
    double scale = c->scale > 0 ? c->scale : 1;
    if (!c->padded) c->padded = c->V;
    for (int s = 0; s < 2; s++) {
        rt_prec p = c->prec[s];
        if (p.acc == RT_NONE) continue;
        if (c->given[s]) c->logits[s] = matrix(p.acc, c->N, c->padded, scale, (uint64_t)(10 + s));
        else c->hidden[s] = matrix(p.in, c->N, c->D[s], 1, (uint64_t)(20 + s)), c->weight[s] = matrix(p.weight, c->padded, c->D[s], scale, (uint64_t)(30 + s));
    }
    rt_dtype grad = c->prec[0].acc;
    if (c->given[0]) c->d_logits = matrix(grad, c->N, c->padded, 0, 0);
    else c->d_hidden = matrix(grad, c->N, c->D[0], 0, 0), c->d_weight = matrix(grad, c->padded, c->D[0], 0, 0);
    c->target = rt_alloc((size_t)c->N * sizeof *c->target);
    rt_rng r = rt_rng_make(3, "targets", 0);
    for (int64_t i = 0; i < c->N; i++) c->target[i] = i % 7 == 5 ? -1 : (int32_t)rt_rng_below(r, (uint64_t)i, (uint64_t)c->V);
    for (int i = 0; i < c->n_terms; i++) c->gains[i] = 0.3 + 0.2 * i;
    c->out = matrix(RT_F64, RT_HEAD_TERMS_MAX, 64, 0, 0);
}

void head_case_free(head_case *c) {
    for (int s = 0; s < 2; s++) rt_free(c->hidden[s].data), rt_free(c->weight[s].data), rt_free(c->logits[s].data);
    rt_free(c->d_hidden.data), rt_free(c->d_weight.data), rt_free(c->d_logits.data), rt_free(c->target), rt_free(c->out.data);
}

/* The student's tensors are trained, the teacher's are not. */
static rt_ref leaf(rt_graph *g, const char *name, const rt_tensor *t, const rt_tensor *d, const head_case *c) {
    if (t->ndim == 0) return RT_NULL;
    if (!d) return rt_graph_param(g, name, t, NULL);
    if (c->evaluate) return rt_graph_variable(g, name, t);
    memset(d->data, c->fresh ? 0xff : 0, rt_tensor_bytes(d));
    return rt_graph_param(g, name, t, d);
}
rt_ref head_case_build(head_case *c, rt_graph *g) {
    rt_tensor targets = rt_tensor_1d(RT_I32, c->target, c->N), gains = rt_tensor_1d(RT_F64, c->gains, c->n_terms);
    rt_head_config config = {.targets = rt_graph_input(g, "targets", &targets), .gains = rt_graph_input(g, "gains", &gains), .terms = c->terms,
                             .n_terms = c->n_terms, .vocab = c->V, .budget = c->budget, .rows = c->rows};
    rt_tensor active = rt_tensor_1d(RT_I32, c->active, c->n_terms), temperatures = rt_tensor_1d(RT_F64, c->temperatures, c->n_terms);
    if (c->active) config.active = rt_graph_input(g, "active", &active);
    if (c->temperatures) config.temperatures = rt_graph_input(g, "temperatures", &temperatures);
    for (int s = 0; s < 2; s++) {
        rt_head_side *side = s ? &config.teacher : &config.student;
        side->prec = c->prec[s];
        side->hidden = leaf(g, "hidden", &c->hidden[s], s ? NULL : &c->d_hidden, c);
        side->weight = leaf(g, "weight", &c->weight[s], s ? NULL : &c->d_weight, c);
        side->logits = leaf(g, "logits", &c->logits[s], s ? NULL : &c->d_logits, c);
    }
    rt_ref out = rt_head(g, &config, "head", &c->rows_used);
    rt_graph_output(g, out);
    return out;
}
static rt_status run(head_case *c, rt_graph *g, rt_error *err) {
    rt_ref out = head_case_build(c, g);
    RT_TRY(rt_graph_plan(g, !c->evaluate, err));
    if (c->fresh) rt_graph_fresh_gradients(g);
    RT_TRY(rt_graph_forward(g, err));
    if (!c->evaluate) RT_TRY(rt_graph_backward(g, err));
    const rt_tensor *value = rt_graph_value(g, out);
    c->out.dim[0] = value->dim[0], c->out.dim[1] = value->dim[1];
    memcpy(c->out.data, value->data, rt_tensor_bytes(value));
    c->stats = rt_graph_stats_get(g);
    return RT_OK;
}
rt_status head_case_run(head_case *c, rt_error *err) {
    rt_graph *g = rt_graph_new("test");
    if (!g) return rt_fail(err, RT_E_NOMEM, "out of memory");
    rt_status s = run(c, g, err);
    rt_graph_free(g);
    return s;
}
double head_case_report(const head_case *c, int term) {
    return rt_vocab_report(c->terms[term].loss, (const double *)c->out.data + term * c->out.dim[1], c->out.dim[1]);
}

const rt_head_term head_all[HEAD_ALL] = {
    {&rt_loss_next_token, 0, 0, 0.1}, {&rt_loss_forward_kl, 2, 0, 0}, {&rt_loss_reverse_kl, 1, 0, 0}, {&rt_loss_jsd, 0, 0.3, 0},
    {&rt_loss_tv, 0, 0, 0},           {&rt_loss_teacher_ce, 0, 0, 0}, {&rt_loss_kl_t1, 0, 0, 0},      {&rt_loss_top1_agreement, 0, 0, 0},
    {&rt_loss_top5_overlap, 0, 0, 0}, {&rt_loss_acceptance, 0, 0, 0}, {&rt_loss_calibration, 0, 0, 0}};

head_case head_case_big(int64_t rows) {
    return (head_case){.N = 333, .D = {40, 56}, .V = 1100, .padded = 1104, .prec = {head_f32, head_f16}, .terms = head_all, .n_terms = HEAD_ALL,
                       .rows = rows, .scale = 0.4};
}
bool head_case_same(const rt_tensor *a, const rt_tensor *b) { return memcmp(a->data, b->data, rt_tensor_bytes(a)) == 0; }
