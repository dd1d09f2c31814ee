/* gguf_write.c - writes a GGUF file: metadata as it is put, the table from the shapes alone, then each tensor's bytes as its
 * source gives them, padded to the alignment. */
#include <retort/base/file.h>
#include <retort/io/gguf.h>
#include <string.h>

enum { VERSION = 3, ALIGNMENT = 32 };

/* ----------------------------------------------------------------- metadata */

static void add_u32(rt_buf *b, uint32_t x) { rt_buf_add(b, &x, sizeof x); }
static void add_u64(rt_buf *b, uint64_t x) { rt_buf_add(b, &x, sizeof x); }
static void add_text(rt_buf *b, const char *text, size_t bytes) {
    add_u64(b, bytes);
    rt_buf_add(b, text, bytes);
}
static rt_buf *begin(rt_gguf_meta *m, const char *key, rt_gguf_kind kind) {
    add_text(&m->bytes, key, strlen(key));
    add_u32(&m->bytes, (uint32_t)kind);
    m->count++;
    return &m->bytes;
}
void rt_gguf_put_u32(rt_gguf_meta *m, const char *key, uint32_t x) { add_u32(begin(m, key, RT_GGUF_U32), x); }
void rt_gguf_put_f32(rt_gguf_meta *m, const char *key, float x) { rt_buf_add(begin(m, key, RT_GGUF_F32), &x, sizeof x); }
void rt_gguf_put_f64(rt_gguf_meta *m, const char *key, double x) { rt_buf_add(begin(m, key, RT_GGUF_F64), &x, sizeof x); }
void rt_gguf_put_bool(rt_gguf_meta *m, const char *key, bool x) { rt_buf_putc(begin(m, key, RT_GGUF_BOOL), (char)x); }
void rt_gguf_put_text(rt_gguf_meta *m, const char *key, const char *text, size_t bytes) { add_text(begin(m, key, RT_GGUF_TEXT), text, bytes); }
void rt_gguf_put_array(rt_gguf_meta *m, const char *key, rt_gguf_kind kind, uint64_t count) {
    rt_buf *b = begin(m, key, RT_GGUF_ARRAY);
    add_u32(b, (uint32_t)kind);
    add_u64(b, count);
}
void rt_gguf_item_text(rt_gguf_meta *m, const char *text, size_t bytes) { add_text(&m->bytes, text, bytes); }
void rt_gguf_item_f32(rt_gguf_meta *m, float x) { rt_buf_add(&m->bytes, &x, sizeof x); }
void rt_gguf_item_i32(rt_gguf_meta *m, int32_t x) { rt_buf_add(&m->bytes, &x, sizeof x); }
void rt_gguf_meta_free(rt_gguf_meta *m) {
    rt_buf_free(&m->bytes);
    *m = (rt_gguf_meta){0};
}

/* -------------------------------------------------------------------- table */

static uint64_t up(uint64_t n) { return (n + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT; }
int64_t rt_gguf_entry_bytes(const rt_gguf_entry *e) {
    const rt_gguf_type_info *t = rt_gguf_type_find((uint32_t)e->type);
    int64_t n = e->dim[e->ndim - 1] / t->block * t->bytes;
    for (int i = 0; i < e->ndim - 1; i++) n *= e->dim[i];
    return n;
}
static void header(rt_buf *b, const rt_gguf_meta *m, const rt_gguf_entry *entries, int64_t count) {
    uint64_t at = 0;
    rt_buf_puts(b, "GGUF");
    add_u32(b, VERSION);
    add_u64(b, (uint64_t)count);
    add_u64(b, m->count);
    rt_buf_add(b, m->bytes.data, m->bytes.size);
    for (int64_t i = 0; i < count; i++) {
        const rt_gguf_entry *e = &entries[i];
        add_text(b, e->name, strlen(e->name));
        add_u32(b, (uint32_t)e->ndim);
        for (int d = e->ndim - 1; d >= 0; d--) add_u64(b, (uint64_t)e->dim[d]);
        add_u32(b, (uint32_t)e->type);
        add_u64(b, at);
        at = up(at + (uint64_t)rt_gguf_entry_bytes(e));
    }
    while (b->size % ALIGNMENT && !b->failed) rt_buf_putc(b, 0);
}

/* --------------------------------------------------------------------- file */

static rt_status add_tensor(rt_file_writer *w, const rt_gguf_entry *e, int64_t i, rt_gguf_source source, void *context, rt_error *err) {
    static const char zeros[ALIGNMENT];
    int64_t before = w->size, bytes = rt_gguf_entry_bytes(e);
    RT_TRY(source(context, i, w, err));
    if (w->size - before != bytes)
        return rt_fail(err, RT_E_ARG, "%s has %lld bytes, but %lld were given", e->name, (long long)bytes, (long long)(w->size - before));
    return rt_file_writer_add(w, zeros, (size_t)(up((uint64_t)bytes) - (uint64_t)bytes), err);
}
static rt_status add_all(rt_file_writer *w, const rt_buf *b, const rt_gguf_entry *entries, int64_t count, rt_gguf_source source, void *context,
                         rt_error *err) {
    RT_TRY(rt_file_writer_add(w, b->data, b->size, err));
    for (int64_t i = 0; i < count; i++) RT_TRY(add_tensor(w, &entries[i], i, source, context, err));
    return RT_OK;
}
rt_status rt_gguf_write(const char *path, const rt_gguf_meta *m, const rt_gguf_entry *entries, int64_t count, rt_gguf_source source, void *context,
                        rt_error *err) {
    rt_file_writer w;
    rt_buf b = {0};
    header(&b, m, entries, count);
    rt_status s = m->bytes.failed || b.failed ? rt_fail(err, RT_E_NOMEM, "%s: out of memory", path) : rt_file_writer_open(path, &w, err);
    if (s == RT_OK) {
        s = add_all(&w, &b, entries, count, source, context, err);
        if (s == RT_OK) s = rt_file_writer_commit(&w, err);
        else rt_file_writer_discard(&w);
    }
    rt_buf_free(&b);
    return s;
}
