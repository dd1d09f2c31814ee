/* BertPreTokenizer: cut at white space, which is dropped; every punctuation mark is a piece. */
#include "text/tok_step.h"

#define MARKS "!-/:-@\\[-`{-~\\p{P}"

static rt_status load(tok_step *s, const tok_node *json, rt_error *err) {
    return rt_tok_cut_load(s, "[" MARKS "]|[^\\s" MARKS "]+", TOK_REMOVED, true, json, err);
}

const tok_kind rt_tok_pretokenizer_bert = {.type = "BertPreTokenizer", .load = load, .pretokenize = rt_tok_cut_run};
