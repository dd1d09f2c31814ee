/* StripAccents: drops non-spacing marks (Mn); used after NFD or NFKD. */
#include "text/tok_step.h"
#include "text/utf8.h"
#include <utf8proc.h>

static rt_status run(const tok_step *s, const tok_matcher *m, const tok_view *in, tok_text *out, rt_error *err) {
    (void)s, (void)m, (void)err;
    for (size_t i = 0, length; i < in->n; i += length) {
        int32_t c = utf8_get(in->s + i, in->n - i, &length);
        if (utf8proc_category(c) != UTF8PROC_CATEGORY_MN) tok_text_copy(out, in, i, i + length);
    }
    return RT_OK;
}

const tok_kind tok_normalizer_strip_accents = {.type = "StripAccents", .normalize = run};
