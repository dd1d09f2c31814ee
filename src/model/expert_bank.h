/* expert_bank.h - the experts of a borrowed model as units of a bank (tensor/bank.h). */
#ifndef RETORT_MODEL_EXPERT_BANK_H
#define RETORT_MODEL_EXPERT_BANK_H
#include <retort/model/weights.h>

enum { RT_EXPERT_GATE, RT_EXPERT_UP, RT_EXPERT_DOWN, RT_EXPERT_PARTS };
/* The number of an expert's unit: layers with experts in order, expert by expert. */
int64_t rt_expert_unit(const rt_weights *w, int layer, int expert);
/* Opens w->bank over w->views, and makes the expert slots, whose dtypes are set, pieces of it. */
rt_status rt_expert_bank_open(rt_weights *w, rt_error *err) RT_NODISCARD;
#endif
