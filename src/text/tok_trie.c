/* tok_trie.c - edges in the table that BPE keeps its merges in. */
#include "text/tok_trie.h"

static bool room(tok_trie *t) {
    if ((size_t)t->nodes < t->capacity) return true;
    size_t more = t->capacity * 2 + 1024;
    tok_merges bigger = {0};
    if (t->nodes >= INT32_MAX - 1 || rt_tok_merges_init(&bigger, more) != RT_OK) return false;
    for (size_t i = 0; t->edges.slots && i <= t->edges.mask; i++) {
        const tok_merge *e = &t->edges.slots[i];
        if (e->id >= 0) rt_tok_merges_add(&bigger, (int32_t)(e->pair >> 32), (int32_t)e->pair, e->rank, e->id);
    }
    rt_tok_merges_free(&t->edges);
    t->edges = bigger;
    t->capacity = more;
    return true;
}

rt_status rt_tok_trie_add(tok_trie *t, const char *s, size_t n, int32_t value) {
    int32_t node = 0;
    for (size_t i = 0; i < n; i++) {
        if (!room(t)) return RT_E_NOMEM;
        int32_t byte = (uint8_t)s[i];
        const tok_merge *edge = rt_tok_merges_find(&t->edges, node, byte);
        int32_t next = edge ? edge->id : ++t->nodes;
        if (!edge || i + 1 == n) rt_tok_merges_add(&t->edges, node, byte, i + 1 == n ? value : -1, next);
        node = next;
    }
    return RT_OK;
}

bool rt_tok_trie_step(const tok_trie *t, int32_t *node, char byte, int32_t *value) {
    const tok_merge *edge = t->edges.slots ? rt_tok_merges_find(&t->edges, *node, (uint8_t)byte) : NULL;
    if (!edge) return false;
    *node = edge->id;
    *value = edge->rank;
    return true;
}

void rt_tok_trie_free(tok_trie *t) {
    rt_tok_merges_free(&t->edges);
    *t = (tok_trie){0};
}
