/* experts_few.h - `experts` for few rows: only the weights of the chosen experts are read, once each, as they lie. */
#ifndef RT_OPS_EXPERTS_FEW_H
#define RT_OPS_EXPERTS_FEW_H
#include "ops/expert_job.h"

/* Bytes beyond rt_expert_scratch (without trace), and of each worker. */
size_t rt_experts_few_scratch(rt_expert_sizes z, size_t size);
size_t rt_experts_few_worker(rt_expert_sizes z, size_t size);
void rt_experts_few_run(rt_expert_job *j); /* its places are filled */
#endif
