/* half.c - which half products this machine has, shape by shape, and rows in any number of sixteens. See half.h.
 *
 * A shape has a primitive for each power of two from 16 to 256 rows; a range of rows is cut by the largest that fit. Whether
 * they give a row the same bits is tried out on 256 rows before the shape is used at all. */
#include "kernels/half.h"
#ifdef RT_ONEDNN
#include <pthread.h>
#include <retort/base/mem.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

enum { SIZES = 5, MOST_ROWS = 256, LEAST_ROWS = 16, SHAPES = 512 };

struct rt_half_product {
    rt_dtype half;
    int64_t N, K;
    bool usable;
    rt_half_primitive by_rows[SIZES]; /* 256, 128, 64, 32, 16 rows */
};
/* A shape is tried once in the life of the process. Beyond SHAPES of them (a model has about ten) products run in f32. */
static rt_half_product shapes[SHAPES];
static atomic_int known; /* entries below it never change */
static bool off;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static int64_t rows_of(int size) { return MOST_ROWS >> size; }

const char *rt_half_instructions(rt_dtype half) { return off ? NULL : rt_half_library_instructions(half); }
void rt_half_disable(bool disabled) { off = disabled; }

const char *rt_half_summary(void) {
    static char text[64]; /* the same text whoever writes it */
    static const rt_dtype halves[] = {RT_BF16, RT_F16};
    size_t used = 0;
    for (int i = 0; i < 2; i++) {
        const char *instructions = rt_half_library_instructions(halves[i]);
        if (instructions)
            used += (size_t)snprintf(text + used, sizeof text - used, "%s (%s), ", rt_dtype_name(halves[i]), instructions);
    }
    snprintf(text + used, sizeof text - used, used ? "others in f32" : "in f32");
    return text;
}

size_t rt_half_panel_bytes(const rt_half_product *p) { return p->by_rows[0].panel_bytes; }
size_t rt_half_scratch(const rt_half_product *p) {
    size_t most = 0;
    for (int i = 0; i < SIZES; i++)
        if (p->by_rows[i].scratch_bytes > most) most = p->by_rows[i].scratch_bytes;
    return most;
}
bool rt_half_pack(const rt_half_product *p, const void *w, void *panel) {
    return rt_half_primitive_pack(&p->by_rows[0], p->half, p->N, p->K, w, panel);
}
bool rt_half_rows(const rt_half_product *p, int64_t m, const void *x, const void *panel, float *y, void *scratch) {
    bool ok = true;
    for (int64_t r = 0, size = 0; ok && r < m; r += rows_of((int)size)) {
        while (rows_of((int)size) > m - r) size++;
        ok = rt_half_primitive_run(&p->by_rows[size], (const rt_bf16 *)x + r * p->K, panel, y + r * RT_HALF_LD, scratch);
    }
    return ok;
}

/* ------------------------------------------------------------------------- trying a shape */

static bool make_all(rt_half_product *p) {
    bool ok = true, there = true;
    for (int i = 0; ok && there && i < SIZES; i++) {
        ok = rt_half_primitive_make(&p->by_rows[i], p->half, rows_of(i), p->N, p->K, RT_HALF_LD, i ? &p->by_rows[0] : NULL);
        there = p->by_rows[i].primitive != NULL;
    }
    p->usable = ok && there;
    return ok;
}

/* Numbers in [-1, 1) without a pattern that sums could hide behind. */
static void fill(rt_dtype half, void *to, int64_t n, uint32_t start) {
    for (int64_t i = 0; i < n; i++) {
        float value = (float)(int32_t)((uint32_t)i * 2654435761u + start) * 0x1p-31f;
        ((uint16_t *)to)[i] = half == RT_F16 ? rt_f32_to_f16(value).bits : rt_f32_to_bf16(value).bits;
    }
}

typedef struct trial {
    void *x, *w, *panel, *scratch;
    float *whole, *part;
} trial;

