/* test_loader.c - streams, windows, batches, the loader: what is an input, what is a target, and that each is seen
 * once. */
#include "harness.h"
#include <retort/base/file.h>
#include <retort/base/mem.h>
#include <retort/base/rng.h>
#include <retort/text/loader.h>
#include <stdio.h>
#include <string.h>

#define RT_OK_OR_STOP(e)                                                                                               \
    do {                                                                                                               \
        if ((e) != RT_OK) CU_FAIL_FATAL("setup");                                                                      \
    } while (0)

static const rt_vocab two = {.size = 100, .bos = 1, .eos = 2}, same = {.size = 100, .bos = 2, .eos = 2},
                      one = {.size = 100, .bos = -1, .eos = 2}, none = {.size = 100, .bos = -1, .eos = -1};

/* Documents of `lengths` tokens, 10, 11, 12 ...; token 10+k covers k % 5 bytes. */
static rt_token_stream *stream_of(const rt_vocab *v, const int *lengths, int documents) {
    rt_error err = {0};
    rt_token_stream *s;
    RT_OK_OR_FAIL(rt_token_stream_new(&s, v, &err));
    int k = 0;
    for (int d = 0; d < documents; d++) {
        int32_t ids[512];
        uint32_t bytes[512];
        for (int i = 0; i < lengths[d]; i++, k++) ids[i] = 10 + k % 80, bytes[i] = (uint32_t)(k % 5);
        RT_OK_OR_FAIL(rt_token_stream_add(s, ids, bytes, lengths[d], &err));
    }
    return s;
}

/* Rows as "id>target@position^start", windows separated by "|"; "-" is padding. */
static void expect_rows(const rt_batch *b, const char *wanted) {
    rt_buf text = {0};
    for (int64_t r = 0; r < b->rows; r++) {
        if (r) rt_buf_puts(&text, r % b->T ? " " : " | ");
        if (!b->valid[r]) {
            CU_ASSERT_TRUE(b->ids[r] == 0 && b->targets[r] == -1 && b->position[r] == 0 && b->start[r] == r &&
                           !b->target_bytes[r]);
            rt_buf_puts(&text, "-");
            continue;
        }
        rt_buf_printf(&text, "%d>%d@%d^%d", b->ids[r], b->targets[r], b->position[r], b->start[r]);
    }
    RT_CHECK(strcmp(text.data, wanted) == 0, "\n      found    %s\n      expected %s", text.data, wanted);
    rt_buf_free(&text);
}

static void windows_shift_by_one(void) {
    static const rt_vocab *const vocabs[] = {&two, &same, &one, &none};
    static const int lengths[] = {3, 2};
    static const char *const wanted[] = {/* 1 10 11 12 2 1 13 14 2 */
                                         "1>10@0^0 10>11@1^0 11>12@2^0 12>2@3^0 | 2>-1@0^4 1>13@0^5 13>14@1^5 14>2@2^5",
                                         /* 2 10 11 12 2 13 14 2 */
                                         "2>10@0^0 10>11@1^0 11>12@2^0 12>2@3^0 | 2>13@0^4 13>14@1^4 14>2@2^4 -",
                                         "2>10@0^0 10>11@1^0 11>12@2^0 12>2@3^0 | 2>13@0^4 13>14@1^4 14>2@2^4 -",
                                         /* 10 11 12 13 14 */
                                         "10>11@0^0 11>12@1^0 12>-1@2^0 13>14@0^3 | - - - -"};
    static const int64_t supervised[] = {7, 7, 7, 3}, valid[] = {8, 7, 7, 4};
    static const double bytes[] = {0 + 1 + 2 + 3 + 4, 10, 10, 1 + 2 + 4};
    for (int i = 0; i < 4; i++) {
        rt_error err = {0};
        rt_token_stream *s = stream_of(vocabs[i], lengths, 2);
        rt_windows w;
        rt_batch b;
        RT_OK_OR_FAIL(rt_windows_make(&w, rt_token_stream_all(s), 4, false, &err));
        RT_OK_OR_FAIL(rt_batch_create(&b, 2, 4, &err));
        CU_ASSERT_EQUAL(rt_batch_fill_from(&b, &w, 0), w.count);
        expect_rows(&b, wanted[i]);
        CU_ASSERT_TRUE(b.supervised == supervised[i] && b.valid_count == valid[i]);
        CU_ASSERT_EQUAL(b.bytes, bytes[i]);
        CU_ASSERT_EQUAL(rt_token_stream_about(s).documents, 2);
        rt_batch_free(&b);
        rt_token_stream_free(s);
    }
}

