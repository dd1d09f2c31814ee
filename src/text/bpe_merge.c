/* bpe_merge.c - byte-pair encoding, the merging of one piece: Sennrich et al. 2016.
 *
 * The adjacent pair of the lowest rank, leftmost first, is merged until none is left. Short pieces (nearly all) look for
 * it by scanning; long ones keep the pairs in a heap: O(n log n). A heap entry is stale when its pair has changed since,
 * which its rank tells. */
#include "text/tokenizer_impl.h"
#include <string.h>

enum { SCAN_AT_MOST = 48 };

static void scan_merge(tok_work *w, const tok_model *m) {
    const tok_merge *found[SCAN_AT_MOST];
    tok_symbol *s = w->symbols;
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

static bool heap_push(tok_work *w, uint64_t key) {
    if (!rt_tok_grow((void **)&w->heap, w->heap_size + 1, &w->heap_capacity, sizeof *w->heap)) return false;
    size_t i = w->heap_size++;
    for (; i > 0 && w->heap[(i - 1) / 2] > key; i = (i - 1) / 2) w->heap[i] = w->heap[(i - 1) / 2];
    w->heap[i] = key;
    return true;
}
static uint64_t heap_pop(tok_work *w) {
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

static const tok_merge *pair_at(const tok_work *w, const tok_model *m, int32_t i) {
    if (i < 0 || w->symbols[i].length == 0 || w->symbols[i].after < 0) return NULL;
    return rt_tok_merges_find(&m->merges, w->symbols[i].id, w->symbols[w->symbols[i].after].id);
}
static bool offer(tok_work *w, const tok_model *m, int32_t i) {
    const tok_merge *pair = pair_at(w, m, i);
    return !pair || heap_push(w, (uint64_t)(uint32_t)pair->rank << 32 | (uint32_t)i);
}

static void join(tok_work *w, int32_t i, int32_t id) { /* symbol i swallows the next */
    tok_symbol *left = &w->symbols[i], *right = &w->symbols[left->after];
    left->id = id;
    left->length += right->length;
    right->length = 0;
    left->after = right->after;
    if (left->after >= 0) w->symbols[left->after].before = i;
}

static bool heap_merge(tok_work *w, const tok_model *m) {
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

bool rt_bpe_merge(tok_work *w, const tok_model *m) {
    if (w->size > SCAN_AT_MOST) return heap_merge(w, m);
    if (w->size > 1) scan_merge(w, m);
    return true;
}
