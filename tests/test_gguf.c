/* test_gguf.c - GGUF files written and read again, and damage: every truncation, every header byte changed, and headers that lie. */
#include "harness.h"
#include <retort/base/file.h>
#include <retort/base/mem.h>
#include <retort/io/gguf.h>
#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char *path_in(const char *dir, const char *name) {
    static char path[1024];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    return path;
}

/* -------------------------------------------------------------------- q8_0 */

static double stored_f16(double x) { return (double)rt_f16_to_f32(rt_f32_to_f16((float)x)); }
/* The definition, with exact arithmetic where ggml's floats round: d = max / 127, q = x / d to nearest, halves away from zero. */
static void q8_0_is_the_definition(void) {
    float x[96], y[96];
    signed char blocks[3 * RT_Q8_0_BYTES];
    rt_tensor t = rt_tensor_1d(RT_F32, x, 96);
    rt_fill_normal(&t, 0.3, 11);
    for (int i = 64; i < 96; i++) x[i] = 0;
    x[40] = -5, x[41] = 2.5f * 5 / 127, x[42] = -2.5f * 5 / 127; /* one that sets the scale, and halves */
    CU_ASSERT_FALSE(rt_q8_0_store(x, 96, blocks));
    rt_q8_0_load(blocks, 96, y);
    for (int b = 0; b < 3; b++) {
        float most = 0;
        for (int i = 0; i < 32; i++) most = fabsf(x[32 * b + i]) > most ? fabsf(x[32 * b + i]) : most;
        float d = most / 127;
        rt_f16 scale;
        memcpy(&scale, blocks + 34 * b, 2);
        CU_ASSERT_EQUAL(scale.bits, rt_f32_to_f16(d).bits);
        for (int i = 0; i < 32; i++) {
            int q = blocks[34 * b + 2 + i];
            double exact = d > 0 ? (double)x[32 * b + i] / (double)d : 0;
            CU_ASSERT_EQUAL(q, d > 0 ? (int)roundf(x[32 * b + i] * (1 / d)) : 0); /* ggml's reference multiplies */
            RT_CHECK(fabs(q - exact) <= 0.5 + 1e-4, "block %d number %d: %d for %g", b, i, q, exact);
            CU_ASSERT_EQUAL((double)y[32 * b + i], stored_f16((double)d) * q);
        }
    }
    CU_ASSERT_TRUE(blocks[34 + 2 + 8] == -127 && blocks[34 + 2 + 9] == 3 && blocks[34 + 2 + 10] == -3);
    for (int i = 68; i < 102; i++) CU_ASSERT_EQUAL(blocks[i], 0);
    x[0] = 127.0f * 65520; /* the scale rounds to infinity */
    CU_ASSERT_TRUE(rt_q8_0_store(x, 32, blocks));
    x[0] = 127.0f * 65504;
    CU_ASSERT_FALSE(rt_q8_0_store(x, 32, blocks));
    for (int i = 0; i < 32; i++) x[i] = 1e-41f; /* one over the scale would be infinite */
    CU_ASSERT_FALSE(rt_q8_0_store(x, 32, blocks));
    for (int i = 0; i < 34; i++) CU_ASSERT_EQUAL(blocks[i], 0);
}

/* --------------------------------------------------------------- round trip */

typedef struct sample {
    float f32[6], row[64];
    rt_f16 f16[5];
    rt_bf16 bf16[3];
    char q8[2 * RT_Q8_0_BYTES];
} sample;
static rt_status sample_data(void *context, int64_t i, rt_file_writer *w, rt_error *err) {
    sample *s = context;
    if (i == 0) { /* in two pieces */
        RT_TRY(rt_file_writer_add(w, s->f32, 8, err));
        return rt_file_writer_add(w, s->f32 + 2, sizeof s->f32 - 8, err);
    }
    const void *data[] = {NULL, s->f16, s->bf16, s->q8};
    size_t bytes[] = {0, sizeof s->f16, sizeof s->bf16, sizeof s->q8};
    return rt_file_writer_add(w, data[i], bytes[i], err);
}
static const rt_gguf_entry sample_entries[] = {{"blk.0.a", RT_GGUF_TYPE_F32, 3, {1, 3, 2}}, {"half", RT_GGUF_TYPE_F16, 1, {5}},
                                               {"brain", RT_GGUF_TYPE_BF16, 2, {3, 1}},     {"blocks", RT_GGUF_TYPE_Q8_0, 2, {2, 32}}};
