/* rows.h - loops over one row, as tables of functions: const F(rt_row_kernels) *k = F(rt_rows)(); k->dot(x, y, n);
 *
 * exp in f32 is a polynomial of our own (isa/lanes.h): at most 1.01 ulp, 0 below -87.3, infinite above 88.72; in f64 it
 * is libm's. Sums and maxima run in 16 fixed lanes, then a tree: their bits depend on n alone, not on threads or
 * alignment, and an element-wise result does not depend on the element's place. Outputs may be the very arrays that are
 * inputs, where noted (=). n >= 0; lengths of 16k are fastest. The f32 table has the same bits at levels v3 and v4. */
#ifndef T
#ifndef RETORT_KERNELS_ROWS_H
#define RETORT_KERNELS_ROWS_H
#include <stdbool.h>
#include <stdint.h>
#define RT_BODY "kernels/rows.h"
#include "kernels/for_each_type.h"
#endif
#else
typedef struct F(rt_row_kernels) {
    T (*dot)(const T *x, const T *y, int64_t n);
    T (*sumsq)(const T *x, int64_t n);
    T (*sum)(const T *x, int64_t n);
    T (*max)(const T *x, int64_t n);                      /* -infinity for n = 0; NaNs are passed over */
    void (*axpy)(T a, const T *x, T *y, int64_t n);       /* y += a x  (one rounding where the processor has FMA) */
    void (*add)(const T *x, const T *y, T *z, int64_t n); /* z = x + y  (=) */
    void (*mul)(const T *x, const T *y, T *z, int64_t n); /* z = x y  (=) */
    void (*scale)(T a, const T *x, T *y, int64_t n);      /* y = a x  (=) */
    void (*exp)(T shift, const T *x, T *y, int64_t n);    /* y = exp(x - shift)  (=) */
    T (*softmax)(const T *x, T *p, int64_t n);            /* p = exp(x - lse) normalised; returns lse  (=) */
    T (*logsumexp)(const T *x, int64_t n);                /* m + log sum exp(x - m); -infinity for n = 0 */
    /* y = x r w with r = 1/sqrt(mean x^2 + eps), which is returned. y may be x. */
    T (*rms)(const T *x, const T *w, T eps, T *y, int64_t n);
    /* dx += r w dy - x r^3/n sum(w dy x);  dw += dy x r.  dw or dx may be NULL. */
    void (*rms_backward)(const T *x, const T *w, T r, const T *dy, T *dx, T *dw, int64_t n);
    /* Rotates the heads of a row in the "halves" layout, in place: (x[i], x[half+i]) of each by the angle with cosine c[i],
     * sine dir*s[i]; dir = 1 forward, -1 back (which is also the gradient). */
    void (*rope)(T *x, const T *c, const T *s, int64_t half, int64_t heads, T dir);
    void (*swiglu)(const T *g, const T *u, T *a, int64_t n); /* a = silu(g) u  (=) */
    /* dg (+)= da u silu'(g);  du (+)= da silu(g).  Without `add`, dg may be g and du may be u (=). */
    void (*swiglu_backward)(const T *g, const T *u, const T *da, T *dg, T *du, int64_t n, bool add);
    /* The hidden row of an expert, lanes = its tokens with routing weights w: with a = silu(g) u,
     * dot += a da;  aw = w a;  then g, u are overwritten by their gradients for w da. */
    void (*expert_backward)(T *g, T *u, const T *da, const T *w, T *aw, T *dot, int64_t n);
} F(rt_row_kernels);

const F(rt_row_kernels) * F(rt_rows)(void);
#endif
