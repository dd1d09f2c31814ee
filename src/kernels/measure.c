/* measure.c - the rates of this machine. See measure.h. */
#include "kernels/measure.h"
#include "kernels/gemm.h"
#include "kernels/half.h"
#include "kernels/isa.h"
#include "kernels/isa/peak.h"
#include "kernels/matmul.h"
#include "kernels/rows.h"
#include <retort/base/mem.h>
#include <retort/base/threads.h>
#include <string.h>
#include <time.h>

RT_ISA_DECLARE(const rt_peak_kernel, rt_peak_table);
enum { SAMPLES = 5 };

static bool by_processor;
void rt_measure_by_processor(bool yes) { by_processor = yes; }
static double now(void) {
    struct timespec t;
    clock_gettime(by_processor ? CLOCK_PROCESS_CPUTIME_ID : CLOCK_MONOTONIC, &t);
    return ((double)t.tv_sec + 1e-9 * (double)t.tv_nsec) / (by_processor ? rt_threads() : 1);
}

static double median_seconds(void (*run)(void *), void *context) {
    double t[SAMPLES];
    run(context); /* wakes the threads, maps the pages */
    for (int i = 0; i < SAMPLES; i++) {
        double start = now(), took;
        run(context);
        took = now() - start;
        int j = i;
        for (; j > 0 && t[j - 1] > took; j--) t[j] = t[j - 1];
        t[j] = took;
    }
    return t[SAMPLES / 2];
}

/* --------------------------------------------------------------- f32 products */

typedef struct product {
    int64_t M, N, K;
    bool panel; /* weights [K, ld] ('N','N'), else [N,K] ('N','T') */
    float *x, *w, *y;
} product;

static int64_t tiles(const product *p) {
    return p->M / RT_TILE_ROWS * ((p->N + RT_TILE_COLUMNS - 1) / RT_TILE_COLUMNS);
}
static void product_tile(void *context, int64_t tile, int worker) {
    const product *p = context;
    int64_t across = (p->N + RT_TILE_COLUMNS - 1) / RT_TILE_COLUMNS, r = tile / across * RT_TILE_ROWS,
            c = tile % across * RT_TILE_COLUMNS;
    int64_t n = p->N - c < RT_TILE_COLUMNS ? p->N - c : RT_TILE_COLUMNS, ld = p->panel ? rt_panel_ld(p->N) : p->K;
    (void)worker;
    rt_gemm_f32('N', p->panel ? 'N' : 'T', RT_TILE_ROWS, n, p->K, 1, p->x + r * p->K, p->K,
                p->panel ? p->w + c : p->w + c * p->K, ld, 0, p->y + r * p->N + c, p->N);
}
static void both_products(void *context) {
    product *p = context;
    for (int i = 0; i < 2; i++) rt_parallel(tiles(&p[i]), product_tile, &p[i]);
}
static double operations(const product *p) { return 2.0 * (double)p->M * (double)p->N * (double)p->K; }

static bool product_alloc(product *p) {
    size_t ld = (size_t)rt_panel_ld(p->N), M = (size_t)p->M, N = (size_t)p->N, K = (size_t)p->K;
    p->x = rt_zalloc(M * K * 4);
    p->w = rt_zalloc((p->panel ? K * ld : N * K) * 4);
    p->y = rt_zalloc(M * N * 4);
    return p->x && p->w && p->y;
}
static void product_free(product *p) { rt_free(p->x), rt_free(p->w), rt_free(p->y); }

static rt_status product_rate(bool panel, double *gflops, rt_error *err) {
    product p[2] = {{2048, 1408, 512, panel, NULL, NULL, NULL}, {2048, 8192, 256, panel, NULL, NULL, NULL}};
    bool memory = product_alloc(&p[0]) && product_alloc(&p[1]);
    if (memory) *gflops = (operations(&p[0]) + operations(&p[1])) / median_seconds(both_products, p) * 1e-9;
    product_free(&p[0]), product_free(&p[1]);
    return memory ? RT_OK : rt_fail(err, RT_E_NOMEM, "out of memory while measuring products (about 100 MiB)");
}
rt_status rt_measure_product_rate(double *gflops, rt_error *err) { return product_rate(false, gflops, err); }
rt_status rt_measure_panel_rate(double *gflops, rt_error *err) { return product_rate(true, gflops, err); }

/* --------------------------------------------------------------- products of halves */

