/* test_shard.c - token shards: layout on disk, sidecars, damage of every kind, full disks, and text into shards. */
#include "harness.h"
#include <retort/base/file.h>
#include <retort/base/mem.h>
#include <retort/base/rng.h>
#include <retort/text/encode.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const rt_vocab two = {.size = 100, .bos = 1, .eos = 2, .hash = "aa"}, one = {.size = 70000, .bos = -1, .eos = 0},
                      none = {.size = 100, .bos = -1, .eos = -1};
static const int32_t a[] = {10, 11, 12}, b[] = {20, 21};
static const uint32_t a_bytes[] = {1, 0, 7}, b_bytes[] = {300, 2};

static char *path_in(const char *dir, const char *name) {
    static char paths[8][1024];
    static unsigned turn;
    char *p = paths[turn++ % 8];
    snprintf(p, 1024, "%s/%s", dir, name);
    return p;
}

static rt_status write_two(const char *path, const rt_vocab *v, rt_shard_info *info, rt_error *err) {
    rt_shard_writer *w;
    RT_TRY(rt_shard_writer_open(&w, path, v, err));
    rt_status s = rt_shard_writer_add(w, a, a_bytes, 3, err);
    if (s == RT_OK) s = rt_shard_writer_add(w, b, b_bytes, 2, err);
    if (s == RT_OK) s = rt_shard_writer_commit(w, info, err);
    rt_shard_writer_free(w);
    return s;
}

static void expect_tokens(const rt_shard *s, const char *wanted) { /* "!" marks a document's first token, ":n" bytes */
    rt_buf text = {0};
    int32_t ids[32];
    uint16_t spans[32];
    int64_t n = rt_shard_about(s)->tokens;
    rt_shard_read(s, 0, n, ids, spans);
    for (int64_t i = 0; i < n; i++)
        rt_buf_printf(&text, "%s%s%d:%d", i ? " " : "", spans[i] & RT_SPAN_FIRST ? "!" : "", ids[i],
                      spans[i] & RT_SPAN_BYTES);
    RT_CHECK(strcmp(text.data, wanted) == 0, "found %s, expected %s", text.data, wanted);
    rt_buf_free(&text);
}

static void documents_are_laid_out(void) {
    static const rt_vocab *const vocabs[] = {&two, &one, &none};
    static const char *const wanted[] = {"!1:0 10:1 11:0 12:7 2:0 !1:0 20:300 21:2 2:0",
                                         "!0:0 10:1 11:0 12:7 !0:0 20:300 21:2 !0:0", "!10:1 11:0 12:7 !20:300 21:2"};
    for (int i = 0; i < 3; i++) {
        rt_error err = {0};
        rt_shard_info info;
        rt_shard *s;
        const char *path = path_in(rt_test_dir(), "x.bin");
        RT_OK_OR_FAIL(write_two(path, vocabs[i], &info, &err));
        RT_OK_OR_FAIL(rt_shard_open(&s, path, vocabs[i], &err));
        expect_tokens(s, wanted[i]);
        const rt_shard_info *n = rt_shard_about(s);
        CU_ASSERT_TRUE(n->documents == 2 && n->bytes == 310 && n->width == (i == 1 ? 4 : 2) && n->highest == 21);
        CU_ASSERT_TRUE(n->described && n->spans && n->tokens_hash == info.tokens_hash && n->tokens == info.tokens);
        rt_shard_close(s);
        RT_OK_OR_FAIL(rt_shard_open(&s, path, &RT_VOCAB_NONE, &err)); /* the description knows the ends */
        CU_ASSERT_TRUE(rt_shard_about(s)->bos == vocabs[i]->bos && rt_shard_about(s)->eos == vocabs[i]->eos);
        rt_shard_close(s);
    }
}

