/* linear.h - what the two ways to run `linear` share: its inputs, and the way for few rows (linear_few.c). */
#ifndef RT_OPS_LINEAR_H
#define RT_OPS_LINEAR_H
#include "ops/common.h"

enum { RT_LINEAR_WEIGHTS = 3, RT_LINEAR_X = 0, RT_LINEAR_RESIDUAL = 1, RT_LINEAR_W = 2, RT_LINEAR_BIAS = RT_LINEAR_W + RT_LINEAR_WEIGHTS,
       RT_LINEAR_INPUTS = RT_LINEAR_BIAS + RT_LINEAR_WEIGHTS };
void rt_linear_few_size(rt_node *n, int64_t rows, int64_t K);
void rt_linear_few(const rt_call *c);
#endif
