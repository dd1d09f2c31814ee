/* Punctuation: ASCII punctuation and category P, cut off by a Split behaviour (Isolated unless said otherwise). */
#include "text/tok_step.h"

static rt_status load(tok_step *s, const tok_node *json, rt_error *err) {
    static const char *const names[] = {"Removed",        "Isolated",   "MergedWithPrevious",
                                        "MergedWithNext", "Contiguous", NULL};
    const char *name;
    int how;
    tok_node behavior = rt_tok_key(json, "behavior");
    RT_TRY(rt_tok_string(json, "behavior", "Isolated", &name, NULL, err));
    RT_TRY(rt_tok_choice(&behavior, name, names, &how, err));
    return rt_tok_cut_load(s, "[!-/:-@\\[-`{-~\\p{P}]", (tok_cut)how, false, json, err);
}

const tok_kind rt_tok_pretokenizer_punctuation = {.type = "Punctuation", .load = load, .pretokenize = rt_tok_cut_run};
