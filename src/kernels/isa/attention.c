/* attention.c - tiled causal attention of one ISA level. Formulas and promises: ../attention.h.
 *
 * Scores are kept transposed, S[key][query]: lanes are queries, so maxima and sums run down columns, with no reductions
 * across lanes and no ragged tails. k and v are copied to contiguous padded rows once. Within a tile, queries come in
 * blocks of 16 lanes; lane i of the block at query q0 sees key k0 + j when j <= limit + i, where limit = q0 - k0. A
 * masked probability is exactly 0 and adds nothing, so a row has the same bits with and without later rows in its tile.
 */
#ifndef T
#include "kernels/isa/attention.h"
#include "kernels/isa/block.h"
#include "kernels/isa/transpose.h"

INLINE int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
enum { KEY_BLOCK = 8 };
INLINE int64_t padded(int64_t n) { return (n + LANES - 1) / LANES * LANES; }

#define RT_BODY "kernels/isa/attention.c"
#include "kernels/for_each_type.h"
#else

/* dst[i][0..width) = scale * src[i][0..d), zeros after. */
static void F(copy_rows)(const T *src, int64_t lds, int64_t n, int64_t d, T scale, T *dst, int64_t width) {
    for (int64_t i = 0; i < n; i++) {
#pragma omp simd
        for (int64_t j = 0; j < d; j++) dst[i * width + j] = scale * src[i * lds + j];
        for (int64_t j = d; j < width; j++) dst[i * width + j] = 0;
    }
}

/* dst[0..d)[0..lanes) = scale * src[0..n)[0..d)^T, zero lanes after n. */
static void F(transpose_queries)(const T *src, int64_t lds, int64_t n, int64_t d, T scale, T *dst, int64_t lanes) {
    static const T zeros[LANES];
    for (int64_t i = 0; i < n; i += LANES) {
        const T *row[LANES];
        for (int64_t c = 0; c < d; c += LANES) {
            T part[LANES][LANES];
            int64_t whole = d - c >= LANES;
            for (int64_t l = 0; l < LANES; l++) {
                row[l] = i + l < n ? src + (i + l) * lds + c : zeros;
                if (whole) continue;
                for (int64_t j = 0; j < LANES; j++)
                    part[l][j] = c + j < d && i + l < n ? src[(i + l) * lds + c + j] : 0;
                row[l] = part[l];
            }
            F(transpose_block)(row, 0, dst + c * lanes + i, lanes);
        }
    }
    for (int64_t j = 0; j < d; j++)
#pragma omp simd
        for (int64_t l = 0; l < lanes; l++) dst[j * lanes + l] *= scale;
}

/* --------------------------------------------------------------- forward */

/* The online softmax of 16 queries over nk more keys: s becomes exp(s - m); c = the factor for what was summed before.
 */
INLINE void F(softmax_block)(T *s, int64_t lds, int64_t nk, int64_t limit, T *m, T *l, T *c) {
    T top[LANES], sum[LANES];
    int64_t seen = least(nk, limit + LANES);
    EACH_LANE(i) top[i] = m[i];
    for (int64_t j = 0; j < seen; j++) {
        for (int64_t i = 0; i < j - limit; i++) s[j * lds + i] = (T)-INFINITY;
        EACH_LANE(i) top[i] = s[j * lds + i] > top[i] ? s[j * lds + i] : top[i];
    }
    EACH_LANE(i) {
        c[i] = F(exp_below)(m[i] - top[i]);
        sum[i] = l[i] * c[i];
    }
    for (int64_t j = 0; j < seen; j++) EACH_LANE(i) {
            T e = F(exp_below)(s[j * lds + i] - top[i]);
            s[j * lds + i] = e;
            sum[i] += e;
        }
    for (int64_t j = seen; j < nk; j++) EACH_LANE(i) s[j * lds + i] = 0;
    memcpy(m, top, sizeof top);
    memcpy(l, sum, sizeof sum);
}