static void put_sample(rt_gguf_meta *m) {
    rt_gguf_put_text(m, "general.architecture", "none", 4);
    rt_gguf_put_u32(m, "a.u32", 4294967295u);
    rt_gguf_put_f32(m, "a.f32", 1e-5f);
    rt_gguf_put_f64(m, "a.f64", 0.1);
    rt_gguf_put_bool(m, "a.bool", true);
    rt_gguf_put_array(m, "a.texts", RT_GGUF_TEXT, 3);
    rt_gguf_item_text(m, "x", 1), rt_gguf_item_text(m, "", 0), rt_gguf_item_text(m, "a\0b", 3);
    rt_gguf_put_array(m, "a.i32", RT_GGUF_I32, 2);
    rt_gguf_item_i32(m, -7), rt_gguf_item_i32(m, 8);
    rt_gguf_put_array(m, "a.reals", RT_GGUF_F32, 1);
    rt_gguf_item_f32(m, 0.5f);
}
static void write_sample(const char *path, sample *s) {
    rt_error err = {0};
    rt_gguf_meta m = {0};
    for (int i = 0; i < 6; i++) s->f32[i] = (float)i / 3;
    for (int i = 0; i < 5; i++) s->f16[i] = rt_f32_to_f16((float)i / 7);
    for (int i = 0; i < 3; i++) s->bf16[i] = rt_f32_to_bf16((float)i / 5);
    for (int i = 0; i < 64; i++) s->row[i] = sinf((float)i);
    CU_ASSERT_FALSE(rt_q8_0_store(s->row, 64, s->q8));
    put_sample(&m);
    RT_OK_OR_FAIL(rt_gguf_write(path, &m, sample_entries, 4, sample_data, s, &err));
    rt_gguf_meta_free(&m);
}
static void check_values(const rt_gguf *g) {
    int64_t i = 0;
    double x = 0;
    const char *text = NULL;
    size_t n = 0;
    rt_gguf_texts place = {0};
    CU_ASSERT_TRUE(rt_gguf_int(rt_gguf_find(g, "a.u32"), &i) && i == 4294967295);
    CU_ASSERT_TRUE(rt_gguf_real(rt_gguf_find(g, "a.f32"), &x) && x == 1e-5); /* the shortest decimal, not 9.99999974737875e-06 */
    CU_ASSERT_TRUE(rt_gguf_real(rt_gguf_find(g, "a.f64"), &x) && x == 0.1);
    CU_ASSERT_TRUE(rt_gguf_int(rt_gguf_find(g, "a.bool"), &i) && i == 1);
    CU_ASSERT_TRUE(rt_gguf_item_int(rt_gguf_find(g, "a.i32"), 0, &i) && i == -7);
    CU_ASSERT_FALSE(rt_gguf_item_int(rt_gguf_find(g, "a.i32"), 2, &i));
    CU_ASSERT_TRUE(rt_gguf_item_real(rt_gguf_find(g, "a.reals"), 0, &x) && x == 0.5);
    const rt_gguf_value *texts = rt_gguf_find(g, "a.texts");
    CU_ASSERT_TRUE(rt_gguf_next_text(texts, &place, &text, &n) && n == 1 && *text == 'x');
    CU_ASSERT_TRUE(rt_gguf_next_text(texts, &place, &text, &n) && n == 0);
    CU_ASSERT_TRUE(rt_gguf_next_text(texts, &place, &text, &n) && n == 3 && memcmp(text, "a\0b", 3) == 0);
    CU_ASSERT_FALSE(rt_gguf_next_text(texts, &place, &text, &n));
    CU_ASSERT_TRUE(!rt_gguf_find(g, "a") && !rt_gguf_int(rt_gguf_find(g, "a.f32"), &i) && !rt_gguf_real(NULL, &x) && !rt_gguf_text(texts, &text, &n));
}
static void what_is_written_is_read(void) {
    rt_error err = {0};
    rt_gguf *g = NULL;
    sample s;
    float x[64];
    const char *path = path_in(rt_test_dir(), "x.gguf");
    write_sample(path, &s);
    CU_ASSERT_TRUE(rt_gguf_is(path) && !rt_gguf_is("/nowhere"));
    RT_OK_OR_FAIL(rt_gguf_open(path, &g, &err));
    if (!g) return;
    CU_ASSERT_TRUE(rt_gguf_count(g) == 4 && rt_gguf_value_count(g) == 8);
    check_values(g);
    const rt_gguf_tensor *a = rt_gguf_tensor_find(g, "blk.0.a"), *q = rt_gguf_tensor_find(g, "blocks");
    CU_ASSERT_TRUE(a->ndim == 3 && a->dim[0] == 1 && a->dim[1] == 3 && a->dim[2] == 2 && memcmp(a->data, s.f32, sizeof s.f32) == 0);
    CU_ASSERT_TRUE(rt_gguf_load(a, 2, 3, x) && memcmp(x, s.f32 + 2, 12) == 0);
    CU_ASSERT_TRUE(rt_gguf_load(rt_gguf_tensor_find(g, "half"), 1, 4, x) && x[3] == rt_f16_to_f32(s.f16[4]));
    CU_ASSERT_TRUE(rt_gguf_load(rt_gguf_tensor_find(g, "brain"), 0, 3, x) && x[2] == rt_bf16_to_f32(s.bf16[2]));
    CU_ASSERT_TRUE(rt_gguf_load(q, 32, 32, x) && fabsf(x[5] - s.row[37]) <= 0.5f / 127 && ((uintptr_t)q->data & 31) == ((uintptr_t)a->data & 31));
    CU_ASSERT_PTR_NULL(rt_gguf_tensor_find(g, "nothing"));
    rt_gguf_close(g);
}
static rt_status too_little(void *context, int64_t i, rt_file_writer *w, rt_error *err) {
    (void)context;
    return rt_file_writer_add(w, "12345678", i == 0 ? 4 : 8, err);
}
static void a_source_that_gives_too_little_leaves_no_file(void) {
    rt_error err = {0};
    rt_gguf_meta m = {0};
    const char *path = path_in(rt_test_dir(), "x.gguf");
    CU_ASSERT_EQUAL(rt_gguf_write(path, &m, sample_entries, 1, too_little, NULL, &err), RT_E_ARG);
    RT_CHECK(strstr(err.text, "blk.0.a has 24 bytes, but 4 were given"), "%s", err.text);
    CU_ASSERT_FALSE(rt_file_exists(path));
}

