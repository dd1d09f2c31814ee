/* safetensors_read.c - opens a safetensors file: map, check everything the header says, give views.
 *
 * Nothing of the header is believed before it was compared with the file: the order of checks is length, JSON, each
 * entry on its own (dtype, shape, size), then all entries together (sorted by offset: no overlap, no hole, no rest). */
#include "io/safetensors_names.h"
#include <retort/base/file.h>
#include <retort/base/json.h>
#include <retort/base/mem.h>
#include <retort/io/safetensors.h>
#include <stdlib.h>
#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "tensor data is little-endian and used in place");
enum { PREFIX = 8, MAX_HEADER = 100000000, MAX_NAME = 255 };

typedef struct entry {
    rt_named_tensor named; /* first: rt_safetensors_at gives its address */
    uint64_t begin, end;
} entry;
struct rt_safetensors {
    rt_arena arena; /* names, metadata, entries */
    rt_map map;
    const char *path;
    entry *entries;
    int64_t count;
    const char **metadata; /* key, text, ... */
    size_t metadata_count; /* pairs */
    void **copies;         /* data that could not be used in place */
    int64_t copy_count;
};

/* ------------------------------------------------------------------ entries */

bool rt_tensor_name_plain(const char *name) {
    size_t n = 0;
    for (; name[n]; n++)
        if ((unsigned char)name[n] < 0x20 || name[n] == 0x7f || n >= MAX_NAME) return false;
    return n > 0;
}

static rt_status read_dtype(const json_t *v, rt_dtype *t, rt_error *err) {
    const char *text = json_string_value(v);
    if (!text) return rt_fail(err, RT_E_INPUT, "dtype is not a text");
    for (int i = 1; i < RT_DTYPE_COUNT; i++)
        if (strcmp(text, rt_dtype_file_name((rt_dtype)i)) == 0) return *t = (rt_dtype)i, RT_OK;
    return rt_fail(err, RT_E_INPUT, "dtype %.16s is not one that can be read (F64, F32, F16, BF16, I64, I32, U8)", text);
}
static rt_status read_shape(const json_t *v, rt_tensor *t, rt_error *err) {
    if (!json_is_array(v) || json_array_size(v) > RT_MAX_DIMS)
        return rt_fail(err, RT_E_INPUT, "shape is not an array of at most %d sizes", RT_MAX_DIMS);
    t->ndim = (int)json_array_size(v);
    for (int i = 0; i < t->ndim; i++) {
        const json_t *d = json_array_get(v, (size_t)i);
        if (!json_is_integer(d) || json_integer_value(d) < 0)
            return rt_fail(err, RT_E_INPUT, "shape[%d] is not a size", i);
        t->dim[i] = json_integer_value(d);
    }
    return RT_OK;
}
static rt_status read_offsets(const json_t *v, entry *e, rt_error *err) {
    const json_t *begin = json_array_get(v, 0), *end = json_array_get(v, 1);
    if (json_array_size(v) != 2 || !json_is_integer(begin) || !json_is_integer(end))
        return rt_fail(err, RT_E_INPUT, "data_offsets is not [begin, end]");
    if (json_integer_value(begin) < 0 || json_integer_value(end) < json_integer_value(begin))
        return rt_fail(err, RT_E_INPUT, "data_offsets [%lld, %lld] are not a range", (long long)json_integer_value(begin),
                       (long long)json_integer_value(end));
    e->begin = (uint64_t)json_integer_value(begin);
    e->end = (uint64_t)json_integer_value(end);
    return RT_OK;
}
/* bytes = dtype size x dims, or UINT64_MAX on overflow */
static uint64_t checked_bytes(const rt_tensor *t) {
    uint64_t n = rt_dtype_size(t->dtype);
    for (int i = 0; i < t->ndim; i++)
        if (__builtin_mul_overflow(n, (uint64_t)t->dim[i], &n)) return UINT64_MAX;
    return n;
}

