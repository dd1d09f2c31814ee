/* test_corpus.c - documents from text files: separators, JSONL, gzip, and what is refused. */
#include "harness.h"
#include <retort/base/file.h>
#include <retort/base/mem.h>
#include <retort/text/corpus.h>
#include <stdio.h>
#include <string.h>
#include <zlib.h>

static const char *put(const char *name, const void *bytes, size_t n) {
    static char paths[8][1024];
    static unsigned turn;
    char *path = paths[turn++ % 8];
    rt_error err = {0};
    snprintf(path, 1024, "%s/%s", rt_test_dir(), name);
    RT_OK_OR_FAIL(rt_file_write_atomic(path, bytes, n, &err));
    return path;
}
static const char *put_text(const char *name, const char *text) { return put(name, text, strlen(text)); }

static size_t gzip(const void *in, size_t n, unsigned char *out, size_t room) {
    z_stream z = {.next_in = (Bytef *)(uintptr_t)in, .avail_in = (uInt)n, .next_out = out, .avail_out = (uInt)room};
    if (deflateInit2(&z, 6, Z_DEFLATED, 31, 8, Z_DEFAULT_STRATEGY) != Z_OK || deflate(&z, Z_FINISH) != Z_STREAM_END)
        return 0;
    size_t made = room - z.avail_out;
    deflateEnd(&z);
    return made;
}

/* All documents joined as "<a><b>", each with its line in front: "1:<a>3:<b>". */
static rt_status joined(const char *const *paths, int n, const rt_corpus_options *o, rt_buf *out, rt_error *err) {
    rt_corpus *c;
    rt_document d;
    RT_TRY(rt_corpus_open(&c, paths, n, o, err));
    rt_status s;
    bool end = false;
    while ((s = rt_corpus_next(c, &d, &end, err)) == RT_OK && !end) {
        if (d.text[d.bytes] != 0) RT_FAILF("a document is not terminated");
        rt_buf_printf(out, "%lld:<", (long long)d.line);
        rt_buf_add(out, d.text, d.bytes);
        rt_buf_puts(out, ">");
    }
    rt_corpus_close(c);
    return s == RT_OK && out->failed ? rt_fail(err, RT_E_NOMEM, "test") : s;
}

static void expect(const char *path, const rt_corpus_options *o, const char *wanted) {
    rt_buf b = {0};
    rt_error err = {0};
    RT_OK_OR_FAIL(joined(&path, 1, o, &b, &err));
    RT_CHECK(b.data && strcmp(b.data, wanted) == 0, "%s, separator %s: found %s, expected %s", path,
             o && o->separator ? o->separator : "none", b.data ? b.data : "nothing", wanted);
    rt_buf_free(&b);
}
static void expect_error(const char *path, const rt_corpus_options *o, rt_status status, const char *text) {
    rt_buf b = {0};
    rt_error err = {0};
    rt_status s = joined(&path, 1, o, &b, &err);
    RT_CHECK(s == status && strstr(err.text, text), "expected %s ..%s.., found %s %s", rt_status_name(status), text,
             rt_status_name(s), err.text);
    rt_buf_free(&b);
}
#define SEPARATED(s)                                                                                                   \
    &(rt_corpus_options) { .separator = s }

static void text_is_cut_at_separators(void) {
    const char *p = put_text("a.txt", "one\n\n\r\n two \nthree\n  \n\nfour\n\n");
    expect(p, NULL, "1:<one\n\n\r\n two \nthree\n  \n\nfour\n\n>");
    expect(p, SEPARATED("line"), "1:<one>4:< two >5:<three>8:<four>");
    expect(p, SEPARATED("blank_line"), "1:<one>4:< two \nthree>8:<four>");
    expect(put_text("b.txt", "a\r\n\r\nb\r\nc"), SEPARATED("blank_line"), "1:<a>3:<b\r\nc>");
    expect(put_text("c.txt", "a\r\nb\n\nc"), SEPARATED("line"), "1:<a>2:<b>4:<c>");
    const char *q = put_text("d.txt", "\nfirst\n<|eot|>\nsecond<|eot|><|eot|>\r\nthird\n\n<|eot|>\n");
    expect(q, SEPARATED("<|eot|>"), "1:<\nfirst>4:<second>5:<third\n>");
    const char *keep = put_text("e.txt", "a\n\nb\n");
    expect(keep, &(rt_corpus_options){.separator = "line", .keep_empty = true}, "1:<a>2:<>3:<b>");
}

