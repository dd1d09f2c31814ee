/* head.c - the vocabulary kernels of one ISA level. See kernels/head.h for the formulas, lanes.h for the technique. */
#ifndef T
#include "kernels/head.h"
#include "kernels/isa/vector.h"
#include <float.h>

/* g(d)/d^2 = 1/2! - d/3! + d^2/4! - ... for |d| < 1/2, to the last bit of the type. */
INLINE float g_series_f32(float d) {
    float p = 1.0f / 40320;
    p = fma_f32(p, d, -1.0f / 5040);
    p = fma_f32(p, d, 1.0f / 720);
    p = fma_f32(p, d, -1.0f / 120);
    p = fma_f32(p, d, 1.0f / 24);
    p = fma_f32(p, d, -1.0f / 6);
    return fma_f32(p, d, 0.5f);
}
INLINE double g_series_f64(double d) {
    double p = 1, factor = -d;
    for (int k = 17; k > 2; k--) p = fma_f64(p, factor / k, 1);
    return p * 0.5;
}
/* u - log(1+u) for -1 < u <= 0, never negative. f32: log by the polynomial of Cephes' logf (Moshier) on [sqrt(1/2), sqrt(2)):
 * log(1+x) = x - x^2/2 + x^3 P(x), so near 0 the wanted x^2 (1/2 - x P(x)) has no cancellation. */
INLINE float log_gap_f32(float u) {
    union {
        float f;
        int32_t i;
    } w = {1.0f + u}, m;
    int32_t e = (w.i - 0x3f3504f3) >> 23; /* 1+u = 2^e m, m >= sqrt(1/2) */
    m.i = w.i - e * (1 << 23);
    float x = e == 0 ? u : m.f - 1.0f;
    float p = 7.0376836292e-2f;
    p = fma_f32(p, x, -1.1514610310e-1f);
    p = fma_f32(p, x, 1.1676998740e-1f);
    p = fma_f32(p, x, -1.2420140846e-1f);
    p = fma_f32(p, x, 1.4249322787e-1f);
    p = fma_f32(p, x, -1.6668057665e-1f);
    p = fma_f32(p, x, 2.0000714765e-1f);
    p = fma_f32(p, x, -2.4999993993e-1f);
    p = fma_f32(p, x, 3.3333331174e-1f);
    float gap = x * x * (0.5f - x * p);
    return e == 0 ? gap : gap + (u - x) - (float)e * 0.69314718056f;
}
INLINE double log_gap_f64(double u) {
    double gap = u - log1p(u);
    return gap < 0 ? 0 : gap;
}

/* Below every logit that is a number, so that exp(lowest - m) is 0 and not NaN. */
static const float lowest_f32 = -FLT_MAX;
static const double lowest_f64 = -DBL_MAX;
enum {
    GROUP = 8,  /* ids between two looks at the maximum */
    AHEAD = 16, /* ids from the one asked for to the one looked at */
};

#define RT_BODY "kernels/isa/head.c"
#include "kernels/for_each_type.h"

