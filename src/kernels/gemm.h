/* gemm.h - one matrix product on the calling thread: C = alpha op(A) op(B) + beta C, row-major, op = 'N' or 'T'.
 *
 * op(A) is [m,k], op(B) [k,n], C [m,n]. This is the tile call under every product of the library (matmul.h cuts the tiles);
 * it is the only way to oneDNN and OpenBLAS. It never starts threads, inside a parallel task or outside, so its bits do
 * not depend on the thread count. beta = 0 does not read C. Any of m, n, k may be 0. */
#ifndef RETORT_KERNELS_GEMM_H
#define RETORT_KERNELS_GEMM_H
#include <stdint.h>

void rt_gemm_f32(char ta, char tb, int64_t m, int64_t n, int64_t k, float alpha, const float *a, int64_t lda, const float *b,
                 int64_t ldb, float beta, float *c, int64_t ldc);
void rt_gemm_f64(char ta, char tb, int64_t m, int64_t n, int64_t k, double alpha, const double *a, int64_t lda,
                 const double *b, int64_t ldb, double beta, double *c, int64_t ldc);

/* For reports (retort doctor, run records): "oneDNN 2.6.3", "OpenBLAS 0.3.21 (Prescott)". Static text. */
const char *rt_gemm_f32_library(void);
const char *rt_gemm_f64_library(void);
const char *rt_openblas_core(void); /* the kernels OpenBLAS chose, "Prescott" where it did not know the processor */
#endif
