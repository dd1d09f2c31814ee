/* few.h - products of few rows with a matrix as it lies: f32, f16 or bf16 (f64 for f64), converted in registers.
 *
 *   dots: y[M,N]  = x[M,K] W^T,  W [N,K]: each output one row of W      (a layer's weights; scores against keys)
 *   sums: y[M,N] += x[M,K] W,    W [K,N]: each row of W weighted         (experts' down; values under attention)
 *
 * Every element of W is read once, in order, for all M rows: with few rows the time is that of reading W. An output's bits
 * depend on its row of x and on W alone, not on M: dots run in 32 chains (16 lanes of elements k, k + 32, ..., twice) summed
 * by a tree, sums in one chain in the order of k. They are not the bits of matmul.h. v3 and v4 give the same bits. */
#ifndef T
#ifndef RETORT_KERNELS_FEW_H
#define RETORT_KERNELS_FEW_H
#include <retort/tensor/dtype.h>
#include <stdint.h>
#define RT_BODY "kernels/few.h"
#include "kernels/for_each_type.h"
#endif
#else
typedef struct F(rt_few) {
    int64_t M, N, K;
    const T *x; /* [M,K], row stride ldx */
    int64_t ldx;
    rt_dtype type; /* of w */
    const void *w;
    int64_t ldw;
    T *y; /* [M,N], row stride ldy */
    int64_t ldy;
} F(rt_few);

void F(rt_few_dots)(const F(rt_few) * p);
void F(rt_few_sums)(const F(rt_few) * p); /* adds to y */
#endif
