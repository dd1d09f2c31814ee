/* bench_open.c - how fast a large frozen model is there, what it takes of the memory, and what a budget for experts costs.
 *
 *   bench_open FOLDER dense|moe [GIB [BUDGET_MIB ...]]     writes a random f16 model of about GIB (3) into FOLDER unless there is one
 *
 * Every line is a process of its own. Cold: the file's pages were dropped from the system's cache before; "disk" is what the
 * process then read from the disk (read_bytes of /proc/self/io), "file" and "own" its resident pages (RssFile, RssAnon). */
#include "quiet.h"
#include <retort/base/file.h>
#include <retort/base/rng.h>
#include <retort/infer/forward.h>
#include <retort/infer/frozen.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { V = 16384, T = 512, PASSES = 4, DENSE_PASSES = 2 /* of ten times the arithmetic */ };

/* -------------------------------------------------------------------- file */

static rt_model_config config(bool moe, double gib) {
    rt_model_config c = rt_model_config_default(rt_arch_find(moe ? "mixtral" : "llama"));
    c.vocab_size = V, c.hidden_size = 2048, c.layers = 1, c.heads = 16, c.kv_heads = 4, c.head_dim = 128, c.max_position = 4096;
    c.ffn_size = moe ? 1024 : 5632, c.experts = moe ? 32 : 0, c.experts_per_token = moe ? 4 : 0;
    int64_t one = rt_model_parameters(&c).total_body, layers = (int64_t)((gib * 1073741824 / 2 - 2.0 * V * 2048) / (double)one + 0.5);
    c.layers = layers < 1 ? 1 : layers;
    return c;
}

/* Halves of both signs with magnitudes of 2^-8 to 2^-5, or ones for a vector: nothing that a file system could compress. */
typedef struct writer {
    const rt_model_config *c;
    uint16_t *buffer;
} writer;
static rt_status make(void *context, int64_t i, const void **data, rt_error *err) {
    writer *w = context;
    rt_weight_spec s = rt_weight_at(w->c, i);
    rt_rng r = rt_rng_make(1, "bench_open", (uint64_t)i);
    int64_t n = s.dim[0] * (s.ndim > 1 ? s.dim[1] : 1);
    uint64_t x = (uint64_t)(rt_rng_uniform(r, 0) * 0x1p62) | 1;
    (void)err;
    for (int64_t k = 0; k < n; k++) {
        x ^= x << 13, x ^= x >> 7, x ^= x << 17;
        w->buffer[k] = s.ndim == 1 ? 0x3c00 : (uint16_t)((x & 0x8000) | (7 + (x >> 16) % 3) << 10 | (x >> 32 & 0x3ff));
    }
    return *data = w->buffer, RT_OK;
}
static rt_status write_model(const char *folder, const rt_model_config *c, rt_error *err) {
    int64_t n = rt_weight_count(c), most = 0;
    rt_tensor *t = rt_alloc(rt_array_bytes((size_t)n, sizeof *t));
    if (!t) return rt_fail(err, RT_E_NOMEM, "out of memory");
    for (int64_t i = 0; i < n; i++) {
        rt_weight_spec s = rt_weight_at(c, i);
        t[i] = rt_tensor_make(RT_F16, s.ndim, s.dim, NULL);
        if (rt_tensor_count(&t[i]) > most) most = rt_tensor_count(&t[i]);
    }
    writer w = {c, rt_alloc((size_t)most * 2)};
    rt_status s = w.buffer ? rt_hf_write(folder, c, t, &(rt_safetensors_write_options){.source = make, .context = &w}, err) : rt_fail(err, RT_E_NOMEM, "out of memory");
    rt_free(w.buffer), rt_free(t);
    return s;
}

static void drop_cache(const char *folder) {
    char path[4096];
    snprintf(path, sizeof path, "%s/model.safetensors", folder);
    int d = open(path, O_RDONLY);
    if (d < 0 || fsync(d) != 0 || posix_fadvise(d, 0, 0, POSIX_FADV_DONTNEED) != 0) fprintf(stderr, "%s: its pages could not be dropped\n", path);
    if (d >= 0) close(d);
}

/* ------------------------------------------------------------------ figures */

static double number_in(const char *file, const char *key) {
    char line[256];
    double x = -1;
    FILE *f = fopen(file, "r");
    while (f && fgets(line, sizeof line, f))
        if (strncmp(line, key, strlen(key)) == 0) x = strtod(line + strlen(key), NULL);
    if (f) fclose(f);
    return x;
}
static void print_memory(void) {
    printf("  file %7.1f  own %7.1f MiB  disk %7.1f MiB", number_in("/proc/self/status", "RssFile:") / 1024, number_in("/proc/self/status", "RssAnon:") / 1024,
           number_in("/proc/self/io", "read_bytes:") / 1048576);
}

typedef struct task {
    const char *folder;
    bool cold, forward, hash;
    int64_t expert_budget, pack_budget;
    int ready, go; /* of a pair: written when done; read before leaving. -1: alone */
} task;

