/* trace.h - the table of trace kernels of one ISA level. */
#ifndef RETORT_KERNELS_ISA_TRACE_H
#define RETORT_KERNELS_ISA_TRACE_H
#include <stdint.h>

typedef struct rt_trace_kernels {
    void (*f32)(const float *y, const float *u, const float *w, int64_t rows, int64_t n, double *sum, double *weighted);
    void (*f64)(const double *y, const double *u, const double *w, int64_t rows, int64_t n, double *sum, double *weighted);
} rt_trace_kernels;
#endif
