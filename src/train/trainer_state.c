/* trainer_state.c - state.json: counters, data cursor, averages, router state. It holds no times; numbers read back exactly. */
#include "train/trainer_private.h"
#include <math.h>
#include <string.h>

static bool add(json_t *o, const char *key, json_t *v) { return json_object_set_new(o, key, v) == 0; }

static json_t *reals(const double *x, int64_t n) {
    json_t *a = json_array();
    for (int64_t i = 0; a && i < n; i++)
        if (json_array_append_new(a, rt_json_number(x[i])) != 0) return json_decref(a), NULL;
    return a;
}
static json_t *integers(const int64_t *x, int64_t n) {
    json_t *a = json_array();
    for (int64_t i = 0; a && i < n; i++)
        if (json_array_append_new(a, json_integer(x[i])) != 0) return json_decref(a), NULL;
    return a;
}
static double element(const rt_tensor *t, int64_t i) {
    return t->dtype == RT_F64 ? ((const double *)t->data)[i] : t->dtype == RT_F32 ? (double)((const float *)t->data)[i] : 0;
}
static json_t *array_json(const rt_tensor *t) {
    if (t->dtype == RT_I64) return integers(t->data, rt_tensor_count(t));
    json_t *a = json_array();
    for (int64_t i = 0; a && i < rt_tensor_count(t); i++)
        if (json_array_append_new(a, rt_json_number(element(t, i))) != 0) return json_decref(a), NULL;
    return a;
}

static json_t *layer_json(const rt_trainer *t, int64_t l) {
    json_t *o = json_object();
    const rt_ema *e = &t->ema[l];
    const rt_router_state *r = &t->router_states[l];
    bool ok = o && add(o, "phi_mean", reals(e->mean, RT_EMA_RATES * e->tracks)) && add(o, "phi_observations", integers(e->observations, e->tracks));
    for (int i = 0; ok && i < r->count; i++) ok = add(o, r->name[i], array_json(&r->array[i]));
    if (!ok) json_decref(o);
    return ok ? o : NULL;
}
static json_t *layers_json(const rt_trainer *t) {
    json_t *a = json_array();
    for (int64_t l = 0; a && l < t->config.layers && t->config.experts > 0; l++)
        if (json_array_append_new(a, layer_json(t, l)) != 0) return json_decref(a), NULL;
    return a;
}

static json_t *cursor_json(rt_cursor c) { return json_pack("{s:I, s:I}", "epoch", (json_int_t)c.epoch, "index", (json_int_t)c.index); }

json_t *rt_trainer_state_json(const rt_trainer *t) {
    json_t *o = json_object();
    bool ok = o && add(o, "step", json_integer(t->step)) && add(o, "tokens", json_integer(t->tokens)) && add(o, "cursor", cursor_json(rt_loader_cursor(t->loader))) &&
              add(o, "head_rows", json_integer(t->graph.head_rows)) && add(o, "best_step", json_integer(t->best_step)) &&
              add(o, "best_ce", rt_json_number(t->best_ce)) && add(o, "layers", layers_json(t));
    if (!ok) json_decref(o);
    return ok ? o : NULL;
}

/* -------------------------------------------------------------------- read */

/* What is counted stays far below what an int64 holds: the next step adds to it. */
#define MOST_COUNTED ((int64_t)1 << 53)

/* Integers are from `least` on. */
static rt_status read_numbers(const rt_json *o, const char *key, rt_tensor *t, int64_t least, rt_error *err) {
    rt_json a, item;
    RT_TRY(rt_json_array(o, key, &a, err));
    if ((int64_t)rt_json_count(&a) != rt_tensor_count(t)) return rt_json_fail(&a, err, "found %zu numbers, expected %lld", rt_json_count(&a), (long long)rt_tensor_count(t));
    for (int64_t i = 0; i < rt_tensor_count(t); i++) {
        double x = 0;
        int64_t n = 0;
        RT_TRY(rt_json_item(&a, (size_t)i, t->dtype == RT_I64 ? JSON_INTEGER : JSON_REAL, &item, err));
        if (t->dtype == RT_I64) RT_TRY(rt_json_as_int(&item, least, MOST_COUNTED, &n, err));
        else RT_TRY(rt_json_as_real(&item, &x, err));
        if (t->dtype == RT_I64) ((int64_t *)t->data)[i] = n;
        else if (t->dtype == RT_F64) ((double *)t->data)[i] = x;
        else ((float *)t->data)[i] = (float)x;
    }
    return RT_OK;
}
static rt_status read_layer(rt_trainer *t, int64_t l, const rt_json *o, rt_error *err) {
    rt_ema *e = &t->ema[l];
    rt_router_state *r = &t->router_states[l];
    rt_tensor mean = rt_tensor_1d(RT_F64, e->mean, RT_EMA_RATES * e->tracks), seen = rt_tensor_1d(RT_I64, e->observations, e->tracks);
    RT_TRY(read_numbers(o, "phi_mean", &mean, 0, err));
    RT_TRY(read_numbers(o, "phi_observations", &seen, 0, err));
    for (int i = 0; i < r->count; i++) RT_TRY(read_numbers(o, r->name[i], &r->array[i], -MOST_COUNTED, err));
    return RT_OK;
}
static rt_status read_layers(rt_trainer *t, const rt_json *root, rt_error *err) {
    rt_json layers, item;
    RT_TRY(rt_json_array(root, "layers", &layers, err));
    int64_t want = t->config.experts > 0 ? t->config.layers : 0;
    if ((int64_t)rt_json_count(&layers) != want) return rt_json_fail(&layers, err, "found %zu layers, expected %lld", rt_json_count(&layers), (long long)want);
    for (int64_t l = 0; l < want; l++) {
        RT_TRY(rt_json_item(&layers, (size_t)l, JSON_OBJECT, &item, err));
        RT_TRY(read_layer(t, l, &item, err));
    }
    return RT_OK;
}

rt_status rt_trainer_state_read(rt_trainer *t, const json_t *state, const char *where, rt_error *err) {
    rt_json root = rt_json_root(state, where), cursor;
    rt_cursor c;
    RT_TRY(rt_json_int(&root, "step", 0, MOST_COUNTED, &t->step, err));
    RT_TRY(rt_json_int(&root, "tokens", 0, MOST_COUNTED, &t->tokens, err));
    RT_TRY(rt_json_int(&root, "best_step", -1, MOST_COUNTED, &t->best_step, err));
    RT_TRY(rt_json_real(&root, "best_ce", &t->best_ce, err));
    RT_TRY(rt_json_object(&root, "cursor", &cursor, err));
    RT_TRY(rt_json_int(&cursor, "epoch", 0, MOST_COUNTED, &c.epoch, err));
    RT_TRY(rt_json_int(&cursor, "index", 0, MOST_COUNTED, &c.index, err));
    RT_TRY(rt_loader_seek(t->loader, c, err));
    return read_layers(t, &root, err);
}
