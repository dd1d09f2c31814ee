/* forward_kl: tau^2 KL(p,q), p the teacher's and q the student's softmax at tau;  dz = tau (q - p).
 * tau^2 keeps the gradient's size when tau changes. Hinton, Vinyals & Dean 2015, section 2. kl_t1: the same at tau 1, as a metric. */
#include <retort/losses/losses.h>
#include "kernels/head.h"

static void gradient(const rt_head_tile *t) { rt_head_kernels_of(t->dtype)->kl_grad(t, t->temperature); }
static void finish(const rt_vocab_row *r, double *columns) { columns[0] += r->temperature * r->temperature * r->sum[RT_SUM_KL]; }

#define NEEDS (RT_NEEDS_TEACHER | RT_NEEDS_STUDENT_LSE | RT_NEEDS_TEACHER_LSE)
const rt_vocab_loss rt_loss_forward_kl = {
    .name = "forward_kl", .about = "tau^2 KL(teacher, student)", .needs = NEEDS, .temperature = 1, .columns = 1,
    .sums = 1u << RT_SUM_KL, .along = 1u << RT_SUM_KL, .gradient = gradient, .finish = finish};
const rt_vocab_loss rt_loss_kl_t1 = {
    .name = "kl_t1", .about = "KL(teacher, student) at temperature 1", .needs = NEEDS | RT_FIXED_TEMPERATURE, .temperature = 1, .columns = 1,
    .sums = 1u << RT_SUM_KL, .finish = finish};