static void disjoint_windows_stand_alone(void) {
    static const int lengths[] = {9};
    rt_error err = {0};
    rt_token_stream *s = stream_of(&none, lengths, 1);
    rt_windows w;
    rt_batch b;
    RT_OK_OR_FAIL(rt_windows_make(&w, rt_token_stream_all(s), 4, true, &err));
    CU_ASSERT_EQUAL(w.count, 2);
    RT_OK_OR_FAIL(rt_batch_create(&b, 3, 4, &err));
    CU_ASSERT_EQUAL(rt_batch_fill_from(&b, &w, 0), 2);
    expect_rows(&b, "10>11@0^0 11>12@1^0 12>13@2^0 13>-1@3^0 | 14>15@0^4 15>16@1^4 16>17@2^4 17>-1@3^4 | - - - -");
    CU_ASSERT_TRUE(b.supervised == 6 && b.valid_count == 8 && b.filled == 2);
    CU_ASSERT_EQUAL(rt_windows_make(&w, rt_token_stream_all(s), 10, true, &err), RT_E_INPUT);
    RT_CHECK(strstr(err.text, "9 tokens, fewer than one disjoint window of 10"), "%s", err.text);
    CU_ASSERT_EQUAL(rt_windows_make(&w, rt_token_stream_all(s), 1, true, NULL), RT_E_ARG);
    rt_batch_free(&b);
    rt_token_stream_free(s);
}

/* For any T: every token is a target once, except what only begins a document; start and position follow the documents.
 */
static void every_token_is_scored_once(void) {
    static const rt_vocab *const vocabs[] = {&two, &same, &one, &none};
    static const int lengths[] = {1, 17, 3, 64, 2, 1, 30};
    for (int v = 0; v < 4; v++)
        for (int64_t T = 1; T < 40; T += 3) {
            rt_error err = {0};
            rt_token_stream *s = stream_of(vocabs[v], lengths, 7);
            rt_token_stream_info n = rt_token_stream_about(s);
            rt_windows w;
            rt_batch b;
            int32_t ids[256];
            uint16_t spans[256];
            int64_t seen = 0, rows = 0;
            double bytes = 0, expected_bytes = 0;
            rt_token_stream_read(s, 0, n.tokens, ids, spans);
            RT_OK_OR_FAIL(rt_windows_make(&w, rt_token_stream_all(s), T, false, &err));
            RT_OK_OR_FAIL(rt_batch_create(&b, 3, T, &err));
            for (int64_t at = 0, got; (got = rt_batch_fill_from(&b, &w, at)); at += got) {
                for (int64_t r = 0; r < b.rows; r++) {
                    int64_t i = at * T + r; /* the row's token in the stream */
                    if (!b.valid[r]) continue;
                    rows++;
                    bool target = vocabs[v] == &none || vocabs[v] == &two ? !(spans[i + 1] & RT_SPAN_FIRST) : true;
                    if (b.ids[r] != ids[i] || b.targets[r] != (target ? ids[i + 1] : -1)) CU_FAIL_FATAL("wrong token");
                    bool restart = r % T == 0 || (spans[i] & RT_SPAN_FIRST);
                    if (b.start[r] != (restart ? r : b.start[r - 1]) || b.position[r] != r - b.start[r])
                        CU_FAIL_FATAL("wrong start");
                    if (target) seen++, expected_bytes += spans[i + 1] & RT_SPAN_BYTES;
                }
                bytes += b.bytes;
            }
            CU_ASSERT_EQUAL(rows, n.tokens - 1);
            CU_ASSERT_EQUAL(seen, vocabs[v] == &none ? n.tokens - 7 : vocabs[v] == &two ? n.tokens - 7 : n.tokens - 1);
            CU_ASSERT_EQUAL(bytes, expected_bytes);
            if (v < 3)
                CU_ASSERT_EQUAL(bytes, (double)n.bytes); /* with a first token to predict from, nothing is left out */
            rt_batch_free(&b);
            rt_token_stream_free(s);
        }
}

