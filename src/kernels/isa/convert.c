/* convert.c - half conversions and 16-row transposes of one ISA level, out of the blocks of halves.h. */
#include "kernels/isa/convert.h"
#include "kernels/isa/halves.h"
#include "kernels/isa/transpose.h"

/* --------------------------------------------------------------- rows */

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

INLINE bool round_row(round_block *nearest, uint32_t limit, float *x, int64_t n) {
    uint32_t over[LANES] = {0};
    float in[LANES];
    int64_t whole = n / LANES * LANES;
    for (int64_t i = 0; i < whole; i += LANES) {
        overflow_block(x + i, limit, over);
        nearest(x + i, x + i);
    }
    if (whole == n) return any_lane(over);
    lanes_tail_f32(x, whole, n, 0, in);
    overflow_block(in, limit, over);
    nearest(in, in);
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
static bool round_f16(float *x, int64_t n) { return round_row(round_block_f16, F16_LIMIT, x, n); }
static bool round_bf16(float *x, int64_t n) { return round_row(round_block_bf16, BF16_LIMIT, x, n); }

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
