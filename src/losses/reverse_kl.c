/* reverse_kl: tau^2 KL(q,p), q the student's and p the teacher's softmax at tau;  dz = tau q (log q - log p - KL(q,p)).
 * It seeks modes where forward_kl covers them. Gu et al. 2023, "MiniLLM", section 2. */
#include <retort/losses/losses.h>
#include "kernels/head.h"

static void gradient(const rt_head_tile *t) { rt_head_kernels_of(t->dtype)->reverse_grad(t, t->temperature); }
static void finish(const rt_vocab_row *r, double *columns) { columns[0] += r->temperature * r->temperature * r->sum[RT_SUM_REVERSE_KL]; }

const rt_vocab_loss rt_loss_reverse_kl = {
    .name = "reverse_kl", .about = "tau^2 KL(student, teacher)",
    .needs = RT_NEEDS_TEACHER | RT_NEEDS_STUDENT_LSE | RT_NEEDS_TEACHER_LSE, .temperature = 1, .columns = 1,
    .sums = 1u << RT_SUM_REVERSE_KL, .totals = 1u << RT_SUM_REVERSE_KL, .gradient = gradient, .finish = finish};
