/* bench_decode.c - tokens per second of cached decoding, against the rate at which this machine reads memory.
 *
 *     build/bench/bench_decode [--experts] [--dtype f32|f16|bf16] [--past ROWS] [--samples N] [--exact] [--threads N]
 *
 * A random model: 24 layers of width 1024, 32,000 ids, about 316 million parameters in every token; with --experts 16 layers of 8
 * experts, 2 chosen. Every step must read the weights that its tokens meet and the keys and values of all past rows; that many bytes
 * over the measured read rate is the bound. The read rate and the steps take turns, medians are reported. */
#include "quiet.h"
#include <retort/base/threads.h>
#include <retort/infer/decoder.h>
#include "kernels/measure.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROUNDS = 7, STEPS = 8, PIECE = 1 << 20, PIECES = 768 };

/* ------------------------------------------------------------------ reading */

static volatile uint64_t sums[PIECES]; /* so that the reading is done */
static void read_piece(void *context, int64_t task, int worker) {
    const uint64_t *x = (const uint64_t *)context + task * (PIECE / 8);
    uint64_t sum = 0;
    (void)worker;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < PIECE / 8; i++) sum += x[i];
    sums[task] = sum;
}
static double read_rate(void *memory) { /* bytes a second */
    double start = bench_now();
    rt_parallel(PIECES, read_piece, memory);
    return (double)PIECE * PIECES / (bench_now() - start);
}

/* -------------------------------------------------------------------- model */

static rt_model_config config(bool experts) {
    rt_model_config c = rt_model_config_default(rt_arch_find(experts ? "mixtral" : "llama"));
    c.vocab_size = 32000, c.hidden_size = 1024, c.layers = experts ? 16 : 24, c.heads = 16, c.kv_heads = 8, c.head_dim = 64;
    c.ffn_size = experts ? 1792 : 2816, c.experts = experts ? 8 : 0, c.experts_per_token = experts ? 2 : 0, c.max_position = 32768;
    return c;
}
/* Numbers of size 2^-6 (norms: 1), as bits: drawing normal ones would take a minute. */
static void fill(rt_tensor *t, bool norm) {
    uint64_t s = 88172645463325252u;
    for (int64_t i = 0, n = rt_tensor_count(t); i < n; i++) {
        s ^= s << 13, s ^= s >> 7, s ^= s << 17;
        float x = norm ? 1 : ((float)(s >> 40) / 8388608 - 1) / 32;
        if (t->dtype == RT_F32) ((float *)t->data)[i] = x;
        else if (t->dtype == RT_F16) ((rt_f16 *)t->data)[i] = rt_f32_to_f16(x);
        else ((rt_bf16 *)t->data)[i] = rt_f32_to_bf16(x);
    }
}
/* Bytes of weights that one token meets. */
static double active_bytes(const rt_weights *w) {
    double bytes = 0;
    for (int64_t i = 0; i < w->count; i++) {
        const rt_slot *s = &w->slots[i];
        double all = (double)rt_tensor_bytes(&s->t);
        if (s->kind == RT_WEIGHT_EMBED) continue; /* one row */
        bytes += s->t.ndim == 3 ? all * (double)w->config.experts_per_token / (double)w->config.experts : all;
    }
    return bytes;
}

/* --------------------------------------------------------------------- runs */

typedef struct setup {
    bool experts, exact;
    rt_dtype dtype;
    int64_t past, samples;
    int threads;
} setup;

static int failed(const rt_error *err) { return fprintf(stderr, "bench_decode: %s\n", err->text), 1; }

static rt_status steps(rt_decoder *d, const setup *s, int count, double *seconds, rt_error *err) {
    int32_t sequence[256], ids[256];
    const rt_tensor *z;
    double start = bench_now();
    for (int i = 0; i < count; i++) {
        for (int64_t k = 0; k < s->samples; k++) sequence[k] = (int32_t)k, ids[k] = (int32_t)((i * 7919 + k * 104729) % 32000);
        RT_TRY(rt_decoder_step(d, sequence, ids, s->samples, &z, err));
    }
    *seconds = (bench_now() - start) / count;
    return RT_OK;
}

