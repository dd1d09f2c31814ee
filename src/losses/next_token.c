/* next_token: cross-entropy of the next token, -log q_y; with label smoothing s the target is (1-s) onehot + s/V:
 *   value = lse - (1-s) z_y/tau - s/V sum_v z_v/tau        dz = (q - (1-s) onehot - s/V)/tau       tau 1 unless set
 * Szegedy et al. 2016, "Rethinking the Inception Architecture", section 7. */
#include <retort/losses/losses.h>
#include "kernels/head.h"

static void subtract_f32(const rt_head_tile *t, int64_t at, int64_t n, double x) {
    ((float *)t->dz)[at] -= ((const float *)t->gain)[n] * (float)x;
}
static void subtract_f64(const rt_head_tile *t, int64_t at, int64_t n, double x) {
    ((double *)t->dz)[at] -= ((const double *)t->gain)[n] * x;
}
static void gradient(const rt_head_tile *t) {
    double scale = 1 / t->temperature, kept = (1 - t->label_smoothing) * scale;
    rt_head_kernels_of(t->dtype)->softmax_grad(t, scale, -t->label_smoothing * scale / (double)t->vocab);
    for (int64_t n = 0; n < t->rows; n++) {
        int64_t v = t->target[n] - t->first_id;
        if (t->target[n] >= 0 && v >= 0 && v < t->ids) (t->dtype == RT_F64 ? subtract_f64 : subtract_f32)(t, v * t->rows + n, n, kept);
    }
}
static void finish(const rt_vocab_row *r, double *columns) {
    double s = r->label_smoothing, mean = s > 0 ? r->sum[RT_SUM_LOGITS] / (double)r->vocab : 0;
    columns[0] += r->student_lse - ((1 - s) * r->student + s * mean) / r->temperature;
}

const rt_vocab_loss rt_loss_next_token = {
    .name = "next_token", .about = "cross-entropy of the next token", .needs = RT_NEEDS_STUDENT_LSE | RT_SUMS_IF_SMOOTHED,
    .temperature = 1, .columns = 1, .sums = 1u << RT_SUM_LOGITS, .gradient = gradient, .finish = finish};
