/* gguf_read.c - opens a GGUF file: map, walk the header with every length checked against the file, give views.
 *
 * The smallest pair takes 13 bytes and the smallest tensor entry 33, so a count is compared with the bytes left before room for
 * it is made; what is allocated never exceeds a small multiple of the file. */
#include "io/safetensors_names.h"
#include <retort/base/file.h>
#include <retort/io/gguf.h>
#include <retort/tensor/dtype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "values are little-endian and used in place");
enum { MIN_PAIR = 13, MIN_TENSOR = 33, MAX_KEY = 65535, MAX_DEPTH = 8, DEFAULT_ALIGNMENT = 32, MAX_ALIGNMENT = 1 << 20 };

struct rt_gguf {
    rt_arena arena; /* keys, names, tables */
    rt_map map;
    const char *path;
    rt_gguf_value *values;
    rt_gguf_tensor *tensors;
    int64_t value_count, tensor_count;
};

static const size_t kind_bytes[RT_GGUF_KIND_COUNT] = {
#define X(name, number, bytes) [number] = bytes,
    RT_GGUF_KINDS(X)
#undef X
};
static const struct {
    uint32_t number;
    rt_gguf_type_info info;
} types[] = {
#define X(name, number, block, bytes) {number, {#name, block, bytes}},
    RT_GGUF_TYPES(X)
#undef X
};
const rt_gguf_type_info *rt_gguf_type_find(uint32_t type) {
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (types[i].number == type) return &types[i].info;
    return NULL;
}

/* ------------------------------------------------------------------- bytes */

typedef struct reader {
    const unsigned char *data;
    size_t size, at;
    rt_arena *arena;
} reader;
static size_t left(const reader *r) { return r->size - r->at; }

static rt_status ends(const reader *r, const char *what, rt_error *err) {
    return rt_fail(err, RT_E_INPUT, "the file ends at byte %zu, within %s", r->size, what);
}
static rt_status number(reader *r, size_t bytes, const char *what, uint64_t *out, rt_error *err) {
    *out = 0;
    if (left(r) < bytes) return ends(r, what, err);
    memcpy(out, r->data + r->at, bytes);
    r->at += bytes;
    return RT_OK;
}
static rt_status text(reader *r, uint64_t most, const char *what, const unsigned char **s, uint64_t *n, rt_error *err) {
    size_t begin = r->at;
    *s = NULL;
    RT_TRY(number(r, 8, what, n, err));
    if (*n > most || *n > left(r))
        return rt_fail(err, RT_E_INPUT, "%s at byte %zu has %" PRIu64 " bytes, but %s", what, begin, *n,
                       *n > left(r) ? "the file ends before" : "that is too many");
    *s = r->data + r->at;
    r->at += *n;
    return RT_OK;
}
/* A key or a name: one that can stand in a message, as a C string. */
static rt_status name(reader *r, uint64_t most, const char *what, const char **out, rt_error *err) {
    const unsigned char *s;
    uint64_t n;
    size_t begin = r->at;
    RT_TRY(text(r, most, what, &s, &n, err));
    bool plain = n > 0;
    for (uint64_t i = 0; i < n; i++) plain &= s[i] >= 0x20 && s[i] != 0x7f;
    if (!plain) return rt_fail(err, RT_E_INPUT, "%s at byte %zu is empty or has control characters", what, begin);
    char *copy = rt_arena_alloc(r->arena, (size_t)n + 1);
    if (!copy) return rt_fail(err, RT_E_NOMEM, "out of memory");
    memcpy(copy, s, (size_t)n);
    *out = copy;
    return RT_OK;
}

/* ------------------------------------------------------------------- values */

