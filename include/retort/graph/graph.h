/* graph.h - the tape: a list of coarse operations, built once, checked when built, planned once, run many times.
 *
 * Training, evaluation, generation and the teacher build from the same calls; only the plan differs (what is kept, what
 * runs backward). Builders are sticky: after the first error the graph is inert, builders return the null reference, and
 * rt_graph_plan returns the code and the text. After planning nothing is allocated.
 *
 *   rt_graph *g = rt_graph_new("student");
 *   rt_ref x = rt_embed(g, ids, table, p, "embed");           operations: <retort/ops/ops.h>
 *   ...
 *   rt_graph_loss(g, rt_head(...), &gain);
 *   RT_TRY(rt_graph_plan(g, true, err));
 *   RT_TRY(rt_graph_forward(g, err));  RT_TRY(rt_graph_backward(g, err)); */
#ifndef RETORT_GRAPH_GRAPH_H
#define RETORT_GRAPH_GRAPH_H
#include <retort/base/mem.h>
#include <retort/tensor/bank.h>

typedef struct rt_graph rt_graph;
typedef struct rt_ref {
    int32_t id; /* 0 is the null reference */
} rt_ref;
#define RT_NULL ((rt_ref){0})
static inline bool rt_ref_is_null(rt_ref r) { return r.id == 0; }

rt_graph *rt_graph_new(const char *name); /* name: first word of every role and error; NULL when out of memory */
void rt_graph_free(rt_graph *g);

/* ------------------------------------------------------------------ leaves */
/* A value set from outside before each run. tensor->data may be NULL now and bound later. */
rt_ref rt_graph_input(rt_graph *g, const char *name, const rt_tensor *tensor);
void rt_graph_bind(rt_graph *g, rt_ref input, void *data);
/* A weight. With grad (same shape; f32, or f64 for f64 weights) it is trained: backward adds into grad. Without, it is
 * constant: its bytes never change while the graph lives, and kernels may cache packed forms of it. Both are borrowed. */
rt_ref rt_graph_param(rt_graph *g, const char *name, const rt_tensor *value, const rt_tensor *grad);
/* A parameter that is not trained by this graph but changes between runs (never cached). */
rt_ref rt_graph_variable(rt_graph *g, const char *name, const rt_tensor *value);
/* The leaf has no data of its own: its pieces come from a bank when an operation asks for them. `pieces` is borrowed. Before
 * any operation reads the leaf; one that cannot take pieces is refused (RT_E_ARG). */
void rt_graph_pieces(rt_graph *g, rt_ref leaf, const rt_pieces *pieces);
/* Memory that an operation writes in place and finds again in later runs, and in other graphs it is given to: the keys and
 * values of past rows. Borrowed. A graph with a state is planned forward-only. */
rt_ref rt_graph_state(rt_graph *g, const char *name, const rt_tensor *value);

/* ----------------------------------------------------------------- marking */
/* Roles of the following nodes are "<graph>.<scope>.<role>". "" for none. */
void rt_graph_scope(rt_graph *g, const char *format, ...) RT_PRINTF(2, 3);
/* The following nodes form a segment; with recompute its inner values are made again before its backward (same bits). */
void rt_graph_segment(rt_graph *g, bool recompute);
/* The value stays readable until the next run. */
void rt_graph_output(rt_graph *g, rt_ref r);
/* A scalar (f64 [1]) that is differentiated: its gradient is seeded with *gain, read at each backward. */
void rt_graph_loss(rt_graph *g, rt_ref scalar, const double *gain);

/* --------------------------------------------------------------------- run */
/* Memory for packed constant weights, in bytes (default 0 = unlimited); what does not fit is packed on the fly. */
void rt_graph_cache_budget(rt_graph *g, int64_t bytes);
/* Before adding nodes: constant half weights are cached as the products read them, in f32: twice the bytes of the cache, and no
 * conversion in any run. The same bits. */
void rt_graph_cache_panels(rt_graph *g);
/* Before planning: the plan lies in a block it shares with other graphs (workspace.h). Borrowed; it outlives the graph. */
typedef struct rt_workspace rt_workspace;
void rt_graph_workspace(rt_graph *g, rt_workspace *w);
/* Before the first parameter: gradients of trained parameters lie in the plan, each from the step that begins it to the end. Of
 * the tensors given for them only shape and dtype count; where they lie rt_graph_gradient tells. Every backward overwrites them,
 * so they are the sums of one run: not for several runs before one step of the optimizer. */
