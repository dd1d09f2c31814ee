/* adamw: Adam with decoupled weight decay.            Kingma & Ba 2015, alg. 1; Loshchilov & Hutter 2019, alg. 2
 *   m = b1 m + (1 - b1) g;   v = b2 v + (1 - b2) g^2
 *   u = lr m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + eps) + lr decay w;   w -= u
 * The decay is multiplied by the learning rate, as the schedule's factor is in alg. 2 (eta_t) with alpha taken into it. */
#include "optim/method.h"
#include <math.h>

RT_OPTIM_LEVELS
static void tile(const rt_optim_scalars *s, int64_t n, const float *restrict g, float *restrict w, float *restrict m,
                 float *restrict v, float *restrict u) {
    const float scale = s->scale, b1 = s->beta1, r1 = s->rest1, b2 = s->beta2, r2 = s->rest2;
    const float step = s->lr * s->correction1, c2 = s->correction2, eps = s->eps, decay = s->decay;
#pragma omp simd
    for (int64_t i = 0; i < n; i++) {
        float x = scale * g[i];
        m[i] = b1 * m[i] + r1 * x;
        v[i] = b2 * v[i] + r2 * x * x;
        u[i] = step * m[i] / (sqrtf(v[i] * c2) + eps) + decay * w[i];
        w[i] -= u[i];
    }
}

const rt_optim_method rt_optim_adamw = {"adamw", tile};
