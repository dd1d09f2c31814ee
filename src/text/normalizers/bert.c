/* BertNormalizer: control characters vanish and white space becomes spaces; Chinese characters get spaces around;
 * accents are taken off (NFD without its marks, category Mn); letters become small. Each can be switched off. Devlin et
 * al. 2019. */
#include "text/tok_step.h"
#include "text/utf8.h"
#include <utf8proc.h>

extern const tok_kind rt_tok_normalizer_nfd, rt_tok_normalizer_lowercase;

enum { CLEAN, CHINESE, ACCENTS, LOWER };

static rt_status load(tok_step *s, const tok_node *json, rt_error *err) {
    static const char *const keys[] = {"clean_text", "handle_chinese_chars", "strip_accents", "lowercase"};
    for (int i = LOWER; i >= 0; i--) { /* accents go with capitals unless said otherwise */
        bool on;
        RT_TRY(rt_tok_bool(json, keys[i], i == ACCENTS ? s->mode >> LOWER & 1 : true, &on, err));
        s->mode |= on << i;
    }
    return RT_OK;
}

static bool is_control(int32_t c) {
    utf8proc_category_t k = utf8proc_category(c);
    if (c == '\t' || c == '\n' || c == '\r') return false;
    return c == 0 || c == 0xFFFD || k == UTF8PROC_CATEGORY_CC || k == UTF8PROC_CATEGORY_CF || k == UTF8PROC_CATEGORY_CO;
}
static bool is_chinese(int32_t c) { /* CJK ideographs, as the model's authors listed the blocks */
    return (c >= 0x4E00 && c <= 0x9FFF) || (c >= 0x3400 && c <= 0x4DBF) || (c >= 0x20000 && c <= 0x2A6DF) ||
           (c >= 0x2A700 && c <= 0x2B73F) || (c >= 0x2B740 && c <= 0x2B81F) || (c >= 0x2B920 && c <= 0x2CEAF) ||
           (c >= 0xF900 && c <= 0xFAFF) || (c >= 0x2F800 && c <= 0x2FA1F);
}

static void clean(const tok_view *in, tok_text *out) {
    for (size_t i = 0, length; i < in->n; i += length) {
        int32_t c = rt_utf8_get(in->s + i, in->n - i, &length);
        if (is_control(c)) continue;
        if (rt_utf8_is_space(c))
            rt_tok_text_add(out, " ", 1, rt_tok_origin(in, i), rt_tok_origin(in, i + length));
        else
            rt_tok_text_copy(out, in, i, i + length);
    }
}
static void space_out_chinese(const tok_view *in, tok_text *out) {
    for (size_t i = 0, length; i < in->n; i += length) {
        bool chinese = is_chinese(rt_utf8_get(in->s + i, in->n - i, &length));
        int64_t begin = rt_tok_origin(in, i), end = rt_tok_origin(in, i + length);
        if (chinese) rt_tok_text_add(out, " ", 1, begin, begin);
        rt_tok_text_copy(out, in, i, i + length);
        if (chinese) rt_tok_text_add(out, " ", 1, end, end);
    }
}
static void drop_marks(const tok_view *in, tok_text *out) {
    for (size_t i = 0, length; i < in->n; i += length)
        if (utf8proc_category(rt_utf8_get(in->s + i, in->n - i, &length)) != UTF8PROC_CATEGORY_MN)
            rt_tok_text_copy(out, in, i, i + length);
}

static rt_status pass(int which, const tok_matcher *m, const tok_view *in, tok_text *out, rt_error *err) {
    tok_text apart = {.track = out->track};
    rt_status s = RT_OK;
    if (which == CLEAN) clean(in, out);
    if (which == CHINESE) space_out_chinese(in, out);
    if (which == LOWER) s = rt_tok_normalizer_lowercase.normalize(NULL, m, in, out, err);
    if (which == ACCENTS) {
        s = rt_tok_normalizer_nfd.normalize(NULL, m, in, &apart, err);
        tok_view v = rt_tok_text_view(&apart, rt_tok_origin(in, in->n));
        drop_marks(&v, out);
        out->failed |= apart.failed;
    }
    rt_tok_text_free(&apart);
    return s;
}

static rt_status run(const tok_step *s, const tok_matcher *m, const tok_view *in, tok_text *out, rt_error *err) {
    tok_text text[2] = {{.track = out->track}, {.track = out->track}};
    tok_view view = *in;
    rt_status status = RT_OK;
    for (int i = CLEAN; i <= LOWER && status == RT_OK; i++) {
        tok_text *next = &text[i % 2];
        if (!(s->mode >> i & 1)) continue;
        if (next->s && next->s == view.s) next = &text[(i + 1) % 2];
        rt_tok_text_clear(next, out->track);
        status = pass(i, m, &view, next, err);
        view = rt_tok_text_view(next, rt_tok_origin(in, in->n));
        out->failed |= next->failed;
    }
    if (status == RT_OK && !out->failed) rt_tok_text_copy(out, &view, 0, view.n);
    rt_tok_text_free(&text[0]);
    rt_tok_text_free(&text[1]);
    return status;
}

const tok_kind rt_tok_normalizer_bert = {.type = "BertNormalizer", .load = load, .normalize = run};
