/* jsd: generalised Jensen-Shannon divergence, M = beta p + (1-beta) q:  beta KL(p,M) + (1-beta) KL(q,M).
 *   dz = q (h - sum q h)/tau,  h = (1-beta) log(q/M).      beta 0 is KL(p,q) and beta 1 is KL(q,p), by definition.
 * Agarwal et al. 2024, "On-Policy Distillation", eq. 1. tau 1 unless set, no tau^2. */
#include <retort/losses/losses.h>
#include "kernels/head.h"

static void gradient(const rt_head_tile *t) {
    const rt_head_kernels *k = rt_head_kernels_of(t->dtype);
    (t->beta > 0 && t->beta < 1 ? k->jsd_grad : t->beta > 0 ? k->reverse_grad : k->kl_grad)(t, 1 / t->temperature);
}
static void finish(const rt_vocab_row *r, double *columns) { columns[0] += r->sum[RT_SUM_JSD]; }

const rt_vocab_loss rt_loss_jsd = {
    .name = "jsd", .about = "generalised Jensen-Shannon divergence",
    .needs = RT_NEEDS_TEACHER | RT_NEEDS_STUDENT_LSE | RT_NEEDS_TEACHER_LSE, .temperature = 1, .columns = 1,
    .sums = 1u << RT_SUM_JSD, .totals = 1u << RT_SUM_JSD_SLOPE, .gradient = gradient, .finish = finish};
