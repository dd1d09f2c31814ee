/* export.c - opens the model, writes it as a folder, has it compared, and puts it in its place; a file is gguf.c's. */
#include "export/gguf.h"
#include <retort/base/file.h>
#include <retort/base/json.h>
#include <retort/io/checkpoint.h>
#include <stdio.h>
#include <string.h>

static rt_status nomem(rt_error *err) { return rt_fail(err, RT_E_NOMEM, "out of memory: the export"); }

/* ------------------------------------------------------------------ writing */

/* One tensor at a time is rounded, into `one`. */
typedef struct rounding {
    const rt_hf *source;
    const rt_rounded *rounded;
    void *one;
} rounding;
static rt_status round_one(void *context, int64_t i, const void **data, rt_error *err) {
    const rounding *r = context;
    const rt_tensor *from = rt_hf_weight(r->source, i);
    rt_weight_spec w = rt_weight_at(r->rounded->config, i);
    *data = r->one;
    return rt_gguf_store(r->rounded->types[i], from, 0, rt_tensor_count(from), r->one, w.name, err);
}
static size_t largest(const rt_rounded *r) {
    size_t most = 0;
    for (int64_t i = 0; i < r->count; i++)
        if (rt_tensor_bytes(&r->tensors[i]) > most) most = rt_tensor_bytes(&r->tensors[i]);
    return most;
}
static rt_status write_weights(const char *directory, const rt_hf *source, const rt_rounded *rounded, int64_t part_bytes, rt_error *err) {
    rounding r = {source, rounded, rt_alloc(largest(rounded))};
    if (!r.one) return nomem(err);
    rt_status s = rt_hf_write_parts(directory, rounded->config, rounded->tensors, part_bytes,
                                    &(rt_safetensors_write_options){.source = round_one, .context = &r}, err);
    rt_free(r.one);
    return s;
}

static bool list_files(json_t *files, const rt_rounded *r, int64_t part_bytes) {
    char name[RT_HF_PART_NAME];
    int64_t parts = rt_hf_parts(r->config, r->tensors, part_bytes);
    bool ok = json_array_append_new(files, json_string("config.json")) == 0 && json_array_append_new(files, json_string("generation_config.json")) == 0;
    for (int64_t i = 0; i < parts; i++) ok &= json_array_append_new(files, json_string(rt_hf_part_name(name, i, parts))) == 0;
    return ok && (parts == 1 || json_array_append_new(files, json_string(RT_HF_INDEX)) == 0);
}

/* Last: a folder with this file is whole. Neither times nor paths, so that equal models give equal folders. */
static rt_status write_mark(const char *directory, const rt_hf *source, rt_dtype t, json_t *files, const rt_export_report *r, rt_error *err) {
    char path[8192];
    rt_hf_hash hash;
    RT_TRY(rt_hf_content_hash(source, &hash, err));
    json_t *mark = json_pack("{s:s, s:s, s:s, s:O, s:I, s:f, s:I, s:I}", "retort", RT_VERSION, "dtype", rt_dtype_name(t), "source_sha256", hash.hex,
                             "files", files, "weights_changed", (json_int_t)r->changed, "probe_kl", r->kl, "probe_top1_changed",
                             (json_int_t)r->top1_changed, "probe_routes_flipped", (json_int_t)r->routes_flipped);
    snprintf(path, sizeof path, "%s/" RT_EXPORT_MARK, directory);
    rt_status s = rt_json_save(path, mark, err);
    json_decref(mark);
    return s;
}

static rt_status build(const char *directory, const rt_frozen *source, rt_rounded *rounded, const rt_export_options *o, rt_export_report *r,
                       rt_error *err) {
    json_t *files = json_array();
    if (!files) return nomem(err);
    rt_status s = list_files(files, rounded, o->part_bytes) ? RT_OK : nomem(err);
    if (s == RT_OK) s = write_weights(directory, source->files, rounded, o->part_bytes, err);
    if (s == RT_OK) s = rt_export_tokenizer(rt_hf_path(source->files), rounded->config, directory, files, err);
    if (s == RT_OK) s = rt_rounded_fill(rounded, source->files, err);
    if (s == RT_OK) s = rt_export_check(directory, source, rounded, o, r, err);
    if (s == RT_OK) s = write_mark(directory, source->files, o->dtype, files, r, err);
    json_decref(files);
    return s;
}

/* -------------------------------------------------------------------- whole */

static rt_status as_folder(const rt_frozen *source, const char *out, const rt_export_options *o, rt_export_report *r, rt_error *err) {
    rt_rounded rounded;
    rt_export_place place;
    RT_TRY(rt_export_place_open(&place, rt_hf_path(source->files), out, o->force, err));
    rt_status s = rt_rounded_plan(&rounded, rt_hf_config(source->files), o, err);
    if (s == RT_OK) {
        s = build(place.building, source, &rounded, o, r, err);
        rt_rounded_free(&rounded);
    }
    if (s == RT_OK) s = rt_export_place_publish(&place, err);
    rt_export_place_close(&place);
    return s;
}

static rt_status check_options(const rt_export_options *o, rt_error *err) {
    if (o->dtype != RT_F32 && o->dtype != RT_F16 && o->dtype != RT_BF16)
        return rt_fail(err, RT_E_ARG, "an export is f32, f16 or bf16, not %s", rt_dtype_name(o->dtype));
    if (o->q8_0 && (!o->gguf || o->dtype != RT_F32)) return rt_fail(err, RT_E_ARG, "q8_0 is a type of GGUF files alone");
    return RT_OK;
}
rt_status rt_export_model(const char *source, const char *out, const rt_export_options *given, rt_export_report *r, rt_error *err) {
    char manifest[8192];
    rt_frozen model;
    rt_export_options o = *given;
    *r = (rt_export_report){0};
    RT_TRY(check_options(&o, err));
    if (o.part_bytes <= 0) o.part_bytes = (int64_t)RT_EXPORT_PART * 1000000000;
    snprintf(manifest, sizeof manifest, "%s/MANIFEST.json", source);
    if (rt_file_exists(manifest)) RT_TRY(rt_checkpoint_verify(source, err));
    RT_TRY(rt_frozen_open(&model, source, RT_ACTIVATIONS_STORED, err));
    rt_status s = o.gguf ? rt_export_as_gguf(&model, out, &o, r, err) : as_folder(&model, out, &o, r, err);
    r->activations = model.precision.act[rt_role_residual];
    rt_frozen_close(&model);
    return s;
}