/* ------------------------------------------------------------------- damage */

/* Everything that a sound file offers lies in it. */
static void touch(const rt_gguf *g) {
    size_t size;
    const unsigned char *base = rt_gguf_bytes(g, &size);
    for (int64_t i = 0; i < rt_gguf_count(g); i++) {
        const rt_gguf_tensor *t = rt_gguf_at(g, i);
        const unsigned char *data = t->data;
        RT_CHECK(data >= base && t->bytes <= size && data <= base + size - t->bytes, "%s lies outside the file", t->name);
    }
    for (int64_t i = 0; i < rt_gguf_value_count(g); i++) {
        const rt_gguf_value *v = rt_gguf_value_at(g, i);
        rt_gguf_texts place = {0};
        const char *text;
        size_t n;
        while (rt_gguf_next_text(v, &place, &text, &n))
            RT_CHECK((const unsigned char *)text >= base && (const unsigned char *)text + n <= base + size, "%s lies outside the file", v->key);
    }
}
static void open_damaged(const char *path, const char *what, size_t at) {
    rt_error err = {0};
    rt_gguf *g = NULL;
    int64_t before = rt_mem_stats_get().live_blocks;
    rt_status s = rt_gguf_open(path, &g, &err);
    if (s == RT_OK) touch(g);
    else RT_CHECK((s == RT_E_INPUT || s == RT_E_UNSUPPORTED) && !g && !strchr(err.text, '\n') && strstr(err.text, path), "%s %zu: %s %s", what, at,
                  rt_status_name(s), err.text);
    rt_gguf_close(g);
    RT_CHECK(rt_mem_stats_get().live_blocks == before, "%s %zu: blocks left", what, at);
}
static void damage_is_an_error_or_harmless(void) {
    static const unsigned char masks[] = {0x01, 0x80, 0xff, 0x20};
    sample s;
    rt_buf whole = {0};
    rt_error err = {0};
    char path[1024];
    snprintf(path, sizeof path, "%s", path_in(rt_test_dir(), "x.gguf"));
    write_sample(path, &s);
    RT_OK_OR_FAIL(rt_file_read(path, 1 << 20, &whole, &err));
    int f = open(path, O_RDWR);
    for (size_t i = 0; i < whole.size && i < 800; i++) /* the header and a little more */
        for (size_t k = 0; k < sizeof masks; k++) {
            char c = (char)(whole.data[i] ^ masks[k]);
            CU_ASSERT_EQUAL(pwrite(f, &c, 1, (off_t)i), 1);
            open_damaged(path, "byte", i);
            CU_ASSERT_EQUAL(pwrite(f, whole.data + i, 1, (off_t)i), 1);
        }
    for (size_t n = whole.size; n-- > 0;) {
        CU_ASSERT_EQUAL(ftruncate(f, (off_t)n), 0);
        open_damaged(path, "length", n);
    }
    close(f);
    rt_buf_free(&whole);
}

