/* loss_scale.c - see loss_scale.h. */
#include <retort/optim/loss_scale.h>

static const double start = 65536, largest = 16777216;
enum { GROWTH_INTERVAL = 2000 };

rt_loss_scale rt_loss_scale_start(void) { return (rt_loss_scale){start, 0}; }

rt_status rt_loss_scale_update(rt_loss_scale *s, bool finite, rt_error *err) {
    if (!finite && s->scale <= 1) return rt_fail(err, RT_E_NUMERIC, "gradients overflow at loss scale 1");
    if (!finite) *s = (rt_loss_scale){s->scale / 2, 0};
    else if (++s->good_steps == GROWTH_INTERVAL) *s = (rt_loss_scale){s->scale < largest ? s->scale * 2 : s->scale, 0};
    return RT_OK;
}
