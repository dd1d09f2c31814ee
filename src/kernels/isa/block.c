/* block.c - the register-block product of one ISA level; see block.h.
 *
 * A block of rows x vectors sums stays in registers over all of K, everything unrolled by constant arguments. UBSan's
 * checks on each unrolled address would make this file take minutes to compile; ASan's stay. */
#ifndef T
#include "kernels/isa/block.h"
#include "kernels/isa/vector.h"

#define NO_UBSAN __attribute__((no_sanitize("undefined")))
#define NOINLINE __attribute__((noinline)) NO_UBSAN

#define RT_BODY "kernels/isa/block.c"
#include "kernels/for_each_type.h"
#else
typedef struct F(block_operands) {
    int64_t K;
    const T *A;
    int64_t rs, cs;
    const T *B;
    int64_t ldb;
    T *C;
    int64_t ldc;
    bool add;
} F(block_operands);

/* rows and vectors are constants at every call, so that everything unrolls and `sum` is registers. */
INLINE NO_UBSAN void F(block_fixed)(const int rows, const int vectors, const F(block_operands) * o) {
    enum { WIDTH = VECTOR_BYTES / sizeof(T) };
    F(vec) sum[BLOCK_ROWS][BLOCK_VECTORS];
#pragma GCC unroll 8
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 3
        for (int j = 0; j < vectors; j++)
            sum[i][j] = o->add ? *(const F(vec_at) *)(o->C + i * o->ldc + j * WIDTH) : (F(vec)){0};
    const T *a = o->A, *b = o->B;
    const int64_t rs = o->rs, cs = o->cs, ldb = o->ldb;
    for (int64_t k = 0; k < o->K; k++, a += cs, b += ldb) {
        F(vec) row[BLOCK_VECTORS];
#pragma GCC unroll 3
        for (int j = 0; j < vectors; j++) row[j] = *(const F(vec_at) *)(b + j * WIDTH);
#pragma GCC unroll 8
        for (int i = 0; i < rows; i++) {
            F(vec) x = a[i * rs] - (F(vec)){0}; /* a - 0 keeps the sign of zero */
#pragma GCC unroll 3
            for (int j = 0; j < vectors; j++) sum[i][j] = F(vec_fma)(x, row[j], sum[i][j]);
        }
    }
#pragma GCC unroll 8
    for (int i = 0; i < rows; i++)
#pragma GCC unroll 3
        for (int j = 0; j < vectors; j++) *(F(vec_at) *)(o->C + i * o->ldc + j * WIDTH) = sum[i][j];
}

INLINE NO_UBSAN void F(block_rows)(int rows, const int vectors, const F(block_operands) * o) {
    switch (rows) {
    case 1:
        F(block_fixed)(1, vectors, o);
        break;
    case 2:
        F(block_fixed)(2, vectors, o);
        break;
    case 3:
        F(block_fixed)(3, vectors, o);
        break;
    case 4:
        F(block_fixed)(4, vectors, o);
        break;
#if defined __AVX2__
    case 5:
        F(block_fixed)(5, vectors, o);
        break;
    case 6:
        F(block_fixed)(6, vectors, o);
        break;
#endif
#if defined __AVX512F__
    case 7:
        F(block_fixed)(7, vectors, o);
        break;
    case 8:
        F(block_fixed)(8, vectors, o);
        break;
#endif
    default:
        break;
    }
}
static NOINLINE NO_UBSAN void F(block_1)(int rows, const F(block_operands) * o) { F(block_rows)(rows, 1, o); }
static NOINLINE NO_UBSAN void F(block_2)(int rows, const F(block_operands) * o) { F(block_rows)(rows, 2, o); }
#if defined __AVX512F__
static NOINLINE NO_UBSAN void F(block_3)(int rows, const F(block_operands) * o) { F(block_rows)(rows, 3, o); }
#else
#define block_3_f32 block_2_f32
#define block_3_f64 block_2_f64
#endif

/* How many vectors wide the next column of blocks is; 4 left are two of 2, not 3 and 1. */
INLINE int F(block_width)(int64_t left) { return left == 4 ? 2 : left < BLOCK_VECTORS ? (int)left : BLOCK_VECTORS; }

NO_UBSAN void F(block_product)(int64_t m, int64_t n, int64_t K, const T *A, int64_t rs, int64_t cs, const T *B,
                               int64_t ldb, T *C, int64_t ldc, bool add) {
    const int64_t width = VECTOR_BYTES / (int64_t)sizeof(T);
    for (int64_t j = 0; j < n;) {
        int vectors = F(block_width)((n - j) / width);
        for (int64_t i = 0; i < m; i += BLOCK_ROWS) {
            int rows = m - i < BLOCK_ROWS ? (int)(m - i) : BLOCK_ROWS;
            F(block_operands) o = {K, A + i * rs, rs, cs, B + j, ldb, C + i * ldc + j, ldc, add};
            if (vectors == 3)
                F(block_3)(rows, &o);
            else if (vectors == 2)
                F(block_2)(rows, &o);
            else
                F(block_1)(rows, &o);
        }
        j += vectors * width;
    }
}
#endif
