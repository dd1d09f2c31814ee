/* trainer_private.h - between objective.c, trainer_open.c, trainer.c and trainer_save.c. */
#ifndef RT_TRAIN_TRAINER_PRIVATE_H
#define RT_TRAIN_TRAINER_PRIVATE_H
#include <retort/train/trainer.h>

rt_status rt_objective_resolve(rt_objective *o, const rt_job *job, rt_error *err) RT_NODISCARD;
bool rt_job_one_run(const rt_job *job); /* gradients lie in the plan */
json_t *rt_trainer_state_json(const rt_trainer *t);
rt_status rt_trainer_state_read(rt_trainer *t, const json_t *state, const char *where, rt_error *err) RT_NODISCARD;
#endif
