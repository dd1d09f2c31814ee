/* json.c - a comparison for programs (docs/formats.md). */
#include "compare/private.h"
#include <string.h>

static bool set(json_t *o, const char *key, json_t *v) { return json_object_set_new(o, key, v) == 0; }
static bool set_real(json_t *o, const char *key, double x) { return set(o, key, rt_json_number(x)); }
static bool set_int(json_t *o, const char *key, int64_t x) { return set(o, key, json_integer(x)); }
/* A borrowed value, or null. */
static bool share(json_t *o, const char *key, json_t *v) { return v ? json_object_set(o, key, v) == 0 : set(o, key, json_null()); }

static json_t *tensor_json(const rt_tensor *t) {
    if (!t) return json_null();
    json_t *shape = json_array();
    for (int i = 0; shape && i < t->ndim; i++)
        if (json_array_append_new(shape, json_integer(t->dim[i])) != 0) json_decref(shape), shape = NULL;
    return json_pack("{s:s, s:o}", "dtype", rt_dtype_name(t->dtype), "shape", shape);
}
static json_t *compared_json(const rt_compared *t) {
    json_t *o = json_object();
    bool ok = o && set(o, "name", json_string(t->name)) && set(o, "a", tensor_json(t->a)) && set(o, "b", tensor_json(t->b)) && set(o, "equal", json_boolean(t->equal));
    if (ok && t->same_shape)
        ok = set(o, "same_bits", json_boolean(!t->d.widened && t->d.differing == 0)) && set_int(o, "elements", t->d.elements) && set_int(o, "differing", t->d.differing) &&
             set_int(o, "nonfinite", t->d.nonfinite) && set_real(o, "max_abs", t->d.max_abs) && set_real(o, "relative", t->d.relative) &&
             (t->d.first < 0 || set_int(o, "first", t->d.first)) && (t->d.worst < 0 || set_int(o, "worst", t->d.worst));
    if (ok) return o;
    json_decref(o);
    return NULL;
}
static json_t *tensors_json(const rt_comparison *c) {
    json_t *list = json_array();
    for (int64_t i = 0; list && i < c->count; i++)
        if (json_array_append_new(list, compared_json(&c->tensors[i])) != 0) json_decref(list), list = NULL;
    return list;
}

static json_t *probe_json(const rt_compare_probe *p) {
    json_t *o = json_object();
    bool ok = o != NULL;
    if (ok && *p->skipped) ok = set(o, "skipped", json_string(p->skipped));
    else if (ok)
        ok = set(o, "source", json_string(p->source)) && set_int(o, "positions", p->positions) && set_real(o, "max_abs", p->max_abs) && set_real(o, "kl", p->kl) &&
             set_real(o, "reverse_kl", p->reverse_kl) && set_int(o, "top1_changed", p->top1_changed) && set_int(o, "routes", p->routes) &&
             set_int(o, "routes_flipped", p->routes_flipped);
    if (ok) return o;
    json_decref(o);
    return NULL;
}
static json_t *side_json(const rt_compare_side *s) {
    json_t *o = json_object();
    bool ok = o && set(o, "given", json_string(s->given)) && set(o, "path", json_string(s->path)) && set(o, "arch", json_string(rt_hf_config(s->files)->arch->name)) &&
              set_int(o, "parameters", rt_model_parameters(rt_hf_config(s->files)).total) &&
              set(o, "tokenizer_hash", *s->tokenizer ? json_string(s->tokenizer) : json_null()) && share(o, "last_evaluation", s->last) && share(o, "best_evaluation", s->best);
    if (ok) return o;
    json_decref(o);
    return NULL;
}

json_t *rt_compare_json(const rt_comparison *c) {
    json_t *o = json_object();
    bool ok = o && set(o, "equal", json_boolean(c->equal)) && set(o, "same_weights", json_boolean(c->same_weights)) &&
              set(o, "same_architecture", json_boolean(c->same_architecture)) && set(o, "same_tokenizer", json_boolean(c->same_tokenizer)) &&
              set(o, "a", side_json(&c->a)) && set(o, "b", side_json(&c->b)) && set_int(o, "different", c->different) && set_int(o, "only_a", c->only_a) &&
              set_int(o, "only_b", c->only_b) && set_int(o, "other_shape", c->other_shape) && set_int(o, "other_dtype", c->other_dtype) &&
              set(o, "logits", probe_json(&c->probe)) && share(o, "config", c->config_differences) && share(o, "job", c->job_differences) && set(o, "tensors", tensors_json(c));
    if (ok) return o;
    json_decref(o);
    return NULL;
}
