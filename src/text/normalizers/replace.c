/* Replace: every match of a string or an expression becomes a fixed text. */
#include "text/tok_step.h"

static rt_status load(tok_step *s, const tok_node *json, rt_error *err) {
    RT_TRY(rt_tok_pattern_load(&s->pattern, json, err));
    return rt_tok_step_content(s, json, "content", NULL, err);
}

static rt_status run(const tok_step *s, const tok_matcher *m, const tok_view *in, tok_text *out, rt_error *err) {
    size_t done = 0, from = 0;
    for (tok_range hit; from <= in->n;) {
        bool found;
        RT_TRY(rt_tok_pattern_next(&s->pattern, m, in->s, in->n, from, &hit, &found, err));
        if (!found) break;
        rt_tok_text_copy(out, in, done, hit.begin);
        rt_tok_text_add(out, s->content, s->content_bytes, rt_tok_origin(in, hit.begin), rt_tok_origin(in, hit.end));
        done = from = hit.end;
        if (hit.begin == hit.end) /* an empty match: go on after the next character */
            for (from++; from < in->n && (in->s[from] & 0xC0) == 0x80;) from++;
    }
    rt_tok_text_copy(out, in, done, in->n);
    return RT_OK;
}

const tok_kind rt_tok_normalizer_replace = {.type = "Replace", .load = load, .normalize = run};
