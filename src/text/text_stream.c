/* text_stream.c - decoding as ids come.
 *
 * Only ids that are not shown yet are decoded, after one id that stands for the text before them: a decoder may treat what begins
 * a text differently (it drops a space there), and so the first piece is decoded without it. */
#include <retort/text/text_stream.h>
#include <string.h>

void rt_text_stream_open(rt_text_stream *s, const rt_tokenizer *t, const char *const *stop, int64_t stops) {
    *s = (rt_text_stream){.t = t, .stop = stop, .stops = stops, .context = -1};
}
void rt_text_stream_close(rt_text_stream *s) {
    rt_ids_free(&s->window);
    rt_buf_free(&s->held);
    *s = (rt_text_stream){0};
}

static bool ends_open(const rt_buf *text) { return text->size >= 3 && memcmp(text->data + text->size - 3, "\xEF\xBF\xBD", 3) == 0; }

/* Letters, more than one: not a byte token, which could join bytes after it. */
static bool is_word(const rt_buf *text) {
    bool all = text->size > 1;
    for (size_t i = 0; i < text->size; i++) all &= (text->data[i] >= 'a' && text->data[i] <= 'z') || (text->data[i] >= 'A' && text->data[i] <= 'Z');
    return all;
}
/* An id whose text is a word. */
static rt_status find_context(rt_text_stream *s, rt_error *err) {
    rt_status status = RT_OK;
    for (int32_t id = 0; id < rt_tokenizer_size(s->t) && s->context < 0 && status == RT_OK; id++) {
        rt_buf own = {0};
        if (!rt_tokenizer_token(s->t, id, NULL)) continue;
        status = rt_tokenizer_decode(s->t, &id, 1, true, &own, err);
        if (status == RT_OK && is_word(&own)) s->context = id, s->context_bytes = own.size;
        rt_buf_free(&own);
    }
    return status;
}
/* All of the window is shown: it begins anew, in the middle of a text. Without such an id it just grows. */
static rt_status renew(rt_text_stream *s, rt_error *err) {
    if (s->context < 0) RT_TRY(find_context(s, err));
    if (s->context < 0) return RT_OK;
    s->window.size = 1;
    s->window.data[0] = s->context;
    s->given = s->context_bytes;
    return RT_OK;
}

/* The text of one more id into `held`. */
static rt_status take(rt_text_stream *s, int32_t id, bool all, rt_error *err) {
    rt_buf text = {0};
    if (!all) rt_ids_add(&s->window, id);
    if (s->window.failed) return rt_fail(err, RT_E_NOMEM, "out of memory: text");
    rt_status status = rt_tokenizer_decode(s->t, s->window.data, s->window.size, true, &text, err);
    bool whole = status == RT_OK && (all || !ends_open(&text));
    if (whole && text.size > s->given) {
        rt_buf_add(&s->held, text.data + s->given, text.size - s->given);
        s->given = text.size;
        if (!all) status = renew(s, err);
    }
    rt_buf_free(&text);
    return status;
}

/* ------------------------------------------------------------------- stops */

/* Where the first stop text begins in what is held, or -1. */
static int64_t find_stop(const rt_text_stream *s) {
    const char *first = NULL;
    for (int64_t i = 0; i < s->stops; i++) {
        const char *at = *s->stop[i] && s->held.size ? memmem(s->held.data, s->held.size, s->stop[i], strlen(s->stop[i])) : NULL;
        if (at && (!first || at < first)) first = at;
    }
    return first ? first - s->held.data : -1;
}
/* How many of the last bytes may begin a stop text. */
static size_t open_end(const rt_text_stream *s) {
    size_t most = 0;
    for (int64_t i = 0; i < s->stops; i++)
        for (size_t n = strlen(s->stop[i]); n-- > 1;)
            if (n > most && n <= s->held.size && memcmp(s->held.data + s->held.size - n, s->stop[i], n) == 0) most = n;
    return most;
}
/* Moves all but the last `keep` bytes from `held` to out. */
static void give(rt_text_stream *s, size_t keep, rt_buf *out) {
    size_t n = s->held.size - keep;
    if (n == 0) return;
    rt_buf_add(out, s->held.data, n);
    memmove(s->held.data, s->held.data + n, keep);
    s->held.size = keep;
}
static void show(rt_text_stream *s, bool search, bool all, rt_buf *out) {
    int64_t at = search ? find_stop(s) : -1;
    if (at >= 0) {
        s->stopped = true;
        s->held.size = (size_t)at;
    }
    give(s, at >= 0 || all || !search ? 0 : open_end(s), out);
}

static rt_status check_memory(const rt_text_stream *s, const rt_buf *out, rt_error *err) {
    return s->held.failed || out->failed ? rt_fail(err, RT_E_NOMEM, "out of memory: text") : RT_OK;
}
rt_status rt_text_stream_add(rt_text_stream *s, const int32_t *ids, int64_t n, bool search, rt_buf *out, rt_error *err) {
    for (int64_t i = 0; i < n && !s->stopped; i++) {
        RT_TRY(take(s, ids[i], false, err));
        RT_TRY(check_memory(s, out, err));
        show(s, search, false, out);
    }
    return check_memory(s, out, err);
}
rt_status rt_text_stream_end(rt_text_stream *s, rt_buf *out, rt_error *err) {
    if (s->stopped) return RT_OK;
    if (s->window.size > 0) RT_TRY(take(s, 0, true, err));
    RT_TRY(check_memory(s, out, err));
    show(s, true, true, out);
    return check_memory(s, out, err);
}
