/* test_damage_text.c - damaged token shards with their sidecars, gzip, and job files. */
#include "damage.h"
#include "harness.h"
#include <retort/base/file.h>
#include <retort/base/json.h>
#include <retort/text/corpus.h>
#include <retort/text/shard.h>
#include <retort/train/job.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

/* --------------------------------------------------------------------- shards */

enum { TOKENS = 40 };
static const rt_vocab vocab = {.size = 300, .bos = 1, .eos = 2, .hash = "aa"}, any_vocab = {.size = 0, .bos = -1, .eos = -1};
typedef struct shard_case {
    char path[1024];
    const rt_vocab *vocab;
    bool whole; /* all sidecars are there: whatever opens has the tokens that were written */
} shard_case;
static rt_buf sound_tokens;

static rt_status read_tokens(const shard_case *c, rt_buf *out, rt_error *err) {
    rt_shard *s;
    RT_TRY(rt_shard_open(&s, c->path, c->vocab, err));
    const rt_shard_info *n = rt_shard_about(s);
    CU_ASSERT_TRUE(n->tokens > 0 && n->documents > 0 && n->highest >= 0);
    for (int64_t i = 0; i < n->tokens; i++) {
        int32_t id;
        uint16_t span;
        rt_shard_read(s, i, 1, &id, &span);
        CU_ASSERT_TRUE(id >= 0 && id <= n->highest && (!n->vocab || id < n->vocab));
        rt_buf_printf(out, "%d:%d ", id, span);
    }
    rt_shard_close(s);
    return RT_OK;
}
static rt_status open_shard(void *context, rt_error *err) {
    const shard_case *c = context;
    rt_buf b = {0};
    rt_status s = read_tokens(c, &b, err);
    if (s == RT_OK && c->whole) RT_CHECK(b.size == sound_tokens.size && memcmp(b.data, sound_tokens.data, b.size) == 0, "other tokens were accepted");
    rt_buf_free(&b);
    return s;
}

