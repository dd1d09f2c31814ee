/* step_graph.h - the student's tape: model, router losses, head. Training and evaluation build it with this one function,
 * from the same terms; which of them a run makes is data (term_active). A training plan adds the backward half and nothing else. */
#ifndef RETORT_TRAIN_STEP_GRAPH_H
#define RETORT_TRAIN_STEP_GRAPH_H
#include <retort/ops/head.h>
#include <retort/infer/forward.h>

/* The teacher's side of the head; all null without a teacher. Addresses never change (projector.h). */
typedef struct rt_teacher_side {
    const rt_tensor *hidden, *matrix;
    rt_prec prec;
} rt_teacher_side;

typedef struct rt_step_options {
    const char *name;             /* "student" */
    int64_t windows, T, vocab;
    bool recompute, trace;
    const rt_router *router;
    const rt_router_state *states; /* [layers]; NULL where the policy has none */
    const rt_head_term *terms;     /* objective terms, then metrics */
    int n_terms;
    rt_teacher_side teacher;
    int64_t head_budget, head_rows; /* bytes; rows > 0 wins */
    bool train;
    bool plan_gradients;          /* rt_graph_plan_gradients */
    rt_workspace *space;          /* NULL: memory of its own */
    bool sketch;                  /* rt_graph_sketch: only to be measured */
} rt_step_options;

typedef struct rt_step_graph {
    rt_graph *g;
    rt_model model;
    rt_model_inputs in;
    rt_ref targets, head;
    rt_ref *balance, *router_z;       /* [layers]; null in dense layers */
    double *term_gain;                /* [n_terms] d(objective)/d(sum of the term), read by a training run */
    int32_t *term_active;             /* [n_terms] 0: skipped, its sums stay 0; at first 1 */
    double *term_temperature;         /* [n_terms] > 0: replaces the term's own; at first 0 */
    double balance_gain, router_z_gain; /* d(objective)/d(one layer's value) */
    int n_terms;
    int64_t rows, head_rows, layers;
} rt_step_graph;

/* grads: of the trained weights, with plan_gradients their shapes alone; NULL with train false. Weights are read at each run (they
 * change between runs). */
rt_status rt_step_graph_open(rt_step_graph *s, const rt_weights *w, const rt_weights *grads, const rt_precision *p,
                             const rt_step_options *o, rt_error *err) RT_NODISCARD;
void rt_step_graph_close(rt_step_graph *s);
/* Where the gradients lie that the plan holds: into the data of `grads`. Once nothing more is planned in the workspace. */
void rt_step_graph_gradients(const rt_step_graph *s, rt_weights *grads);
/* Forward (in a training plan the head also makes its gradients; rt_graph_backward(s->g) then does the rest).
 * A non-finite loss is RT_E_NUMERIC, naming the first operation. */
rt_status rt_step_graph_run(rt_step_graph *s, const rt_batch *b, rt_error *err) RT_NODISCARD;
#endif
