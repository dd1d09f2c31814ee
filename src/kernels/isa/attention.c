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
#include "kernels/isa/convert.h"
#include "kernels/isa/transpose.h"

INLINE int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
INLINE int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }
INLINE int64_t padded(int64_t n) { return (n + LANES - 1) / LANES * LANES; }
/* Rows of o and dq whose keys end together; divides 16, so that a block's scores were all made. */
enum { KEY_BLOCK = 8, QUERY_BLOCK = BLOCK_ROWS == KEY_BLOCK ? KEY_BLOCK : LANES, AHEAD = 8 };

extern const rt_convert_kernels RT_ISA_NAME(rt_convert_table);
#define convert (&RT_ISA_NAME(rt_convert_table))

INLINE void load_row_f32(rt_dtype type, const void *x, float *y, int64_t n) {
    if (type == RT_F32) memcpy(y, x, (size_t)n * sizeof *y);
    else convert->load[type == RT_BF16](x, y, n);
}
INLINE void load_row_f64(rt_dtype type, const void *x, double *y, int64_t n) {
    (void)type;
    memcpy(y, x, (size_t)n * sizeof *y);
}
INLINE bool store_row_f32(rt_dtype type, const float *x, void *y, int64_t n) {
    if (type != RT_F32) return convert->store[type == RT_BF16](x, y, n);
    memcpy(y, x, (size_t)n * sizeof *x);
    return false;
}
INLINE bool store_row_f64(rt_dtype type, const double *x, void *y, int64_t n) {
    (void)type;
    memcpy(y, x, (size_t)n * sizeof *x);
    return false;
}

/* Bytes from row to row, and the columns from `column` of row `row`. */
INLINE size_t stride(rt_head_rows x) { return (size_t)x.ld * rt_dtype_size(x.type); }
INLINE char *columns(rt_head_rows x, int64_t row, int64_t column) { return (char *)x.at + (size_t)(row * x.ld + column) * rt_dtype_size(x.type); }

#define RT_BODY "kernels/isa/attention.c"
#include "kernels/for_each_type.h"
#else

/* dst[0..n)[0..width) = rows [first, first + n) of the d columns from `column`, zeros after. Rows of a head lie far apart,
 * where the processor does not look ahead by itself. */
static void F(load_rows)(rt_head_rows x, int64_t first, int64_t n, int64_t column, int64_t d, T *dst, int64_t width) {
    const char *row = columns(x, first, column);
    const size_t step = stride(x), bytes = (size_t)d * rt_dtype_size(x.type);
    for (int64_t i = 0; i < n; i++, row += step, dst += width) {
        for (size_t b = 0; n - i > AHEAD && b < bytes; b += 64) __builtin_prefetch(row + AHEAD * step + b);
        F(load_row)(x.type, row, dst, d);
        for (int64_t j = d; j < width; j++) dst[j] = 0;
    }
}

/* q times scale. */
static void F(load_scaled)(rt_head_rows x, int64_t first, int64_t n, int64_t column, int64_t d, T scale, T *dst, int64_t width) {
    F(load_rows)(x, first, n, column, d, dst, width);
    for (int64_t j = 0; j < n * width; j += LANES) EACH_LANE(l) dst[j + l] *= scale;
}

/* dst[0..width)[0..round16(n)) of [width, lanes] = src[0..n)[0..width)^T, zero lanes after n. */
static void F(transpose_queries)(const T *src, int64_t width, int64_t n, T *dst, int64_t lanes) {
    static const T zeros[LANES];
    const T *row[LANES];
    for (int64_t i = 0; i < n; i += LANES)
        for (int64_t c = 0; c < width; c += LANES) {
            for (int64_t l = 0; l < LANES; l++) row[l] = i + l < n ? src + (i + l) * width + c : zeros;
            F(transpose_block)(row, 0, dst + c * lanes + i, lanes);
        }
}

/* --------------------------------------------------------------- forward */

/* Lanes of one key that do not see it: those before `diagonal`. */
INLINE void F(mask_lanes)(T *s, int64_t diagonal, T value) {
    EACH_LANE(l) s[l] = l < diagonal ? value : s[l];
}

