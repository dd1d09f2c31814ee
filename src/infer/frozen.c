/* frozen.c - opening a model directory for use. */
#include <retort/base/file.h>
#include <retort/io/checkpoint.h>
#include <retort/io/gguf_model.h>
#include <retort/infer/frozen.h>
#include <stdio.h>
#include <string.h>

static void first_reason(void *context, const char *reason) {
    rt_buf *b = context;
    if (b->size == 0) rt_buf_puts(b, reason);
}
static rt_status newest_of(const char *root, char **path, rt_error *err) {
    int64_t step;
    rt_buf why = {0};
    rt_status s = rt_checkpoint_newest(root, &(rt_checkpoint_listener){first_reason, &why}, path, &step, err);
    if (s == RT_OK && !*path) s = rt_fail(err, RT_E_INPUT, "%s holds no sound checkpoint%s%s", root, why.size ? ": " : "", why.size ? why.data : "");
    rt_buf_free(&why);
    return s;
}
rt_status rt_model_path(const char *given, char **path, rt_error *err) {
    char root[4096];
    snprintf(root, sizeof root, "%s/checkpoints", given);
    *path = NULL;
    if (rt_dir_exists(root)) return newest_of(root, path, err);
    if (!rt_dir_exists(given) && !rt_gguf_is(given)) return rt_fail(err, RT_E_INPUT, "%s: no such model directory", given);
    *path = rt_strdup(given);
    return *path ? RT_OK : rt_fail(err, RT_E_NOMEM, "out of memory");
}

bool rt_model_has_tokenizer(const char *path) {
    char file[4096];
    if (rt_gguf_is(path)) return rt_gguf_has_tokenizer(path);
    snprintf(file, sizeof file, "%s/tokenizer.json", path);
    if (rt_file_exists(file)) return true;
    snprintf(file, sizeof file, "%s/tokenizer.json.gz", path);
    return rt_file_exists(file);
}
rt_status rt_model_tokenizer(rt_tokenizer **out, const char *path, rt_error *err) {
    return rt_gguf_is(path) ? rt_gguf_tokenizer(path, out, err) : rt_tokenizer_load(out, path, err);
}

rt_status rt_frozen_stored_precision(const char *directory, rt_precision *p, bool *found, rt_error *err) {
    char path[4096];
    json_t *manifest = NULL;
    *found = false;
    snprintf(path, sizeof path, "%s/MANIFEST.json", directory);
    if (!rt_file_exists(path)) return RT_OK;
    RT_TRY(rt_checkpoint_manifest(directory, &manifest, err));
    const char *text = json_string_value(json_object_get(manifest, "precision"));
    rt_status s = text ? rt_precision_parse(text, p, err) : RT_OK;
    *found = text != NULL;
    json_decref(manifest);
    return s;
}

static const rt_tensor *from_files(void *context, int64_t i) { return rt_hf_weight(context, i); }

/* Weight dtypes by role, from the slots as they were borrowed. */
static rt_status weight_dtypes(const rt_weights *w, rt_precision *p, rt_error *err) {
    for (int r = 0; r < RT_ROLE_COUNT; r++) p->weight[r] = RT_NONE;
    for (int64_t i = 0; i < w->count; i++) {
        const rt_slot *s = &w->slots[i];
        rt_dtype *t = &p->weight[s->role];
        if (*t == RT_NONE) *t = s->t.dtype;
        if (*t != s->t.dtype)
            return rt_fail(err, RT_E_UNSUPPORTED, "weight %s is %s where others of role '%s' are %s: one dtype a role", s->name,
                           rt_dtype_name(s->t.dtype), rt_role_name(s->role), rt_dtype_name(*t));
    }
    rt_dtype main = p->weight[rt_role_embedding];
    for (int r = 0; r < RT_ROLE_COUNT; r++)
        if (p->weight[r] == RT_NONE) p->weight[r] = main;
    return RT_OK;
}

static void activation_dtypes(rt_precision *p, bool native) {
    rt_dtype main = native ? p->weight[rt_role_embedding] : RT_F32;
    for (int r = 0; r < RT_ROLE_COUNT; r++) p->act[r] = main;
    if (!native) return;
    static const rt_role products[] = {rt_role_attention, rt_role_router, rt_role_expert, rt_role_head};
    for (size_t i = 0; i < sizeof products / sizeof *products; i++) p->act[products[i]] = p->weight[products[i]];
}

static rt_status resolve(rt_frozen *f, const char *directory, rt_activations activations, rt_error *err) {
    rt_precision stored;
    RT_TRY(weight_dtypes(&f->weights, &f->precision, err));
    activation_dtypes(&f->precision, activations != RT_ACTIVATIONS_F32);
    RT_TRY(rt_frozen_stored_precision(directory, &stored, &f->stored, err));
    if (!f->stored || activations != RT_ACTIVATIONS_STORED) return RT_OK;
    if (memcmp(stored.weight, f->precision.weight, sizeof stored.weight) == 0) return f->precision = stored, RT_OK;
    rt_buf a = {0};
    rt_precision_text(&stored, &a);
    rt_status s = rt_fail(err, RT_E_INPUT, "%s: its weights are not in the dtypes of its precision policy (%s)", directory, a.data ? a.data : "");
    rt_buf_free(&a);
    return s;
}

static rt_status open_files(rt_frozen *f, const char *directory, rt_error *err) {
    RT_TRY(rt_model_path(directory, &f->path, err));
    RT_TRY(rt_hf_open(f->path, &f->files, err));
    rt_precision any = rt_precision_teacher(RT_F32, true);
    return rt_weights_layout(&f->weights, rt_hf_config(f->files), &any, err);
}

rt_status rt_frozen_open(rt_frozen *f, const char *directory, rt_activations activations, rt_error *err) {
    *f = (rt_frozen){0};
    rt_status s = open_files(f, directory, err);
    if (s == RT_OK) s = rt_weights_borrow(&f->weights, from_files, f->files, err);
    if (s == RT_OK) s = resolve(f, f->path, activations, err);
    if (s != RT_OK) rt_frozen_close(f);
    return s;
}

/* What rt_weights_borrow would make of the slots, without their data. */
static int64_t describe_slots(rt_frozen *f) {
    int64_t copied = 0;
    for (int64_t i = 0; i < rt_weight_count(&f->weights.config); i++) {
        rt_weight_spec spec = rt_weight_at(&f->weights.config, i);
        int64_t k = spec.expert > 0 ? -1 : rt_weights_find(&f->weights, spec.kind, spec.layer);
        if (k >= 0) f->weights.slots[k].t.dtype = rt_hf_weight(f->files, i)->dtype;
        if (k >= 0 && spec.expert == 0 && !rt_dtype_is_half(f->weights.slots[k].t.dtype)) copied += (int64_t)rt_tensor_bytes(&f->weights.slots[k].t);
    }
    return copied;
}
rt_status rt_frozen_describe(rt_frozen *f, const char *directory, rt_activations activations, int64_t *copied, rt_error *err) {
    *f = (rt_frozen){0};
    rt_status s = open_files(f, directory, err);
    if (s == RT_OK) *copied = describe_slots(f);
    if (s == RT_OK) s = resolve(f, f->path, activations, err);
    if (s != RT_OK) rt_frozen_close(f);
    return s;
}

void rt_frozen_close(rt_frozen *f) {
    rt_weights_free(&f->weights);
    rt_hf_close(f->files);
    rt_free(f->path);
    *f = (rt_frozen){0};
}
