/* model.c - the forward pass, once. */
#include <retort/model/model.h>
#include <retort/ops/ops.h>
#include <math.h>
#include <string.h>

/* What every function here needs; the graph comes first, as in the builders. */
typedef struct builder {
    rt_graph *g;
    const rt_weights *w, *grads;
    bool variable;
    const rt_precision *p;
    const rt_model_options *o;
    rt_model_inputs in;
    rt_model *m;
    rt_ref cos, sin;
} builder;

static rt_ref weight(const builder *b, rt_weight_kind kind, int layer) {
    int64_t i = rt_weights_find(b->w, kind, layer);
    const rt_slot *s = &b->w->slots[i];
    rt_ref r = b->variable ? rt_graph_variable(b->g, s->name, &s->t) : rt_graph_param(b->g, s->name, &s->t, b->grads ? &b->grads->slots[i].t : NULL);
    if (s->pieces.bank) rt_graph_pieces(b->g, r, &s->pieces);
    return b->m->weights[i] = r;
}
/* Where two roles of the policy disagree: an explicit cast. */
static rt_ref as(const builder *b, rt_ref x, rt_dtype t, const char *role) {
    return rt_ref_is_null(x) || rt_graph_value(b->g, x)->dtype == t ? x : rt_cast(b->g, x, t, role);
}
static rt_dtype act(const builder *b, rt_role r) { return b->p->act[r]; }

/* ------------------------------------------------------------------- parts */

static rt_ref norm(const builder *b, rt_ref x, rt_weight_kind kind, int layer, rt_role reader, const char *role) {
    rt_prec p = rt_role_prec(b->p, rt_role_norm, act(b, rt_role_residual), act(b, rt_role_norm));
    rt_ref h = rt_rmsnorm(b->g, x, weight(b, kind, layer), b->w->config.norm_eps, p, role);
    return as(b, h, act(b, reader), role);
}

static rt_ref weight_if(const builder *b, rt_weight_kind kind, int layer) {
    return rt_weights_find(b->w, kind, layer) < 0 ? RT_NULL : weight(b, kind, layer);
}
static rt_ref queries_keys_values(const builder *b, rt_ref h, int l, rt_prec p) {
    rt_ref w[] = {weight(b, RT_WEIGHT_QUERY, l), weight(b, RT_WEIGHT_KEY, l), weight(b, RT_WEIGHT_VALUE, l)};
    rt_ref bias[] = {weight_if(b, RT_WEIGHT_QUERY_BIAS, l), weight_if(b, RT_WEIGHT_KEY_BIAS, l), weight_if(b, RT_WEIGHT_VALUE_BIAS, l)};
    return rt_linear_cat(b->g, h, w, bias, 3, p, "qkv");
}
static rt_ref qk_norm(const builder *b, rt_ref qkv, int l) {
    const rt_model_config *c = &b->w->config;
    rt_dtype a = act(b, rt_role_attention);
    if (c->arch->qk_norm == RT_QK_NORM_NONE) return qkv;
    return rt_qk_norm(b->g, qkv, weight(b, RT_WEIGHT_QUERY_NORM, l), weight(b, RT_WEIGHT_KEY_NORM, l), c->heads * c->head_dim,
                      c->kv_heads * c->head_dim, c->norm_eps, rt_role_prec(b->p, rt_role_norm, a, a), "qk_norm");
}

/* Rows see those of their document in this run, or, with a cache, all rows of their sequence so far. */
static rt_ref attend(const builder *b, rt_ref qkv, rt_heads heads, rt_prec p, int l) {
    if (!b->o->cache) return rt_attention(b->g, qkv, b->in.start, heads, p, "attention");
    rt_ref past = rt_graph_state(b->g, "past", &b->o->cache->layer[l]);
    return rt_attention_cached(b->g, qkv, b->in.sequence, b->in.position, past, heads, p, "attention");
}
static rt_ref attention(const builder *b, rt_ref x, int l) {
    const rt_model_config *c = &b->w->config;
    rt_dtype a = act(b, rt_role_attention);
    rt_prec p = rt_role_prec(b->p, rt_role_attention, a, a), rows = p, out = p;
    rows.weight = RT_NONE;
    out.out = act(b, rt_role_residual);
    rt_ref h = norm(b, x, RT_WEIGHT_ATTN_NORM, l, rt_role_attention, "attn_norm");
    rt_ref qkv = qk_norm(b, queries_keys_values(b, h, l, p), l);
    qkv = rt_rope(b->g, qkv, b->in.position, b->cos, b->sin, c->heads + c->kv_heads, c->head_dim, rows, "rope");
    rt_heads heads = {.heads = c->heads, .kv_heads = c->kv_heads, .head_dim = c->head_dim, .max_length = b->o->length};
    rt_ref y = attend(b, qkv, heads, rows, l);
    return rt_linear_residual(b->g, y, weight(b, RT_WEIGHT_ATTN_OUT, l), x, out, "attn_out");
}

