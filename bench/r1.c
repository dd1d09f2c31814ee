/* r1.c - see r1.h. */
#include "r1.h"
#include "text/byte_alphabet.h"
#include <retort/base/file.h>
#include <retort/base/json.h>
#include <retort/base/rng.h>
#include <stdio.h>
#include <stdlib.h>

enum { V = 8192, T = 256, WINDOWS = 8, TOKENS = 1 << 16 };

/* ---------------------------------------------------------------- tokenizer: 256 bytes and 7936 pairs of them */

static int character(int byte, char *out) {
    int32_t c = rt_byte_alphabet_char((uint8_t)byte);
    if (c < 0x80) return out[0] = (char)c, out[1] = 0, 1;
    out[0] = (char)(0xc0 | c >> 6), out[1] = (char)(0x80 | (c & 0x3f)), out[2] = 0;
    return 2;
}
static rt_status write_tokenizer(const char *folder, rt_error *err) {
    json_t *vocab = json_object(), *merges = json_array();
    char path[128], a[8], pair[16];
    for (int id = 0; id < V; id++) {
        int n = character(id < 256 ? id : id / 256 - 1, a);
        snprintf(pair, sizeof pair, "%s", a);
        if (id >= 256) {
            character(id % 256, pair + n);
            json_array_append_new(merges, json_pack("[ss]", a, pair + n));
        }
        json_object_set_new(vocab, pair, json_integer(id));
    }
    json_t *tokenizer = json_pack("{s:s, s:{s:s, s:b, s:b}, s:{s:s}, s:{s:s, s:o, s:o}}", "version", "1.0", "pre_tokenizer", "type", "ByteLevel",
                                  "add_prefix_space", 0, "use_regex", 1, "decoder", "type", "ByteLevel", "model", "type", "BPE", "vocab", vocab, "merges", merges);
    snprintf(path, sizeof path, "%s/tokenizer.json", folder);
    rt_status s = rt_json_save(path, tokenizer, err);
    json_decref(tokenizer);
    return s;
}

/* ------------------------------------------------------------------------------------------ data and teacher */

static rt_status write_tokens(const char *folder, rt_error *err) {
    char path[128];
    rt_vocab vocab = {.size = V, .bos = -1, .eos = -1};
    rt_shard_writer *w = NULL;
    int32_t *ids = rt_alloc(TOKENS * sizeof *ids);
    uint32_t *bytes = rt_alloc(TOKENS * sizeof *bytes);
    rt_rng r = rt_rng_make(1, "bench.tokens", 0);
    for (int i = 0; ids && bytes && i < TOKENS; i++) ids[i] = (int32_t)(rt_rng_uniform(r, (uint64_t)i) * V), bytes[i] = 2;
    snprintf(path, sizeof path, "%s/tokens.bin", folder);
    rt_status s = ids && bytes ? rt_shard_writer_open(&w, path, &vocab, err) : rt_fail(err, RT_E_NOMEM, "out of memory");
    if (s == RT_OK) s = rt_shard_writer_add(w, ids, bytes, TOKENS, err);
    if (s == RT_OK) s = rt_shard_writer_commit(w, NULL, err);
    rt_shard_writer_free(w);
    rt_free(ids), rt_free(bytes);
    return s;
}

