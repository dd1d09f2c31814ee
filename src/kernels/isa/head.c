/* head.c - the vocabulary kernels of one ISA level. See kernels/head.h for the formulas, lanes.h for the technique. */
#ifndef T
#include "kernels/head.h"
#include "kernels/isa/divergence.h"
#include "kernels/isa/vector.h"
#include <float.h>

/* Below every logit that is a number, so that exp(lowest - m) is 0 and not NaN. */
static const float lowest_f32 = -FLT_MAX;
static const double lowest_f64 = -DBL_MAX;
enum {
    GROUP = 8,  /* ids of a block of rows at a time: between two looks at the maximum, or at the sums in memory */
    AHEAD = 16, /* ids from the one looked at to the one asked for */
};

#define SET(kind)  (1u << RT_SUM_##kind)
#define EVALUATION (SET(KL) | SET(REVERSE_KL) | SET(OVERLAP) | SET(JSD))

#define RT_BODY "kernels/isa/head.c"
#include "kernels/for_each_type.h"

#define TABLE(t) {partials_##t, join_max_##t, join_exp_##t, top_##t, sums_##t, softmax_grad_##t, kl_grad_##t, reverse_grad_##t, tv_grad_##t, jsd_grad_##t}
extern const rt_head_kernels RT_ISA_NAME(rt_head_table_f32), RT_ISA_NAME(rt_head_table_f64);
const rt_head_kernels RT_ISA_NAME(rt_head_table_f32) = TABLE(f32), RT_ISA_NAME(rt_head_table_f64) = TABLE(f64);
#else

#define EACH_BLOCK(n, rows) for (int64_t n = 0; n < (rows); n += LANES)

/* --------------------------------------------------------- maxima and log-sum-exps */

/* Sums of e = exp((z - m) a), and of e^2, over `ids` more ids of 16 rows; those before had the maximum `before`. */
INLINE void F(exp_group)(const T *z, int64_t ids, int64_t rows, T a, const T *m, const T *before, T *sum, T *squares) {
    T s[LANES], t[LANES];
    EACH_LANE(l) {
        T old = F(exp_below)((before[l] - m[l]) * a);
        s[l] = sum ? sum[l] * old : 0;
        t[l] = squares ? squares[l] * (old * old) : 0;
    }
    for (int64_t i = 0; i < ids; i++) EACH_LANE(l) {
        T e = F(exp_below)((z[i * rows + l] - m[l]) * a);
        s[l] += sum ? e : 0;
        t[l] += squares ? e * e : 0;
    }
    if (sum) EACH_LANE(l) sum[l] = s[l];
    if (squares) EACH_LANE(l) squares[l] = t[l];
}
INLINE void F(max_group)(const T *z, int64_t ids, int64_t rows, T *m) {
    T top[LANES];
    EACH_LANE(l) top[l] = m[l];
    for (int64_t i = 0; i < ids; i++) EACH_LANE(l) top[l] = z[i * rows + l] > top[l] ? z[i * rows + l] : top[l];
    EACH_LANE(l) m[l] = top[l];
}
INLINE void F(partials_group)(const T *z, int64_t ids, const rt_head_partials *p, int64_t n) {
    T before[LANES], *m = (T *)p->max + n;
    EACH_LANE(l) before[l] = m[l];
    F(max_group)(z, ids, p->rows, m);
    for (int k = 0; k < p->count; k++) {
        T *sum = p->sum[k] ? (T *)p->sum[k] + n : NULL, *squares = p->squares[k] ? (T *)p->squares[k] + n : NULL, a = (T)p->scale[k];
        if (!squares) F(exp_group)(z, ids, p->rows, a, m, before, sum, NULL);
        else if (!sum) F(exp_group)(z, ids, p->rows, a, m, before, NULL, squares);
        else F(exp_group)(z, ids, p->rows, a, m, before, sum, squares);
    }
}
/* The maximum grows along the ids and the sums so far are scaled to it: one pass over z. A few ids of all rows at a time, since
 * ids lie far apart. */