/* down(swiglu(gate_up h)), plus a residual unless it is null. The kinds gate, up, down follow each other. */
static rt_ref feed_forward(const builder *b, rt_ref h, rt_ref residual, rt_weight_kind gate, int l, const char *const roles[3]) {
    rt_dtype a = act(b, rt_role_expert);
    rt_prec p = rt_role_prec(b->p, rt_role_expert, a, a), rows = p, out = p;
    rows.weight = RT_NONE;
    out.out = act(b, rt_role_residual);
    rt_ref gate_up = rt_linear_cat(b->g, h, (rt_ref[]){weight(b, gate, l), weight(b, gate + 1, l)}, NULL, 2, p, roles[0]);
    return rt_linear_residual(b->g, rt_swiglu(b->g, gate_up, rows, roles[1]), weight(b, gate + 2, l), residual, out, roles[2]);
}
static rt_ref dense(const builder *b, rt_ref x, int l) {
    static const char *const roles[] = {"gate_up", "swiglu", "down"};
    return feed_forward(b, norm(b, x, RT_WEIGHT_FFN_NORM, l, rt_role_expert, "ffn_norm"), x, RT_WEIGHT_FFN_GATE, l, roles);
}
/* The expert that every token meets, by the share sigmoid(score(h)) (Qwen2-MoE). */
static rt_ref shared_expert(const builder *b, rt_ref h, int l) {
    static const char *const roles[] = {"shared.gate_up", "shared.swiglu", "shared.down"};
    rt_prec p = rt_role_prec(b->p, rt_role_expert, act(b, rt_role_expert), act(b, rt_role_residual));
    rt_ref y = feed_forward(b, h, RT_NULL, RT_WEIGHT_SHARED_GATE, l, roles);
    return rt_gate(b->g, h, weight(b, RT_WEIGHT_SHARED_SCORE, l), y, p, "shared.gate");
}

static rt_ref mixture(const builder *b, rt_ref x, int l) {
    const rt_model_config *c = &b->w->config;
    rt_dtype residual = act(b, rt_role_residual), wide = residual == RT_F64 ? RT_F64 : RT_F32;
    rt_model_layer *out = &b->m->layers[l];
    rt_prec scores = rt_role_prec(b->p, rt_role_router, act(b, rt_role_router), wide);
    rt_ref h = norm(b, x, RT_WEIGHT_FFN_NORM, l, rt_role_norm, "ffn_norm");
    out->scores = rt_linear(b->g, as(b, h, act(b, rt_role_router), "router_in"), weight(b, RT_WEIGHT_ROUTER, l), scores, "router");
    const rt_router *router = b->o->router ? b->o->router : rt_routers[0];
    rt_router_context rc = {.options = {c->experts, c->experts_per_token, c->norm_topk}, .layer = l, .prec = {wide, RT_NONE, wide, wide, wide},
                            .state = b->o->states ? &b->o->states[l] : NULL};
    rt_routing r = router->build(b->g, &rc, out->scores, &out->used, "route");
    out->weights = r.weights;
    out->ids = r.ids;
    rt_prec p = rt_role_prec(b->p, rt_role_expert, act(b, rt_role_expert), residual), sum = {residual, RT_NONE, wide, residual, wide};
    h = as(b, h, act(b, rt_role_expert), "experts_in");
    rt_ref y = rt_experts(b->g, h, r, b->in.valid, weight(b, RT_WEIGHT_EXPERT_GATE, l), weight(b, RT_WEIGHT_EXPERT_DOWN, l),
                          b->o->trace ? &out->trace : NULL, p, "experts");
    if (c->shared_size > 0) y = rt_add(b->g, y, shared_expert(b, h, l), sum, "shared");
    return rt_add(b->g, x, y, sum, "residual");
}

static void publish(const builder *b, const rt_model_layer *l) {
    rt_graph_output(b->g, l->scores);
    rt_graph_output(b->g, l->used);
    rt_graph_output(b->g, l->weights);
    rt_graph_output(b->g, l->ids);
    if (!rt_ref_is_null(l->trace)) rt_graph_output(b->g, l->trace);
}

