/* show_config.c - `retort show config`: a job with every key resolved, as it will be written into the run and its
 * checkpoints. */
#include <retort/base/command.h>
#include <retort/train/job.h>

typedef struct arguments {
    const char *job;
    rt_strings set;
    bool keys;
} arguments;

static const rt_option options[] = {
    RT_OPT_STRING(arguments, job, NULL, "the configuration", .positional = true, .operand = "JOB.yaml"),
    RT_OPT_STRINGS(arguments, set, NULL, "assignments, as retort distill takes them", .operand = "KEY=VALUE..."),
    RT_OPT_FLAG(arguments, keys, "no", "instead: every key there is, with its default and meaning"), RT_OPT_END};

static rt_status run(rt_context *c, const void *given, rt_error *err) {
    const arguments *a = given;
    rt_buf page = {0};
    rt_job job;
    if (a->keys) {
        rt_job_help(&page);
        rt_buf_puts(&page, "\nSizes of --student:\n");
        rt_job_presets(&page);
        return rt_out_buf(c, &page, err);
    }
    if (!a->job) return rt_fail(err, RT_E_USAGE, "missing JOB.yaml (or --keys)");
    RT_TRY(rt_job_load(a->job, a->set.item, a->set.count, &job, err));
    rt_status s = rt_out_json(c, rt_job_json(&job), err);
    rt_job_free(&job);
    return s;
}

const rt_command rt_command_show_config = {"show config",
                                           "a job's configuration, every key resolved",
                                           "JOB.yaml [--set KEY=VALUE...] | --keys",
                                           "Prints JSON, which is YAML too: read back it is the same job.",
                                           options,
                                           sizeof(arguments),
                                           run};