static void F(partials)(const void *logits, int64_t ids, const rt_head_partials *p) {
    for (int64_t n = 0; n < p->rows; n++) ((T *)p->max)[n] = F(lowest);
    for (int k = 0; k < p->count; k++) {
        if (p->sum[k]) memset(p->sum[k], 0, (size_t)p->rows * sizeof(T));
        if (p->squares[k]) memset(p->squares[k], 0, (size_t)p->rows * sizeof(T));
    }
    const T *z = logits;
    for (int64_t v = 0; v < ids; v += GROUP, z += GROUP * p->rows) {
        if (ids - v >= GROUP) EACH_BLOCK(n, p->rows) F(partials_group)(z + n, GROUP, p, n);
        else EACH_BLOCK(n, p->rows) F(partials_group)(z + n, ids - v, p, n);
    }
}
static void F(join_max)(const void *part, int64_t tiles, int64_t stride, void *max) {
    const T *p = part;
    T *m = max;
    memcpy(m, p, LANES * sizeof(T));
    for (int64_t j = 1; j < tiles; j++) {
        p += stride;
        EACH_LANE(l) m[l] = p[l] > m[l] ? p[l] : m[l];
    }
}
static void F(join_exp)(const void *part_max, const void *part_sum, int64_t tiles, int64_t stride, double scale, const void *max,
                        double *sum) {
    const T *p = part_max, *s = part_sum, *m = max, a = (T)scale;
    double total[LANES] = {0};
    for (int64_t j = 0; j < tiles; j++, p += stride, s += stride)
        EACH_LANE(l) total[l] += (double)(s[l] * F(exp)((p[l] - m[l]) * a));
    memcpy(sum, total, sizeof total);
}

/* The logits of one id go among the best of 16 rows, before those they are strictly greater than, so that ties go to the lower id.
 * No lane branches: best[k] becomes its upper neighbour, the new one, or stays. */
INLINE void F(insert)(const T *z, int32_t id, T best[][RT_HEAD_TOP_ROWS], int32_t top[][RT_HEAD_TOP_ROWS]) {
    for (int k = RT_HEAD_TOP - 1; k > 0; k--) EACH_LANE(l) {
        T x = z[l] > best[k][l] ? z[l] : best[k][l];
        int32_t i = z[l] > best[k][l] ? id : top[k][l];
        top[k][l] = z[l] > best[k - 1][l] ? top[k - 1][l] : i;
        best[k][l] = z[l] > best[k - 1][l] ? best[k - 1][l] : x;
    }
    EACH_LANE(l) {
        top[0][l] = z[l] > best[0][l] ? id : top[0][l];
        best[0][l] = z[l] > best[0][l] ? z[l] : best[0][l];
    }
}
/* Some of 16 rows holds a number above the least of its best: rare, so that this is nearly all the work. */
INLINE bool F(any_above)(const T *z, const T *least) {
    bool any = false;
    for (int l = 0; l < LANES; l += VECTOR_BYTES / (int)sizeof(T)) any |= F(vec_any_above)(*(const F(vec_at) *)(z + l), *(const F(vec_at) *)(least + l));
    return any;
}
/* The ids lie far apart, so several cache lines of each are looked at, and asked for ahead: the processor does not foresee them. */
static void F(top)(const void *logits, int64_t ids, int64_t rows, int64_t count, int32_t *top) {
    const T *z = logits;
    T best[RT_HEAD_TOP][RT_HEAD_TOP_ROWS];
    int32_t id[RT_HEAD_TOP][RT_HEAD_TOP_ROWS];
    for (int k = 0; k < RT_HEAD_TOP; k++)
        for (int n = 0; n < RT_HEAD_TOP_ROWS; n++) best[k][n] = -INFINITY, id[k][n] = -1;
    for (int64_t v = 0; v < ids; v++, z += rows) EACH_BLOCK(n, count) {
        if (v + AHEAD < ids) __builtin_prefetch(z + n + AHEAD * rows);
        if (F(any_above)(z + n, best[RT_HEAD_TOP - 1] + n)) F(insert)(z + n, (int32_t)v, (void *)&best[0][n], (void *)&id[0][n]);
    }
    for (int k = 0; k < RT_HEAD_TOP; k++) memcpy(top + k * rows, id[k], (size_t)count * sizeof(int32_t));
}

