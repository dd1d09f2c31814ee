/* tensor_difference.c - two tensors, block by block. A block is one task; what it finds is its own record, and records are
 * added in the order of blocks, so that the number of threads changes no digit. */
#include "kernels/convert.h"
#include <retort/base/mem.h>
#include <retort/base/threads.h>
#include <retort/io/tensor_difference.h>
#include <float.h>
#include <math.h>
#include <string.h>

enum { BLOCK = 1 << 16, PIECE = 1024, LANES = 8 };

typedef struct found {
    double squares, squares_a, max_abs;
    int64_t differing, nonfinite, first, worst; /* indices in the tensor; -1 */
} found;
typedef struct work {
    const rt_tensor *a, *b;
    int64_t n;
    found *blocks;
} work;

/* ------------------------------------------------------------------ elements */

static const char *at(const rt_tensor *t, int64_t i) { return (const char *)t->data + (size_t)i * rt_dtype_size(t->dtype); }
static void widen_float(rt_dtype t, const void *from, double *x, int64_t n) {
    float narrow[PIECE];
    rt_rows_load_f32(t, from, narrow, n);
    for (int64_t i = 0; i < n; i++) x[i] = (double)narrow[i];
}
/* n <= PIECE */
static void widen(const rt_tensor *t, int64_t first, double *x, int64_t n) {
    const void *from = at(t, first);
    switch (t->dtype) {
    case RT_F64: memcpy(x, from, (size_t)n * sizeof *x); break;
    case RT_I64:
        for (int64_t i = 0; i < n; i++) x[i] = (double)((const int64_t *)from)[i];
        break;
    case RT_I32:
        for (int64_t i = 0; i < n; i++) x[i] = ((const int32_t *)from)[i];
        break;
    case RT_U8:
        for (int64_t i = 0; i < n; i++) x[i] = ((const uint8_t *)from)[i];
        break;
    default: widen_float(t->dtype, from, x, n);
    }
}
double rt_tensor_element(const rt_tensor *t, int64_t i) {
    double x;
    widen(t, i, &x, 1);
    return x;
}

/* |x - y|; 0 for equal values (infinities too) and for two NaNs; infinite where there is no finite difference. */
static double distance(double x, double y) {
    double d = fabs(x - y);
    if (x == y || (x != x && y != y)) return 0;
    return d <= DBL_MAX ? d : HUGE_VAL;
}

/* --------------------------------------------------------------- a piece, bits */

static bool same_bits(const void *a, const void *b, size_t size, int64_t i) { return memcmp((const char *)a + (size_t)i * size, (const char *)b + (size_t)i * size, size) == 0; }
static int64_t count_bits(const void *a, const void *b, size_t size, int64_t n) {
    int64_t k = 0;
    switch (size) {
    case 2:
        for (int64_t i = 0; i < n; i++) k += ((const uint16_t *)a)[i] != ((const uint16_t *)b)[i];
        return k;
    case 4:
        for (int64_t i = 0; i < n; i++) k += ((const uint32_t *)a)[i] != ((const uint32_t *)b)[i];
        return k;
    default:
        for (int64_t i = 0; i < n; i++) k += !same_bits(a, b, size, i);
        return k;
    }
}
/* Two dtypes: the bits of the widened numbers. */
static void add_differing(const work *w, int64_t first, const double *x, const double *y, int64_t n, found *f) {
    bool one = w->a->dtype == w->b->dtype;
    const void *a = one ? (const void *)at(w->a, first) : x, *b = one ? (const void *)at(w->b, first) : y;
    size_t size = one ? rt_dtype_size(w->a->dtype) : sizeof *x;
    int64_t k = count_bits(a, b, size, n), i = 0;
    if (k && f->first < 0) {
        while (same_bits(a, b, size, i)) i++;
        f->first = first + i;
    }
    f->differing += k;
}

/* ------------------------------------------------------------ a piece, numbers */

/* Sums and the maximum over lanes, so that the compiler keeps them in vectors. False where something is not finite: the sums
 * would say so. */