static void the_file_is_llmc_s(void) {
    rt_error err = {0};
    rt_buf file = {0};
    const char *path = path_in(rt_test_dir(), "x.bin");
    RT_OK_OR_FAIL(write_two(path, &two, NULL, &err));
    RT_OK_OR_FAIL(rt_file_read(path, 1 << 20, &file, &err));
    int32_t header[256] = {20240520, 1, 9};
    uint16_t tokens[] = {1, 10, 11, 12, 2, 1, 20, 21, 2};
    CU_ASSERT_TRUE(file.size == 1024 + sizeof tokens && memcmp(file.data, header, 1024) == 0);
    CU_ASSERT_TRUE(memcmp(file.data + 1024, tokens, sizeof tokens) == 0);
    rt_buf_free(&file);
}

/* A corpus of others: no sidecars; boundaries from the end-of-text id, bytes from the vocabulary. */
static void foreign_shards_are_read(void) {
    rt_error err = {0};
    uint32_t file[256 + 6] = {20240801, 7, 6};
    uint32_t tokens[] = {5, 3, 4, 5, 4, 4};
    uint16_t bytes[] = {9, 9, 9, 2, 6, 0};
    memcpy(file + 256, tokens, sizeof tokens);
    const char *path = path_in(rt_test_dir(), "x.bin");
    RT_OK_OR_FAIL(rt_file_write_atomic(path, file, sizeof file, &err));
    rt_shard *s;
    rt_vocab v = {.size = 6, .bos = 5, .eos = 5, .token_bytes = bytes};
    RT_OK_OR_FAIL(rt_shard_open(&s, path, &v, &err));
    expect_tokens(s, "!5:0 3:2 4:6 !5:0 4:6 4:6");
    CU_ASSERT_TRUE(rt_shard_about(s)->documents == 2 && rt_shard_about(s)->bytes == 20 && !rt_shard_about(s)->spans);
    rt_shard_close(s);
    v.size = 5;
    CU_ASSERT_EQUAL(rt_shard_open(&s, path, &v, &err), RT_E_INPUT);
    RT_CHECK(strstr(err.text, "x.bin: token 0 is 5, the vocabulary has 5"), "%s", err.text);
    RT_OK_OR_FAIL(rt_shard_open(&s, path, &RT_VOCAB_NONE, &(rt_error){0}));
    CU_ASSERT_TRUE(rt_shard_about(s)->documents == 1 && rt_shard_about(s)->bytes == -1);
    rt_shard_close(s);
}

static void mismatches_are_refused(void) {
    rt_error err = {0};
    rt_shard *s;
    const char *dir = rt_test_dir(), *path = path_in(dir, "x.bin");
    RT_OK_OR_FAIL(write_two(path, &two, NULL, &err));
    rt_vocab v = two;
    v.hash = "bb";
    CU_ASSERT_EQUAL(rt_shard_open(&s, path, &v, &err), RT_E_INPUT);
    RT_CHECK(strstr(err.text, "another tokenizer"), "%s", err.text);
    v.hash = NULL, v.eos = 3;
    CU_ASSERT_EQUAL(rt_shard_open(&s, path, &v, NULL), RT_E_INPUT);
    rt_shard_writer *w;
    RT_OK_OR_FAIL(rt_shard_writer_open(&w, path, &two, &(rt_error){0}));
    int32_t high[] = {100};
    uint32_t wide[] = {40000};
    CU_ASSERT_EQUAL(rt_shard_writer_commit(w, NULL, NULL), RT_E_INPUT); /* nothing added */
    CU_ASSERT_EQUAL(rt_shard_writer_add(w, high, NULL, 1, NULL), RT_E_INPUT);
    CU_ASSERT_EQUAL(rt_shard_writer_add(w, a, wide, 1, NULL), RT_E_UNSUPPORTED);
    rt_shard_writer_free(w);
    rt_error err2 = {0};
    RT_CHECK(rt_shard_open(&s, path, &two, &err2) == RT_OK, "an abandoned writer harmed the old shard: %s", err2.text);
    rt_shard_close(s);
}

