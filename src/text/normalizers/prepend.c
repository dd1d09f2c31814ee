/* Prepend: puts a fixed text in front, unless there is nothing to put it in front of. It covers no byte of the
 * original. */
#include "text/tok_step.h"

static rt_status load(tok_step *s, const tok_node *json, rt_error *err) {
    return rt_tok_step_content(s, json, "prepend", NULL, err);
}

static rt_status run(const tok_step *s, const tok_matcher *m, const tok_view *in, tok_text *out, rt_error *err) {
    (void)m, (void)err;
    int64_t begin = rt_tok_origin(in, 0);
    if (in->n) rt_tok_text_add(out, s->content, s->content_bytes, begin, begin);
    rt_tok_text_copy(out, in, 0, in->n);
    return RT_OK;
}

const tok_kind rt_tok_normalizer_prepend = {.type = "Prepend", .load = load, .normalize = run};