/* ------------------------------------------------------------------ joins */

static char *shard_of(const rt_vocab *v, int first, int n) {
    static char paths[4][1024];
    static unsigned turn;
    char *path = paths[turn++ % 4];
    rt_error err = {0};
    rt_shard_writer *w;
    int32_t ids[8];
    uint32_t bytes[8];
    for (int i = 0; i < n; i++) ids[i] = first + i, bytes[i] = 2;
    snprintf(path, 1024, "%s/x.bin", rt_test_dir());
    RT_OK_OR_FAIL(rt_shard_writer_open(&w, path, v, &err));
    RT_OK_OR_FAIL(rt_shard_writer_add(w, ids, bytes, n, &err));
    RT_OK_OR_FAIL(rt_shard_writer_commit(w, NULL, &err));
    rt_shard_writer_free(w);
    return path;
}

static void files_join_like_documents(void) {
    static const rt_vocab *const vocabs[] = {&two, &one, &none};
    static const char *const wanted[] = {"!1 10 11 2 !1 20 2 !1 21 2 !1 30 31 32 2 !1 40 2",
                                         "!2 10 11 !2 20 !2 21 !2 30 31 32 !2 40 !2", "!10 11 !20 !21 !30 31 32 !40"};
    for (int i = 0; i < 3; i++) {
        rt_error err = {0};
        rt_token_stream *s;
        int32_t ids[32], x = 20, y = 21;
        uint16_t spans[32];
        uint32_t bytes = 2;
        RT_OK_OR_FAIL(rt_token_stream_new(&s, vocabs[i], &err));
        RT_OK_OR_FAIL(rt_token_stream_add_shard(s, shard_of(vocabs[i], 10, 2), &err));
        RT_OK_OR_FAIL(rt_token_stream_add(s, &x, &bytes, 1, &err));
        RT_OK_OR_FAIL(rt_token_stream_add(s, &y, &bytes, 1, &err));
        RT_OK_OR_FAIL(rt_token_stream_add_shard(s, shard_of(vocabs[i], 30, 3), &err));
        RT_OK_OR_FAIL(rt_token_stream_add_shard(s, shard_of(vocabs[i], 40, 1), &err));
        rt_token_stream_info n = rt_token_stream_about(s);
        rt_buf text = {0};
        for (int64_t at = 0; at < n.tokens; at++) rt_token_stream_read(s, at, 1, ids + at, spans + at);
        for (int64_t at = 0; at < n.tokens; at++)
            rt_buf_printf(&text, "%s%s%d", at ? " " : "", spans[at] & RT_SPAN_FIRST ? "!" : "", ids[at]);
        RT_CHECK(strcmp(text.data, wanted[i]) == 0, "found %s, expected %s", text.data, wanted[i]);
        CU_ASSERT_TRUE(n.documents == 5 && n.bytes == 16 && n.bytes_known && n.highest == 40);
        int32_t whole[32];
        uint16_t whole_spans[32];
        rt_token_stream_read(s, 0, n.tokens, whole, whole_spans); /* across segments at once */
        CU_ASSERT_TRUE(memcmp(whole, ids, (size_t)n.tokens * 4) == 0 &&
                       memcmp(whole_spans, spans, (size_t)n.tokens * 2) == 0);
        rt_buf_free(&text);
        rt_token_stream_free(s);
    }
    rt_token_stream *s;
    RT_OK_OR_STOP(rt_token_stream_new(&s, &RT_VOCAB_NONE, NULL));
    RT_OK_OR_STOP(rt_token_stream_add_shard(s, shard_of(&two, 10, 2), NULL));
    CU_ASSERT_EQUAL(rt_token_stream_about(s).eos, 2);
    CU_ASSERT_EQUAL(rt_token_stream_add_shard(s, shard_of(&one, 10, 2), NULL), RT_E_INPUT);
    rt_token_stream_free(s);
}

