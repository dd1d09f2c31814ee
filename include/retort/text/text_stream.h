/* text_stream.h - the text of ids that come one by one, in pieces that are whole characters, and an end before a given text.
 *
 * The pieces together are rt_tokenizer_decode of all ids (but where a run of byte tokens is no UTF-8 as a whole: what of it made
 * characters is shown as such). A character whose last bytes have yet to come waits (U+FFFD at the
 * end); so does what may be the beginning of a stop text. The cost of an id does not grow with the text. */
#ifndef RETORT_TEXT_TEXT_STREAM_H
#define RETORT_TEXT_TEXT_STREAM_H
#include <retort/text/tokenizer.h>

typedef struct rt_text_stream {
    const rt_tokenizer *t;
    const char *const *stop; /* texts that end it; empty ones are passed over */
    int64_t stops;
    bool stopped;            /* one was found: nothing more comes */
    rt_ids window;           /* `context`, and ids that are not shown yet */
    size_t given;            /* bytes of the window's text that are in `held` or gone */
    int32_t context;         /* stands for the text before; -1: none yet */
    size_t context_bytes;
    rt_buf held;             /* text that may begin a stop text */
} rt_text_stream;

/* t and stop are borrowed. */
void rt_text_stream_open(rt_text_stream *s, const rt_tokenizer *t, const char *const *stop, int64_t stops);
void rt_text_stream_close(rt_text_stream *s); /* an all-zero one is fine */
/* Appends to `out` what may now be shown; once stopped, what stands before the stop text, and then nothing. Stop texts are
 * looked for in the ids given with `search` (a continuation, not its prompt). */
rt_status rt_text_stream_add(rt_text_stream *s, const int32_t *ids, int64_t n, bool search, rt_buf *out, rt_error *err) RT_NODISCARD;
/* What was waiting. */
rt_status rt_text_stream_end(rt_text_stream *s, rt_buf *out, rt_error *err) RT_NODISCARD;
#endif
