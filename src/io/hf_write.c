/* hf_write.c - writes a model directory. The weights come first: a directory with a config.json has its weights. */
#include <retort/base/file.h>
#include <retort/io/hf.h>

typedef rt_status (*write_fn)(const char *path, void *context, rt_error *err);
static rt_status in_directory(const char *directory, const char *name, write_fn write, void *context, rt_error *err) {
    rt_arena a = {0};
    const char *path = rt_arena_printf(&a, "%s/%s", directory, name);
    rt_status status = path ? write(path, context, err) : rt_fail(err, RT_E_NOMEM, "%s: out of memory", directory);
    rt_arena_free(&a);
    return status;
}

typedef struct job {
    const rt_model_config *config;
    const rt_named_tensor *tensors;
    int64_t count;
    rt_dtype dtype;
    const rt_safetensors_write_options *options;
} job;
static rt_status write_weights(const char *path, void *context, rt_error *err) {
    const job *j = context;
    return rt_safetensors_write(path, j->tensors, j->count, j->options, err);
}
static rt_status write_config(const char *path, void *context, rt_error *err) {
    const job *j = context;
    return rt_hf_config_write(path, j->config, j->dtype, err);
}
static rt_status write_generation(const char *path, void *context, rt_error *err) {
    const job *j = context;
    return rt_hf_generation_config_write(path, j->config, err);
}

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
static rt_status write_all(const char *directory, job *j, rt_error *err) {
    RT_TRY(rt_dir_make(directory, err));
    RT_TRY(in_directory(directory, "model.safetensors", write_weights, j, err));
    RT_TRY(in_directory(directory, "generation_config.json", write_generation, j, err));
    return in_directory(directory, "config.json", write_config, j, err);
}

rt_status rt_hf_write(const char *directory, const rt_model_config *c, const rt_tensor *weights,
                      const rt_safetensors_write_options *options, rt_error *err) {
    rt_arena a = {0};
    RT_TRY(rt_model_config_check(c, err));
    int64_t n = rt_weight_count(c);
    rt_named_tensor *named = rt_arena_alloc(&a, rt_array_bytes((size_t)n, sizeof *named));
    rt_status status = named ? name_weights(&a, c, weights, named, err) : rt_fail(err, RT_E_NOMEM, "out of memory");
    job j = {c, named, n, weights[0].dtype, options};
    if (status == RT_OK) status = write_all(directory, &j, err);
    else rt_error_prefix(err, "%s", directory);
    rt_arena_free(&a);
    return status;
}
