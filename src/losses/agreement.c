/* top1_agreement: share of positions where both sides have the same most probable id.
 * top5_overlap: |top5(teacher) and top5(student)| / 5 (fewer where the vocabulary is smaller). Ties go to the lower id. Metrics. */
#include <retort/losses/losses.h>

enum { TOP = 5 };
#define NEEDS (RT_NEEDS_TEACHER | RT_NEEDS_STUDENT_TOP | RT_NEEDS_TEACHER_TOP | RT_FIXED_TEMPERATURE)

static void top1(const rt_vocab_row *r, double *columns) { columns[0] += r->student_top[0] == r->teacher_top[0]; }
const rt_vocab_loss rt_loss_top1_agreement = {
    .name = "top1_agreement", .about = "share of positions with the same most probable id", .needs = NEEDS, .temperature = 1, .columns = 1,
    .finish = top1};

static void top5(const rt_vocab_row *r, double *columns) {
    int common = 0, size = r->vocab < TOP ? (int)r->vocab : TOP;
    for (int i = 0; i < size; i++)
        for (int j = 0; j < size; j++) common += r->student_top[i] == r->teacher_top[j];
    columns[0] += (double)common / size;
}
const rt_vocab_loss rt_loss_top5_overlap = {
    .name = "top5_overlap", .about = "shared ids among the five most probable", .needs = NEEDS, .temperature = 1, .columns = 1, .finish = top5};
