/* Metaspace: marks become spaces; in the first token they vanish if the pre-tokenizer puts one there. */
#include "text/tok_metaspace.h"
#include "text/tok_step.h"
#include <string.h>

static rt_status run(const tok_step *s, const tok_matcher *m, const tok_list *in, tok_list *out, rt_error *err) {
    (void)m, (void)err;
    size_t k = s->content_bytes, n;
    for (size_t i = 0; i < in->size; i++) {
        const char *token = rt_tok_list_get(in, i, &n);
        for (size_t j = 0; j < n;) {
            bool mark = n - j >= k && memcmp(token + j, s->content, k) == 0;
            if (!mark)
                rt_buf_putc(&out->bytes, token[j]);
            else if (i > 0 || s->mode == TOK_PREPEND_NEVER)
                rt_buf_putc(&out->bytes, ' ');
            j += mark ? k : 1;
        }
        rt_tok_list_close(out);
    }
    return RT_OK;
}

const tok_kind rt_tok_decoder_metaspace = {
    .type = "Metaspace", .load = rt_tok_metaspace_load, .decode = run, .each_token = true};
