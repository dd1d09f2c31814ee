/* experts_few.h - `experts` for few rows: only the weights of the chosen experts are read, once each, as they lie. */
#ifndef RT_OPS_EXPERTS_FEW_H
#define RT_OPS_EXPERTS_FEW_H
#include "ops/common.h"
#include "ops/places.h"

typedef struct rt_experts_few {
    const rt_call *call;
    const rt_tensor *x, *w, *y; /* [N,D], [N,k], [N,D] */
    int64_t D, F, k;
    rt_dtype type;              /* of the weights */
    rt_places places;           /* filled */
    const char *(*gate_up)(const rt_call *c, int64_t expert); /* [2F,D] */
    const char *(*down)(const rt_call *c, int64_t expert);    /* [F,D] */
} rt_experts_few;

size_t rt_experts_few_scratch(int64_t pairs, int64_t D, int64_t F, size_t size); /* of the node */
size_t rt_experts_few_worker(int64_t pairs, int64_t D, size_t size);
void rt_experts_few_run(const rt_experts_few *e);
#endif