/* The online softmax of 16 queries over the keys they see: s becomes exp(s - m); c = the factor for what was summed before. */
INLINE void F(softmax_block)(T *s, int64_t lds, int64_t seen, int64_t limit, T *m, T *l, T *c) {
    T top[LANES], sum[LANES];
    EACH_LANE(i) top[i] = m[i];
    for (int64_t j = most(limit + 1, 0); j < seen; j++) F(mask_lanes)(s + j * lds, j - limit, (T)-INFINITY);
    for (int64_t j = 0; j < seen; j++) EACH_LANE(i) top[i] = s[j * lds + i] > top[i] ? s[j * lds + i] : top[i];
    EACH_LANE(i) {
        c[i] = F(exp_below)(m[i] - top[i]);
        sum[i] = l[i] * c[i];
    }
    for (int64_t j = 0; j < seen; j++) EACH_LANE(i) {
            T e = F(exp_below)(s[j * lds + i] - top[i]);
            s[j * lds + i] = e;
            sum[i] += e;
        }
    memcpy(m, top, sizeof top);
    memcpy(l, sum, sizeof sum);
}

typedef struct F(forward_tile) {
    T *k, *v; /* [keys, width]: all, or one tile of them */
    T *q, *o; /* [32, width] */
    T *qt;    /* [width, 32] */
    T *s;     /* [512 keys, 32] */
    int64_t width;
    T m[FORWARD_QUERIES], l[FORWARD_QUERIES]; /* running maximum and sum */
} F(forward_tile);

/* Scores and probabilities: 16 queries at a time see the keys up to the last of them. */
static void F(forward_scores)(F(forward_tile) * t, int64_t d, const T *k, int64_t q0, int64_t nq, int64_t k0, int64_t nk, T *factor) {
    const int64_t ld = FORWARD_QUERIES;
    int64_t done = 0;
    for (int64_t b = 0; b < nq; b += LANES) {
        int64_t seen = least(nk, q0 + b + LANES - k0);
        F(block_product)(seen - done, padded(nq) - b, d, k + done * t->width, t->width, 1, t->qt + b, ld, t->s + done * ld + b, ld, false);
        F(softmax_block)(t->s + b, ld, seen, q0 + b - k0, t->m + b, t->l + b, factor + b);
        done = seen;
    }
}
static void F(forward_keys)(const F(rt_attention_forward_call) * c, F(forward_tile) * t, int64_t q0, int64_t nq,
                            int64_t k0, int64_t nk) {
    int64_t width = t->width;
    T factor[FORWARD_QUERIES], *k = t->k, *v = t->v;
    if (c->by_tile) F(load_rows)(c->k, k0, nk, 0, c->head_dim, k, width), F(load_rows)(c->v, k0, nk, 0, c->head_dim, v, width);
    else k += k0 * width, v += k0 * width;
    F(forward_scores)(t, c->head_dim, k, q0, nq, k0, nk, factor);
    for (int64_t i = 0; k0 > 0 && i < nq; i++)
        for (int64_t j = 0; j < width; j += LANES) EACH_LANE(e) t->o[i * width + j + e] *= factor[i];
    for (int64_t i = 0; i < nq; i += QUERY_BLOCK) {
        int64_t n = least(QUERY_BLOCK, nq - i), keys = least(nk, q0 + i + n - k0);
        F(block_product)(n, width, keys, t->s + i, 1, FORWARD_QUERIES, v, width, t->o + i * width, width, k0 > 0);
    }
}

/* Rows of o from `row` of the call. True when a finite value became infinite. */
static bool F(forward_finish)(const F(rt_attention_forward_call) * c, const F(forward_tile) * t, int64_t h, int64_t row,
                              int64_t nq) {
    const size_t step = stride(c->o);
    char *to = columns(c->o, row, h * c->head_dim);
    bool overflow = false;
    T scale[FORWARD_QUERIES];
    for (int64_t i = 0; i < nq; i += LANES) EACH_LANE(e) scale[i + e] = 1 / t->l[i + e];
    for (int64_t i = 0; i < nq; i++, to += step) {
        T *o = t->o + i * t->width, by = scale[i];
        for (int64_t j = 0; j < t->width; j += LANES) EACH_LANE(e) o[j + e] *= by;
        overflow |= F(store_row)(c->o.type, o, to, c->head_dim);
    }
    for (int64_t i = 0; c->lse && i < nq; i++) c->lse[(row + i) * c->ldlse + h] = t->m[i] + M(log)(t->l[i]);
    return overflow;
}

static T *F(take)(T **w, int64_t n) { return *w += n, *w - n; }

