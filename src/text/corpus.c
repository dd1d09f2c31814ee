/* corpus.c - documents from text files. One primitive does the cutting, take(): the bytes up to the next delimiter.
 * Lines are pieces delimited by "\n", a whole file is one piece without a delimiter, and the separators are built on
 * these. */
#include <retort/text/corpus.h>
#include <retort/base/mem.h>
#include <string.h>
#include <strings.h>
#include "text/input.h"
#include "text/record.h"
#include "text/utf8.h"

enum { READ = 1 << 16 };
typedef enum separator { NONE, LINE, BLANK_LINE, TEXT } separator;

struct rt_corpus {
    const char *const *paths;
    int count, next_path;
    rt_corpus_options options;
    separator separator;
    size_t separator_length;
    /* the open file */
    rt_input *in;
    const char *path;
    bool jsonl, drained, ended;
    int64_t line, documents; /* line number of buffer[at]; documents handed out */
    rt_buf buffer;           /* unread bytes: data[at, size) */
    size_t at;
    rt_buf document; /* a document that is not one piece of the buffer */
};

static separator separator_of(const char *name) {
    if (!name || !*name || strcmp(name, "none") == 0) return NONE;
    if (strcmp(name, "line") == 0) return LINE;
    return strcmp(name, "blank_line") == 0 ? BLANK_LINE : TEXT;
}

rt_status rt_corpus_open(rt_corpus **out, const char *const *paths, int count, const rt_corpus_options *o,
                         rt_error *err) {
    *out = NULL;
    if (count < 1) return rt_fail(err, RT_E_ARG, "no text files given");
    rt_corpus *c = rt_zalloc(sizeof *c);
    if (!c) return rt_fail(err, RT_E_NOMEM, "%s: out of memory", paths[0]);
    c->paths = paths, c->count = count;
    if (o) c->options = *o;
    if (!c->options.key) c->options.key = "text";
    if (c->options.max_bytes <= 0) c->options.max_bytes = 1 << 30;
    c->separator = separator_of(c->options.separator);
    c->separator_length = c->separator == TEXT ? strlen(c->options.separator) : 0;
    *out = c;
    return RT_OK;
}

void rt_corpus_close(rt_corpus *c) {
    if (!c) return;
    rt_input_close(c->in);
    rt_buf_free(&c->buffer);
    rt_buf_free(&c->document);
    rt_free(c);
}

static bool ends_with(const char *text, size_t n, const char *tail) {
    size_t m = strlen(tail);
    return n >= m && strncasecmp(text + n - m, tail, m) == 0;
}

static bool is_jsonl(const rt_corpus *c, const char *path) {
    if (c->options.format != RT_CORPUS_AUTO) return c->options.format == RT_CORPUS_JSONL;
    size_t n = strlen(path);
    if (ends_with(path, n, ".gz")) n -= 3;
    return ends_with(path, n, ".jsonl") || ends_with(path, n, ".ndjson");
}

static rt_status open_next(rt_corpus *c, rt_error *err) {
    c->path = c->paths[c->next_path++];
    c->jsonl = is_jsonl(c, c->path);
    c->drained = c->ended = false;
    c->line = 1, c->documents = 0;
    c->buffer.size = c->at = 0;
    return rt_input_open(&c->in, c->path, err);
}

/* ------------------------------------------------------------------ pieces */

typedef struct piece {
    char *text;
    size_t bytes;
    bool delimited; /* a delimiter followed; false: the file's end */
    int64_t line;
} piece;

static rt_status no_memory(const rt_corpus *c, rt_error *err) {
    return rt_fail(err, RT_E_NOMEM, "%s:%lld: out of memory for a document", c->path, (long long)c->line);
}

static rt_status check_length(const rt_corpus *c, size_t bytes, int64_t line, rt_error *err) {
    if ((int64_t)bytes <= c->options.max_bytes) return RT_OK;
    return rt_fail(err, RT_E_INPUT, "%s:%lld: a document of more than %lld bytes (is a separator missing?)", c->path,
                   (long long)line, (long long)c->options.max_bytes);
}

static rt_status read_more(rt_corpus *c, rt_error *err) {
    if (c->at) {
        memmove(c->buffer.data, c->buffer.data + c->at, c->buffer.size - c->at);
        c->buffer.size -= c->at, c->at = 0;
    }
    RT_TRY(check_length(c, c->buffer.size, c->line, err));
    char bytes[READ];
    size_t n = 0;
    RT_TRY(rt_input_read(c->in, bytes, sizeof bytes, &n, err));
    rt_buf_add(&c->buffer, bytes, n);
    c->drained = n == 0;
    return c->buffer.failed ? no_memory(c, err) : RT_OK;
}

static int64_t newlines(const char *p, size_t n) {
    int64_t lines = 0;
    for (const char *end = p + n; (p = memchr(p, '\n', (size_t)(end - p))); p++) lines++;
    return lines;
}

/* The bytes up to the next delimiter (length 0: up to the end), which is consumed. ended is set once nothing is left.
 */
static rt_status take(rt_corpus *c, const char *delimiter, size_t length, piece *p, rt_error *err) {
    size_t searched = 0;
    char *found = NULL;
    while (true) {
        char *from = c->buffer.data + c->at + searched;
        size_t have = c->buffer.size - c->at - searched;
        if (length && have) found = memmem(from, have, delimiter, length);
        if (found || c->drained) break;
        if (length && have >= length) searched += have - (length - 1); /* a delimiter may straddle the next read */
        RT_TRY(read_more(c, err));
    }
    char *text = c->buffer.data + c->at;
    size_t bytes = found ? (size_t)(found - text) : c->buffer.size - c->at, used = bytes + (found ? length : 0);
    *p = (piece){text, bytes, found != NULL, c->line};
    c->line += newlines(text, used);
    c->at += used;
    c->ended = c->drained && c->at == c->buffer.size;
    return RT_OK;
}

