/* CharDelimiterSplit: cut at one character, which is dropped. */
#include "text/tok_step.h"
#include "text/utf8.h"

static rt_status load(tok_step *s, const tok_node *json, rt_error *err) {
    tok_node delimiter = rt_tok_key(json, "delimiter");
    const char *text;
    size_t n;
    RT_TRY(rt_tok_text_of(&delimiter, &text, &n, err));
    if (!n || rt_utf8_length((unsigned char)*text) != n)
        return rt_tok_fail(&delimiter, RT_E_INPUT, err, "expected one character");
    s->mode = TOK_REMOVED;
    return rt_tok_pattern_literal(&s->pattern, text, n, &delimiter, err);
}

const tok_kind rt_tok_pretokenizer_char_delimiter = {
    .type = "CharDelimiterSplit", .load = load, .pretokenize = rt_tok_cut_run};
