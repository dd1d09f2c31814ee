/* tok_step.h - one normalizer, pre-tokenizer or decoder: how a file in normalizers/, pretokenizers/ or decoders/ plugs
 * in.
 *
 * To add one: a file that defines `const tok_kind rt_tok_normalizer_NAME` (rt_tok_pretokenizer_NAME,
 * rt_tok_decoder_NAME) and a line in normalizers.def (pretokenizers.def, decoders.def). Nothing else knows it. */
#ifndef TEXT_TOK_STEP_H
#define TEXT_TOK_STEP_H
#include "text/tok_json.h"
#include "text/tok_pattern.h"
#include "text/tok_text.h"

typedef struct tok_step tok_step;

typedef struct tok_pieces { /* the text of one stretch between added tokens, cut into pieces */
    tok_view view;
    int64_t end; /* where the stretch ends in the original text */
    tok_ranges list, spare, matches;
    tok_text text[2]; /* rewritten text: the view borrows one, a rewriting step fills the other */
    tok_matcher matcher;
    bool track; /* origins are wanted */
} tok_pieces;

typedef struct tok_kind {
    const char *type; /* as the files spell it */
    /* Reads the step's parameters; NULL: it has none. */
    rt_status (*load)(tok_step *s, const tok_node *json, rt_error *err);
    /* One of these, by registry. */
    rt_status (*normalize)(const tok_step *s, const tok_matcher *m, const tok_view *in, tok_text *out, rt_error *err);
    rt_status (*pretokenize)(const tok_step *s, tok_pieces *p, rt_error *err);
    rt_status (*decode)(const tok_step *s, const tok_matcher *m, const tok_list *in, tok_list *out, rt_error *err);
    bool needs_origin; /* pretokenize reads where pieces began */
    bool bytes;        /* pre-tokenizer: from here on the text is bytes in the visible alphabet */
    bool each_token;   /* decode maps every token on its own, whatever its place (the first excepted) */
} tok_kind;

struct tok_step { /* parameters; a kind uses what it needs */
    const tok_kind *kind;
    tok_pattern pattern;
    char *content; /* owned */
    size_t content_bytes;
    int64_t start, stop;
    int mode;
    bool flag[2];
    bool spell_out; /* a kind with `bytes`: the visible alphabet is written out */
};

typedef struct tok_steps {
    tok_step *items;
    size_t size, capacity;
} tok_steps;

/* Loads a component: NULL JSON gives no steps, a Sequence its flattened members (their list is under `members`). */
rt_status rt_tok_steps_load(tok_steps *s, const tok_node *json, const tok_kind *const *kinds, const char *members,
                            rt_error *err) RT_NODISCARD;
void rt_tok_steps_free(tok_steps *s);
bool rt_tok_steps_have(const tok_steps *s, const tok_kind *kind);

extern const tok_kind *const rt_tok_normalizers[], *const rt_tok_pretokenizers[],
                                                       *const rt_tok_decoders[]; /* NULL-terminated */

/* Shared by the kinds' files. */
rt_status rt_tok_step_content(tok_step *s, const tok_node *json, const char *key, const char *otherwise,
                              rt_error *err) RT_NODISCARD;
rt_status rt_tok_out_of_memory(rt_error *err);
/* Cuts every piece at the pattern's matches; see pretokenizers/split.c. */
typedef enum tok_cut {
    TOK_REMOVED,
    TOK_ISOLATED,
    TOK_MERGED_WITH_PREVIOUS,
    TOK_MERGED_WITH_NEXT,
    TOK_CONTIGUOUS
} tok_cut;
rt_status rt_tok_cut_load(tok_step *s, const char *regex, tok_cut how, bool invert, const tok_node *json,
                          rt_error *err) RT_NODISCARD;
rt_status rt_tok_cut_run(const tok_step *s, tok_pieces *p, rt_error *err) RT_NODISCARD;
/* Rewriting pieces: begin, then for every piece in order add text to *out and call tok_rewrite_piece, then end. */
tok_text *rt_tok_rewrite_begin(tok_pieces *p);
rt_status rt_tok_rewrite_end(tok_pieces *p, tok_text *out, rt_error *err) RT_NODISCARD;
#endif
