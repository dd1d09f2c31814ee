/* tiny_job.c - the files of a tiny distillation, and comparisons of what it leaves. */
#include "tiny_job.h"
#include <retort/base/file.h>
#include <retort/io/checkpoint.h>
#include <retort/text/bpe_train.h>
#include <retort/text/synth.h>
#include <retort/text/tokenizer.h>
#include <retort/train/run.h>
#include <stdio.h>
#include <string.h>

enum { TRAIN_BYTES = 21000, VALID_BYTES = 2500, D = 48, LAYERS = 2, MAX_SETS = 32 };

/* ------------------------------------------------------------------- files */

static void write_file(const char *path, const rt_buf *b) {
    rt_error err = {0};
    RT_OK_OR_FAIL(rt_file_write_atomic(path, b->data, b->size, &err));
}

static void stories(const char *stream, size_t bytes, rt_buf *out) {
    for (uint64_t i = 0; out->size < bytes; i++) {
        if (i) rt_buf_puts(out, "\n\n");
        rt_synth_story(7, stream, i, out);
    }
    rt_buf_puts(out, "\n");
}

static void write_tokenizer(const char *dir, const char *json) {
    char path[700];
    rt_error err = {0};
    snprintf(path, sizeof path, "%s/tokenizer.json", dir);
    RT_OK_OR_FAIL(rt_file_write_atomic(path, json, strlen(json), &err));
}

/* Embedding and head are wide enough for the teacher to have opinions. */
void rt_tiny_teacher(const char *dir, int64_t vocab, int64_t positions, const char *tokenizer_json) {
    rt_error err = {0};
    rt_weights w;
    rt_tensor tensors[32];
    rt_precision p = rt_precision_student(RT_F16);
    rt_model_config c = rt_model_config_default(rt_arch_find("llama"));
    c.vocab_size = vocab + RT_TINY_PADDING, c.hidden_size = D, c.layers = LAYERS, c.heads = 4, c.kv_heads = 2, c.head_dim = D / 4;
    c.ffn_size = 64, c.max_position = positions;
    RT_OK_OR_FAIL(rt_weights_layout(&w, &c, &p, &err));
    RT_OK_OR_FAIL(rt_weights_alloc(&w, &err));
    rt_weights_init(&w, 3);
    rt_fill_normal(&w.slots[0].t, 0.5, 1);
    rt_fill_normal(&w.slots[w.count - 1].t, 0.3, 2);
    for (int64_t i = 0; i < rt_weight_count(&c); i++) tensors[i] = rt_weights_get(&w, i, NULL);
    RT_OK_OR_FAIL(rt_dir_make(dir, &err));
    RT_OK_OR_FAIL(rt_hf_write(dir, &c, tensors, NULL, &err));
    rt_weights_free(&w);
    if (tokenizer_json) write_tokenizer(dir, tokenizer_json);
}

static void write_job(const rt_tiny *t) {
    rt_buf b = {0};
    rt_buf_printf(&b,
                  "teacher: {path: '%s', dtype: float16}\n"
                  "projector: {prefit_steps: 5}\n"
                  "student: {hidden_size: 32, layers: 2, heads: 4, kv_heads: 2, ffn_size: 32, experts: 4, experts_per_token: 2, max_position: 64}\n"
                  "data: {train: ['%s'], valid: ['%s'], separator: blank_line, sequence_length: %d, batch: %d, accumulate: %d}\n"
                  "optimizer: {lr: 1e-2}\n"
                  "schedule: {warmup: 4, steps: %d}\n"
                  "run: {eval_every: 10, save_every: 0, log_every: 5, threads: 1}\n",
                  t->teacher, t->train, t->valid, RT_TINY_T, RT_TINY_BATCH, RT_TINY_ACCUMULATE, RT_TINY_STEPS);
    write_file(t->yaml, &b);
    rt_buf_free(&b);
}

static void make_files(rt_tiny *t) {
    rt_buf train = {0}, valid = {0}, json = {0};
    rt_error err = {0};
    const char *dir = rt_test_dir();
    snprintf(t->yaml, sizeof t->yaml, "%s/job.yaml", dir);
    snprintf(t->teacher, sizeof t->teacher, "%s/teacher", dir);
    snprintf(t->train, sizeof t->train, "%s/train.txt", dir);
    snprintf(t->valid, sizeof t->valid, "%s/valid.txt", dir);
    stories("train", TRAIN_BYTES, &train);
    stories("valid", VALID_BYTES, &valid);
    write_file(t->train, &train);
    write_file(t->valid, &valid);
    RT_OK_OR_FAIL(rt_bpe_train(train.data, train.size, &(rt_bpe_train_options){.vocab = RT_TINY_VOCAB, .bos_eos = true}, &json, &err));
    rt_tiny_teacher(t->teacher, RT_TINY_VOCAB, 64, json.data);
    write_job(t);
    rt_buf_free(&train), rt_buf_free(&valid), rt_buf_free(&json);
}

