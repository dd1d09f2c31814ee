/* yardstick.c - see yardstick.h. */
#include "yardstick.h"
#include "kernels/gemm.h"
#include "kernels/matmul.h"
#include "quiet.h"
#include <retort/base/mem.h>
#include <retort/base/threads.h>

typedef struct product {
    int64_t N, K;
    float *x, *w, *y;
} product;
enum { ROWS = 2048 };
static product products[] = {{1408, 512, NULL, NULL, NULL}, {8192, 256, NULL, NULL, NULL}};
enum { PRODUCTS = sizeof products / sizeof *products };

static int64_t across(const product *p) { return (p->N + RT_TILE_COLUMNS - 1) / RT_TILE_COLUMNS; }
static void tile(void *context, int64_t task, int worker) {
    const product *p = context;
    int64_t r = task / across(p) * RT_TILE_ROWS, c = task % across(p) * RT_TILE_COLUMNS, n = p->N - c < RT_TILE_COLUMNS ? p->N - c : RT_TILE_COLUMNS;
    (void)worker;
    rt_gemm_f32('N', 'T', RT_TILE_ROWS, n, p->K, 1, p->x + r * p->K, p->K, p->w + c * p->K, p->K, 0, p->y + r * p->N + c, p->N);
}
static double run(void) { /* how many operations */
    double done = 0;
    for (int i = 0; i < PRODUCTS; i++) {
        rt_parallel(ROWS / RT_TILE_ROWS * across(&products[i]), tile, &products[i]);
        done += 2.0 * ROWS * (double)(products[i].N * products[i].K);
    }
    return done;
}

static rt_status prepare(rt_error *err) { /* once; kept to the end */
    if (products[PRODUCTS - 1].y) return RT_OK;
    for (product *p = products; p < products + PRODUCTS; p++) {
        p->x = rt_zalloc((size_t)(ROWS * p->K) * sizeof(float)), p->w = rt_zalloc((size_t)(p->N * p->K) * sizeof(float));
        p->y = rt_zalloc((size_t)(ROWS * p->N) * sizeof(float));
        if (!p->x || !p->w || !p->y) return rt_fail(err, RT_E_NOMEM, "out of memory: the yardstick's operands");
    }
    run(); /* touches the pages */
    return RT_OK;
}

rt_status bench_product_cpu(double *gflops, rt_error *err) {
    RT_TRY(prepare(err));
    double start = bench_own();
    double done = run() + run();
    *gflops = 1e-9 * done / (bench_own() - start);
    return RT_OK;
}
