/* gemm.h - one matrix product on the calling thread: C = alpha op(A) op(B) + beta C, row-major, op = 'N' or 'T'.
 *
 * op(A) is [m,k], op(B) [k,n], C [m,n]. This is the tile call under every product of the library (matmul.h cuts the
 * tiles). f32 is oneDNN's where it is built in (RT_ONEDNN) and the processor has AVX-512, else our own; f64 is our own, because OpenBLAS' dgemm fails
 * the test of row invariance. It never starts threads, inside a parallel task or outside, so its bits do not depend on
 * the thread count. beta = 0 does not read C. Any of m, n, k may be 0. C may not overlap A or B. */
#ifndef RETORT_KERNELS_GEMM_H
#define RETORT_KERNELS_GEMM_H
#include <stdint.h>

void rt_gemm_f32(char ta, char tb, int64_t m, int64_t n, int64_t k, float alpha, const float *a, int64_t lda,
                 const float *b, int64_t ldb, float beta, float *c, int64_t ldc);
void rt_gemm_f64(char ta, char tb, int64_t m, int64_t n, int64_t k, double alpha, const double *a, int64_t lda,
                 const double *b, int64_t ldb, double beta, double *c, int64_t ldc);
/* Our own f32 product whatever the build: every element a single chain of multiply-adds in the order of k. */
void rt_gemm_own_f32(char ta, char tb, int64_t m, int64_t n, int64_t k, float alpha, const float *a, int64_t lda,
                     const float *b, int64_t ldb, float beta, float *c, int64_t ldc);

/* For reports (retort doctor, run records): "oneDNN 2.6.3", "retort". Static text. */
const char *rt_gemm_f32_library(void);
const char *rt_gemm_f64_library(void);
/* OpenBLAS is used by LAPACK only. Its kernels ("Prescott" where it does not know the processor: slow) and build text.
 */
const char *rt_openblas_core(void);
const char *rt_openblas_config(void);
/* From now on OpenBLAS works on the calling thread alone, however it was built (OpenMP or its own threads). Call it between
 * rt_solo_begin and rt_solo_end: an OpenMP build sets the process's thread count with it. */
void rt_openblas_solo(void);
#endif
