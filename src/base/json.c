/* json.c - jansson on our allocator: load with position, save atomically. The cursor is in json_cursor.c. */
#include <retort/base/file.h>
#include <retort/base/json.h>
#include <math.h>
#include <string.h>

/* jansson 2.14's reader does not survive a failed allocation: it drops characters of a string without a word, or asserts.
 * So while it reads, the first failure is noted and answered out of a reserve, and the text ends there: what it still
 * has in its buffer of 1 KiB needs less than the reserve. Where values are only built, a failure is an honest NULL. */
enum { RESERVE = 1 << 20 };
static _Thread_local bool out_of_memory;
static _Thread_local void *reserve;
static void *alloc_noting(size_t bytes) {
    void *p = rt_alloc(bytes);
    if (p) return p;
    out_of_memory = true;
    if (!reserve) return NULL;
    rt_free(reserve);
    reserve = NULL;
    return rt_alloc(bytes);
}
/* Before main, so that no value made by one allocator is ever freed by another. */
__attribute__((constructor)) static void allocate_through_us(void) { json_set_alloc_funcs(alloc_noting, rt_free); }

typedef struct source {
    const char *text;
    size_t left;
} source;
static size_t feed(void *buffer, size_t size, void *context) {
    source *s = context;
    if (out_of_memory) return (size_t)-1;
    size_t n = size < s->left ? size : s->left;
    if (n) memcpy(buffer, s->text, n);
    s->text += n;
    s->left -= n;
    return n;
}
/* Hugging Face's tokenizer_config.json holds 1000000000000000019884624838656: read again with integers as reals. */
static json_t *decode(const char *text, size_t size, size_t flags, json_error_t *e) {
    json_t *value = json_load_callback(feed, &(source){text, size}, flags | JSON_REJECT_DUPLICATES, e);
    if (value || json_error_code(e) != json_error_numeric_overflow) return value;
    return json_load_callback(feed, &(source){text, size}, flags | JSON_REJECT_DUPLICATES | JSON_DECODE_INT_AS_REAL, e);
}

static rt_status parse(const char *text, size_t size, size_t flags, const char *name, json_t **out, rt_error *err) {
    json_error_t e;
    *out = NULL;
    if (!(reserve = rt_alloc(RESERVE))) return rt_fail(err, RT_E_NOMEM, "%s: out of memory", name);
    out_of_memory = false;
    *out = decode(text, size, flags, &e);
    rt_free(reserve);
    reserve = NULL;
    if (*out && !out_of_memory) return RT_OK;
    json_decref(*out);
    *out = NULL;
    if (out_of_memory) return rt_fail(err, RT_E_NOMEM, "%s: out of memory", name);
    return rt_fail(err, RT_E_INPUT, "%s:%d:%d: %s", name, e.line, e.column, e.text);
}

rt_status rt_json_parse(const char *text, size_t size, const char *name, json_t **out, rt_error *err) {
    return parse(text, size, 0, name, out, err);
}
rt_status rt_json_parse_nul(const char *text, size_t size, const char *name, json_t **out, rt_error *err) {
    return parse(text, size, JSON_ALLOW_NUL, name, out, err);
}

rt_status rt_json_load(const char *path, size_t limit, json_t **out, rt_error *err) {
    rt_buf b = {0};
    *out = NULL;
    rt_status status = rt_file_read(path, limit ? limit : (size_t)64 << 20, &b, err);
    if (status == RT_OK) status = rt_json_parse(b.data, b.size, path, out, err);
    rt_buf_free(&b);
    return status;
}

static int append(const char *text, size_t n, void *buffer) {
    rt_buf_add(buffer, text, n);
    return ((rt_buf *)buffer)->failed ? -1 : 0;
}

void rt_json_dump(const json_t *value, int indent, rt_buf *out) {
    size_t layout = indent ? JSON_INDENT((size_t)indent) : JSON_COMPACT;
    if (!value || json_dump_callback(value, append, out, layout | JSON_ENCODE_ANY | JSON_REAL_PRECISION(17)) != 0)
        out->failed = true;
}

rt_status rt_json_save(const char *path, const json_t *value, rt_error *err) {
    rt_buf b = {0};
    rt_json_dump(value, 2, &b);
    rt_buf_putc(&b, '\n');
    rt_status status = b.failed ? rt_fail(err, RT_E_NOMEM, "%s: out of memory", path)
                                : rt_file_write_atomic(path, b.data, b.size, err);
    rt_buf_free(&b);
    return status;
}

json_t *rt_json_number(double x) {
    if (isfinite(x)) return json_real(x);
    return json_string(isnan(x) ? "nan" : x > 0 ? "inf" : "-inf");
}