typedef struct F(forward_tile) {
    T *k, *v; /* [length, width], or one tile of keys */
    T *qt;    /* [head_dim, 32] */
    T *o;     /* [32, width] */
    T *s;     /* [512 keys, 32] */
    int64_t width;
    T m[FORWARD_QUERIES], l[FORWARD_QUERIES]; /* running maximum and sum */
} F(forward_tile);

static void F(forward_keys)(const F(rt_attention_forward_call) * c, F(forward_tile) * t, int64_t q0, int64_t nq,
                            int64_t k0, int64_t nk) {
    int64_t lanes = padded(nq), width = t->width;
    T factor[FORWARD_QUERIES], *k = c->load ? t->k : t->k + k0 * width, *v = c->load ? t->v : t->v + k0 * width;
    if (c->load) c->load(c->context, k0, nk, k, v, width);
    F(block_product)(nk, lanes, c->head_dim, k, width, 1, t->qt, FORWARD_QUERIES, t->s, FORWARD_QUERIES, false);
    for (int64_t b = 0; b < lanes; b += LANES)
        F(softmax_block)(t->s + b, FORWARD_QUERIES, nk, q0 + b - k0, t->m + b, t->l + b, factor + b);
    for (int64_t i = 0; k0 > 0 && i < nq; i++)
#pragma omp simd
        for (int64_t j = 0; j < width; j++) t->o[i * width + j] *= factor[i];
    F(block_product)(nq, width, nk, t->s, 1, FORWARD_QUERIES, v, width, t->o, width, k0 > 0);
}

/* Rows of o from `row` of the call. */
static void F(forward_finish)(const F(rt_attention_forward_call) * c, const F(forward_tile) * t, int64_t row,
                              int64_t nq) {
    for (int64_t i = 0; i < nq; i++) {
        T scale = 1 / t->l[i], *o = c->o + (row + i) * c->ldo;
#pragma omp simd
        for (int64_t j = 0; j < c->head_dim; j++) o[j] = t->o[i * t->width + j] * scale;
        if (c->lse) c->lse[(row + i) * c->ldlse] = t->m[i] + M(log)(t->l[i]);
    }
}

static F(forward_tile) F(forward_arrays)(int64_t keys, int64_t width, T *w) {
    F(forward_tile) t = {.width = width};
    t.k = w;
    t.v = t.k + keys * width;
    t.qt = t.v + keys * width;
    t.o = t.qt + FORWARD_QUERIES * width;
    t.s = t.o + FORWARD_QUERIES * width;
    return t;
}

/* Query tiles end at multiples of 32 from the segment's start, wherever the call's rows begin: so no tile begins before a
 * tile of keys that it meets. */
static void F(forward)(const F(rt_attention_forward_call) * c, T *w) {
    int64_t n = c->past + c->length, d = c->head_dim, width = padded(d), end;
    F(forward_tile) t = F(forward_arrays)(c->load ? least(n, FORWARD_KEYS) : n, width, w);
    if (!c->load) F(copy_rows)(c->k, c->ldkv, n, d, 1, t.k, width);
    if (!c->load) F(copy_rows)(c->v, c->ldkv, n, d, 1, t.v, width);
    for (int64_t q0 = c->past; q0 < n; q0 = end) {
        end = least((q0 / FORWARD_QUERIES + 1) * FORWARD_QUERIES, n);
        int64_t nq = end - q0, row = q0 - c->past;
        F(transpose_queries)(c->q + row * c->ldq, c->ldq, nq, d, c->scale, t.qt, FORWARD_QUERIES);
        for (int i = 0; i < FORWARD_QUERIES; i++) t.m[i] = (T)-INFINITY, t.l[i] = 0;
        for (int64_t k0 = 0; k0 < end; k0 += FORWARD_KEYS)
            F(forward_keys)(c, &t, q0, nq, k0, least(FORWARD_KEYS, end - k0));
        F(forward_finish)(c, &t, row, nq);
    }
}

/* --------------------------------------------------------------- backward */

