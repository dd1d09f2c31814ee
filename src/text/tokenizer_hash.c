/* tokenizer_hash.c - the name of a tokenizer by content (decision 15): what its layout, its gzip, the order of its keys
 * and the spelling of its merges do not change. Lines: "ID BYTES TOKEN SPECIAL" in order of ids; "LEFT RIGHT" in order
 * of ranks; the model's kind and options; "ID SCORE" where there are scores; how added tokens are looked for; then
 * normalizer, pre-tokenizer and decoder as compact JSON with sorted keys (null where absent). */
#include <retort/base/sha256.h>
#include "text/tokenizer_impl.h"
#include <stdio.h>
#include <stdlib.h>

static void add_vocab(rt_sha256 *h, const tok_vocab *v) {
    char line[64];
    for (int32_t id = 0; id < v->size; id++) {
        const tok_entry *e = &v->entries[id];
        if (!e->used) continue;
        rt_sha256_add(h, line, (size_t)snprintf(line, sizeof line, "%d %u ", id, e->length));
        rt_sha256_add(h, rt_tok_vocab_string(v, id), e->length);
        rt_sha256_add(h, e->special ? " 1\n" : " 0\n", 3);
    }
}

static int by_rank(const void *a, const void *b) {
    const tok_merge *x = a, *y = b;
    return (x->rank > y->rank) - (x->rank < y->rank);
}
static rt_status add_merges(rt_sha256 *h, const tok_merges *m, rt_error *err) {
    char line[64];
    size_t n = 0;
    if (!m->slots) return RT_OK;
    tok_merge *sorted = rt_alloc(rt_array_bytes((size_t)m->count, sizeof *sorted));
    if (!sorted) return rt_tok_out_of_memory(err);
    for (size_t i = 0; i <= m->mask; i++)
        if (m->slots[i].id >= 0) sorted[n++] = m->slots[i];
    qsort(sorted, n, sizeof *sorted, by_rank);
    for (size_t i = 0; i < n; i++) {
        uint64_t pair = sorted[i].pair;
        rt_sha256_add(h, line, (size_t)snprintf(line, sizeof line, "%u %u\n", (unsigned)(pair >> 32), (unsigned)pair));
    }
    rt_free(sorted);
    return RT_OK;
}

static void add_affix(rt_sha256 *h, const char *text, size_t n) {
    char line[32];
    rt_sha256_add(h, line, (size_t)snprintf(line, sizeof line, " %zu ", n));
    rt_sha256_add(h, text ? text : "", n);
}
static void add_model(rt_sha256 *h, const tok_model *m) {
    char line[128];
    rt_sha256_add(h, line,
                  (size_t)snprintf(line, sizeof line, "%s unk %d bytes %d fuse %d whole %d word %lld", m->kind->type,
                                   m->unk, m->byte_fallback, m->fuse_unk, m->ignore_merges,
                                   (long long)m->longest_word));
    add_affix(h, m->prefix, m->prefix_bytes);
    add_affix(h, m->suffix, m->suffix_bytes);
    rt_sha256_add(h, "\n", 1);
    for (int32_t id = 0; id < m->scored; id++)
        rt_sha256_add(h, line, (size_t)snprintf(line, sizeof line, "%d %.17g\n", id, m->scores[id]));
}

/* The sets are sorted, whatever the order of the file. */
static void add_added(rt_sha256 *h, const tok_added_set *set) {
    char line[64];
    for (size_t i = 0; i < set->size; i++) {
        const tok_added *a = &set->items[i];
        rt_sha256_add(h, line,
                      (size_t)snprintf(line, sizeof line, "added %d %d %d %d %d\n", a->id, a->single_word, a->lstrip,
                                       a->rstrip, a->normalized));
    }
}

static int into_hash(const char *text, size_t n, void *hash) {
    rt_sha256_add(hash, text, n);
    return 0;
}
static rt_status add_component(rt_sha256 *h, const tok_node *root, const char *key, rt_error *err) {
    tok_node part = rt_tok_key(root, key);
    if (rt_tok_absent(&part))
        rt_sha256_add(h, "null", 4);
    else if (json_dump_callback(part.json, into_hash, h, JSON_COMPACT | JSON_SORT_KEYS) != 0)
        return rt_tok_out_of_memory(err);
    rt_sha256_add(h, "\n", 1);
    return RT_OK;
}

rt_status rt_tok_make_hash(rt_tokenizer *t, const tok_node *root, rt_error *err) {
    rt_sha256 h;
    rt_sha256_start(&h);
    add_vocab(&h, &t->vocab);
    RT_TRY(add_merges(&h, &t->model.merges, err));
    add_model(&h, &t->model);
    add_added(&h, &t->raw);
    add_added(&h, &t->normalized);
    RT_TRY(add_component(&h, root, "normalizer", err));
    RT_TRY(add_component(&h, root, "pre_tokenizer", err));
    RT_TRY(add_component(&h, root, "decoder", err));
    rt_sha256_end_hex(&h, t->hash);
    return RT_OK;
}