static rt_status read_entry(const json_t *v, entry *e, rt_error *err) {
    rt_tensor *t = &e->named.tensor;
    if (!json_is_object(v) || json_object_size(v) != 3)
        return rt_fail(err, RT_E_INPUT, "expected an object of dtype, shape and data_offsets");
    RT_TRY(read_dtype(json_object_get(v, "dtype"), &t->dtype, err));
    RT_TRY(read_shape(json_object_get(v, "shape"), t, err));
    RT_TRY(read_offsets(json_object_get(v, "data_offsets"), e, err));
    uint64_t bytes = checked_bytes(t);
    char text[96];
    if (bytes != e->end - e->begin)
        return rt_fail(err, RT_E_INPUT, "data_offsets span %llu bytes, but %s needs %llu",
                       (unsigned long long)(e->end - e->begin), rt_tensor_text(t, text), (unsigned long long)bytes);
    return RT_OK;
}

/* --------------------------------------------------------------- all of them */

static int by_offset(const void *a, const void *b) {
    const entry *x = a, *y = b;
    if (x->begin != y->begin) return x->begin < y->begin ? -1 : 1;
    return x->end < y->end ? -1 : x->end > y->end;
}
static int by_name(const void *a, const void *b) {
    return strcmp(((const entry *)a)->named.name, ((const entry *)b)->named.name);
}

static rt_status check_layout(rt_safetensors *s, uint64_t data_bytes, rt_error *err) {
    uint64_t at = 0;
    qsort(s->entries, (size_t)s->count, sizeof *s->entries, by_offset);
    for (int64_t i = 0; i < s->count; i++) {
        const entry *e = &s->entries[i];
        if (e->end > data_bytes)
            return rt_fail(err, RT_E_INPUT, "%s ends at byte %llu of the data, but the file holds %llu", e->named.name,
                           (unsigned long long)e->end, (unsigned long long)data_bytes);
        if (e->begin != at)
            return rt_fail(err, RT_E_INPUT, "%s begins at byte %llu of the data, expected %llu (%s)", e->named.name,
                           (unsigned long long)e->begin, (unsigned long long)at, e->begin < at ? "overlap" : "hole");
        at = e->end;
    }
    if (at != data_bytes)
        return rt_fail(err, RT_E_INPUT, "the tensors end at byte %llu of the data, but the file holds %llu",
                       (unsigned long long)at, (unsigned long long)data_bytes);
    qsort(s->entries, (size_t)s->count, sizeof *s->entries, by_name);
    return RT_OK;
}

static rt_status keep_metadata(rt_safetensors *s, const json_t *v, rt_error *err) {
    if (!json_is_object(v)) return rt_fail(err, RT_E_INPUT, "__metadata__ is not an object");
    s->metadata = rt_arena_alloc(&s->arena, rt_array_bytes(json_object_size(v), 2 * sizeof *s->metadata));
    if (!s->metadata) return rt_fail(err, RT_E_NOMEM, "out of memory");
    const char *key;
    json_t *text;
    json_object_foreach((json_t *)(uintptr_t)v, key, text) {
        if (!json_is_string(text)) return rt_fail(err, RT_E_INPUT, "__metadata__ holds something that is not a text");
        char *k = rt_arena_strdup(&s->arena, key), *t = rt_arena_strdup(&s->arena, json_string_value(text));
        if (!k || !t) return rt_fail(err, RT_E_NOMEM, "out of memory");
        s->metadata[2 * s->metadata_count] = k;
        s->metadata[2 * s->metadata_count++ + 1] = t;
    }
    return RT_OK;
}

static rt_status read_header(rt_safetensors *s, json_t *header, rt_error *err) {
    if (!json_is_object(header)) return rt_fail(err, RT_E_INPUT, "the header is not an object");
    s->entries = rt_arena_alloc(&s->arena, rt_array_bytes(json_object_size(header), sizeof *s->entries));
    if (!s->entries) return rt_fail(err, RT_E_NOMEM, "out of memory");
    const char *name;
    json_t *value;
    json_object_foreach(header, name, value) {
        if (strcmp(name, "__metadata__") == 0) {
            RT_TRY(keep_metadata(s, value, err));
            continue;
        }
        if (!rt_tensor_name_plain(name)) return rt_fail(err, RT_E_INPUT, "a tensor's name is empty, too long or has control characters");
        entry *e = &s->entries[s->count++];
        rt_status status = read_entry(value, e, err);
        if (status != RT_OK) return rt_error_prefix(err, "%s", name), status;
        if (!(e->named.name = rt_arena_strdup(&s->arena, name))) return rt_fail(err, RT_E_NOMEM, "out of memory");
    }
    return RT_OK;
}

