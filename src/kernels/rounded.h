/* rounded.h - row kernels on values of a half type that stand in f32, not rounded yet: one pass that rounds what it takes, computes, and rounds
 * what it makes.
 *
 * The same bits as rt_round_rows (convert.h) on the inputs, the kernel of rows.h, and rt_round_rows or rt_rows_store_f32 on the output, at every level. */
#ifndef RETORT_KERNELS_ROUNDED_H
#define RETORT_KERNELS_ROUNDED_H
#include <retort/tensor/dtype.h>
#include <stdint.h>

/* What the kernels return: where a finite value became infinite. */
enum { RT_OVER_TAKEN = 1, RT_OVER_MADE = 2 };

typedef struct rt_rounded_kernels {
    /* a = silu(g) u, in f32; a is neither g nor u. n is a multiple of 16. */
    unsigned (*swiglu)(const float *g, const float *u, float *a, int64_t n);
    /* Turns `heads` heads of 2 half columns, forward, into y, which is of the half type. The tables are finite; half is a multiple of 16. */
    unsigned (*rope)(const float *x, const float *c, const float *s, int64_t half, int64_t heads, void *y);
} rt_rounded_kernels;

const rt_rounded_kernels *rt_rounded(rt_dtype half);
#endif