/* --------------------------------------------------------------- documents */

static void strip_end(piece *p) {
    if (p->bytes && p->text[p->bytes - 1] == '\n')
        p->bytes--;
    else
        return;
    if (p->bytes && p->text[p->bytes - 1] == '\r') p->bytes--;
}

static void strip_start(piece *p) {
    size_t n = p->bytes > 1 && p->text[0] == '\r' && p->text[1] == '\n' ? 2 : p->bytes && p->text[0] == '\n';
    p->text += n, p->bytes -= n, p->line += n > 0;
}

static rt_status take_line(rt_corpus *c, piece *p, rt_error *err) {
    RT_TRY(take(c, "\n", 1, p, err));
    if (p->delimited && p->bytes && p->text[p->bytes - 1] == '\r') p->bytes--;
    return RT_OK;
}

static bool blank(const piece *p) { return strspn(p->text, " \t\r\n") >= p->bytes; }

static rt_status take_paragraph(rt_corpus *c, piece *p, rt_error *err) {
    piece line;
    c->document.size = 0;
    *p = (piece){.line = c->line};
    while (!c->ended) {
        RT_TRY(take(c, "\n", 1, &line, err));
        if (blank(&line)) {
            if (c->document.size) break;
            p->line = c->line;
            continue;
        }
        rt_buf_add(&c->document, line.text, line.bytes + line.delimited);
        if (c->document.failed) return no_memory(c, err);
        RT_TRY(check_length(c, c->document.size, p->line, err));
    }
    p->text = c->document.data, p->bytes = c->document.size;
    strip_end(p);
    return RT_OK;
}

static rt_status take_between(rt_corpus *c, piece *p, rt_error *err) {
    bool first = c->line == 1 && c->documents == 0;
    RT_TRY(take(c, c->options.separator, c->separator_length, p, err));
    if (!first) strip_start(p);
    strip_end(p);
    return RT_OK;
}

static rt_status take_text(rt_corpus *c, piece *p, rt_error *err) {
    switch (c->separator) {
    case LINE: return take_line(c, p, err);
    case BLANK_LINE: return take_paragraph(c, p, err);
    case TEXT: return take_between(c, p, err);
    default: return take(c, "", 0, p, err);
    }
}

static rt_status check_utf8(const rt_corpus *c, const piece *p, rt_error *err) {
    size_t bad = rt_utf8_valid_bytes(p->text, p->bytes);
    if (bad == p->bytes) return RT_OK;
    int64_t line = p->line + newlines(p->text, bad);
    const char *start = memrchr(p->text, '\n', bad);
    size_t column = start ? (size_t)(p->text + bad - start) : bad + 1;
    return rt_fail(err, RT_E_INPUT, "%s:%lld:%zu: not UTF-8 (found byte 0x%02x)", c->path, (long long)line, column,
                   (unsigned)(unsigned char)p->text[bad]);
}

static rt_status take_record(rt_corpus *c, piece *p, bool *skip, rt_error *err) {
    RT_TRY(take_line(c, p, err));
    *skip = blank(p);
    if (*skip) return RT_OK;
    RT_TRY(check_utf8(c, p, err));
    c->document.size = 0;
    RT_TRY(rt_record_text(p->text, p->bytes, c->options.key, c->path, p->line, &c->document, err));
    p->text = c->document.data, p->bytes = c->document.size;
    return RT_OK;
}

/* One candidate from the open file. */
static rt_status step(rt_corpus *c, rt_document *d, bool *found, rt_error *err) {
    piece p = {0};
    bool skip = false;
    if (c->jsonl)
        RT_TRY(take_record(c, &p, &skip, err));
    else {
        RT_TRY(take_text(c, &p, err));
        RT_TRY(check_length(c, p.bytes, p.line, err));
        RT_TRY(check_utf8(c, &p, err));
        /* after the last line end, or with nothing but blank lines left, there is no further document */
        skip = !p.bytes && c->ended && !p.delimited;
    }
    *found = !skip && (c->options.keep_empty || !blank(&p));
    if (!*found) return RT_OK;
    p.text[p.bytes] = 0; /* the byte is the buffer's terminator or a stripped separator */
    *d = (rt_document){p.text, p.bytes, c->path, p.line};
    c->documents++;
    return RT_OK;
}

static rt_status finish_file(rt_corpus *c, rt_error *err) {
    rt_input_close(c->in);
    c->in = NULL;
    if (c->documents || c->options.keep_empty) return RT_OK;
    return rt_fail(err, RT_E_INPUT, "%s: no documents (the file is empty or holds only separators)", c->path);
}

rt_status rt_corpus_next(rt_corpus *c, rt_document *d, bool *end, rt_error *err) {
    bool found = false;
    *end = false;
    while (!found) {
        if (!c->in) {
            *end = c->next_path == c->count;
            if (*end) return RT_OK;
            RT_TRY(open_next(c, err));
        }
        if (c->ended)
            RT_TRY(finish_file(c, err));
        else
            RT_TRY(step(c, d, &found, err));
    }
    return RT_OK;
}