static void forward(const builder *b) {
    const rt_model_config *c = &b->w->config;
    rt_prec embed = rt_role_prec(b->p, rt_role_embedding, b->p->weight[rt_role_embedding], act(b, rt_role_residual));
    rt_ref table = weight(b, RT_WEIGHT_EMBED, -1), x = rt_embed(b->g, b->in.ids, table, embed, "embed");
    for (int l = 0; l < c->layers; l++) {
        rt_graph_segment(b->g, b->o->recompute);
        rt_graph_scope(b->g, "layers.%d", l);
        x = attention(b, x, l);
        x = rt_model_mixture(c, l) ? mixture(b, x, l) : dense(b, x, l);
        if (rt_model_mixture(c, l)) publish(b, &b->m->layers[l]);
    }
    rt_graph_segment(b->g, false);
    rt_graph_scope(b->g, "%s", "");
    b->m->hidden = norm(b, x, RT_WEIGHT_FINAL_NORM, -1, rt_role_head, "final_norm");
    b->m->head = c->tie_embeddings ? table : weight(b, RT_WEIGHT_HEAD, -1);
}

/* ------------------------------------------------------------- rope tables */

static bool allocate(rt_model *m, size_t rows, size_t half, size_t layers, size_t weights) {
    m->cos = rt_zalloc(rows * half * sizeof *m->cos);
    m->sin = rt_zalloc(rows * half * sizeof *m->sin);
    m->cos64 = rt_zalloc(rows * half * sizeof *m->cos64);
    m->sin64 = rt_zalloc(rows * half * sizeof *m->sin64);
    m->layers = rt_zalloc(layers * sizeof *m->layers);
    m->weights = rt_zalloc(weights * sizeof *m->weights);
    return m->cos && m->sin && m->cos64 && m->sin64 && m->layers && m->weights;
}

static rt_status tables(builder *b, rt_error *err) {
    const rt_model_config *c = &b->w->config;
    int64_t half = c->head_dim / 2, rows = b->o->length;
    double frequency[4096];
    if (half > 4096) return rt_fail(err, RT_E_UNSUPPORTED, "head_dim %lld is beyond 8192", (long long)c->head_dim);
    if (!allocate(b->m, (size_t)rows, (size_t)half, (size_t)c->layers, (size_t)b->w->count))
        return rt_fail(err, RT_E_NOMEM, "out of memory: rope tables of %lld rows", (long long)rows);
    b->m->n_layers = c->layers;
    rt_rope_frequencies(c, frequency);
    for (int64_t t = 0; t < rows; t++)
        for (int64_t i = 0; i < half; i++) {
            /* f32 tables as the reference makes them: an f32 product of f32 frequency and position, then cos and sin of it */
            double angle = (double)((float)frequency[i] * (float)t), exact = frequency[i] * (double)t;
            b->m->cos[t * half + i] = (float)cos(angle), b->m->sin[t * half + i] = (float)sin(angle);
            b->m->cos64[t * half + i] = cos(exact), b->m->sin64[t * half + i] = sin(exact);
        }
    bool f64 = act(b, rt_role_attention) == RT_F64;
    rt_tensor cosines = rt_tensor_2d(f64 ? RT_F64 : RT_F32, f64 ? (void *)b->m->cos64 : b->m->cos, rows, half), sines = cosines;
    sines.data = f64 ? (void *)b->m->sin64 : b->m->sin;
    b->cos = rt_graph_param(b->g, "rope.cos", &cosines, NULL);
    b->sin = rt_graph_param(b->g, "rope.sin", &sines, NULL);
    return RT_OK;
}

static rt_status check_length(const rt_model_config *c, int64_t length, rt_error *err) {
    if (length > c->max_position)
        return rt_fail(err, RT_E_CONFIG, "sequence length %lld is beyond the model's %lld positions", (long long)length, (long long)c->max_position);
    if (length <= rt_model_longest(c)) return RT_OK;
    return rt_fail(err, RT_E_UNSUPPORTED, "sequence length %lld is beyond the model's sliding window of %lld tokens: only full attention is computed",
                   (long long)length, (long long)c->sliding_window);
}
rt_status rt_model_build(rt_graph *g, const rt_weights *w, const rt_weights *grads, bool variable, const rt_precision *p,
                         const rt_model_options *o, rt_model_inputs in, rt_model *m, rt_error *err) {
    *m = (rt_model){0};
    builder b = {g, w, grads, variable, p, o, in, m, RT_NULL, RT_NULL};
    RT_TRY(check_length(&w->config, o->length, err));
    RT_TRY(tables(&b, err));
    forward(&b);
    return rt_graph_status(g) == RT_OK ? RT_OK : rt_fail(err, rt_graph_status(g), "%s", rt_graph_error(g));
}

void rt_model_free(rt_model *m) {
    rt_free(m->cos), rt_free(m->sin), rt_free(m->cos64), rt_free(m->sin64), rt_free(m->layers), rt_free(m->weights);
    *m = (rt_model){0};
}
