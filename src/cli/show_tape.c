/* show_tape.c - `retort show precision`, `show tape`: what a job would compute, and in which precision. Nothing runs, nothing is taken. */
#include <retort/base/command.h>
#include <retort/base/threads.h>
#include <retort/train/trainer.h>
#include <string.h>

typedef struct arguments {
    const char *job, *mode, *model;
    rt_strings set;
} arguments;

static const char *const modes[] = {"train", "eval", NULL};
static const char *const models[] = {"student", "teacher", NULL};
static const rt_option options[] = {
    RT_OPT_STRING(arguments, job, NULL, "the configuration", .positional = true, .operand = "JOB.yaml", .required = true),
    RT_OPT_NAME(arguments, mode, "train", modes, "the training or the evaluation plan of the student"),
    RT_OPT_NAME(arguments, model, "student", models, "whose"),
    RT_OPT_STRINGS(arguments, set, NULL, "assignments, as retort distill takes them", .operand = "KEY=VALUE..."), RT_OPT_END};

typedef void (*printer)(const arguments *a, const rt_trainer *t, rt_buf *out);

static rt_status with_trainer(rt_context *c, const arguments *a, printer print, rt_error *err) {
    rt_job job;
    rt_trainer *t = NULL;
    rt_buf page = {0};
    RT_TRY(rt_job_load(a->job, a->set.item, a->set.count, &job, err));
    rt_threads_set((int)job.run.threads);
    rt_status s = rt_trainer_sketch(&t, &job, 0, err);
    if (s == RT_OK && strcmp(a->model, "teacher") == 0 && !job.teacher.path) s = rt_fail(err, RT_E_USAGE, "this job has no teacher");
    if (s == RT_OK) {
        print(a, t, &page);
        s = rt_out_buf(c, &page, err);
    }
    rt_trainer_close(t);
    rt_job_free(&job);
    return s;
}

static void print_start(const rt_trainer *t, rt_buf *out) {
    rt_buf_puts(out, "start: ");
    rt_start_text(&t->student, t->job, t->source, out);
    rt_buf_putc(out, '\n');
}

static const rt_graph *graph_of(const arguments *a, const rt_trainer *t) {
    if (strcmp(a->model, "teacher") == 0) return t->teacher.g;
    return strcmp(a->mode, "eval") == 0 ? rt_evaluator_graph(t->evaluator) : t->graph.g;
}

/* --------------------------------------------------------------- precision */

static void print_precision(const arguments *a, const rt_trainer *t, rt_buf *out) {
    char text[48];
    (void)a;
    rt_buf_puts(out, "student\n");
    rt_precision_table(&t->student.precision, out);
    rt_buf_puts(out, "masters, gradients, moments: f32\n");
    print_start(t, out);
    if (t->job->teacher.path) {
        rt_buf_puts(out, "\nteacher (frozen)\n");
        rt_precision_table(&t->teacher_files.precision, out);
    }
    if (t->projector) {
        bool shared = rt_projector_kind_of(t->projector) == RT_PROJECTOR_SHARED;
        rt_buf_printf(out, "\nprojector: %s; hidden x matrix: %s (in weight acc out grad)\n", shared ? "shared, the teacher's own matrix" : "factored, in the teacher's dtype, f32 masters",
                      rt_prec_text(rt_projector_prec(t->projector), text));
    }
    rt_buf_printf(out, "\nloss: logits f32, sums f64 over the vocabulary tiles and positions; router scores, weights and losses f32 with f64 sums\n");
}
static rt_status run_precision(rt_context *c, const void *given, rt_error *err) { return with_trainer(c, given, print_precision, err); }

/* -------------------------------------------------------------------- tape */

static void print_tape(const arguments *a, const rt_trainer *t, rt_buf *out) { rt_graph_describe(graph_of(a, t), false, out); }
static rt_status run_tape(rt_context *c, const void *given, rt_error *err) { return with_trainer(c, given, print_tape, err); }

const rt_command rt_command_show_precision = {
    "show precision", "the dtype of every role of a job", "JOB.yaml [--set KEY=VALUE...]",
    "Weights, activations and accumulators by role, for student, teacher, projector and loss: the policy that training, evaluation\n"
    "and export share, and that checkpoints store.",
    options, sizeof(arguments), run_precision};
const rt_command rt_command_show_tape = {
    "show tape", "the operations of a job, one a line", "JOB.yaml [--mode train|eval] [--model student|teacher]",
    "Each line: reference, operation, role, inputs, output shapes, contract (in weight acc out grad), accumulator, kernel.", options, sizeof(arguments), run_tape};
