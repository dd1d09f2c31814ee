/* job.c - see job.h. */
#include "job.h"
#include "text/byte_alphabet.h"
#include <retort/base/file.h>
#include <retort/base/json.h>
#include <retort/base/rng.h>
#include <stdio.h>
#include <stdlib.h>

enum { SETS_MAX = 32 };

/* ------------------------------------------------- tokenizer: 256 bytes, pairs of them, pairs with one more */

static int character(int byte, char *out) {
    int32_t c = rt_byte_alphabet_char((uint8_t)byte);
    if (c < 0x80) return out[0] = (char)c, out[1] = 0, 1;
    out[0] = (char)(0xc0 | c >> 6), out[1] = (char)(0x80 | (c & 0x3f)), out[2] = 0;
    return 2;
}
/* Id 256 + 256 a + b is token a and byte b, whatever length a has. Returns the text's length. */
static int token_text(int id, char *out) {
    if (id < 256) return character(id, out);
    int n = token_text(id / 256 - 1, out);
    return n + character(id % 256, out + n);
}
static rt_status write_tokenizer(const char *folder, int V, rt_error *err) {
    json_t *vocab = json_object(), *merges = json_array();
    char path[128], left[24], text[32];
    for (int id = 0; id < V; id++) {
        token_text(id, text);
        if (id >= 256) {
            int n = token_text(id / 256 - 1, left);
            json_array_append_new(merges, json_pack("[ss]", left, text + n));
        }
        json_object_set_new(vocab, text, json_integer(id));
    }
    json_t *tokenizer = json_pack("{s:s, s:{s:s, s:b, s:b}, s:{s:s}, s:{s:s, s:o, s:o}}", "version", "1.0", "pre_tokenizer", "type", "ByteLevel",
                                  "add_prefix_space", 0, "use_regex", 1, "decoder", "type", "ByteLevel", "model", "type", "BPE", "vocab", vocab, "merges", merges);
    snprintf(path, sizeof path, "%s/tokenizer.json", folder);
    rt_status s = rt_json_save(path, tokenizer, err);
    json_decref(tokenizer);
    return s;
}

/* ------------------------------------------------------------------------------------------ data and teacher */

