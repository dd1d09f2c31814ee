/* distill.c - `retort distill`: teacher, student and data to checkpoints. */
#include <retort/train/job_command.h>

static const rt_option options[] = {
    RT_JOB_OPTIONS,
    RT_OPT_STRING(rt_job_arguments, teacher, NULL, "model directory of the teacher", .letter = 't', .operand = "DIR"),
    RT_OPT_END};

static rt_status execute(rt_context *c, const rt_job_arguments *a, rt_job *job, rt_error *err) {
    RT_TRY(rt_job_from_arguments(a, job, err));
    if (!job->teacher.path) return rt_fail(err, RT_E_USAGE, "no teacher: give --teacher DIR or teacher.path (without a teacher: retort train)");
    return rt_job_execute(c, job, "distill", a, err);
}

static rt_status run(rt_context *c, const void *given, rt_error *err) {
    rt_job job = {0};
    rt_status s = execute(c, given, &job, err);
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
    "Sizes of --student (without it, and without a job: tiny below a teacher width of 256, small below 1024, else base):\n"
    "  tiny   width  64, 2 layers, heads 4/2, experts 4 x  128, 2 a token\n"
    "  small  width 256, 4 layers, heads 8/4, experts 8 x  512, 2 a token\n"
    "  base   width 512, 8 layers, heads 8/4, experts 8 x 1024, 2 a token",
    options,
    sizeof(rt_job_arguments),
    run};
