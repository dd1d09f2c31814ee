/* distill.c - `retort distill`: teacher, student and data to checkpoints. */
#include <retort/train/job_command.h>

static const rt_option options[] = {
    RT_JOB_OPTIONS,
    RT_OPT_STRING(rt_job_arguments, teacher, NULL, "model directory of the teacher", .letter = 't', .operand = "DIR"),
    RT_OPT_END};

static rt_status execute(const rt_job_arguments *a, rt_job *job, rt_error *err) {
    RT_TRY(rt_job_from_arguments(a, job, err));
    if (!job->teacher.path) return rt_fail(err, RT_E_USAGE, "no teacher: give --teacher DIR or teacher.path (without a teacher: retort train)");
    return rt_job_execute(job, "distill", a->resume, err);
}

static rt_status run(rt_context *c, const void *given, rt_error *err) {
    rt_job job = {0};
    (void)c;
    rt_status s = execute(given, &job, err);
    rt_job_free(&job);
    return s;
}

const rt_command rt_command_distill = {
    "distill",
    "teach a small mixture-of-experts student from a large teacher",
    "JOB.yaml [--set KEY=VALUE...] | --teacher DIR --data FILE... --out DIR [--student SIZE]",
    "The teacher is a Hugging Face directory, used in the dtype of its files and never changed. The run goes into --out:\n"
    "log.jsonl and checkpoints/step-..., each a Hugging Face directory itself. 'retort show config --keys' lists every key.\n"
    "\n"
    "Sizes of --student:  width layers heads/kv ffn experts top-k\n"
    "  tiny                64    4     4/2    128    4      2\n"
    "  small              256    4     8/4    512    8      2\n"
    "  base               512    8     8/4   1024    8      2",
    options,
    sizeof(rt_job_arguments),
    run};
