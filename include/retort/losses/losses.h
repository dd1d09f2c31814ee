/* losses.h - the vocabulary-level losses and metrics, by name. To add one: its file in src/losses and a line in losses.def. */
#ifndef RETORT_LOSSES_LOSSES_H
#define RETORT_LOSSES_LOSSES_H
#include <retort/ops/vocab_loss.h>

#define RT_LOSS(name) extern const rt_vocab_loss rt_loss_##name;
#include <retort/losses/losses.def>
#undef RT_LOSS

extern const rt_vocab_loss *const rt_losses[]; /* all of them, NULL-terminated */
/* NULL when there is no such loss. */
const rt_vocab_loss *rt_loss_find(const char *name);
/* RT_OK, or RT_E_CONFIG: "there is no loss 'forwrd_kl' (nearest: forward_kl)", "kl_t1 is a metric, it has no gradient". */
rt_status rt_loss_get(const char *name, bool trained, const rt_vocab_loss **loss, rt_error *err) RT_NODISCARD;
#endif
