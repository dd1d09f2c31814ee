/* matmul.c - tiles of products. See matmul.h for the forms and the promise about bits. */
#ifndef T
#include "kernels/matmul.h"
#include "kernels/gemm.h"
#include <retort/base/threads.h>
#include <assert.h>
#include <string.h>

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t pieces(int64_t n, int64_t size) { return (n + size - 1) / size; }

#define RT_BODY "kernels/matmul.c"
#include "kernels/for_each_type.h"
#else

size_t F(rt_rows_scratch)(int64_t K) { return sizeof(T) * RT_ROW_BLOCK * ((size_t)K + RT_TILE_COLUMNS); }
int64_t F(rt_rows_tiles)(const F(rt_product) * p) { return pieces(p->M, RT_TILE_ROWS) * pieces(p->N, RT_TILE_COLUMNS); }

/* Fewer than 16 rows: as a block of 16 whose other rows are zero, since the library takes another path for small m. */
static void F(short_block)(const F(rt_product) * p, int64_t r0, int64_t m, int64_t c0, int64_t n, void *scratch) {
    T *x = scratch, *y = x + RT_ROW_BLOCK * p->K;
    for (int64_t i = 0; i < m; i++) memcpy(x + i * p->K, p->x + (r0 + i) * p->ldx, (size_t)p->K * sizeof(T));
    memset(x + m * p->K, 0, (size_t)((RT_ROW_BLOCK - m) * p->K) * sizeof(T));
    memset(y, 0, (size_t)(RT_ROW_BLOCK * n) * sizeof(T));
    T *out = p->y + r0 * p->ldy + c0;
    for (int64_t i = 0; p->add && i < m; i++) memcpy(y + i * n, out + i * p->ldy, (size_t)n * sizeof(T));
    F(rt_gemm)('N', 'N', RT_ROW_BLOCK, n, p->K, 1, x, p->K, p->w + c0, p->ldw, p->add, y, n);
    for (int64_t i = 0; i < m; i++) memcpy(out + i * p->ldy, y + i * n, (size_t)n * sizeof(T));
}

static void F(block)(const F(rt_product) * p, int64_t r0, int64_t r1, int64_t c0, int64_t c1, void *scratch) {
    int64_t m = r1 - r0, whole = m / RT_ROW_BLOCK * RT_ROW_BLOCK;
    F(rt_gemm)
    ('N', 'N', whole, c1 - c0, p->K, 1, p->x + r0 * p->ldx, p->ldx, p->w + c0, p->ldw, p->add, p->y + r0 * p->ldy + c0,
     p->ldy);
    if (whole < m) F(short_block)(p, r0 + whole, m - whole, c0, c1 - c0, scratch);
}

void F(rt_rows_range)(const F(rt_product) * p, int64_t r0, int64_t r1, void *scratch) {
    for (int64_t r = r0; r < r1; r += RT_TILE_ROWS)
        for (int64_t c = 0; c < p->N; c += RT_TILE_COLUMNS)
            F(block)(p, r, least(r + RT_TILE_ROWS, r1), c, least(c + RT_TILE_COLUMNS, p->N), scratch);
}
void F(rt_rows_tile)(const F(rt_product) * p, int64_t tile, void *scratch) {
    int64_t across = pieces(p->N, RT_TILE_COLUMNS), r = tile / across * RT_TILE_ROWS,
            c = tile % across * RT_TILE_COLUMNS;
    F(block)(p, r, least(r + RT_TILE_ROWS, p->M), c, least(c + RT_TILE_COLUMNS, p->N), scratch);
}

int64_t F(rt_weights_tiles)(const F(rt_product) * p) { return pieces(p->N, RT_TILE_WEIGHT_ROWS); }
void F(rt_weights_range)(const F(rt_product) * p, int64_t n0, int64_t n1) {
    F(rt_gemm)('T', 'N', n1 - n0, p->K, p->M, 1, p->w + n0, p->ldw, p->x, p->ldx, p->add, p->y + n0 * p->ldy, p->ldy);
}
void F(rt_weights_tile)(const F(rt_product) * p, int64_t tile) {
    int64_t n0 = tile * RT_TILE_WEIGHT_ROWS;
    F(rt_weights_range)(p, n0, least(n0 + RT_TILE_WEIGHT_ROWS, p->N));
}

static void F(set_add)(F(rt_product_set) * s, const F(rt_product) * p, bool weights, int64_t tiles) {
    assert(s->count < RT_SET_MAX);
    s->product[s->count] = *p;
    s->weights[s->count] = weights;
    s->first[s->count + 1] = (s->count == 0 ? 0 : s->first[s->count]) + tiles;
    s->count++;
}
void F(rt_set_rows)(F(rt_product_set) * s, const F(rt_product) * p) { F(set_add)(s, p, false, F(rt_rows_tiles)(p)); }
void F(rt_set_weights)(F(rt_product_set) * s, const F(rt_product) * p) { F(set_add)(s, p, true, F(rt_weights_tiles)(p)); }

static void F(set_task)(void *context, int64_t task, int worker) {
    const F(rt_product_set) *s = context;
    int i = 0;
    while (task >= s->first[i + 1]) i++;
    int64_t tile = i == 0 ? task : task - s->first[i];
    if (s->weights[i]) F(rt_weights_tile)(&s->product[i], tile);
    else F(rt_rows_tile)(&s->product[i], tile, rt_scratch(worker));
}
void F(rt_set_run)(const F(rt_product_set) * s) {
    F(rt_product_set) copy = *s;
    if (copy.count > 0) rt_parallel(copy.first[copy.count], F(set_task), &copy);
}
void F(rt_rows_product)(const F(rt_product) * p) {
    F(rt_product_set) s = {.count = 0};
    F(rt_set_rows)(&s, p);
    F(rt_set_run)(&s);
}
void F(rt_weights_product)(const F(rt_product) * p) {
    F(rt_product_set) s = {.count = 0};
    F(rt_set_weights)(&s, p);
    F(rt_set_run)(&s);
}
#endif
