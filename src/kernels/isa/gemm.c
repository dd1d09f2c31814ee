/* gemm.c - C = alpha op(A) op(B) + beta C out of register blocks (block.h), B packed in strips that stay in the cache.
 *
 * Every element is one chain of multiply-adds in the order of k, started from beta C: so its bits depend on nothing but
 * its row of A and its column of B. OpenBLAS' dgemm does not have this property (0.3.21, Prescott kernels: a row of a
 * product with N = 64, K = 512 changes its bits with M), and it is three times slower than this where it does not know
 * the processor. */
#ifndef T
#include "kernels/isa/gemm.h"
#include "kernels/isa/block.h"

enum { STRIP = 48, DEPTH = 256 }; /* columns and rows of a packed piece of B */

INLINE int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
INLINE int64_t padded(int64_t n) { return (n + LANES - 1) / LANES * LANES; }

#define RT_BODY "kernels/isa/gemm.c"
#include "kernels/for_each_type.h"
#else
/* strip[i][j] = alpha b(i,j) for i < depth, j < width; zero columns up to a multiple of 16. */
static void F(pack)(const T *b, int64_t rs, int64_t cs, int64_t depth, int64_t width, T alpha, T *strip) {
    for (int64_t i = 0; i < depth; i++) {
        T *row = strip + i * STRIP;
        if (cs == 1) {
#pragma omp simd
            for (int64_t j = 0; j < width; j++) row[j] = alpha * b[i * rs + j];
        } else {
            for (int64_t j = 0; j < width; j++) row[j] = alpha * b[i * rs + j * cs];
        }
        for (int64_t j = width; j < padded(width); j++) row[j] = 0;
    }
}

/* Strips narrower than a multiple of 16 go through a padded copy of C. */
static void F(ragged)(int64_t m, int64_t width, int64_t depth, const T *a, int64_t rs, int64_t cs, const T *strip, T *c,
                      int64_t ldc, bool add) {
    T part[BLOCK_ROWS * STRIP] = {0};
    for (int64_t i = 0; i < m; i += BLOCK_ROWS) {
        int64_t rows = least(BLOCK_ROWS, m - i);
        for (int64_t r = 0; add && r < rows; r++)
            memcpy(part + r * STRIP, c + (i + r) * ldc, (size_t)width * sizeof(T));
        F(block_product)(rows, padded(width), depth, a + i * rs, rs, cs, strip, STRIP, part, STRIP, add);
        for (int64_t r = 0; r < rows; r++) memcpy(c + (i + r) * ldc, part + r * STRIP, (size_t)width * sizeof(T));
    }
}

static void F(scale)(int64_t m, int64_t n, T beta, T *c, int64_t ldc) {
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++) c[i * ldc + j] = beta == 0 ? 0 : beta * c[i * ldc + j];
}

static void F(gemm)(char ta, char tb, int64_t m, int64_t n, int64_t k, T alpha, const T *a, int64_t lda, const T *b,
                    int64_t ldb, T beta, T *c, int64_t ldc) {
    _Alignas(64) T strip[DEPTH * STRIP];
    int64_t ars = ta == 'N' ? lda : 1, acs = ta == 'N' ? 1 : lda, brs = tb == 'N' ? ldb : 1, bcs = tb == 'N' ? 1 : ldb;
    if (k == 0 || (beta != 0 && beta != 1)) F(scale)(m, n, beta, c, ldc);
    for (int64_t j = 0; j < n; j += STRIP)
        for (int64_t p = 0; p < k; p += DEPTH) {
            int64_t width = least(STRIP, n - j), depth = least(DEPTH, k - p);
            bool add = p > 0 || beta != 0;
            F(pack)(b + p * brs + j * bcs, brs, bcs, depth, width, alpha, strip);
            if (width % LANES == 0)
                F(block_product)(m, width, depth, a + p * acs, ars, acs, strip, STRIP, c + j, ldc, add);
            else
                F(ragged)(m, width, depth, a + p * acs, ars, acs, strip, c + j, ldc, add);
        }
}
#endif

#ifndef T
extern const rt_gemm_kernels RT_ISA_NAME(rt_gemm_table);
const rt_gemm_kernels RT_ISA_NAME(rt_gemm_table) = {gemm_f32, gemm_f64};
#endif
