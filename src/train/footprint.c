/* footprint.c - memory by planning: the graphs that a run would open, sketched. */
#include <retort/base/threads.h>
#include <retort/losses/losses.h>
#include <retort/ops/ops.h>
#include <retort/train/evaluate.h>
#include <retort/train/footprint.h>

static int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }

/* ------------------------------------------------------------------------ run */

/* The output matrix on the last row, as logits.c has it. */
static rt_status head_packed(const rt_frozen *f, rt_dtype in, rt_run_memory *out, rt_error *err) {
    const rt_weights *w = &f->weights;
    rt_dtype wide = f->precision.weight[rt_role_head] == RT_F64 ? RT_F64 : RT_F32;
    const rt_tensor *matrix = &w->slots[rt_weights_find(w, w->config.tie_embeddings ? RT_WEIGHT_EMBED : RT_WEIGHT_HEAD, -1)].t;
    rt_tensor hidden = rt_tensor_2d(in, NULL, 1, w->config.hidden_size);
    rt_graph *g = rt_graph_new("logits");
    if (!g) return rt_fail(err, RT_E_NOMEM, "out of memory: logits");
    rt_prec prec = rt_role_prec(&f->precision, rt_role_head, in, wide);
    prec.weight = matrix->dtype;
    rt_graph_sketch(g);
    rt_graph_output(g, rt_linear(g, rt_graph_input(g, "hidden", &hidden), rt_graph_param(g, "head", matrix, NULL), prec, "head"));
    rt_status s = rt_graph_plan(g, false, err);
    rt_graph_stats stats = rt_graph_stats_get(g);
    rt_graph_free(g);
    if (s != RT_OK) return s;
    out->packed += stats.cache_bytes, out->activations += stats.arena_bytes;
    out->scratch = most(out->scratch, stats.worker_scratch_bytes * rt_threads());
    return RT_OK;
}

rt_status rt_footprint_run(const rt_frozen *f, int64_t T, rt_run_memory *out, rt_error *err) {
    rt_forward forward;
    RT_TRY(rt_forward_open(&forward, &f->weights, &f->precision, &(rt_forward_options){.name = "model", .windows = 1, .T = T, .sketch = true}, err));
    rt_graph_stats s = rt_graph_stats_get(forward.g);
    rt_dtype hidden = rt_forward_hidden(&forward)->dtype;
    rt_forward_close(&forward);
    *out = (rt_run_memory){s.cache_bytes, s.arena_bytes, s.worker_scratch_bytes * rt_threads()};
    return head_packed(f, hidden, out, err);
}

int64_t rt_footprint_key_values(const rt_model_config *c, const rt_precision *p) {
    return 2 * c->layers * c->kv_heads * c->head_dim * (int64_t)rt_dtype_size(p->act[rt_role_attention]);
}

/* ---------------------------------------------------------------------- train */

typedef struct sketch {
    const rt_precision *p;
    rt_weights weights, f32;
    rt_step_options o;
    rt_head_term terms[RT_METRIC_TERMS + 1];
} sketch;

static rt_status measure(sketch *s, bool train, bool recompute, rt_graph_stats *out, int64_t *head_rows, rt_error *err) {
    rt_step_graph g;
    s->o.train = s->o.plan_gradients = train, s->o.recompute = recompute;
    RT_TRY(rt_step_graph_open(&g, &s->weights, train ? &s->f32 : NULL, s->p, &s->o, err));
    *out = rt_graph_stats_get(g.g);
    *head_rows = g.head_rows;
    rt_step_graph_close(&g);
    return RT_OK;
}
static int64_t bytes_of(const rt_weights *w) {
    int64_t sum = 0;
    for (int64_t i = 0; i < w->count; i++) sum += (int64_t)(rt_tensor_bytes(&w->slots[i].t) + 63) / 64 * 64;
    return sum;
}
/* A weight in f32 is its own master. */
static int64_t master_bytes(const sketch *s) {
    int64_t sum = 0;
    for (int64_t i = 0; i < s->weights.count; i++)
        if (s->weights.slots[i].t.dtype != RT_F32) sum += (int64_t)(rt_tensor_bytes(&s->f32.slots[i].t) + 63) / 64 * 64;
    return sum;
}

/* Of a plan that shares its block with the evaluation's. */
static int64_t beside(const rt_graph_stats *train, const rt_graph_stats *eval) {
    return most(train->arena_bytes - train->own_bytes, eval->arena_bytes - eval->own_bytes) + train->own_bytes;
}
static rt_status measure_all(sketch *s, rt_train_memory *m, rt_error *err) {
    rt_graph_stats plain, again, eval;
    RT_TRY(measure(s, true, false, &plain, &m->head_rows, err));
    RT_TRY(measure(s, true, true, &again, &m->head_rows, err));
    RT_TRY(measure(s, false, false, &eval, &m->head_rows, err));
    m->weights = bytes_of(&s->weights), m->masters = master_bytes(s);
    m->moments = 2 * bytes_of(&s->f32);
    m->activations = beside(&plain, &eval), m->recomputed = beside(&again, &eval), m->evaluation = eval.own_bytes;
    m->scratch = most(most(plain.worker_scratch_bytes, again.worker_scratch_bytes), eval.worker_scratch_bytes) * rt_threads();
    return RT_OK;
}

rt_status rt_footprint_train(const rt_model_config *c, const rt_precision *p, int64_t T, int64_t batch, rt_train_memory *out, rt_error *err) {
    sketch s = {.p = p};
    *out = (rt_train_memory){0};
    s.terms[0] = (rt_head_term){.loss = &rt_loss_next_token};
    s.o = (rt_step_options){.name = "student", .windows = batch, .T = T, .vocab = c->vocab_size, .trace = c->experts > 0, .terms = s.terms,
                            .n_terms = 1 + rt_metric_terms(false, 1, 0.5, s.terms + 1), .sketch = true};
    if (!(s.o.space = rt_workspace_new())) return rt_fail(err, RT_E_NOMEM, "out of memory");
    rt_status status = rt_weights_layout(&s.weights, c, p, err);
    if (status == RT_OK) status = rt_weights_like(&s.f32, &s.weights, RT_F32, err);
    if (status == RT_OK) status = measure_all(&s, out, err);
    rt_weights_free(&s.f32), rt_weights_free(&s.weights);
    rt_workspace_free(s.o.space);
    return status;
}
