/* trace.h - sums of rows in f64, for the coherence of experts: sum += u_i y_i, weighted += u_i w_i y_i over rows i in order.
 *
 * u_i is 1 for rows that count and 0 for others; w_i y_i is exact in f64 for f32 rows. Four rows a pass over the sums. */
#ifndef T
#ifndef RETORT_KERNELS_TRACE_H
#define RETORT_KERNELS_TRACE_H
#include <stdint.h>
#define RT_BODY "kernels/trace.h"
#include "kernels/for_each_type.h"
#endif
#else
/* y [rows, n] packed; u, w [rows]; sum, weighted [n]. */
void F(rt_trace_rows)(const T *y, const T *u, const T *w, int64_t rows, int64_t n, double *sum, double *weighted);
#endif
