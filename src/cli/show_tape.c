/* show_tape.c - `retort show precision`, `show tape`, `show plan`: what a job would compute, in which precision and memory. Nothing runs. */
#include <retort/base/command.h>
#include <retort/infer/expert_report.h>
#include <retort/base/threads.h>
#include <retort/train/cost.h>
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

/* -------------------------------------------------------------------- plan */

static void print_stats(const char *name, const rt_graph *g, rt_buf *out) {
    rt_graph_stats s = rt_graph_stats_get(g);
    rt_buf_printf(out, "%-20s %5lld nodes %5lld steps  activations %9.2f MiB  packed weights %9.2f MiB  scratch a thread %7.2f MiB\n", name, (long long)s.nodes,
                  (long long)s.steps, (double)s.arena_bytes / 1048576, (double)s.cache_bytes / 1048576, (double)s.worker_scratch_bytes / 1048576);
}
static void print_plan(const arguments *a, const rt_trainer *t, rt_buf *out) {
    const rt_student *s = &t->student;
    double block = (double)(s->weights.block_bytes + s->grads.block_bytes + s->m.block_bytes + s->v.block_bytes + s->master.block_bytes);
    print_start(t, out);
    rt_cost_memory m;rt_error e={0};
    if (rt_cost_memory_of(t,&m,&e)!=RT_OK) return;
#define P(x) rt_buf_printf(out, "COST %s %.2f\n", #x, (double)m.x / 1048576)
    P(weights), P(masters), P(gradients), P(moments), P(training), P(evaluation), P(teacher_pages), P(teacher_packed), P(teacher_experts), P(teacher_activations);
    P(projector), P(scratch), P(tokens), P(batches), P(mapped), P(process), P(loading), P(starting), P(fitting),P(prefit), P(saving), P(peak), P(needed);
    print_stats("student, training", t->graph.g, out);
    print_stats("student, evaluation", rt_evaluator_graph(t->evaluator), out);
    if (t->teacher.g) print_stats("teacher", t->teacher.g, out);
    if (t->teacher_files.weights.bank) {
        rt_buf_printf(out, "%-20s ", "teacher's experts");
        rt_experts_text(&t->teacher_files.weights, out);
        rt_buf_puts(out, ", in place or packed at first use\n");
    }
    rt_buf_printf(out, "%-20s weights, gradients, moments, masters %9.2f MiB;  %lld rows of vocabulary scores at a time\n\n", "student", block / 1048576,
                  (long long)t->graph.head_rows);
    rt_graph_describe(graph_of(a, t), true, out);
}
static rt_status run_plan(rt_context *c, const void *given, rt_error *err) { return with_trainer(c, given, print_plan, err); }

const rt_command rt_command_show_precision = {
    "show precision", "the dtype of every role of a job", "JOB.yaml [--set KEY=VALUE...]",
    "Weights, activations and accumulators by role, for student, teacher, projector and loss: the policy that training, evaluation\n"
    "and export share, and that checkpoints store.",
    options, sizeof(arguments), run_precision};
const rt_command rt_command_show_tape = {
    "show tape", "the operations of a job, one a line", "JOB.yaml [--mode train|eval] [--model student|teacher]",
    "Each line: reference, operation, role, inputs, output shapes, contract (in weight acc out grad), accumulator, kernel.", options, sizeof(arguments), run_tape};
const rt_command rt_command_show_plan = {
    "show plan", "memory and the order of work of a job", "JOB.yaml [--mode train|eval] [--model student|teacher]",
    "Memory first, then the operations, then the planned steps: forward, what is computed again, backward.", options, sizeof(arguments), run_plan};
