/* pieces.c - see pieces.h. */
#include "text/pieces.h"
#include "text/utf8.h"
#include <string.h>

enum { READ = 1 << 16 };

rt_status rt_pieces_open(rt_pieces *s, const char *path, rt_error *err) {
    s->path = path;
    s->drained = s->ended = false;
    s->line = 1;
    s->buffer.size = s->at = 0;
    return rt_input_open(&s->in, path, err);
}
void rt_pieces_close(rt_pieces *s) {
    rt_input_close(s->in);
    s->in = NULL;
}
void rt_pieces_free(rt_pieces *s) {
    rt_pieces_close(s);
    rt_buf_free(&s->buffer);
}

rt_status rt_pieces_no_memory(const rt_pieces *s, rt_error *err) {
    return rt_fail(err, RT_E_NOMEM, "%s:%lld: out of memory for a document", s->path, (long long)s->line);
}

rt_status rt_pieces_check_length(const rt_pieces *s, size_t bytes, int64_t line, rt_error *err) {
    if ((int64_t)bytes <= s->max_bytes) return RT_OK;
    return rt_fail(err, RT_E_INPUT, "%s:%lld: a document of more than %lld bytes (is a separator missing?)", s->path,
                   (long long)line, (long long)s->max_bytes);
}

rt_status rt_pieces_more(rt_pieces *s, rt_error *err) {
    if (s->at) {
        memmove(s->buffer.data, s->buffer.data + s->at, s->buffer.size - s->at);
        s->buffer.size -= s->at, s->at = 0;
    }
    RT_TRY(rt_pieces_check_length(s, s->buffer.size, s->line, err));
    char bytes[READ];
    size_t n = 0;
    RT_TRY(rt_input_read(s->in, bytes, sizeof bytes, &n, err));
    rt_buf_add(&s->buffer, bytes, n);
    s->drained = n == 0;
    return s->buffer.failed ? rt_pieces_no_memory(s, err) : RT_OK;
}

static int64_t newlines(const char *p, size_t n) {
    int64_t lines = 0;
    for (const char *end = p + n; (p = memchr(p, '\n', (size_t)(end - p))); p++) lines++;
    return lines;
}

void rt_pieces_skip(rt_pieces *s, size_t used) {
    s->line += newlines(s->buffer.data + s->at, used);
    s->at += used;
    s->ended = s->drained && s->at == s->buffer.size;
}

rt_status rt_pieces_take(rt_pieces *s, const char *delimiter, size_t length, rt_piece *p, rt_error *err) {
    size_t searched = 0;
    char *found = NULL;
    while (true) {
        char *from = s->buffer.data + s->at + searched;
        size_t have = s->buffer.size - s->at - searched;
        if (length && have) found = memmem(from, have, delimiter, length);
        if (found || s->drained) break;
        if (length && have >= length) searched += have - (length - 1); /* a delimiter may straddle the next read */
        RT_TRY(rt_pieces_more(s, err));
    }
    char *text = s->buffer.data + s->at;
    size_t bytes = found ? (size_t)(found - text) : s->buffer.size - s->at, used = bytes + (found ? length : 0);
    *p = (rt_piece){text, bytes, found != NULL, s->line};
    rt_pieces_skip(s, used);
    return RT_OK;
}

rt_status rt_pieces_line(rt_pieces *s, rt_piece *p, rt_error *err) {
    RT_TRY(rt_pieces_take(s, "\n", 1, p, err));
    if (p->delimited && p->bytes && p->text[p->bytes - 1] == '\r') p->bytes--;
    return RT_OK;
}

bool rt_piece_blank(const rt_piece *p) { return strspn(p->text, " \t\r\n") >= p->bytes; }

rt_status rt_piece_check_utf8(const char *path, const rt_piece *p, rt_error *err) {
    size_t bad = rt_utf8_valid_bytes(p->text, p->bytes);
    if (bad == p->bytes) return RT_OK;
    int64_t line = p->line + newlines(p->text, bad);
    const char *start = memrchr(p->text, '\n', bad);
    size_t column = start ? (size_t)(p->text + bad - start) : bad + 1;
    return rt_fail(err, RT_E_INPUT, "%s:%lld:%zu: not UTF-8 (found byte 0x%02x)", path, (long long)line, column,
                   (unsigned)(unsigned char)p->text[bad]);
}
