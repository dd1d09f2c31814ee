/* forward.h - weights planned forward-only: the teacher, `logits`, `generate`. One instance serves one shape of batch. */
#ifndef RETORT_INFER_FORWARD_H
#define RETORT_INFER_FORWARD_H
#include <retort/graph/workspace.h>
#include <retort/model/model.h>
#include <retort/text/batch.h>

typedef struct rt_forward {
    rt_graph *g;
    rt_model model;
    rt_model_inputs in;
    int64_t rows;
} rt_forward;

typedef struct rt_forward_options {
    const char *name;       /* "teacher": first word of roles and errors */
    int64_t windows, T;     /* shape of the batches */
    int64_t cache_budget;   /* bytes for packed weights; 0: unlimited */
    bool cache_panels;      /* rt_graph_cache_panels: packed weights in f32 */
    bool variable;          /* the weights change between runs */
    rt_workspace *space;    /* graph/workspace.h; NULL: memory of its own */
    bool sketch;            /* rt_graph_sketch: only to be measured */
} rt_forward_options;

/* `w` is borrowed and must outlive it. */
rt_status rt_forward_open(rt_forward *f, const rt_weights *w, const rt_precision *p, const rt_forward_options *o, rt_error *err) RT_NODISCARD;
void rt_forward_close(rt_forward *f);
rt_status rt_forward_run(rt_forward *f, const rt_batch *b, rt_error *err) RT_NODISCARD;
/* After the final norm, [windows*T, D] in the head role's dtype; its place never moves. */
const rt_tensor *rt_forward_hidden(const rt_forward *f);
/* The input leaves of a batch, for whoever builds a graph; and their binding. */
rt_model_inputs rt_batch_inputs(rt_graph *g, int64_t rows);
void rt_batch_bind(rt_graph *g, rt_model_inputs in, const rt_batch *b);
#endif