typedef struct F(backward_tile) {
    T *k, *v, *dk, *dv; /* [length, width] */
    T *q, *d_o, *dq;    /* [64, width]; q times scale */
    T *qt, *dot, *ot;   /* [head_dim, 64]: q, do, o transposed */
    T *s, *ds;          /* [256 keys, 64] */
    int64_t width;
    T lse[BACKWARD_QUERIES], o_do[BACKWARD_QUERIES];
} F(backward_tile);

/* Key j's scores are needed from this query of the tile on: the strip of 32 in which the diagonal meets it. */
INLINE int64_t F(first_query)(int64_t k0, int64_t j, int64_t q0) {
    int64_t diagonal = k0 + j - q0;
    return diagonal > 0 ? diagonal / STRIP * STRIP : 0;
}

/* o.do of 16 queries, in the order of the products that make do.v: so a row that sees one key only (o = v) has ds = 0
 * exactly. */
INLINE void F(column_dots)(const T *x, const T *y, int64_t d, T *out) {
    T s[LANES] = {0};
    for (int64_t j = 0; j < d; j++)
        EACH_LANE(i) s[i] = F(fma)(x[j * BACKWARD_QUERIES + i], y[j * BACKWARD_QUERIES + i], s[i]);
    memcpy(out, s, sizeof s);
}

static void F(load_queries)(const F(rt_attention_backward_call) * c, F(backward_tile) * t, int64_t h, int64_t q0,
                            int64_t nq) {
    int64_t d = c->head_dim, at = h * d, width = t->width;
    const T *o = c->o + q0 * c->ldo + at;
    F(copy_rows)(c->q + q0 * c->ldq + at, c->ldq, nq, d, c->scale, t->q, width);
    F(copy_rows)(c->d_o + q0 * c->ldo + at, c->ldo, nq, d, 1, t->d_o, width);
    F(transpose_queries)(t->q, width, nq, d, 1, t->qt, BACKWARD_QUERIES);
    F(transpose_queries)(t->d_o, width, nq, d, 1, t->dot, BACKWARD_QUERIES);
    F(transpose_queries)(o, c->ldo, nq, d, 1, t->ot, BACKWARD_QUERIES);
    for (int64_t b = 0; b < padded(nq); b += LANES) F(column_dots)(t->ot + b, t->dot + b, d, t->o_do + b);
    for (int64_t i = 0; i < BACKWARD_QUERIES; i++)
        t->lse[i] = i < nq ? c->lse[(q0 + i) * c->ldlse + h * c->lse_head] : 0;
}

/* s = p = exp(s - lse), ds = p (dp - o.do); masked ones 0. */
static void F(probabilities)(F(backward_tile) * t, int64_t q0, int64_t lanes, int64_t k0, int64_t nk) {
    for (int64_t j = 0; j < nk; j++) {
        int64_t diagonal = k0 + j - q0;
        for (int64_t b = F(first_query)(k0, j, q0); b < lanes; b += LANES) {
            T *s = t->s + j * BACKWARD_QUERIES + b, *ds = t->ds + j * BACKWARD_QUERIES + b;
            const T *lse = t->lse + b, *o_do = t->o_do + b;
            EACH_LANE(i) {
                T p = F(exp_below)(s[i] - lse[i]);
                s[i] = p;
                ds[i] = p * (ds[i] - o_do[i]);
            }
            for (int64_t i = 0; i < least(LANES, diagonal - b); i++) s[i] = ds[i] = 0;
        }
    }
}

