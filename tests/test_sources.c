/* test_sources.c - tables (.csv, .tsv), nested keys, and sources with weights. */
#include "harness.h"
#include <retort/base/file.h>
#include <retort/text/corpus.h>
#include <retort/text/loader.h>
#include <stdio.h>
#include <string.h>

static const char *put_text(const char *name, const char *text) {
    static char path[1024];
    rt_error err = {0};
    snprintf(path, sizeof path, "%s/%s", rt_test_dir(), name);
    RT_OK_OR_FAIL(rt_file_write_atomic(path, text, strlen(text), &err));
    return path;
}

static rt_status joined(const char *path, const rt_corpus_options *o, rt_buf *out, rt_error *err) {
    rt_corpus *c;
    rt_document d;
    bool end = false;
    RT_TRY(rt_corpus_open(&c, &path, 1, o, err));
    rt_status s = RT_OK;
    while (s == RT_OK && !end) {
        s = rt_corpus_next(c, &d, &end, err);
        if (s == RT_OK && !end) rt_buf_printf(out, "%lld:<%s>", (long long)d.line, d.text);
    }
    rt_corpus_close(c);
    return s;
}
static void expect(const char *name, const char *text, rt_corpus_options o, const char *wanted) {
    rt_error err = {0};
    rt_buf out = {0};
    RT_OK_OR_FAIL(joined(put_text(name, text), &o, &out, &err));
    RT_CHECK(out.data && strcmp(out.data, wanted) == 0, "%s: found %s, expected %s", name, out.data ? out.data : "", wanted);
    rt_buf_free(&out);
}
static void expect_error(const char *name, const char *text, rt_corpus_options o, const char *wanted) {
    rt_error err = {0};
    rt_buf out = {0};
    CU_ASSERT_EQUAL(joined(put_text(name, text), &o, &out, &err), RT_E_INPUT);
    RT_CHECK(strstr(err.text, wanted) != NULL, "%s: found %s, expected %s", name, err.text, wanted);
    rt_buf_free(&out);
}

static void tables_are_rfc_4180(void) {
    expect("a.csv", "id,text\r\n1,plain\r\n2,\"a, \"\"b\"\"\r\nc\"\r\n3,last", (rt_corpus_options){0}, "2:<plain>3:<a, \"b\"\r\nc>5:<last>");
    expect("a.csv", "\xEF\xBB\xBFtext,id\n\"\"\"q\"\"\",1\n,2\n\"\",3\nx,4\n", (rt_corpus_options){0}, "2:<\"q\">5:<x>");
    expect("a.csv", "id,body\n1,x\n", (rt_corpus_options){.column = "body"}, "2:<x>");
    expect("a.csv", "id,body\n1,x\n", (rt_corpus_options){.column = "2"}, "2:<x>");
    expect("a.csv", "1,x\n2,y\n", (rt_corpus_options){.column = "2", .no_header = true}, "1:<x>2:<y>");
    expect("a.tsv", "id\ttext\n1\tsays \"hi\", he\n2\t\"tab\there\"\n", (rt_corpus_options){0}, "2:<says \"hi\", he>3:<tab\there>");
    expect("a.csv", "text\na\n\nb\n", (rt_corpus_options){0}, "2:<a>4:<b>");
    expect("a.csv", "id,text\n\n1,a\n", (rt_corpus_options){0}, "3:<a>");
    expect("a.csv", "text\n\"\n", (rt_corpus_options){.column = "1", .format = RT_CORPUS_TEXT}, "1:<text\n\"\n>");
}