static rt_status kind(reader *r, rt_gguf_kind *out, rt_error *err) {
    uint64_t k;
    size_t begin = r->at;
    *out = RT_GGUF_U8;
    RT_TRY(number(r, 4, "a kind", &k, err));
    if (k >= RT_GGUF_KIND_COUNT) return rt_fail(err, RT_E_INPUT, "the kind at byte %zu is %" PRIu64 ", expected 0 to %d", begin, k, RT_GGUF_KIND_COUNT - 1);
    *out = (rt_gguf_kind)k;
    return RT_OK;
}
static rt_status array(reader *r, rt_gguf_value *v, int depth, rt_error *err);
/* The value's bytes, without looking at what they mean. */
static rt_status payload(reader *r, rt_gguf_kind k, rt_gguf_value *v, int depth, rt_error *err) {
    v->kind = k;
    v->count = 1;
    if (k == RT_GGUF_ARRAY) return array(r, v, depth, err);
    if (k == RT_GGUF_TEXT) return text(r, UINT64_MAX, "a text", &v->data, &v->count, err);
    if (left(r) < kind_bytes[k]) return ends(r, "a value", err);
    v->data = r->data + r->at;
    r->at += kind_bytes[k];
    return k != RT_GGUF_BOOL || *v->data <= 1 ? RT_OK : rt_fail(err, RT_E_INPUT, "the bool at byte %zu is %d, expected 0 or 1", r->at - 1, *v->data);
}
static rt_status items(reader *r, const rt_gguf_value *v, int depth, rt_error *err) {
    for (uint64_t i = 0; i < v->count; i++) {
        rt_gguf_value item;
        RT_TRY(payload(r, v->element, &item, depth, err));
    }
    return RT_OK;
}
static rt_status array(reader *r, rt_gguf_value *v, int depth, rt_error *err) {
    size_t begin = r->at;
    RT_TRY(kind(r, &v->element, err));
    RT_TRY(number(r, 8, "the length of an array", &v->count, err));
    size_t least = kind_bytes[v->element] ? kind_bytes[v->element] : v->element == RT_GGUF_TEXT ? 8 : 12;
    if (v->count > left(r) / least)
        return rt_fail(err, RT_E_INPUT, "the array at byte %zu has %" PRIu64 " elements, more than the file can hold", begin, v->count);
    if (depth == MAX_DEPTH) return rt_fail(err, RT_E_INPUT, "the array at byte %zu lies in %d others", begin, MAX_DEPTH);
    v->data = r->data + r->at;
    if (!kind_bytes[v->element] || v->element == RT_GGUF_BOOL) return items(r, v, depth + 1, err);
    r->at += (size_t)v->count * kind_bytes[v->element];
    return RT_OK;
}

static int by_key(const void *a, const void *b) { return strcmp(((const rt_gguf_value *)a)->key, ((const rt_gguf_value *)b)->key); }
static rt_status read_values(rt_gguf *g, reader *r, uint64_t count, rt_error *err) {
    if (count > left(r) / MIN_PAIR) return rt_fail(err, RT_E_INPUT, "%" PRIu64 " metadata pairs are more than the file can hold", count);
    g->values = rt_arena_alloc(&g->arena, rt_array_bytes((size_t)count, sizeof *g->values));
    if (!g->values) return rt_fail(err, RT_E_NOMEM, "out of memory");
    for (; g->value_count < (int64_t)count; g->value_count++) {
        rt_gguf_value *v = &g->values[g->value_count];
        rt_gguf_kind k;
        RT_TRY(name(r, MAX_KEY, "a key", &v->key, err));
        rt_status s = kind(r, &k, err);
        if (s == RT_OK) s = payload(r, k, v, 0, err);
        if (s != RT_OK) return rt_error_prefix(err, "%.80s", v->key), s;
    }
    qsort(g->values, (size_t)count, sizeof *g->values, by_key);
    for (uint64_t i = 1; i < count; i++)
        if (by_key(&g->values[i - 1], &g->values[i]) == 0) return rt_fail(err, RT_E_INPUT, "the key %.80s stands there twice", g->values[i].key);
    return RT_OK;
}

/* ------------------------------------------------------------------ tensors */