const rt_tiny *rt_tiny_files(void) {
    static rt_tiny files;
    if (!*files.yaml) make_files(&files);
    return &files;
}

/* --------------------------------------------------------------------- job */

void rt_tiny_job(rt_job *job, const char *out, const char *const *sets) {
    const char *all[MAX_SETS] = {0};
    char out_set[700];
    int n = 0;
    rt_error err = {0};
    snprintf(out_set, sizeof out_set, "run.out=%s", out ? out : "");
    if (out) all[n++] = out_set;
    for (int i = 0; sets[i] && n < MAX_SETS; i++) all[n++] = sets[i];
    RT_OK_OR_FAIL(rt_job_load(rt_tiny_files()->yaml, all, n, job, &err));
}

const char *rt_tiny_run(bool resume, const char *out, const char *const *sets) {
    static rt_run_result results[4];
    static unsigned turn;
    rt_run_result *r = &results[turn++ % 4];
    rt_error err = {0};
    rt_job job;
    rt_tiny_job(&job, out, sets);
    RT_OK_OR_FAIL(rt_run(&job, &(rt_run_options){.resume = resume, .command = "distill"}, r, &err));
    rt_job_free(&job);
    return r->checkpoint;
}

/* -------------------------------------------------------------- comparison */

static void same_file(const char *a, const char *b, const char *name) {
    char x[4200], y[4200];
    rt_error err = {0};
    rt_buf one = {0}, two = {0};
    snprintf(x, sizeof x, "%s/%s", a, name);
    snprintf(y, sizeof y, "%s/%s", b, name);
    RT_OK_OR_FAIL(rt_file_read(x, (size_t)64 << 20, &one, &err));
    RT_OK_OR_FAIL(rt_file_read(y, (size_t)64 << 20, &two, &err));
    RT_CHECK(one.size > 0 && one.size == two.size && memcmp(one.data, two.data, one.size) == 0, "%s differs from %s", x, y);
    rt_buf_free(&one), rt_buf_free(&two);
}

void rt_same_checkpoint(const char *a, const char *b, const char *except) {
    rt_error err = {0};
    json_t *x = NULL, *y = NULL, *file;
    const char *name;
    RT_OK_OR_FAIL(rt_checkpoint_verify(a, &err));
    RT_OK_OR_FAIL(rt_checkpoint_verify(b, &err));
    RT_OK_OR_FAIL(rt_checkpoint_manifest(a, &x, &err));
    RT_OK_OR_FAIL(rt_checkpoint_manifest(b, &y, &err));
    json_t *files = json_object_get(x, "files"), *others = json_object_get(y, "files");
    RT_CHECK(json_object_size(files) >= 6 && json_object_size(files) == json_object_size(others), "%s and %s hold different files", a, b);
    json_object_foreach(files, name, file)
        if (!except || strcmp(name, except) != 0) same_file(a, b, name);
    json_decref(x), json_decref(y);
}

static void add_record(json_t *list, const char *line, size_t length, const char *kind) {
    rt_error err = {0};
    json_t *o = NULL;
    RT_OK_OR_FAIL(rt_json_parse(line, length, "log.jsonl", &o, &err));
    const char *is = json_string_value(json_object_get(o, "record"));
    json_object_del(o, "seconds");
    json_object_del(o, "tokens_per_s");
    if (is && strcmp(is, kind) == 0) json_array_append(list, o);
    json_decref(o);
}

json_t *rt_log_records(const char *out, const char *kind) {
    char path[700];
    rt_error err = {0};
    rt_buf b = {0};
    json_t *list = json_array();
    snprintf(path, sizeof path, "%s/log.jsonl", out);
    RT_OK_OR_FAIL(rt_file_read(path, (size_t)64 << 20, &b, &err));
    for (const char *line = b.data, *end; line && (end = strchr(line, '\n')); line = end + 1) add_record(list, line, (size_t)(end - line), kind);
    rt_buf_free(&b);
    return list;
}
