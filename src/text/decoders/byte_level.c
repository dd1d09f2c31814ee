/* ByteLevel: the bytes behind all tokens, as one string. */
#include "text/byte_alphabet.h"
#include "text/tok_step.h"
#include "text/utf8.h"

static rt_status run(const tok_step *s, const tok_matcher *m, const tok_list *in, tok_list *out, rt_error *err) {
    (void)s, (void)m;
    char *bytes = rt_alloc(in->bytes.size + 1);
    if (!bytes) return rt_tok_out_of_memory(err);
    size_t total = 0, n;
    for (size_t i = 0; i < in->size; i++) {
        const char *token = rt_tok_list_get(in, i, &n);
        total += rt_byte_alphabet_undo(token, n, bytes + total);
    }
    rt_utf8_add_lossy(&out->bytes, bytes, total);
    rt_tok_list_close(out);
    rt_free(bytes);
    return RT_OK;
}

const tok_kind rt_tok_decoder_byte_level = {.type = "ByteLevel", .decode = run};
