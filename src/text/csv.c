/* csv.c - records are found in the buffer first, whole, since a quoted field may hold line ends; then cut into fields. */
#include "text/csv.h"
#include <string.h>

typedef enum state { START, PLAIN, QUOTED, CLOSING } state; /* of a field; CLOSING: behind a quote that may be its end */
typedef struct scan {
    state state;
    size_t at, quote; /* looked at so far; where the open quote is */
} scan;

static char delimiter(const rt_csv *c) { return c->tabs ? '\t' : ','; }

/* FILE:LINE:COLUMN of byte `at` of the record at hand; columns count bytes. */
static rt_status refuse(const rt_csv *c, size_t at, const char *what, rt_error *err) {
    const char *text = c->file->buffer.data + c->file->at;
    int64_t line = c->file->line;
    size_t start = 0;
    for (size_t i = 0; i < at; i++)
        if (text[i] == '\n') line++, start = i + 1;
    return rt_fail(err, RT_E_INPUT, "%s:%lld:%zu: %s", c->file->path, (long long)line, at - start + 1, what);
}

/* One byte further; true: it was the line end behind the record. */
static rt_status advance(const rt_csv *c, scan *s, char x, bool *done, rt_error *err) {
    size_t at = s->at++;
    bool quote = x == '"', part = x == delimiter(c) || x == '\n';
    if (s->state == QUOTED) return s->state = quote ? CLOSING : QUOTED, RT_OK;
    if (s->state == CLOSING && quote) return s->state = QUOTED, RT_OK;
    if (s->state == CLOSING && !part && x != '\r') return refuse(c, at, "text behind the closing quote of a field (a quote within one is doubled)", err);
    if (s->state == PLAIN && quote && !c->tabs) return refuse(c, at, "a quote within a field that does not begin with one", err);
    *done = x == '\n';
    if (part) s->state = START;
    else if (s->state == START && quote) s->state = QUOTED, s->quote = at;
    else if (s->state != CLOSING) s->state = PLAIN;
    return RT_OK;
}

/* The bytes of the next record with its line end; 0: nothing is left. */
static rt_status find_record(rt_csv *c, size_t *bytes, rt_error *err) {
    rt_pieces *f = c->file;
    scan s = {START, 0, 0};
    bool done = false;
    while (!done) {
        for (; !done && f->at + s.at < f->buffer.size;) RT_TRY(advance(c, &s, f->buffer.data[f->at + s.at], &done, err));
        if (done || f->drained) break;
        RT_TRY(rt_pieces_more(f, err));
    }
    if (!done && s.state == QUOTED) return refuse(c, s.quote, "a quote that nothing closes", err);
    *bytes = s.at;
    return RT_OK;
}

/* The field at text[at..), unquoted, appended to out (which may be NULL); returns where it ends. */
static size_t take_field(const rt_csv *c, const char *text, size_t n, size_t at, rt_buf *out) {
    size_t from = at;
    if (at == n || text[at] != '"') {
        const char *end = memchr(text + at, delimiter(c), n - at);
        at = end ? (size_t)(end - text) : n;
        if (out) rt_buf_add(out, text + from, at - from);
        return at;
    }
    for (from = ++at; at < n; at++) {
        if (text[at] != '"') continue;
        bool doubled = at + 1 < n && text[at + 1] == '"';
        if (out) rt_buf_add(out, text + from, at - from + doubled);
        from = at + 1 + doubled;
        at += doubled;
        if (!doubled) return at + 1;
    }
    return at;
}

static size_t without_line_end(const char *text, size_t n) {
    if (n && text[n - 1] == '\n') n--;
    return n && text[n - 1] == '\r' ? n - 1 : n;
}

/* Walks through the fields; that of the number `column` is appended to wanted. Returns how many there are. */
static int64_t each_field(rt_csv *c, const char *text, size_t n, rt_buf *wanted, int64_t column) {
    int64_t i = 0;
    for (size_t at = 0;; at++, i++) {
        at = take_field(c, text, n, at, i == column ? wanted : NULL);
        if (at >= n) return i + 1;
    }
}

static rt_status wrong_fields(const rt_csv *c, int64_t line, int64_t fields, rt_error *err) {
    return rt_fail(err, RT_E_INPUT, "%s:%lld: found %lld fields, expected %lld as in the first record", c->file->path, (long long)line, (long long)fields,
                   (long long)c->fields);
}