static void validation_begins_at_a_document(void) {
    static const int lengths[] = {100, 100, 100, 100, 100, 100, 100, 100, 100, 60, 30};
    rt_error err = {0};
    rt_token_view train, valid;
    rt_token_stream *s = stream_of(&two, lengths, 11);
    int64_t total = rt_token_stream_about(s).tokens;
    RT_OK_OR_FAIL(rt_token_stream_split(s, 0.05, &train, &valid, &err));
    CU_ASSERT_TRUE(train.begin == 0 && train.end == total - 32 && valid.begin == total - 32 && valid.end == total);
    rt_token_stream_free(s);
    s = stream_of(&one, lengths, 11); /* the shared boundary belongs to both */
    total = rt_token_stream_about(s).tokens;
    RT_OK_OR_FAIL(rt_token_stream_split(s, 0.05, &train, &valid, &err));
    CU_ASSERT_TRUE(valid.begin == total - 32 && train.end == valid.begin + 1);
    rt_token_stream_free(s);
    s = stream_of(&none, (const int[]){400}, 1); /* no document start: exact */
    RT_OK_OR_FAIL(rt_token_stream_split(s, 0.05, &train, &valid, &err));
    CU_ASSERT_TRUE(train.end == 380 && valid.begin == 380 && valid.end == 400);
    char a[65], b[65];
    rt_token_view_hash(&train, a);
    rt_token_view_hash(&valid, b);
    CU_ASSERT_TRUE(strlen(a) == 64 && strcmp(a, b) != 0);
    rt_token_stream_free(s);
    s = stream_of(&none, (const int[]){8}, 1);
    CU_ASSERT_EQUAL(rt_token_stream_split(s, 0.05, &train, &valid, NULL), RT_E_INPUT);
    rt_token_stream_free(s);
}

/* ----------------------------------------------------------------- loader */

static rt_token_stream *long_stream(void) {
    int lengths[40];
    for (int i = 0; i < 40; i++) lengths[i] = 5 + i * 7 % 50;
    return stream_of(&two, lengths, 40);
}

/* A number that stands for all rows of the micro-batches, in order. */
static uint64_t digest(const rt_loader *l, int64_t micro) {
    uint64_t h = 1;
    for (int64_t m = 0; m < micro; m++) {
        const rt_batch *b = rt_loader_batch(l, m);
        for (int64_t r = 0; r < b->rows; r++)
            h = h * 1000003 + (uint64_t)(b->ids[r] + 128 * b->targets[r] + 31 * b->position[r] + 7 * b->valid[r] +
                                         b->target_bytes[r]);
    }
    return h;
}

static rt_loader *loader(const rt_token_stream *s, int64_t batch, int64_t accumulate, int64_t rank, int64_t ranks) {
    rt_error err = {0};
    rt_loader *l = NULL;
    rt_loader_options o = {.T = 16, .batch = batch, .accumulate = accumulate, .rank = rank, .ranks = ranks, .seed = 3};
    RT_OK_OR_FAIL(rt_loader_create(&l, rt_token_stream_all(s), &o, &err));
    return l;
}