/* ----------------------------------------------------------------- damage */

static rt_buf contents(const char *path) {
    rt_error err = {0};
    rt_buf file = {0};
    RT_OK_OR_FAIL(rt_file_read(path, 1 << 20, &file, &err));
    return file;
}
static void replace(const char *path, const void *bytes, size_t n) {
    FILE *f = fopen(path, "wb"); /* plain: the test writes thousands, and need not sync them */
    if (!f || fwrite(bytes, 1, n, f) != n || fclose(f) != 0) CU_FAIL_FATAL("cannot write a test file");
}

/* Opens the shard after its file was damaged: refused with the file's name, or the very tokens written. */
static bool refused(const char *path, const char *what, size_t at) {
    rt_error err = {0};
    rt_shard *s;
    rt_status status = rt_shard_open(&s, path, &two, &err);
    if (status == RT_OK) {
        expect_tokens(s, "!1:0 10:1 11:0 12:7 2:0 !1:0 20:300 21:2 2:0");
        rt_shard_close(s);
        return false;
    }
    RT_CHECK(status == RT_E_INPUT && strstr(err.text, "x.bin"), "%s %zu: %s %s", what, at, rt_status_name(status),
             err.text);
    return true;
}

static void every_damage_is_found_or_harmless(void) {
    static const char *const names[] = {"x.bin", "x.bin.spans", "x.bin.json"};
    rt_error err = {0};
    const char *dir = rt_test_dir(), *path = path_in(dir, "x.bin");
    RT_OK_OR_FAIL(write_two(path, &two, NULL, &err));
    for (int f = 0; f < 3; f++) {
        char *file = path_in(dir, names[f]);
        rt_buf good = contents(file);
        int harmless = 0;
        for (size_t n = 0; n < good.size; n++) {
            replace(file, good.data, n);
            /* all but the last newline of the description is needed */
            if (!refused(path, "truncated at", n) && !(f == 2 && n == good.size - 1))
                RT_FAILF("%s cut at %zu is accepted", names[f], n);
        }
        replace(file, good.data, good.size);
        rt_buf_putc(&good, 'x');
        replace(file, good.data, good.size--);
        if (f < 2 && !refused(path, "longer by", 1)) RT_FAILF("a longer %s is accepted", names[f]);
        for (size_t i = 0; f < 2 && i < good.size; i++) {
            good.data[i] ^= 0x41;
            replace(file, good.data, good.size);
            harmless += !refused(path, "flipped at", i);
            good.data[i] ^= 0x41;
        }
        CU_ASSERT_EQUAL(harmless, f == 0 ? 1024 - 12 : 0); /* the reserved part of llm.c's header */
        replace(file, good.data, good.size);
        rt_buf_free(&good);
    }
    CU_ASSERT_FALSE(refused(path, "restored", 0));
}

static void out_of_memory_is_clean(void) {
    const char *path = path_in(rt_test_dir(), "x.bin");
    rt_mem_stats before = rt_mem_stats_get();
    bool done = false;
    for (int64_t nth = 1; !done && nth < 500; nth++) {
        rt_error err = {0};
        rt_shard *s = NULL;
        rt_mem_fail_at(nth);
        rt_status status = write_two(path, &two, NULL, &err);
        if (status == RT_OK) status = rt_shard_open(&s, path, &two, &err);
        rt_mem_fail_at(0);
        rt_shard_close(s);
        done = status == RT_OK;
        RT_CHECK(done || status == RT_E_NOMEM, "allocation %lld: %s", (long long)nth, err.text);
        if (rt_mem_stats_get().live_blocks != before.live_blocks) RT_FAILF("allocation %lld leaked", (long long)nth);
    }
    CU_ASSERT_TRUE(done);
}