/* 256 rows at once, and again in pieces of every size. */
static bool same_bits(const rt_half_product *p, const trial *t, bool *same) {
    *same = true;
    if (!rt_half_pack(p, t->w, t->panel) || !rt_half_rows(p, MOST_ROWS, t->x, t->panel, t->whole, t->scratch)) return false;
    for (int i = 1; *same && i < SIZES; i++)
        for (int64_t r = 0; *same && r < MOST_ROWS; r += rows_of(i)) {
            if (!rt_half_rows(p, rows_of(i), (rt_bf16 *)t->x + r * p->K, t->panel, t->part, t->scratch)) return false;
            for (int64_t j = 0; j < rows_of(i); j++)
                *same &= memcmp(t->part + j * RT_HALF_LD, t->whole + (r + j) * RT_HALF_LD, (size_t)p->N * sizeof(float)) == 0;
        }
    return true;
}
static bool try_shape(rt_half_product *p) {
    size_t rows = sizeof(float) * MOST_ROWS * RT_HALF_LD;
    trial t = {rt_alloc((size_t)(MOST_ROWS * p->K) * 2), rt_alloc((size_t)(p->N * p->K) * 2), rt_alloc(rt_half_panel_bytes(p)),
               rt_alloc(rt_half_scratch(p)), rt_alloc(rows), rt_alloc(rows)};
    bool ok = t.x && t.w && t.panel && t.scratch && t.whole && t.part;
    if (ok) {
        fill(p->half, t.x, MOST_ROWS * p->K, 1);
        fill(p->half, t.w, p->N * p->K, 2);
        ok = same_bits(p, &t, &p->usable);
    }
    rt_free(t.x), rt_free(t.w), rt_free(t.panel), rt_free(t.scratch), rt_free(t.whole), rt_free(t.part);
    return ok;
}

const rt_half_product *rt_half_known(rt_dtype half, int64_t N, int64_t K) {
    int count = known;
    for (int i = 0; i < count; i++)
        if (shapes[i].half == half && shapes[i].N == N && shapes[i].K == K) return &shapes[i];
    return NULL;
}
static bool learn(rt_dtype half, int64_t N, int64_t K) {
    rt_half_product *p = &shapes[known];
    p->half = half, p->N = N, p->K = K;
    bool ok = make_all(p) && (!p->usable || try_shape(p));
    for (int i = 0; !(ok && p->usable) && i < SIZES; i++) rt_half_primitive_free(&p->by_rows[i]);
    known += ok; /* also a shape that is not usable: it is not tried again */
    return ok;
}

rt_status rt_half_find(rt_dtype half, int64_t N, int64_t K, const rt_half_product **out, rt_error *err) {
    *out = NULL;
    if (!rt_half_instructions(half) || N > RT_HALF_COLUMNS) return RT_OK;
    pthread_mutex_lock(&lock);
    bool ok = rt_half_known(half, N, K) || known == SHAPES || learn(half, N, K);
    const rt_half_product *p = ok ? rt_half_known(half, N, K) : NULL;
    pthread_mutex_unlock(&lock);
    if (!ok) return rt_fail(err, RT_E_NOMEM, "out of memory: %s products of %lld x %lld", rt_dtype_name(half), (long long)N, (long long)K);
    if (p && p->usable) *out = p;
    return RT_OK;
}
#else
const char *rt_half_instructions(rt_dtype half) {
    (void)half;
    return NULL;
}
const char *rt_half_summary(void) { return "in f32"; }
void rt_half_disable(bool disabled) { (void)disabled; }
rt_status rt_half_find(rt_dtype half, int64_t N, int64_t K, const rt_half_product **out, rt_error *err) {
    (void)half, (void)N, (void)K, (void)err;
    *out = NULL;
    return RT_OK;
}
/* Nobody has a product to call these with. */
const rt_half_product *rt_half_known(rt_dtype half, int64_t N, int64_t K) {
    (void)half, (void)N, (void)K;
    return NULL;
}
size_t rt_half_panel_bytes(const rt_half_product *p) {
    (void)p;
    return 0;
}
size_t rt_half_scratch(const rt_half_product *p) {
    (void)p;
    return 0;
}
bool rt_half_pack(const rt_half_product *p, const void *w, void *panel) {
    (void)p, (void)w, (void)panel;
    return false;
}
bool rt_half_rows(const rt_half_product *p, int64_t m, const void *x, const void *panel, float *y, void *scratch) {
    (void)p, (void)m, (void)x, (void)panel, (void)y, (void)scratch;
    return false;
}
#endif
