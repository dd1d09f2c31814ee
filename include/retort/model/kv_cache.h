/* kv_cache.h - keys and values of past rows, of several sequences: the memory that cached attention appends to.
 *
 * One state a layer, [sequences, 2 kv_heads, positions, head_dim] in the dtype of the attention's activations: of each sequence
 * the keys' heads, then the values'. Graphs that are to see the same past are built with the same cache (rt_model_options). */
#ifndef RETORT_MODEL_KV_CACHE_H
#define RETORT_MODEL_KV_CACHE_H
#include <retort/model/config.h>
#include <retort/model/precision.h>
#include <retort/tensor/tensor.h>

typedef struct rt_kv_cache {
    int64_t sequences, positions, layers;
    rt_tensor *layer;
    void *block;
    size_t bytes; /* of all keys and values */
} rt_kv_cache;

rt_status rt_kv_cache_open(rt_kv_cache *k, const rt_model_config *c, const rt_precision *p, int64_t sequences, int64_t positions, rt_error *err) RT_NODISCARD;
void rt_kv_cache_close(rt_kv_cache *k); /* an all-zero one is fine */
/* The first `rows` rows of sequence `from` also become those of `to`. */
void rt_kv_cache_copy(rt_kv_cache *k, int64_t from, int64_t to, int64_t rows);
#endif
