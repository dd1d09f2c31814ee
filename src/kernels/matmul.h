/* matmul.h - the products of a layer, cut into fixed tiles that are tasks.
 *
 *   rows     y[M,N]  (+)= x[M,K] P[K,N]      P a panel: weights as [in,out]
 *   rows     dx[M,K] (+)= dy[M,N] W[N,K]     the same, with W as it lies for a panel
 *   weights  dW[N,K] (+)= dy[M,N]^T x[M,K]   the inner dimension is all M rows, never split
 *
 * Tiles are cut by M, N, K alone: run them in any order, on any number of threads, for the same bits. In the rows form
 * row i has the same bits whatever M is and wherever it stands: rows are handed to the library in multiples of 16, the
 * rest through a zero-padded scratch (decisions.md, 2). Panels have ld = rt_panel_ld(N): a power of two as leading
 * dimension costs up to 15 % (cache sets). What lies in the padding is not read. No input may overlap the output. */
#ifndef T
#ifndef RETORT_KERNELS_MATMUL_H
#define RETORT_KERNELS_MATMUL_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { RT_TILE_ROWS = 256, RT_TILE_COLUMNS = 512, RT_TILE_WEIGHT_ROWS = 128, RT_ROW_BLOCK = 16, RT_SET_MAX = 4 };

static inline int64_t rt_round16(int64_t n) { return (n + 15) / 16 * 16; }
static inline int64_t rt_panel_ld(int64_t columns) { return rt_round16(columns) + 16; }

#define RT_BODY "kernels/matmul.h"
#include "kernels/for_each_type.h"
#endif
#else
/* One product; M, N, K as in the formulas above for either form. `add`: accumulate into the output. */
typedef struct F(rt_product) {
    int64_t M, N, K;
    const T *x; /* [M,K] */
    int64_t ldx;
    const T *w; /* rows: [K,N]; weights: dy [M,N] */
    int64_t ldw;
    T *y; /* rows: [M,N]; weights: dW [N,K] */
    int64_t ldy;
    bool add;
} F(rt_product);

/* rows: tasks of 256 rows x 512 columns, columns fastest. */
int64_t F(rt_rows_tiles)(const F(rt_product) * p);
void F(rt_rows_tile)(const F(rt_product) * p, int64_t tile, void *scratch);
/* The same for a range of rows, all columns (fused row tiles). r0 should be a multiple of 16 for speed, not for bits.
 */
void F(rt_rows_range)(const F(rt_product) * p, int64_t r0, int64_t r1, void *scratch);
size_t F(rt_rows_scratch)(int64_t K); /* bytes of scratch for one call, for any M, N */

/* weights: tasks of 128 rows of dW, all columns. No scratch. */
int64_t F(rt_weights_tiles)(const F(rt_product) * p);
void F(rt_weights_tile)(const F(rt_product) * p, int64_t tile);
/* Rows n0..n1 of dW only. */
void F(rt_weights_range)(const F(rt_product) * p, int64_t n0, int64_t n1);

/* Products as one set of tasks, so that no thread waits between them. Added first runs first: those with the largest tasks. */
typedef struct F(rt_product_set) {
    F(rt_product) product[RT_SET_MAX];
    bool weights[RT_SET_MAX];
    int64_t first[RT_SET_MAX + 1]; /* task of each product */
    int count;                     /* start from {.count = 0} */
} F(rt_product_set);
void F(rt_set_rows)(F(rt_product_set) * s, const F(rt_product) * p);
void F(rt_set_weights)(F(rt_product_set) * s, const F(rt_product) * p);
void F(rt_set_run)(const F(rt_product_set) * s); /* as the two below */

/* Whole products through rt_parallel (each worker's rt_scratch must hold rt_rows_scratch(K)). Not inside a task. */
void F(rt_rows_product)(const F(rt_product) * p);
void F(rt_weights_product)(const F(rt_product) * p);
#endif
