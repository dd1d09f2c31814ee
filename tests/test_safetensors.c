/* test_safetensors.c - files written and read again, files made by others, headers that lie. Damage of every kind is in
 * test_damage_safetensors.c. */
#include "harness.h"
#include <retort/base/file.h>
#include <retort/base/mem.h>
#include <retort/io/safetensors.h>
#include <stdio.h>
#include <string.h>

static const char *path_in(const char *dir, const char *name) {
    static char path[1024];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    return path;
}
/* A file of the given header and `data` bytes 0, 1, 2, ... */
static const char *make_file(const char *header, size_t data) {
    static char path[1024];
    rt_error err = {0};
    rt_buf b = {0};
    uint64_t n = strlen(header);
    snprintf(path, sizeof path, "%s", path_in(rt_test_dir(), "x.safetensors"));
    rt_buf_add(&b, &n, 8);
    rt_buf_puts(&b, header);
    for (size_t i = 0; i < data; i++) rt_buf_putc(&b, (char)i);
    RT_OK_OR_FAIL(rt_file_write_atomic(path, b.data, b.size, &err));
    rt_buf_free(&b);
    return path;
}

static void refused(const char *header, size_t data, const char *text) {
    rt_error err = {0};
    rt_safetensors *s;
    const char *path = make_file(header, data);
    rt_status status = rt_safetensors_open(path, &s, &err);
    RT_CHECK(status == RT_E_INPUT, "%s: %s", header, rt_status_name(status));
    RT_CHECK(strstr(err.text, text), "'%s' is not in '%s'", text, err.text);
    RT_CHECK(strncmp(err.text, path, strlen(path)) == 0 && !strchr(err.text, '\n'), "names no file: %s", err.text);
    CU_ASSERT_EQUAL(rt_safetensors_open(path, &s, NULL), RT_E_INPUT); /* no text wanted: the same status */
}
#define ENTRY(name, dtype, shape, begin, end)                                                                          \
    "\"" name "\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":[" #begin "," #end "]}"
static void lying_headers_are_refused(void) {
    refused("{" ENTRY("a", "F32", "[2]", 0, 8) "," ENTRY("b", "F32", "[2]", 4, 12) "}", 12, "b begins at byte 4 of the data, expected 8 (overlap)");
    refused("{" ENTRY("a", "F32", "[2]", 0, 8) "," ENTRY("b", "F32", "[2]", 12, 20) "}", 20, "(hole)");
    refused("{" ENTRY("a", "F32", "[2]", 4, 12) "}", 12, "(hole)");
    refused("{" ENTRY("a", "F32", "[2]", 0, 8) "}", 7, "a ends at byte 8 of the data, but the file holds 7");
    refused("{" ENTRY("a", "F32", "[2]", 0, 8) "}", 9, "the tensors end at byte 8");
    refused("{" ENTRY("a", "F16", "[2]", 0, 8) "}", 8, "a: data_offsets span 8 bytes, but f16 [2] needs 4");
    refused("{" ENTRY("a", "F8_E4M3", "[8]", 0, 8) "}", 8, "a: dtype F8_E4M3");
    refused("{" ENTRY("a", "f32", "[2]", 0, 8) "}", 8, "dtype f32");
    refused("{" ENTRY("a", "", "[2]", 0, 8) "}", 8, "dtype");
    refused("{" ENTRY("a", "F32", "[-2]", 0, 8) "}", 8, "shape[0] is not a size");
    refused("{" ENTRY("a", "F32", "[2.0]", 0, 8) "}", 8, "shape[0]");
    refused("{" ENTRY("a", "F32", "[1,1,1,1,2]", 0, 8) "}", 8, "at most 4");
    refused("{" ENTRY("a", "F32", "[4611686018427387904,4]", 0, 0) "}", 0, "span 0 bytes");
    refused("{" ENTRY("a", "F32", "[2]", 8, 0) "}", 8, "are not a range");
    refused("{" ENTRY("a", "F32", "[2]", -8, 0) "}", 8, "are not a range");
    refused("{" ENTRY("a", "F32", "[2]", 9223372036854775800, 9223372036854775807) "}", 8, "span 7 bytes");
    refused("{" ENTRY("a", "U8", "[7]", 9223372036854775800, 9223372036854775807) "}", 8, "a ends at byte");
    refused("{" ENTRY("a", "F32", "[2]", 0, 8) "," ENTRY("a", "F32", "[2]", 8, 16) "}", 16, "duplicate");
    refused("{" ENTRY("", "F32", "[2]", 0, 8) "}", 8, "name");
    refused("{" ENTRY("a\\nb", "F32", "[2]", 0, 8) "}", 8, "control characters");
    refused("{\"a\":{\"dtype\":\"F32\",\"shape\":[2]}}", 8, "expected an object");
    refused("{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0]}}", 8, "[begin, end]");
    refused("{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"offsets\":[0,8]}}", 8, "[begin, end]");
    refused("{\"__metadata__\":{\"a\":1}}", 0, "not a text");
    refused("{\"__metadata__\":[]}", 0, "not an object");
    refused("[]", 0, "not an object");
    refused("{", 0, "header:1");
    refused("", 0, "header:1");
}
static void header_lengths_are_bounded(void) {
    const uint64_t lengths[] = {3, 100, 100000001, UINT64_MAX, UINT64_MAX - 7, (uint64_t)1 << 63};
    rt_error err;
    rt_safetensors *s;
    const char *path = path_in(rt_test_dir(), "x");
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        char bytes[10] = {0, 0, 0, 0, 0, 0, 0, 0, '{', '}'};
        memcpy(bytes, &lengths[i], 8);
        RT_OK_OR_FAIL(((err = (rt_error){0}), rt_file_write_atomic(path, bytes, sizeof bytes, &err)));
        CU_ASSERT_EQUAL(rt_safetensors_open(path, &s, &err), RT_E_INPUT);
        RT_CHECK(strstr(err.text, "header length"), "%s", err.text);
    }
    err = (rt_error){0};
    CU_ASSERT_EQUAL(rt_safetensors_open("/nonexistent/x", &s, &err), RT_E_INPUT);
    CU_ASSERT_PTR_NULL(s);
}

