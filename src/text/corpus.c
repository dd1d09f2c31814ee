/* corpus.c - documents from text files. One primitive does the cutting, take(): the bytes up to the next delimiter.
 * Lines are pieces delimited by "\n", a whole file is one piece without a delimiter, and the separators are built on
 * these. */
#include <retort/text/corpus.h>
#include <retort/base/mem.h>
#include <string.h>
#include <strings.h>
#include "text/csv.h"
#include "text/record.h"

typedef enum separator { NONE, LINE, BLANK_LINE, TEXT } separator;

struct rt_corpus {
    const char *const *paths;
    int count, next_path;
    rt_corpus_options options;
    separator separator;
    size_t separator_length;
    /* the open file */
    rt_pieces file;
    rt_corpus_format format; /* never AUTO */
    rt_csv csv;
    int64_t documents; /* handed out */
    rt_buf document;   /* a document that is not one piece of the buffer */
    json_t *record;    /* the conversation handed out last, or NULL */
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
    c->file.max_bytes = c->options.max_bytes > 0 ? c->options.max_bytes : 1 << 30;
    c->separator = separator_of(c->options.separator);
    c->separator_length = c->separator == TEXT ? strlen(c->options.separator) : 0;
    *out = c;
    return RT_OK;
}

void rt_corpus_close(rt_corpus *c) {
    if (!c) return;
    rt_pieces_free(&c->file);
    rt_csv_free(&c->csv);
    rt_buf_free(&c->document);
    json_decref(c->record);
    rt_free(c);
}

static bool ends_with(const char *text, size_t n, const char *tail) {
    size_t m = strlen(tail);
    return n >= m && strncasecmp(text + n - m, tail, m) == 0;
}

static rt_corpus_format format_of(const rt_corpus *c, const char *path) {
    static const struct {
        const char *ending;
        rt_corpus_format format;
    } known[] = {{".jsonl", RT_CORPUS_JSONL}, {".ndjson", RT_CORPUS_JSONL}, {".csv", RT_CORPUS_CSV}, {".tsv", RT_CORPUS_TSV}};
    if (c->options.format != RT_CORPUS_AUTO) return c->options.format;
    size_t n = strlen(path);
    if (ends_with(path, n, ".gz")) n -= 3;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (ends_with(path, n, known[i].ending)) return known[i].format;
    return RT_CORPUS_TEXT;
}

static rt_status open_next(rt_corpus *c, rt_error *err) {
    const char *path = c->paths[c->next_path++];
    c->format = format_of(c, path);
    c->documents = 0;
    RT_TRY(rt_pieces_open(&c->file, path, err));
    if (c->format != RT_CORPUS_CSV && c->format != RT_CORPUS_TSV) return RT_OK;
    return rt_csv_open(&c->csv, &c->file, c->format == RT_CORPUS_TSV, c->options.column, !c->options.no_header, err);
}

/* --------------------------------------------------------------- documents */

static void strip_end(rt_piece *p) {
    if (p->bytes && p->text[p->bytes - 1] == '\n')
        p->bytes--;
    else
        return;
    if (p->bytes && p->text[p->bytes - 1] == '\r') p->bytes--;
}

static void strip_start(rt_piece *p) {
    size_t n = p->bytes > 1 && p->text[0] == '\r' && p->text[1] == '\n' ? 2 : p->bytes && p->text[0] == '\n';
    p->text += n, p->bytes -= n, p->line += n > 0;
}

static rt_status take_paragraph(rt_corpus *c, rt_piece *p, rt_error *err) {
    rt_piece line;
    c->document.size = 0;
    *p = (rt_piece){.line = c->file.line};
    while (!c->file.ended) {
        RT_TRY(rt_pieces_take(&c->file, "\n", 1, &line, err));
        if (rt_piece_blank(&line)) {
            if (c->document.size) break;
            p->line = c->file.line;
            continue;
        }
        rt_buf_add(&c->document, line.text, line.bytes + line.delimited);
        if (c->document.failed) return rt_pieces_no_memory(&c->file, err);
        RT_TRY(rt_pieces_check_length(&c->file, c->document.size, p->line, err));
    }
    p->text = c->document.data, p->bytes = c->document.size;
    strip_end(p);
    return RT_OK;
}

