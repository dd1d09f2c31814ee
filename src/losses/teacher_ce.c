/* teacher_ce: the teacher's own cross-entropy of the next token, -log p_y at tau 1. A metric. */
#include <retort/losses/losses.h>

static void finish(const rt_vocab_row *r, double *columns) { columns[0] += r->teacher_lse - r->teacher; }
const rt_vocab_loss rt_loss_teacher_ce = {
    .name = "teacher_ce", .about = "cross-entropy of the teacher", .needs = RT_NEEDS_TEACHER | RT_NEEDS_TEACHER_LSE | RT_FIXED_TEMPERATURE,
    .temperature = 1, .columns = 1, .finish = finish};
