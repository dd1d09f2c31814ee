/* method.h - what an optimizer is: a pass over one tile. All else (clipping, blocks, norms, copies) is in optim.c. */
#ifndef RETORT_OPTIM_METHOD_H
#define RETORT_OPTIM_METHOD_H
#include <retort/optim/optim.h>

/* Constants of one step, rounded once to f32. */
typedef struct rt_optim_scalars {
    float lr, scale, decay;               /* scale: of the gradient, clipping included; decay: lr * weight_decay, or 0 */
    float beta1, beta2, rest1, rest2;     /* rest = 1 - beta */
    float correction1, correction2, eps; /* correction = 1 / (1 - beta^t) */
} rt_optim_scalars;

/* w -= u; u [n] is written for the norms. Elementwise, so bits do not depend on how it is cut or vectorised. */
typedef void (*rt_optim_tile_fn)(const rt_optim_scalars *s, int64_t n, const float *restrict g, float *restrict w,
                                 float *restrict m, float *restrict v, float *restrict u);
typedef struct rt_optim_method {
    const char *name;
    rt_optim_tile_fn tile;
} rt_optim_method;

/* y[i] = x[i] to nearest even, in f16 or bf16: the bits of rt_f32_to_f16 and rt_f32_to_bf16, without branches. */
void rt_optim_round(rt_dtype to, int64_t n, const float *x, void *y);
/* Sum of squares in f64, in an order that depends on n alone. */
double rt_optim_sum_squares(int64_t n, const float *x);

/* Loops without reductions or contraction: the same bits at every level, so the level may be chosen at start. The
 * sanitizers' start-up code does not bear resolvers. */
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(__SANITIZE_ADDRESS__)
#define RT_OPTIM_LEVELS __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define RT_OPTIM_LEVELS
#endif
#endif
