/* kv_cache.c - memory of keys and values. */
#include <retort/base/mem.h>
#include <retort/model/kv_cache.h>
#include <string.h>

/* bytes = a b c d e, false on overflow. */
static bool product(const int64_t *factor, int n, size_t *bytes) {
    *bytes = 1;
    for (int i = 0; i < n; i++)
        if (factor[i] < 0 || __builtin_mul_overflow(*bytes, (size_t)factor[i], bytes)) return false;
    return *bytes <= SIZE_MAX / 2;
}

rt_status rt_kv_cache_open(rt_kv_cache *k, const rt_model_config *c, const rt_precision *p, int64_t sequences, int64_t positions, rt_error *err) {
    rt_dtype t = p->act[rt_role_attention];
    size_t layer;
    *k = (rt_kv_cache){.sequences = sequences, .positions = positions, .layers = c->layers};
    if (sequences < 1 || positions < 1 || positions > INT32_MAX)
        return rt_fail(err, RT_E_ARG, "a cache of %lld sequences of %lld positions", (long long)sequences, (long long)positions);
    bool fits = product((int64_t[]){sequences, 2 * c->kv_heads, positions, c->head_dim, (int64_t)rt_dtype_size(t)}, 5, &layer) &&
                product((int64_t[]){(int64_t)layer, c->layers}, 2, &k->bytes);
    k->layer = rt_zalloc(rt_array_bytes((size_t)c->layers, sizeof *k->layer));
    k->block = fits ? rt_alloc(k->bytes) : NULL; /* not cleared: pages are taken as rows come, and only those are read */
    if (!k->layer || !k->block) {
        rt_kv_cache_close(k);
        return rt_fail(err, RT_E_NOMEM, "out of memory: keys and values of %lld sequences of %lld positions", (long long)sequences, (long long)positions);
    }
    for (int64_t l = 0; l < c->layers; l++)
        k->layer[l] = rt_tensor_make(t, 4, (int64_t[]){sequences, 2 * c->kv_heads, positions, c->head_dim}, (char *)k->block + (size_t)l * layer);
    return RT_OK;
}

void rt_kv_cache_close(rt_kv_cache *k) {
    rt_free(k->layer);
    rt_free(k->block);
    *k = (rt_kv_cache){0};
}

void rt_kv_cache_copy(rt_kv_cache *k, int64_t from, int64_t to, int64_t rows) {
    for (int64_t l = 0; l < k->layers; l++) {
        const rt_tensor *t = &k->layer[l];
        size_t head = (size_t)(t->dim[2] * t->dim[3]) * rt_dtype_size(t->dtype), some = (size_t)(rows * t->dim[3]) * rt_dtype_size(t->dtype);
        for (int64_t h = 0; h < t->dim[1]; h++)
            memcpy((char *)t->data + (size_t)(to * t->dim[1] + h) * head, (char *)t->data + (size_t)(from * t->dim[1] + h) * head, some);
    }
}
