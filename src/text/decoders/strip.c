/* Strip: from every token up to `start` leading and `stop` trailing copies of one character. */
#include "text/tok_step.h"
#include "text/utf8.h"
#include <string.h>

static rt_status load(tok_step *s, const tok_node *json, rt_error *err) {
    tok_node content = rt_tok_key(json, "content");
    RT_TRY(rt_tok_step_content(s, json, "content", NULL, err));
    if (!s->content_bytes || rt_utf8_length((unsigned char)*s->content) != s->content_bytes)
        return rt_tok_fail(&content, RT_E_INPUT, err, "expected one character");
    RT_TRY(rt_tok_integer(json, "start", 0, INT32_MAX, &s->start, err));
    return rt_tok_integer(json, "stop", 0, INT32_MAX, &s->stop, err);
}

static rt_status run(const tok_step *s, const tok_matcher *m, const tok_list *in, tok_list *out, rt_error *err) {
    (void)m, (void)err;
    size_t k = s->content_bytes, n;
    for (size_t i = 0; i < in->size; i++) {
        const char *token = rt_tok_list_get(in, i, &n);
        for (int64_t j = 0; j < s->start && n >= k && memcmp(token, s->content, k) == 0; j++) token += k, n -= k;
        for (int64_t j = 0; j < s->stop && n >= k && memcmp(token + n - k, s->content, k) == 0; j++) n -= k;
        rt_tok_list_add(out, token, n);
    }
    return RT_OK;
}

const tok_kind rt_tok_decoder_strip = {.type = "Strip", .load = load, .decode = run};
