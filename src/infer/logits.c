/* logits.c - the forward pass, then the output matrix over all rows of one window. */
#include <retort/ops/ops.h>
#include <retort/infer/logits.h>
#include <math.h>

static rt_status build_head(rt_logits *l, const rt_weights *w, const rt_precision *p, rt_error *err) {
    rt_dtype wide = p->weight[rt_role_head] == RT_F64 ? RT_F64 : RT_F32;
    if (!(l->head = rt_graph_new("logits"))) return rt_fail(err, RT_E_NOMEM, "out of memory");
    int64_t slot = rt_weights_find(w, w->config.tie_embeddings ? RT_WEIGHT_EMBED : RT_WEIGHT_HEAD, -1);
    rt_tensor hidden = *rt_forward_hidden(&l->forward);
    l->hidden = rt_graph_input(l->head, "hidden", &hidden);
    rt_ref matrix = rt_graph_param(l->head, "head", &w->slots[slot].t, NULL);
    rt_prec prec = rt_role_prec(p, rt_role_head, p->act[rt_role_head], wide);
    prec.weight = w->slots[slot].t.dtype;
    l->out = rt_linear(l->head, l->hidden, matrix, prec, "head");
    rt_graph_output(l->head, l->out);
    return rt_graph_plan(l->head, false, err);
}

static rt_status open_all(rt_logits *l, const rt_weights *w, const rt_precision *p, int64_t T, rt_error *err) {
    RT_TRY(rt_forward_open(&l->forward, w, p, &(rt_forward_options){.name = "model", .windows = 1, .T = T}, err));
    RT_TRY(rt_batch_create(&l->batch, 1, T, err));
    return build_head(l, w, p, err);
}

rt_status rt_logits_open(rt_logits *l, const rt_weights *w, const rt_precision *p, int64_t T, rt_error *err) {
    *l = (rt_logits){0};
    rt_status s = open_all(l, w, p, T, err);
    if (s != RT_OK) rt_logits_close(l);
    return s;
}

void rt_logits_close(rt_logits *l) {
    rt_graph_free(l->head);
    rt_batch_free(&l->batch);
    rt_forward_close(&l->forward);
    *l = (rt_logits){0};
}

/* One document from row 0; the rest is padding, each row a document of its own. */
static void fill(rt_batch *b, const int32_t *ids, int64_t n) {
    for (int64_t i = 0; i < b->rows; i++) {
        b->ids[i] = i < n ? ids[i] : 0;
        b->position[i] = i < n ? (int32_t)i : 0;
        b->start[i] = i < n ? 0 : (int32_t)i;
        b->valid[i] = i < n;
        b->targets[i] = -1;
    }
}

static bool all_finite(const rt_tensor *t, int64_t rows) {
    int64_t n = rows * t->dim[1];
    bool all = true;
    if (t->dtype == RT_F64)
        for (int64_t i = 0; i < n; i++) all &= (bool)isfinite(((const double *)t->data)[i]);
    else
        for (int64_t i = 0; i < n; i++) all &= (bool)isfinite(((const float *)t->data)[i]);
    return all;
}
/* Names the operation. */
static rt_status not_finite(rt_logits *l, rt_error *err) {
    RT_TRY(rt_graph_find_nonfinite(l->forward.g, err));
    RT_TRY(rt_graph_find_nonfinite(l->head, err));
    return rt_fail(err, RT_E_NUMERIC, "logits are not finite");
}

rt_status rt_logits_run(rt_logits *l, const int32_t *ids, int64_t n, const rt_tensor **logits, rt_error *err) {
    if (n < 1 || n > l->batch.rows) return rt_fail(err, RT_E_ARG, "%lld ids, expected 1 to %lld", (long long)n, (long long)l->batch.rows);
    fill(&l->batch, ids, n);
    RT_TRY(rt_forward_run(&l->forward, &l->batch, err));
    RT_TRY(rt_graph_forward(l->head, err));
    *logits = rt_graph_value(l->head, l->out);
    return all_finite(*logits, n) ? RT_OK : not_finite(l, err);
}
