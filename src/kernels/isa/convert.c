/* convert.c - half conversions and 16-row transposes of one ISA level.
 *
 * f16 uses the instructions of F16C or AVX-512 where they exist (gcc 12 does not vectorise _Float16 casts), else
 * integer arithmetic; bf16 is integer arithmetic everywhere. The same bits as the scalar functions of tensor/dtype.c.
 */
#include "kernels/isa/convert.h"
#include "kernels/isa/transpose.h"

typedef union bits {
    float f;
    uint32_t u;
} bits;

/* --------------------------------------------------------------- blocks of 16 */

#if defined __AVX512F__
INLINE void load_block_f16(const uint16_t *x, float *y) {
    _mm512_storeu_ps(y, _mm512_cvtph_ps(_mm256_loadu_si256((const void *)x)));
}
INLINE void store_block_f16(const float *x, uint16_t *y) {
    _mm256_storeu_si256((void *)y, _mm512_cvtps_ph(_mm512_loadu_ps(x), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
}
#elif defined __F16C__
INLINE void load_block_f16(const uint16_t *x, float *y) {
    for (int i = 0; i < LANES; i += 8) _mm256_storeu_ps(y + i, _mm256_cvtph_ps(_mm_loadu_si128((const void *)(x + i))));
}
INLINE void store_block_f16(const float *x, uint16_t *y) {
    for (int i = 0; i < LANES; i += 8)
        _mm_storeu_si128((void *)(y + i), _mm256_cvtps_ph(_mm256_loadu_ps(x + i), _MM_FROUND_TO_NEAREST_INT));
}
#else
INLINE void load_block_f16(const uint16_t *x, float *y) {
    EACH_LANE(l) {
        uint32_t h = x[l], sign = (h & 0x8000u) << 16, m = h & 0x7fffu;
        bits finite = {.u = m << 13},
             out; /* the exponent is 112 too small: a multiplication sets it right, subnormals too */
        finite.f *= 0x1p112f;
        uint32_t special = 0x7f800000u | (m > 0x7c00u ? 0x400000u : 0) | m << 13;
        out.u = sign | (m >= 0x7c00u ? special : finite.u);
        y[l] = out.f;
    }
}
INLINE void store_block_f16(const float *x, uint16_t *y) {
    EACH_LANE(l) {
        bits b = {.f = x[l]}, small;
        uint32_t sign = b.u >> 16 & 0x8000u, a = b.u & 0x7fffffffu;
        small.u = a;
        small.f += 0.5f; /* aligns and rounds the significand of a subnormal */
        uint32_t nan = 0x7e00u | (a >> 13 & 0x1ffu), normal = (a - 0x38000000u + 0xfffu + (a >> 13 & 1)) >> 13;
        uint32_t finite = a < 0x38800000u ? small.u - 0x3f000000u : normal;
        uint32_t h = a > 0x7f800000u ? nan : a >= 0x477ff000u ? 0x7c00u : finite;
        y[l] = (uint16_t)(sign | h);
    }
}
#endif

INLINE void load_block_bf16(const uint16_t *x, float *y) {
    EACH_LANE(l) {
        bits b = {.u = (uint32_t)x[l] << 16};
        y[l] = b.f;
    }
}
INLINE void store_block_bf16(const float *x, uint16_t *y) {
    EACH_LANE(l) {
        bits b = {.f = x[l]};
        uint32_t rounded = (b.u + 0x7fffu + (b.u >> 16 & 1)) >> 16, nan = b.u >> 16 | 0x40u;
        y[l] = (uint16_t)((b.u & 0x7fffffffu) > 0x7f800000u ? nan : rounded);
    }
}

/* Ors into `over` a bit of every finite value whose magnitude has at least the bits `limit`: it will round to infinity.
 */
INLINE void overflow_block(const float *x, uint32_t limit, uint32_t *over) {
    EACH_LANE(l) {
        bits b = {.f = x[l]};
        over[l] |= (b.u & 0x7fffffffu) - limit < 0x7f800000u - limit;
    }
}
enum { F16_LIMIT = 0x477ff000, BF16_LIMIT = 0x7f7f8000 }; /* 65520; half way from the largest bf16 to 2^128 */

/* --------------------------------------------------------------- rows */

typedef void load_block(const uint16_t *, float *);
typedef void store_block(const float *, uint16_t *);

INLINE void load_row(load_block *load, const uint16_t *src, float *dst, int64_t n) {
    int64_t whole = n / LANES * LANES;
    for (int64_t i = 0; i < whole; i += LANES) load(src + i, dst + i);
    if (whole == n) return;
    uint16_t in[LANES] = {0};
    float out[LANES];
    memcpy(in, src + whole, (size_t)(n - whole) * 2);
    load(in, out);
    memcpy(dst + whole, out, (size_t)(n - whole) * 4);
}

INLINE bool any_lane(const uint32_t *over) {
    uint32_t any = 0;
    for (int l = 0; l < LANES; l++) any |= over[l];
    return any != 0;
}

INLINE bool store_row(store_block *store, uint32_t limit, const float *src, uint16_t *dst, int64_t n) {
    uint32_t over[LANES] = {0};
    float in[LANES];
    uint16_t out[LANES];
    int64_t whole = n / LANES * LANES;
    for (int64_t i = 0; i < whole; i += LANES) {
        store(src + i, dst + i);
        overflow_block(src + i, limit, over);
    }
    if (whole == n) return any_lane(over);
    lanes_tail_f32(src, whole, n, 0, in);
    store(in, out);
    overflow_block(in, limit, over);
    memcpy(dst + whole, out, (size_t)(n - whole) * 2);
    return any_lane(over);
}

INLINE bool round_row(store_block *store, load_block *load, uint32_t limit, float *x, int64_t n) {
    uint32_t over[LANES] = {0};
    float in[LANES];
    uint16_t h[LANES];
    int64_t whole = n / LANES * LANES;
    for (int64_t i = 0; i < whole; i += LANES) {
        overflow_block(x + i, limit, over);
        store(x + i, h);
        load(h, x + i);
    }
    if (whole == n) return any_lane(over);
    lanes_tail_f32(x, whole, n, 0, in);
    overflow_block(in, limit, over);
    store(in, h);
    load(h, in);
    memcpy(x + whole, in, (size_t)(n - whole) * 4);
    return any_lane(over);
}

static void load_f16(const uint16_t *src, float *dst, int64_t n) { load_row(load_block_f16, src, dst, n); }
static void load_bf16(const uint16_t *src, float *dst, int64_t n) { load_row(load_block_bf16, src, dst, n); }
static bool store_f16(const float *src, uint16_t *dst, int64_t n) {
    return store_row(store_block_f16, F16_LIMIT, src, dst, n);
}
static bool store_bf16(const float *src, uint16_t *dst, int64_t n) {
    return store_row(store_block_bf16, BF16_LIMIT, src, dst, n);
}
static bool round_f16(float *x, int64_t n) { return round_row(store_block_f16, load_block_f16, F16_LIMIT, x, n); }
static bool round_bf16(float *x, int64_t n) { return round_row(store_block_bf16, load_block_bf16, BF16_LIMIT, x, n); }

/* --------------------------------------------------------------- transposes */

static void transpose(const float *const *row, int64_t n, float *dst, int64_t ldd) {
    int64_t c = 0;
    for (; c + LANES <= n; c += LANES) transpose_block_f32(row, c, dst + c * ldd, ldd);
    for (; c < n; c++)
        for (int i = 0; i < LANES; i++) dst[c * ldd + i] = row[i][c];
}

INLINE void transpose_rows_of_halves(load_block *load, const uint16_t *const *row, int64_t n, float *dst, int64_t ldd) {
    float block[LANES][LANES];
    uint16_t in[LANES] = {0};
    const float *rows[LANES];
    for (int i = 0; i < LANES; i++) rows[i] = block[i];
    int64_t c = 0;
    for (; c + LANES <= n; c += LANES) {
        for (int i = 0; i < LANES; i++) load(row[i] + c, block[i]);
        transpose_block_f32(rows, 0, dst + c * ldd, ldd);
    }
    for (; c < n; c++) {
        for (int i = 0; i < LANES; i++) in[i] = row[i][c];
        load(in, dst + c * ldd);
    }
}
static void transpose_f16(const uint16_t *const *row, int64_t n, float *dst, int64_t ldd) {
    transpose_rows_of_halves(load_block_f16, row, n, dst, ldd);
}
static void transpose_bf16(const uint16_t *const *row, int64_t n, float *dst, int64_t ldd) {
    transpose_rows_of_halves(load_block_bf16, row, n, dst, ldd);
}

extern const rt_convert_kernels RT_ISA_NAME(rt_convert_table);
const rt_convert_kernels RT_ISA_NAME(rt_convert_table) = {
    {load_f16, load_bf16}, {store_f16, store_bf16}, {round_f16, round_bf16}, transpose, {transpose_f16, transpose_bf16},
};
