/* linear.h - what the ways to run `linear` share: its inputs, the way for few rows (linear_few.c), and that by the processor's half
 * instructions (linear_half.c). */
#ifndef RT_OPS_LINEAR_H
#define RT_OPS_LINEAR_H
#include "ops/common.h"

enum { RT_LINEAR_WEIGHTS = 3, RT_LINEAR_X = 0, RT_LINEAR_RESIDUAL = 1, RT_LINEAR_W = 2, RT_LINEAR_BIAS = RT_LINEAR_W + RT_LINEAR_WEIGHTS,
       RT_LINEAR_INPUTS = RT_LINEAR_BIAS + RT_LINEAR_WEIGHTS };
void rt_linear_few_size(rt_node *n, int64_t rows, int64_t K);
void rt_linear_few(const rt_call *c);
/* Chooses that way (n->half) where both operands are of one half type and the machine has products for every weight. After the sizes of
 * the f32 way are set: backward keeps those. */
rt_status rt_linear_half_infer(rt_graph *g, rt_node *n, int64_t K) RT_NODISCARD;
void rt_linear_half_prepare(const rt_call *c, int64_t task);
void rt_linear_half_rows(const rt_call *c, int64_t r0, int64_t r1, int worker);
#endif
