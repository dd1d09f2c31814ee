/* test_damage_safetensors.c - safetensors files that are cut, flipped and spliced, and headers made to harm. */
#include "damage.h"
#include "harness.h"
#include <retort/base/file.h>
#include <retort/io/safetensors.h>
#include <stdio.h>
#include <string.h>

/* ------------------------------------------------------------------- reader */

/* What opens must be consistent: names in order, tensors that fill the file, every byte readable. */
static char path[1024];

static rt_status open_and_touch(void *context, rt_error *err) {
    (void)context;
    rt_safetensors *s;
    int64_t size = 0;
    size_t bytes = 0;
    volatile uint64_t sum = 0;
    RT_TRY(rt_safetensors_open(path, &s, err));
    for (int64_t i = 0; i < rt_safetensors_count(s); i++) {
        const rt_named_tensor *t = rt_safetensors_at(s, i);
        sum += rt_tensor_hash(&t->tensor);
        bytes += rt_tensor_bytes(&t->tensor);
        CU_ASSERT_PTR_EQUAL(rt_safetensors_find(s, t->name), &t->tensor);
        if (i > 0) CU_ASSERT_TRUE(strcmp(rt_safetensors_at(s, i - 1)->name, t->name) < 0);
    }
    const char *format = rt_safetensors_metadata(s, "format");
    sum += format ? strlen(format) : 0;
    rt_safetensors_close(s);
    RT_TRY(rt_file_size(path, &size, err));
    CU_ASSERT_TRUE(bytes + 10 <= (size_t)size); /* length, "{}" */
    return RT_OK;
}

static rt_damage patient(void) {
    static double numbers[3] = {1, 2, 3};
    static float matrix[6] = {1, 2, 3, 4, 5, 6};
    static uint16_t halves[5] = {0x3c00, 0x4000, 1, 2, 0x7bff};
    static uint8_t bytes[3] = {7, 8, 9};
    static int64_t steps[1] = {-5};
    rt_named_tensor t[] = {{"u \"8\" \xc3\xa9", rt_tensor_1d(RT_U8, bytes, 3)}, {"h", rt_tensor_1d(RT_F16, halves, 5)},
                           {"m", rt_tensor_2d(RT_F32, matrix, 2, 3)},           {"d", rt_tensor_1d(RT_F64, numbers, 3)},
                           {"scalar", rt_tensor_make(RT_I64, 0, NULL, steps)},  {"empty", rt_tensor_2d(RT_BF16, NULL, 0, 4)}};
    rt_error err = {0};
    int64_t size = 0;
    snprintf(path, sizeof path, "%s/x.safetensors", rt_test_dir());
    RT_OK_OR_FAIL(rt_safetensors_write(path, t, sizeof t / sizeof *t, NULL, &err));
    RT_OK_OR_FAIL(rt_file_size(path, &size, &err));
    return (rt_damage){.path = path, .read = open_and_touch, .whole = (size_t)size};
}
static void every_cut_is_refused(void) {
    rt_damage d = patient();
    rt_damage_cut(&d);
    CU_ASSERT_EQUAL(d.accepted, 1); /* the sound one */
}
static void every_flip_of_the_header_is_survived(void) {
    rt_damage d = patient();
    d.to = d.whole - 69; /* 3 + 10 + 24 + 24 + 8 bytes of data */
    rt_damage_flip(&d);
    CU_ASSERT_TRUE(d.cases > 8000 && d.accepted < d.cases / 2);
}
static void splices_are_survived(void) {
    rt_damage d = patient();
    rt_damage_splice(&d);
    CU_ASSERT_TRUE(d.accepted < d.cases);
}

/* -------------------------------------------------------------- hostile headers */

/* A header of our own and `data` bytes; `length` replaces its true length when it is not 0. */
static rt_status with_header(rt_damage *d, const rt_buf *header, uint64_t length, size_t data, const char *what) {
    rt_buf b = {0};
    uint64_t n = length ? length : header->size;
    rt_buf_add(&b, &n, 8);
    rt_buf_add(&b, header->data, header->size);
    for (size_t i = 0; i < data; i++) rt_buf_putc(&b, (char)i);
    rt_status s = rt_damage_replace(d, b.data, b.size, what);
    rt_buf_free(&b);
    return s;
}
static rt_status with_text(rt_damage *d, const char *header, size_t data) {
    rt_buf b = {0};
    rt_buf_puts(&b, header);
    rt_status s = with_header(d, &b, 0, data, header);
    rt_buf_free(&b);
    return s;
}
#define ENTRY(name, dtype, shape, begin, end)                                                                          \
    "\"" name "\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":[" #begin "," #end "]}"