static void several_files_follow_one_another(void) {
    const char *paths[] = {put_text("a.txt", "x\ny\n"),
                           put_text("b.jsonl", "{\"text\":\"z\\u00e9\"}\n\n{\"text\":\"w\"}")};
    rt_buf b = {0};
    rt_error err = {0};
    RT_OK_OR_FAIL(joined(paths, 2, SEPARATED("line"), &b, &err));
    static const char wanted[] = "1:<x>2:<y>1:<z\xc3\xa9>3:<w>";
    CU_ASSERT_TRUE(b.size == sizeof wanted - 1 && memcmp(b.data, wanted, b.size) == 0);
    rt_buf_free(&b);
    rt_corpus *c;
    CU_ASSERT_EQUAL(rt_corpus_open(&c, NULL, 0, NULL, NULL), RT_E_ARG);
}

static void records_are_checked(void) {
    expect(put_text("a.jsonl", "{\"story\":\"s\",\"n\":1}\r\n"), &(rt_corpus_options){.key = "story"}, "1:<s>");
    expect(put_text("a.data", "{\"text\":\"s\"}"), &(rt_corpus_options){.format = RT_CORPUS_JSONL}, "1:<s>");
    expect_error(put_text("b.jsonl", "{\"text\":\"a\"}\n{\"txet\":\"b\"}"), NULL, RT_E_INPUT,
                 "b.jsonl:2: the record has no \"text\"; did you mean \"txet\"?");
    expect_error(put_text("c.jsonl", "{\"text\":1}"), NULL, RT_E_INPUT,
                 "c.jsonl:1: \"text\" must be a string (found a number)");
    expect_error(put_text("d.jsonl", "[1]"), NULL, RT_E_INPUT, "must be an object (found an array)");
    expect_error(put_text("e.jsonl", "\n{\"text\":\"a\""), NULL, RT_E_INPUT, "e.jsonl:2:11: ");
    expect_error(put_text("f.jsonl", "{\"text\":\"\"}\n"), NULL, RT_E_INPUT, "no documents");
    expect_error(put_text("g.jsonl", "{\"text\":\"a\xff\"}\n"), NULL, RT_E_INPUT,
                 "g.jsonl:1:11: not UTF-8 (found byte 0xff)");
}

static void bad_text_is_named(void) {
    expect_error(put_text("a.txt", ""), NULL, RT_E_INPUT, "a.txt: no documents");
    expect_error(put_text("b.txt", "\n \n\n"), SEPARATED("blank_line"), RT_E_INPUT, "no documents");
    expect_error(put_text("c.txt", "good text\nabcdefgh\xc3\xa9\xc3("), NULL, RT_E_INPUT,
                 "c.txt:2:11: not UTF-8 (found byte 0xc3)");
    expect_error(put_text("d.txt", "ok\nsurrogate \xed\xa0\x80"), SEPARATED("line"), RT_E_INPUT,
                 "d.txt:2:11: not UTF-8");
    expect_error(put_text("e.txt", "ok\n\nabcdefghijk\n"), &(rt_corpus_options){.separator = "line", .max_bytes = 10},
                 RT_E_INPUT, "e.txt:3: a document of more than 10 bytes");
    expect_error("/nonexistent/x.txt", NULL, RT_E_INPUT, "/nonexistent/x.txt: cannot open");
}

/* Long enough that every piece straddles a read somewhere. */
static void long_files_are_cut_alike(void) {
    rt_buf b = {0};
    for (int i = 0; i < 60000; i++) rt_buf_printf(&b, "line %d%s", i, i % 7 ? "\n" : "<sep>\n\n");
    static const char *const separators[] = {"line", "blank_line", "<sep>", "none"};
    static const int64_t wanted[] = {60000, 8573, 8573, 1};
    unsigned char *packed = rt_alloc(b.size);
    const char *paths[2] = {put("a.txt", b.data, b.size),
                            put("a.txt.gz", packed, gzip(b.data, b.size, packed, b.size))};
    for (int f = 0; f < 2; f++)
        for (int i = 0; i < 4; i++) {
            rt_corpus *c;
            rt_document d;
            rt_error err = {0};
            bool end = false;
            int64_t n = 0, bytes = 0;
            RT_OK_OR_FAIL(rt_corpus_open(&c, &paths[f], 1, SEPARATED(separators[i]), &err));
            while (rt_corpus_next(c, &d, &end, &err) == RT_OK && !end) n++, bytes += (int64_t)d.bytes;
            RT_CHECK(end && n == wanted[i], "%s: %lld documents (%s)", separators[i], (long long)n, err.text);
            if (i == 3) CU_ASSERT_EQUAL(bytes, (int64_t)b.size);
            rt_corpus_close(c);
        }
    rt_free(packed);
    rt_buf_free(&b);
}