static rt_status read_shape(reader *r, rt_gguf_tensor *t, rt_error *err) {
    uint64_t n, d;
    RT_TRY(number(r, 4, "a number of sizes", &n, err));
    if (n < 1 || n > 4) return rt_fail(err, RT_E_INPUT, "has %" PRIu64 " sizes, expected 1 to 4", n);
    t->ndim = (int)n;
    for (int i = t->ndim - 1; i >= 0; i--) { /* columns come first in the file */
        RT_TRY(number(r, 8, "a size", &d, err));
        if (d < 1 || d > INT64_MAX) return rt_fail(err, RT_E_INPUT, "a size is %" PRIu64, d);
        t->dim[i] = (int64_t)d;
    }
    return RT_OK;
}
static rt_status measure(rt_gguf_tensor *t, uint64_t type, rt_error *err) {
    const rt_gguf_type_info *info = type <= UINT32_MAX ? rt_gguf_type_find((uint32_t)type) : NULL;
    if (!info) return rt_fail(err, RT_E_UNSUPPORTED, "is of type %" PRIu64 ", which is not read", type);
    t->type = (rt_gguf_type)type;
    int64_t columns = t->dim[t->ndim - 1], n = columns / info->block;
    if (columns % info->block)
        return rt_fail(err, RT_E_INPUT, "has rows of %" PRId64 " numbers, no multiple of %s's %" PRId64, columns, info->name, info->block);
    for (int i = 0; i < t->ndim - 1; i++)
        if (__builtin_mul_overflow(n, t->dim[i], &n)) return rt_fail(err, RT_E_INPUT, "has more numbers than can be counted");
    if (__builtin_mul_overflow(n, info->bytes, &n)) return rt_fail(err, RT_E_INPUT, "has more bytes than can be counted");
    t->bytes = (size_t)n;
    return RT_OK;
}
static rt_status read_tensor(reader *r, rt_gguf_tensor *t, uint64_t *offset, rt_error *err) {
    uint64_t type = 0;
    RT_TRY(name(r, 255, "a tensor's name", &t->name, err));
    rt_status s = read_shape(r, t, err);
    if (s == RT_OK) s = number(r, 4, "a type", &type, err);
    if (s == RT_OK) s = measure(t, type, err);
    if (s == RT_OK) s = number(r, 8, "an offset", offset, err);
    if (s != RT_OK) rt_error_prefix(err, "%s", t->name);
    return s;
}

static int by_name(const void *a, const void *b) { return strcmp(((const rt_gguf_tensor *)a)->name, ((const rt_gguf_tensor *)b)->name); }
static int by_place(const void *a, const void *b) {
    const rt_gguf_tensor *x = a, *y = b;
    return x->data != y->data ? (x->data < y->data ? -1 : 1) : 0;
}
static rt_status place(rt_gguf *g, const uint64_t *offsets, size_t begin, uint64_t alignment, rt_error *err) {
    size_t room = g->map.size > begin ? g->map.size - begin : 0;
    for (int64_t i = 0; i < g->tensor_count; i++) {
        rt_gguf_tensor *t = &g->tensors[i];
        if (offsets[i] % alignment) return rt_fail(err, RT_E_INPUT, "%s: offset %" PRIu64 " is no multiple of %" PRIu64, t->name, offsets[i], alignment);
        if (offsets[i] > room || t->bytes > room - offsets[i])
            return rt_fail(err, RT_E_INPUT, "%s: %zu bytes at offset %" PRIu64 ", but the data has %zu", t->name, t->bytes, offsets[i], room);
        t->data = g->map.data + begin + offsets[i];
    }
    qsort(g->tensors, (size_t)g->tensor_count, sizeof *g->tensors, by_place);
    for (int64_t i = 1; i < g->tensor_count; i++) {
        const rt_gguf_tensor *a = &g->tensors[i - 1], *b = &g->tensors[i];
        if ((const char *)a->data + a->bytes > (const char *)b->data) return rt_fail(err, RT_E_INPUT, "%s lies over %s", b->name, a->name);
    }
    qsort(g->tensors, (size_t)g->tensor_count, sizeof *g->tensors, by_name);
    for (int64_t i = 1; i < g->tensor_count; i++)
        if (by_name(&g->tensors[i - 1], &g->tensors[i]) == 0) return rt_fail(err, RT_E_INPUT, "two tensors are named %s", g->tensors[i].name);
    return RT_OK;
}
static rt_status alignment_of(const rt_gguf *g, uint64_t *out, rt_error *err) {
    const rt_gguf_value *v = rt_gguf_find(g, "general.alignment");
    int64_t a = DEFAULT_ALIGNMENT;
    *out = DEFAULT_ALIGNMENT;
    if (v && (!rt_gguf_int(v, &a) || a < 8 || a > MAX_ALIGNMENT || a % 8))
        return rt_fail(err, RT_E_INPUT, "general.alignment is not a multiple of 8 up to %d", MAX_ALIGNMENT);
    *out = (uint64_t)a;
    return RT_OK;
}
static rt_status read_tensors(rt_gguf *g, reader *r, uint64_t count, rt_error *err) {
    uint64_t alignment;
    if (count > left(r) / MIN_TENSOR) return rt_fail(err, RT_E_INPUT, "%" PRIu64 " tensors are more than the file can hold", count);
    RT_TRY(alignment_of(g, &alignment, err));
    g->tensors = rt_arena_alloc(&g->arena, rt_array_bytes((size_t)count, sizeof *g->tensors));
    uint64_t *offsets = rt_arena_alloc(&g->arena, rt_array_bytes((size_t)count, sizeof *offsets));
    if (!g->tensors || !offsets) return rt_fail(err, RT_E_NOMEM, "out of memory");
    for (; g->tensor_count < (int64_t)count; g->tensor_count++) RT_TRY(read_tensor(r, &g->tensors[g->tensor_count], &offsets[g->tensor_count], err));
    return place(g, offsets, (r->at + alignment - 1) / alignment * alignment, alignment, err);
}

