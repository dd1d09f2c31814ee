/* tv: total variation, 1/2 sum |p - q|;  dz = q (h - sum q h)/tau,  h = -sign(p - q)/2.   tau 1 unless set, no tau^2.
 * acceptance: sum min(p,q) = 1 - tv at tau 1: the probability that a token drafted by the student is accepted when the teacher
 * verifies it. Leviathan et al. 2023, "Fast Inference from Transformers via Speculative Decoding", corollary 3.6. */
#include <retort/losses/losses.h>
#include "kernels/head.h"

#define NEEDS (RT_NEEDS_TEACHER | RT_NEEDS_STUDENT_LSE | RT_NEEDS_TEACHER_LSE)

static void tv_finish(const rt_vocab_row *r, double *columns) { columns[0] += r->sum[RT_SUM_TV]; }
static void tv_gradient(const rt_head_tile *t) { rt_head_kernels_of(t->dtype)->tv_grad(t, 1 / t->temperature); }
const rt_vocab_loss rt_loss_tv = {
    .name = "tv", .about = "total variation distance", .needs = NEEDS, .temperature = 1, .columns = 1,
    .sums = 1u << RT_SUM_TV, .totals = 1u << RT_SUM_TV_SLOPE, .gradient = tv_gradient, .finish = tv_finish};

static void acceptance_finish(const rt_vocab_row *r, double *columns) { columns[0] += r->sum[RT_SUM_OVERLAP]; }
const rt_vocab_loss rt_loss_acceptance = {
    .name = "acceptance", .about = "mean probability that the teacher accepts a token of the student", .needs = NEEDS | RT_FIXED_TEMPERATURE,
    .temperature = 1, .columns = 1, .sums = 1u << RT_SUM_OVERLAP, .finish = acceptance_finish};
