/* Whitespace: words and runs of other visible characters; WhitespaceSplit: what lies between white space. */
#include "text/tok_step.h"

#define JOINERS "\\x{200C}\\x{200D}" /* word characters by Unicode TS 18 */

static rt_status load_words(tok_step *s, const tok_node *json, rt_error *err) {
    return rt_tok_cut_load(s, "[\\w" JOINERS "]+|[^\\w" JOINERS "\\s]+", TOK_REMOVED, true, json, err);
}
static rt_status load_spaces(tok_step *s, const tok_node *json, rt_error *err) {
    return rt_tok_cut_load(s, "\\s", TOK_REMOVED, false, json, err);
}

const tok_kind rt_tok_pretokenizer_whitespace = {
    .type = "Whitespace", .load = load_words, .pretokenize = rt_tok_cut_run};
const tok_kind rt_tok_pretokenizer_whitespace_split = {
    .type = "WhitespaceSplit", .load = load_spaces, .pretokenize = rt_tok_cut_run};
