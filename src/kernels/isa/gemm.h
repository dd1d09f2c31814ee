/* gemm.h - our own general product, of one ISA level: for f64, and for f32 where oneDNN is absent. */
#ifndef RETORT_KERNELS_ISA_GEMM_H
#define RETORT_KERNELS_ISA_GEMM_H
#include <stdint.h>

typedef struct rt_gemm_kernels {
    void (*f32)(char ta, char tb, int64_t m, int64_t n, int64_t k, float alpha, const float *a, int64_t lda,
                const float *b, int64_t ldb, float beta, float *c, int64_t ldc);
    void (*f64)(char ta, char tb, int64_t m, int64_t n, int64_t k, double alpha, const double *a, int64_t lda,
                const double *b, int64_t ldb, double beta, double *c, int64_t ldc);
} rt_gemm_kernels;
#endif
