/* BPEDecoder: the suffix that ends words becomes a space, at the last token nothing. */
#include "text/tok_step.h"
#include <string.h>

static rt_status load(tok_step *s, const tok_node *json, rt_error *err) {
    return rt_tok_step_content(s, json, "suffix", "</w>", err);
}

static rt_status run(const tok_step *s, const tok_matcher *m, const tok_list *in, tok_list *out, rt_error *err) {
    (void)m, (void)err;
    size_t k = s->content_bytes, n;
    for (size_t i = 0; i < in->size; i++) {
        const char *token = rt_tok_list_get(in, i, &n);
        for (size_t j = 0; j < n;) {
            bool suffix = k && n - j >= k && memcmp(token + j, s->content, k) == 0;
            if (!suffix)
                rt_buf_putc(&out->bytes, token[j]);
            else if (i + 1 < in->size)
                rt_buf_putc(&out->bytes, ' ');
            j += suffix ? k : 1;
        }
        rt_tok_list_close(out);
    }
    return RT_OK;
}

const tok_kind rt_tok_decoder_bpe = {.type = "BPEDecoder", .load = load, .decode = run, .each_token = true};