static void a_full_disk_leaves_nothing(void) {
    for (int64_t nth = 1; nth < 100; nth++) {
        rt_error err = {0};
        const char *dir = rt_test_dir(), *path = path_in(dir, "x.bin");
        rt_shard *s;
        rt_file_fail_at(nth);
        rt_status status = write_two(path, &two, NULL, &err);
        rt_file_fail_at(0);
        if (status == RT_OK) {
            CU_ASSERT_TRUE(nth > 8);
            return;
        }
        RT_CHECK(status == RT_E_IO, "write %lld: %s", (long long)nth, err.text);
        /* nothing at all, or (when only the folder's last sync failed) everything */
        if (rt_file_exists(path)) {
            RT_CHECK(rt_shard_open(&s, path, &two, &err) == RT_OK, "write %lld left a broken shard", (long long)nth);
            rt_shard_close(s);
        } else if (rmdir(dir) != 0)
            RT_FAILF("write %lld left files behind", (long long)nth);
    }
    RT_FAILF("never succeeded");
}

/* -------------------------------------------------------------- with text */

static const char tokenizer_json[] = /* bytes a-f and the space, one merge, one special */
    "{\"version\":\"1.0\",\"added_tokens\":[{\"id\":8,\"content\":\"<e>\",\"single_word\":false,\"lstrip\":false,\"rstrip\":false,"
    "\"normalized\":false,\"special\":true}],\"normalizer\":null,\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false,"
    "\"trim_offsets\":true,\"use_regex\":true},\"post_processor\":null,\"decoder\":{\"type\":\"ByteLevel\"},\"model\":{\"type\":\"BPE\","
    "\"dropout\":null,\"unk_token\":null,\"continuing_subword_prefix\":null,\"end_of_word_suffix\":null,\"fuse_unk\":false,"
    "\"byte_fallback\":false,\"vocab\":{\"a\":0,\"b\":1,\"c\":2,\"d\":3,\"e\":4,\"f\":5,\"\\u0120\":6,\"ab\":7},\"merges\":[\"a b\"]}}";

static rt_status collect(void *context, const char *text, size_t bytes, rt_error *err) {
    (void)err;
    rt_buf_add(context, text, bytes);
    return RT_OK;
}

static void lines_of_ids_and_back(void) {
    rt_error err = {0};
    rt_tokenizer *t;
    const char *dir = rt_test_dir(), *text = path_in(dir, "t.txt"), *ids = path_in(dir, "ids.txt");
    RT_OK_OR_FAIL(rt_tokenizer_from_json(&t, tokenizer_json, sizeof tokenizer_json - 1, "test", &err));
    RT_OK_OR_FAIL(rt_file_write_atomic(text, "ab cab\n\nfa\n", 11, &err));
    rt_buf out = {0};
    rt_corpus_options o = {.separator = "line", .keep_empty = true};
    RT_OK_OR_FAIL(rt_encode_files(&text, 1, &o, t, false, collect, &out, &err));
    RT_CHECK(strcmp(out.data, "7 6 2 7\n\n5 0\n") == 0, "%s", out.data);
    RT_OK_OR_FAIL(rt_file_write_atomic(ids, out.data, out.size, &err));
    out.size = 0;
    RT_OK_OR_FAIL(rt_decode_files(&ids, 1, t, false, collect, &out, &err));
    CU_ASSERT_STRING_EQUAL(out.data, "ab cab\n\nfa\n");
    static const char *const bad[] = {"1 2\n3 x4\n", "1\n2 99\n", "7 99999999999\n"},
                             *const found[] = {"ids.txt:2: column 3: not a token id (found \"x4\")", "ids.txt:2",
                                               "ids.txt:1: column 3"};
    for (int i = 0; i < 3; i++) {
        rt_error e = {0};
        replace(ids, bad[i], strlen(bad[i]));
        CU_ASSERT_EQUAL(rt_decode_files(&ids, 1, t, false, collect, &out, &e), RT_E_INPUT);
        RT_CHECK(strstr(e.text, found[i]), "%s", e.text);
    }
    rt_buf_free(&out);
    rt_tokenizer_free(t);
}