/* ------------------------------------------------------------ write and read */

enum { COUNT = 6 };
static double numbers[3] = {1, 2, 3};
static float matrix[6] = {1, 2, 3, 4, 5, 6};
static uint16_t halves[5] = {0x3c00, 0x4000, 1, 2, 0x7bff};
static uint8_t bytes[3] = {7, 8, 9};
static int64_t steps[1] = {-5};
static void tensors(rt_named_tensor t[COUNT]) {
    t[0] = (rt_named_tensor){"u \"8\" \xc3\xa9", rt_tensor_1d(RT_U8, bytes, 3)};
    t[1] = (rt_named_tensor){"h", rt_tensor_1d(RT_F16, halves, 5)};
    t[2] = (rt_named_tensor){"m", rt_tensor_2d(RT_F32, matrix, 2, 3)};
    t[3] = (rt_named_tensor){"d", rt_tensor_1d(RT_F64, numbers, 3)};
    t[4] = (rt_named_tensor){"scalar", rt_tensor_make(RT_I64, 0, NULL, steps)};
    t[5] = (rt_named_tensor){"empty", rt_tensor_2d(RT_BF16, NULL, 0, 4)};
}
static void same_tensors(const rt_safetensors *s, const rt_named_tensor *t, int64_t count) {
    CU_ASSERT_EQUAL(rt_safetensors_count(s), count);
    for (int64_t i = 0; i < count; i++) {
        const rt_tensor *x = rt_safetensors_find(s, t[i].name);
        CU_ASSERT_PTR_NOT_NULL_FATAL(x);
        CU_ASSERT_TRUE(x->dtype == t[i].tensor.dtype && rt_tensor_same_shape(x, &t[i].tensor));
        CU_ASSERT_EQUAL((uintptr_t)x->data % rt_dtype_size(x->dtype), 0);
        size_t n = rt_tensor_bytes(x);
        CU_ASSERT_TRUE(n == 0 || memcmp(x->data, t[i].tensor.data, n) == 0);
        if (i > 0) CU_ASSERT_TRUE(strcmp(rt_safetensors_at(s, i - 1)->name, rt_safetensors_at(s, i)->name) < 0);
    }
}
static void what_is_written_is_read(void) {
    rt_named_tensor t[COUNT];
    rt_error err = {0};
    rt_safetensors *s;
    int64_t live = rt_mem_stats_get().live_blocks;
    const char *const metadata[] = {"format", "pt", "note", "x \"y\"", NULL};
    rt_safetensors_write_options options = {.metadata = metadata};
    const char *path = path_in(rt_test_dir(), "x.safetensors");
    tensors(t);
    RT_OK_OR_FAIL(rt_safetensors_write(path, t, COUNT, &options, &err));
    RT_OK_OR_FAIL(rt_safetensors_open(path, &s, &err));
    same_tensors(s, t, COUNT);
    CU_ASSERT_STRING_EQUAL(rt_safetensors_metadata(s, "note"), "x \"y\"");
    CU_ASSERT_PTR_NULL(rt_safetensors_metadata(s, "other"));
    CU_ASSERT_PTR_NULL(rt_safetensors_find(s, "x"));
    CU_ASSERT_STRING_EQUAL(rt_safetensors_path(s), path);
    CU_ASSERT_EQUAL((uintptr_t)rt_safetensors_find(s, "d")->data % 64, 0); /* the widest come first */
    rt_safetensors_close(s);
    rt_safetensors_close(NULL);
    CU_ASSERT_EQUAL(rt_mem_stats_get().live_blocks, live);
}

