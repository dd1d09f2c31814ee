/* few.c - products of few rows with a matrix as it lies, of one ISA level. Formulas and promises: ../few.h.
 *
 * One row of W at a time: the matrix is then one long stream, which is what memory and its prefetching like best. Rows of x
 * come in groups that fit the registers; a second group finds a block of W in the second cache. */
#ifndef T
#include "kernels/isa/few.h"
#include "kernels/isa/vector.h"

#if defined __AVX512F__
enum { GROUP = 4 }; /* rows of x at a time */
#elif defined __AVX2__
enum { GROUP = 2 };
#else
enum { GROUP = 1 };
#endif
enum { CHAINS = 2, AHEAD = 1024 /* bytes of W asked for early */, COLUMNS = 512, ROWS = 4, KEPT = 1 << 16 /* bytes of W */ };

/* ------------------------------------------------------------- storage types */

enum { WIDTH_f32 = VECTOR_BYTES / 4, WIDTH_f64 = VECTOR_BYTES / 8 };
typedef uint32_t vec_u32 __attribute__((vector_size(VECTOR_BYTES), may_alias));
typedef int32_t vec_i32 __attribute__((vector_size(VECTOR_BYTES), may_alias));
typedef uint16_t vec_half __attribute__((vector_size(VECTOR_BYTES / 2), may_alias, aligned(2)));

INLINE vec_f32 load_single(const void *w, int64_t i) { return *(const vec_at_f32 *)((const float *)w + i); }
INLINE vec_f64 load_double(const void *w, int64_t i) { return *(const vec_at_f64 *)((const double *)w + i); }
INLINE vec_f32 load_bf16(const void *w, int64_t i) {
    return (vec_f32)(__builtin_convertvector(*(const vec_half *)((const uint16_t *)w + i), vec_u32) << 16);
}
#if defined __AVX512F__
INLINE vec_f32 load_f16(const void *w, int64_t i) {
    return (vec_f32)_mm512_cvtph_ps(_mm256_loadu_si256((const void *)((const uint16_t *)w + i)));
}
#elif defined __F16C__
INLINE vec_f32 load_f16(const void *w, int64_t i) {
    return (vec_f32)_mm256_cvtph_ps(_mm_loadu_si128((const void *)((const uint16_t *)w + i)));
}
#else
INLINE vec_f32 load_f16(const void *w, int64_t i) { /* see load_block_f16 in convert.c */
    vec_u32 h = __builtin_convertvector(*(const vec_half *)((const uint16_t *)w + i), vec_u32), m = h & 0x7fffu;
    vec_u32 finite = (vec_u32)((vec_f32)(m << 13) * 0x1p112f), special = (vec_u32)(m > 0x7c00u) & 0x400000u;
    vec_u32 is_special = (vec_u32)(m >= 0x7c00u);
    return (vec_f32)((h & 0x8000u) << 16 | (is_special & (0x7f800000u | special | m << 13)) | (~is_special & finite));
}
#endif

typedef vec_f32 load_f32(const void *, int64_t);
typedef vec_f64 load_f64(const void *, int64_t);

/* Row i of a matrix of elements of `size` bytes. */
INLINE const char *row_at(const void *w, int64_t i, int64_t ld, size_t size) { return (const char *)w + (size_t)(i * ld) * size; }

#define RT_BODY "kernels/isa/few.c"
#include "kernels/for_each_type.h"

/* One function for each storage type: `load` and `size` are constants in it. */
static void dots_single(const rt_few_f32 *p) { dots_f32(load_single, 4, p); }
static void dots_f16(const rt_few_f32 *p) { dots_f32(load_f16, 2, p); }
static void dots_bf16(const rt_few_f32 *p) { dots_f32(load_bf16, 2, p); }
static void dots_double(const rt_few_f64 *p) { dots_f64(load_double, 8, p); }
static void sums_single(const rt_few_f32 *p) { sums_f32(load_single, 4, p); }
static void sums_f16(const rt_few_f32 *p) { sums_f32(load_f16, 2, p); }
static void sums_bf16(const rt_few_f32 *p) { sums_f32(load_bf16, 2, p); }
static void sums_double(const rt_few_f64 *p) { sums_f64(load_double, 8, p); }

extern const rt_few_kernels RT_ISA_NAME(rt_few_table);
const rt_few_kernels RT_ISA_NAME(rt_few_table) = {
    {dots_single, dots_f16, dots_bf16}, {sums_single, sums_f16, sums_bf16}, dots_double, sums_double};
#else
#define PARTS (LANES / F(WIDTH)) /* registers of a block of 16 lanes */

/* The last n elements of a row, n < 16, followed by zeros. */
INLINE void F(tail)(const char *w, int64_t n, size_t size, char block[LANES * sizeof(T)]) {
    memset(block, 0, LANES * sizeof(T));
    memcpy(block, w, (size_t)n * size);
}

/* sum[m][part] += x[m][at..] w[at..], 16 elements, for m < M. */
INLINE void F(dots_block)(F(load) load, const int M, const T *x, int64_t ldx, const void *w, int64_t at, F(vec) (*sum)[PARTS]) {
#pragma GCC unroll 4
    for (int i = 0; i < PARTS; i++) {
        F(vec) b = load(w, at + i * F(WIDTH));
#pragma GCC unroll 4
        for (int m = 0; m < M; m++) sum[m][i] = F(vec_fma)(*(const F(vec_at) *)(x + m * ldx + at + i * F(WIDTH)), b, sum[m][i]);
    }
}

