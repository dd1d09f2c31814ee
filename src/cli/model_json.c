/* model_json.c - `retort show model --json` (docs/formats.md). */
#include "cli/model_page.h"

static bool set(json_t *o, const char *key, json_t *v) { return json_object_set_new(o, key, v) == 0; }
static bool set_int(json_t *o, const char *key, int64_t x) { return set(o, key, json_integer(x)); }
static json_t *whole(json_t *o, bool ok) {
    if (ok) return o;
    json_decref(o);
    return NULL;
}

static json_t *dims(int ndim, const int64_t *dim) {
    return ndim == 2 ? json_pack("[I, I]", (json_int_t)dim[0], (json_int_t)dim[1]) : json_pack("[I]", (json_int_t)dim[0]);
}
static json_t *tensors_json(const rt_hf *m) {
    const rt_model_config *c = rt_hf_config(m);
    json_t *list = json_array();
    for (int64_t i = 0; i < rt_weight_count(c) && list; i++) {
        rt_weight_spec w = rt_weight_at(c, i);
        json_t *one = json_pack("{s:s, s:s, s:s, s:o}", "name", w.name, "kind", rt_weight_kind_text(w.kind), "dtype", rt_dtype_name(rt_hf_weight(m, i)->dtype),
                                "shape", dims(w.ndim, w.dim));
        if (json_array_append_new(list, one) != 0) json_decref(list), list = NULL;
    }
    return list;
}
static json_t *layers_json(const rt_layer_group *g) {
    json_t *list = json_array();
    for (int64_t i = 0; list && i < g->layers; i++)
        if (json_array_append_new(list, json_integer(g->layer[i])) != 0) json_decref(list), list = NULL;
    return list;
}
static json_t *group_json(const rt_layer_group *g) {
    json_t *rows = json_array();
    for (int i = 0; rows && i < g->rows; i++) {
        const rt_weight_row *r = &g->row[i];
        int64_t n = r->tensors * (g->layers ? g->layers : 1);
        json_t *one = json_pack("{s:s, s:s, s:o, s:I, s:I}", "kind", rt_weight_kind_text(r->kind), "dtype", rt_dtype_name(r->dtype), "shape", dims(r->ndim, r->dim),
                                "tensors", (json_int_t)n, "parameters", (json_int_t)(n * rt_row_elements(r)));
        if (json_array_append_new(rows, one) != 0) json_decref(rows), rows = NULL;
    }
    json_t *o = rows ? json_pack("{s:o, s:o}", "layers", layers_json(g), "weights", rows) : NULL;
    return o;
}
static json_t *groups_json(const rt_layer_groups *g) {
    json_t *list = json_array();
    for (int64_t i = 0; list && i < g->count; i++)
        if (json_array_append_new(list, group_json(&g->of[i])) != 0) json_decref(list), list = NULL;
    return list;
}

static json_t *tokenizer_json(const rt_model_page *p) {
    const rt_tokenizer *t = p->tokenizer;
    if (!t) return json_null();
    return json_pack("{s:s, s:i, s:i, s:i, s:i, s:s}", "model", rt_tokenizer_model(t), "size", rt_tokenizer_size(t), "bos_id", rt_tokenizer_bos(t), "eos_id",
                     rt_tokenizer_eos(t), "unk_id", rt_tokenizer_unk(t), "hash", rt_tokenizer_hash(t));
}
static json_t *run_json(const rt_model_page *p) {
    return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "sequence_length", (json_int_t)p->run_T, "mapped", (json_int_t)rt_hf_weight_bytes(p->m), "copied",
                     (json_int_t)p->copied, "packed", (json_int_t)p->run.packed, "activations", (json_int_t)p->run.activations, "scratch",
                     (json_int_t)p->run.scratch, "total", (json_int_t)rt_page_run_bytes(p));
}
static json_t *train_json(const rt_model_page *p) {
    const rt_train_memory *m = &p->train;
    json_t *o = json_object();
    return whole(o, o && set(o, "dtype", json_string(rt_dtype_name(p->student))) && set_int(o, "sequence_length", p->T) && set_int(o, "batch", p->batch) &&
                        set_int(o, "weights", m->weights) && set_int(o, "masters", m->masters) && set_int(o, "moments", m->moments) &&
                        set_int(o, "activations", m->activations) && set_int(o, "activations_recompute", m->recomputed) &&
                        set_int(o, "evaluation", m->evaluation) && set_int(o, "scratch", m->scratch) && set_int(o, "total", rt_page_train_bytes(p, false)) &&
                        set_int(o, "total_recompute", rt_page_train_bytes(p, true)));
}
static json_t *memory_json(const rt_model_page *p) {
    if (!p->described) return json_null();
    json_t *o = json_object();
    return whole(o, o && set(o, "run", run_json(p)) && set(o, "train", train_json(p)) && set_int(o, "key_value_bytes_per_token", p->key_values));
}

static bool add_sizes(json_t *o, const rt_model_config *c) {
    rt_param_count n = rt_model_parameters(c);
    const struct {
        const char *key;
        int64_t value;
    } sizes[] = {{"vocab_size", c->vocab_size}, {"hidden_size", c->hidden_size}, {"layers", c->layers}, {"heads", c->heads}, {"kv_heads", c->kv_heads},
                 {"head_dim", c->head_dim}, {"ffn_size", c->ffn_size}, {"experts", c->experts}, {"experts_per_token", c->experts_per_token},
                 {"shared_size", c->shared_size}, {"dense_ffn_size", c->dense_ffn_size}, {"max_position", c->max_position}, {"sliding_window", c->sliding_window},
                 {"parameters", n.total}, {"active_parameters", n.active}, {"body_parameters", n.total_body}, {"active_body_parameters", n.active_body}};
    bool ok = true;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) ok = ok && set_int(o, sizes[i].key, sizes[i].value);
    return ok;
}

json_t *rt_model_json(const rt_model_page *p) {
    const rt_model_config *c = rt_hf_config(p->m);
    json_t *o = json_object();
    bool ok = o && set(o, "path", json_string(rt_hf_path(p->m))) && set(o, "arch", json_string(c->arch->name)) && add_sizes(o, c) &&
              set(o, "tie_embeddings", json_boolean(c->tie_embeddings)) && set(o, "qkv_bias", json_boolean(c->qkv_bias)) &&
              set_int(o, "bytes_model", rt_hf_weight_bytes(p->m)) && set_int(o, "files", rt_hf_file_count(p->m)) && set(o, "tokenizer", tokenizer_json(p)) &&
              set(o, "memory", memory_json(p)) && set(o, "groups", groups_json(&p->groups)) && set(o, "tensors", tensors_json(p->m)) &&
              (!*p->hash || set(o, "hash", json_string(p->hash)));
    return whole(o, ok);
}