/* ---------------------------------------------------------------------- all */

static rt_status read_header(rt_gguf *g, rt_error *err) {
    reader r = {g->map.data, g->map.size, 0, &g->arena};
    uint64_t magic, version, tensors, values;
    RT_TRY(number(&r, 4, "the first four letters", &magic, err));
    if (memcmp(g->map.data, "GGUF", 4) != 0) return rt_fail(err, RT_E_INPUT, "does not begin with GGUF");
    RT_TRY(number(&r, 4, "the version", &version, err));
    if (version != 2 && version != 3)
        return rt_fail(err, RT_E_UNSUPPORTED, "version %" PRIu64 "%s, expected 2 or 3", version, version && version % 65536 == 0 ? " (a big-endian file)" : "");
    RT_TRY(number(&r, 8, "the number of tensors", &tensors, err));
    RT_TRY(number(&r, 8, "the number of metadata pairs", &values, err));
    RT_TRY(read_values(g, &r, values, err));
    return read_tensors(g, &r, tensors, err);
}
rt_status rt_gguf_open(const char *path, rt_gguf **out, rt_error *err) {
    *out = NULL;
    rt_gguf *g = rt_zalloc(sizeof *g);
    if (!g || !(g->path = rt_arena_strdup(&g->arena, path))) return rt_free(g), rt_fail(err, RT_E_NOMEM, "%s: out of memory", path);
    rt_status s = rt_file_map(path, &g->map, err);
    if (s == RT_OK && (s = read_header(g, err)) != RT_OK) rt_error_prefix(err, "%s", path);
    if (s != RT_OK) return rt_gguf_close(g), s;
    *out = g;
    return RT_OK;
}
void rt_gguf_close(rt_gguf *g) {
    if (!g) return;
    rt_file_unmap(&g->map);
    rt_arena_free(&g->arena);
    rt_free(g);
}
bool rt_gguf_is(const char *path) {
    char letters[4];
    struct stat about;
    FILE *f = stat(path, &about) == 0 && S_ISREG(about.st_mode) ? fopen(path, "rb") : NULL; /* a pipe might never answer */
    bool yes = f && fread(letters, 1, 4, f) == 4 && memcmp(letters, "GGUF", 4) == 0;
    if (f) fclose(f);
    return yes;
}

const char *rt_gguf_path(const rt_gguf *g) { return g->path; }
const unsigned char *rt_gguf_bytes(const rt_gguf *g, size_t *size) { return *size = g->map.size, g->map.data; }
int64_t rt_gguf_count(const rt_gguf *g) { return g->tensor_count; }
const rt_gguf_tensor *rt_gguf_at(const rt_gguf *g, int64_t i) { return &g->tensors[i]; }
const rt_gguf_tensor *rt_gguf_tensor_find(const rt_gguf *g, const char *wanted) {
    rt_gguf_tensor key = {.name = wanted};
    return g->tensor_count ? bsearch(&key, g->tensors, (size_t)g->tensor_count, sizeof key, by_name) : NULL;
}
int64_t rt_gguf_value_count(const rt_gguf *g) { return g->value_count; }
const rt_gguf_value *rt_gguf_value_at(const rt_gguf *g, int64_t i) { return &g->values[i]; }
const rt_gguf_value *rt_gguf_find(const rt_gguf *g, const char *wanted) {
    rt_gguf_value key = {.key = wanted};
    return g->value_count ? bsearch(&key, g->values, (size_t)g->value_count, sizeof key, by_key) : NULL;
}
