/* corpus_sketch.c - what a job's data would come to, without reading it: shards say how many tokens they hold, texts
 * are as long as their files, and the front of each tells how many bytes a token has. */
#include "text/input.h"
#include "text/shard_format.h"
#include "train/corpus_private.h"
#include <retort/base/file.h>
#include <stdio.h>
#include <string.h>

enum {
    SAMPLE = 64 << 10,
    BYTES_A_TOKEN = sizeof(int32_t) + sizeof(uint16_t) /* token_stream.h */,
    WORK_A_TOKEN = 2 * sizeof(int32_t) + sizeof(rt_span)
};

/* ------------------------------------------------------------------ shards */

static int64_t size_if_there(const char *path, const char *suffix) {
    char full[4096];
    rt_error ignored = {0};
    int64_t n = 0;
    snprintf(full, sizeof full, "%s%s", path, suffix);
    if (!rt_file_exists(full) || rt_file_size(full, &n, &ignored) != RT_OK) return 0;
    return n;
}
static rt_status shard(const char *path, int64_t *tokens, rt_corpus_estimate *e, rt_error *err) {
    rt_map file;
    int32_t header[3] = {0};
    RT_TRY(rt_file_map(path, &file, err));
    if (file.size >= RT_SHARD_HEADER) memcpy(header, file.data, sizeof header);
    rt_file_unmap(&file);
    if (header[0] != RT_SHARD_MAGIC_16 && header[0] != RT_SHARD_MAGIC_32)
        return rt_fail(err, RT_E_INPUT, "%s: not a token shard", path);
    *tokens += header[2];
    e->mapped += size_if_there(path, "") + size_if_there(path, ".spans") + size_if_there(path, ".mask");
    return RT_OK;
}

/* ------------------------------------------------------------------- texts */

static bool is_gzip(const char *path) {
    unsigned char first[2] = {0};
    FILE *f = fopen(path, "rb");
    bool yes = f && fread(first, 1, 2, f) == 2 && first[0] == 0x1f && first[1] == 0x8b;
    if (f) fclose(f);
    return yes;
}
/* gzip's last four bytes: the length of its last member, modulo 2^32 (RFC 1952, 2.3.1). */
static int64_t text_bytes(const char *path) {
    unsigned char last[4] = {0};
    if (!is_gzip(path)) return size_if_there(path, "");
    FILE *f = fopen(path, "rb");
    bool read = f && fseek(f, -4, SEEK_END) == 0 && fread(last, 1, 4, f) == 4;
    if (f) fclose(f);
    return read ? (int64_t)last[0] | (int64_t)last[1] << 8 | (int64_t)last[2] << 16 | (int64_t)last[3] << 24 : 0;
}

/* Up to the last whole character. */
static size_t whole(const char *text, size_t n) {
    while (n > 0 && ((unsigned char)text[n - 1] & 0xc0) == 0x80) n--;
    return n > 0 && (unsigned char)text[n - 1] >= 0xc0 ? n - 1 : n;
}
static rt_status front(const char *path, char *text, size_t *n, rt_error *err) {
    rt_input *in;
    size_t part = 1;
    RT_TRY(rt_input_open(&in, path, err));
    rt_status s = RT_OK;
    for (*n = 0; s == RT_OK && part > 0 && *n < SAMPLE; *n += part)
        s = rt_input_read(in, text + *n, SAMPLE - *n, &part, err);
    rt_input_close(in);
    return s;
}
static rt_status tokens_a_byte(const rt_tokenizer *t, const char *path, double *rate, rt_error *err) {
    char *text = rt_alloc(SAMPLE);
    rt_ids ids = {0};
    size_t n = 0;
    *rate = 0;
    if (!text) return rt_fail(err, RT_E_NOMEM, "%s: out of memory", path);
    rt_status s = front(path, text, &n, err);
    size_t m = n == SAMPLE ? whole(text, n) : n;
    if (s == RT_OK && m > 0) s = rt_tokenizer_encode(t, text, m, false, &ids, err);
    if (s == RT_OK && m > 0) *rate = (double)ids.size / (double)m;
    rt_ids_free(&ids);
    rt_free(text);
    return s;
}

static int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }
static rt_status text(const rt_corpus_set *c, const rt_job_data *d, const char *path, int64_t *tokens,
                      rt_corpus_estimate *e, rt_error *err) {
    double rate;
    e->exact = false;
    if (!c->tokenizer)
        return rt_fail(err, RT_E_ARG, "%s: text needs a tokenizer (data.tokenizer names its folder)", path);
    if (strcmp(path, "-") == 0) return RT_OK; /* read once only, and not by us */
    RT_TRY(tokens_a_byte(c->tokenizer, path, &rate, err));
    int64_t bytes = text_bytes(path), n = (int64_t)(rate * (double)bytes);
    bool one_document =
        strcmp(d->separator, "none") == 0 && !strstr(path, ".json") && !strstr(path, ".csv") && !strstr(path, ".tsv");
    *tokens += n;
    e->memory += BYTES_A_TOKEN * n;
    if (one_document) e->loading = most(e->loading, bytes + WORK_A_TOKEN * n);
    return RT_OK;
}

/* -------------------------------------------------------------------- both */

static rt_status files(const rt_corpus_set *c, const rt_job_data *d, const rt_strings *list, int64_t *tokens,
                       rt_corpus_estimate *e, rt_error *err) {
    for (int64_t i = 0; i < list->count; i++) {
        const char *path = list->item[i];
        RT_TRY(rt_is_shard(path) ? shard(path, tokens, e, err) : text(c, d, path, tokens, e, err));
    }
    return RT_OK;
}

static rt_status sketch(rt_corpus_set *c, const rt_job *job, const char *dir, rt_corpus_estimate *e, rt_error *err) {
    const rt_job_data *d = &job->data;
    RT_TRY(rt_corpus_set_check(job, err));
    RT_TRY(rt_corpus_set_tokenizer(c, d, dir, err));
    RT_TRY(files(c, d, &d->train, &e->train_tokens, e, err));
    RT_TRY(files(c, d, &d->valid, &e->valid_tokens, e, err));
    if (d->valid.count == 0) {
        e->valid_tokens = (int64_t)((double)e->train_tokens * d->valid_fraction);
        e->train_tokens -= e->valid_tokens;
    }
    bool unknown = !c->tokenizer && !job->student.vocab_size && !job->teacher.path; /* then it is the highest id + 1 */
    return unknown ? rt_corpus_set_load(&c->train_stream, c, d, &d->train, err) : RT_OK;
}

rt_status rt_corpus_set_sketch(rt_corpus_set *c, const rt_job *job, const char *tokenizer_dir, rt_corpus_estimate *e,
                               rt_error *err) {
    *c = (rt_corpus_set){0};
    *e = (rt_corpus_estimate){.exact = true};
    rt_status s = sketch(c, job, tokenizer_dir, e, err);
    if (s != RT_OK) rt_corpus_set_close(c);
    return s;
}