/* ------------------------------------------------------------------------ elements */

/* One side at one temperature. */
typedef struct F(view) {
    const T *z, *max, *log;
    T scale;
} F(view);
INLINE F(view) F(view_of)(const rt_head_tile *t, int side) {
    const rt_head_logits *s = &t->side[side];
    return (F(view)){s->z, s->max, s->log, (T)(1 / t->temperature)};
}
INLINE T F(log_prob)(const F(view) * a, int64_t v, int64_t n) { return F(fma)(a->z[v + n] - a->max[n], a->scale, -a->log[n]); }

INLINE F(pair) F(pair_at)(const F(view) * p, const F(view) * q, int64_t v, int64_t n) {
    return F(pair_of)(F(log_prob)(p, v, n), F(log_prob)(q, v, n));
}

/* -------------------------------------------------------------------------- values */

static void F(logits_sum)(const rt_head_tile *t) {
    const T *z = t->side[RT_HEAD_STUDENT].z;
    T *s = t->sum[RT_SUM_LOGITS];
    memset(s, 0, (size_t)t->rows * sizeof(T));
    for (int64_t v = 0; v < t->ids; v++, z += t->rows) EACH_BLOCK(n, t->rows) EACH_LANE(l) s[n + l] += z[n + l];
}

INLINE T F(add_kl)(T sum, F(pair) a) { return F(fma)(a.large, a.d < 0 ? a.r.h : a.r.g, sum); }

