/* job_command.h - what `retort distill` and `retort train` have in common on the command line. */
#ifndef RETORT_TRAIN_JOB_COMMAND_H
#define RETORT_TRAIN_JOB_COMMAND_H
#include <retort/base/command.h>
#include <retort/train/job.h>

typedef struct rt_job_arguments {
    const char *job, *teacher, *student, *out;
    rt_strings data, valid, set;
    bool resume, dry_run, profile;
} rt_job_arguments;

#define RT_JOB_OPTIONS                                                                                                 \
    RT_OPT_STRING(rt_job_arguments, job, NULL, "the configuration", .positional = true, .operand = "JOB.yaml"),        \
        RT_OPT_STRINGS(rt_job_arguments, data, NULL, "training files: .txt, .jsonl, .csv, .tsv, .bin, also .gz", .letter = 'd', .operand = "FILE..."), \
        RT_OPT_STRINGS(rt_job_arguments, valid, NULL, "validation files (none: the last 5 % of the training tokens)", .operand = "FILE..."), \
        RT_OPT_STRING(rt_job_arguments, student, NULL, "sizes of the student: tiny, small, base (none: for the teacher's width; small without one)", .operand = "SIZE"),  \
        RT_OPT_STRING(rt_job_arguments, out, NULL, "folder of the run", .letter = 'o', .operand = "DIR"),              \
        RT_OPT_STRINGS(rt_job_arguments, set, NULL, "any key of the configuration", .operand = "KEY=VALUE..."),        \
        RT_OPT_FLAG(rt_job_arguments, resume, "no", "continue from the newest sound checkpoint of --out"), \
        RT_OPT_FLAG(rt_job_arguments, profile, "no", "at the end, print where a step's time and memory went, by role")

/* Defaults < file < preset < options < --set, finished and checked. Free the job also after an error. */
rt_status rt_job_from_arguments(const rt_job_arguments *a, rt_job *job, rt_error *err) RT_NODISCARD;
/* Runs it, stopping cleanly at SIGINT or SIGTERM, and says where the result is; the profile, if wanted, goes to stdout. */
rt_status rt_job_execute(rt_context *c, const rt_job *job, const char *command, const rt_job_arguments *a, rt_error *err) RT_NODISCARD;
#endif