/* -------------------------------------------------------------------- views */

static rt_status copy_aligned(rt_safetensors *s, rt_tensor *t, const void *bytes, rt_error *err) {
    if (!s->copies) s->copies = rt_arena_alloc(&s->arena, rt_array_bytes((size_t)s->count, sizeof *s->copies));
    if (!s->copies || !(t->data = rt_alloc(rt_tensor_bytes(t)))) return rt_fail(err, RT_E_NOMEM, "out of memory");
    s->copies[s->copy_count++] = t->data;
    memcpy(t->data, bytes, rt_tensor_bytes(t));
    return RT_OK;
}
static rt_status make_views(rt_safetensors *s, const uint8_t *data, rt_error *err) {
    for (int64_t i = 0; i < s->count; i++) {
        rt_tensor *t = &s->entries[i].named.tensor;
        const uint8_t *bytes = data + s->entries[i].begin;
        if ((uintptr_t)bytes % rt_dtype_size(t->dtype)) RT_TRY(copy_aligned(s, t, bytes, err));
        else t->data = (void *)(uintptr_t)bytes;
    }
    return RT_OK;
}

static rt_status header_length(const rt_map *m, uint64_t *length, rt_error *err) {
    *length = 0;
    if (m->size < PREFIX)
        return rt_fail(err, RT_E_INPUT, "the file has %zu bytes, too few for a safetensors header", m->size);
    for (int i = PREFIX - 1; i >= 0; i--) *length = *length << 8 | m->data[i];
    if (*length > MAX_HEADER || *length > m->size - PREFIX)
        return rt_fail(err, RT_E_INPUT, "header length %llu at byte 0 is beyond the file (%zu bytes) or the limit of %d",
                       (unsigned long long)*length, m->size, MAX_HEADER);
    return RT_OK;
}

static rt_status open_mapped(rt_safetensors *s, rt_error *err) {
    uint64_t length;
    RT_TRY(header_length(&s->map, &length, err));
    const uint8_t *text = s->map.data + PREFIX;
    json_t *header = NULL;
    RT_TRY(rt_json_parse((const char *)text, (size_t)length, "header", &header, err));
    rt_status status = read_header(s, header, err);
    json_decref(header);
    RT_TRY(status);
    RT_TRY(check_layout(s, s->map.size - PREFIX - length, err));
    return make_views(s, text + length, err);
}

rt_status rt_safetensors_open(const char *path, rt_safetensors **out, rt_error *err) {
    *out = NULL;
    rt_safetensors *s = rt_zalloc(sizeof *s);
    if (!s || !(s->path = rt_arena_strdup(&s->arena, path))) return rt_free(s), rt_fail(err, RT_E_NOMEM, "out of memory");
    rt_status status = rt_file_map(path, &s->map, err);
    if (status == RT_OK && (status = open_mapped(s, err)) != RT_OK) rt_error_prefix(err, "%s", path);
    if (status != RT_OK) return rt_safetensors_close(s), status;
    *out = s;
    return RT_OK;
}
void rt_safetensors_close(rt_safetensors *s) {
    if (!s) return;
    for (int64_t i = 0; i < s->copy_count; i++) rt_free(s->copies[i]);
    rt_file_unmap(&s->map);
    rt_arena_free(&s->arena);
    rt_free(s);
}

/* ------------------------------------------------------------------ look-up */

int64_t rt_safetensors_count(const rt_safetensors *s) { return s->count; }
const char *rt_safetensors_path(const rt_safetensors *s) { return s->path; }
const rt_named_tensor *rt_safetensors_at(const rt_safetensors *s, int64_t i) { return &s->entries[i].named; }
const rt_tensor *rt_safetensors_find(const rt_safetensors *s, const char *name) {
    entry key = {.named.name = name};
    const entry *e = bsearch(&key, s->entries, (size_t)s->count, sizeof key, by_name);
    return e ? &e->named.tensor : NULL;
}
const char *rt_safetensors_metadata(const rt_safetensors *s, const char *key) {
    for (size_t i = 0; i < s->metadata_count; i++)
        if (strcmp(s->metadata[2 * i], key) == 0) return s->metadata[2 * i + 1];
    return NULL;
}
