/* llmc_r3.c - times training steps of llm.c's GPT-2 124M on 4 x 1024 tokens. Compiled against the user's checkout of llm.c by bench/peers/llmc;
 * the functions are those that its own main calls. Weights and tokens are random: no time depends on them.
 *   llmc_r3 SAMPLES QUICK REVISION MODEL OUT      MODEL: a file to write and remove; a line of JSON per figure is added to OUT */
#define TESTING /* leaves out its main */
#include "train_gpt2.c"
#include <sys/resource.h>

enum { WINDOWS = 4, LAYERS = 12, WIDTH = 768, VOCAB = 50257, PADDED = 50304, POSITIONS = 1024 };

static uint32_t next_random(void) {
    static uint64_t state = 1;
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(state >> 33);
}
static double seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* A checkpoint of its version 3: 256 integers, then the weights, here uniform in +-0.03. */
static void write_checkpoint(const char *path, int layers) {
    int header[256] = {20240326, 3, POSITIONS, VOCAB, layers, 12, WIDTH, PADDED};
    size_t sizes[NUM_PARAMETER_TENSORS], count = 0;
    GPT2Config config = {POSITIONS, VOCAB, PADDED, layers, 12, WIDTH};
    fill_in_parameter_sizes(sizes, config);
    for (int i = 0; i < NUM_PARAMETER_TENSORS; i++) count += sizes[i];
    FILE *f = fopenCheck(path, "wb");
    fwrite(header, sizeof(int), 256, f);
    for (size_t i = 0; i < count; i++) {
        float x = ((float)(next_random() & 0xffff) / 65536 - 0.5f) * 0.06f;
        fwrite(&x, sizeof x, 1, f);
    }
    fcloseCheck(f);
}

static int by_size(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}
static void report(FILE *out, const char *name, const char *unit, double *x, int n, const char *revision) {
    qsort(x, (size_t)n, sizeof *x, by_size);
    double median = n % 2 ? x[n / 2] : (x[n / 2 - 1] + x[n / 2]) / 2;
    printf("%-44s %11.4g %s   (%.4g-%.4g, %d)\n", name, median, unit, x[0], x[n - 1], n);
    fprintf(out, "{\"name\": \"%s\", \"value\": %.6g, \"unit\": \"%s\", \"median\": %.6g, \"min\": %.6g, \"max\": %.6g, \"samples\": %d, \"revision\": \"%s\"}\n", name,
            median, unit, median, x[0], x[n - 1], n, revision);
}

int main(int argc, char **argv) {
    enum { MOST = 99 };
    if (argc != 6) return 2;
    int samples = atoi(argv[1]), quick = atoi(argv[2]), T = quick ? 128 : 1024, tokens = WINDOWS * T;
    double rate[MOST];
    if (samples < 1 || samples > MOST) return 2;
    GPT2 model;
    write_checkpoint(argv[4], quick ? 2 : LAYERS);
    gpt2_build_from_checkpoint(&model, argv[4]);
    remove(argv[4]);
    int *ids = malloc((size_t)(tokens + 1) * sizeof *ids);
    for (int i = 0; i <= tokens; i++) ids[i] = (int)(next_random() % VOCAB);
    for (int i = -1; i < samples; i++) { /* the first allocates, and does not count */
        double start = seconds();
        gpt2_forward(&model, ids, ids + 1, WINDOWS, T);
        gpt2_zero_grad(&model);
        gpt2_backward(&model);
        gpt2_update(&model, 1e-4f, 0.9f, 0.999f, 1e-8f, 0.0f, i + 2);
        if (i >= 0) rate[i] = tokens / (seconds() - start);
    }
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    double memory = (double)usage.ru_maxrss / 1024;
    FILE *out = fopenCheck(argv[5], "a");
    report(out, "peers.llmc.r3.tokens", "tokens/s", rate, samples, argv[3]);
    report(out, "peers.llmc.r3.memory", "MiB", &memory, 1, argv[3]);
    return fclose(out) != 0;
}
