/* tokenizer_impl.h - what a loaded tokenizer consists of, shared by the files that load, run and describe it.
 *
 * Encoding: text -> stretches between added tokens found in the raw text -> normalizers -> stretches between added
 * tokens found in the normalised text -> pre-tokenizers cut pieces -> BPE merges each piece -> the post-processor's ids
 * around. */
#ifndef TEXT_TOKENIZER_IMPL_H
#define TEXT_TOKENIZER_IMPL_H
#include <retort/text/tokenizer.h>
#include "text/tok_step.h"
#include "text/tok_vocab.h"

enum { TOK_MAX_AROUND = 8 };

typedef struct tok_added { /* a token found in the text before the model sees it */
    char *text;
    size_t bytes;
    int32_t id;
    bool single_word, lstrip, rstrip, normalized;
} tok_added;
typedef struct tok_added_set { /* sorted by first byte, longer first */
    tok_added *items;
    size_t size, capacity;
    uint32_t first[257]; /* items whose text begins with byte b: [first[b], first[b + 1]) */
} tok_added_set;

typedef struct tok_model {
    tok_merges merges;
    int32_t byte_id[256]; /* byte-level: the byte's symbol; byte_fallback: <0xNN>; -1: none */
    int32_t unk;
    bool byte_level, byte_fallback, fuse_unk, ignore_merges;
    bool cut_at_mark; /* no token holds U+2581 after another character, so no merge crosses the start of a word */
} tok_model;

typedef struct tok_around { /* what the post-processor puts before or behind */
    int32_t ids[TOK_MAX_AROUND];
    int size;
} tok_around;

struct rt_tokenizer {
    char *file; /* for errors */
    rt_buf json, config, chat; /* chat: chat_template.jinja */
    bool has_config, has_chat;
    tok_vocab vocab;
    tok_model model;
    tok_steps normalizers, pretokenizers, decoders;
    tok_added_set raw, normalized; /* added tokens by the text they are looked for in */
    tok_around before, after;
    int32_t bos, eos, unk;
    bool needs_origin;
    char hash[65];
};

/* ---- loading, each one section of the file ---- */
rt_status rt_tok_load_model(rt_tokenizer *t, const tok_node *model, rt_error *err) RT_NODISCARD;
rt_status rt_tok_load_merges(rt_tokenizer *t, const tok_node *model, rt_error *err) RT_NODISCARD;
rt_status rt_tok_finish_model(rt_tokenizer *t, const tok_node *model,
                              rt_error *err) RT_NODISCARD; /* after the pre-tokenizers */
rt_status rt_tok_load_added(rt_tokenizer *t, const tok_node *list,
                            rt_error *err) RT_NODISCARD; /* after the normalizers */
rt_status rt_tok_load_post(rt_tokenizer *t, const tok_node *post, rt_error *err) RT_NODISCARD;
rt_status rt_tok_load_config(rt_tokenizer *t,
                             rt_error *err) RT_NODISCARD; /* bos, eos, unk; tokenizer_config.json if any */
rt_status rt_tok_load_covers(rt_tokenizer *t, rt_error *err) RT_NODISCARD; /* the bytes every token stands for */
rt_status rt_tok_make_hash(rt_tokenizer *t, const tok_node *root, rt_error *err) RT_NODISCARD;

/* ---- running ---- */
typedef struct tok_hit {
    size_t begin, end;
    int32_t id;
} tok_hit;
/* The first added token in s[from..n) whose stretch does not reach before `from`. */
bool rt_tok_added_next(const tok_added_set *set, const char *s, size_t n, size_t from, tok_hit *hit);
void rt_tok_added_free(tok_added_set *set);

/* Runs the normalizers over *view, which afterwards may lie in p->text. */
rt_status rt_tok_normalize(const rt_tokenizer *t, tok_pieces *p, tok_view *view, int64_t end,
                           rt_error *err) RT_NODISCARD;
void rt_tok_pieces_free(tok_pieces *p);

typedef struct bpe_symbol {
    int32_t id, before, after; /* neighbours, -1: none */
    uint32_t length;           /* bytes of the piece; 0: merged away */
} bpe_symbol;
typedef struct bpe_work {
    bpe_symbol *symbols;
    uint64_t *heap; /* rank << 32 | position */
    size_t size, symbol_capacity, heap_size, heap_capacity;
    size_t lead; /* bytes before the first symbol that no symbol stands for */
} bpe_work;
/* Encodes one piece: w->symbols[0..size) are its ids and their lengths, in order. */
rt_status rt_bpe_run(bpe_work *w, const tok_vocab *v, const tok_model *m, const char *s, size_t n,
                     rt_error *err) RT_NODISCARD;
void rt_bpe_free(bpe_work *w);
#endif
