/* tok_trie.h - strings by their bytes: which of them begin a text. A node is an integer, 0 the root; an edge is an
 * entry of a hash table (node, byte) -> (node, value). */
#ifndef TEXT_TOK_TRIE_H
#define TEXT_TOK_TRIE_H
#include "text/tok_vocab.h"

typedef struct tok_trie {
    tok_merges edges; /* left: node, right: byte, id: the node it leads to, rank: the value of the string, -1: none */
    size_t capacity;  /* edges that fit */
    int32_t nodes;    /* made so far, without the root */
} tok_trie;
/* A later value of the same string replaces an earlier one. value >= 0. */
rt_status rt_tok_trie_add(tok_trie *t, const char *s, size_t n, int32_t value) RT_NODISCARD;
/* One byte on from *node: false when no string goes on that way. *value: of the string that ends there, or -1. */
bool rt_tok_trie_step(const tok_trie *t, int32_t *node, char byte, int32_t *value);
void rt_tok_trie_free(tok_trie *t);
#endif