static void bad_tables_are_refused(void) {
    expect_error("a.csv", "id,txt\n1,x\n", (rt_corpus_options){0}, "a.csv:1: no column 'text' (found id, txt); did you mean 'txt'?");
    expect_error("a.csv", "id,text\n1,a\n1,b,c\n", (rt_corpus_options){0}, "a.csv:3: found 3 fields, expected 2");
    expect_error("a.csv", "id,text\n1,\"a\nb\"c\n", (rt_corpus_options){0}, "a.csv:3:3: text behind the closing quote");
    expect_error("a.csv", "id,text\n1,a\"b\n", (rt_corpus_options){0}, "a.csv:2:4: a quote within a field");
    expect_error("a.csv", "id,text\n1,x\n2,\"open\n\n", (rt_corpus_options){0}, "a.csv:3:3: a quote that nothing closes");
    expect_error("a.csv", "id,text\n1,\xff\n", (rt_corpus_options){0}, "a.csv:2:1: not UTF-8");
    expect_error("a.csv", "1,x\n", (rt_corpus_options){.no_header = true}, "only numbers");
    expect_error("a.csv", "1,x\n", (rt_corpus_options){.no_header = true, .column = "3"}, "a.csv:1: column 3 is asked for, the record has 2");
    expect_error("a.csv", "text\n", (rt_corpus_options){0}, "no documents");
    expect_error("a.csv", "", (rt_corpus_options){0}, "no header");
}

/* Reads come in blocks of 64 KiB; quotes and line ends must survive their seams. */
static void long_tables_are_read_whole(void) {
    rt_buf text = {0}, out = {0};
    rt_error err = {0};
    rt_buf_puts(&text, "text,n\n");
    for (int i = 0; i < 20000; i++) rt_buf_printf(&text, "\"x\"\"%d\n,\",%d\r\n", i, i);
    RT_OK_OR_FAIL(joined(put_text("long.csv", text.data), &(rt_corpus_options){0}, &out, &err));
    rt_buf_free(&text);
    for (int i = 0; i < 20000; i++) rt_buf_printf(&text, "%d:<x\"%d\n,>", 2 + 2 * i, i);
    CU_ASSERT_TRUE(out.size == text.size && memcmp(out.data, text.data, text.size) == 0);
    rt_buf_free(&text), rt_buf_free(&out);
}

static void keys_reach_into_records(void) {
    expect("a.jsonl", "{\"a\": {\"b\": {\"c\": \"deep\"}}}\n{\"a.b.c\": \"flat\"}\n{\"a\": {\"b.c\": \"half\"}}\n", (rt_corpus_options){.key = "a.b.c"},
           "1:<deep>2:<flat>3:<half>");
    expect_error("a.jsonl", "{\"messages\": [{\"role\": \"user\", \"content\": \"x\"}]}\n", (rt_corpus_options){0}, "a.jsonl:1: a conversation (a list of messages)");
    expect_error("a.jsonl", "{\"x\": 1}\n{\"messages\": [{\"who\": \"user\"}]}\n", (rt_corpus_options){.conversations = true}, "a.jsonl:1: the record has no \"text\"");
    expect_error("a.jsonl", "{\"messages\": [{\"who\": \"user\"}]}\n", (rt_corpus_options){.conversations = true}, "a.jsonl:1: message 1 has neither");
}

/* ------------------------------------------------------------------ weights */

enum { T = 4 };
static rt_token_stream *three_sources(void) { /* 40, 13 and 27 tokens: windows begin at 0, 4, ...: 10, 4 and 6 of 20 */
    static const rt_vocab none = {.size = 100, .bos = -1, .eos = -1};
    static const int lengths[] = {40, 13, 27};
    rt_error err = {0};
    rt_token_stream *s;
    int32_t ids[64];
    RT_OK_OR_FAIL(rt_token_stream_new(&s, &none, &err));
    for (int k = 0, first = 0; k < 3; first += lengths[k++]) {
        for (int i = 0; i < lengths[k]; i++) ids[i] = first + i;
        RT_OK_OR_FAIL(rt_token_stream_begin_source(s, &err));
        RT_OK_OR_FAIL(rt_token_stream_add(s, ids, NULL, lengths[k], &err));
    }
    return s;
}
static rt_loader *loader_of(const rt_token_stream *s, const double *weights) {
    rt_error err = {0};
    rt_loader *l;
    rt_loader_options o = {.T = T, .batch = 1, .seed = 5, .weights = weights, .weight_count = weights ? 3 : 0};
    RT_OK_OR_FAIL(rt_loader_create(&l, rt_token_stream_all(s), &o, &err));
    return l;
}
static int next_window(rt_loader *l) {
    rt_loader_next(l);
    return rt_loader_batch(l, 0)->ids[0] / T;
}

