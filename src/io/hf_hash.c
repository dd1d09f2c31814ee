/* hf_hash.c - a model's weights named by their content. */
#include <retort/base/file.h>
#include <retort/base/sha256.h>
#include <retort/base/threads.h>
#include <retort/io/hf.h>
#include <stdlib.h>
#include <string.h>

typedef struct weight {
    char name[RT_WEIGHT_NAME];
    const rt_tensor *tensor;
    uint8_t digest[32];
} weight;
enum { HASH_PIECE = 8 << 20 };
static void hash_one(void *context, int64_t i, int worker) {
    weight *w = (weight *)context + i;
    rt_sha256 s;
    (void)worker;
    const char *data = w->tensor->data;
    rt_sha256_start(&s);
    for (size_t at = 0, size = rt_tensor_bytes(w->tensor), n; at < size; at += n) {
        n = size - at < HASH_PIECE ? size - at : HASH_PIECE;
        rt_file_want(data + at, n);
        rt_sha256_add(&s, data + at, n);
        rt_file_drop(data + at, n); /* nobody may ever use it */
    }
    rt_sha256_end(&s, w->digest);
}
static int by_name(const void *a, const void *b) { return strcmp(((const weight *)a)->name, ((const weight *)b)->name); }

rt_status rt_hf_content_hash(const rt_hf *m, rt_hf_hash *out, rt_error *err) {
    int64_t n = rt_weight_count(rt_hf_config(m));
    weight *list = rt_alloc(rt_array_bytes((size_t)n, sizeof *list));
    if (!list) return rt_fail(err, RT_E_NOMEM, "%s: out of memory", rt_hf_path(m));
    for (int64_t i = 0; i < n; i++) {
        memcpy(list[i].name, rt_weight_at(rt_hf_config(m), i).name, sizeof list[i].name);
        list[i].tensor = rt_hf_weight(m, i);
    }
    qsort(list, (size_t)n, sizeof *list, by_name);
    rt_parallel(n, hash_one, list);
    rt_sha256 s;
    rt_sha256_start(&s);
    for (int64_t i = 0; i < n; i++) {
        char text[96];
        rt_tensor_text(list[i].tensor, text);
        rt_sha256_add(&s, list[i].name, strlen(list[i].name) + 1);
        rt_sha256_add(&s, text, strlen(text) + 1);
        rt_sha256_add(&s, list[i].digest, sizeof list[i].digest);
    }
    rt_sha256_end_hex(&s, out->hex);
    rt_free(list);
    return RT_OK;
}
