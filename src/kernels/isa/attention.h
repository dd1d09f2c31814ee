/* attention.h - the attention kernels of one ISA level, and the tile sizes that the workspace follows from. */
#ifndef RETORT_KERNELS_ISA_ATTENTION_H
#define RETORT_KERNELS_ISA_ATTENTION_H
#include "kernels/attention.h"

/* Constants: they fix the order of sums, hence the bits. Multiples of 32 that divide each other, so that every query
 * tile meets every key tile that starts before its end. */
enum { FORWARD_QUERIES = 32, FORWARD_KEYS = RT_ATTENTION_KEYS, BACKWARD_QUERIES = 64, BACKWARD_KEYS = 256, STRIP = 32 };

typedef struct rt_attention_kernels {
    bool (*forward_f32)(const rt_attention_forward_call_f32 *c, float *workspace);
    bool (*forward_f64)(const rt_attention_forward_call_f64 *c, double *workspace);
    void (*backward_f32)(const rt_attention_backward_call_f32 *c, float *workspace);
    void (*backward_f64)(const rt_attention_backward_call_f64 *c, double *workspace);
} rt_attention_kernels;
#endif
