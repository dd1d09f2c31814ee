/* loss_graph.h - a model directory with next-token cross-entropy through the head, trained or not, for tests. */
#ifndef RT_TESTS_LOSS_GRAPH_H
#define RT_TESTS_LOSS_GRAPH_H
#include <retort/losses/losses.h>
#include <retort/infer/forward.h>
#include <retort/infer/frozen.h>

typedef struct loss_graph {
    rt_frozen files;
    rt_weights grads; /* f32, added to by rt_graph_backward; only when trained */
    rt_graph *g;
    rt_model model;
    rt_model_inputs in;
    rt_batch batch;
    rt_ref targets, gains, head, *balance, *z; /* per layer of a mixture */
    double gain;
} loss_graph;

/* windows x T rows; false after a failed check. */
bool loss_graph_open(loss_graph *l, const char *directory, rt_activations activations, int64_t windows, int64_t T, bool train);
void loss_graph_close(loss_graph *l);
/* ids [windows*T]: every window on its own, its last row without a target. */
void loss_graph_fill(loss_graph *l, const int32_t *ids);
bool loss_graph_forward(loss_graph *l);
/* Sum and number of the targets' losses, in nats. */
double loss_graph_sum(const loss_graph *l, double *count);
#endif
