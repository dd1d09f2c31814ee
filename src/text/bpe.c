/* bpe.c - byte-pair encoding of one piece: Sennrich et al. 2016, with SentencePiece's byte fallback.
 *
 * The piece becomes symbols; then the adjacent pair of the lowest rank, leftmost first, is merged until none is left.
 * Short pieces (nearly all) look for it by scanning; long ones keep the pairs in a heap: O(n log n). A heap entry is
 * stale when its pair has changed since, which its rank tells. */
#include "text/byte_alphabet.h"
#include "text/tokenizer_impl.h"
#include "text/utf8.h"
#include <string.h>

enum { SCAN_AT_MOST = 48 };

/* ---- symbols ---- */

static bool push(bpe_work *w, int32_t id, size_t length) {
    if (!rt_tok_grow((void **)&w->symbols, w->size + 1, &w->symbol_capacity, sizeof *w->symbols)) return false;
    w->symbols[w->size++] = (bpe_symbol){.id = id, .length = (uint32_t)length};
    return true;
}

/* A character without a symbol: the unknown token, one for a run of them with fuse_unk; nothing where there is none
 * (the symbol before it then covers it). */
static bool push_unknown(bpe_work *w, const tok_model *m, size_t length, bool *run) {
    bool fuse = *run && m->fuse_unk;
    *run = m->unk >= 0;
    if (m->unk >= 0 && !fuse) return push(w, m->unk, length);
    if (w->size)
        w->symbols[w->size - 1].length += (uint32_t)length;
    else
        w->lead += length;
    return true;
}

static bool push_bytes(bpe_work *w, const tok_model *m, const char *s, size_t n) {
    bool run = false;
    for (size_t i = 0; i < n; i++) {
        int32_t id = m->byte_id[(uint8_t)s[i]];
        if (id >= 0 ? !push(w, id, 1) : !push_unknown(w, m, 1, &run)) return false;
        if (id >= 0) run = false;
    }
    return true;
}

static bool has_all_bytes(const tok_model *m, const char *s, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (m->byte_id[(uint8_t)s[i]] < 0) return false;
    return true;
}

static bool push_characters(bpe_work *w, const tok_vocab *v, const tok_model *m, const char *s, size_t n) {
    bool run = false, ok = true;
    for (size_t i = 0, length; i < n && ok; i += length) {
        rt_utf8_get(s + i, n - i, &length);
        int32_t id = rt_tok_vocab_find_model(v, s + i, length);
        bool bytes = id < 0 && m->byte_fallback && has_all_bytes(m, s + i, length);
        if (id >= 0)
            ok = push(w, id, length);
        else
            ok = bytes ? push_bytes(w, m, s + i, length) : push_unknown(w, m, length, &run);
        if (id >= 0 || bytes) run = false;
    }
    return ok;
}

/* ---- merging ---- */

static void scan_merge(bpe_work *w, const tok_model *m) {
    const tok_merge *found[SCAN_AT_MOST];
    bpe_symbol *s = w->symbols;
    size_t n = w->size;
    for (size_t i = 0; i + 1 < n; i++) found[i] = rt_tok_merges_find(&m->merges, s[i].id, s[i + 1].id);
    while (n > 1) {
        size_t best = n;
        for (size_t i = 0; i + 1 < n; i++)
            if (found[i] && (best == n || found[i]->rank < found[best]->rank)) best = i;
        if (best == n) break;
        s[best].id = found[best]->id;
        s[best].length += s[best + 1].length;
        n--;
        memmove(s + best + 1, s + best + 2, (n - best - 1) * sizeof *s);
        if (best + 1 < n) {
            memmove(found + best + 1, found + best + 2, (n - best - 2) * sizeof *found);
            found[best] = rt_tok_merges_find(&m->merges, s[best].id, s[best + 1].id);
        }
        if (best > 0) found[best - 1] = rt_tok_merges_find(&m->merges, s[best - 1].id, s[best].id);
    }
    w->size = n;
}