static bool add_finite(const double *x, const double *y, int64_t n, double *most, found *f) {
    double d2[LANES] = {0}, a2[LANES] = {0}, m[LANES] = {0}, squares = 0, squares_a = 0;
    for (int64_t i = 0; i + LANES <= n; i += LANES)
        for (int k = 0; k < LANES; k++) {
            double d = x[i + k] - y[i + k], e = fabs(d);
            d2[k] += d * d, a2[k] += x[i + k] * x[i + k];
            m[k] = e > m[k] ? e : m[k];
        }
    for (int64_t i = n / LANES * LANES, k = 0; i < n; i++, k++) {
        double d = x[i] - y[i], e = fabs(d);
        d2[k] += d * d, a2[k] += x[i] * x[i];
        m[k] = e > m[k] ? e : m[k];
    }
    for (int k = 0; k < LANES; k++) squares += d2[k], squares_a += a2[k], *most = m[k] > *most ? m[k] : *most;
    if (!(squares + squares_a <= DBL_MAX)) return false;
    f->squares += squares, f->squares_a += squares_a;
    return true;
}
static void add_any(const double *x, const double *y, int64_t n, double *most, found *f) {
    *most = 0;
    for (int64_t i = 0; i < n; i++) {
        double d = distance(x[i], y[i]), a = fabs(x[i]) <= DBL_MAX ? x[i] : 0;
        f->squares_a += a * a;
        f->nonfinite += d > DBL_MAX;
        if (d > DBL_MAX) continue;
        f->squares += d * d;
        *most = d > *most ? d : *most;
    }
}
static void add_numbers(int64_t first, const double *x, const double *y, int64_t n, found *f) {
    double most = 0;
    int64_t i = 0;
    if (!add_finite(x, y, n, &most, f)) add_any(x, y, n, &most, f);
    if (most <= f->max_abs) return;
    while (distance(x[i], y[i]) != most) i++;
    f->max_abs = most, f->worst = first + i;
}

/* ---------------------------------------------------------------------- block */

static bool equal_bytes(const work *w, int64_t first, int64_t n) {
    return w->a->dtype == w->b->dtype && memcmp(at(w->a, first), at(w->b, first), (size_t)n * rt_dtype_size(w->a->dtype)) == 0;
}
static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
static void one_block(void *context, int64_t block, int worker) {
    const work *w = context;
    double x[PIECE], y[PIECE];
    found f = {.first = -1, .worst = -1};
    (void)worker;
    for (int64_t i = block * BLOCK, end = least(w->n, i + BLOCK); i < end; i += PIECE) {
        int64_t n = least(PIECE, end - i);
        bool equal = equal_bytes(w, i, n);
        widen(w->a, i, x, n);
        if (!equal) widen(w->b, i, y, n), add_differing(w, i, x, y, n, &f);
        add_numbers(i, x, equal ? x : y, n, &f);
    }
    w->blocks[block] = f;
}
static void look_for_difference(void *context, int64_t block, int worker) {
    const work *w = context;
    (void)worker;
    w->blocks[block].differing = !equal_bytes(w, block * BLOCK, least(BLOCK, w->n - block * BLOCK));
}

/* ------------------------------------------------------------------ all of it */

static rt_tensor_difference sum(const work *w, int64_t blocks) {
    rt_tensor_difference d = {.elements = w->n, .first = -1, .worst = -1, .widened = w->a->dtype != w->b->dtype};
    double squares = 0, squares_a = 0;
    for (int64_t i = 0; i < blocks; i++) {
        const found *f = &w->blocks[i];
        squares += f->squares, squares_a += f->squares_a;
        d.differing += f->differing, d.nonfinite += f->nonfinite;
        if (d.first < 0) d.first = f->first;
        if (f->max_abs > d.max_abs) d.max_abs = f->max_abs, d.worst = f->worst;
    }
    d.norm = sqrt(squares_a);
    d.relative = squares == 0 ? 0 : d.norm == 0 ? HUGE_VAL : sqrt(squares) / d.norm;
    if (d.nonfinite) d.max_abs = HUGE_VAL;
    if (d.nonfinite || d.relative != d.relative) d.relative = HUGE_VAL; /* squares beyond f64 */
    return d;
}

rt_status rt_tensor_difference_of(const rt_tensor *a, const rt_tensor *b, rt_tensor_difference *out, rt_error *err) {
    char x[96], y[96];
    *out = (rt_tensor_difference){.first = -1, .worst = -1};
    if (!rt_tensor_same_shape(a, b)) return rt_fail(err, RT_E_SHAPE, "%s against %s", rt_tensor_text(a, x), rt_tensor_text(b, y));
    work w = {.a = a, .b = b, .n = rt_tensor_count(a)};
    int64_t blocks = (w.n + BLOCK - 1) / BLOCK, differing = 0;
    w.blocks = rt_zalloc(rt_array_bytes((size_t)blocks, sizeof *w.blocks));
    if (!w.blocks) return rt_fail(err, RT_E_NOMEM, "out of memory: %lld elements", (long long)w.n);
    if (a->dtype == b->dtype) { /* mostly they are equal, and then this is all */
        rt_parallel(blocks, look_for_difference, &w);
        for (int64_t i = 0; i < blocks; i++) differing += w.blocks[i].differing;
    }
    if (differing || a->dtype != b->dtype) {
        rt_parallel(blocks, one_block, &w);
        *out = sum(&w, blocks);
    } else *out = (rt_tensor_difference){.elements = w.n, .first = -1, .worst = -1, .norm = NAN};
    rt_free(w.blocks);
    return RT_OK;
}
