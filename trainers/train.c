/* train.c - `retort train`: next-token training without a teacher: a teacher-to-be, or a baseline. The same loop. */
#include <retort/train/job_command.h>

static const rt_option options[] = {RT_JOB_OPTIONS, RT_OPT_END};

static rt_status execute(rt_context *c, const rt_job_arguments *a, rt_job *job, rt_error *err) {
    RT_TRY(rt_job_from_arguments(a, job, err));
    if (job->teacher.path) return rt_fail(err, RT_E_USAGE, "teacher.path is set: that is 'retort distill'");
    return rt_job_execute(c, job, "train", a, err);
}

static rt_status run(rt_context *c, const void *given, rt_error *err) {
    rt_job job = {0};
    rt_status s = execute(c, given, &job, err);
    rt_job_free(&job);
    return s;
}

const rt_command rt_command_train = {
    "train",
    "train a model on next tokens, without a teacher",
    "JOB.yaml [--set KEY=VALUE...] | --data FILE... --out DIR [--student SIZE] [--set KEY=VALUE...]",
    "The model is what the section 'student' describes; --set student.arch=llama makes it dense.\n"
    "Everything else is as in 'retort distill'.",
    options,
    sizeof(rt_job_arguments),
    run};
