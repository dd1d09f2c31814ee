/* weighted_sum.h - a loss for tests of one operation: sum_i w[i] x[i], so that the gradient of x is w itself. */
#ifndef RETORT_TESTS_WEIGHTED_SUM_H
#define RETORT_TESTS_WEIGHTED_SUM_H
#include <retort/graph/graph.h>

/* x of any float dtype, w f32 of as many elements -> f64 [1]. */
rt_ref rt_weighted_sum(rt_graph *g, rt_ref x, rt_ref w);
#endif