static int measure(const rt_weights *w, const rt_precision *p, const setup *s, void *memory) {
    rt_error err = {0};
    rt_decoder *d;
    const rt_tensor *z;
    double rate[ROUNDS], time[ROUNDS], copy = 0, prefill = bench_now(), warm;
    int64_t positions = s->past + (ROUNDS + 1) * STEPS;
    int32_t *prompt = rt_zalloc((size_t)s->past * sizeof *prompt);
    for (int64_t i = 0; i < s->past; i++) prompt[i] = (int32_t)(i * 31 % 32000);
    if (rt_decoder_open(&d, w, p, &(rt_decoder_options){s->samples, positions, 0, s->exact}, &err) != RT_OK) return failed(&err);
    prefill = bench_now();
    if (rt_decoder_prefill(d, 0, prompt, s->past, &z, &err) != RT_OK) return failed(&err);
    prefill = bench_now() - prefill;
    for (int64_t k = 1; k < s->samples; k++) rt_decoder_copy(d, 0, k);
    if (steps(d, s, STEPS, &warm, &err) != RT_OK) return failed(&err);
    double others = bench_others(), since = bench_now();
    for (int i = 0; i < ROUNDS; i++) {
        rate[i] = read_rate(memory);
        if (steps(d, s, STEPS, &time[i], &err) != RT_OK) return failed(&err);
    }
    others = (bench_others() - others) / (bench_now() - since);
    if (rt_measure_copy_rate(&copy, &err) != RT_OK) return failed(&err);
    rt_decoder_memory m = rt_decoder_memory_get(d);
    double second = bench_median(time, ROUNDS), read = bench_median(rate, ROUNDS), cache = (double)m.keys_values * (double)(s->past + positions) / 2 / (double)positions;
    double bytes = active_bytes(w) + cache;
    printf("prefill           %lld tokens, %.1f tokens/s\n", (long long)s->past, (double)s->past / prefill);
    printf("decode            %.2f ms a step, %.1f tokens/s\n", 1e3 * second, (double)s->samples / second);
    printf("bytes a step      %.1f MB of weights (of one token), %.1f MB of keys and values\n", active_bytes(w) / 1e6, cache / 1e6);
    printf("rate              %.2f GB/s; reading %.2f GB/s (best %.2f), copying %.2f GB/s (read + written)\n", bytes / second / 1e9, read / 1e9, rate[ROUNDS - 1] / 1e9, copy);
    printf("share of reading  %.0f %%%s\n", 100 * bytes / second / read, s->samples > 1 && s->experts ? " (of one token's experts)" : "");
    printf("memory            %.1f MiB of keys and values, %.1f activations, %.1f packed weights\n", (double)m.keys_values / 1048576, (double)m.activations / 1048576,
           (double)m.packed / 1048576);
    printf("others            %.2f processors\n", others);
    rt_decoder_close(d);
    rt_free(prompt);
    return 0;
}

static int run(const setup *s) {
    rt_error err = {0};
    rt_weights w;
    rt_model_config c = config(s->experts);
    rt_precision p = rt_precision_teacher(s->dtype, true);
    void *memory = rt_alloc((size_t)PIECE * PIECES);
    if (!memory || rt_weights_layout(&w, &c, &p, &err) != RT_OK || rt_weights_alloc(&w, &err) != RT_OK) return failed(&err);
    memset(memory, 1, (size_t)PIECE * PIECES);
    for (int64_t i = 0; i < w.count; i++) fill(&w.slots[i].t, w.slots[i].role == rt_role_norm);
    printf("model             %s %s%s, %lld past rows, %lld sequence(s), %d threads\n", s->experts ? "mixture" : "dense", rt_dtype_name(s->dtype),
           s->exact ? " exact" : "", (long long)s->past, (long long)s->samples, rt_threads());
    int code = measure(&w, &p, s, memory);
    rt_weights_free(&w);
    rt_free(memory);
    return code;
}

int main(int argc, char **argv) {
    setup s = {.dtype = RT_F16, .past = 32, .samples = 1};
    for (int i = 1; i < argc; i++) {
        const char *value = i + 1 < argc ? argv[i + 1] : "";
        if (strcmp(argv[i], "--experts") == 0) s.experts = true;
        else if (strcmp(argv[i], "--exact") == 0) s.exact = true;
        else if (strcmp(argv[i], "--dtype") == 0) s.dtype = strcmp(value, "f32") == 0 ? RT_F32 : strcmp(value, "bf16") == 0 ? RT_BF16 : RT_F16, i++;
        else if (strcmp(argv[i], "--past") == 0) s.past = atoi(value), i++;
        else if (strcmp(argv[i], "--samples") == 0) s.samples = atoi(value), i++;
        else if (strcmp(argv[i], "--threads") == 0) s.threads = atoi(value), i++;
        else return fprintf(stderr, "usage: bench_decode [--experts] [--dtype f32|f16|bf16] [--past ROWS] [--samples N] [--exact] [--threads N]\n"), 2;
    }
    rt_threads_set(s.threads);
    return s.past < 1 || s.samples < 1 || s.samples > 256 ? 2 : run(&s);
}
