/* show_model.c - `retort show model`: the architecture, the parameters, and the tensors of a model directory. */
#include <retort/base/command.h>
#include <retort/io/hf.h>
#include <retort/train/frozen.h>
#include <string.h>

typedef struct arguments {
    const char *model;
    bool tensors, hash, json;
} arguments;

static const rt_option options[] = {
    RT_OPT_STRING(arguments, model, NULL, "a Hugging Face directory, or a checkpoint", .positional = true,
                  .operand = "DIR", .required = true),
    RT_OPT_FLAG(arguments, tensors, "no", "every tensor by name, not one line a kind"),
    RT_OPT_FLAG(arguments, hash, "no", "also the hash of the weights (reads all of them)"),
    RT_OPT_FLAG(arguments, json, "no", "print JSON"), RT_OPT_END};

/* ------------------------------------------------------------- the table */

/* Weights of one kind and dtype; by the model's law they have one shape. */
typedef struct kind {
    int64_t tensors, elements, bytes;
    rt_weight_spec spec;
} kind;
typedef struct kinds {
    kind of[RT_WEIGHT_KINDS][RT_DTYPE_COUNT];
} kinds;

static int64_t elements(const rt_weight_spec *w) { return w->ndim == 2 ? w->dim[0] * w->dim[1] : w->dim[0]; }

static void count(const rt_hf *m, kinds *k) {
    const rt_model_config *c = rt_hf_config(m);
    for (int64_t i = 0; i < rt_weight_count(c); i++) {
        rt_weight_spec w = rt_weight_at(c, i);
        rt_dtype dtype = rt_hf_weight(m, i)->dtype;
        kind *one = &k->of[w.kind][dtype];
        one->spec = w;
        one->tensors++;
        one->elements += elements(&w);
        one->bytes += elements(&w) * (int64_t)rt_dtype_size(dtype);
    }
}

static const char *shape(const rt_weight_spec *w, char text[48]) {
    if (w->ndim == 2)
        snprintf(text, 48, "[%lld, %lld]", (long long)w->dim[0], (long long)w->dim[1]);
    else
        snprintf(text, 48, "[%lld]", (long long)w->dim[0]);
    return text;
}

static void add_kinds(const kinds *k, rt_buf *out) {
    char text[48];
    rt_buf_printf(out, "\n%-18s %7s  %-16s %-5s %14s %14s\n", "weights", "tensors", "shape", "dtype", "parameters",
                  "bytes");
    for (int i = 0; i < RT_WEIGHT_KINDS; i++)
        for (int t = 0; t < RT_DTYPE_COUNT; t++) {
            const kind *one = &k->of[i][t];
            if (one->tensors)
                rt_buf_printf(out, "%-18s %7lld  %-16s %-5s %14lld %14lld\n", rt_weight_kind_text((rt_weight_kind)i),
                              (long long)one->tensors, shape(&one->spec, text), rt_dtype_name((rt_dtype)t),
                              (long long)one->elements, (long long)one->bytes);
        }
}

static void add_tensors(const rt_hf *m, rt_buf *out) {
    char text[48];
    const rt_model_config *c = rt_hf_config(m);
    rt_buf_printf(out, "\n%-56s %-16s %s\n", "tensor", "shape", "dtype");
    for (int64_t i = 0; i < rt_weight_count(c); i++) {
        rt_weight_spec w = rt_weight_at(c, i);
        rt_buf_printf(out, "%-56s %-16s %s\n", w.name, shape(&w, text), rt_dtype_name(rt_hf_weight(m, i)->dtype));
    }
}

static void add_model(const rt_hf *m, rt_buf *out) {
    const rt_model_config *c = rt_hf_config(m);
    rt_param_count n = rt_model_parameters(c);
    rt_buf_printf(out, "%s: %s (%s)\n", rt_hf_path(m), c->arch->name, c->arch->hf_class);
    rt_buf_printf(out, "  vocabulary %lld, width %lld, layers %lld, heads %lld x %lld, key-value heads %lld, ffn %lld",
                  (long long)c->vocab_size, (long long)c->hidden_size, (long long)c->layers, (long long)c->heads,
                  (long long)c->head_dim, (long long)c->kv_heads, (long long)c->ffn_size);
    if (c->experts)
        rt_buf_printf(out, ", experts %lld, %lld a token", (long long)c->experts, (long long)c->experts_per_token);
    rt_buf_printf(out, "%s\n", c->tie_embeddings ? ", head tied to the embedding" : "");
    rt_buf_printf(out, "  parameters %lld, active %lld a token; without embedding and head %lld, active %lld\n",
                  (long long)n.total, (long long)n.active, (long long)n.total_body, (long long)n.active_body);
    rt_buf_printf(out, "  weights %lld bytes%s%s\n", (long long)rt_hf_weight_bytes(m),
                  rt_hf_matrix_dtype(m) ? ", matrices all " : "",
                  rt_hf_matrix_dtype(m) ? rt_dtype_name(rt_hf_matrix_dtype(m)) : ", matrices of several dtypes");
}

