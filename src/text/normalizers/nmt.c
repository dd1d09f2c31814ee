/* Nmt: control characters vanish, kinds of white space and invisible characters become a space. The characters are
 * those of SentencePiece's rule "nmt". */
#include "text/tok_step.h"
#include "text/utf8.h"

static bool vanishes(int32_t c) {
    return (c >= 1 && c <= 8) || c == 0xB || (c >= 0xE && c <= 0x1F) || c == 0x7F || c == 0x8F || c == 0x9F;
}
static bool is_space(int32_t c) {
    return c == 9 || c == 0xA || c == 0xC || c == 0xD || c == 0x1680 || (c >= 0x200B && c <= 0x200F) || c == 0x2028 ||
           c == 0x2029 || c == 0x2581 || c == 0xFEFF || c == 0xFFFD;
}

static rt_status run(const tok_step *s, const tok_matcher *m, const tok_view *in, tok_text *out, rt_error *err) {
    (void)s, (void)m, (void)err;
    for (size_t i = 0, length; i < in->n; i += length) {
        int32_t c = rt_utf8_get(in->s + i, in->n - i, &length);
        if (is_space(c))
            rt_tok_text_add(out, " ", 1, rt_tok_origin(in, i), rt_tok_origin(in, i + length));
        else if (!vanishes(c))
            rt_tok_text_copy(out, in, i, i + length);
    }
    return RT_OK;
}

const tok_kind rt_tok_normalizer_nmt = {.type = "Nmt", .normalize = run};
