/* Strip: white space off the left end, the right end, or both. */
#include "text/tok_step.h"
#include "text/utf8.h"

static rt_status load(tok_step *s, const tok_node *json, rt_error *err) {
    RT_TRY(rt_tok_bool(json, "strip_left", true, &s->flag[0], err));
    return rt_tok_bool(json, "strip_right", true, &s->flag[1], err);
}

static rt_status run(const tok_step *s, const tok_matcher *m, const tok_view *in, tok_text *out, rt_error *err) {
    (void)m, (void)err;
    size_t begin = 0, end = in->n, length;
    while (s->flag[0] && begin < end && rt_utf8_is_space(rt_utf8_get(in->s + begin, end - begin, &length)))
        begin += length;
    while (s->flag[1] && end > begin) {
        size_t last = end - 1;
        while (last > begin && (in->s[last] & 0xC0) == 0x80) last--;
        if (!rt_utf8_is_space(rt_utf8_get(in->s + last, end - last, &length))) break;
        end = last;
    }
    rt_tok_text_copy(out, in, begin, end);
    return RT_OK;
}

const tok_kind rt_tok_normalizer_strip = {.type = "Strip", .load = load, .normalize = run};
