/* NFC, NFD, NFKC, NFKD: Unicode's normal forms (Standard Annex 15) by utf8proc.
 *
 * A cluster is what may change together: a character and the non-ASCII characters after it. An ASCII character never
 * joins what is before it, so clusters can be done one by one, and ASCII alone needs nothing. A cluster that changes is
 * cut once more at grapheme boundaries to lay its bytes over the original, when the parts give the same text. */
#include "text/tok_step.h"
#include "text/utf8.h"
#include <string.h>
#include <utf8proc.h>

typedef struct work { /* one normalised cluster */
    utf8proc_int32_t *points;
    size_t capacity, bytes; /* points, afterwards UTF-8 in the same memory */
} work;

/* points -> normal form as UTF-8 in w->points. */
static rt_status normal_form(work *w, const char *s, size_t n, utf8proc_option_t form, rt_error *err) {
    const utf8proc_uint8_t *text = (const utf8proc_uint8_t *)s;
    utf8proc_ssize_t count =
        utf8proc_decompose(text, (utf8proc_ssize_t)n, w->points, (utf8proc_ssize_t)w->capacity, form);
    if (count < 0) return rt_fail(err, RT_E_INPUT, "a text cannot be normalised: %s", utf8proc_errmsg(count));
    if ((size_t)count >= w->capacity) { /* one more for the NUL that reencode writes */
        if (!rt_tok_grow((void **)&w->points, (size_t)count + 1, &w->capacity, sizeof *w->points))
            return rt_tok_out_of_memory(err);
        return normal_form(w, s, n, form, err);
    }
    utf8proc_ssize_t bytes = utf8proc_reencode(w->points, count, form);
    if (bytes < 0) return rt_fail(err, RT_E_INPUT, "a text cannot be normalised: %s", utf8proc_errmsg(bytes));
    w->bytes = (size_t)bytes;
    return RT_OK;
}

/* Adds the cluster [begin, end) grapheme by grapheme to out. */
static rt_status by_graphemes(work *w, const tok_view *in, size_t begin, size_t end, utf8proc_option_t form,
                              tok_text *out, rt_error *err) {
    utf8proc_int32_t state = 0, before = -1;
    size_t from = begin, length;
    for (size_t i = begin; i <= end; i += length) {
        int32_t c = i < end ? rt_utf8_get(in->s + i, end - i, &length) : (length = 1, 0);
        bool cut = i == end || (before >= 0 && utf8proc_grapheme_break_stateful(before, c, &state));
        before = c;
        if (!cut) continue;
        RT_TRY(normal_form(w, in->s + from, i - from, form, err));
        rt_tok_text_add(out, (char *)w->points, w->bytes, rt_tok_origin(in, from), rt_tok_origin(in, i));
        from = i;
    }
    return RT_OK;
}

static rt_status cluster(work *w, tok_text *parts, const tok_view *in, size_t begin, size_t end, utf8proc_option_t form,
                         tok_text *out, rt_error *err) {
    RT_TRY(normal_form(w, in->s + begin, end - begin, form, err));
    if (w->bytes == end - begin && memcmp(w->points, in->s + begin, w->bytes) == 0) {
        rt_tok_text_copy(out, in, begin, end);
        return RT_OK;
    }
    size_t mark = out->n;
    rt_tok_text_add(out, (char *)w->points, w->bytes, rt_tok_origin(in, begin), rt_tok_origin(in, end));
    if (!out->track) return RT_OK;
    rt_tok_text_clear(parts, true);
    RT_TRY(by_graphemes(w, in, begin, end, form, parts, err));
    if (parts->failed || out->failed) return rt_tok_out_of_memory(err);
    if (parts->n == out->n - mark && memcmp(parts->s, out->s + mark, parts->n) == 0)
        memcpy(out->at + mark, parts->at, parts->n * sizeof *parts->at);
    return RT_OK;
}

static rt_status normalize(const tok_view *in, utf8proc_option_t form, tok_text *out, rt_error *err) {
    work w = {0};
    tok_text parts = {0};
    rt_status s = RT_OK;
    for (size_t i = 0, end; i < in->n && s == RT_OK; i = end) {
        for (end = i; end < in->n && !(in->s[end] & 0x80);) end++; /* ASCII */
        size_t plain = end == in->n || end == i ? end : end - 1;   /* its last character may carry a mark */
        rt_tok_text_copy(out, in, i, plain);
        while (end < in->n && in->s[end] & 0x80) end++;
        if (end > plain) s = cluster(&w, &parts, in, plain, end, form, out, err);
    }
    rt_free(w.points);
    rt_tok_text_free(&parts);
    return s;
}

#define FORM(name, spelled, options)                                                                                   \
    static rt_status name(const tok_step *s, const tok_matcher *m, const tok_view *in, tok_text *out, rt_error *err) { \
        (void)s, (void)m;                                                                                              \
        return normalize(in, (utf8proc_option_t)(UTF8PROC_STABLE | (options)), out, err);                              \
    }                                                                                                                  \
    const tok_kind rt_tok_normalizer_##name = {.type = spelled, .normalize = name};
FORM(nfc, "NFC", UTF8PROC_COMPOSE)
FORM(nfd, "NFD", UTF8PROC_DECOMPOSE)
FORM(nfkc, "NFKC", UTF8PROC_COMPOSE | UTF8PROC_COMPAT)
FORM(nfkd, "NFKD", UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT)
