/* measure.c - sums over batches, and what they mean. */
#include <retort/train/measure.h>
#include <math.h>
#include <string.h>

static rt_status open_layers(rt_measures *m, const rt_model_config *c, const rt_step_graph *s, rt_error *err) {
    for (int64_t l = 0; l < m->layers; l++) {
        m->mixture[l] = !rt_ref_is_null(s->model.layers[l].scores);
        if (!m->mixture[l]) continue;
        RT_TRY(rt_router_health_open(&m->health[l], c->experts, c->experts_per_token, err));
        if (m->traced) RT_TRY(rt_coherence_open(&m->coherence[l], c->experts, c->hidden_size, err));
    }
    return RT_OK;
}

rt_status rt_measures_open(rt_measures *m, const rt_model_config *c, const rt_step_graph *s, const rt_head_term *terms, bool traced, rt_error *err) {
    const rt_tensor *head = rt_graph_value(s->g, s->head);
    *m = (rt_measures){.terms = terms, .n_terms = s->n_terms, .width = head->dim[1], .layers = c->layers, .experts = c->experts, .traced = traced};
    m->head = rt_zalloc(rt_tensor_bytes(head));
    m->mixture = rt_zalloc((size_t)c->layers * sizeof *m->mixture);
    m->health = rt_zalloc((size_t)c->layers * sizeof *m->health);
    m->coherence = rt_zalloc((size_t)c->layers * sizeof *m->coherence);
    rt_status status = m->head && m->mixture && m->health && m->coherence ? open_layers(m, c, s, err) : rt_fail(err, RT_E_NOMEM, "out of memory: measures");
    if (status != RT_OK) rt_measures_close(m);
    return status;
}

void rt_measures_close(rt_measures *m) {
    for (int64_t l = 0; l < m->layers; l++) {
        if (m->health) rt_router_health_close(&m->health[l]);
        if (m->coherence) rt_coherence_close(&m->coherence[l]);
    }
    rt_free(m->head), rt_free(m->mixture), rt_free(m->health), rt_free(m->coherence);
    *m = (rt_measures){0};
}

void rt_measures_reset(rt_measures *m) {
    memset(m->head, 0, (size_t)(m->n_terms * m->width) * sizeof *m->head);
    for (int64_t l = 0; l < m->layers; l++) {
        if (!m->mixture[l]) continue;
        rt_router_health_reset(&m->health[l]);
        if (m->traced) rt_coherence_reset(&m->coherence[l]);
    }
    m->supervised = m->valid = m->batches = 0;
    m->bytes = 0;
}

void rt_measures_add(rt_measures *m, const rt_step_graph *s, const rt_batch *b) {
    const double *head = rt_graph_value(s->g, s->head)->data;
    rt_tensor valid = rt_tensor_1d(RT_I32, b->valid, b->rows);
    for (int64_t i = 0; i < m->n_terms * m->width; i++) m->head[i] += head[i];
    for (int64_t l = 0; l < m->layers; l++) {
        const rt_model_layer *layer = &s->model.layers[l];
        if (!m->mixture[l]) continue;
        const rt_tensor *ids = rt_graph_value(s->g, layer->ids);
        rt_router_health_add(&m->health[l], rt_graph_value(s->g, layer->scores), rt_graph_value(s->g, layer->used), ids, &valid);
        if (m->traced) rt_coherence_add(&m->coherence[l], rt_graph_value(s->g, layer->trace), ids, &valid);
    }
    m->supervised += b->supervised;
    m->valid += b->valid_count;
    m->bytes += b->bytes;
    m->batches++;
}

double rt_measures_term(const rt_measures *m, int i) { return rt_vocab_report(m->terms[i].loss, m->head + i * m->width, m->width); }

