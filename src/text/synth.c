/* synth.c - the files of the synthetic corpus. source.json is written last: where it is, the texts are complete. */
#include <retort/base/file.h>
#include <retort/base/json.h>
#include <retort/text/synth.h>

enum { FLUSH = 1 << 16 };
static const char *const streams[3] = {"train", "valid", "test"};

static rt_status write_stories(rt_file_writer *f, rt_buf *b, const char *stream, int64_t bytes, uint64_t seed,
                               rt_synth_entropy *e, rt_error *err) {
    for (uint64_t i = 0; e->bytes < bytes; i++) {
        if (i) rt_buf_puts(b, "\n\n");
        size_t before = b->size;
        e->bits += rt_synth_story(seed, stream, i, b);
        if (b->failed) return rt_fail(err, RT_E_NOMEM, "%s: out of memory", f->path);
        e->documents++, e->bytes += (int64_t)(b->size - before);
        if (b->size < FLUSH) continue;
        RT_TRY(rt_file_writer_add(f, b->data, b->size, err));
        b->size = 0;
    }
    rt_buf_puts(b, "\n");
    return rt_file_writer_add(f, b->data, b->size, err);
}

static rt_status write_file(const char *dir, int which, int64_t bytes, uint64_t seed, rt_synth_entropy *e,
                            rt_error *err) {
    rt_file_writer f;
    rt_buf path = {0}, b = {0};
    *e = (rt_synth_entropy){0};
    rt_buf_printf(&path, "%s/%s.txt", dir, streams[which]);
    rt_status s =
        path.failed ? rt_fail(err, RT_E_NOMEM, "%s: out of memory", dir) : rt_file_writer_open(path.data, &f, err);
    if (s == RT_OK) {
        s = write_stories(&f, &b, streams[which], bytes, seed, e, err);
        if (s == RT_OK)
            s = rt_file_writer_commit(&f, err);
        else
            rt_file_writer_discard(&f);
    }
    rt_buf_free(&path);
    rt_buf_free(&b);
    return s;
}

static json_t *entropy_json(const rt_synth_entropy *e) {
    return json_pack("{s:I, s:I, s:f, s:f}", "documents", (json_int_t)e->documents, "bytes", (json_int_t)e->bytes,
                     "bits", e->bits, "bits_per_byte", e->bits / (double)e->bytes);
}

static json_t *source_json(uint64_t seed, const rt_synth_entropy e[3]) {
    return json_pack(
        "{s:s, s:i, s:I, s:s, s:s, s:s, s:s, s:{s:o, s:o, s:o}}", "generator", "retort data synth", "grammar_version",
        RT_SYNTH_VERSION, "seed", (json_int_t)seed, "separator", "blank_line", "bytes_cover",
        "the UTF-8 bytes of the documents; the blank lines between them and the file's last newline are not counted",
        "bits_cover",
        "-log2 of the exact probability of the documents, each an independent draw from the grammar, including for each that it ends "
        "where it does (what a model pays at its end-of-text token); not included: how many documents there are",
        "comparable_with",
        "bits_per_byte of `retort eval` on the same file with data.separator = blank_line and a tokenizer that begins documents with a "
        "bos or end-of-text token, so that every byte is scored",
        "files", "train.txt", entropy_json(&e[0]), "valid.txt", entropy_json(&e[1]), "test.txt", entropy_json(&e[2]));
}

static rt_status write_source(const char *dir, uint64_t seed, const rt_synth_entropy e[3], rt_error *err) {
    rt_buf path = {0};
    rt_buf_printf(&path, "%s/source.json", dir);
    json_t *v = path.failed ? NULL : source_json(seed, e);
    rt_status s = v ? rt_json_save(path.data, v, err) : rt_fail(err, RT_E_NOMEM, "%s: out of memory", dir);
    json_decref(v);
    rt_buf_free(&path);
    return s;
}

rt_status rt_synth_write(const char *dir, int64_t bytes, uint64_t seed, rt_synth_entropy files[3], rt_error *err) {
    if (bytes < 10000 || bytes > (int64_t)1 << 40)
        return rt_fail(err, RT_E_ARG, "synth: %lld bytes asked for, expected 10000 to 2^40", (long long)bytes);
    if (seed > INT64_MAX) return rt_fail(err, RT_E_ARG, "synth: seed %llu, at most 2^63 - 1", (unsigned long long)seed);
    RT_TRY(rt_dir_make(dir, err));
    int64_t small = bytes / 20;
    for (int i = 0; i < 3; i++) RT_TRY(write_file(dir, i, i ? small : bytes - 2 * small, seed, &files[i], err));
    return write_source(dir, seed, files, err);
}
