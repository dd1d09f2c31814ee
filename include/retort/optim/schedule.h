/* schedule.h - the learning rate's factor, and other numbers that change over a run, as pure functions of the optimizer step.
 *
 * step counts from 0; w = warmup, S = steps, t = (step - w) / (S - w) clamped to [0, 1], f = final:
 *   step < w   (step + 1) / w
 *   constant   1
 *   linear     1 - (1 - f) t
 *   cosine     f + (1 - f) (1 + cos(pi t)) / 2                 Loshchilov & Hutter 2017, eq. 5, without restarts
 *   wsd        1 while t < 1 - decay, then linearly to f       warm-up, stable, decay: Hu et al. 2024, section 4 */
#ifndef RETORT_OPTIM_SCHEDULE_H
#define RETORT_OPTIM_SCHEDULE_H
#include <stdint.h>

typedef enum rt_schedule_kind { RT_SCHEDULE_CONSTANT, RT_SCHEDULE_LINEAR, RT_SCHEDULE_COSINE, RT_SCHEDULE_WSD } rt_schedule_kind;
extern const char *const rt_schedule_names[]; /* in the enum's order, NULL-terminated */

typedef struct rt_schedule {
    int kind; /* rt_schedule_kind */
    int64_t warmup, steps;
    double final; /* factor at the end */
    double decay; /* wsd: the share of the steps after warm-up that decay */
} rt_schedule;
double rt_schedule_factor(const rt_schedule *s, int64_t step);
/* A value that moves from `start` to `end` along the kind's course (constant: stays at start). */
double rt_schedule_between(int kind, double start, double end, int64_t step, int64_t steps);
#endif
