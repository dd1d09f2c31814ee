/* block.h - a small product in registers: C[m,n] (+)= A[m,K] B[K,n], one core, no packing. Included by isa/ files only.
 *
 * For K of 16 to 512, where a library call spends its time on packing: 95 % of the FMA peak (design/performance.md).
 * Each element is one chain of multiply-adds in the order of k, so its bits depend neither on the block it falls into
 * nor on the width of the hardware (with FMA). A(i,k) = A[i*rs + k*cs]: any layout. n is a multiple of 16; B and C are
 * padded accordingly. */
#ifndef RETORT_KERNELS_BLOCK_H
#define RETORT_KERNELS_BLOCK_H
#include "kernels/isa/lanes.h"

#if defined __AVX512F__ /* 32 registers: 8 x 3 sums, 3 of B, 1 of A */
enum { VECTOR_BYTES = 64, BLOCK_ROWS = 8, BLOCK_VECTORS = 3 };
#elif defined __AVX2__ /* 16 registers: 6 x 2 sums, 2 of B, 1 of A */
enum { VECTOR_BYTES = 32, BLOCK_ROWS = 6, BLOCK_VECTORS = 2 };
#else
enum { VECTOR_BYTES = 16, BLOCK_ROWS = 4, BLOCK_VECTORS = 2 };
#endif

#define block_product_f32 RT_ISA_NAME(rt_block_product_f32)
#define block_product_f64 RT_ISA_NAME(rt_block_product_f64)
void block_product_f32(int64_t m, int64_t n, int64_t K, const float *A, int64_t rs, int64_t cs, const float *B,
                       int64_t ldb, float *C, int64_t ldc, bool add);
void block_product_f64(int64_t m, int64_t n, int64_t K, const double *A, int64_t rs, int64_t cs, const double *B,
                       int64_t ldb, double *C, int64_t ldc, bool add);
#endif