static void make_shard(shard_case *c, const rt_vocab *v) {
    static const int32_t ids[] = {10, 11, 299, 12, 13, 14, 255, 256};
    static const uint32_t bytes[] = {1, 2, 3, 0, 4, 300, 1, 1};
    rt_error err = {0};
    rt_shard_writer *w;
    snprintf(c->path, sizeof c->path, "%s/x.bin", rt_test_dir());
    c->vocab = v, c->whole = true;
    RT_OK_OR_FAIL(rt_shard_writer_open(&w, c->path, v, &err));
    for (int i = 0; i < 4; i++) RT_OK_OR_FAIL(rt_shard_writer_add(w, ids + i, bytes + i, 4, &err));
    RT_OK_OR_FAIL(rt_shard_writer_commit(w, NULL, &err));
    rt_shard_writer_free(w);
    rt_buf_free(&sound_tokens);
    RT_OK_OR_FAIL(read_tokens(c, &sound_tokens, &err));
}
static void damage_shard_file(shard_case *c, const char *suffix, int64_t every) {
    char path[1100];
    snprintf(path, sizeof path, "%s%s", c->path, suffix);
    rt_damage d = {.path = path, .read = open_shard, .context = c, .every = every};
    rt_damage_all(&d);
    RT_CHECK(d.cases > 500 && d.accepted < d.cases, "%s: %lld of %lld", path, (long long)d.accepted, (long long)d.cases);
}
static void shards_and_their_sidecars(void) {
    const rt_vocab *vocabs[] = {&vocab, &any_vocab}; /* 16-bit tokens, 32-bit tokens */
    for (int i = 0; i < 2; i++) {
        shard_case c;
        make_shard(&c, vocabs[i]);
        damage_shard_file(&c, "", 8);
        damage_shard_file(&c, ".json", 3);
        damage_shard_file(&c, ".spans", 2);
        char path[1100];
        snprintf(path, sizeof path, "%s.spans", c.path);
        CU_ASSERT_EQUAL(unlink(path), 0);
        snprintf(path, sizeof path, "%s.json", c.path);
        CU_ASSERT_EQUAL(unlink(path), 0);
        c.whole = false; /* as other programs write them: nothing tells of a changed token */
        damage_shard_file(&c, "", 8);
    }
    rt_buf_free(&sound_tokens);
}
static void counts_that_lie(void) {
    static const int32_t headers[][3] = {{20240520, 1, INT32_MAX}, {20240520, 1, -1}, {20240520, 1, INT32_MIN}, {20240520, 1, 0}, {20240520, 2, 16},
                                         {20240801, 1, 16}, {20240801, 7, INT32_MAX}, {20240801, 7, 1 << 30}, {0, 0, 0}};
    shard_case c;
    make_shard(&c, &vocab);
    rt_damage d = {.path = c.path, .read = open_shard, .context = &c};
    for (size_t i = 0; i < sizeof headers / sizeof *headers; i++) {
        char bytes[1024 + 32] = {0};
        memcpy(bytes, headers[i], sizeof headers[i]);
        CU_ASSERT_EQUAL(rt_damage_replace(&d, bytes, sizeof bytes, "a count that lies"), RT_E_INPUT);
    }
    char path[1100];
    snprintf(path, sizeof path, "%s.json", c.path);
    d.path = path;
    static const char *const json[] = {"{}", "[]", "{\"tokens\": 1e999}", "{\"tokens\": 9223372036854775807}", "{\"tokens\": \"20\"}", "{\"tokens\": 20, \"bytes\": -2}",
                                       "{\"tokens\": 20, \"tokenizer\": \"\\u001b[31m\"}", "{\"tokens\": 20, \"tokens_hash\": \"12345678901234567\"}"};
    for (size_t i = 0; i < sizeof json / sizeof *json; i++) CU_ASSERT_EQUAL(rt_damage_replace(&d, json[i], strlen(json[i]), json[i]), RT_E_INPUT);
    rt_buf_free(&sound_tokens);
}

/* ----------------------------------------------------------------------- gzip */

static char text[3000];
static rt_status read_text(void *context, rt_error *err) {
    rt_corpus *c;
    rt_document d;
    bool end = false;
    rt_buf b = {0};
    const char *path = context;
    RT_TRY(rt_corpus_open(&c, &path, 1, NULL, err));
    rt_status s;
    while ((s = rt_corpus_next(c, &d, &end, err)) == RT_OK && !end) rt_buf_add(&b, d.text, d.bytes);
    rt_corpus_close(c);
    if (s == RT_OK) RT_CHECK(b.size == sizeof text && memcmp(b.data, text, b.size) == 0, "%zu other bytes came out", b.size);
    rt_buf_free(&b);
    return s;
}
static void gzip_gives_the_text_or_an_error(void) {
    char path[1024];
    for (size_t i = 0; i < sizeof text; i++) text[i] = (char)(i % 50 ? 'a' + i * i % 26 : '\n');
    snprintf(path, sizeof path, "%s/t.txt.gz", rt_test_dir());
    gzFile f = gzopen(path, "wb");
    CU_ASSERT_EQUAL(gzwrite(f, text, sizeof text), (int)sizeof text);
    CU_ASSERT_EQUAL(gzclose(f), Z_OK);
    int64_t size = 0;
    rt_error err = {0};
    RT_OK_OR_FAIL(rt_file_size(path, &size, &err));
    rt_damage d = {.path = path, .read = read_text, .context = path, .whole = (size_t)size};
    rt_damage_cut(&d);
    rt_damage_flip(&d); /* of the header's ten bytes time, system and flags may differ; nothing else may pass */
    CU_ASSERT_TRUE(d.cases > 1000 && d.accepted < 250);
}

/* ------------------------------------------------------------------------ jobs */