static F(forward_tile) F(forward_arrays)(int64_t keys, int64_t width, T *w) {
    const int64_t queries = FORWARD_QUERIES * width;
    F(forward_tile) t = {.width = width};
    t.k = F(take)(&w, keys * width);
    t.v = F(take)(&w, keys * width);
    t.q = F(take)(&w, queries);
    t.o = F(take)(&w, queries);
    t.qt = F(take)(&w, queries);
    t.s = w;
    return t;
}

/* Query tiles end at multiples of 32 from the segment's start, wherever the call's rows begin: so no tile begins before a
 * tile of keys that it meets. */
static bool F(forward_head)(const F(rt_attention_forward_call) * c, F(forward_tile) * t, int64_t h) {
    int64_t n = c->past + c->length, end;
    bool overflow = false;
    for (int64_t q0 = c->past; q0 < n; q0 = end) {
        end = least((q0 / FORWARD_QUERIES + 1) * FORWARD_QUERIES, n);
        int64_t nq = end - q0, row = q0 - c->past;
        F(load_scaled)(c->q, row, nq, h * c->head_dim, c->head_dim, c->scale, t->q, t->width);
        F(transpose_queries)(t->q, t->width, nq, t->qt, FORWARD_QUERIES);
        for (int i = 0; i < FORWARD_QUERIES; i++) t->m[i] = (T)-INFINITY, t->l[i] = 0;
        for (int64_t k0 = 0; k0 < end; k0 += FORWARD_KEYS)
            F(forward_keys)(c, t, q0, nq, k0, least(FORWARD_KEYS, end - k0));
        overflow |= F(forward_finish)(c, t, h, row, nq);
    }
    return overflow;
}
static bool F(forward)(const F(rt_attention_forward_call) * c, T *w) {
    int64_t n = c->past + c->length, d = c->head_dim;
    F(forward_tile) t = F(forward_arrays)(c->by_tile ? least(n, FORWARD_KEYS) : n, padded(d), w);
    bool overflow = false;
    if (!c->by_tile) F(load_rows)(c->k, 0, n, 0, d, t.k, t.width), F(load_rows)(c->v, 0, n, 0, d, t.v, t.width);
    for (int64_t h = 0; h < c->group; h++) overflow |= F(forward_head)(c, &t, h);
    return overflow;
}

/* --------------------------------------------------------------- backward */

typedef struct F(backward_tile) {
    T *k, *v, *dk, *dv; /* [length, width] */
    T *q, *d_o, *o, *dq; /* [64, width]; q times scale */
    T *qt, *dot, *ot;    /* [width, 64]: q, do, o transposed */
    T *s, *ds;          /* [256 keys, 64] */
    int64_t width;
    T lse[BACKWARD_QUERIES], o_do[BACKWARD_QUERIES];
} F(backward_tile);

/* Key j's scores are made from this query of the tile on: the first of the 16 in which the diagonal meets it. */
INLINE int64_t F(first_query)(int64_t k0, int64_t j, int64_t q0) { return most(k0 + j - q0, 0) / LANES * LANES; }

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
    int64_t d = c->head_dim, column = h * d, width = t->width;
    F(load_scaled)(c->q, q0, nq, column, d, c->scale, t->q, width);
    F(load_rows)(c->d_o, q0, nq, column, d, t->d_o, width);
    F(load_rows)(c->o, q0, nq, column, d, t->o, width);
    F(transpose_queries)(t->q, width, nq, t->qt, BACKWARD_QUERIES);
    F(transpose_queries)(t->d_o, width, nq, t->dot, BACKWARD_QUERIES);
    F(transpose_queries)(t->o, width, nq, t->ot, BACKWARD_QUERIES);
    for (int64_t b = 0; b < padded(nq); b += LANES) F(column_dots)(t->ot + b, t->dot + b, d, t->o_do + b);
    for (int64_t i = 0; i < BACKWARD_QUERIES; i++) t->lse[i] = i < nq ? c->lse[(q0 + i) * c->ldlse + h] : 0;
}

