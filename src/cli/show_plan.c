/* show_plan.c - `retort show plan`: what a job will take, memory and time, before it takes it; and the order of its
 * work. */
#include <retort/base/command.h>
#include <retort/base/threads.h>
#include <retort/infer/expert_report.h>
#include <retort/train/cost.h>
#include <string.h>

typedef struct arguments {
    const char *job, *mode, *model;
    rt_strings set;
    bool steps, fast, json;
} arguments;

static const char *const modes[] = {"train", "eval", NULL};
static const char *const models[] = {"student", "teacher", NULL};
static const rt_option options[] = {
    RT_OPT_STRING(arguments, job, NULL, "the configuration", .positional = true, .operand = "JOB.yaml",
                  .required = true),
    RT_OPT_FLAG(arguments, steps, "no", "the operations too, and the planned order of work"),
    RT_OPT_NAME(arguments, mode, "train", modes, "with --steps: the training or the evaluation plan of the student"),
    RT_OPT_NAME(arguments, model, "student", models, "with --steps: whose"),
    RT_OPT_FLAG(arguments, fast, "no", "measure nothing: no prediction of time"),
    RT_OPT_FLAG(arguments, json, "no", "print JSON"),
    RT_OPT_STRINGS(arguments, set, NULL, "assignments, as retort distill takes them", .operand = "KEY=VALUE..."),
    RT_OPT_END};

typedef struct page {
    const rt_trainer *t;
    rt_cost_memory memory;
    rt_cost_rates rates; /* product 0: not measured */
    rt_cost_time time;
} page;

/* ------------------------------------------------------------------ memory */

typedef struct part {
    const char *key, *text;
    int64_t bytes;
} part;
enum { PARTS = 20 };
static void list_parts(const rt_cost_memory *m, part p[PARTS]) {
    const part all[PARTS] = {{"weights", "student: weights", m->weights},
                             {"masters", "student: masters, f32", m->masters},
                             {"gradients", "student: gradients, f32", m->gradients},
                             {"moments", "student: moments, f32", m->moments},
                             {"plans", "activations and gradients of all plans, one after another", m->plans},
                             {"outputs", "results that plans leave for each other", m->outputs},
                             {"teacher_pages", "teacher: weights used where they lie, mapped", m->teacher_pages},
                             {"teacher_packed", "teacher: weights packed for the products", m->teacher_packed},
                             {"teacher_experts", "teacher: experts", m->teacher_experts},
                             {"projector", "projector, with its plans", m->projector},
                             {"scratch", "scratch of all threads", m->scratch},
                             {"tokens", "data: tokens of texts", m->tokens},
                             {"batches", "data: batches", m->batches},
                             {"mapped", "data: shards, mapped; given back when memory is short", m->mapped},
                             {"process", "program, libraries, tokenizer", m->process},
                             {"loading", "for a while, reading texts", m->loading},
                             {"starting", "for a while, the weights to begin with", m->starting},
                             {"fitting", "for a while, the projector's closed form", m->fitting},
                             {"prefit", "for a while, the projector's pre-fit", m->prefit},
                             {"saving", "for a while, a weight on its way to a checkpoint", m->saving}};
    memcpy(p, all, sizeof all);
}

static double mib(int64_t bytes) { return (double)bytes / 1048576; }
static void add_memory(const page *p, rt_buf *out) {
    part parts[PARTS];
    int64_t granted = rt_cost_granted(p->t->job);
    list_parts(&p->memory, parts);
    rt_buf_printf(out, "\n%-62s %12s\n", "memory", "MiB");
    for (int i = 0; i < PARTS; i++)
        if (parts[i].bytes >= 1 << 16) rt_buf_printf(out, "  %-60s %12.1f\n", parts[i].text, mib(parts[i].bytes));
    rt_buf_printf(out, "  %-60s %12.1f\n", "peak, resident", mib(p->memory.peak));
    if (granted < INT64_MAX)
        rt_buf_printf(out, "  %-60s %12.1f\n", p->t->job->run.memory_limit > 0 ? "run.memory_limit" : "there is",
                      mib(granted));
}

/* -------------------------------------------------------------------- time */