enum { HALF_ROWS = 2048, HALF_K = 512, HALF_PIECES = 4, HALF_Y = RT_TILE_ROWS * RT_HALF_LD };
typedef struct half_work {
    const rt_half_product *p;
    char *x, *panels;
} half_work;
static void half_tile(void *context, int64_t tile, int worker) {
    const half_work *h = context;
    int64_t r = tile / HALF_PIECES * RT_TILE_ROWS;
    float *y = rt_scratch(worker);
    (void)rt_half_rows(h->p, RT_TILE_ROWS, h->x + r * HALF_K * 2, h->panels + (size_t)(tile % HALF_PIECES) * rt_half_panel_bytes(h->p), y, y + HALF_Y);
}
static void half_products(void *context) { rt_parallel(HALF_ROWS / RT_TILE_ROWS * HALF_PIECES, half_tile, context); }
rt_status rt_measure_half_rate(rt_dtype half, double *gflops, rt_error *err) {
    half_work h = {NULL, NULL, NULL};
    *gflops = 0;
    RT_TRY(rt_half_find(half, RT_HALF_COLUMNS, HALF_K, &h.p, err));
    if (!h.p) return RT_OK;
    RT_TRY(rt_scratch_reserve(HALF_Y * sizeof(float) + rt_half_scratch(h.p), err));
    h.x = rt_zalloc((size_t)HALF_ROWS * HALF_K * 2), h.panels = rt_zalloc(rt_half_panel_bytes(h.p) * HALF_PIECES);
    rt_status s = h.x && h.panels ? RT_OK : rt_fail(err, RT_E_NOMEM, "out of memory while measuring products of halves (4 MiB)");
    if (s == RT_OK) *gflops = 2.0 * HALF_ROWS * HALF_PIECES * RT_HALF_COLUMNS * HALF_K / median_seconds(half_products, &h) * 1e-9;
    rt_free(h.x), rt_free(h.panels);
    return s;
}

/* --------------------------------------------------------------- f64 products, memory, multiply-adds */

enum { F64_SIZE = 512, F64_TILES = 8, COPY_MIB = 64, COPY_TASKS = 64 };

static void f64_tile(void *context, int64_t tile, int worker) {
    const double *a = context, *b = a + F64_SIZE * F64_SIZE;
    int64_t rows = F64_SIZE / F64_TILES, at = tile * rows * F64_SIZE;
    (void)worker;
    rt_gemm_f64('N', 'N', rows, F64_SIZE, F64_SIZE, 1, a + at, F64_SIZE, b, F64_SIZE, 0,
                (double *)context + 2 * F64_SIZE * F64_SIZE + at, F64_SIZE);
}
static void f64_product(void *context) { rt_parallel(F64_TILES, f64_tile, context); }
rt_status rt_measure_f64_rate(double *gflops, rt_error *err) {
    double *memory = rt_zalloc(sizeof(double) * 3 * F64_SIZE * F64_SIZE);
    if (!memory) return rt_fail(err, RT_E_NOMEM, "out of memory while measuring f64 products (6 MiB)");
    *gflops = 2.0 * F64_SIZE * F64_SIZE * F64_SIZE / median_seconds(f64_product, memory) * 1e-9;
    rt_free(memory);
    return RT_OK;
}

static void copy_part(void *context, int64_t task, int worker) {
    size_t half = (size_t)COPY_MIB << 20, part = half / COPY_TASKS;
    char *memory = context;
    (void)worker;
    memcpy(memory + half + (size_t)task * part, memory + (size_t)task * part, part);
}
static void copy_all(void *context) { rt_parallel(COPY_TASKS, copy_part, context); }
rt_status rt_measure_copy_rate(double *gbytes, rt_error *err) {
    size_t bytes = (size_t)2 * COPY_MIB << 20;
    void *memory = rt_zalloc(bytes);
    if (!memory) return rt_fail(err, RT_E_NOMEM, "out of memory while measuring copies (%d MiB)", 2 * COPY_MIB);
    *gbytes = (double)bytes / median_seconds(copy_all, memory) * 1e-9;
    rt_free(memory);
    return RT_OK;
}

enum { EXP_ROW = 1024, EXP_TASKS = 64, EXP_EACH = 512, REGIONS = 64 };
static void exp_task(void *context, int64_t task, int worker) {
    float *row = (float *)context + task * EXP_ROW;
    (void)worker;
    for (int i = 0; i < EXP_EACH; i++) rt_rows_f32()->exp(1, row, row, EXP_ROW); /* a fixed point of about 0.16: never far off */
}
static void exp_all(void *context) { rt_parallel(EXP_TASKS, exp_task, context); }
rt_status rt_measure_exp_rate(double *gexps, rt_error *err) {
    float *rows = rt_zalloc(sizeof(float) * EXP_TASKS * EXP_ROW);
    if (!rows) return rt_fail(err, RT_E_NOMEM, "out of memory while measuring exponentials");
    *gexps = (double)EXP_TASKS * EXP_EACH * EXP_ROW / median_seconds(exp_all, rows) * 1e-9;
    rt_free(rows);
    return RT_OK;
}

static void nothing(void *context, int64_t task, int worker) { (void)context, (void)task, (void)worker; }
static void regions(void *context) {
    for (int i = 0; i < REGIONS; i++) rt_parallel(2 * rt_threads(), nothing, context);
}
double rt_measure_region(void) { return median_seconds(regions, NULL) / REGIONS; }

static void fma_burst(void *context) {
    static _Alignas(64) float sink[8 * 64]; /* its value is of no interest */
    *(double *)context = (*RT_ISA_PICK(rt_peak_table))(500, sink);
}
double rt_measure_fma_peak(void) {
    double operations_done = 0, seconds = median_seconds(fma_burst, &operations_done);
    return operations_done / seconds * 1e-9;
}