static rt_status write_tokens(const char *folder, int32_t V, int64_t count, rt_error *err) {
    char path[128];
    rt_vocab vocab = {.size = V, .bos = -1, .eos = -1};
    rt_shard_writer *w = NULL;
    int32_t *ids = rt_alloc(rt_array_bytes((size_t)count, sizeof *ids));
    uint32_t *bytes = rt_alloc(rt_array_bytes((size_t)count, sizeof *bytes));
    rt_rng r = rt_rng_make(1, "bench.tokens", 0);
    for (int64_t i = 0; ids && bytes && i < count; i++) ids[i] = (int32_t)(rt_rng_uniform(r, (uint64_t)i) * V), bytes[i] = 2;
    snprintf(path, sizeof path, "%s/tokens.bin", folder);
    rt_status s = ids && bytes ? rt_shard_writer_open(&w, path, &vocab, err) : rt_fail(err, RT_E_NOMEM, "out of memory");
    if (s == RT_OK) s = rt_shard_writer_add(w, ids, bytes, count, err);
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
static rt_status write_teacher(const char *folder, const bench_job_spec *o, rt_error *err) {
    rt_model_config c = rt_model_config_default(rt_arch_find("llama"));
    int64_t width = o->teacher_width ? o->teacher_width : 512;
    c.vocab_size = o->V, c.hidden_size = width, c.layers = o->teacher_layers ? o->teacher_layers : 8, c.heads = c.kv_heads = width / 64, c.head_dim = 64;
    c.ffn_size = width * 11 / 4, c.max_position = o->T > 2048 ? o->T : 2048;
    rt_precision p = rt_precision_teacher(RT_F16, true);
    rt_weights w = {0};
    rt_status s = rt_model_config_check(&c, err);
    if (s == RT_OK) s = rt_weights_layout(&w, &c, &p, err);
    if (s == RT_OK) s = rt_weights_alloc(&w, err);
    if (s == RT_OK) rt_weights_init(&w, 7), s = write_weights(folder, &w, err);
    rt_weights_free(&w);
    return s;
}

/* ------------------------------------------------------------------------------------------------------- job */

static const char r1_objective[] = "objective=[{loss: forward_kl, weight: 0.7, temperature: 2}, {loss: next_token, weight: 0.3}, "
                                   "{loss: balance, weight: 0.01}, {loss: router_z, weight: 0.001}]";
static const char *const r1_sets[] = {"student.arch=mixtral", "student.hidden_size=256", "student.layers=4", "student.heads=8", "student.kv_heads=4",
                                      "student.ffn_size=512", "student.experts=8", "student.experts_per_token=2", r1_objective, NULL};
bench_job_spec bench_job_r1(void) { return (bench_job_spec){.V = 8192, .T = 256, .windows = 8, .tokens = 1 << 16, .teacher = true, .sets = r1_sets}; }

static rt_status load_job(bench_job *b, const bench_job_spec *o, rt_error *err) {
    char own[5][128];
    const char *sets[SETS_MAX];
    int n = 0;
    snprintf(own[0], sizeof own[0], "%s=%s", o->teacher ? "teacher.path" : "data.tokenizer", b->folder);
    snprintf(own[1], sizeof own[1], "data.train=[%s/tokens.bin]", b->folder);
    snprintf(own[2], sizeof own[2], "data.sequence_length=%lld", (long long)o->T);
    snprintf(own[3], sizeof own[3], "data.batch=%lld", (long long)o->windows);
    snprintf(own[4], sizeof own[4], "run.out=%s/run", b->folder);
    for (; n < 5; n++) sets[n] = own[n];
    for (const char *const *s = o->sets; *s && n < SETS_MAX; s++) sets[n++] = *s;
    for (const char *const *s = o->more; s && *s && n < SETS_MAX; s++) sets[n++] = *s;
    return rt_job_load(NULL, sets, n, &b->job, err);
}

static rt_status open_all(bench_job *b, const bench_job_spec *o, rt_error *err) {
    snprintf(b->folder, sizeof b->folder, "/tmp/retort-bench-XXXXXX");
    if (!mkdtemp(b->folder)) return rt_fail(err, RT_E_IO, "%s: cannot be made", b->folder);
    RT_TRY(write_tokenizer(b->folder, (int)o->V, err));
    RT_TRY(write_tokens(b->folder, (int32_t)o->V, o->tokens, err));
    if (o->teacher) RT_TRY(write_teacher(b->folder, o, err));
    RT_TRY(load_job(b, o, err));
    RT_TRY(rt_trainer_open(&b->trainer, &b->job, 0, err));
    return rt_trainer_begin(b->trainer, NULL, NULL, err);
}
rt_status bench_job_open(bench_job *b, const bench_job_spec *o, rt_error *err) {
    *b = (bench_job){.tokens = (double)(o->T * o->windows), .T = o->T};
    rt_status s = open_all(b, o, err);
    if (s != RT_OK) bench_job_close(b);
    return s;
}
void bench_job_close(bench_job *b) {
    rt_error ignored = {0};
    rt_trainer_close(b->trainer);
    rt_job_free(&b->job);
    if (b->folder[0] && rt_tree_remove(b->folder, &ignored) != RT_OK) fprintf(stderr, "%s\n", ignored.text);
    *b = (bench_job){0};
}

const rt_model_config *bench_job_teacher(const bench_job *b) {
    return b->trainer->teacher_files.files ? rt_hf_config(b->trainer->teacher_files.files) : NULL;
}

static double products(const rt_model_config *c) { /* parameters that a token is multiplied with */
    return (double)rt_model_parameters(c).active_body + (double)(c->hidden_size * c->vocab_size);
}
double bench_job_flop(const bench_job *b) {
    const rt_model_config *teacher = bench_job_teacher(b);
    return b->tokens * (6 * products(&b->trainer->config) + (teacher ? 2 * products(teacher) : 0));
}
double bench_job_evaluation_flop(const bench_job *b) {
    const rt_model_config *teacher = bench_job_teacher(b);
    return b->tokens * (2 * products(&b->trainer->config) + (teacher ? 2 * products(teacher) : 0));
}

rt_status bench_job_step(void *job, rt_error *err) {
    bench_job *b = job;
    return rt_trainer_step(b->trainer, &b->report, err);
}

uint64_t bench_job_hash(const bench_job *b) { /* FNV-1a over 32-bit units */
    uint64_t h = 14695981039346656037u;
    for (int64_t i = 0; i < b->trainer->student.weights.count; i++) {
        const rt_tensor *t = &b->trainer->student.weights.slots[i].t;
        for (size_t k = 0; k < rt_tensor_bytes(t) / 4; k++) h = (h ^ ((const uint32_t *)t->data)[k]) * 1099511628211u;
    }
    return h;
}