static rt_status take_between(rt_corpus *c, rt_piece *p, rt_error *err) {
    bool first = c->file.line == 1 && c->documents == 0;
    RT_TRY(rt_pieces_take(&c->file, c->options.separator, c->separator_length, p, err));
    if (!first) strip_start(p);
    strip_end(p);
    return RT_OK;
}

static rt_status take_text(rt_corpus *c, rt_piece *p, rt_error *err) {
    switch (c->separator) {
    case LINE: return rt_pieces_line(&c->file, p, err);
    case BLANK_LINE: return take_paragraph(c, p, err);
    case TEXT: return take_between(c, p, err);
    default: return rt_pieces_take(&c->file, "", 0, p, err);
    }
}

static rt_status take_record(rt_corpus *c, rt_piece *p, bool *skip, rt_error *err) {
    RT_TRY(rt_pieces_line(&c->file, p, err));
    *skip = rt_piece_blank(p);
    if (*skip) return RT_OK;
    RT_TRY(rt_piece_check_utf8(c->file.path, p, err));
    c->document.size = 0;
    rt_record_place at = {c->file.path, p->line, c->options.conversations};
    RT_TRY(rt_record_read(p->text, p->bytes, c->options.key, &at, &c->document, &c->record, err));
    p->text = c->document.data, p->bytes = c->document.size;
    return RT_OK;
}

static rt_status take_field(rt_corpus *c, rt_piece *p, bool *skip, rt_error *err) {
    c->document.size = 0;
    RT_TRY(rt_csv_next(&c->csv, &c->document, &p->line, skip, err));
    p->text = c->document.data, p->bytes = c->document.size, p->delimited = true;
    return *skip ? RT_OK : rt_piece_check_utf8(c->file.path, p, err);
}

static rt_status take_whole_text(rt_corpus *c, rt_piece *p, bool *skip, rt_error *err) {
    RT_TRY(take_text(c, p, err));
    RT_TRY(rt_pieces_check_length(&c->file, p->bytes, p->line, err));
    RT_TRY(rt_piece_check_utf8(c->file.path, p, err));
    /* after the last line end, or with nothing but blank lines left, there is no further document */
    *skip = !p->bytes && c->file.ended && !p->delimited;
    return RT_OK;
}

/* One candidate from the open file. */
static rt_status step(rt_corpus *c, rt_document *d, bool *found, rt_error *err) {
    rt_piece p = {0};
    bool skip = false;
    json_decref(c->record), c->record = NULL;
    if (c->format == RT_CORPUS_JSONL) RT_TRY(take_record(c, &p, &skip, err));
    else if (c->format == RT_CORPUS_TEXT) RT_TRY(take_whole_text(c, &p, &skip, err));
    else RT_TRY(take_field(c, &p, &skip, err));
    *found = !skip && (c->options.keep_empty || c->record || !rt_piece_blank(&p));
    if (!*found) return RT_OK;
    p.text[p.bytes] = 0; /* the byte is the buffer's terminator or a stripped separator */
    *d = (rt_document){p.text, p.bytes, c->file.path, p.line, rt_record_messages(c->record), rt_record_tools(c->record)};
    c->documents++;
    return RT_OK;
}

static rt_status finish_file(rt_corpus *c, rt_error *err) {
    rt_pieces_close(&c->file);
    if (c->documents || c->options.keep_empty) return RT_OK;
    return rt_fail(err, RT_E_INPUT, "%s: no documents (the file is empty or holds only separators)", c->file.path);
}

rt_status rt_corpus_next(rt_corpus *c, rt_document *d, bool *end, rt_error *err) {
    bool found = false;
    *end = false;
    while (!found) {
        if (!c->file.in) {
            *end = c->next_path == c->count;
            if (*end) return RT_OK;
            RT_TRY(open_next(c, err));
        }
        if (c->file.ended)
            RT_TRY(finish_file(c, err));
        else
            RT_TRY(step(c, d, &found, err));
    }
    return RT_OK;
}
