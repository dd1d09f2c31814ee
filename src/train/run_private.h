/* run_private.h - between run.c, run_log.c and run_resume.c. */
#ifndef RT_TRAIN_RUN_PRIVATE_H
#define RT_TRAIN_RUN_PRIVATE_H
#include <retort/base/log.h>
#include <retort/train/run.h>
#include "train/run_profile.h"

typedef struct rt_run_state {
    const rt_job *job;
    const rt_run_options *o;
    rt_trainer *t;
    rt_runlog *log;
    char root[4096];     /* run.out/checkpoints */
    char log_path[4096]; /* run.out/log.jsonl */
    int64_t saved_step, evaluated_step;
    double step_seconds; /* running mean, for the ETA */
    rt_run_profile *profile; /* NULL: none is wanted */
    rt_run_result *result;
} rt_run_state;

/* Records; each also says its line for people, where there is one. */
rt_status rt_record_run(rt_run_state *r, const char *resumed_from, rt_error *err) RT_NODISCARD; /* NULL: from the beginning */
rt_status rt_record_step(rt_run_state *r, const rt_step_report *s, rt_error *err) RT_NODISCARD;
rt_status rt_record_evaluation(rt_run_state *r, const rt_evaluation *v, rt_error *err) RT_NODISCARD;
rt_status rt_record_checkpoint(rt_run_state *r, const char *path, rt_error *err) RT_NODISCARD;
rt_status rt_record_profile(rt_run_state *r, rt_error *err) RT_NODISCARD;
rt_status rt_record_warning(rt_run_state *r, const char *text, rt_error *err) RT_NODISCARD;

/* The newest sound checkpoint, or NULL: a fresh run. *keep: bytes of the log that belong to it; *head_rows as stored. */
rt_status rt_resume_find(rt_run_state *r, char **checkpoint, int64_t *keep, int64_t *head_rows, rt_error *err) RT_NODISCARD;
#endif
