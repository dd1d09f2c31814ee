/* export.c - rounds the weights, writes the folder, has it compared, and puts it in its place. */
#include "kernels/convert.h"
#include "train/export_private.h"
#include <retort/base/file.h>
#include <retort/io/checkpoint.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

static rt_status nomem(rt_error *err) { return rt_fail(err, RT_E_NOMEM, "out of memory: the rounded weights"); }

/* ----------------------------------------------------------------- rounding */

enum { PIECE = 4096 };
static bool all_finite(const float *x, int64_t n) {
    bool all = true;
    for (int64_t i = 0; i < n; i++) all &= (bool)isfinite(x[i]);
    return all;
}
static rt_status round_tensor(const rt_tensor *from, const rt_tensor *to, const char *name, rt_error *err) {
    float x[PIECE];
    size_t in = rt_dtype_size(from->dtype), out = rt_dtype_size(to->dtype);
    if (from->dtype == RT_F64) return rt_fail(err, RT_E_UNSUPPORTED, "tensor %s is f64, expected f32, f16 or bf16", name);
    for (int64_t i = 0, n = rt_tensor_count(from); i < n; i += PIECE) {
        int64_t piece = n - i < PIECE ? n - i : PIECE;
        rt_rows_load_f32(from->dtype, (const char *)from->data + (size_t)i * in, x, piece);
        if (!all_finite(x, piece)) return rt_fail(err, RT_E_NUMERIC, "tensor %s holds a number that is not finite", name);
        if (rt_rows_store_f32(to->dtype, x, (char *)to->data + (size_t)i * out, piece))
            return rt_fail(err, RT_E_NUMERIC, "tensor %s holds a number beyond the range of %s", name, rt_dtype_name(to->dtype));
    }
    return RT_OK;
}

static size_t padded(const rt_tensor *t) { return (rt_tensor_bytes(t) + 63) / 64 * 64; }
static rt_status reserve(rt_rounded *r, const rt_hf *source, rt_dtype t, rt_error *err) {
    size_t bytes = 0, at = 0;
    r->tensors = rt_zalloc(rt_array_bytes((size_t)r->count, sizeof *r->tensors));
    if (!r->tensors) return nomem(err);
    for (int64_t i = 0; i < r->count; i++) {
        const rt_tensor *from = rt_hf_weight(source, i);
        r->tensors[i] = rt_tensor_make(t, from->ndim, from->dim, NULL);
        bytes += padded(&r->tensors[i]);
    }
    if (!(r->block = rt_alloc(bytes))) return nomem(err);
    for (int64_t i = 0; i < r->count; at += padded(&r->tensors[i++])) r->tensors[i].data = (char *)r->block + at;
    return RT_OK;
}

rt_status rt_rounded_make(rt_rounded *r, const rt_hf *source, rt_dtype t, rt_error *err) {
    *r = (rt_rounded){.config = rt_hf_config(source), .count = rt_weight_count(rt_hf_config(source))};
    rt_status s = reserve(r, source, t, err);
    for (int64_t i = 0; i < r->count && s == RT_OK; i++) {
        rt_weight_spec spec = rt_weight_at(r->config, i);
        s = round_tensor(rt_hf_weight(source, i), &r->tensors[i], spec.name, err);
    }
    if (s != RT_OK) rt_rounded_free(r);
    return s;
}
void rt_rounded_free(rt_rounded *r) {
    rt_free(r->tensors), rt_free(r->block);
    *r = (rt_rounded){0};
}

/* ------------------------------------------------------------------ writing */

static const char *const model_files[] = {"config.json", "generation_config.json", "model.safetensors", NULL};
static const char *const tokenizer_files[] = {"tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "special_tokens_map.json", "tokenizer.model", NULL};

static rt_status copy_file(const char *from, const char *to, const char *name, json_t *files, rt_error *err) {
    char source[8192], target[8192];
    rt_buf b = {0};
    snprintf(source, sizeof source, "%s/%s", from, name);
    snprintf(target, sizeof target, "%s/%s", to, name);
    if (!rt_file_exists(source)) return RT_OK;
    rt_status s = rt_file_read(source, (size_t)1 << 30, &b, err);
    if (s == RT_OK) s = rt_file_write_atomic(target, b.data, b.size, err);
    rt_buf_free(&b);
    return s == RT_OK && json_array_append_new(files, json_string(name)) != 0 ? nomem(err) : s;
}
static rt_status copy_tokenizer(const char *from, const char *to, json_t *files, rt_error *err) {
    for (const char *const *name = tokenizer_files; *name; name++) RT_TRY(copy_file(from, to, *name, files, err));
    return RT_OK;
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

static rt_status write_files(const char *directory, const rt_frozen *source, const rt_rounded *rounded, json_t *files, rt_error *err) {
    RT_TRY(rt_hf_write(directory, rounded->config, rounded->tensors, NULL, err));
    for (const char *const *name = model_files; *name; name++)
        if (json_array_append_new(files, json_string(*name)) != 0) return nomem(err);
    return copy_tokenizer(rt_hf_path(source->files), directory, files, err);
}

static rt_status build(const char *directory, const rt_frozen *source, const rt_rounded *rounded, const rt_export_options *o, rt_export_report *r,
                       rt_error *err) {
    json_t *files = json_array();
    if (!files) return nomem(err);
    rt_status s = write_files(directory, source, rounded, files, err);
    if (s == RT_OK) s = rt_export_check(directory, source, rounded, o, r, err);
    if (s == RT_OK) s = write_mark(directory, source->files, o->dtype, files, r, err);
    json_decref(files);
    return s;
}

/* -------------------------------------------------------------------- whole */

static rt_status into_place(const rt_frozen *source, const char *out, const rt_export_options *o, rt_export_report *r, rt_error *err) {
    rt_rounded rounded;
    rt_export_place place;
    RT_TRY(rt_export_place_open(&place, rt_hf_path(source->files), out, o->force, err));
    rt_status s = rt_rounded_make(&rounded, source->files, o->dtype, err);
    if (s == RT_OK) s = build(place.building, source, &rounded, o, r, err);
    if (s == RT_OK) s = rt_export_place_publish(&place, err);
    rt_rounded_free(&rounded);
    rt_export_place_close(&place);
    return s;
}

rt_status rt_export_hf(const char *source, const char *out, const rt_export_options *o, rt_export_report *r, rt_error *err) {
    char manifest[8192];
    rt_frozen model;
    *r = (rt_export_report){0};
    if (o->dtype != RT_F32 && o->dtype != RT_F16 && o->dtype != RT_BF16)
        return rt_fail(err, RT_E_ARG, "an export is f32, f16 or bf16, not %s", rt_dtype_name(o->dtype));
    snprintf(manifest, sizeof manifest, "%s/MANIFEST.json", source);
    if (rt_file_exists(manifest)) RT_TRY(rt_checkpoint_verify(source, err));
    RT_TRY(rt_frozen_open(&model, source, RT_ACTIVATIONS_STORED, err));
    rt_status s = into_place(&model, out, o, r, err);
    rt_frozen_close(&model);
    return s;
}