static bool heap_push(bpe_work *w, uint64_t key) {
    if (!rt_tok_grow((void **)&w->heap, w->heap_size + 1, &w->heap_capacity, sizeof *w->heap)) return false;
    size_t i = w->heap_size++;
    for (; i > 0 && w->heap[(i - 1) / 2] > key; i = (i - 1) / 2) w->heap[i] = w->heap[(i - 1) / 2];
    w->heap[i] = key;
    return true;
}
static uint64_t heap_pop(bpe_work *w) {
    uint64_t top = w->heap[0], last = w->heap[--w->heap_size];
    size_t i = 0, n = w->heap_size;
    for (size_t child; (child = 2 * i + 1) < n; i = child) {
        if (child + 1 < n && w->heap[child + 1] < w->heap[child]) child++;
        if (w->heap[child] >= last) break;
        w->heap[i] = w->heap[child];
    }
    if (n) w->heap[i] = last;
    return top;
}

static const tok_merge *pair_at(const bpe_work *w, const tok_model *m, int32_t i) {
    if (i < 0 || w->symbols[i].length == 0 || w->symbols[i].after < 0) return NULL;
    return rt_tok_merges_find(&m->merges, w->symbols[i].id, w->symbols[w->symbols[i].after].id);
}
static bool offer(bpe_work *w, const tok_model *m, int32_t i) {
    const tok_merge *pair = pair_at(w, m, i);
    return !pair || heap_push(w, (uint64_t)(uint32_t)pair->rank << 32 | (uint32_t)i);
}

static void join(bpe_work *w, int32_t i, int32_t id) { /* symbol i swallows the next */
    bpe_symbol *left = &w->symbols[i], *right = &w->symbols[left->after];
    left->id = id;
    left->length += right->length;
    right->length = 0;
    left->after = right->after;
    if (left->after >= 0) w->symbols[left->after].before = i;
}

static bool heap_merge(bpe_work *w, const tok_model *m) {
    int32_t n = (int32_t)w->size;
    w->heap_size = 0;
    for (int32_t i = 0; i < n; i++) w->symbols[i].before = i - 1, w->symbols[i].after = i + 1 < n ? i + 1 : -1;
    for (int32_t i = 0; i + 1 < n; i++)
        if (!offer(w, m, i)) return false;
    while (w->heap_size) {
        uint64_t key = heap_pop(w);
        int32_t i = (int32_t)(uint32_t)key;
        const tok_merge *pair = pair_at(w, m, i);
        if (!pair || (uint32_t)pair->rank != key >> 32) continue;
        join(w, i, pair->id);
        if (!offer(w, m, i) || !offer(w, m, w->symbols[i].before)) return false;
    }
    size_t kept = 0;
    for (size_t i = 0; i < w->size; i++)
        if (w->symbols[i].length) w->symbols[kept++] = w->symbols[i];
    w->size = kept;
    return true;
}

/* ---- a piece ---- */

/* ignore_merges: a piece that is a token as it stands is that token. */
static int32_t whole(const tok_vocab *v, const tok_model *m, const char *s, size_t n) {
    char token[1024];
    size_t used = 0;
    if (!m->byte_level) return rt_tok_vocab_find_model(v, s, n);
    if (n > sizeof token / 2) return -1;
    for (size_t i = 0; i < n; i++) used += rt_utf8_put(token + used, rt_byte_alphabet_char((uint8_t)s[i]));
    return rt_tok_vocab_find_model(v, token, used);
}

rt_status rt_bpe_run(bpe_work *w, const tok_vocab *v, const tok_model *m, const char *s, size_t n, rt_error *err) {
    w->size = w->lead = 0;
    if (n > INT32_MAX) return rt_fail(err, RT_E_INPUT, "a piece of %zu bytes is too long for the tokenizer", n);
    int32_t id = m->ignore_merges ? whole(v, m, s, n) : -1;
    bool ok = id >= 0 ? push(w, id, n) : m->byte_level ? push_bytes(w, m, s, n) : push_characters(w, v, m, s, n);
    if (ok && w->size > SCAN_AT_MOST)
        ok = heap_merge(w, m);
    else if (ok && w->size > 1)
        scan_merge(w, m);
    return ok ? RT_OK : rt_tok_out_of_memory(err);
}

void rt_bpe_free(bpe_work *w) {
    rt_free(w->symbols);
    rt_free(w->heap);
    *w = (bpe_work){0};
}
