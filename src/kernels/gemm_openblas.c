/* gemm_openblas.c - f64 products (the reference), and f32 ones where oneDNN is absent, through OpenBLAS: the one file that
 * sees <cblas.h> (it drags in <complex.h>, whose macro `I` breaks code). */
#include "kernels/gemm.h"
#include <cblas.h>
#include <retort/base/threads.h>
#include <stdio.h>

static CBLAS_TRANSPOSE op(char t) { return t == 'N' ? CblasNoTrans : CblasTrans; }

void rt_gemm_f64(char ta, char tb, int64_t m, int64_t n, int64_t k, double alpha, const double *a, int64_t lda,
                 const double *b, int64_t ldb, double beta, double *c, int64_t ldc) {
    if (m == 0 || n == 0) return;
    int before = rt_solo_begin();
    cblas_dgemm(CblasRowMajor, op(ta), op(tb), (blasint)m, (blasint)n, (blasint)k, alpha, a, (blasint)lda, b, (blasint)ldb, beta,
                c, (blasint)ldc);
    rt_solo_end(before);
}

#ifndef RT_ONEDNN
void rt_gemm_f32(char ta, char tb, int64_t m, int64_t n, int64_t k, float alpha, const float *a, int64_t lda, const float *b,
                 int64_t ldb, float beta, float *c, int64_t ldc) {
    if (m == 0 || n == 0) return;
    int before = rt_solo_begin();
    cblas_sgemm(CblasRowMajor, op(ta), op(tb), (blasint)m, (blasint)n, (blasint)k, alpha, a, (blasint)lda, b, (blasint)ldb, beta,
                c, (blasint)ldc);
    rt_solo_end(before);
}
const char *rt_gemm_f32_library(void) { return rt_gemm_f64_library(); }
#endif

const char *rt_openblas_core(void) { return openblas_get_corename(); }

const char *rt_gemm_f64_library(void) {
    static char text[128]; /* "OpenBLAS 0.3.21 NO_LAPACK ..." -> "OpenBLAS 0.3.21 (Prescott)" */
    char name[32] = "", version[32] = "";
    if (sscanf(openblas_get_config(), "%31s %31s", name, version) == 2)
        snprintf(text, sizeof text, "%s %s (%s)", name, version, openblas_get_corename());
    return text;
}
