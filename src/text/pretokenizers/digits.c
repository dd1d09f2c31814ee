/* Digits: runs of digits (any N*) become pieces; each digit one of its own with individual_digits. */
#include "text/tok_step.h"

static rt_status load(tok_step *s, const tok_node *json, rt_error *err) {
    bool single;
    RT_TRY(rt_tok_bool(json, "individual_digits", false, &single, err));
    return rt_tok_cut_load(s, single ? "\\p{N}" : "\\p{N}+", TOK_ISOLATED, false, json, err);
}

const tok_kind rt_tok_pretokenizer_digits = {.type = "Digits", .load = load, .pretokenize = rt_tok_cut_run};