static void refused(rt_damage *d, const char *header, size_t data) {
    rt_status s = with_text(d, header, data);
    RT_CHECK(s == RT_E_INPUT, "%.100s: %s", header, rt_status_name(s));
}
static void accepted(rt_damage *d, const char *header, size_t data) {
    rt_status s = with_text(d, header, data);
    RT_CHECK(s == RT_OK, "%.100s: %s", header, rt_status_name(s));
}

static void numbers_beyond_every_size_are_refused(void) {
    rt_damage d = patient();
    refused(&d, "{" ENTRY("a", "F32", "[1152921504606846976]", 0, 4611686018427387904) "}", 8);
    refused(&d, "{" ENTRY("a", "U8", "[1152921504606846976]", 0, 1152921504606846976) "}", 8);
    refused(&d, "{" ENTRY("a", "U8", "[9223372036854775807]", 0, 9223372036854775807) "}", 8);
    refused(&d, "{" ENTRY("a", "U8", "[9223372036854775808]", 0, 9223372036854775808) "}", 8);
    refused(&d, "{" ENTRY("a", "U8", "[18446744073709551616]", 0, 18446744073709551616) "}", 8);
    refused(&d, "{" ENTRY("a", "U8", "[1e3]", 0, 1e3) "}", 1000);
    refused(&d, "{" ENTRY("a", "U8", "[1e999]", 0, 8) "}", 8);
    refused(&d, "{" ENTRY("a", "U8", "[NaN]", 0, 8) "}", 8);
    refused(&d, "{" ENTRY("a", "U8", "[Infinity]", 0, 8) "}", 8);
    refused(&d, "{" ENTRY("a", "U8", "[8]", 0, NaN) "}", 8);
    refused(&d, "{" ENTRY("a", "U8", "[4294967296,4294967296]", 0, 0) "}", 0); /* 2^64 = 0 */
    refused(&d, "{" ENTRY("a", "F64", "[2305843009213693952]", 0, 0) "}", 0);  /* 8 x 2^61 = 0 */
    refused(&d, "{" ENTRY("a", "U8", "[-1,-8]", 0, 8) "}", 8);
    refused(&d, "{" ENTRY("a", "U8", "[00008]", 0, 8) "}", 8);
    refused(&d, "{" ENTRY("a", "U8", "[true]", 0, 1) "}", 1);
    refused(&d, "{" ENTRY("a", "U8", "8", 0, 8) "}", 8);
    refused(&d, "{" ENTRY("a", "U8", "null", 0, 1) "}", 1);
}
static void empty_tensors_are_tensors(void) {
    rt_damage d = patient();
    accepted(&d, "{}", 0);
    accepted(&d, "{" ENTRY("a", "F32", "[0]", 0, 0) "}", 0);
    accepted(&d, "{" ENTRY("a", "F32", "[0,9223372036854775807]", 0, 0) "," ENTRY("b", "U8", "[2]", 0, 2) "}", 2);
    refused(&d, "{" ENTRY("b", "U8", "[2]", 0, 2) "," ENTRY("a", "F32", "[4611686018427387904,4,0]", 2, 2) "}", 2);
    refused(&d, "{" ENTRY("b", "U8", "[2]", 0, 2) "," ENTRY("a", "F32", "[0]", 1, 1) "}", 2);
    refused(&d, "{" ENTRY("a", "F32", "[0]", 3, 3) "}", 2);
    refused(&d, "{}", 1);
}
static void layouts_that_lie_are_refused(void) {
    rt_damage d = patient();
    refused(&d, "{" ENTRY("a", "U8", "[4]", 0, 4) "," ENTRY("b", "U8", "[4]", 0, 4) "}", 4);  /* twice the same bytes */
    refused(&d, "{" ENTRY("a", "U8", "[8]", 0, 8) "," ENTRY("b", "U8", "[4]", 4, 8) "}", 8);  /* one in the other */
    refused(&d, "{" ENTRY("a", "U8", "[4]", 0, 4) "," ENTRY("b", "U8", "[4]", 5, 9) "}", 9);  /* a hole */
    refused(&d, "{" ENTRY("a", "U8", "[4]", 1, 5) "}", 5);                                    /* a hole in front */
    refused(&d, "{" ENTRY("a", "U8", "[4]", 0, 4) "}", 5);                                    /* a rest */
    refused(&d, "{" ENTRY("a", "BOOL", "[4]", 0, 4) "}", 4);
    refused(&d, "{" ENTRY("a", "F8_E5M2", "[4]", 0, 4) "}", 4);
    accepted(&d, "{" ENTRY("b", "U8", "[3]", 0, 3) "," ENTRY("a", "F32", "[1]", 3, 7) "}", 7); /* not aligned: copied */
}
static void names_and_metadata_may_be_odd(void) {
    rt_damage d = patient();
    accepted(&d, "{" ENTRY("../../etc/passwd %s%n", "U8", "[4]", 0, 4) "}", 4); /* a name is only a name */
    accepted(&d, "{" ENTRY(" \\ud83d\\ude00 \\\" \\\\ ", "U8", "[4]", 0, 4) "}", 4);
    refused(&d, "{" ENTRY("a\\u0000b", "U8", "[4]", 0, 4) "}", 4);
    refused(&d, "{" ENTRY("a\\u001b[31m", "U8", "[4]", 0, 4) "}", 4);
    refused(&d, "{" ENTRY("a\\ud800", "U8", "[4]", 0, 4) "}", 4);      /* half a surrogate pair */
    refused(&d, "{" ENTRY("a\xff", "U8", "[4]", 0, 4) "}", 4);         /* not UTF-8 */
    refused(&d, "{" ENTRY("a\xc0\xaf", "U8", "[4]", 0, 4) "}", 4);     /* overlong */
    refused(&d, "{" ENTRY("a", "\\u001b[2J", "[4]", 0, 4) "}", 4);     /* nothing escapes into the message */
    refused(&d, "{" ENTRY("a", "U8", "[4]", 0, 4) "," ENTRY("a", "U8", "[4]", 0, 4) "}", 4);
    refused(&d, "{" ENTRY("a", "U8", "[4]", 0, 4) "} x", 4);
    refused(&d, "{\"a\":{\"dtype\":\"U8\",\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]}}", 4);
    refused(&d, "{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4],\"more\":1}}", 4);
    accepted(&d, "{\"__metadata__\":{}}", 0);
    accepted(&d, "{\"__metadata__\":{\"\":\"\",\"k\\n\":\"\\u001b\"}}", 0);
    refused(&d, "{\"__metadata__\":null}", 0);
    refused(&d, "{\"__metadata__\":{\"a\":{\"b\":\"c\"}}}", 0);
    refused(&d, "{\"__metadata__\":{},\"__metadata__\":{}}", 0);
}
static void lengths_are_not_believed(void) {
    rt_damage d = patient();
    rt_buf header = {0};
    rt_buf_puts(&header, "{" ENTRY("a", "U8", "[4]", 0, 4) "}");
    const uint64_t lengths[] = {1, 2, 64, 100000000, 100000001, (uint64_t)1 << 32, (uint64_t)1 << 63, UINT64_MAX, UINT64_MAX - 8};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++)
        CU_ASSERT_EQUAL(with_header(&d, &header, lengths[i], 4, "a false length"), RT_E_INPUT);
    CU_ASSERT_EQUAL(with_header(&d, &header, header.size + 1, 4, "one more"), RT_E_INPUT);
    CU_ASSERT_EQUAL(with_header(&d, &header, header.size - 1, 4, "one less"), RT_E_INPUT);
    rt_buf_free(&header);
}
static void depth_and_bulk_are_bounded(void) {
    rt_damage d = patient();
    rt_buf b = {0};
    for (int kind = 0; kind < 3; kind++) {
        b.size = 0;
        rt_buf_puts(&b, "{\"a\":");
        for (int i = 0; i < 1000000; i++) rt_buf_puts(&b, kind == 0 ? "[" : kind == 1 ? "{\"a\":" : "0,");
        CU_ASSERT_EQUAL(with_header(&d, &b, 0, 4, "a million levels"), RT_E_INPUT);
    }
    b.size = 0;
    for (int i = 0; i < 20000; i++) rt_buf_printf(&b, "%s\"%d\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}", i ? "," : "{", i);
    rt_buf_puts(&b, "}");
    CU_ASSERT_EQUAL(with_header(&d, &b, 0, 0, "many tensors"), RT_OK);
    rt_buf_free(&b);
}

RT_SUITE(damage_safetensors) {
    RT_TEST(every_cut_is_refused);
    RT_TEST(every_flip_of_the_header_is_survived);
    RT_TEST(splices_are_survived);
    RT_TEST(numbers_beyond_every_size_are_refused);
    RT_TEST(empty_tensors_are_tensors);
    RT_TEST(layouts_that_lie_are_refused);
    RT_TEST(names_and_metadata_may_be_odd);
    RT_TEST(lengths_are_not_believed);
    RT_TEST(depth_and_bulk_are_bounded);
}