static rt_status write_weights(const char *folder, const rt_weights *w, rt_error *err) {
    int64_t n = rt_weight_count(&w->config);
    rt_tensor *t = rt_alloc(rt_array_bytes((size_t)n, sizeof *t));
    if (!t) return rt_fail(err, RT_E_NOMEM, "out of memory");
    for (int64_t i = 0; i < n; i++) t[i] = rt_weights_get(w, i, NULL); /* dense: views */
    rt_status s = rt_hf_write(folder, &w->config, t, NULL, err);
    rt_free(t);
    return s;
}
/* Deviation 0.02, as Llama is initialised: logits are small, and that is as well, since speed does not depend on them. */
static rt_status write_teacher(const char *folder, double *body, rt_error *err) {
    rt_model_config c = rt_model_config_default(rt_arch_find("llama"));
    c.vocab_size = V, c.hidden_size = 512, c.layers = 8, c.heads = c.kv_heads = 8, c.head_dim = 64, c.ffn_size = 1408, c.max_position = 2048;
    rt_precision p = rt_precision_teacher(RT_F16, true);
    rt_weights w = {0};
    rt_status s = rt_model_config_check(&c, err);
    if (s == RT_OK) s = rt_weights_layout(&w, &c, &p, err);
    if (s == RT_OK) s = rt_weights_alloc(&w, err);
    if (s == RT_OK) rt_weights_init(&w, 7), s = write_weights(folder, &w, err);
    rt_weights_free(&w);
    *body = (double)rt_model_parameters(&c).active_body;
    return s;
}

/* ------------------------------------------------------------------------------------------------------- job */

static const char objective[] = "objective=[{loss: forward_kl, weight: 0.7, temperature: 2}, {loss: next_token, weight: 0.3}, "
                                "{loss: balance, weight: 0.01}, {loss: router_z, weight: 0.001}]";

static rt_status load_job(r1 *b, const char *set, rt_error *err) {
    char teacher[128], data[128], valid[128];
    snprintf(teacher, sizeof teacher, "teacher.path=%s", b->folder);
    snprintf(data, sizeof data, "data.train=[%s/tokens.bin]", b->folder);
    snprintf(valid, sizeof valid, "data.valid_fraction=0.05");
    const char *sets[] = {teacher, data, valid, "data.sequence_length=256", "data.batch=8", "student.arch=mixtral", "student.hidden_size=256",
                          "student.layers=4", "student.heads=8", "student.kv_heads=4", "student.ffn_size=512", "student.experts=8",
                          "student.experts_per_token=2", "run.out=unused", objective, set};
    return rt_job_load(NULL, sets, (int64_t)(sizeof sets / sizeof *sets) - !set, &b->job, err);
}

static rt_status open_all(r1 *b, const char *set, rt_error *err) {
    snprintf(b->folder, sizeof b->folder, "/tmp/retort-r1-XXXXXX");
    if (!mkdtemp(b->folder)) return rt_fail(err, RT_E_IO, "%s: cannot be made", b->folder);
    RT_TRY(write_tokenizer(b->folder, err));
    RT_TRY(write_tokens(b->folder, err));
    RT_TRY(write_teacher(b->folder, &b->teacher_body, err));
    RT_TRY(load_job(b, set, err));
    RT_TRY(rt_trainer_open(&b->trainer, &b->job, 0, err));
    b->student_body = (double)rt_model_parameters(&b->trainer->config).active_body;
    return rt_trainer_begin(b->trainer, NULL, NULL, err);
}
rt_status r1_open(r1 *b, const char *set, rt_error *err) {
    *b = (r1){0};
    rt_status s = open_all(b, set, err);
    if (s != RT_OK) r1_close(b);
    return s;
}
void r1_close(r1 *b) {
    rt_error ignored = {0};
    rt_trainer_close(b->trainer);
    rt_job_free(&b->job);
    if (b->folder[0] && rt_tree_remove(b->folder, &ignored) != RT_OK) fprintf(stderr, "%s\n", ignored.text);
    *b = (r1){0};
}

double r1_operations(const r1 *b) {
    double teacher = b->teacher_body + 512.0 * V, student = b->student_body + 256.0 * V;
    return T * WINDOWS * (2 * teacher + 6 * student);
}

uint64_t r1_hash(const r1 *b) { /* FNV-1a over 32-bit units */
    uint64_t h = 14695981039346656037u;
    for (int64_t i = 0; i < b->trainer->student.weights.count; i++) {
        const rt_tensor *t = &b->trainer->student.weights.slots[i].t;
        for (size_t k = 0; k < rt_tensor_bytes(t) / 4; k++) h = (h ^ ((const uint32_t *)t->data)[k]) * 1099511628211u;
    }
    return h;
}