static void add_duration(double s, rt_buf *out) {
    if (s < 100)
        rt_buf_printf(out, "%.0f s", s);
    else if (s < 5400)
        rt_buf_printf(out, "%.0f min", s / 60);
    else
        rt_buf_printf(out, "%.1f h", s / 3600);
}
enum { TOP = 12 };
static void add_time(const page *p, rt_buf *out) {
    const rt_cost_time *t = &p->time;
    double rest = t->step;
    rt_buf_printf(out, "\n%-62s %12s %9s\n", "time of a step", "ms", "share");
    for (int i = 0; i < t->roles && i < TOP; i++) {
        rt_buf_printf(out, "  %-60s %12.1f %7.1f %%\n", t->role[i].name, 1e3 * t->role[i].seconds,
                      100 * t->role[i].seconds / t->step);
        rest -= t->role[i].seconds;
    }
    if (t->roles > TOP) rt_buf_printf(out, "  %-60s %12.1f %7.1f %%\n", "all else", 1e3 * rest, 100 * rest / t->step);
    rt_buf_printf(out, "  %-60s %12.1f\n", "together", 1e3 * t->step);
    rt_buf_printf(out, "\n%.0f tokens/s; %lld steps and %.0f evaluation%s of ", t->tokens / t->step,
                  (long long)p->t->job->schedule.steps, t->evaluations, t->evaluations == 1 ? "" : "s");
    add_duration(t->evaluation, out);
    rt_buf_puts(out, ": ");
    add_duration(t->run, out);
    rt_buf_printf(out,
                  "\nby what %d thread%s do%s now: products %.0f GFLOP/s, copies %.1f GB/s, exponentials %.1f G/s\n",
                  rt_threads(), rt_threads() == 1 ? "" : "s", rt_threads() == 1 ? "es" : "", 1e-9 * p->rates.product,
                  1e-9 * p->rates.copy, 1e-9 * p->rates.exps);
}

/* -------------------------------------------------------------------- page */

static void add_head(const page *p, rt_buf *out) {
    const rt_job *job = p->t->job;
    rt_param_count n = rt_model_parameters(&p->t->config);
    rt_buf_puts(out, "start: ");
    rt_start_text(&p->t->student, job, p->t->source, out);
    rt_buf_printf(out, "\nstudent: %s, %.2f M parameters, %.2f M active; a step: %lld x %lld x %lld tokens\n",
                  p->t->config.arch->name, (double)n.total / 1e6, (double)n.active / 1e6,
                  (long long)job->data.accumulate, (long long)job->data.batch, (long long)job->data.sequence_length);
    rt_buf_printf(out, "data: %s%lld tokens, %lld to validate on; %lld rows of vocabulary scores at a time\n",
                  p->t->estimate.exact ? "" : "about ", (long long)p->t->estimate.train_tokens,
                  (long long)p->t->estimate.valid_tokens, (long long)p->t->graph.head_rows);
    if (p->t->teacher_files.weights.bank) {
        rt_buf_puts(out, "teacher's experts: ");
        rt_experts_text(&p->t->teacher_files.weights, out);
        rt_buf_puts(out, ", in place or packed at first use\n");
    }
}
static const rt_graph *graph_of(const arguments *a, const rt_trainer *t) {
    if (strcmp(a->model, "teacher") == 0) return t->teacher.g;
    return strcmp(a->mode, "eval") == 0 ? rt_evaluator_graph(t->evaluator) : t->graph.g;
}
static void add_steps(const arguments *a, const page *p, rt_buf *out) {
    rt_buf_putc(out, '\n');
    rt_graph_describe(graph_of(a, p->t), true, out);
}
static rt_status print_text(rt_context *c, const arguments *a, const page *p, rt_error *err) {
    rt_buf out = {0};
    add_head(p, &out);
    add_memory(p, &out);
    if (p->rates.product > 0) add_time(p, &out);
    if (a->steps) add_steps(a, p, &out);
    return rt_out_buf(c, &out, err);
}

