/* trace.c - sums of rows in f64, of one ISA level. See kernels/trace.h. */
#ifndef T
#include "kernels/isa/lanes.h"
#include "kernels/isa/trace.h"

enum { ROWS = 4 };
#define RT_BODY "kernels/isa/trace.c"
#include "kernels/for_each_type.h"

extern const rt_trace_kernels RT_ISA_NAME(rt_trace_table);
const rt_trace_kernels RT_ISA_NAME(rt_trace_table) = {trace_f32, trace_f64};
#else
/* Rows i..i+4 in order; absent ones are the last with factor 0. */
INLINE void F(trace_four)(const T *const row[ROWS], const double u[ROWS], const double w[ROWS], int64_t n, double *sum, double *weighted) {
#pragma omp simd
    for (int64_t d = 0; d < n; d++) {
        double y0 = (double)row[0][d], y1 = (double)row[1][d], y2 = (double)row[2][d], y3 = (double)row[3][d];
        sum[d] = fma_f64(u[3], y3, fma_f64(u[2], y2, fma_f64(u[1], y1, fma_f64(u[0], y0, sum[d]))));
        weighted[d] = fma_f64(w[3], y3, fma_f64(w[2], y2, fma_f64(w[1], y1, fma_f64(w[0], y0, weighted[d]))));
    }
}
static void F(trace)(const T *y, const T *u, const T *w, int64_t rows, int64_t n, double *sum, double *weighted) {
    for (int64_t i = 0; i < rows; i += ROWS) {
        const T *row[ROWS];
        double a[ROWS], b[ROWS];
        for (int64_t j = 0; j < ROWS; j++) {
            int64_t r = i + j < rows ? i + j : rows - 1;
            row[j] = y + r * n;
            a[j] = i + j < rows ? (double)u[r] : 0;
            b[j] = a[j] * (double)w[r];
        }
        F(trace_four)(row, a, b, n, sum, weighted);
    }
}
#endif