void rt_graph_plan_gradients(rt_graph *g);
/* Before planning: the plan is made and measured (rt_graph_stats_get) but takes no memory, and the graph cannot run. */
void rt_graph_sketch(rt_graph *g);
rt_status rt_graph_plan(rt_graph *g, bool train, rt_error *err) RT_NODISCARD;
rt_status rt_graph_forward(rt_graph *g, rt_error *err) RT_NODISCARD;
rt_status rt_graph_backward(rt_graph *g, rt_error *err) RT_NODISCARD;
/* The next forward and backward overwrite the gradients of trained parameters instead of adding to them. */
void rt_graph_fresh_gradients(rt_graph *g);
/* Runs forward again, slowly, and names the first operation whose output holds a non-finite number. RT_OK if none does. */
rt_status rt_graph_find_nonfinite(rt_graph *g, rt_error *err) RT_NODISCARD;

/* ------------------------------------------------------------------ reading */
rt_status rt_graph_status(const rt_graph *g); /* RT_OK while every builder succeeded */
const char *rt_graph_error(const rt_graph *g);
const rt_tensor *rt_graph_value(const rt_graph *g, rt_ref r);    /* shape at once; data after planning */
const rt_tensor *rt_graph_gradient(const rt_graph *g, rt_ref r); /* data NULL where there is none */
typedef struct rt_graph_stats {
    int64_t nodes, steps, arena_bytes, cache_bytes;
    int64_t worker_scratch_bytes; /* of one thread, tiles of chains included */
    int64_t own_bytes;            /* of arena_bytes, those that no workspace shares; without one: 0 */
    int64_t least_bytes;          /* most bytes that live at one step: no placement makes arena_bytes smaller */
    int64_t constant_bytes;       /* constant weights that are read where they lie in every run: no granted cache stands for them */
} rt_graph_stats;
rt_graph_stats rt_graph_stats_get(const rt_graph *g);
/* One line a leaf and a node: role, operation, shapes, contract, kernel; the same for training and evaluation. With schedule:
 * also which weights are trained, variable or constant, and the planned steps, backward included. */
void rt_graph_describe(const rt_graph *g, bool schedule, rt_buf *out);
/* Wall seconds per node since the profile was turned on (after planning; off frees it). It changes no bit. */
typedef struct rt_graph_cost {
    const char *role, *op;
    double forward, backward; /* backward: with what recomputation runs again */
} rt_graph_cost;
rt_status rt_graph_profile(rt_graph *g, bool on, rt_error *err) RT_NODISCARD;
/* Of all profiles: processor seconds of the process instead. With one thread they say what a node costs, whoever shares the machine. */
void rt_graph_profile_clock(bool processor);
void rt_graph_costs(const rt_graph *g, void (*fn)(void *context, const rt_graph_cost *c), void *context);
/* What an operation has to do at least, from the shapes alone; nothing is computed, so a sketch has it too.
 * Time of its own limit: the longer of flops / product rate and bytes / copy rate. */
typedef struct rt_work {
    double flops; /* of its products, two a multiply-add; loops over rows have none */
    double bytes; /* of what it reads and writes, each value and gradient once, as stored */
    double inner; /* further ones, of values that live inside one chain of rows only: they stay in a core's cache */
    double exps;  /* exponentials: what a loop over rows takes its time for, where there are any */
} rt_work;
typedef struct rt_graph_work {
    const char *role, *op;
    rt_work forward, backward; /* backward: with what recomputation runs again */
} rt_graph_work;
/* After planning: every node, in the order of rt_graph_costs; nothing where it does not run. */
void rt_graph_works(const rt_graph *g, void (*fn)(void *context, const rt_graph_work *w), void *context);
/* What lies in the arena while it is fullest: fn for each buffer, by the node that makes the value (or whose scratch it is). */
typedef enum rt_held { RT_HELD_VALUE, RT_HELD_GRADIENT, RT_HELD_SCRATCH } rt_held;
typedef struct rt_graph_moment {
    int64_t bytes;     /* of all buffers then; gaps between them are in rt_graph_stats.arena_bytes only */
    const char *role;  /* of the step's first node; "" in an empty plan */
    const char *phase; /* "forward", "again", "backward" */
} rt_graph_moment;
rt_graph_moment rt_graph_fullest(const rt_graph *g, void (*fn)(void *context, const char *role, rt_held what, int64_t bytes), void *context);
/* Calls fn for every trained parameter that no loss reaches. */
void rt_graph_unreached(const rt_graph *g, void (*fn)(void *context, const char *name), void *context);
/* Before adding nodes: products use the kernels for few rows, which read the weights once, as they lie. Their sums run in another
 * order, so their bits are not those of the kernels for many rows (decisions.md, 2); a row's bits still do not depend on the
 * other rows. Trained operations take no notice. */
void rt_graph_few_rows(rt_graph *g);
/* Test use: run row operations one by one instead of in chains, each to its end before the next begins. Same bits. Before planning. */
void rt_graph_no_chains(rt_graph *g);
#endif
