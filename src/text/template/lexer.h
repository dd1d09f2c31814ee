/* lexer.h - a template's text as tokens. White space around tags is taken away here, as Hugging Face sets Jinja:
 * trim_blocks (the line end after a {% %} or {# #} goes) and lstrip_blocks (spaces before one that begins a line go);
 * "-" beside a delimiter strips all white space on that side, "+" keeps it; one line end at the template's end goes. */
#ifndef RETORT_SRC_TEXT_TEMPLATE_LEXER_H
#define RETORT_SRC_TEXT_TEMPLATE_LEXER_H
#include <retort/base/mem.h>

typedef enum tpl_token_kind {
    TPL_T_END, TPL_T_TEXT, TPL_T_OPEN_OUTPUT, TPL_T_CLOSE_OUTPUT, TPL_T_OPEN_BLOCK, TPL_T_CLOSE_BLOCK,
    TPL_T_NAME, TPL_T_STRING, TPL_T_INT, TPL_T_FLOAT, TPL_T_SIGN
} tpl_token_kind;
typedef struct tpl_token {
    tpl_token_kind kind;
    int line, column;
    const char *s; /* text, name, the characters of a string (escapes resolved), a sign such as "==" */
    size_t n;
    int64_t i;
    double f;
} tpl_token;

/* Tokens up to and including TPL_T_END, in the arena, pointing into `source` (or the arena), which must live as long.
 * RT_E_INPUT: "NAME:LINE:COLUMN: reason". */
rt_status tpl_lex(const char *source, size_t n, const char *name, rt_arena *arena, tpl_token **tokens,
                  rt_error *err) RT_NODISCARD;
#endif
