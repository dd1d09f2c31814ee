/* hf_write.c - writes a model directory. The weights come first: a directory with a config.json has its weights. */
#include <retort/base/file.h>
#include <retort/base/json.h>
#include <retort/io/hf.h>
#include <stdio.h>

/* ------------------------------------------------------------------ weights */

static rt_status name_weights(rt_arena *a, const rt_model_config *c, const rt_tensor *weights, rt_named_tensor *out,
                              rt_error *err) {
    for (int64_t i = 0; i < rt_weight_count(c); i++) {
        rt_weight_spec w = rt_weight_at(c, i);
        rt_tensor expected = rt_tensor_make(weights[i].dtype, w.ndim, w.dim, NULL);
        char found[96], wanted[96];
        if (!rt_dtype_is_float(weights[i].dtype) || !rt_tensor_same_shape(&weights[i], &expected))
            return rt_fail(err, RT_E_SHAPE, "%s is %s, expected %s", w.name, rt_tensor_text(&weights[i], found),
                           rt_tensor_text(&expected, wanted));
        out[i] = (rt_named_tensor){rt_arena_strdup(a, w.name), weights[i]};
        if (!out[i].name) return rt_fail(err, RT_E_NOMEM, "out of memory");
    }
    return RT_OK;
}
rt_status rt_hf_weights_write(const char *path, const rt_model_config *c, const rt_tensor *weights,
                              const rt_safetensors_write_options *options, rt_error *err) {
    rt_arena a = {0};
    RT_TRY(rt_model_config_check(c, err));
    int64_t n = rt_weight_count(c);
    rt_named_tensor *named = rt_arena_alloc(&a, rt_array_bytes((size_t)n, sizeof *named));
    rt_status status = named ? name_weights(&a, c, weights, named, err) : rt_fail(err, RT_E_NOMEM, "out of memory");
    if (status == RT_OK) status = rt_safetensors_write(path, named, n, options, err);
    else rt_error_prefix(err, "%s", path);
    rt_arena_free(&a);
    return status;
}

/* -------------------------------------------------------------------- parts */

/* The weight behind the part that begins with weight `first`. */
static int64_t part_end(const rt_model_config *c, const rt_tensor *weights, int64_t max_bytes, int64_t first) {
    int64_t bytes = (int64_t)rt_tensor_bytes(&weights[first]), i = first + 1;
    for (; i < rt_weight_count(c); i++) {
        bytes += (int64_t)rt_tensor_bytes(&weights[i]);
        if (bytes > max_bytes) break;
    }
    return i;
}
int64_t rt_hf_parts(const rt_model_config *c, const rt_tensor *weights, int64_t max_bytes) {
    int64_t parts = 0;
    for (int64_t i = 0; i < rt_weight_count(c); i = part_end(c, weights, max_bytes, i)) parts++;
    return parts;
}
const char *rt_hf_part_name(char name[RT_HF_PART_NAME], int64_t i, int64_t parts) {
    if (parts == 1) snprintf(name, RT_HF_PART_NAME, "model.safetensors");
    else snprintf(name, RT_HF_PART_NAME, "model-%05lld-of-%05lld.safetensors", (long long)i + 1, (long long)parts);
    return name;
}

typedef struct shifted {
    const rt_safetensors_write_options *of;
    int64_t first;
} shifted;
static rt_status shifted_source(void *context, int64_t i, const void **data, rt_error *err) {
    const shifted *s = context;
    return s->of->source(s->of->context, s->first + i, data, err);
}
static rt_status write_part(const char *path, const rt_named_tensor *named, int64_t first, int64_t end, const rt_safetensors_write_options *o,
                            rt_error *err) {
    shifted s = {o, first};
    rt_safetensors_write_options moved = {.metadata = o ? o->metadata : NULL, .source = o && o->source ? shifted_source : NULL, .context = &s};
    return rt_safetensors_write(path, named + first, end - first, &moved, err);
}
static bool add_to_index(json_t *map, const rt_named_tensor *named, int64_t n, const char *file, int64_t *bytes) {
    bool ok = true;
    for (int64_t i = 0; i < n; i++) {
        ok &= json_object_set_new(map, named[i].name, json_string(file)) == 0;
        *bytes += (int64_t)rt_tensor_bytes(&named[i].tensor);
    }
    return ok;
}
static rt_status save_index(const char *directory, json_t *map, int64_t bytes, rt_error *err) {
    rt_arena a = {0};
    const char *path = rt_arena_printf(&a, "%s/" RT_HF_INDEX, directory);
    json_t *index = json_pack("{s:{s:I}, s:O}", "metadata", "total_size", (json_int_t)bytes, "weight_map", map);
    rt_status s = path ? rt_json_save(path, index, err) : rt_fail(err, RT_E_NOMEM, "%s: out of memory", directory);
    json_decref(index);
    rt_arena_free(&a);
    return s;
}
static rt_status write_parts(rt_arena *a, const char *directory, const rt_model_config *c, const rt_tensor *weights, int64_t max_bytes,
                             const rt_safetensors_write_options *o, json_t *map, rt_error *err) {
    int64_t n = rt_weight_count(c), parts = rt_hf_parts(c, weights, max_bytes), bytes = 0, i = 0;
    rt_named_tensor *named = rt_arena_alloc(a, rt_array_bytes((size_t)n, sizeof *named));
    char name[RT_HF_PART_NAME];
    if (!named || !map) return rt_fail(err, RT_E_NOMEM, "%s: out of memory", directory);
    RT_TRY(name_weights(a, c, weights, named, err));
    for (int64_t part = 0, end; part < parts; part++, i = end) {
        end = part_end(c, weights, max_bytes, i);
        const char *path = rt_arena_printf(a, "%s/%s", directory, rt_hf_part_name(name, part, parts));
        if (!path || !add_to_index(map, named + i, end - i, name, &bytes)) return rt_fail(err, RT_E_NOMEM, "%s: out of memory", directory);
        RT_TRY(write_part(path, named, i, end, o, err));
    }
    return parts > 1 ? save_index(directory, map, bytes, err) : RT_OK;
}

/* ---------------------------------------------------------------- directory */

static rt_status write_around(rt_arena *a, const char *directory, const rt_model_config *c, rt_dtype t, rt_error *err) {
    const char *generation = rt_arena_printf(a, "%s/generation_config.json", directory), *config = rt_arena_printf(a, "%s/config.json", directory);
    if (!generation || !config) return rt_fail(err, RT_E_NOMEM, "%s: out of memory", directory);
    RT_TRY(rt_hf_generation_config_write(generation, c, err));
    return rt_hf_config_write(config, c, t, err);
}
rt_status rt_hf_write_parts(const char *directory, const rt_model_config *c, const rt_tensor *weights, int64_t max_bytes,
                            const rt_safetensors_write_options *options, rt_error *err) {
    rt_arena a = {0};
    RT_TRY(rt_model_config_check(c, err));
    RT_TRY(rt_dir_make(directory, err));
    json_t *map = json_object();
    rt_status status = write_parts(&a, directory, c, weights, max_bytes, options, map, err);
    if (status == RT_OK) status = write_around(&a, directory, c, weights[0].dtype, err);
    json_decref(map);
    rt_arena_free(&a);
    return status;
}
rt_status rt_hf_write(const char *directory, const rt_model_config *c, const rt_tensor *weights,
                      const rt_safetensors_write_options *options, rt_error *err) {
    return rt_hf_write_parts(directory, c, weights, INT64_MAX, options, err);
}
