/* gemm.c - products by our own kernels: always for f64, for f32 where oneDNN is absent (gemm_onednn.c has it
 * otherwise). */
#include "kernels/gemm.h"
#include "kernels/isa.h"
#include "kernels/isa/gemm.h"

RT_ISA_DECLARE(const rt_gemm_kernels, rt_gemm_table);

void rt_gemm_f64(char ta, char tb, int64_t m, int64_t n, int64_t k, double alpha, const double *a, int64_t lda,
                 const double *b, int64_t ldb, double beta, double *c, int64_t ldc) {
    RT_ISA_PICK(rt_gemm_table)->f64(ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
}
void rt_gemm_own_f32(char ta, char tb, int64_t m, int64_t n, int64_t k, float alpha, const float *a, int64_t lda,
                     const float *b, int64_t ldb, float beta, float *c, int64_t ldc) {
    RT_ISA_PICK(rt_gemm_table)->f32(ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
}
const char *rt_gemm_f64_library(void) { return "retort"; }

#ifndef RT_ONEDNN
void rt_gemm_f32(char ta, char tb, int64_t m, int64_t n, int64_t k, float alpha, const float *a, int64_t lda,
                 const float *b, int64_t ldb, float beta, float *c, int64_t ldc) {
    rt_gemm_own_f32(ta, tb, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
}
const char *rt_gemm_f32_library(void) { return "retort"; }
#endif