static void every_truncation_of_gzip_is_found(void) {
    char text[3000];
    for (int i = 0; i < 3000; i++) text[i] = (char)(i % 50 ? 'a' + i * i % 26 : '\n');
    unsigned char packed[4096];
    size_t n = gzip(text, sizeof text, packed, sizeof packed);
    CU_ASSERT_TRUE(n > 100);
    for (size_t cut = 0; cut < n; cut++) expect_error(put("t.txt.gz", packed, cut), NULL, RT_E_INPUT, "t.txt.gz");
    for (size_t at = n - 8; at < n; at++) { /* check sum and length */
        packed[at] ^= 0x10;
        expect_error(put("u.txt.gz", packed, n), NULL, RT_E_INPUT, "damaged gzip");
        packed[at] ^= 0x10;
    }
    size_t m = gzip("end", 3, packed + n, sizeof packed - n);
    rt_buf b = {0};
    rt_error err = {0};
    const char *two = put("two", packed, n + m);
    RT_OK_OR_FAIL(joined(&two, 1, NULL, &b, &err));
    CU_ASSERT_EQUAL(b.size, 4 + sizeof text + 3);
    rt_buf_free(&b);
    packed[n + m] = 'x';
    expect_error(put("v.gz", packed, n + m + 1), NULL, RT_E_INPUT, "damaged gzip");
}

static void out_of_memory_is_clean(void) {
    unsigned char packed[512];
    const char *paths[] = {put_text("a.jsonl", "{\"text\":\"a\"}\n{\"text\":\"b\"}\n"),
                           put("b.txt.gz", packed, gzip("c\n\nd\n", 5, packed, sizeof packed))};
    rt_mem_stats before = rt_mem_stats_get();
    for (int64_t nth = 1; nth < 1000; nth++) {
        rt_buf b = {0};
        rt_error err = {0};
        rt_mem_fail_at(nth);
        rt_status s = joined(paths, 2, SEPARATED("blank_line"), &b, &err);
        rt_mem_fail_at(0);
        if (s == RT_OK) CU_ASSERT_STRING_EQUAL(b.data, "1:<a>2:<b>1:<c>3:<d>");
        rt_buf_free(&b);
        RT_CHECK(s == RT_OK || s == RT_E_NOMEM, "allocation %lld: %s %s", (long long)nth, rt_status_name(s), err.text);
        if (rt_mem_stats_get().live_blocks != before.live_blocks) RT_FAILF("allocation %lld leaked", (long long)nth);
        if (s == RT_OK) return;
    }
    RT_FAILF("never succeeded");
}

static void fixtures_are_read(void) {
    const char *path = rt_fixture("text/tinyshakespeare.txt.gz"), *stories = rt_fixture("text/tinystories_944k.txt.gz");
    if (!path || !stories) return;
    rt_corpus *c;
    rt_document d;
    rt_error err = {0};
    bool end;
    int64_t n = 0;
    RT_OK_OR_FAIL(rt_corpus_open(&c, &path, 1, NULL, &err));
    RT_OK_OR_FAIL(rt_corpus_next(c, &d, &end, &err));
    CU_ASSERT_EQUAL(d.bytes, 1115394);
    rt_corpus_close(c);
    RT_OK_OR_FAIL(rt_corpus_open(&c, &stories, 1, SEPARATED("line"), &err));
    while (rt_corpus_next(c, &d, &end, &err) == RT_OK && !end) n++;
    RT_CHECK(end && n == 5758, "%lld paragraphs: %s", (long long)n, err.text);
    rt_corpus_close(c);
}

RT_SUITE(corpus) {
    RT_TEST(text_is_cut_at_separators);
    RT_TEST(several_files_follow_one_another);
    RT_TEST(records_are_checked);
    RT_TEST(bad_text_is_named);
    RT_TEST(long_files_are_cut_alike);
    RT_TEST(every_truncation_of_gzip_is_found);
    RT_TEST(out_of_memory_is_clean);
    RT_TEST(fixtures_are_read);
}
