/* internal.h - the inside of a graph, shared by build.c, schedule.c, memory.c, run.c and print.c. */
#ifndef RT_GRAPH_INTERNAL_H
#define RT_GRAPH_INTERNAL_H
#include <retort/graph/op.h>
#include <retort/graph/workspace.h>
#include <stdatomic.h>

typedef enum rt_leaf { RT_NOT_LEAF, RT_LEAF_INPUT, RT_LEAF_CONSTANT, RT_LEAF_VARIABLE, RT_LEAF_TRAINED, RT_LEAF_STATE } rt_leaf;

typedef struct rt_value {
    rt_tensor t, d;       /* value and gradient; d.dtype is f64 for f64 values, else f32 */
    void *replay;         /* where the value lives while its segment is run again */
    const char *name;
    int producer;         /* node, or -1 for leaves */
    rt_leaf leaf;
    bool needs_grad;      /* depends on a trained parameter */
    bool live;            /* its gradient reaches a loss */
    bool kept;            /* not replaced by recomputation */
    bool output;
    const double *gain;   /* not NULL for a loss */
    const rt_pieces *pieces; /* of a leaf without data; else NULL */
    int d_from;           /* step that first adds to the gradient: overwrites it, or it is cleared right before; -1: never */
    int tile_step;        /* step of the chain inside which alone the value lives, or -1 */
    size_t tile_at;       /* its place in a worker's tile memory */
    rt_dtype tile_dtype;  /* what it is there: half values stay in f32 once rounded, so that nobody converts them */
} rt_value;

typedef enum rt_kind { RT_FORWARD, RT_REPLAY, RT_BACKWARD } rt_kind;
/* Nodes list[first .. first+count) of the schedule, run as one chain of rows when count > 1. */
typedef struct rt_step {
    rt_kind kind;
    int first, count;
    int64_t tile_rows;  /* of a step of row operations, at most (chain.c); 0: whole operations */
    size_t tile_bytes;  /* per worker: values that live inside the chain only */
    bool flows;         /* may begin while the step before it still runs (flow.c) */
} rt_step;

enum { RT_CHAIN_MAX = 24 };
/* A buffer to place: alive during steps [from, to]. */
typedef struct rt_buffer {
    size_t bytes, at;
    int from, to;
    bool own;     /* outside the workspace: nobody else may lie there, ever */
    void **slot;  /* gets the address, or */
    size_t *tile; /* gets the offset (tile memory) */
} rt_buffer;

struct rt_fault {
    atomic_int taken;
    rt_error error;
};

struct rt_graph {
    const char *name, *scope;
    rt_arena arena; /* names, attributes, arrays of the plan */
    rt_value *values;
    rt_node *nodes;
    int n_values, cap_values, n_nodes, cap_nodes, segment, n_segments;
    bool *recompute; /* per segment */
    int cap_segments;
    bool planned, train, no_chains, few_rows, cache_panels, sketch, plans_gradients;
    bool fresh; /* the gradients of trained parameters are to be overwritten in this run */
    rt_error error;
    /* plan */
    bool *used;   /* node is needed */
    bool *back;   /* node runs backward */
    int *order;   /* nodes in the order of the steps */
    rt_step *steps;
    int n_order, n_steps, n_forward;
    rt_buffer *buffers; /* those of the workspace first */
    int n_buffers, n_shared, cap_buffers;
    void **scratch; /* per entry of order */
    bool *handed;   /* per entry of order: the entry before hands its columns on to this one */
    void *memory;   /* the workspace's block, or without one this graph's own */
    void *own;      /* buffers that are `own` */
    size_t memory_bytes, own_bytes, live_bytes, worker_scratch;
    rt_workspace *space;
    rt_graph *next; /* of those of the workspace */
    /* caches of packed constant weights, per node */
    void **cache;
    bool *cache_ready, *cache_granted; /* granted: also in a sketch, where there is no memory */
    int64_t cache_budget, cache_bytes;
    struct rt_flow_step *flow; /* per forward step; NULL when none flows */
    atomic_int *unwritten[3];  /* per block of rows, of three steps */
    struct rt_fault fault;
    struct rt_profile *profile; /* NULL: off */
};

/* A value that recomputation makes again. Of a cheap operation not what has one number a row: it takes no memory worth a pass. */
static inline bool rt_replayed(const rt_graph *g, const rt_value *v) {
    if (v->kept || v->producer < 0) return false;
    const rt_node *n = &g->nodes[v->producer];
    return g->recompute[n->segment] || ((n->op->flags & RT_OP_CHEAP) && v->t.ndim > 1);
}
/* What a step of this kind does with input or output `bit` (RT_IN/RT_OUT) of a node. */
typedef struct rt_use {
    bool value, replay, gradient;
} rt_use;
rt_use rt_graph_use(const rt_graph *g, const rt_node *n, rt_kind kind, int id, unsigned bit);
size_t rt_graph_pack(rt_buffer *b, int n); /* gives each buffer its place; the total */
static inline bool rt_is_terminal(const rt_graph *g, const rt_node *n) { return g->train && (n->op->flags & RT_OP_TERMINAL); }
rt_status rt_graph_schedule(rt_graph *g, rt_error *err);
rt_status rt_graph_place(rt_graph *g, rt_error *err);
void rt_graph_guard_reset(rt_graph *g);           /* RT_MEMCHECK: before a forward run */
void rt_graph_guard_check(rt_graph *g, int step); /* RT_MEMCHECK: redzones intact, dead buffers filled with NaN */
size_t rt_graph_worker_bytes(const rt_graph *g);  /* scratch of one thread */
rt_status rt_graph_nomem(rt_graph *g, rt_error *err);
void rt_graph_lay(rt_graph *g, void *memory); /* its buffers lie there from now on */
/* workspace.c */
rt_status rt_workspace_join(rt_workspace *w, rt_graph *g, rt_error *err) RT_NODISCARD; /* once it is packed */
void rt_workspace_leave(rt_workspace *w, rt_graph *g);
void rt_workspace_enter(rt_workspace *w, const rt_graph *g);         /* it runs: what others left there is gone. w NULL: nothing */
bool rt_workspace_holds(const rt_workspace *w, const rt_graph *g);   /* nobody else ran since. w NULL: true */
/* profile.c; all but the first only with a profile. */
int64_t rt_profile_now(void); /* nanoseconds */
void rt_profile_part(rt_graph *g, int node, int64_t since);
void rt_profile_move(rt_graph *g, int from, int to, int64_t since); /* what `to` did inside `from` */
void rt_profile_steps(rt_graph *g, int from, int to, int64_t since); /* steps [from, to), which ran together */
#endif