typedef struct shared_buffer {
    const rt_named_tensor *t;
    char bytes[64];
    int calls, fail_at;
} shared_buffer;
static rt_status into_shared(void *context, int64_t i, const void **data, rt_error *err) {
    shared_buffer *b = context;
    if (++b->calls == b->fail_at) return rt_fail(err, RT_E_NUMERIC, "value out of range");
    const rt_tensor *t = &b->t[i].tensor;
    if (rt_tensor_bytes(t)) memcpy(b->bytes, t->data, rt_tensor_bytes(t));
    *data = b->bytes;
    return RT_OK;
}
static void bytes_do_not_depend_on_order_or_source(void) {
    rt_named_tensor t[COUNT], reversed[COUNT];
    rt_error err = {0};
    rt_buf a = {0}, b = {0};
    const char *path = path_in(rt_test_dir(), "x.safetensors");
    tensors(t);
    for (int i = 0; i < COUNT; i++) reversed[COUNT - 1 - i] = t[i];
    shared_buffer shared = {.t = reversed};
    rt_safetensors_write_options options = {.source = into_shared, .context = &shared};
    RT_OK_OR_FAIL(rt_safetensors_write(path, t, COUNT, NULL, &err));
    RT_OK_OR_FAIL(rt_file_read(path, 1 << 20, &a, &err));
    RT_OK_OR_FAIL(rt_safetensors_write(path, reversed, COUNT, &options, &err));
    RT_OK_OR_FAIL(rt_file_read(path, 1 << 20, &b, &err));
    CU_ASSERT_TRUE(a.size == b.size && memcmp(a.data, b.data, a.size) == 0);
    shared.calls = 0, shared.fail_at = 3;
    CU_ASSERT_EQUAL(rt_safetensors_write(path, reversed, COUNT, &options, &err), RT_E_NUMERIC);
    rt_buf_free(&b);
    err = (rt_error){0};
    RT_OK_OR_FAIL(rt_file_read(path, 1 << 20, &b, &err)); /* the old file is untouched */
    CU_ASSERT_TRUE(a.size == b.size && memcmp(a.data, b.data, a.size) == 0);
    rt_buf_free(&a);
    rt_buf_free(&b);
}
static void what_cannot_be_written_is_refused(void) {
    rt_named_tensor twice[2] = {{"a", rt_tensor_1d(RT_U8, bytes, 3)}, {"a", rt_tensor_1d(RT_U8, bytes, 2)}};
    rt_error err = {0};
    const char *path = path_in(rt_test_dir(), "x.safetensors");
    CU_ASSERT_EQUAL(rt_safetensors_write(path, twice, 2, NULL, &err), RT_E_ARG);
    RT_CHECK(strstr(err.text, "two tensors are named a"), "%s", err.text);
    twice[0].name = "__metadata__";
    CU_ASSERT_EQUAL(rt_safetensors_write(path, twice, 2, NULL, &err), RT_E_ARG);
    CU_ASSERT_FALSE(rt_file_exists(path));
    CU_ASSERT_EQUAL(rt_safetensors_write("/nonexistent/x", twice + 1, 1, NULL, &err), RT_E_IO);
}

