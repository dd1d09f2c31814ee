/* tok_metaspace.h - the parameters that Metaspace's pre-tokenizer and decoder share: content (the mark) and mode. */
#ifndef TEXT_TOK_METASPACE_H
#define TEXT_TOK_METASPACE_H
#include "text/tok_step.h"

enum { TOK_PREPEND_ALWAYS, TOK_PREPEND_FIRST, TOK_PREPEND_NEVER };
rt_status rt_tok_metaspace_load(tok_step *s, const tok_node *json, rt_error *err) RT_NODISCARD;
#endif