rt_status rt_csv_next(rt_csv *c, rt_buf *out, int64_t *line, bool *skip, rt_error *err) {
    size_t bytes = 0;
    RT_TRY(find_record(c, &bytes, err));
    const char *text = c->file->buffer.data + c->file->at;
    size_t n = without_line_end(text, bytes);
    *line = c->file->line;
    *skip = n == 0 && c->fields != 1;
    int64_t fields = *skip ? c->fields : each_field(c, text, n, out, c->column);
    if (!c->fields) c->fields = fields;
    rt_pieces_skip(c->file, bytes);
    *skip |= bytes == 0;
    rt_buf_add(out, "", 0);
    if (out->failed) return rt_pieces_no_memory(c->file, err);
    if (fields != c->fields) return wrong_fields(c, *line, fields, err);
    if (*skip || c->column < fields) return RT_OK;
    return rt_fail(err, RT_E_INPUT, "%s:%lld: column %lld is asked for, the record has %lld", c->file->path, (long long)*line, (long long)c->column + 1, (long long)fields);
}

/* ------------------------------------------------------------------- header */

static int64_t number(const char *column) {
    size_t n = strlen(column);
    int64_t x = 0;
    if (n == 0 || n > 9 || column[strspn(column, "0123456789")]) return 0;
    for (size_t i = 0; i < n; i++) x = 10 * x + (column[i] - '0');
    return x;
}

static rt_status unknown(const rt_csv *c, const char *column, char **names, rt_error *err) {
    const char *near = rt_nearest(column, (const char *const *)names);
    rt_buf all = {0};
    for (int i = 0; names[i] && all.size < 200; i++) rt_buf_printf(&all, "%s%.40s", i ? ", " : "", names[i]);
    rt_fail(err, RT_E_INPUT, "%s:1: no column '%.60s' (found %s)%s%s%s", c->file->path, column, all.failed ? "?" : all.data, near ? "; did you mean '" : "",
            near ? near : "", near ? "'?" : "");
    rt_buf_free(&all);
    return RT_E_INPUT;
}

/* Sets the column by its name in the header record. */
static rt_status find_column(rt_csv *c, const char *text, size_t n, const char *column, rt_error *err) {
    enum { NAMES = 64 };
    char *names[NAMES + 1] = {0};
    rt_status s = RT_OK;
    c->fields = each_field(c, text, n, NULL, -1);
    c->column = -1;
    for (int64_t i = 0; i < c->fields && c->column < 0 && s == RT_OK; i++) {
        c->name.size = 0;
        each_field(c, text, n, &c->name, i);
        rt_buf_add(&c->name, "", 0);
        if (c->name.failed) s = rt_pieces_no_memory(c->file, err);
        else if (strcmp(c->name.data, column) == 0) c->column = i;
        else if (i < NAMES && !(names[i] = rt_strdup(c->name.data))) s = rt_pieces_no_memory(c->file, err);
    }
    if (s == RT_OK && c->column < 0) s = unknown(c, column, names, err);
    for (int i = 0; i < NAMES; i++) rt_free(names[i]);
    return s;
}

static rt_status skip_byte_order_mark(rt_pieces *f, rt_error *err) {
    while (f->buffer.size < 3 && !f->drained) RT_TRY(rt_pieces_more(f, err));
    if (f->buffer.size >= 3 && memcmp(f->buffer.data, "\xEF\xBB\xBF", 3) == 0) rt_pieces_skip(f, 3);
    return RT_OK;
}

rt_status rt_csv_open(rt_csv *c, rt_pieces *file, bool tabs, const char *column, bool header, rt_error *err) {
    const char *name = column ? column : "text";
    size_t bytes = 0;
    *c = (rt_csv){.file = file, .tabs = tabs, .column = number(name) - 1, .name = c->name};
    if (!header && c->column < 0)
        return rt_fail(err, RT_E_INPUT, "%s: column '%.60s' is a name, and without a header there are only numbers, from 1", file->path, name);
    RT_TRY(skip_byte_order_mark(file, err));
    if (!header) return RT_OK;
    RT_TRY(find_record(c, &bytes, err));
    const char *text = file->buffer.data ? file->buffer.data + file->at : "";
    size_t n = without_line_end(text, bytes);
    if (n == 0) return rt_fail(err, RT_E_INPUT, "%s:1: no header: the first line is empty", file->path);
    if (c->column < 0) RT_TRY(find_column(c, text, n, name, err));
    else c->fields = each_field(c, text, n, NULL, -1);
    rt_pieces_skip(file, bytes);
    return RT_OK;
}

void rt_csv_free(rt_csv *c) { rt_buf_free(&c->name); }
