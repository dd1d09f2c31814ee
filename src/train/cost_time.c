/* cost_time.c - the time of a step before it is made: what each operation has to do, divided by what this machine does,
 * by the efficiency of that kind of operation. An operation's time is a sum, not a maximum: its loops over rows do not
 * run beside its products. */
#include "kernels/measure.h"
#include <retort/train/cost.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

rt_status rt_cost_rates_measure(rt_cost_rates *r, rt_error *err) {
    double product, copy, exps;
    RT_TRY(rt_measure_product_rate(&product, err));
    RT_TRY(rt_measure_copy_rate(&copy, err));
    RT_TRY(rt_measure_exp_rate(&exps, err));
    *r = (rt_cost_rates){1e9 * product, 1e9 * copy, 1e9 * exps, rt_measure_region()};
    return RT_OK;
}

/* ------------------------------------------------------------ efficiencies */

typedef struct efficiency {
    const char *op;
    bool backward;
    double product, memory, exps; /* seconds, in units of the yardsticks' */
} efficiency;
static const efficiency table[] = {
#define X(op, backward, product, memory, exps) {#op, backward, product, memory, exps},
#include "train/cost_rates.def"
#undef X
};
static const efficiency usual = {"", false, 1, 1, 1};

static const efficiency *find(const char *op, bool backward) {
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (table[i].backward == backward && strcmp(table[i].op, op) == 0) return &table[i];
    return &usual;
}
/* What stays in a cache moves about four times as fast as what does not. */
enum { CACHED = 4 };
double rt_cost_seconds(const char *op, bool backward, const rt_work *w, const rt_cost_rates *r) {
    const efficiency *e = find(op, backward);
    return e->product * w->flops / r->product + e->memory * (w->bytes + w->inner / CACHED) / r->copy +
           e->exps * w->exps / r->exps;
}

/* -------------------------------------------------------------------- plans */

typedef struct sum {
    rt_cost_time *out; /* NULL: only the total */
    const rt_cost_rates *rates;
    double times;       /* runs of the plan in a step */
    double head_chunks; /* the head reads its matrices anew for every chunk of rows */
    double total;
} sum;

static void add_role(sum *s, const char *node, bool backward, double seconds) {
    char name[48];
    const char *dot = strrchr(node, '.');
    s->total += seconds;
    if (!s->out || seconds <= 0) return;
    snprintf(name, sizeof name, "%.*s%s%s", (int)strcspn(node, "."), node, dot ? dot : "", backward ? ".backward" : "");
    int i = 0;
    while (i < s->out->roles && strcmp(s->out->role[i].name, name) != 0) i++;
    if (i == RT_COST_ROLES) return;
    if (i == s->out->roles) snprintf(s->out->role[s->out->roles++].name, sizeof name, "%s", name);
    s->out->role[i].seconds += seconds;
}
static void add_node(void *context, const rt_graph_work *w) {
    sum *s = context;
    for (int backward = 0; backward < 2; backward++) {
        rt_work work = backward ? w->backward : w->forward;
        bool runs = work.flops + work.bytes + work.inner > 0;
        if (strcmp(w->op, "head") == 0) work.bytes *= s->head_chunks;
        if (runs)
            add_role(s, w->role, backward,
                     s->times * (rt_cost_seconds(w->op, backward, &work, s->rates) + s->rates->region));
    }
}
static double chunks(const rt_step_graph *g) {
    return g->head_rows > 0 ? (double)((g->rows + g->head_rows - 1) / g->head_rows) : 1;
}
static void add_plan(sum *s, const rt_graph *g, double head_chunks) {
    s->head_chunks = head_chunks;
    if (g) rt_graph_works(g, add_node, s);
}

/* The norm reads gradients; the update reads and writes masters and moments, reads gradients, writes rounded weights.
 */
double rt_cost_optimizer_bytes(const rt_trainer *t) {
    double f32 = 0, rounded = 0;
    for (int64_t i = 0; i < t->student.weights.count; i++) {
        double n = (double)rt_tensor_count(&t->student.weights.slots[i].t);
        f32 += n;
        if (t->student.weights.slots[i].t.dtype != RT_F32) rounded += n;
    }
    return (4 + 3 * 8 + 4) * f32 + 2 * rounded;
}
static void add_optimizer(sum *s, const rt_trainer *t) {
    rt_work w = {.bytes = rt_cost_optimizer_bytes(t)};
    add_role(s, "optimizer", false, rt_cost_seconds("optimizer", false, &w, s->rates) + s->rates->region);
}

static int by_seconds(const void *a, const void *b) {
    double x = ((const rt_cost_role *)a)->seconds, y = ((const rt_cost_role *)b)->seconds;
    return (x < y) - (x > y);
}

static double evaluations(const rt_job *job) {
    return job->run.eval_every > 0 ? (double)(job->schedule.steps / job->run.eval_every) : 1;
}

void rt_cost_time_of(const rt_trainer *t, const rt_cost_rates *r, rt_cost_time *out) {
    const rt_job *job = t->job;
    double rows = (double)(job->data.batch * job->data.sequence_length), micro = (double)job->data.accumulate;
    *out = (rt_cost_time){.tokens = rows * micro};
    sum step = {.out = out, .rates = r, .times = micro}, batch = {.rates = r, .times = 1};
    add_plan(&step, t->teacher.g, 1);
    if (t->projection) add_plan(&step, rt_projection_graph(t->projection), chunks(&t->graph));
    add_plan(&step, t->graph.g, chunks(&t->graph));
    add_optimizer(&step, t);
    add_plan(&batch, t->teacher.g, 1);
    for (int fit = 0; fit < 2; fit++) add_plan(&batch, rt_evaluator_projection(t->evaluator, fit), chunks(&t->graph));
    add_plan(&batch, rt_evaluator_graph(t->evaluator), chunks(&t->graph));
    double tokens = (double)t->estimate.valid_tokens;
    if (job->run.eval_tokens > 0 && (double)job->run.eval_tokens < tokens) tokens = (double)job->run.eval_tokens;
    out->evaluations = evaluations(job);
    out->step = step.total;
    out->evaluation = batch.total * (double)(int64_t)((tokens + rows - 1) / rows);
    out->run = (double)job->schedule.steps * out->step + out->evaluations * out->evaluation;
    qsort(out->role, (size_t)out->roles, sizeof *out->role, by_seconds);
}
