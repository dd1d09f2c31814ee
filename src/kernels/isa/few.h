/* few.h - the kernels for few rows of one ISA level. Index: 0 = f32, 1 = f16, 2 = bf16. */
#ifndef RETORT_KERNELS_ISA_FEW_H
#define RETORT_KERNELS_ISA_FEW_H
#include "kernels/few.h"

typedef struct rt_few_kernels {
    void (*dots[3])(const rt_few_f32 *p);
    void (*sums[3])(const rt_few_f32 *p);
    void (*dots_f64)(const rt_few_f64 *p);
    void (*sums_f64)(const rt_few_f64 *p);
} rt_few_kernels;
#endif