static json_t *memory_json(const page *p) {
    part parts[PARTS];
    list_parts(&p->memory, parts);
    int64_t granted = rt_cost_granted(p->t->job);
    json_t *o = json_pack("{s:I, s:I}", "peak", (json_int_t)p->memory.peak, "needed", (json_int_t)p->memory.needed);
    bool ok = o && json_object_set_new(o, "granted", granted < INT64_MAX ? json_integer(granted) : json_null()) == 0;
    for (int i = 0; i < PARTS; i++) ok = ok && json_object_set_new(o, parts[i].key, json_integer(parts[i].bytes)) == 0;
    return ok ? o : (json_decref(o), NULL);
}
static json_t *time_json(const page *p) {
    const rt_cost_time *t = &p->time;
    json_t *o = json_pack("{s:f, s:f, s:f, s:f, s:f, s:{s:f, s:f, s:f, s:i}}", "step_seconds", t->step, "tokens_per_s",
                          t->tokens / t->step, "evaluation_seconds", t->evaluation, "evaluations", t->evaluations,
                          "run_seconds", t->run, "rates", "product_gflops", 1e-9 * p->rates.product, "copy_gbytes",
                          1e-9 * p->rates.copy, "gexps", 1e-9 * p->rates.exps, "threads", rt_threads());
    json_t *roles = json_object();
    bool ok = o && roles;
    for (int i = 0; ok && i < t->roles; i++)
        ok = json_object_set_new(roles, t->role[i].name, json_real(t->role[i].seconds)) == 0;
    ok = (o && json_object_set_new(o, "roles", roles) == 0) && ok;
    return ok ? o : (json_decref(o), NULL);
}
static rt_status print_json(rt_context *c, const page *p, rt_error *err) {
    const rt_corpus_estimate *e = &p->t->estimate;
    return rt_out_json(c,
                       json_pack("{s:o, s:o*, s:I, s:I, s:b}", "memory", memory_json(p), "time",
                                 p->rates.product > 0 ? time_json(p) : NULL, "train_tokens",
                                 (json_int_t)e->train_tokens, "valid_tokens", (json_int_t)e->valid_tokens,
                                 "tokens_exact", e->exact),
                       err);
}

/* --------------------------------------------------------------------- run */

/* The page comes first, then what is wrong with it. */
static rt_status tell(rt_context *c, const arguments *a, rt_trainer *t, rt_error *err) {
    page p = {.t = t};
    rt_error why = {0};
    if (strcmp(a->model, "teacher") == 0 && !t->job->teacher.path)
        return rt_fail(err, RT_E_USAGE, "this job has no teacher");
    RT_TRY(rt_cost_memory_of(t, &p.memory, err));
    rt_status fits = rt_cost_fits(t, 0, &why);
    if (fits == RT_OK && !a->fast) RT_TRY(rt_cost_rates_measure(&p.rates, err));
    if (p.rates.product > 0) rt_cost_time_of(t, &p.rates, &p.time);
    RT_TRY(a->json ? print_json(c, &p, err) : print_text(c, a, &p, err));
    return fits == RT_OK ? RT_OK : rt_fail(err, fits, "%s", why.text);
}
static rt_status run(rt_context *c, const void *given, rt_error *err) {
    const arguments *a = given;
    rt_job job;
    rt_trainer *t;
    RT_TRY(rt_job_load(a->job, a->set.item, a->set.count, &job, err));
    rt_threads_set((int)job.run.threads);
    rt_status s = rt_trainer_sketch(&t, &job, 0, err);
    if (s == RT_OK) s = tell(c, a, t, err);
    rt_trainer_close(t);
    rt_job_free(&job);
    return s;
}

const rt_command rt_command_show_plan = {"show plan",
                                         "memory and time that a job will take",
                                         "JOB.yaml [--set KEY=VALUE...] [--json]",
                                         "Predicted from the plans themselves, none of which takes its memory: what "
                                         "the run will have in memory at most, and how long a step\n"
                                         "will be by what this machine does now (about a second is measured). A job "
                                         "that needs more memory than there is, or than\n"
                                         "run.memory_limit grants, is refused as `retort distill` and `retort train` "
                                         "refuse it: exit code 5, with keys that would make it fit.",
                                         options,
                                         sizeof(arguments),
                                         run};