/* Both chains' lanes, as a tree over 16 (lanes_sum). */
INLINE T F(tree)(const F(vec) *a, const F(vec) *b) {
    F(vec) s[PARTS];
    for (int i = 0; i < PARTS; i++) s[i] = a[i] + b[i];
    for (int half = PARTS / 2; half > 0; half /= 2)
        for (int i = 0; i < half; i++) s[i] += s[i + half];
    return F(vec_sum)(s[0]);
}

/* One row of W against M <= GROUP rows of x. */
INLINE void F(dots_row)(F(load) load, size_t size, const int M, const F(rt_few) * p, const T *x, const char *w, T *y) {
    F(vec) chain[CHAINS][GROUP][PARTS];
    for (int c = 0; c < CHAINS; c++)
        for (int m = 0; m < M; m++)
            for (int i = 0; i < PARTS; i++) chain[c][m][i] = (F(vec)){0};
    const int64_t K = p->K, ldx = p->ldx, step = CHAINS * LANES, whole = K / step * step;
    int64_t k = 0;
    for (; k < whole; k += step) {
        __builtin_prefetch(w + (size_t)k * size + AHEAD);
        F(dots_block)(load, M, x, ldx, w, k, chain[0]);
        F(dots_block)(load, M, x, ldx, w, k + LANES, chain[1]);
    }
    for (int c = 0; k < K; k += LANES, c++) {
        int64_t n = K - k < LANES ? K - k : LANES;
        char block[LANES * sizeof(T)];
        T part[GROUP * LANES] = {0};
        F(tail)(w + (size_t)k * size, n, size, block);
        for (int m = 0; m < M; m++) memcpy(part + m * LANES, x + m * ldx + k, (size_t)n * sizeof(T));
        F(dots_block)(load, M, part, LANES, block, 0, chain[c]);
    }
    for (int m = 0; m < M; m++) y[m * p->ldy] = F(tree)(chain[0][m], chain[1][m]);
}

/* Rows of W that stay in the second cache, for all groups of x in turn: a group then stays in the first. */
INLINE void F(dots_rows)(F(load) load, size_t size, const F(rt_few) * p, int64_t n0, int64_t n1) {
    for (int64_t m = 0; m < p->M;) {
        const T *x = p->x + m * p->ldx;
        T *y = p->y + m * p->ldy;
        bool whole = m + GROUP <= p->M;
        for (int64_t n = n0; n < n1; n++) {
            const char *w = row_at(p->w, n, p->ldw, size);
            if (whole) F(dots_row)(load, size, GROUP, p, x, w, y + n);
            else F(dots_row)(load, size, 1, p, x, w, y + n);
        }
        m += whole ? GROUP : 1;
    }
}
INLINE void F(dots)(F(load) load, size_t size, const F(rt_few) * p) {
    int64_t rows = KEPT / (p->K * (int64_t)size + 1) + 1;
    for (int64_t n = 0; n < p->N; n += rows) F(dots_rows)(load, size, p, n, n + rows < p->N ? n + rows : p->N);
}

/* y[c..) += x[0] w0[c..) + ... in this order, `rows` <= ROWS rows of W; columns in blocks of 16, the rest one by one. */
INLINE void F(sums_rows)(F(load) load, size_t size, const int rows, const T *x, const char *w, size_t stride, int64_t columns, T *y) {
    int64_t c = 0;
    for (; c + F(WIDTH) <= columns; c += F(WIDTH)) {
        F(vec) sum = *(const F(vec_at) *)(y + c);
#pragma GCC unroll 4
        for (int r = 0; r < rows; r++) sum = F(vec_fma)(x[r] - (F(vec)){0}, load(w + (size_t)r * stride, c), sum);
        *(F(vec_at) *)(y + c) = sum;
    }
    if (c >= columns) return;
    for (int r = 0; r < rows; r++) {
        char block[LANES * sizeof(T)];
        F(tail)(w + (size_t)r * stride + (size_t)c * size, columns - c, size, block);
        F(vec) b = load(block, 0);
        for (int64_t i = 0; i < F(WIDTH) && i < columns - c; i++) y[c + i] = F(fma)(x[r], b[i], y[c + i]);
    }
}

INLINE void F(sums)(F(load) load, size_t size, const F(rt_few) * p) {
    size_t stride = (size_t)p->ldw * size;
    for (int64_t k = 0; k < p->K; k += ROWS)
        for (int64_t c = 0; c < p->N; c += COLUMNS) {
            int64_t columns = p->N - c < COLUMNS ? p->N - c : COLUMNS;
            const char *w = (const char *)p->w + (size_t)k * stride + (size_t)c * size;
            for (int64_t m = 0; m < p->M; m++) {
                const T *x = p->x + m * p->ldx + k;
                T *y = p->y + m * p->ldy + c;
                if (k + ROWS <= p->K) F(sums_rows)(load, size, ROWS, x, w, stride, columns, y);
                else
                    for (int64_t r = 0; r < p->K - k; r++) F(sums_rows)(load, size, 1, x + r, w + (size_t)r * stride, stride, columns, y);
            }
        }
}
#undef PARTS
#endif