static void weights_of_one_change_nothing(void) {
    static const double ones[] = {1, 1, 1};
    rt_token_stream *s = three_sources();
    rt_loader *a = loader_of(s, NULL), *b = loader_of(s, ones);
    int64_t differ = 0, sources;
    CU_ASSERT_EQUAL(rt_loader_windows(a), rt_loader_windows(b));
    for (int64_t i = 0; i < 3 * rt_loader_windows(a); i++) differ += next_window(a) != next_window(b);
    CU_ASSERT_EQUAL(differ, 0);
    CU_ASSERT_TRUE(rt_loader_sources(b, &sources)[1].windows == 4 && sources == 3);
    rt_loader_free(a), rt_loader_free(b), rt_token_stream_free(s);
}

static void an_epoch_holds_what_the_weights_say(void) {
    static const double weights[] = {0.5, 2.25, 1.5};
    static const int places[] = {5, 9, 9}, first[] = {0, 10, 14}, end[] = {10, 14, 20};
    rt_error err = {0};
    rt_token_stream *s = three_sources();
    rt_loader *l = loader_of(s, weights), *again = loader_of(s, weights);
    int seen[20] = {0};
    CU_ASSERT_EQUAL(rt_loader_windows(l), 23);
    for (int epoch = 0; epoch < 8; epoch++) {
        int of[3] = {0};
        for (int i = 0; i < 23; i++) {
            rt_cursor c = rt_loader_cursor(l); /* every place can be continued from */
            int w = next_window(l);
            RT_OK_OR_FAIL(rt_loader_seek(again, c, &err));
            CU_ASSERT_TRUE(c.epoch == epoch && c.index == i && next_window(again) == w);
            seen[w]++;
            for (int k = 0; k < 3; k++) of[k] += w >= first[k] && w < end[k];
        }
        CU_ASSERT_TRUE(of[0] == places[0] && of[1] == places[1] && of[2] == places[2]);
    }
    for (int k = 0; k < 3; k++) { /* after 8 epochs nothing was seen more than once more often than another */
        int low = 1000, high = 0;
        for (int w = first[k]; w < end[k]; w++) low = seen[w] < low ? seen[w] : low, high = seen[w] > high ? seen[w] : high;
        RT_CHECK(high - low <= 1 && high * (end[k] - first[k]) >= 8 * places[k], "source %d: %d to %d", k, low, high);
    }
    rt_loader_free(l), rt_loader_free(again), rt_token_stream_free(s);
}

static void impossible_weights_are_refused(void) {
    static const double zeros[] = {0, 0, 0}, negative[] = {1, -1, 1}, left_out[] = {0, 1, 0};
    rt_error err[3] = {{0}};
    rt_token_stream *s = three_sources();
    rt_loader *l;
    rt_loader_options o = {.T = T, .weights = zeros, .weight_count = 3};
    CU_ASSERT_EQUAL(rt_loader_create(&l, rt_token_stream_all(s), &o, &err[0]), RT_E_ARG);
    RT_CHECK(strstr(err[0].text, "leave no window") != NULL, "%s", err[0].text);
    o.weights = negative;
    CU_ASSERT_EQUAL(rt_loader_create(&l, rt_token_stream_all(s), &o, &err[1]), RT_E_ARG);
    o.weight_count = 2;
    CU_ASSERT_EQUAL(rt_loader_create(&l, rt_token_stream_all(s), &o, &err[2]), RT_E_ARG);
    RT_CHECK(strstr(err[2].text, "2 weights for 3 sources") != NULL, "%s", err[2].text);
    l = loader_of(s, left_out);
    for (int i = 0; i < 8; i++) {
        int w = next_window(l);
        CU_ASSERT_TRUE(w >= 10 && w < 14);
    }
    rt_loader_free(l), rt_token_stream_free(s);
}

RT_SUITE(sources) {
    RT_TEST(tables_are_rfc_4180);
    RT_TEST(bad_tables_are_refused);
    RT_TEST(long_tables_are_read_whole);
    RT_TEST(keys_reach_into_records);
    RT_TEST(weights_of_one_change_nothing);
    RT_TEST(an_epoch_holds_what_the_weights_say);
    RT_TEST(impossible_weights_are_refused);
}