static void F(backward_keys)(const F(rt_attention_backward_call) * c, F(backward_tile) * t, int64_t q0, int64_t nq,
                             int64_t k0, int64_t nk) {
    int64_t lanes = padded(nq), width = t->width, d = c->head_dim, ld = BACKWARD_QUERIES;
    const T *k = t->k + k0 * width, *v = t->v + k0 * width;
    for (int64_t b = 0; b < lanes; b += STRIP) { /* each strip of queries: only the keys it sees */
        int64_t n = least(STRIP, lanes - b), keys = least(nk, q0 + b + n - k0);
        F(block_product)(keys, n, d, k, width, 1, t->qt + b, ld, t->s + b, ld, false);
        F(block_product)(keys, n, d, v, width, 1, t->dot + b, ld, t->ds + b, ld, false);
    }
    F(probabilities)(t, q0, lanes, k0, nk);
    for (int64_t j = 0; j < nk; j += KEY_BLOCK) { /* each block of keys: only the queries that see it */
        int64_t n = least(KEY_BLOCK, nk - j), i0 = F(first_query)(k0, j, q0), at = j * ld + i0, row = (k0 + j) * width;
        F(block_product)(n, width, nq - i0, t->s + at, ld, 1, t->d_o + i0 * width, width, t->dv + row, width, true);
        F(block_product)(n, width, nq - i0, t->ds + at, ld, 1, t->q + i0 * width, width, t->dk + row, width, true);
    }
    for (int64_t b = 0; b < nq; b += STRIP) {
        int64_t n = least(STRIP, nq - b), keys = least(nk, q0 + b + STRIP - k0);
        F(block_product)(n, width, keys, t->ds + b, 1, ld, k, width, t->dq + b * width, width, k0 > 0);
    }
}

static void F(add_rows)(const T *src, int64_t width, int64_t n, int64_t d, T scale, T *dst, int64_t ldd) {
    for (int64_t i = 0; i < n; i++)
#pragma omp simd
        for (int64_t j = 0; j < d; j++) dst[i * ldd + j] += scale * src[i * width + j];
}

static T *F(take)(T **w, int64_t n) { return *w += n, *w - n; }

static F(backward_tile) F(backward_arrays)(int64_t n, int64_t width, T *w) {
    const int64_t rows = n * width, queries = BACKWARD_QUERIES * width, scores = BACKWARD_QUERIES * BACKWARD_KEYS;
    F(backward_tile) t = {.width = width};
    t.k = F(take)(&w, rows);
    t.v = F(take)(&w, rows);
    t.dk = F(take)(&w, rows);
    t.dv = F(take)(&w, rows);
    t.q = F(take)(&w, queries);
    t.d_o = F(take)(&w, queries);
    t.dq = F(take)(&w, queries);
    t.qt = F(take)(&w, queries);
    t.dot = F(take)(&w, queries);
    t.ot = F(take)(&w, queries);
    t.s = F(take)(&w, scores);
    t.ds = F(take)(&w, scores);
    return t;
}

static void F(backward)(const F(rt_attention_backward_call) * c, T *w) {
    int64_t n = c->length, d = c->head_dim, width = padded(d);
    F(backward_tile) t = F(backward_arrays)(n, width, w);
    F(copy_rows)(c->k, c->ldkv, n, d, 1, t.k, width);
    F(copy_rows)(c->v, c->ldkv, n, d, 1, t.v, width);
    memset(t.dk, 0, (size_t)(2 * n * width) * sizeof(T));
    for (int64_t h = 0; h < c->group; h++)
        for (int64_t q0 = 0; q0 < n; q0 += BACKWARD_QUERIES) {
            int64_t nq = least(BACKWARD_QUERIES, n - q0);
            F(load_queries)(c, &t, h, q0, nq);
            for (int64_t k0 = 0; k0 < q0 + nq; k0 += BACKWARD_KEYS)
                F(backward_keys)(c, &t, q0, nq, k0, least(BACKWARD_KEYS, q0 + nq - k0));
            F(add_rows)(t.dq, width, nq, d, c->scale, c->dq + q0 * c->lddq + h * d, c->lddq);
        }
    F(add_rows)(t.dk, width, n, d, 1, c->dk, c->lddkv);
    F(add_rows)(t.dv, width, n, d, 1, c->dv, c->lddkv);
}
#endif

#ifndef T
extern const rt_attention_kernels RT_ISA_NAME(rt_attention_table);
const rt_attention_kernels RT_ISA_NAME(rt_attention_table) = {forward_f32, forward_f64, backward_f32, backward_f64};
#endif
