/* hf_write.c - writes a model directory. The weights come first: a directory with a config.json has its weights. */
#include <retort/base/file.h>
#include <retort/io/hf.h>

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

/* ---------------------------------------------------------------- directory */

rt_status rt_hf_write(const char *directory, const rt_model_config *c, const rt_tensor *weights,
                      const rt_safetensors_write_options *options, rt_error *err) {
    rt_arena a = {0};
    const char *model = rt_arena_printf(&a, "%s/model.safetensors", directory);
    const char *generation = rt_arena_printf(&a, "%s/generation_config.json", directory);
    const char *config = rt_arena_printf(&a, "%s/config.json", directory);
    bool ok = model && generation && config;
    rt_status status = ok ? rt_dir_make(directory, err) : rt_fail(err, RT_E_NOMEM, "%s: out of memory", directory);
    if (status == RT_OK) status = rt_hf_weights_write(model, c, weights, options, err);
    if (status == RT_OK) status = rt_hf_generation_config_write(generation, c, err);
    if (status == RT_OK) status = rt_hf_config_write(config, c, weights[0].dtype, err);
    rt_arena_free(&a);
    return status;
}