/* Scores and do.v: each strip of queries over the keys that all its lanes may see, then its second half over the rest. */
static void F(backward_scores)(F(backward_tile) * t, int64_t d, const T *k, const T *v, int64_t q0, int64_t lanes, int64_t k0, int64_t nk) {
    const int64_t ld = BACKWARD_QUERIES;
    for (int64_t b = 0; b < lanes; b += STRIP) {
        int64_t n = least(STRIP, lanes - b), done = 0;
        for (int64_t half = 0; half < n; half += LANES) {
            int64_t at = b + half, keys = least(nk, q0 + at + LANES - k0), row = done * t->width;
            F(block_product)(keys - done, n - half, d, k + row, t->width, 1, t->qt + at, ld, t->s + done * ld + at, ld, false);
            F(block_product)(keys - done, n - half, d, v + row, t->width, 1, t->dot + at, ld, t->ds + done * ld + at, ld, false);
            done = keys;
        }
    }
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
            if (diagonal > b) F(mask_lanes)(s, diagonal - b, 0), F(mask_lanes)(ds, diagonal - b, 0);
        }
    }
}

static void F(backward_keys)(const F(rt_attention_backward_call) * c, F(backward_tile) * t, int64_t q0, int64_t nq,
                             int64_t k0, int64_t nk) {
    int64_t lanes = padded(nq), width = t->width, ld = BACKWARD_QUERIES;
    const T *k = t->k + k0 * width, *v = t->v + k0 * width;
    F(backward_scores)(t, c->head_dim, k, v, q0, lanes, k0, nk);
    F(probabilities)(t, q0, lanes, k0, nk);
    for (int64_t j = 0; j < nk; j += KEY_BLOCK) { /* each block of keys: only the queries that see its first */
        int64_t n = least(KEY_BLOCK, nk - j), i0 = most(k0 + j - q0, 0), from = j * ld + i0, row = (k0 + j) * width;
        F(block_product)(n, width, nq - i0, t->s + from, ld, 1, t->d_o + i0 * width, width, t->dv + row, width, true);
        F(block_product)(n, width, nq - i0, t->ds + from, ld, 1, t->q + i0 * width, width, t->dk + row, width, true);
    }
    for (int64_t i = 0; i < nq; i += QUERY_BLOCK) { /* each block of queries: only the keys that its last sees */
        int64_t n = least(QUERY_BLOCK, nq - i), keys = least(nk, q0 + i + n - k0);
        F(block_product)(n, width, keys, t->ds + i, 1, ld, k, width, t->dq + i * width, width, k0 > 0);
    }
}

/* dst = or += scale * src. */
static void F(put_rows)(const T *src, int64_t width, int64_t n, int64_t d, T scale, bool add, T *dst, int64_t ldd) {
    for (int64_t i = 0; i < n; i++) {
        const T *x = src + i * width;
        T *y = dst + i * ldd;
#pragma omp simd
        for (int64_t j = 0; j < d; j++) y[j] = (add ? y[j] : 0) + scale * x[j];
    }
}

static F(backward_tile) F(backward_arrays)(int64_t n, int64_t width, T *w) {
    const int64_t rows = n * width, queries = BACKWARD_QUERIES * width, scores = BACKWARD_QUERIES * BACKWARD_KEYS;
    F(backward_tile) t = {.width = width};
    t.k = F(take)(&w, rows);
    t.v = F(take)(&w, rows);
    t.dk = F(take)(&w, rows);
    t.dv = F(take)(&w, rows);
    t.q = F(take)(&w, queries);
    t.d_o = F(take)(&w, queries);
    t.o = F(take)(&w, queries);
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
    F(load_rows)(c->k, 0, n, 0, d, t.k, width);
    F(load_rows)(c->v, 0, n, 0, d, t.v, width);
    memset(t.dk, 0, (size_t)(2 * n * width) * sizeof(T));
    for (int64_t h = 0; h < c->group; h++)
        for (int64_t q0 = 0; q0 < n; q0 += BACKWARD_QUERIES) {
            int64_t nq = least(BACKWARD_QUERIES, n - q0);
            F(load_queries)(c, &t, h, q0, nq);
            for (int64_t k0 = 0; k0 < q0 + nq; k0 += BACKWARD_KEYS)
                F(backward_keys)(c, &t, q0, nq, k0, least(BACKWARD_KEYS, q0 + nq - k0));
            F(put_rows)(t.dq, width, nq, d, c->scale, c->add, c->dq + q0 * c->lddq + h * d, c->lddq);
        }
    F(put_rows)(t.dk, width, n, d, 1, c->add, c->dk, c->lddkv);
    F(put_rows)(t.dv, width, n, d, 1, c->add, c->dv, c->lddkv);
}
#endif

#ifndef T
extern const rt_attention_kernels RT_ISA_NAME(rt_attention_table);
const rt_attention_kernels RT_ISA_NAME(rt_attention_table) = {forward_f32, forward_f64, backward_f32, backward_f64};
#endif
