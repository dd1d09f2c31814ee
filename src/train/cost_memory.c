/* cost_memory.c - the memory of a run: the sizes of all its parts, and which of them are there at the same time. */
#include "kernels/gemm.h"
#include "train/trainer_private.h"
#include <retort/base/room.h>
#include <retort/base/threads.h>
#include <retort/graph/workspace.h>
#include <retort/train/cost.h>

static int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }
static rt_graph_stats stats_of(const rt_graph *g) { return g ? rt_graph_stats_get(g) : (rt_graph_stats){0}; }

/* ----------------------------------------------------------------- process */

/* Libraries make kernels and buffers of their own at the first product of a thread. */
enum { TRY = 256 };
static void product(void *context, int64_t task, int worker) {
    static const char kinds[] = "NNNTTN";
    float *m = context;
    (void)worker;
    for (int k = 0; k < 6; k += 2)
        rt_gemm_f32(kinds[k], kinds[k + 1], TRY, TRY, TRY, 1, m, TRY, m + TRY * TRY, TRY, 0, m + (2 + task) * TRY * TRY,
                    TRY);
}
static rt_status warm_libraries(rt_error *err) {
    int64_t tasks = 4 * rt_threads();
    float *m = rt_zalloc((size_t)((2 + tasks) * TRY * TRY) * sizeof *m);
    if (!m) return rt_fail(err, RT_E_NOMEM, "out of memory: a first product");
    rt_parallel(tasks, product, m);
    rt_free(m);
    return RT_OK;
}

/* ----------------------------------------------------------------- teacher */

/* The output matrix is read by the student's head. A tied one is the embedding, which the teacher's own graph reads. */
static int64_t output_pages(const rt_trainer *t) {
    const rt_weights *w = &t->teacher_files.weights;
    if (w->config.tie_embeddings) return 0;
    return (int64_t)rt_tensor_bytes(&w->slots[rt_weights_find(w, RT_WEIGHT_HEAD, -1)].t);
}
static int64_t experts(const rt_weights *w) {
    if (!w->bank) return 0;
    rt_bank_stats s = rt_bank_stats_get(w->bank);
    return s.unit_bytes * (s.capacity < s.units ? s.capacity : s.units);
}
static void add_teacher(const rt_trainer *t, rt_cost_memory *m) {
    if (!t->job->teacher.path) return;
    rt_graph_stats s = stats_of(t->teacher.g);
    m->teacher_pages = s.constant_bytes + output_pages(t);
    m->teacher_packed = s.cache_bytes;
    m->teacher_experts = experts(&t->teacher_files.weights);
}

/* ------------------------------------------------------------ all together */

/* Of a plan, what lies beside the block that all of them share. Every plan reserves scratch; it is the largest one's. */
static void add_plan(rt_cost_memory *m, const rt_graph *g, int64_t *beside) {
    rt_graph_stats s = stats_of(g);
    *beside += s.own_bytes;
    m->scratch = most(m->scratch, s.worker_scratch_bytes * rt_threads());
}
static void add_plans(const rt_trainer *t, rt_cost_memory *m) {
    add_plan(m, t->graph.g, &m->outputs);
    add_plan(m, rt_evaluator_graph(t->evaluator), &m->outputs);
    if (t->teacher.g) add_plan(m, t->teacher.g, &m->outputs);
    if (!t->projector) return;
    m->projector = rt_projector_bytes(t->projector);
    add_plan(m, rt_projection_graph(t->projection), &m->projector);
    for (int fit = 0; fit < 2; fit++) add_plan(m, rt_evaluator_projection(t->evaluator, fit), &m->projector);
}

static int64_t largest_half(const rt_hf *files) {
    int64_t largest = 0;
    for (int64_t i = 0; i < rt_weight_count(rt_hf_config(files)); i++) {
        const rt_tensor *w = rt_hf_weight(files, i);
        if (rt_dtype_is_half(w->dtype)) largest = most(largest, rt_tensor_count(w) * (int64_t)sizeof(float));
    }
    return largest;
}
/* A plan that is opened for the pre-fit alone, beside the one of training; the closed form before it is over then. */
static rt_status add_fitting(const rt_trainer *t, rt_cost_memory *m, rt_error *err) {
    rt_projection *x;
    if (!t->projector) return RT_OK;
    m->fitting = rt_projector_fit_bytes(t->projector);
    if (!rt_projector_trainable(t->projector) || t->job->projector.prefit_steps == 0) return RT_OK;
    RT_TRY(rt_projection_open(&x, t->projector, rt_forward_hidden(&t->teacher), RT_PROJECTION_TRAIN,
                              t->job->run.head_budget, err));
    add_plan(m, rt_projection_graph(x), &m->prefit);
    rt_projection_close(x);
    return RT_OK;
}
static void add_transient(const rt_trainer *t, rt_cost_memory *m) {
    const rt_job *job = t->job;
    m->loading = t->estimate.loading;
    if (t->source) m->starting = rt_hf_weight_bytes(t->source) + largest_half(t->source);
    if (t->config.experts > 0)
        m->saving = t->config.hidden_size * t->config.ffn_size *
                    (int64_t)rt_dtype_size(t->student.precision.weight[rt_role_expert]);
    m->tokens = t->estimate.memory, m->mapped = t->estimate.mapped;
    m->batches = (job->data.accumulate + 1) * rt_batch_bytes(job->data.batch, job->data.sequence_length);
}

/* Before the first step nothing of the teacher is there but its plan; while texts are read, nothing at all. */
static void find_peak(rt_cost_memory *m) {
    int64_t data = m->process + m->tokens + m->mapped;
    int64_t opened = data + m->batches + m->weights + m->masters + m->gradients + m->moments + m->plans +
                     m->outputs + m->projector;
    int64_t runs =
        opened + m->scratch + m->teacher_pages + m->teacher_packed + m->teacher_experts + most(m->saving, m->prefit);
    m->peak = most(most(runs, data + m->loading), opened + most(m->starting, m->fitting));
    m->needed = m->peak - m->mapped;
}

rt_status rt_cost_memory_of(const rt_trainer *t, rt_cost_memory *m, rt_error *err) {
    rt_student_bytes s = rt_student_memory(&t->student);
    RT_TRY(warm_libraries(err));
    rt_mem_trim();
    *m = (rt_cost_memory){.process = rt_resident_now(),
                          .weights = s.weights,
                          .masters = s.masters,
                          .gradients = rt_job_one_run(t->job) ? 0 : s.gradients,
                          .moments = s.moments};
    add_teacher(t, m);
    add_plans(t, m);
    add_transient(t, m);
    RT_TRY(add_fitting(t, m, err));
    m->plans = rt_workspace_bytes(t->space);
    find_peak(m);
    return RT_OK;
}
