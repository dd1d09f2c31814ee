/* bpe_train_impl.h - the state of a training: the text's distinct words, and the pairs in them. */
#ifndef TEXT_BPE_TRAIN_IMPL_H
#define TEXT_BPE_TRAIN_IMPL_H
#include <retort/text/bpe_train.h>
#include "text/tok_vocab.h"

typedef struct train_word {
    size_t begin; /* its symbols in `symbols` */
    int32_t size;
    int64_t count;
} train_word;
typedef struct train_pair {
    int32_t left, right;
    int64_t count;
    int32_t place; /* first of its places, -1: none */
    bool merged;
} train_pair;
typedef struct train_place { /* a word where a pair occurs or occurred */
    int32_t word, next;
} train_place;
typedef struct train_candidate { /* heap entry; stale when the pair's count has changed */
    int64_t count;
    int32_t pair;
} train_candidate;

typedef struct trainer {
    tok_vocab tokens; /* in the visible alphabet */
    int32_t special;  /* ids below are special tokens */
    train_word *words;
    int32_t *symbols;
    train_pair *pairs;
    tok_merges pair_index; /* (left, right) -> index in pairs, as `id` */
    train_place *places;
    train_candidate *heap;
    int32_t *merges; /* index in pairs, in the order learned */
    size_t word_count, word_capacity, symbol_count, symbol_capacity, pair_count, pair_capacity, place_count,
        place_capacity, heap_size, heap_capacity, merge_count, merge_capacity;
} trainer;

rt_status rt_train_read_words(trainer *t, const rt_bpe_train_options *o, const char *text, size_t bytes,
                              rt_error *err) RT_NODISCARD;
rt_status rt_train_write_json(const trainer *t, const rt_bpe_train_options *o, rt_buf *json,
                              rt_error *err) RT_NODISCARD;
#endif
