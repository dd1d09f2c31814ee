/* StripAccents: drops marks (category M: Mn, Mc, Me); used after NFD or NFKD. */
#include "text/tok_step.h"
#include "text/utf8.h"
#include <utf8proc.h>

static bool is_mark(int32_t c) {
    utf8proc_category_t category = utf8proc_category(c);
    return category == UTF8PROC_CATEGORY_MN || category == UTF8PROC_CATEGORY_MC || category == UTF8PROC_CATEGORY_ME;
}

static rt_status run(const tok_step *s, const tok_matcher *m, const tok_view *in, tok_text *out, rt_error *err) {
    (void)s, (void)m, (void)err;
    for (size_t i = 0, length; i < in->n; i += length)
        if (!is_mark(rt_utf8_get(in->s + i, in->n - i, &length))) rt_tok_text_copy(out, in, i, i + length);
    return RT_OK;
}

const tok_kind rt_tok_normalizer_strip_accents = {.type = "StripAccents", .normalize = run};