static void one_by_eight_is_eight_by_one(void) {
    rt_token_stream *s = long_stream();
    rt_loader *a = loader(s, 8, 1, 0, 1), *b = loader(s, 1, 8, 0, 1), *c = loader(s, 2, 2, 0, 2),
              *d = loader(s, 2, 2, 1, 2);
    for (int step = 0; step < 30; step++) {
        rt_loader_next(a), rt_loader_next(b), rt_loader_next(c), rt_loader_next(d);
        CU_ASSERT_EQUAL(digest(a, 1), digest(b, 8));
        CU_ASSERT_TRUE(rt_loader_supervised(a) == rt_loader_supervised(b) && rt_loader_valid(a) == rt_loader_valid(b));
        int64_t own = 0; /* two ranks see the whole batch between them, and both know its size */
        for (int m = 0; m < 2; m++) own += rt_loader_batch(c, m)->supervised + rt_loader_batch(d, m)->supervised;
        CU_ASSERT_TRUE(own == rt_loader_supervised(a) && own == rt_loader_supervised(c) &&
                       own == rt_loader_supervised(d));
        CU_ASSERT_TRUE(memcmp(rt_loader_batch(a, 0)->ids, rt_loader_batch(c, 0)->ids, 2 * 16 * 4) == 0);
        CU_ASSERT_TRUE(memcmp(rt_loader_batch(a, 0)->ids + 2 * 16, rt_loader_batch(d, 0)->ids, 2 * 16 * 4) == 0);
        rt_cursor p = rt_loader_cursor(a), q = rt_loader_cursor(d);
        CU_ASSERT_TRUE(p.epoch == q.epoch && p.index == q.index);
    }
    rt_loader_free(a), rt_loader_free(b), rt_loader_free(c), rt_loader_free(d);
    rt_token_stream_free(s);
}

static void an_epoch_sees_every_window_once(void) {
    rt_token_stream *s = long_stream();
    rt_loader *l = loader(s, 1, 1, 0, 1);
    int64_t windows = rt_loader_windows(l), order_differs = 0;
    uint64_t sums[3] = {0}, first[3] = {0};
    for (int epoch = 0; epoch < 3; epoch++)
        for (int64_t i = 0; i < windows; i++) {
            CU_ASSERT_TRUE(rt_loader_cursor(l).epoch == epoch && rt_loader_cursor(l).index == i);
            rt_loader_next(l);
            uint64_t d = digest(l, 1);
            sums[epoch] += d;
            if (i == 0) first[epoch] = d;
        }
    order_differs = (first[0] != first[1]) + (first[1] != first[2]);
    CU_ASSERT_TRUE(sums[0] == sums[1] && sums[1] == sums[2] && order_differs > 0);
    rt_loader_free(l);
    rt_token_stream_free(s);
}

static void a_cursor_continues_exactly(void) {
    rt_token_stream *s = long_stream();
    rt_loader *a = loader(s, 3, 2, 0, 1);
    rt_error err = {0};
    for (int steps = 0; steps < 40; steps += 7) {
        rt_cursor c = rt_loader_cursor(a);
        rt_loader *b = loader(s, 3, 2, 0, 1);
        RT_OK_OR_FAIL(rt_loader_seek(b, c, &err));
        for (int i = 0; i < 7; i++) {
            rt_loader_next(a), rt_loader_next(b);
            CU_ASSERT_EQUAL(digest(a, 2), digest(b, 2));
        }
        rt_loader_free(b);
    }
    CU_ASSERT_EQUAL(rt_loader_seek(a, (rt_cursor){0, rt_loader_windows(a)}, NULL), RT_E_INPUT);
    CU_ASSERT_EQUAL(rt_loader_seek(a, (rt_cursor){-1, 0}, NULL), RT_E_INPUT);
    int64_t calls = rt_mem_stats_get().calls;
    for (int i = 0; i < 100; i++) rt_loader_next(a);
    CU_ASSERT_EQUAL(rt_mem_stats_get().calls, calls); /* nothing is allocated per batch */
    rt_loader_free(a);
    rt_token_stream_free(s);
}