#define TABLE(t)                                                                                                       \
    {partials_##t, join_max_##t, join_exp_##t,     top_##t,     logits_##t,  kl_##t,           tv_##t,     \
     overlap_##t, jsd_##t,     softmax_grad_##t, kl_grad_##t, kl_both_##t, reverse_grad_##t, tv_grad_##t, jsd_grad_##t}
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

/* p g(d). The clamp only meets rounding where p or q fell below the smallest number; a NaN passes. */
INLINE T F(kl_term)(T p, T q, T d) {
    T far = q - p + p * d, near = p * (d * d) * F(g_series)(d);
    T term = d < (T)0.5 && d > (T)-0.5 ? near : far;
    return term < 0 ? 0 : term;
}

/* JSD of one id, from the larger of p and q, L, and the other, L s:  M = L (1 + u), u = b_other (s - 1). */
typedef struct F(jsd) {
    T value, q, log_q; /* log_q: log(q/M) */
} F(jsd_parts);
INLINE F(jsd_parts) F(jsd_term)(T lp, T lq, T beta, T rest) {
    T d = lp - lq, x = d < 0 ? -d : d;
    T large = F(exp)(d < 0 ? lq : lp), b_large = d < 0 ? rest : beta, b_small = d < 0 ? beta : rest;
    T e = x < (T)0.5 ? x * (x * F(g_series)(x) - 1) : F(exp)(-x) - 1; /* s - 1 */
    T s = e + 1, u = b_small * e, gap = F(log_gap)(u);
    T log_large = gap - u, log_small = log_large - x; /* log(L/M), log(L s/M) */
    T far = 1 + u - s + s * log_small, near = s * (log_small * log_small) * F(g_series)(log_small);
    T small_term = log_small > (T)-0.5 ? near : far;
    T value = large * (b_large * gap + b_small * (small_term < 0 ? 0 : small_term));
    return (F(jsd_parts)){value < 0 ? 0 : value, d < 0 ? large : large * s, d < 0 ? log_large : log_small};
}

/* -------------------------------------------------------------------------- values */

static void F(logits)(const rt_head_tile *t) {
    const T *z = t->side[RT_HEAD_STUDENT].z;
    T *s = t->sum[0];
    memset(s, 0, (size_t)t->rows * sizeof(T));
    for (int64_t v = 0; v < t->ids; v++, z += t->rows) EACH_BLOCK(n, t->rows) EACH_LANE(l) s[n + l] += z[n + l];
}

static void F(kl)(const rt_head_tile *t, int p_side, int q_side) {
    F(view) p = F(view_of)(t, p_side), q = F(view_of)(t, q_side);
    T *s = t->sum[0];
    memset(s, 0, (size_t)t->rows * sizeof(T));
    for (int64_t v = 0; v < t->ids * t->rows; v += t->rows) EACH_BLOCK(n, t->rows) EACH_LANE(l) {
        T lp = F(log_prob)(&p, v, n + l), lq = F(log_prob)(&q, v, n + l);
        s[n + l] += F(kl_term)(F(exp)(lp), F(exp)(lq), lp - lq);
    }
}

static void F(tv)(const rt_head_tile *t) {
    F(view) p = F(view_of)(t, RT_HEAD_TEACHER), q = F(view_of)(t, RT_HEAD_STUDENT);
    T *s = t->sum[0], *signs = t->sum[1];
    memset(s, 0, (size_t)t->rows * sizeof(T));
    memset(signs, 0, (size_t)t->rows * sizeof(T));
    for (int64_t v = 0; v < t->ids * t->rows; v += t->rows) EACH_BLOCK(n, t->rows) EACH_LANE(l) {
        T a = F(exp)(F(log_prob)(&p, v, n + l)), b = F(exp)(F(log_prob)(&q, v, n + l)), half = b * (T)0.5;
        s[n + l] += (a > b ? a - b : b - a) * (T)0.5;
        signs[n + l] += a > b ? -half : a < b ? half : 0;
    }
}
static void F(overlap)(const rt_head_tile *t) {
    F(view) p = F(view_of)(t, RT_HEAD_TEACHER), q = F(view_of)(t, RT_HEAD_STUDENT);
    T *s = t->sum[0];
    memset(s, 0, (size_t)t->rows * sizeof(T));
    for (int64_t v = 0; v < t->ids * t->rows; v += t->rows) EACH_BLOCK(n, t->rows) EACH_LANE(l) {
        T a = F(log_prob)(&p, v, n + l), b = F(log_prob)(&q, v, n + l);
        s[n + l] += F(exp)(b < a ? b : a);
    }
}

static void F(jsd)(const rt_head_tile *t) {
    F(view) p = F(view_of)(t, RT_HEAD_TEACHER), q = F(view_of)(t, RT_HEAD_STUDENT);
    T beta = (T)t->beta, rest = (T)(1 - t->beta), *s = t->sum[0], *slope = t->sum[1];
    memset(s, 0, (size_t)t->rows * sizeof(T));
    memset(slope, 0, (size_t)t->rows * sizeof(T));
    for (int64_t v = 0; v < t->ids * t->rows; v += t->rows) EACH_BLOCK(n, t->rows) EACH_LANE(l) {
        F(jsd_parts) j = F(jsd_term)(F(log_prob)(&p, v, n + l), F(log_prob)(&q, v, n + l), beta, rest);
        s[n + l] += j.value;
        slope[n + l] += rest * j.q * j.log_q;
    }
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
        T b = F(exp)(F(log_prob)(&q, v, n + l));
        dz[v + n + l] += gain[n + l] * F(fma)(f, b, c);
    }
}

