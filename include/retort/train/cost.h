/* cost.h - what a job will cost, before it costs it: memory from the plans of a sketched trainer (trainer.h), byte for byte what
 * the run takes; nothing of it is taken here. No number of a run depends on this.
 *
 *     rt_trainer *t;
 *     RT_TRY(rt_trainer_sketch(&t, &job, 0, err));
 *     rt_cost_memory m;
 *     RT_TRY(rt_cost_memory_of(t, &m, err));   ...   rt_trainer_close(t); */
#ifndef RETORT_TRAIN_COST_H
#define RETORT_TRAIN_COST_H
#include <retort/train/trainer.h>

/* Bytes. What is mapped from files counts as far as the run keeps reading it. */
typedef struct rt_cost_memory {
    int64_t weights, masters, gradients, moments; /* the student */
    int64_t training, evaluation;                 /* activations of its two plans */
    int64_t teacher_pages;                        /* of its files: read where they lie in every step */
    int64_t teacher_packed, teacher_experts, teacher_activations;
    int64_t projector;                            /* with its plans */
    int64_t scratch;                              /* of all threads */
    int64_t tokens, batches;                      /* of texts; of the loader */
    int64_t mapped;                               /* shards: the system takes these pages back when it needs them */
    int64_t process;                              /* program, libraries, tokenizer, descriptions of the graphs */
    int64_t loading, starting, fitting, prefit, saving; /* for a while only: beside what is there at that time */
    int64_t peak;                                 /* the greatest resident set of the run */
    int64_t needed;                               /* of the peak, what cannot be taken back */
} rt_cost_memory;
rt_status rt_cost_memory_of(const rt_trainer *sketch, rt_cost_memory *m, rt_error *err) RT_NODISCARD;

/* RT_E_NOMEM where the job needs more memory than run.memory_limit grants or than limits of the process let it map; the text says how
 * much, and which keys would make it fit, found by planning it with them. The sketch is planned anew meanwhile. */
rt_status rt_cost_fits(rt_trainer *sketch, int64_t head_rows, rt_error *err) RT_NODISCARD;
#endif
