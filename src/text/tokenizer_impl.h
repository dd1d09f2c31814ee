/* tokenizer_impl.h - what a loaded tokenizer consists of, shared by the files that load, run and describe it.
 *
 * Encoding: text -> stretches between added tokens found in the raw text -> normalizers -> stretches between added
 * tokens found in the normalised text -> pre-tokenizers cut pieces -> the model turns each into ids -> the
 * post-processor's ids around. */
#ifndef TEXT_TOKENIZER_IMPL_H
#define TEXT_TOKENIZER_IMPL_H
#include <retort/text/tokenizer.h>
#include "text/tok_step.h"
#include "text/tok_trie.h"
#include "text/tok_vocab.h"

enum { TOK_MAX_AROUND = 8, TOK_MAX_AFFIX = 64 };

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

typedef struct tok_model_kind tok_model_kind;
typedef struct tok_model { /* a kind uses what it needs */
    const tok_model_kind *kind;
    tok_merges merges; /* BPE */
    tok_trie trie;     /* Unigram, WordPiece: the tokens by their bytes */
    double *scores;    /* Unigram [scored]: log-probabilities by id, owned */
    int32_t scored;
    double unknown_score; /* Unigram: of a character without a token */
    char *prefix;         /* put before what continues a word; "" for none; owned */
    char *suffix;         /* put behind the last character of a word; "" for none; owned */
    size_t prefix_bytes, suffix_bytes;
    int64_t longest_word; /* WordPiece: longer words are unknown; characters */
    int32_t byte_id[256]; /* byte-level: the byte's symbol; byte_fallback: <0xNN>; -1: none */
    int32_t unk;          /* -1: none */
    bool unk_missing;     /* one is named, but it is not in the vocabulary */
    bool byte_level;      /* the text stays bytes; the tables undo the visible alphabet (BPE) */
    bool byte_fallback, fuse_unk, ignore_merges;
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
rt_status rt_tok_finish_model(rt_tokenizer *t, const tok_node *model,
                              rt_error *err) RT_NODISCARD; /* after the pre-tokenizers */
void rt_tok_model_free(tok_model *m);
rt_status rt_tok_load_added(rt_tokenizer *t, const tok_node *list,
                            rt_error *err) RT_NODISCARD; /* after the normalizers */
rt_status rt_tok_load_post(rt_tokenizer *t, const tok_node *post, rt_error *err) RT_NODISCARD;
rt_status rt_tok_load_config(rt_tokenizer *t,
                             rt_error *err) RT_NODISCARD; /* bos, eos, unk; tokenizer_config.json if any */
rt_status rt_tok_load_covers(rt_tokenizer *t, rt_error *err) RT_NODISCARD; /* the bytes every token stands for */
rt_status rt_tok_make_hash(rt_tokenizer *t, const tok_node *root, rt_error *err) RT_NODISCARD;

/* ---- running ---- */
typedef struct tok_hit {
    size_t begin, end; /* with the white space it swallows */
    size_t next;       /* where to look for the next */
    int32_t id;
} tok_hit;
/* The first added token in s[from..n); white space before `done` belongs to the one before. */
bool rt_tok_added_next(const tok_added_set *set, const char *s, size_t n, size_t from, size_t done, tok_hit *hit);
void rt_tok_added_free(tok_added_set *set);

/* Runs the normalizers over *view, which afterwards may lie in p->text. */
rt_status rt_tok_normalize(const rt_tokenizer *t, tok_pieces *p, tok_view *view, int64_t end,
                           rt_error *err) RT_NODISCARD;
void rt_tok_pieces_free(tok_pieces *p);

/* ---- models: how a file in models/ plugs in (and a line in models.def) ---- */
typedef struct tok_symbol {
    int32_t id, before, after; /* BPE: neighbours, -1: none */
    uint32_t length;           /* bytes of the piece; 0: merged away */
} tok_symbol;
typedef struct tok_best { /* Unigram: the best path to a place */
    double score;
    uint32_t begin; /* of its last token */
    int32_t id;     /* of it; -1: no path */
} tok_best;
typedef struct tok_work { /* what encoding a piece writes to; one per thread */
    tok_symbol *symbols;  /* the result: ids and their lengths, in order */
    size_t size, symbol_capacity;
    bool dropped;   /* something has no symbol and there is no unknown token */
    size_t lead;    /* bytes before the first symbol that no symbol stands for */
    uint64_t *heap; /* BPE: rank << 32 | position */
    size_t heap_size, heap_capacity;
    tok_best *best; /* Unigram [bytes + 1] */
    size_t best_capacity;
} tok_work;
bool rt_tok_work_push(tok_work *w, int32_t id, size_t length); /* false: out of memory */
void rt_tok_work_free(tok_work *w);

struct tok_model_kind {
    const char *type; /* as the files spell it */
    rt_status (*load)(rt_tokenizer *t, const tok_node *model, rt_error *err);
    /* Once the pre-tokenizers and added tokens are known; NULL: nothing to do. */
    rt_status (*finish)(rt_tokenizer *t, const tok_node *model, rt_error *err);
    /* One piece, n > 0 bytes of valid UTF-8 (any bytes when byte_level), to w->symbols; w is empty before. */
    rt_status (*encode)(tok_work *w, const rt_tokenizer *t, const char *s, size_t n, rt_error *err);
};
extern const tok_model_kind rt_tok_model_bpe;
rt_status rt_tok_encode_piece(tok_work *w, const rt_tokenizer *t, const char *s, size_t n, rt_error *err) RT_NODISCARD;

/* Shared by the models' files. */
/* Tables are as long as the highest id: ids far beyond the number of tokens are damage. All ids are below this. */
int64_t rt_tok_id_limit(size_t tokens);
rt_status rt_tok_load_vocab(rt_tokenizer *t, const tok_node *model, rt_error *err) RT_NODISCARD; /* {"token": id} */
/* "unk_token": files may name one that the vocabulary lacks; only a text that needs it is then refused. */
rt_status rt_tok_load_unk(rt_tokenizer *t, const tok_node *model, const char *otherwise, rt_error *err) RT_NODISCARD;
rt_status rt_tok_load_affix(const tok_node *model, const char *key, const char *otherwise, char **out, size_t *bytes,
                            rt_error *err) RT_NODISCARD;
rt_status rt_tok_no_unk(const rt_tokenizer *t, rt_error *err); /* the refusal of a text that needs an unknown token */
int32_t rt_tok_byte_token(const rt_tokenizer *t, int byte);    /* the id of <0xNN>, -1: none */
bool rt_tok_have_bytes(const tok_model *m, const char *s, size_t n); /* every byte has a symbol */
/* BPE: merges w->symbols until no pair has a rank. */
bool rt_bpe_merge(tok_work *w, const tok_model *m);
#endif