static double over_layers(const rt_measures *m, double (*get)(const rt_router_report *)) {
    double sum = 0;
    int64_t n = 0;
    for (int64_t l = 0; l < m->layers; l++) {
        if (!m->mixture[l]) continue;
        rt_router_report r = rt_router_health_report(&m->health[l], NULL);
        sum += get(&r);
        n++;
    }
    return n ? sum / (double)n : 0;
}
static double get_z(const rt_router_report *r) { return r->router_z; }
static double get_balance(const rt_router_report *r) { return r->balance; }
double rt_measures_router_z(const rt_measures *m) { return over_layers(m, get_z); }
double rt_measures_balance(const rt_measures *m) { return over_layers(m, get_balance); }

/* -------------------------------------------------------------------- JSON */

static bool set(json_t *o, const char *key, double x) { return json_object_set_new(o, key, rt_json_number(x)) == 0; }
/* Undefined is null, never 0. */
static bool set_if(json_t *o, const char *key, bool defined, double x) {
    return defined ? set(o, key, x) : json_object_set_new(o, key, json_null()) == 0;
}

static bool expert_json(json_t *array, const rt_expert_coherence *e) {
    json_t *o = json_object();
    bool ok = o && set_if(o, "phi", e->valid, e->phi) && set_if(o, "phi_loo", e->loo_valid, e->phi_loo) && set_if(o, "phi_norm", e->valid, e->phi_norm) &&
              json_object_set_new(o, "tokens", json_integer(e->tokens)) == 0 && json_object_set_new(o, "valid", json_boolean(e->valid)) == 0;
    return json_array_append_new(array, o) == 0 && ok;
}
static bool coherence_json(json_t *o, const rt_measures *m, int64_t layer, double neff) {
    rt_expert_coherence *experts = rt_zalloc((size_t)m->experts * sizeof *experts);
    json_t *array = json_array();
    bool ok = experts && array;
    if (ok) {
        rt_layer_coherence l = rt_coherence_report(&m->coherence[layer], neff, experts);
        for (int64_t e = 0; e < m->experts; e++) ok = expert_json(array, &experts[e]) && ok;
        ok = set_if(o, "psi", l.valid, l.psi) && set_if(o, "psi_loo", l.loo_valid, l.psi_loo) && ok;
    }
    rt_free(experts);
    return json_object_set_new(o, "coherence", array) == 0 && ok;
}
static bool health_json(json_t *o, const rt_router_report *r) {
    const struct { const char *key; double x; } all[] = {
        {"router_z", r->router_z}, {"balance", r->balance}, {"entropy", r->entropy}, {"neff", r->neff}, {"max_vio", r->max_vio}, {"cv", r->cv},
        {"dead_fraction", r->dead_fraction}, {"saturation", r->saturation}, {"js", r->js}, {"flip", r->flip}, {"moved", r->moved}};
    bool ok = true;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) ok = set(o, all[i].key, all[i].x) && ok;
    return ok;
}
static bool load_json(json_t *o, const double *load, int64_t experts) {
    json_t *array = json_array();
    bool ok = array != NULL;
    for (int64_t e = 0; ok && e < experts; e++) ok = json_array_append_new(array, rt_json_number(load[e])) == 0;
    return json_object_set_new(o, "load", array) == 0 && ok;
}

json_t *rt_measures_layer_json(const rt_measures *m, int64_t layer) {
    double *load = rt_zalloc((size_t)m->experts * sizeof *load);
    json_t *o = json_object();
    bool ok = load && o && json_object_set_new(o, "layer", json_integer(layer)) == 0;
    if (ok) {
        rt_router_report r = rt_router_health_report(&m->health[layer], load);
        ok = health_json(o, &r) && load_json(o, load, m->experts) && (!m->traced || coherence_json(o, m, layer, r.neff));
    }
    rt_free(load);
    if (!ok) json_decref(o);
    return ok ? o : NULL;
}

json_t *rt_measures_layers_json(const rt_measures *m) {
    json_t *array = json_array();
    for (int64_t l = 0; array && l < m->layers; l++)
        if (m->mixture[l] && json_array_append_new(array, rt_measures_layer_json(m, l)) != 0) return json_decref(array), NULL;
    return array;
}