static void impossible_requests_are_explained(void) {
    rt_token_stream *s = stream_of(&none, (const int[]){16}, 1), *empty;
    rt_loader *l;
    rt_loader_options o = {.T = 16};
    rt_error err = {0}, err2 = {0}, err3 = {0};
    CU_ASSERT_EQUAL(rt_loader_create(&l, rt_token_stream_all(s), &o, &err), RT_E_INPUT);
    RT_CHECK(strstr(err.text, "holds 16 tokens, a sequence length of 16 needs 17"), "%s", err.text);
    RT_OK_OR_STOP(rt_token_stream_new(&empty, &two, NULL));
    CU_ASSERT_EQUAL(rt_loader_create(&l, rt_token_stream_all(empty), &o, &err2), RT_E_INPUT);
    RT_CHECK(strstr(err2.text, "empty"), "%s", err2.text);
    int32_t high = 100;
    CU_ASSERT_EQUAL(rt_token_stream_add(empty, &high, NULL, 1, &err3), RT_E_INPUT);
    RT_CHECK(strstr(err3.text, "token 0 of a document is 100, the vocabulary has 100"), "%s", err3.text);
    o.rank = 1;
    CU_ASSERT_EQUAL(rt_loader_create(&l, rt_token_stream_all(s), &o, NULL), RT_E_ARG);
    rt_batch b;
    CU_ASSERT_EQUAL(rt_batch_create(&b, 1 << 20, 1 << 12, NULL), RT_E_ARG);
    rt_token_stream_free(s);
    rt_token_stream_free(empty);
}

static rt_status make_and_step(const char *shard, rt_error *err) {
    rt_token_stream *s;
    rt_loader *l = NULL;
    int32_t ids[] = {20, 21, 22};
    RT_TRY(rt_token_stream_new(&s, &two, err));
    rt_status status = rt_token_stream_add_shard(s, shard, err);
    if (status == RT_OK) status = rt_token_stream_add(s, ids, NULL, 3, err);
    if (status == RT_OK)
        status = rt_loader_create(&l, rt_token_stream_all(s),
                                  &(rt_loader_options){.T = 4, .batch = 2, .accumulate = 2, .ranks = 2}, err);
    if (status == RT_OK) rt_loader_next(l);
    rt_loader_free(l);
    rt_token_stream_free(s);
    return status;
}

static void out_of_memory_is_clean(void) {
    const char *shard = shard_of(&two, 10, 5);
    rt_mem_stats before = rt_mem_stats_get();
    for (int64_t nth = 1; nth < 200; nth++) {
        rt_error err = {0};
        rt_mem_fail_at(nth);
        rt_status s = make_and_step(shard, &err);
        rt_mem_fail_at(0);
        RT_CHECK(s == RT_OK || s == RT_E_NOMEM, "allocation %lld: %s", (long long)nth, err.text);
        if (rt_mem_stats_get().live_blocks != before.live_blocks) RT_FAILF("allocation %lld leaked", (long long)nth);
        if (s == RT_OK) return;
    }
    RT_FAILF("never succeeded");
}

RT_SUITE(loader) {
    RT_TEST(windows_shift_by_one);
    RT_TEST(disjoint_windows_stand_alone);
    RT_TEST(every_token_is_scored_once);
    RT_TEST(files_join_like_documents);
    RT_TEST(validation_begins_at_a_document);
    RT_TEST(one_by_eight_is_eight_by_one);
    RT_TEST(an_epoch_sees_every_window_once);
    RT_TEST(a_cursor_continues_exactly);
    RT_TEST(impossible_requests_are_explained);
    RT_TEST(out_of_memory_is_clean);
}