/* ------------------------------------------------------------------ JSON */

static json_t *tensors_json(const rt_hf *m) {
    const rt_model_config *c = rt_hf_config(m);
    json_t *list = json_array();
    for (int64_t i = 0; i < rt_weight_count(c) && list; i++) {
        rt_weight_spec w = rt_weight_at(c, i);
        json_t *dims = w.ndim == 2 ? json_pack("[I, I]", (json_int_t)w.dim[0], (json_int_t)w.dim[1])
                                   : json_pack("[I]", (json_int_t)w.dim[0]);
        json_t *one = json_pack("{s:s, s:s, s:s, s:o}", "name", w.name, "kind", rt_weight_kind_text(w.kind), "dtype",
                                rt_dtype_name(rt_hf_weight(m, i)->dtype), "shape", dims);
        if (json_array_append_new(list, one) != 0) json_decref(list), list = NULL;
    }
    return list;
}

static json_t *model_json(const rt_hf *m) {
    const rt_model_config *c = rt_hf_config(m);
    rt_param_count n = rt_model_parameters(c);
    return json_pack("{s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:b, s:I, s:I, s:I, s:I, s:I, s:o}",
                     "path", rt_hf_path(m), "arch", c->arch->name, "vocab_size", (json_int_t)c->vocab_size,
                     "hidden_size", (json_int_t)c->hidden_size, "layers", (json_int_t)c->layers, "heads",
                     (json_int_t)c->heads, "kv_heads", (json_int_t)c->kv_heads, "head_dim", (json_int_t)c->head_dim,
                     "ffn_size", (json_int_t)c->ffn_size, "experts", (json_int_t)c->experts, "experts_per_token",
                     (json_int_t)c->experts_per_token, "tie_embeddings", c->tie_embeddings, "parameters",
                     (json_int_t)n.total, "active_parameters", (json_int_t)n.active, "body_parameters",
                     (json_int_t)n.total_body, "active_body_parameters", (json_int_t)n.active_body, "bytes_model",
                     (json_int_t)rt_hf_weight_bytes(m), "tensors", tensors_json(m));
}

/* --------------------------------------------------------------- command */

static rt_status show_text(rt_context *c, const arguments *a, const rt_hf *m, const char *hash, rt_error *err) {
    rt_buf page = {0};
    kinds *k = rt_zalloc(sizeof *k);
    if (!k) return rt_fail(err, RT_E_NOMEM, "out of memory");
    count(m, k);
    add_model(m, &page);
    if (*hash) rt_buf_printf(&page, "  hash %s\n", hash);
    if (a->tensors)
        add_tensors(m, &page);
    else
        add_kinds(k, &page);
    rt_free(k);
    return rt_out_buf(c, &page, err);
}

static rt_status show_json(rt_context *c, const rt_hf *m, const char *hash, rt_error *err) {
    json_t *value = model_json(m);
    if (value && *hash && json_object_set_new(value, "hash", json_string(hash)) != 0) json_decref(value), value = NULL;
    return rt_out_json(c, value, err);
}

static rt_status run(rt_context *c, const void *given, rt_error *err) {
    const arguments *a = given;
    rt_hf_hash hash = {""};
    rt_hf *m;
    char *path;
    RT_TRY(rt_model_path(a->model, &path, err));
    rt_status opened = rt_hf_open(path, &m, err);
    rt_free(path);
    RT_TRY(opened);
    rt_status s = a->hash ? rt_hf_content_hash(m, &hash, err) : RT_OK;
    if (s == RT_OK) s = a->json ? show_json(c, m, hash.hex, err) : show_text(c, a, m, hash.hex, err);
    rt_hf_close(m);
    return s;
}

const rt_command rt_command_show_model = {"show model",
                                          "a model's architecture, parameters and tensors",
                                          "DIR [--tensors] [--hash] [--json]",
                                          NULL,
                                          options,
                                          sizeof(arguments),
                                          run};
