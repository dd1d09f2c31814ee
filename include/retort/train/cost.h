/* cost.h - what a job will cost, before it costs it: memory from the plans of a sketched trainer (trainer.h), byte for
 * byte what the run takes; nothing of it is taken here. No number of a run depends on this.
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
    int64_t weights, masters, gradients, moments; /* the student; gradients of one micro-batch lie in the plan: 0 */
    int64_t plans, outputs; /* of all plans: the block they share; what outlives a run, and lies beside it */
    int64_t teacher_pages;  /* of its files: read where they lie in every step */
    int64_t teacher_packed, teacher_experts;
    int64_t projector;       /* with its plans */
    int64_t scratch;         /* of all threads */
    int64_t tokens, batches; /* of texts; of the loader */
    int64_t mapped;          /* shards: the system takes these pages back when it needs them */
    int64_t process;         /* program, libraries, tokenizer, descriptions of the graphs */
    int64_t loading, starting, fitting, prefit, saving; /* for a while only: beside what is there at that time */
    int64_t peak;                                       /* the greatest resident set of the run */
    int64_t needed;                                     /* of the peak, what cannot be taken back */
} rt_cost_memory;
rt_status rt_cost_memory_of(const rt_trainer *sketch, rt_cost_memory *m, rt_error *err) RT_NODISCARD;

/* What run.memory_limit grants `needed`, in all; INT64_MAX: no bound. */
int64_t rt_cost_granted(const rt_job *job);
/* RT_E_NOMEM where the job needs more memory than run.memory_limit grants or than limits of the process let it map; the
 * text says how much, and which keys would make it fit, found by planning it with them. The sketch is planned anew
 * meanwhile. */
rt_status rt_cost_fits(rt_trainer *sketch, int64_t head_rows, rt_error *err) RT_NODISCARD;

/* ---------------------------------------------------------------------------------------------------------------- time
 */

/* What this machine does now, all threads together (kernels/measure.h, about a second): the yardsticks of `retort
 * doctor`. */
typedef struct rt_cost_rates {
    double product; /* flops a second: products of large tiles */
    double copy;    /* bytes a second, read and written, of blocks beyond the caches */
    double exps;    /* exponentials a second */
    double region;  /* seconds of a parallel loop without work */
} rt_cost_rates;
rt_status rt_cost_rates_measure(rt_cost_rates *r, rt_error *err) RT_NODISCARD;

/* Seconds of one run of an operation that has to do `w` at least, by the efficiency of its kind (cost_rates.def). */
double rt_cost_seconds(const char *op, bool backward, const rt_work *w, const rt_cost_rates *r);

double rt_cost_optimizer_bytes(
    const rt_trainer *sketch); /* that an optimizer step moves; its efficiency is that of "optimizer" */

enum { RT_COST_ROLES = 64 };
typedef struct rt_cost_role {
    char name[48]; /* "teacher.qkv", "student.experts.backward": of all layers */
    double seconds;
} rt_cost_role;
typedef struct rt_cost_time {
    rt_cost_role role[RT_COST_ROLES]; /* of a step, the greatest first */
    int roles;
    double step;                    /* seconds of an optimizer step */
    double evaluation, evaluations; /* of one; how many a run has */
    double run;                     /* of the whole schedule with its evaluations */
    double tokens;                  /* of a step */
} rt_cost_time;
void rt_cost_time_of(const rt_trainer *sketch, const rt_cost_rates *r, rt_cost_time *out);
#endif
