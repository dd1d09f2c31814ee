/* chain.h - one step of the schedule, open: its operations bound to memory, and its work as tasks. run.c runs a step by itself, flow.c
 * several that flow into each other. */
#ifndef RT_GRAPH_CHAIN_H
#define RT_GRAPH_CHAIN_H
#include "graph/internal.h"

typedef struct rt_chain rt_chain;
struct rt_chain {
    rt_graph *g;
    const rt_step *step;
    int t;
    int64_t rows, tile_rows;
    int64_t first_task[RT_CHAIN_MAX + 1]; /* prepare tasks of each entry */
    rt_call call[RT_CHAIN_MAX];
    /* Looks at the rows that entry `at` just made; true: the rest of this tile is not run. NULL: nobody looks, and columns are handed on. */
    bool (*look)(const rt_chain *ch, const rt_call *c, int at, int64_t r0, int64_t r1);
    void *looker;
};

/* Binds the step's operations; runs nothing. */
void rt_chain_open(rt_graph *g, int t, unsigned fresh, rt_chain *ch);

/* Panels: tasks in any order, all of them before the step's own; then `ready`, once. */
static inline int64_t rt_chain_prepares(const rt_chain *ch) { return ch->first_task[ch->step->count]; }
void rt_chain_prepare(void *chain, int64_t task, int worker);
void rt_chain_ready(rt_chain *ch);

/* The step's own tasks, in any order: tiles of rows, or those of an operation that has forward_task. Not of one that runs whole. */
static inline bool rt_step_has_tasks(const rt_graph *g, const rt_step *s) { return s->tile_rows > 0 || g->nodes[g->order[s->first]].op->forward_task; }
int64_t rt_chain_tasks(const rt_chain *ch);
rt_task_rows rt_chain_task_rows(const rt_chain *ch, int64_t task);
void rt_chain_task(void *chain, int64_t task, int worker);
#endif
