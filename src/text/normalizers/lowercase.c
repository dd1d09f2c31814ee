/* Lowercase: every character by itself (no final sigma). U+0130 is the only one that becomes two. */
#include "text/tok_step.h"
#include "text/utf8.h"
#include <utf8proc.h>

static rt_status run(const tok_step *s, const tok_matcher *m, const tok_view *in, tok_text *out, rt_error *err) {
    (void)s, (void)m, (void)err;
    for (size_t i = 0, length; i < in->n; i += length) {
        char lower[4] = {'i', '\xCC', '\x87'};
        int32_t c = rt_utf8_get(in->s + i, in->n - i, &length);
        size_t n = c == 0x130 ? 3 : rt_utf8_put(lower, utf8proc_tolower(c));
        rt_tok_text_add(out, lower, n, rt_tok_origin(in, i), rt_tok_origin(in, i + length));
    }
    return RT_OK;
}

const tok_kind rt_tok_normalizer_lowercase = {.type = "Lowercase", .normalize = run};
