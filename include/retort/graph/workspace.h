/* workspace.h - one block of memory for the plans of graphs that never run at the same time: a teacher, its student, its evaluation.
 *
 * Each plan begins where the block begins, and the block is as large as the largest plan. So a run overwrites what another graph's
 * left there, but for that graph's outputs (rt_graph_output): these lie outside, in memory of their own, and stay readable until
 * their own graph runs again. A backward pass must follow its forward pass before any other graph of the workspace runs; it is
 * refused (RT_E_ARG) otherwise. The block grows when a larger graph is planned, never in a run: other values than outputs may move
 * then, and no bit of them is kept. */
#ifndef RETORT_GRAPH_WORKSPACE_H
#define RETORT_GRAPH_WORKSPACE_H
#include <retort/graph/graph.h>

rt_workspace *rt_workspace_new(void); /* NULL when out of memory */
void rt_workspace_free(rt_workspace *w); /* after its graphs; NULL is fine */
/* Of the largest plan so far, sketches included (for which no memory is taken). */
int64_t rt_workspace_bytes(const rt_workspace *w);
#endif
