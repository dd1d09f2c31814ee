/* Replace: in every token, the matches of a string or an expression become a fixed text. */
#include "text/tok_step.h"

extern const tok_kind rt_tok_normalizer_replace;

static rt_status load(tok_step *s, const tok_node *json, rt_error *err) {
    return rt_tok_normalizer_replace.load(s, json, err);
}

static rt_status run(const tok_step *s, const tok_matcher *m, const tok_list *in, tok_list *out, rt_error *err) {
    tok_text text = {0};
    rt_status status = RT_OK;
    for (size_t i = 0; i < in->size && status == RT_OK; i++) {
        tok_view token = {0};
        token.s = rt_tok_list_get(in, i, &token.n);
        rt_tok_text_clear(&text, false);
        status = rt_tok_normalizer_replace.normalize(s, m, &token, &text, err);
        if (status == RT_OK && text.failed) status = rt_tok_out_of_memory(err);
        if (status == RT_OK) rt_tok_list_add(out, text.s, text.n);
    }
    rt_tok_text_free(&text);
    return status;
}

const tok_kind rt_tok_decoder_replace = {.type = "Replace", .load = load, .decode = run, .each_token = true};