/* The sums of a set over `ids` ids of 16 rows; those `ahead` of them are asked for, since ids lie far apart. */
INLINE void F(pair_group)(const rt_head_tile *t, const F(view) * p, const F(view) * q, int64_t v, int64_t ids, int64_t ahead, int64_t n, unsigned set,
                          bool even) {
    T s[RT_SUM_KINDS][LANES], beta = (T)t->beta, rest = (T)(1 - t->beta);
    for (int k = 0; k < RT_SUM_KINDS; k++)
        if (set & 1u << k) EACH_LANE(l) s[k][l] = ((const T *)t->sum[k])[n + l];
    for (int64_t i = v; i < v + ids * t->rows; i += t->rows) {
        __builtin_prefetch(p->z + i + ahead + n), __builtin_prefetch(q->z + i + ahead + n);
        EACH_LANE(l) {
            F(pair) a = F(pair_at)(p, q, i, n + l);
            if (set & SET(KL)) s[RT_SUM_KL][l] = F(add_kl)(s[RT_SUM_KL][l], a);
            if (set & SET(REVERSE_KL)) s[RT_SUM_REVERSE_KL][l] = F(fma)(a.large, a.d < 0 ? a.r.g : a.r.h, s[RT_SUM_REVERSE_KL][l]);
            if (set & SET(OVERLAP)) s[RT_SUM_OVERLAP][l] = F(fma)(a.large, a.r.s, s[RT_SUM_OVERLAP][l]);
            if (set & SET(TV)) s[RT_SUM_TV][l] = F(fma)(a.large, (T)-0.5 * a.r.e, s[RT_SUM_TV][l]);
            if (set & SET(TV_SLOPE)) s[RT_SUM_TV_SLOPE][l] = F(fma)(a.large, a.d > 0 ? (T)-0.5 * a.r.s : a.d < 0 ? (T)0.5 : 0, s[RT_SUM_TV_SLOPE][l]);
            if (!(set & (SET(JSD) | SET(JSD_SLOPE)))) continue;
            F(jsd_parts) j = F(jsd_of)(a, beta, rest, even);
            if (set & SET(JSD)) s[RT_SUM_JSD][l] = F(fma)(a.large, j.value, s[RT_SUM_JSD][l]);
            if (set & SET(JSD_SLOPE)) s[RT_SUM_JSD_SLOPE][l] = F(fma)(a.large, rest * j.log_q * (a.d < 0 ? 1 : a.r.s), s[RT_SUM_JSD_SLOPE][l]);
        }
    }
    for (int k = 0; k < RT_SUM_KINDS; k++)
        if (set & 1u << k) EACH_LANE(l) ((T *)t->sum[k])[n + l] = s[k][l];
}
INLINE void F(pair_sums)(const rt_head_tile *t, unsigned set, bool even) {
    F(view) p = F(view_of)(t, RT_HEAD_TEACHER), q = F(view_of)(t, RT_HEAD_STUDENT);
    for (int k = 0; k < RT_SUM_KINDS; k++)
        if (set & 1u << k) memset(t->sum[k], 0, (size_t)t->rows * sizeof(T));
    for (int64_t v = 0; v < t->ids; v += GROUP) {
        int64_t ahead = t->ids - v >= 2 * GROUP ? GROUP * t->rows : 0;
        if (t->ids - v >= GROUP) EACH_BLOCK(n, t->rows) F(pair_group)(t, &p, &q, v * t->rows, GROUP, ahead, n, set, even);
        else EACH_BLOCK(n, t->rows) F(pair_group)(t, &p, &q, v * t->rows, t->ids - v, 0, n, set, even);
    }
}
/* Makes a set if all of it is wanted; what is wanted still. */
INLINE unsigned F(make)(const rt_head_tile *t, unsigned want, unsigned set) {
    if ((want & set) != set) return want;
    if ((set & (SET(JSD) | SET(JSD_SLOPE))) && t->beta != 0.5) F(pair_sums)(t, set, false);
    else F(pair_sums)(t, set, true);
    return want & ~set;
}
static void F(sums)(const rt_head_tile *t) {
    unsigned want = 0;
    for (int k = 0; k < RT_SUM_KINDS; k++) want |= t->sum[k] ? 1u << k : 0;
    if (want & SET(LOGITS)) F(logits_sum)(t);
    want = F(make)(t, want & ~SET(LOGITS), EVALUATION);
    want = F(make)(t, want, SET(KL) | SET(REVERSE_KL));
    want = F(make)(t, want, SET(JSD) | SET(JSD_SLOPE));
    want = F(make)(t, want, SET(TV) | SET(TV_SLOPE));
    want = F(make)(t, want, SET(KL));
    want = F(make)(t, want, SET(REVERSE_KL));
    want = F(make)(t, want, SET(OVERLAP));
    want = F(make)(t, want, SET(TV));
    want = F(make)(t, want, SET(TV_SLOPE));
    want = F(make)(t, want, SET(JSD));
    F(make)(t, want, SET(JSD_SLOPE));
}

/* ----------------------------------------------------------------------- gradients */

/* Where to add. Cleared here rather than by a choice inside the loops, which would then not become vectors. */
static T *F(sum_of_gradients)(const rt_head_tile *t) {
    if (t->fresh) memset(t->dz, 0, (size_t)(t->ids * t->rows) * sizeof(T));
    return t->dz;
}

static void F(softmax_grad)(const rt_head_tile *t, double factor, double shift) {
    F(view) q = F(view_of)(t, RT_HEAD_STUDENT);
    const T *gain = t->gain, f = (T)factor, c = (T)shift;
    T *dz = F(sum_of_gradients)(t);
    for (int64_t v = 0; v < t->ids * t->rows; v += t->rows) EACH_BLOCK(n, t->rows) EACH_LANE(l) {
        T b = F(exp_below)(F(log_prob)(&q, v, n + l));
        dz[v + n + l] += gain[n + l] * F(fma)(f, b, c);
    }
}

