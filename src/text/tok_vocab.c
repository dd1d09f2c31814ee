/* tok_vocab.c - open-addressing tables with linear probing; at most two thirds full. */
#include "text/tok_vocab.h"
#include "text/tok_text.h"
#include <string.h>

static uint64_t mix(uint64_t x) { /* finaliser of splitmix64 */
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

uint64_t rt_tok_hash(const char *s, size_t n) {
    uint64_t h = 0x9e3779b97f4a7c15u ^ n, word;
    for (; n >= 8; s += 8, n -= 8) {
        memcpy(&word, s, 8);
        h = mix(h ^ word);
    }
    word = 0;
    memcpy(&word, s, n);
    return mix(h ^ word);
}

/* ---- vocabulary ---- */

static size_t slot_of(const tok_vocab *v, const char *s, size_t n) { /* its slot, or the free one where it belongs */
    size_t i = rt_tok_hash(s, n) & v->mask;
    for (; v->slots[i]; i = (i + 1) & v->mask) {
        const tok_entry *e = &v->entries[v->slots[i] - 1];
        if (e->length == n && memcmp(v->bytes.data + e->begin, s, n) == 0) break;
    }
    return i;
}

static bool rehash(tok_vocab *v) {
    if (v->slots && (v->filled + 1) * 3 < (v->mask + 1) * 2) return true;
    size_t size = v->slots ? (v->mask + 1) * 2 : 1024;
    int32_t *old = v->slots, *slots = rt_zalloc(rt_array_bytes(size, sizeof *slots));
    if (!slots) return false;
    size_t old_size = old ? v->mask + 1 : 0;
    v->slots = slots;
    v->mask = size - 1;
    for (size_t i = 0; i < old_size; i++) {
        if (!old[i]) continue;
        const tok_entry *e = &v->entries[old[i] - 1];
        v->slots[slot_of(v, v->bytes.data + e->begin, e->length)] = old[i];
    }
    rt_free(old);
    return true;
}

static bool reach(tok_vocab *v, int32_t id) { /* entries up to id exist */
    size_t before = v->capacity;
    if (!rt_tok_grow((void **)&v->entries, (size_t)id + 1, &v->capacity, sizeof *v->entries)) return false;
    if (v->capacity > before) memset(v->entries + before, 0, (v->capacity - before) * sizeof *v->entries);
    if (id >= v->size) v->size = id + 1;
    return true;
}

static rt_status enter(tok_vocab *v, size_t slot, int32_t id, const char *s, size_t n) {
    size_t begin = v->bytes.size;
    rt_buf_add(&v->bytes, s, n);
    rt_buf_putc(&v->bytes, 0);
    if (v->bytes.failed) return RT_E_NOMEM;
    v->entries[id] = (tok_entry){
        .begin = begin, .decoded = begin, .length = (uint32_t)n, .decoded_length = (uint32_t)n, .used = true};
    v->filled += !v->slots[slot];
    v->slots[slot] = id + 1;
    return RT_OK;
}

rt_status rt_tok_vocab_add(tok_vocab *v, int32_t id, const char *s, size_t n, int32_t *clash) {
    if (!rehash(v)) return RT_E_NOMEM;
    size_t slot = slot_of(v, s, n);
    if (v->slots[slot]) {
        *clash = v->slots[slot] - 1;
        return *clash == id ? RT_OK : RT_E_INPUT;
    }
    if (!reach(v, id)) return RT_E_NOMEM;
    if (v->entries[id].used) return *clash = id, RT_E_INPUT;
    return enter(v, slot, id, s, n);
}

rt_status rt_tok_vocab_put(tok_vocab *v, int32_t id, const char *s, size_t n) {
    if (!rehash(v) || !reach(v, id)) return RT_E_NOMEM;
    return enter(v, slot_of(v, s, n), id, s, n);
}

int32_t rt_tok_vocab_find(const tok_vocab *v, const char *s, size_t n) {
    return v->slots ? v->slots[slot_of(v, s, n)] - 1 : -1;
}
int32_t rt_tok_vocab_find_model(const tok_vocab *v, const char *s, size_t n) {
    int32_t id = rt_tok_vocab_find(v, s, n);
    return id >= 0 && v->entries[id].in_model ? id : -1;
}
const char *rt_tok_vocab_string(const tok_vocab *v, int32_t id) { return v->bytes.data + v->entries[id].begin; }

rt_status rt_tok_vocab_set_decoded(tok_vocab *v, int32_t id, const char *s, size_t n) {
    size_t begin = v->bytes.size;
    rt_buf_add(&v->bytes, s, n);
    rt_buf_putc(&v->bytes, 0);
    if (v->bytes.failed) return RT_E_NOMEM;
    v->entries[id].decoded = begin;
    v->entries[id].decoded_length = (uint32_t)n;
    return RT_OK;
}
const char *rt_tok_vocab_decoded(const tok_vocab *v, int32_t id, size_t *n) {
    *n = v->entries[id].decoded_length;
    return v->bytes.data + v->entries[id].decoded;
}

void rt_tok_vocab_free(tok_vocab *v) {
    rt_buf_free(&v->bytes);
    rt_free(v->entries);
    rt_free(v->slots);
    *v = (tok_vocab){0};
}

/* ---- merges ---- */

static uint64_t pair_of(int32_t left, int32_t right) { return (uint64_t)(uint32_t)left << 32 | (uint32_t)right; }

rt_status rt_tok_merges_init(tok_merges *m, size_t count) {
    size_t size = 16;
    while (size / 3 * 2 <= count) size *= 2;
    m->slots = rt_alloc(rt_array_bytes(size, sizeof *m->slots));
    if (!m->slots) return RT_E_NOMEM;
    for (size_t i = 0; i < size; i++) m->slots[i].id = -1;
    m->mask = size - 1;
    return RT_OK;
}

static size_t merge_slot(const tok_merges *m, uint64_t pair) {
    size_t i = mix(pair) & m->mask;
    while (m->slots[i].id >= 0 && m->slots[i].pair != pair) i = (i + 1) & m->mask;
    return i;
}
void rt_tok_merges_add(tok_merges *m, int32_t left, int32_t right, int32_t rank, int32_t id) {
    tok_merge *slot = &m->slots[merge_slot(m, pair_of(left, right))];
    if (slot->id < 0) m->count++;
    *slot = (tok_merge){pair_of(left, right), rank, id};
}
const tok_merge *rt_tok_merges_find(const tok_merges *m, int32_t left, int32_t right) {
    const tok_merge *slot = &m->slots[merge_slot(m, pair_of(left, right))];
    return slot->id < 0 ? NULL : slot;
}
void rt_tok_merges_free(tok_merges *m) {
    rt_free(m->slots);
    *m = (tok_merges){0};
}
