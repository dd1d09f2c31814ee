/* attention.h - causal attention of one head over one segment (a document or window), tiled; no [T,T] array exists.
 *
 *   s[i,j] = scale q[i] . k[j] for j <= i;   p = softmax(s);   o[i] = sum_j p[i,j] v[j];   lse[i] = log sum_j exp
 * s[i,j] backward, from o, do and lse:  ds = p (do.v - do.o);  dq = scale ds k;  dk = scale ds^T q;  dv = p^T do Dao et
 * al. 2022 (FlashAttention), alg. 1 and 4: tiles of queries x keys, online softmax, scores recomputed in backward.
 *
 * Row i depends on rows 0..i alone, in bits: key tiles start at multiples of a constant from the segment's start, each
 * sum runs over keys in order. Any length >= 1, any head_dim >= 1; the workspace (64-byte
 * aligned, one per task) is linear in the length. */
#ifndef T
#ifndef RETORT_KERNELS_ATTENTION_H
#define RETORT_KERNELS_ATTENTION_H
#include <retort/tensor/dtype.h>
#include <stdbool.h>
#include <stddef.h>
enum { RT_ATTENTION_KEYS = 512 }; /* rows of a key tile, from the segment's first */

/* Columns of one head, or of heads side by side, as they are stored: element (row r, column j) is element r*ld + j of `at`. A
 * kernel in f32 takes f32, f16 and bf16, converted exactly; one in f64 takes f64. */
typedef struct rt_head_rows {
    void *at;
    int64_t ld;
    rt_dtype type;
} rt_head_rows;
#define RT_BODY "kernels/attention.h"
#include "kernels/for_each_type.h"
#endif
#else
/* Forward: one segment and key-value head with `group` query heads, side by side in q and o; or its rows [past, past + length)
 * alone, which get the same bits: q, o and lse then begin at row `past`, k and v at row 0. */
typedef struct F(rt_attention_forward_call) {
    int64_t past, length, head_dim, group;
    T scale;
    rt_head_rows q;    /* [length, group * head_dim] */
    rt_head_rows k, v; /* [past + length, head_dim] */
    bool by_tile;      /* keys and values are converted a tile at a time, again for every 32 queries; the workspace is then that of
                        * min(past + length, RT_ATTENTION_KEYS) rows */
    rt_head_rows o;    /* [length, group * head_dim], written; rounded once */
    T *lse;            /* element (row i, head h) at lse[i*ldlse + h]; may be NULL */
    int64_t ldlse;
} F(rt_attention_forward_call);

/* Backward: one segment and key-value head with its `group` query heads, side by side in q, o, d_o, dq and lse. */
typedef struct F(rt_attention_backward_call) {
    int64_t length, head_dim, group;
    T scale;
    rt_head_rows q, k, v, o, d_o;
    const T *lse; /* element (row i, head h) at lse[i*ldlse + h] */
    int64_t ldlse;
    bool add; /* dq, dk, dv are added to; else overwritten */
    T *dq;
    int64_t lddq;
    T *dk, *dv;
    int64_t lddkv;
} F(rt_attention_backward_call);

size_t F(rt_attention_forward_workspace)(int64_t length, int64_t head_dim); /* bytes; SIZE_MAX when it overflows */
size_t F(rt_attention_backward_workspace)(int64_t length, int64_t head_dim);
/* True when a finite value of o became infinite. */
bool F(rt_attention_forward)(const F(rt_attention_forward_call) * c, void *workspace);
void F(rt_attention_backward)(const F(rt_attention_backward_call) * c, void *workspace);
#endif
