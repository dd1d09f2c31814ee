/* run.h - a whole run: the loop, the log, checkpoints, interruption, resumption. What `retort distill` and `retort train` do. */
#ifndef RETORT_TRAIN_RUN_H
#define RETORT_TRAIN_RUN_H
#include <retort/train/trainer.h>
#include <signal.h>

typedef struct rt_run_options {
    bool resume;                        /* continue from the newest sound checkpoint of run.out; without one: begin */
    const volatile sig_atomic_t *stop;  /* not 0: finish the step, save, RT_E_INTERRUPTED. NULL: never */
    const char *command;                /* for the log: "distill" */
    rt_buf *profile;                    /* not NULL: the run is profiled, no bit of it changes, and here comes the table; freed by the caller */
} rt_run_options;

typedef struct rt_run_result {
    int64_t steps;             /* optimizer steps of the whole run so far */
    rt_evaluation evaluation;  /* the last one */
    char checkpoint[4096];     /* the last one saved */
} rt_run_result;

/* Runs the job into job->run.out: log.jsonl, checkpoints/. Lines for people go through rt_log.
 * RT_E_CONFIG: run.out not set, or it holds a run and resume is not asked for. */
rt_status rt_run(const rt_job *job, const rt_run_options *o, rt_run_result *result, rt_error *err) RT_NODISCARD;
#endif
