/* loss_scale.h - dynamic loss scaling for f16 compute (Micikevicius et al. 2018, section 3.2): the loss is multiplied by
 * `scale` before backward and the gradient divided by it before the step. Overflow halves it and skips the step; 2000
 * good steps in a row double it. A power of two, so that scaling itself rounds nothing. f32 and bf16 need none. */
#ifndef RETORT_OPTIM_LOSS_SCALE_H
#define RETORT_OPTIM_LOSS_SCALE_H
#include <retort/base/status.h>
#include <stdint.h>

typedef struct rt_loss_scale { /* the state to save */
    double scale;
    int64_t good_steps; /* since the last change */
} rt_loss_scale;
rt_loss_scale rt_loss_scale_start(void); /* 65536 */
/* After each step: finite says whether the gradient's norm was. RT_E_NUMERIC when it was not at scale 1: then it is not the
 * scale that overflows. */
rt_status rt_loss_scale_update(rt_loss_scale *s, bool finite, rt_error *err) RT_NODISCARD;
#endif
