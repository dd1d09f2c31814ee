/* rounded.c - the rounding row kernels of one ISA level, for f16 and bf16. See ../rounded.h.
 *
 * A value that is not finite makes what is computed of it not finite. So it is enough to look at the outputs: only where one of them is not finite is
 * the row gone through again, each value asked whether it was finite before rounding. */
#include "kernels/rounded.h"
#include "kernels/isa/halves.h"

typedef struct rounding {
    round_block *nearest;
    store_block *store;
    uint32_t limit;
} rounding;
static const rounding as_f16 = {round_block_f16, store_block_f16, F16_LIMIT}, as_bf16 = {round_block_bf16, store_block_bf16, BF16_LIMIT};

/* `made` is the largest magnitude before rounding, as bits; after it, from the limit on, it is not finite. When the row is gone through again: whether
 * a finite value became infinite, as in `taken`. */
INLINE void take_block(rounding t, bool again, const float *x, float *y, uint32_t *taken) {
    if (again) overflow_block(x, t.limit, taken);
    t.nearest(x, y);
}
INLINE void look_at_block(rounding t, bool again, const float *x, uint32_t *made) {
    if (again) overflow_block(x, t.limit, made);
    else EACH_LANE(l) {
        bits b = {.f = x[l]};
        b.u &= 0x7fffffffu;
        made[l] = b.u > made[l] ? b.u : made[l];
    }
}
INLINE unsigned told(rounding t, bool again, const uint32_t *taken, const uint32_t *made) {
    if (again) return (any_lane(taken) ? RT_OVER_TAKEN : 0u) | (any_lane(made) ? RT_OVER_MADE : 0u);
    uint32_t most = 0;
    for (int l = 0; l < LANES; l++) most = made[l] > most ? made[l] : most;
    return most >= t.limit;
}

INLINE unsigned swiglu_row(rounding t, bool again, const float *g, const float *u, float *a, int64_t n) {
    uint32_t taken[LANES] = {0}, made[LANES] = {0};
    float p[LANES], q[LANES];
    for (int64_t i = 0; i < n; i += LANES) {
        take_block(t, again, g + i, p, taken), take_block(t, again, u + i, q, taken);
        EACH_LANE(l) p[l] = p[l] / one_plus_exp_f32(-p[l]) * q[l];
        look_at_block(t, again, p, made);
        t.nearest(p, a + i);
    }
    return told(t, again, taken, made);
}
INLINE unsigned swiglu(rounding t, const float *g, const float *u, float *a, int64_t n) {
    return swiglu_row(t, false, g, u, a, n) ? swiglu_row(t, true, g, u, a, n) : 0;
}

INLINE unsigned rope_row(rounding t, bool again, const float *x, const float *c, const float *s, int64_t half, int64_t heads, uint16_t *y) {
    uint32_t taken[LANES] = {0}, made[LANES] = {0};
    float p[LANES], q[LANES], v[LANES], w[LANES];
    for (int64_t i = 0; i < half; i += LANES)
        for (int64_t j = i; j < 2 * half * heads; j += 2 * half) { /* the tables stay in registers */
            take_block(t, again, x + j, p, taken), take_block(t, again, x + j + half, q, taken);
            EACH_LANE(l) v[l] = p[l] * c[i + l] - q[l] * s[i + l];
            EACH_LANE(l) w[l] = q[l] * c[i + l] + p[l] * s[i + l];
            look_at_block(t, again, v, made), look_at_block(t, again, w, made);
            t.store(v, y + j), t.store(w, y + j + half);
        }
    return told(t, again, taken, made);
}
INLINE unsigned rope(rounding t, const float *x, const float *c, const float *s, int64_t half, int64_t heads, uint16_t *y) {
    return rope_row(t, false, x, c, s, half, heads, y) ? rope_row(t, true, x, c, s, half, heads, y) : 0;
}

static unsigned swiglu_f16(const float *g, const float *u, float *a, int64_t n) { return swiglu(as_f16, g, u, a, n); }
static unsigned swiglu_bf16(const float *g, const float *u, float *a, int64_t n) { return swiglu(as_bf16, g, u, a, n); }
static unsigned rope_f16(const float *x, const float *c, const float *s, int64_t half, int64_t heads, void *y) {
    return rope(as_f16, x, c, s, half, heads, y);
}
static unsigned rope_bf16(const float *x, const float *c, const float *s, int64_t half, int64_t heads, void *y) {
    return rope(as_bf16, x, c, s, half, heads, y);
}

extern const rt_rounded_kernels RT_ISA_NAME(rt_rounded_table_f16), RT_ISA_NAME(rt_rounded_table_bf16);
const rt_rounded_kernels RT_ISA_NAME(rt_rounded_table_f16) = {swiglu_f16, rope_f16}, RT_ISA_NAME(rt_rounded_table_bf16) = {swiglu_bf16, rope_bf16};