static void F(kl_grad)(const rt_head_tile *t, double factor) {
    F(view) p = F(view_of)(t, RT_HEAD_TEACHER), q = F(view_of)(t, RT_HEAD_STUDENT);
    const T *gain = t->gain, f = (T)factor;
    T *dz = F(sum_of_gradients)(t);
    for (int64_t v = 0; v < t->ids * t->rows; v += t->rows) EACH_BLOCK(n, t->rows) EACH_LANE(l) {
        T a = F(exp)(F(log_prob)(&p, v, n + l)), b = F(exp)(F(log_prob)(&q, v, n + l));
        dz[v + n + l] += gain[n + l] * (f * (b - a));
    }
}
/* kl and kl_grad with the same exps: the hot loop of training, usually the first to write dz. Same bits as the two. */
INLINE void F(kl_both_loop)(const rt_head_tile *t, T f, bool fresh) {
    F(view) p = F(view_of)(t, RT_HEAD_TEACHER), q = F(view_of)(t, RT_HEAD_STUDENT);
    const T *gain = t->gain;
    T *dz = t->dz, *s = t->sum[0];
    memset(s, 0, (size_t)t->rows * sizeof(T));
    for (int64_t v = 0; v < t->ids * t->rows; v += t->rows) EACH_BLOCK(n, t->rows) EACH_LANE(l) {
        T lp = F(log_prob)(&p, v, n + l), lq = F(log_prob)(&q, v, n + l), a = F(exp)(lp), b = F(exp)(lq);
        s[n + l] += F(kl_term)(a, b, lp - lq);
        dz[v + n + l] = (fresh ? 0 : dz[v + n + l]) + gain[n + l] * (f * (b - a));
    }
}
static void F(kl_both)(const rt_head_tile *t, double factor) {
    if (t->fresh) F(kl_both_loop)(t, (T)factor, true);
    else F(kl_both_loop)(t, (T)factor, false);
}

static void F(reverse_grad)(const rt_head_tile *t, double factor) {
    F(view) p = F(view_of)(t, RT_HEAD_TEACHER), q = F(view_of)(t, RT_HEAD_STUDENT);
    const T *gain = t->gain, *kl = t->total[0], f = (T)factor;
    T *dz = F(sum_of_gradients)(t);
    for (int64_t v = 0; v < t->ids * t->rows; v += t->rows) EACH_BLOCK(n, t->rows) EACH_LANE(l) {
        T lp = F(log_prob)(&p, v, n + l), lq = F(log_prob)(&q, v, n + l);
        dz[v + n + l] += gain[n + l] * (f * F(exp)(lq) * (lq - lp - kl[n + l]));
    }
}

static void F(tv_grad)(const rt_head_tile *t, double factor) {
    F(view) p = F(view_of)(t, RT_HEAD_TEACHER), q = F(view_of)(t, RT_HEAD_STUDENT);
    const T *gain = t->gain, *mean = t->total[1], f = (T)factor;
    T *dz = F(sum_of_gradients)(t);
    for (int64_t v = 0; v < t->ids * t->rows; v += t->rows) EACH_BLOCK(n, t->rows) EACH_LANE(l) {
        T a = F(exp)(F(log_prob)(&p, v, n + l)), b = F(exp)(F(log_prob)(&q, v, n + l));
        T slope = a > b ? (T)-0.5 : a < b ? (T)0.5 : 0;
        dz[v + n + l] += gain[n + l] * (f * b * (slope - mean[n + l]));
    }
}

static void F(jsd_grad)(const rt_head_tile *t, double factor) {
    F(view) p = F(view_of)(t, RT_HEAD_TEACHER), q = F(view_of)(t, RT_HEAD_STUDENT);
    const T *gain = t->gain, *mean = t->total[1], f = (T)factor, beta = (T)t->beta, rest = (T)(1 - t->beta);
    T *dz = F(sum_of_gradients)(t);
    for (int64_t v = 0; v < t->ids * t->rows; v += t->rows) EACH_BLOCK(n, t->rows) EACH_LANE(l) {
        F(jsd_parts) j = F(jsd_term)(F(log_prob)(&p, v, n + l), F(log_prob)(&q, v, n + l), beta, rest);
        dz[v + n + l] += gain[n + l] * (f * j.q * (rest * j.log_q - mean[n + l]));
    }
}
#undef EACH_BLOCK
#endif
