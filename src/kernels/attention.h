/* attention.h - causal attention of one head over one segment (a document or window), tiled; no [T,T] array exists.
 *
 *   s[i,j] = scale q[i] . k[j] for j <= i;   p = softmax(s);   o[i] = sum_j p[i,j] v[j];   lse[i] = log sum_j exp
 * s[i,j] backward, from o, do and lse:  ds = p (do.v - do.o);  dq = scale ds k;  dk = scale ds^T q;  dv = p^T do Dao et
 * al. 2022 (FlashAttention), alg. 1 and 4: tiles of queries x keys, online softmax, scores recomputed in backward.
 *
 * Row i depends on rows 0..i alone, in bits: key tiles start at multiples of a constant from the segment's start, each
 * sum runs over keys in order. Any length >= 1, any head_dim >= 1; arrays are strided rows; the workspace (64-byte
 * aligned, one per task) is linear in the length. */
#ifndef T
#ifndef RETORT_KERNELS_ATTENTION_H
#define RETORT_KERNELS_ATTENTION_H
#include <stddef.h>
#include <stdint.h>
enum { RT_ATTENTION_KEYS = 512 }; /* rows of a key tile, from the segment's first */
#define RT_BODY "kernels/attention.h"
#include "kernels/for_each_type.h"
#endif
#else
/* Rows [first, first + n) of k and v as T, side by side in rows of `width` elements, zeros after the head's own. */
typedef void (*F(rt_attention_load))(const void *context, int64_t first, int64_t n, T *k, T *v, int64_t width);

/* Forward: one (segment, query head); or its rows [past, past + length) alone, which get the same bits: q, o and lse then
 * begin at row `past`, k and v at row 0. Keys and values lie in k and v, or, where these are NULL, come from `load`, a tile at
 * a time; the workspace is then that of min(past + length, RT_ATTENTION_KEYS) rows. */
typedef struct F(rt_attention_forward_call) {
    int64_t past, length, head_dim;
    T scale;
    const T *q; /* [length, head_dim], row stride ldq */
    int64_t ldq;
    const T *k, *v; /* [past + length, head_dim], row stride ldkv */
    int64_t ldkv;
    F(rt_attention_load) load;
    const void *context;
    T *o; /* [length, head_dim], row stride ldo */
    int64_t ldo;
    T *lse; /* [length], stride ldlse; may be NULL */
    int64_t ldlse;
} F(rt_attention_forward_call);

/* Backward: one (segment, key-value head) with its `group` query heads; query head h lies at q + h*head_dim (so o, d_o,
 * dq) and lse + h*lse_head. dq, dk, dv are added to. */
typedef struct F(rt_attention_backward_call) {
    int64_t length, head_dim, group;
    T scale;
    const T *q;
    int64_t ldq;
    const T *k, *v;
    int64_t ldkv;
    const T *o, *d_o;
    int64_t ldo;
    const T *lse;
    int64_t ldlse, lse_head; /* element (row i, head h) at lse[i*ldlse + h*lse_head] */
    T *dq;
    int64_t lddq;
    T *dk, *dv;
    int64_t lddkv;
} F(rt_attention_backward_call);

size_t F(rt_attention_forward_workspace)(int64_t length, int64_t head_dim); /* bytes; SIZE_MAX when it overflows */
size_t F(rt_attention_backward_workspace)(int64_t length, int64_t head_dim);
void F(rt_attention_forward)(const F(rt_attention_forward_call) * c, void *workspace);
void F(rt_attention_backward)(const F(rt_attention_backward_call) * c, void *workspace);
#endif