static void unaligned_data_is_copied(void) {
    rt_error err = {0};
    rt_safetensors *s;
    /* "{" ENTRY "} " of odd length: the data starts at an odd address */
    const char *header = "{" ENTRY("ab", "F32", "[2]", 0, 8) "," ENTRY("c", "U8", "[1]", 8, 9) "," ENTRY("d", "F16", "[1]", 9, 11) "}";
    char padded[400];
    for (int pad = 0; pad < 8; pad++) {
        snprintf(padded, sizeof padded, "%s%*s", header, pad, "");
        RT_OK_OR_FAIL(rt_safetensors_open(make_file(padded, 11), &s, &err));
        const uint8_t expected[11] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10};
        CU_ASSERT_TRUE((uintptr_t)rt_safetensors_find(s, "ab")->data % 4 == 0);
        CU_ASSERT_TRUE(memcmp(rt_safetensors_find(s, "ab")->data, expected, 8) == 0);
        CU_ASSERT_TRUE(memcmp(rt_safetensors_find(s, "d")->data, expected + 9, 2) == 0);
        rt_safetensors_close(s);
    }
    RT_OK_OR_FAIL(rt_safetensors_open(make_file("{}", 0), &s, &err));
    CU_ASSERT_EQUAL(rt_safetensors_count(s), 0);
    rt_safetensors_close(s);
}

/* ----------------------------------------------------------------- resources */

static void running_out_of_memory_is_clean(void) {
    rt_named_tensor t[COUNT];
    rt_error err = {0};
    rt_safetensors *s;
    const char *path = path_in(rt_test_dir(), "x.safetensors");
    int64_t live = rt_mem_stats_get().live_blocks;
    tensors(t);
    rt_status status = RT_E_NOMEM;
    for (int64_t n = 1; status != RT_OK && n < 10000; n++) {
        rt_mem_fail_at(n), err = (rt_error){0};
        status = rt_safetensors_write(path, t, COUNT, NULL, &err);
        RT_CHECK(status == RT_OK || status == RT_E_NOMEM, "%s", err.text);
        CU_ASSERT_EQUAL(rt_mem_stats_get().live_blocks, live);
    }
    rt_mem_fail_at(0), status = RT_E_NOMEM;
    for (int64_t n = 1; status != RT_OK && n < 10000; n++) {
        rt_mem_fail_at(n), err = (rt_error){0};
        status = rt_safetensors_open(path, &s, &err);
        RT_CHECK(status == RT_OK || status == RT_E_NOMEM, "%s", err.text);
        rt_safetensors_close(s);
        CU_ASSERT_EQUAL(rt_mem_stats_get().live_blocks, live);
    }
    rt_mem_fail_at(0);
    CU_ASSERT_EQUAL(status, RT_OK);
}
static void a_full_disk_is_clean(void) {
    rt_named_tensor t[COUNT];
    rt_error err = {0};
    const char *path = path_in(rt_test_dir(), "x.safetensors");
    tensors(t);
    rt_status status = RT_E_IO;
    int failures = 0;
    for (int64_t n = 1; status != RT_OK && n < 1000; n++) {
        rt_file_fail_at(n), err = (rt_error){0};
        status = rt_safetensors_write(path, t, COUNT, NULL, &err);
        failures += status == RT_E_IO;
        RT_CHECK(status == RT_OK || status == RT_E_IO, "%s", err.text);
    }
    rt_file_fail_at(0);
    CU_ASSERT_TRUE(failures > COUNT);
}

static void a_file_of_another_writer_is_read(void) {
    const char *path = rt_fixture("models/mixtral/f16/model.safetensors");
    rt_error err = {0};
    rt_safetensors *s;
    if (!path) return;
    RT_OK_OR_FAIL(rt_safetensors_open(path, &s, &err));
    const rt_tensor *w = rt_safetensors_find(s, "model.layers.2.block_sparse_moe.experts.7.w2.weight");
    CU_ASSERT_PTR_NOT_NULL_FATAL(w);
    CU_ASSERT_TRUE(w->dtype == RT_F16 && w->ndim == 2 && w->dim[0] == 64 && w->dim[1] == 12);
    CU_ASSERT_STRING_EQUAL(rt_safetensors_metadata(s, "format"), "pt");
    rt_safetensors_close(s);
}

RT_SUITE(safetensors) {
    RT_TEST(lying_headers_are_refused);
    RT_TEST(header_lengths_are_bounded);
    RT_TEST(what_is_written_is_read);
    RT_TEST(bytes_do_not_depend_on_order_or_source);
    RT_TEST(what_cannot_be_written_is_refused);
    RT_TEST(unaligned_data_is_copied);
    RT_TEST(running_out_of_memory_is_clean);
    RT_TEST(a_full_disk_is_clean);
    RT_TEST(a_file_of_another_writer_is_read);
}
