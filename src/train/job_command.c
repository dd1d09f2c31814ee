/* job_command.c - from a command line to a job, and its execution with signals handled. */
#include <retort/infer/frozen.h>
#include <retort/train/job_command.h>
#include <retort/train/run.h>
#include <stdio.h>
#include <string.h>

static rt_status set_text(rt_job *job, const char *key, const char *value, rt_error *err) {
    rt_buf b = {0};
    rt_buf_printf(&b, "%s=%s", key, value);
    rt_status s = b.failed ? rt_fail(err, RT_E_NOMEM, "out of memory") : rt_job_set(job, b.data, err);
    rt_buf_free(&b);
    return s;
}

/* A YAML list with quoted items, so that any path may stand in it. */
static rt_status set_list(rt_job *job, const char *key, const rt_strings *items, rt_error *err) {
    json_t *list = json_array();
    rt_buf b = {0};
    for (int64_t i = 0; list && i < items->count; i++) json_array_append_new(list, json_string(items->item[i]));
    rt_json_dump(list, 0, &b);
    json_decref(list);
    rt_status s = b.failed ? rt_fail(err, RT_E_NOMEM, "out of memory") : set_text(job, key, b.data, err);
    rt_buf_free(&b);
    return s;
}

static bool names_student(const rt_job_arguments *a) {
    if (a->job || a->student) return true;
    for (int64_t i = 0; i < a->set.count; i++)
        if (strncmp(a->set.item[i], "student", 7) == 0) return true;
    return false;
}
/* Nothing said of the student: the largest usual size that is not wider than the teacher. */
static rt_status size_for_teacher(const rt_job_arguments *a, rt_job *job, rt_error *err) {
    rt_model_config teacher;
    rt_buf config = {0};
    char *path;
    if (names_student(a) || !a->teacher) return RT_OK;
    RT_TRY(rt_model_path(a->teacher, &path, err));
    rt_buf_printf(&config, "%s/config.json", path);
    rt_free(path);
    rt_status s = config.failed ? rt_fail(err, RT_E_NOMEM, "out of memory") : rt_hf_config_read(config.data, &teacher, err);
    rt_buf_free(&config);
    RT_TRY(s);
    const char *size = teacher.hidden_size >= 1024 ? "base" : teacher.hidden_size >= 256 ? "small" : "tiny";
    rt_log(RT_LOG_INFO, "student: size %s, for a teacher of width %lld (--student chooses another)", size, (long long)teacher.hidden_size);
    return rt_job_preset(job, size, err);
}

/* The family first: a preset of a dense one has no experts. */
static rt_status set_family(const rt_job_arguments *a, rt_job *job, rt_error *err) {
    for (int64_t i = 0; i < a->set.count; i++)
        if (strncmp(a->set.item[i], "student.arch=", 13) == 0) RT_TRY(rt_job_set(job, a->set.item[i], err));
    return RT_OK;
}

rt_status rt_job_from_arguments(const rt_job_arguments *a, rt_job *job, rt_error *err) {
    RT_TRY(rt_job_init(job, err));
    if (a->job) RT_TRY(rt_job_read(job, a->job, err));
    RT_TRY(set_family(a, job, err));
    if (a->student) RT_TRY(rt_job_preset(job, a->student, err));
    RT_TRY(size_for_teacher(a, job, err));
    if (a->teacher) RT_TRY(set_text(job, "teacher.path", a->teacher, err));
    if (a->data.count) RT_TRY(set_list(job, "data.train", &a->data, err));
    if (a->valid.count) RT_TRY(set_list(job, "data.valid", &a->valid, err));
    if (a->out) RT_TRY(set_text(job, "run.out", a->out, err));
    RT_TRY(rt_job_set_all(job, a->set.item, a->set.count, err));
    return rt_job_finish(job, err);
}

/* ----------------------------------------------------------------- signals */

static volatile sig_atomic_t stop;
static void on_signal(int number) {
    if (stop) signal(number, SIG_DFL); /* a third one kills */
    stop = stop + 1;
}

rt_status rt_job_execute(rt_context *c, const rt_job *job, const char *command, const rt_job_arguments *a, rt_error *err) {
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART}, old_int, old_term;
    rt_run_result result;
    rt_buf profile = {0};
    sigaction(SIGINT, &action, &old_int);
    sigaction(SIGTERM, &action, &old_term);
    rt_status s = rt_run(job, &(rt_run_options){.resume = a->resume, .stop = &stop, .command = command, .profile = a->profile ? &profile : NULL}, &result, err);
    sigaction(SIGINT, &old_int, NULL);
    sigaction(SIGTERM, &old_term, NULL);
    if (s == RT_OK) rt_log(RT_LOG_INFO, "done: %lld steps; %s", (long long)result.steps, result.checkpoint);
    rt_error ignored = {0};
    rt_status printed = rt_out_buf(c, &profile, s == RT_OK ? err : &ignored);
    return s == RT_OK ? printed : s;
}
