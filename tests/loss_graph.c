/* loss_graph.c - one graph: model, head with next_token, balance and z of each router. */
#include "loss_graph.h"
#include "harness.h"
#include <retort/ops/head.h>
#include <retort/ops/ops.h>

static void add_router_losses(loss_graph *l) {
    const rt_prec p = {RT_F32, RT_NONE, RT_F32, RT_F32, RT_F32};
    if (l->files.weights.config.experts == 0) return;
    l->balance = rt_zalloc((size_t)l->model.n_layers * 2 * sizeof *l->balance);
    l->z = l->balance + l->model.n_layers;
    for (int64_t i = 0; i < l->model.n_layers; i++) {
        const rt_model_layer *layer = &l->model.layers[i];
        rt_graph_output(l->g, l->balance[i] = rt_balance(l->g, layer->scores, layer->ids, l->in.valid, p, "balance"));
        rt_graph_output(l->g, l->z[i] = rt_router_z(l->g, layer->scores, l->in.valid, p, "router_z"));
    }
}

static void add_head(loss_graph *l, int64_t rows) {
    static const rt_head_term terms[] = {{.loss = &rt_loss_next_token}};
    rt_tensor i32 = rt_tensor_1d(RT_I32, l->batch.targets, rows), gain = rt_tensor_1d(RT_F64, &l->gain, 1);
    const rt_precision *p = &l->files.precision;
    l->targets = rt_graph_input(l->g, "targets", &i32);
    l->gains = rt_graph_input(l->g, "gains", &gain);
    rt_prec prec = rt_role_prec(p, rt_role_head, p->act[rt_role_head], RT_F32);
    prec.weight = rt_graph_value(l->g, l->model.head)->dtype;
    rt_head_config c = {.student = {.hidden = l->model.hidden, .weight = l->model.head, .prec = prec}, .targets = l->targets, .gains = l->gains,
                        .terms = terms, .n_terms = 1, .vocab = l->files.weights.config.vocab_size};
    l->head = rt_head(l->g, &c, "head", NULL);
    rt_graph_output(l->g, l->head);
}

static rt_status build(loss_graph *l, int64_t windows, int64_t T, bool train, rt_error *err) {
    RT_TRY(rt_batch_create(&l->batch, windows, T, err));
    if (train) {
        RT_TRY(rt_weights_like(&l->grads, &l->files.weights, RT_F32, err));
        RT_TRY(rt_weights_alloc(&l->grads, err));
    }
    l->g = rt_graph_new("model");
    l->in = rt_batch_inputs(l->g, windows * T);
    rt_model_options o = {.length = T};
    RT_TRY(rt_model_build(l->g, &l->files.weights, train ? &l->grads : NULL, false, &l->files.precision, &o, l->in, &l->model, err));
    add_router_losses(l);
    add_head(l, windows * T);
    return rt_graph_plan(l->g, train, err);
}

bool loss_graph_open(loss_graph *l, const char *directory, rt_activations activations, int64_t windows, int64_t T, bool train) {
    rt_error err = {0};
    *l = (loss_graph){0};
    RT_OK_OR_FAIL(rt_frozen_open(&l->files, directory, activations, &err));
    if (err.status == RT_OK) RT_OK_OR_FAIL(build(l, windows, T, train, &err));
    if (err.status != RT_OK) loss_graph_close(l);
    return err.status == RT_OK;
}

void loss_graph_close(loss_graph *l) {
    rt_graph_free(l->g);
    rt_model_free(&l->model);
    rt_free(l->balance);
    rt_batch_free(&l->batch);
    rt_weights_free(&l->grads);
    rt_frozen_close(&l->files);
}

void loss_graph_fill(loss_graph *l, const int32_t *ids) {
    rt_batch *b = &l->batch;
    for (int64_t i = 0; i < b->rows; i++) {
        int64_t t = i % b->T;
        b->ids[i] = ids[i];
        b->position[i] = (int32_t)t;
        b->start[i] = (int32_t)(i - t);
        b->valid[i] = 1;
        b->targets[i] = t + 1 < b->T ? ids[i + 1] : -1;
    }
    rt_batch_bind(l->g, l->in, b);
}

bool loss_graph_forward(loss_graph *l) {
    rt_error err = {0};
    RT_OK_OR_FAIL(rt_graph_forward(l->g, &err));
    return err.status == RT_OK;
}

double loss_graph_sum(const loss_graph *l, double *count) {
    const rt_tensor *t = rt_graph_value(l->g, l->head);
    const double *row = t->data;
    *count = rt_vocab_count(row, t->dim[1]);
    return rt_vocab_report(&rt_loss_next_token, row, t->dim[1]) * *count;
}
