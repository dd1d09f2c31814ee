/* small_model.c - see small_model.h. */
#include "small_model.h"
#include "harness.h"
#include <retort/io/hf.h>

rt_model_config small_config(int64_t experts) {
    rt_model_config c = rt_model_config_default(rt_arch_find(experts ? "mixtral" : "llama"));
    c.vocab_size = SMALL_V, c.hidden_size = 32, c.layers = 2, c.heads = 4, c.kv_heads = 2, c.head_dim = 8, c.ffn_size = 48;
    c.experts = experts, c.experts_per_token = experts ? 2 : 0, c.max_position = SMALL_POSITIONS, c.bos_id = 1, c.eos_id = 2;
    return c;
}

void small_model(rt_weights *w, const rt_model_config *c, const rt_precision *p, double scale) {
    rt_error err = {0};
    RT_OK_OR_FAIL(rt_weights_layout(w, c, p, &err));
    RT_OK_OR_FAIL(rt_weights_alloc(w, &err));
    rt_weights_init(w, 5);
    for (int64_t i = 0; i < w->count; i++)
        if (w->slots[i].role != rt_role_norm) rt_fill_normal(&w->slots[i].t, scale, (uint64_t)i);
}

void small_folder(const char *directory, const rt_weights *w) {
    rt_error err = {0};
    int64_t n = rt_weight_count(&w->config);
    rt_tensor *tensors = rt_zalloc((size_t)n * sizeof *tensors);
    void **buffers = rt_zalloc((size_t)n * sizeof *buffers);
    for (int64_t i = 0; i < n; i++) {
        buffers[i] = rt_alloc(8 * (size_t)(w->config.ffn_size * w->config.hidden_size));
        tensors[i] = rt_weights_get(w, i, buffers[i]);
    }
    RT_OK_OR_FAIL(rt_hf_write(directory, &w->config, tensors, NULL, &err));
    for (int64_t i = 0; i < n; i++) rt_free(buffers[i]);
    rt_free(buffers), rt_free(tensors);
}