static rt_status run_forward(const task *k, rt_frozen *m, rt_error *err) {
    rt_forward f;
    rt_batch b;
    double seconds[PASSES];
    int passes = m->weights.bank ? PASSES : DENSE_PASSES;
    RT_TRY(rt_weights_expert_budget(&m->weights, k->expert_budget, err));
    RT_TRY(rt_batch_create(&b, 1, T, err));
    rt_status s = rt_forward_open(&f, &m->weights, &m->precision, &(rt_forward_options){.name = "model", .windows = 1, .T = T, .cache_budget = k->pack_budget}, err);
    for (int32_t i = 0; i < T; i++) b.position[i] = i, b.start[i] = 0, b.valid[i] = 1;
    for (int p = 0; s == RT_OK && p < passes; p++) {
        for (int32_t i = 0; i < T; i++) b.ids[i] = (i * 7919 + p * 104729) % V;
        double t0 = bench_now();
        s = rt_forward_run(&f, &b, err);
        seconds[p] = bench_now() - t0;
        if (p == 0) printf("  first %6.2f s", seconds[0]), print_memory();
    }
    uint64_t bits = s == RT_OK ? rt_tensor_hash(rt_forward_hidden(&f)) : 0;
    if (s == RT_OK) printf("\n%26s then %6.1f tokens/s", "", T / bench_median(seconds + 1, passes - 1)), print_memory();
    if (s == RT_OK) printf("  bits %016llx", (unsigned long long)bits);
    if (s == RT_OK && m->weights.bank) {
        rt_bank_stats e = rt_bank_stats_get(m->weights.bank);
        printf("\n%26s experts: %lld of %lld present, %lld hits, %lld loads, %lld evictions", "", (long long)e.present, (long long)e.units, (long long)e.hits,
               (long long)e.loads, (long long)e.evictions);
    }
    rt_forward_close(&f);
    rt_batch_free(&b);
    return s;
}
static void wait_for_other(const task *k) {
    char c = 0;
    if (k->ready < 0) return;
    if (write(k->ready, &c, 1) != 1 || read(k->go, &c, 1) < 0) perror("pipe");
    printf("\n%26s proportional share %.1f MiB of %.1f MiB resident", "", number_in("/proc/self/smaps_rollup", "Pss:") / 1024, number_in("/proc/self/smaps_rollup", "Rss:") / 1024);
}
static rt_status run_hash(const rt_frozen *m, rt_error *err) {
    rt_hf_hash h;
    double t0 = bench_now();
    RT_TRY(rt_hf_content_hash(m->files, &h, err));
    printf("\n%26s hash %6.2f s", "", bench_now() - t0);
    print_memory();
    return RT_OK;
}
static int child(const task *k) {
    rt_error err = {0};
    rt_frozen m;
    double t0 = bench_now();
    rt_status s = rt_frozen_open(&m, k->folder, RT_ACTIVATIONS_NATIVE, &err);
    if (s == RT_OK) {
        printf("open %6.3f s", bench_now() - t0);
        print_memory();
        if (k->hash) s = run_hash(&m, &err);
        if (k->forward) printf("\n%26s", ""), s = run_forward(k, &m, &err);
        wait_for_other(k);
        rt_frozen_close(&m);
    }
    puts("");
    if (s != RT_OK) fprintf(stderr, "%s\n", err.text);
    fflush(stdout);
    return rt_status_exit(s);
}
static int one_process(const char *name, task k) {
    int status = 1;
    if (k.cold) drop_cache(k.folder);
    printf("%-26s", name);
    fflush(stdout);
    pid_t p = fork();
    if (p == 0) _exit(child(&k));
    return p < 0 || waitpid(p, &status, 0) < 0 ? 1 : status;
}
/* The first stays until the second is done. */
static int two_processes(task k) {
    int ready[2], go[2], status = 1;
    char c;
    if (pipe(ready) != 0 || pipe(go) != 0) return 1;
    fflush(stdout);
    pid_t first = fork();
    if (first == 0) {
        k.ready = ready[1], k.go = go[0];
        close(go[1]);
        if (!freopen("/dev/null", "w", stdout)) _exit(1);
        _exit(child(&k));
    }
    close(go[0]);
    if (first < 0 || read(ready[0], &c, 1) != 1) return 1;
    int ends[2];
    if (pipe(ends) != 0) return 1;
    close(ends[1]); /* the second does not wait */
    k.ready = ready[1], k.go = ends[0];
    status = one_process("beside another process", k);
    close(go[1]);
    return waitpid(first, NULL, 0) < 0 ? 1 : status;
}

int main(int argc, char **argv) {
    rt_error err = {0};
    char path[4096];
    if (argc < 3 || (strcmp(argv[2], "dense") != 0 && strcmp(argv[2], "moe") != 0)) return fprintf(stderr, "usage: bench_open FOLDER dense|moe [GIB [BUDGET_MIB ...]]\n"), 2;
    bool moe = argv[2][0] == 'm';
    rt_model_config c = config(moe, argc > 3 ? strtod(argv[3], NULL) : 3);
    snprintf(path, sizeof path, "%s/config.json", argv[1]);
    if (!rt_file_exists(path) && write_model(argv[1], &c, &err) != RT_OK) return fprintf(stderr, "%s\n", err.text), rt_status_exit(err.status);
    task k = {.folder = argv[1], .ready = -1};
    int failed = one_process("warm", k);
    k.cold = true;
    failed |= one_process("cold", k);
    k.hash = true;
    failed |= one_process("cold, content hash", k);
    k.cold = false;
    failed |= one_process("warm, content hash", k);
    k.hash = false, k.forward = k.cold = true;
    k.pack_budget = 1 << 30;
    failed |= one_process("cold, forward", k);
    k.cold = false;
    failed |= one_process("warm, forward", k) | two_processes(k);
    k.pack_budget = 1;
    failed |= one_process("warm, nothing packed", k);
    k.pack_budget = 1 << 30;
    for (int i = 4; i < argc; i++) {
        char name[64];
        snprintf(name, sizeof name, "experts in %s MiB", argv[i]);
        k.expert_budget = (int64_t)(strtod(argv[i], NULL) * 1048576);
        failed |= one_process(name, k);
    }
    return failed ? 1 : 0;
}