/* ------------------------------------------------------------------- lies */

static void u32(rt_buf *b, uint32_t x) { rt_buf_add(b, &x, 4); }
static void u64(rt_buf *b, uint64_t x) { rt_buf_add(b, &x, 8); }
static void name(rt_buf *b, const char *s) { u64(b, strlen(s)), rt_buf_puts(b, s); }
static rt_buf head(uint32_t version, uint64_t tensors, uint64_t pairs) {
    rt_buf b = {0};
    rt_buf_puts(&b, "GGUF"), u32(&b, version), u64(&b, tensors), u64(&b, pairs);
    return b;
}
static void tensor(rt_buf *b, const char *s, uint64_t columns, uint64_t rows, uint32_t type, uint64_t offset) {
    name(b, s), u32(b, 2), u64(b, columns), u64(b, rows), u32(b, type), u64(b, offset);
}
/* Frees b. What a lie makes the reader allocate stays small. */
static void refused(rt_buf b, size_t data, const char *text) {
    rt_error err = {0};
    rt_gguf *g;
    const char *path = path_in(rt_test_dir(), "x.gguf");
    while (data && b.size % 32) rt_buf_putc(&b, 0);
    for (size_t i = 0; i < data; i++) rt_buf_putc(&b, 0);
    RT_OK_OR_FAIL(rt_file_write_atomic(path, b.data, b.size, &err));
    rt_mem_stats before = rt_mem_stats_get();
    rt_status s = rt_gguf_open(path, &g, &err);
    rt_mem_stats after = rt_mem_stats_get();
    RT_CHECK(s == (strstr(text, "type") || strstr(text, "version") ? RT_E_UNSUPPORTED : RT_E_INPUT), "%s: %s", text, rt_status_name(s));
    RT_CHECK(strstr(err.text, text) && !strchr(err.text, '\n'), "'%s' is not in '%s'", text, err.text);
    CU_ASSERT_TRUE(after.live_blocks == before.live_blocks && (after.peak_bytes == before.peak_bytes || after.peak_bytes < before.live_bytes + (1 << 20)));
    rt_buf_free(&b);
}
static void lying_headers_are_refused(void) {
    rt_buf b = head(1, 0, 0);
    refused(b, 0, "version 1, expected 2 or 3");
    refused(head(3u << 24, 0, 0), 0, "version 50331648 (a big-endian file)");
    refused(head(3, 1ull << 60, 0), 0, "1152921504606846976 tensors are more than the file can hold");
    refused(head(3, UINT64_MAX, 0), 64, "tensors are more than");
    refused(head(3, 0, 1ull << 62), 0, "4611686018427387904 metadata pairs are more than the file can hold");
    b = head(3, 0, 1), u64(&b, 1ull << 62), u64(&b, 0), u64(&b, 0);
    refused(b, 0, "a key at byte 24 has 4611686018427387904 bytes, but the file ends before");
    b = head(3, 0, 1), name(&b, "k"), u32(&b, 8), u64(&b, UINT64_MAX);
    refused(b, 0, "k: a text at byte 37 has 18446744073709551615 bytes");
    b = head(3, 0, 1), name(&b, "k"), u32(&b, 9), u32(&b, 4), u64(&b, 1ull << 62);
    refused(b, 0, "k: the array at byte 37 has 4611686018427387904 elements, more than the file can hold");
    b = head(3, 0, 1), name(&b, "k"), u32(&b, 9), u32(&b, 8), u64(&b, 1ull << 60);
    refused(b, 64, "elements, more than the file can hold");
    b = head(3, 0, 1), name(&b, "k"), u32(&b, 9);
    for (int i = 0; i < 20; i++) u32(&b, 9), u64(&b, 1);
    refused(b, 0, "lies in 8 others");
    b = head(3, 0, 1), name(&b, "k"), u32(&b, 13), u64(&b, 0);
    refused(b, 0, "the kind at byte 33 is 13, expected 0 to 12");
    b = head(3, 0, 1), name(&b, "k"), u32(&b, 7), rt_buf_putc(&b, 2);
    refused(b, 0, "the bool at byte 37 is 2");
    b = head(3, 0, 1), name(&b, "a\nb"), u32(&b, 7), rt_buf_putc(&b, 1);
    refused(b, 0, "control characters");
    b = head(3, 0, 2);
    for (int i = 0; i < 2; i++) name(&b, "k"), u32(&b, 4), u32(&b, 1);
    refused(b, 0, "the key k stands there twice");
    b = head(3, 0, 1), name(&b, "general.alignment"), u32(&b, 4), u32(&b, 12);
    refused(b, 0, "general.alignment is not a multiple of 8");
}
static void lying_tables_are_refused(void) {
    rt_buf b = head(3, 1, 0);
    tensor(&b, "t", 4, 1, 0, 0);
    refused(b, 15, "t: 16 bytes at offset 0, but the data has 15");
    b = head(3, 1, 0), tensor(&b, "t", 4, 1, 0, 1ull << 62);
    refused(b, 64, "t: 16 bytes at offset 4611686018427387904");
    b = head(3, 1, 0), tensor(&b, "t", 4, 1, 0, 8);
    refused(b, 64, "offset 8 is no multiple of 32");
    b = head(3, 1, 0), tensor(&b, "t", 1ull << 40, 1ull << 40, 0, 0);
    refused(b, 64, "t: has more numbers than can be counted");
    b = head(3, 1, 0), tensor(&b, "t", 1ull << 62, 1, 0, 0);
    refused(b, 64, "t: has more bytes than can be counted");
    b = head(3, 1, 0), tensor(&b, "t", 0, 1, 0, 0);
    refused(b, 64, "t: a size is 0");
    b = head(3, 1, 0), tensor(&b, "t", UINT64_MAX, 1, 0, 0);
    refused(b, 64, "t: a size is 18446744073709551615");
    b = head(3, 1, 0), name(&b, "t"), u32(&b, 5), u64(&b, 1), u64(&b, 1), u64(&b, 1);
    refused(b, 0, "t: has 5 sizes, expected 1 to 4");
    b = head(3, 1, 0), tensor(&b, "t", 4, 1, 4, 0);
    refused(b, 64, "t: is of type 4, which is not read");
    b = head(3, 1, 0), tensor(&b, "t", 33, 1, 8, 0);
    refused(b, 64, "t: has rows of 33 numbers, no multiple of Q8_0's 32");
    b = head(3, 2, 0), tensor(&b, "t", 16, 1, 0, 0), tensor(&b, "u", 4, 1, 0, 32);
    refused(b, 64, "u lies over t");
    b = head(3, 2, 0), tensor(&b, "t", 4, 1, 0, 0), tensor(&b, "t", 4, 1, 0, 32);
    refused(b, 64, "two tensors are named t");
}
static void version_2_and_nested_arrays_are_read(void) {
    rt_error err = {0};
    rt_gguf *g = NULL;
    const char *path = path_in(rt_test_dir(), "x.gguf");
    rt_buf b = head(2, 0, 1);
    name(&b, "k"), u32(&b, 9), u32(&b, 9), u64(&b, 2);
    for (int i = 0; i < 2; i++) u32(&b, 8), u64(&b, 1), name(&b, "x");
    RT_OK_OR_FAIL(rt_file_write_atomic(path, b.data, b.size, &err));
    RT_OK_OR_FAIL(rt_gguf_open(path, &g, &err));
    CU_ASSERT_TRUE(g && rt_gguf_find(g, "k")->kind == RT_GGUF_ARRAY && rt_gguf_find(g, "k")->element == RT_GGUF_ARRAY && rt_gguf_find(g, "k")->count == 2);
    rt_gguf_close(g);
    rt_buf_free(&b);
}

RT_SUITE(gguf) {
    RT_TEST(q8_0_is_the_definition);
    RT_TEST(what_is_written_is_read);
    RT_TEST(a_source_that_gives_too_little_leaves_no_file);
    RT_TEST(damage_is_an_error_or_harmless);
    RT_TEST(lying_headers_are_refused);
    RT_TEST(lying_tables_are_refused);
    RT_TEST(version_2_and_nested_arrays_are_read);
}
