/* flow.h - steps that flow into each other instead of waiting for the last thread of each. */
#ifndef RT_GRAPH_FLOW_H
#define RT_GRAPH_FLOW_H
#include "graph/internal.h"

/* Whether step t may begin while the step before it still runs: what it reads of that one it reads by rows. Memory that dies in a step
 * is then kept for one step more (memory.c). */
bool rt_flows(const rt_graph *g, int t);
rt_status rt_flow_plan(rt_graph *g, rt_error *err);
/* Steps [from, to), to - from >= 2, each but the first of which flows. The same bits as one after the other. */
void rt_flow_run(rt_graph *g, int from, int to);
#endif
