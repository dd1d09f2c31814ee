/* job_private.h - what job.c, job_tables.c, job_student.c, job_check.c and job_presets.c share. */
#ifndef RETORT_TRAIN_JOB_PRIVATE_H
#define RETORT_TRAIN_JOB_PRIVATE_H
#include <retort/train/job.h>

/* What a loss asks of the rest of the job. */
typedef struct rt_job_loss {
    const char *name;
    bool teacher, logits, routers; /* needs a teacher; its logits; expert routing */
} rt_job_loss;
extern const char *const rt_job_loss_names[];
const rt_job_loss *rt_job_loss_find(const char *name);

rt_status rt_job_default_objective(rt_job *job, rt_error *err) RT_NODISCARD; /* where none is given */
rt_status rt_job_check(const rt_job *job, rt_error *err) RT_NODISCARD;       /* keys against each other */
rt_status rt_job_resolve_student(rt_job *job, rt_error *err) RT_NODISCARD;   /* family and sizes where they are unset */
rt_status rt_job_resolve_family(rt_job *job, rt_error *err) RT_NODISCARD;    /* student.arch: auto */
bool rt_job_moe(const rt_job *job);                                          /* the student's family has experts */
#endif
