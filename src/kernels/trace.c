/* trace.c - picks the kernels of this processor; they are in isa/trace.c. */
#include "kernels/trace.h"
#include "kernels/isa/trace.h"
#include "kernels/isa.h"

RT_ISA_DECLARE(const rt_trace_kernels, rt_trace_table);
static const rt_trace_kernels *kernels(void) { return RT_ISA_PICK(rt_trace_table); }

void rt_trace_rows_f32(const float *y, const float *u, const float *w, int64_t rows, int64_t n, double *sum, double *weighted) {
    kernels()->f32(y, u, w, rows, n, sum, weighted);
}
void rt_trace_rows_f64(const double *y, const double *u, const double *w, int64_t rows, int64_t n, double *sum, double *weighted) {
    kernels()->f64(y, u, w, rows, n, sum, weighted);
}
