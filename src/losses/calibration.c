/* calibration: expected calibration error of the student's most probable id, in 15 equal bins of its probability c:
 *   ECE = sum_b n_b/N |accuracy_b - confidence_b|.      Guo et al. 2017, eq. 3. A metric; bin b is [b/15, (b+1)/15).
 * Columns: counts [15], summed confidences [15], correct [15]; they add up over batches, the error does not. */
#include <retort/losses/losses.h>
#include <math.h>

enum { BINS = 15 };

static void finish(const rt_vocab_row *r, double *columns) {
    double confidence = exp(r->student_top_logit - r->student_lse);
    int bin = (int)(confidence * BINS);
    if (!(bin < BINS)) bin = BINS - 1;
    if (bin < 0) bin = 0;
    columns[bin] += 1;
    columns[BINS + bin] += confidence;
    columns[2 * BINS + bin] += r->student_top[0] == r->target;
}
static double report(const double *columns, double count) {
    double error = 0;
    for (int b = 0; b < BINS; b++) error += fabs(columns[2 * BINS + b] - columns[BINS + b]);
    return error / count;
}
const rt_vocab_loss rt_loss_calibration = {
    .name = "calibration", .about = "expected calibration error of the most probable id",
    .needs = RT_NEEDS_STUDENT_LSE | RT_NEEDS_STUDENT_TOP | RT_FIXED_TEMPERATURE, .temperature = 1, .columns = 3 * BINS, .finish = finish,
    .report = report};