/* With the sum, the hot loop of training, usually the first to write dz. q - p is L e or, where q is the larger, -L e. */
INLINE void F(kl_grad_loop)(const rt_head_tile *t, T f, bool fresh, bool sum) {
    F(view) p = F(view_of)(t, RT_HEAD_TEACHER), q = F(view_of)(t, RT_HEAD_STUDENT);
    const T *gain = t->gain;
    T *dz = t->dz, *s = t->sum[RT_SUM_KL];
    if (sum) memset(s, 0, (size_t)t->rows * sizeof(T));
    for (int64_t v = 0; v < t->ids * t->rows; v += t->rows) EACH_BLOCK(n, t->rows) EACH_LANE(l) {
        F(pair) a = F(pair_at)(&p, &q, v, n + l);
        T fall = a.large * a.r.e;
        if (sum) s[n + l] = F(add_kl)(s[n + l], a);
        dz[v + n + l] = (fresh ? 0 : dz[v + n + l]) + gain[n + l] * (f * (a.d < 0 ? -fall : fall));
    }
}
static void F(kl_grad)(const rt_head_tile *t, double factor) {
    if (!t->sum[RT_SUM_KL]) F(sum_of_gradients)(t), F(kl_grad_loop)(t, (T)factor, false, false);
    else if (t->fresh) F(kl_grad_loop)(t, (T)factor, true, true);
    else F(kl_grad_loop)(t, (T)factor, false, true);
}

static void F(reverse_grad)(const rt_head_tile *t, double factor) {
    F(view) p = F(view_of)(t, RT_HEAD_TEACHER), q = F(view_of)(t, RT_HEAD_STUDENT);
    const T *gain = t->gain, *kl = t->total[RT_SUM_REVERSE_KL], f = (T)factor;
    T *dz = F(sum_of_gradients)(t);
    for (int64_t v = 0; v < t->ids * t->rows; v += t->rows) EACH_BLOCK(n, t->rows) EACH_LANE(l) {
        T lp = F(log_prob)(&p, v, n + l), lq = F(log_prob)(&q, v, n + l);
        dz[v + n + l] += gain[n + l] * (f * F(exp_below)(lq) * (lq - lp - kl[n + l]));
    }
}

static void F(tv_grad)(const rt_head_tile *t, double factor) {
    F(view) p = F(view_of)(t, RT_HEAD_TEACHER), q = F(view_of)(t, RT_HEAD_STUDENT);
    const T *gain = t->gain, *mean = t->total[RT_SUM_TV_SLOPE], f = (T)factor;
    T *dz = F(sum_of_gradients)(t);
    for (int64_t v = 0; v < t->ids * t->rows; v += t->rows) EACH_BLOCK(n, t->rows) EACH_LANE(l) {
        T a = F(exp_below)(F(log_prob)(&p, v, n + l)), b = F(exp_below)(F(log_prob)(&q, v, n + l));
        T slope = a > b ? (T)-0.5 : a < b ? (T)0.5 : 0;
        dz[v + n + l] += gain[n + l] * (f * b * (slope - mean[n + l]));
    }
}

static void F(jsd_grad)(const rt_head_tile *t, double factor) {
    F(view) p = F(view_of)(t, RT_HEAD_TEACHER), q = F(view_of)(t, RT_HEAD_STUDENT);
    const T *gain = t->gain, *mean = t->total[RT_SUM_JSD_SLOPE], f = (T)factor, beta = (T)t->beta, rest = (T)(1 - t->beta);
    T *dz = F(sum_of_gradients)(t);
    for (int64_t v = 0; v < t->ids * t->rows; v += t->rows) EACH_BLOCK(n, t->rows) EACH_LANE(l) {
        F(pair) a = F(pair_at)(&p, &q, v, n + l);
        T b = a.large * (a.d < 0 ? 1 : a.r.s);
        dz[v + n + l] += gain[n + l] * (f * b * (rest * F(jsd_of)(a, beta, rest, false).log_q - mean[n + l]));
    }
}
#undef EACH_BLOCK
#endif
