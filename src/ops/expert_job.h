/* expert_job.h - one call of `experts`: its operands and sizes, the scratch all workers share, and the waves it runs in. */
#ifndef RETORT_OPS_EXPERT_JOB_H
#define RETORT_OPS_EXPERT_JOB_H
#include "ops/common.h"
#include "ops/expert_weights.h"
#include "ops/places.h"

enum { X, W, IDS, VALID, GATE_UP, DOWN, INPUTS };
enum { Y, HIDDEN, PLACES, TRACE, OUTPUTS };

typedef struct rt_expert_sizes {
    int64_t N, D, k, E, F, pairs, slots, tiles;
} rt_expert_sizes;
rt_expert_sizes rt_expert_sizes_of(const rt_tensor *x, const rt_tensor *w, const rt_tensor *gate_up);
/* Bytes of shared scratch: rows by slot (outputs, or their gradients), the lists of tiles and of experts, their matrices, partial
 * traces. `size`: of the compute type. */
size_t rt_expert_scratch(rt_expert_sizes z, size_t size, bool trace);

typedef struct rt_expert_job {
    const rt_call *call;
    rt_expert_sizes z;
    rt_places places;
    rt_tile *list, *wave_tiles;       /* [tiles] all; those of the present wave */
    int64_t tiles;
    int32_t *experts, *wave;          /* [E] those that have rows, wave by wave; the first of the present one */
    int32_t *here;                    /* [E] is of the present wave */
    rt_expert_matrix *gate_up, *down; /* [E] of those that are here */
    double *partial;                  /* [tiles, 2D] */
} rt_expert_job;
rt_expert_job rt_expert_job_open(const rt_call *c);
/* Makes present the next experts of j->wave, of n with rows: *taken of them, as many as are there together; `here`, `gate_up` and
 * `down` tell of these. False after an error, which is the call's. */
bool rt_expert_summon(rt_expert_job *j, int64_t n, int64_t *taken);
/* Runs a task for every tile (forward), or for every expert that has rows (backward), wave by wave: a wave is as many experts as
 * are present together, all of them where weights are one tensor. False after an error, which is the call's. */
bool rt_expert_waves(rt_expert_job *j, bool by_tile, rt_task_fn task);
#endif
