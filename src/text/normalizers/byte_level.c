/* ByteLevel: every byte becomes its visible character (byte_alphabet.h). */
#include "text/byte_alphabet.h"
#include "text/tok_step.h"

static rt_status run(const tok_step *s, const tok_matcher *m, const tok_view *in, tok_text *out, rt_error *err) {
    (void)s, (void)m, (void)err;
    rt_byte_alphabet_spell(in, 0, in->n, out);
    return RT_OK;
}

const tok_kind rt_tok_normalizer_byte_level = {.type = "ByteLevel", .normalize = run};
