/* Fuse: all tokens become one. */
#include "text/tok_step.h"

static rt_status run(const tok_step *s, const tok_matcher *m, const tok_list *in, tok_list *out, rt_error *err) {
    (void)s, (void)m, (void)err;
    rt_buf_add(&out->bytes, in->bytes.data ? in->bytes.data : "", in->bytes.size);
    rt_tok_list_close(out);
    return RT_OK;
}

const tok_kind rt_tok_decoder_fuse = {.type = "Fuse", .decode = run};
