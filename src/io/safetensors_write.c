/* safetensors_write.c - writes a safetensors file: header from the shapes alone, then each tensor's bytes from where they
 * lie. The order (element size descending, then name) keeps every tensor aligned to its own element size. */
#include "io/safetensors_names.h"
#include <retort/base/file.h>
#include <retort/base/json.h>
#include <retort/io/safetensors.h>
#include <stdlib.h>
#include <string.h>

enum { ALIGN = 64, PREFIX = 8 };

typedef struct item {
    const rt_named_tensor *named;
    int64_t index; /* as the caller counts */
} item;

static int by_size_then_name(const void *a, const void *b) {
    const rt_named_tensor *x = ((const item *)a)->named, *y = ((const item *)b)->named;
    size_t i = rt_dtype_size(x->tensor.dtype), j = rt_dtype_size(y->tensor.dtype);
    return i != j ? (i > j ? -1 : 1) : strcmp(x->name, y->name);
}

static rt_status check_items(const item *items, int64_t count, rt_error *err) {
    for (int64_t i = 0; i < count; i++) {
        const rt_named_tensor *n = items[i].named;
        if (!rt_tensor_name_plain(n->name) || strcmp(n->name, "__metadata__") == 0)
            return rt_fail(err, RT_E_ARG, "tensor %lld has a name that cannot be written", (long long)items[i].index);
        if (n->tensor.dtype == RT_NONE) return rt_fail(err, RT_E_ARG, "%s has no dtype", n->name);
    }
    return RT_OK;
}

/* New references; NULL is out of memory. */
static json_t *header_entry(const rt_tensor *t, int64_t begin) {
    json_t *shape = json_array();
    for (int i = 0; i < t->ndim; i++)
        if (json_array_append_new(shape, json_integer(t->dim[i])) != 0) return json_decref(shape), NULL;
    return json_pack("{s:s, s:o, s:[I, I]}", "dtype", rt_dtype_file_name(t->dtype), "shape", shape, "data_offsets",
                     (json_int_t)begin, (json_int_t)(begin + (int64_t)rt_tensor_bytes(t)));
}
static json_t *metadata_object(const char *const *pairs) {
    static const char *const standard[] = {"format", "pt", NULL};
    json_t *o = json_object();
    for (const char *const *p = pairs ? pairs : standard; *p; p += 2)
        if (json_object_set_new(o, p[0], json_string(p[1])) != 0) return json_decref(o), NULL;
    return o;
}

static rt_status header_json(const item *items, int64_t count, const char *const *metadata, json_t *out, rt_error *err) {
    int64_t at = 0;
    if (json_object_set_new(out, "__metadata__", metadata_object(metadata)) != 0) return rt_fail(err, RT_E_NOMEM, "out of memory");
    for (int64_t i = 0; i < count; i++) {
        const rt_named_tensor *n = items[i].named;
        if (json_object_get(out, n->name)) return rt_fail(err, RT_E_ARG, "two tensors are named %s", n->name);
        if (json_object_set_new(out, n->name, header_entry(&n->tensor, at)) != 0) return rt_fail(err, RT_E_NOMEM, "out of memory");
        at += (int64_t)rt_tensor_bytes(&n->tensor);
    }
    return RT_OK;
}

/* Prefix, JSON and spaces up to a multiple of 64. */
static rt_status header_text(const item *items, int64_t count, const char *const *metadata, rt_buf *out, rt_error *err) {
    json_t *header = json_object();
    if (!header) return rt_fail(err, RT_E_NOMEM, "out of memory");
    rt_status status = header_json(items, count, metadata, header, err);
    rt_buf_add(out, "\0\0\0\0\0\0\0", PREFIX);
    if (status == RT_OK) rt_json_dump(header, 0, out);
    json_decref(header);
    while (out->size % ALIGN && !out->failed) rt_buf_putc(out, ' ');
    if (status != RT_OK) return status;
    if (out->failed) return rt_fail(err, RT_E_NOMEM, "out of memory");
    for (int i = 0; i < PREFIX; i++) out->data[i] = (char)((uint64_t)(out->size - PREFIX) >> 8 * i);
    return RT_OK;
}

static rt_status add_tensors(rt_file_writer *w, const item *items, int64_t count, const rt_safetensors_write_options *o,
                             rt_error *err) {
    for (int64_t i = 0; i < count; i++) {
        const rt_tensor *t = &items[i].named->tensor;
        const void *data = t->data;
        if (o && o->source) RT_TRY(o->source(o->context, items[i].index, &data, err));
        RT_TRY(rt_file_writer_add(w, data, rt_tensor_bytes(t), err));
    }
    return RT_OK;
}

static rt_status write_sorted(const char *path, const item *items, int64_t count, const rt_safetensors_write_options *o,
                              rt_error *err) {
    rt_buf header = {0};
    rt_file_writer w;
    rt_status status = check_items(items, count, err);
    if (status == RT_OK) status = header_text(items, count, o ? o->metadata : NULL, &header, err);
    if (status != RT_OK) rt_error_prefix(err, "%s", path);
    if (status == RT_OK && (status = rt_file_writer_open(path, &w, err)) == RT_OK) {
        status = rt_file_writer_add(&w, header.data, header.size, err);
        if (status == RT_OK) status = add_tensors(&w, items, count, o, err);
        if (status == RT_OK) status = rt_file_writer_commit(&w, err);
        else rt_file_writer_discard(&w);
    }
    rt_buf_free(&header);
    return status;
}

rt_status rt_safetensors_write(const char *path, const rt_named_tensor *tensors, int64_t count,
                               const rt_safetensors_write_options *options, rt_error *err) {
    item *items = rt_alloc(rt_array_bytes((size_t)count, sizeof *items));
    if (!items) return rt_fail(err, RT_E_NOMEM, "%s: out of memory", path);
    for (int64_t i = 0; i < count; i++) items[i] = (item){&tensors[i], i};
    qsort(items, (size_t)count, sizeof *items, by_size_then_name);
    rt_status status = write_sorted(path, items, count, options, err);
    rt_free(items);
    return status;
}