static const char job_text[] = "teacher:  {path: models/teacher, dtype: float16}\n"
                               "student:  {arch: mixtral, hidden_size: 256, layers: 4, heads: 8, kv_heads: 4, experts: 8}\n"
                               "data:\n  train: [train.bin, 'a b.txt']\n  separator: \"\\u00e9\\n\"\n"
                               "objective:\n  - {loss: forward_kl, weight: 0.7, temperature: 2.0}\n  - {loss: next_token, weight: 3e-1}\n"
                               "optimizer: {lr: 1e-3, betas: [0.9, 0.95]} # a note\n"
                               "run:      {out: runs/a, head_budget: 96MiB}\n";
/* What is accepted can be written as JSON and read again as the same. */
static rt_status read_job(void *context, rt_error *err) {
    rt_job a, b;
    const char *path = context;
    RT_TRY(rt_job_load(path, NULL, 0, &a, err));
    json_t *x = rt_job_json(&a), *y = NULL;
    rt_error why = {0};
    if (rt_job_from_json(x, "again", &b, &why) == RT_OK) y = rt_job_json(&b), rt_job_free(&b);
    RT_CHECK(y && json_equal(x, y), "an accepted job is not read again as itself: %s", why.text);
    json_decref(x), json_decref(y);
    rt_job_free(&a);
    return RT_OK;
}
static const rt_status job_refusals[] = {RT_E_CONFIG, RT_E_UNSUPPORTED, RT_OK};
static rt_damage job_patient(void) {
    static char path[1024];
    rt_error err = {0};
    snprintf(path, sizeof path, "%s/job.yaml", rt_test_dir());
    RT_OK_OR_FAIL(rt_file_write_atomic(path, job_text, sizeof job_text - 1, &err));
    return (rt_damage){.path = path, .read = read_job, .context = path, .refusals = job_refusals};
}
static void jobs_are_refused_or_read(void) {
    rt_damage d = job_patient();
    d.every = 4;
    rt_damage_all(&d);
    CU_ASSERT_TRUE(d.cases > 2000 && d.accepted > 100 && d.accepted < d.cases);
}
static void repeated(rt_damage *d, const char *head, const char *piece, int times) {
    rt_buf b = {0};
    rt_buf_puts(&b, head);
    for (int i = 0; i < times; i++) rt_buf_puts(&b, piece);
    CU_ASSERT_EQUAL(rt_damage_replace(d, b.data, b.size, piece), RT_E_CONFIG);
    rt_buf_free(&b);
}
static void hostile_jobs_are_refused(void) {
    rt_damage d = job_patient();
    static const int many = 1000000;
    repeated(&d, "a: ", "[", many);
    repeated(&d, "a: ", "{a: ", 250000);
    repeated(&d, "", "- ", many / 2);
    repeated(&d, "a: &a [1]\nb: ", "*a ", 1000);
    repeated(&d, "a: \"", "\\u00e9", 100000);
    repeated(&d, "? ", "? ", 1000);
    repeated(&d, "a: ", "!!binary ", 1000);
    repeated(&d, "%YAML 9.9\n", "---\n", 10);
    repeated(&d, "", "\xef\xbb\xbf", 100);
    repeated(&d, "a: \xff\xfe", "x", 10);
    repeated(&d, "run: {seed: 1e", "9", 100000);
    repeated(&d, "run: {out: a}\nrun: {out: b}\n", "run: {out: c}\n", 3);
    repeated(&d, "", "x: 1\n", 200000);
    repeated(&d, "a", "a", 1 << 19);
}

RT_SUITE(damage_text) {
    RT_TEST(shards_and_their_sidecars);
    RT_TEST(counts_that_lie);
    RT_TEST(gzip_gives_the_text_or_an_error);
    RT_TEST(jobs_are_refused_or_read);
    RT_TEST(hostile_jobs_are_refused);
}