static void text_and_shard_give_one_stream(void) {
    rt_error err = {0};
    rt_tokenizer *t;
    rt_tokenizer_vocab v;
    rt_token_stream *s[2];
    const char *dir = rt_test_dir(), *text = path_in(dir, "t.txt"), *bin = path_in(dir, "t.bin");
    RT_OK_OR_FAIL(rt_tokenizer_from_json(&t, tokenizer_json, sizeof tokenizer_json - 1, "test", &err));
    RT_OK_OR_FAIL(rt_tokenizer_vocab_make(&v, t, &err));
    RT_OK_OR_FAIL(rt_file_write_atomic(text, "ab cab\nfa <e>b\n\nd\n", 18, &err));
    rt_shard_info info;
    rt_corpus_options o = {.separator = "line"};
    RT_OK_OR_FAIL(rt_shard_make(bin, &text, 1, &o, t, &info, &err));
    CU_ASSERT_TRUE(info.documents == 3 && info.bytes == 6 + 4 + 1); /* <e> covers nothing */
    RT_OK_OR_FAIL(rt_token_stream_load(&s[0], &text, 1, &o, t, &v, &err));
    RT_OK_OR_FAIL(rt_token_stream_load(&s[1], &bin, 1, NULL, NULL, NULL, &err));
    rt_token_stream_info n[2] = {rt_token_stream_about(s[0]), rt_token_stream_about(s[1])};
    CU_ASSERT_TRUE(n[0].tokens == n[1].tokens && n[0].documents == 3 && n[1].documents == 3 && n[1].bytes == 11 &&
                   n[1].bytes_known);
    char hash[2][65];
    for (int i = 0; i < 2; i++) {
        rt_token_view all = rt_token_stream_all(s[i]);
        rt_token_view_hash(&all, hash[i]);
        rt_token_stream_free(s[i]);
    }
    CU_ASSERT_STRING_EQUAL(hash[0], hash[1]);
    CU_ASSERT_EQUAL(rt_token_stream_load(&s[0], &text, 1, NULL, NULL, NULL, NULL), RT_E_ARG);
    rt_buf out = {0};
    RT_OK_OR_FAIL(rt_shard_inspect(bin, t, 4, &out, &err));
    RT_CHECK(out.data && strstr(out.data, "documents: 3\n") && strstr(out.data, "front_text: ab cab\n"), "%s",
             out.data);
    rt_buf_free(&out);
    rt_tokenizer_vocab_free(&v);
    rt_tokenizer_free(t);
}

static void a_story_s_bytes_are_all_covered(void) {
    const char *dir = rt_fixture("models/stories260K/hf-f32"), *text = rt_fixture("text/tinystories_heldin.txt");
    if (!dir || !text) return;
    rt_error err = {0};
    rt_tokenizer *t;
    rt_shard_info info;
    RT_OK_OR_FAIL(rt_tokenizer_load(&t, dir, &err));
    RT_OK_OR_FAIL(rt_shard_make(path_in(rt_test_dir(), "s.bin"), &text, 1, NULL, t, &info, &err));
    RT_CHECK(info.bytes == 300000 && info.documents == 1, "%lld bytes", (long long)info.bytes);
    rt_tokenizer_free(t);
}

RT_SUITE(shard) {
    RT_TEST(documents_are_laid_out);
    RT_TEST(the_file_is_llmc_s);
    RT_TEST(foreign_shards_are_read);
    RT_TEST(mismatches_are_refused);
    RT_TEST(every_damage_is_found_or_harmless);
    RT_TEST(out_of_memory_is_clean);
    RT_TEST(a_full_disk_leaves_nothing);
    RT_TEST(lines_of_ids_and_back);
    RT_TEST(text_and_shard_give_one_stream);
    RT_TEST(a_story_s_bytes_are_all_covered);
}
