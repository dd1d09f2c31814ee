/* op.h - the record that an operation is, and what its functions receive.
 *
 * One file per operation defines one `const rt_op rt_op_<name>` and its builder. `infer` does every check, shapes the
 * outputs, sizes the scratch and names the kernel; the run-time functions check nothing. Lifetimes, dead code and
 * recomputation follow from `diff` and `saves` alone. */
#ifndef RETORT_GRAPH_OP_H
#define RETORT_GRAPH_OP_H
#include <retort/graph/graph.h>

enum { RT_MAX_IN = 12, RT_MAX_OUT = 6 };
enum { RT_COLUMNS_MAX = 512 }; /* columns handed on at a time, all parts together */
#define RT_IN(k) (1u << (k))
#define RT_OUT(k) (1u << (RT_MAX_IN + (k)))

typedef struct rt_op rt_op;
typedef struct rt_node rt_node;

/* What a run-time function gets. Absent optional inputs, outputs nobody differentiates and gradients nobody wants have
 * data == NULL. Gradients are f64 for f64 values and f32 for all others; they are added to, but for the inputs in
 * `fresh`: their memory holds nothing yet and is overwritten, every element of it. */
typedef struct rt_call {
    const rt_node *node;
    rt_tensor in[RT_MAX_IN], out[RT_MAX_OUT], din[RT_MAX_IN], dout[RT_MAX_OUT];
    unsigned fresh;     /* RT_IN bits, of those the operation lists in `overwrites` only */
    void *scratch;      /* node->scratch bytes, uninitialised, shared by all workers, for this step only */
    void *cache;        /* node->cache bytes kept between runs, or NULL when not granted */
    bool cache_ready;   /* the cache holds what an earlier prepare put there */
    const rt_pieces *pieces[RT_MAX_IN]; /* of an input without data that comes piece by piece; else NULL */
    const struct rt_next *next; /* who takes the output's columns as they are made, instead of out[0] (rt_call_hand_on); else NULL */
    struct rt_fault *fault;
} rt_call;

/* Rows [r0, r1) of a value of type `dtype`, columns [c0, c0 + n) of each of its parts, in the compute type and not rounded yet: who takes them
 * rounds them to `dtype` first, in the same pass where it can. Parts lie side by side: element (r, p, j) at x[(r - r0) * ld + p * n + j]. They may be
 * overwritten. */
typedef struct rt_columns_made {
    void *x;
    rt_dtype dtype;
    int64_t ld, r0, r1, c0, n;
} rt_columns_made;

/* Rows [from, to). */
typedef struct rt_rows {
    int64_t from, to;
} rt_rows;
typedef struct rt_task_rows {
    rt_rows reads, writes; /* of the inputs in row_in; of all outputs */
} rt_task_rows;

enum {
    RT_OP_KEEP = 1,     /* outputs are kept and not made again by recomputation (chosen routes) */
    RT_OP_TERMINAL = 2, /* values and gradients in one pass: in a training plan forward gets din and adds to it; no backward */
    RT_OP_CHEAP = 4,    /* a pass over rows, of inputs that its backward reads anyhow: outputs are not kept for a backward that reads
                         * them, but made again before it (same bits) */
    RT_OP_COLUMNS = 8,  /* forward_rows makes its output by columns and can hand them on (rt_call.next) */
};

struct rt_op {
    const char *name;
    int n_in, n_out;
    unsigned optional; /* RT_IN bits that may be null */
    unsigned row_in;   /* RT_IN bits of which forward_rows reads rows [r0, r1) only, or a task those it names; others are read whole */
    unsigned diff;     /* RT_IN bits that get a gradient */
    unsigned saves;    /* RT_IN and RT_OUT bits that backward reads */
    unsigned pieces;   /* RT_IN bits that may come piece by piece (rt_graph_pieces) */
    unsigned overwrites; /* RT_IN bits whose gradient it can overwrite; others are cleared for it when it is the first */
    unsigned flags;
    rt_status (*infer)(rt_graph *g, rt_node *n);
    /* Weight-only work before the rows, as node->prepare_tasks independent tasks (panels). Optional. */
    void (*prepare)(const rt_call *c, int64_t task, int worker);
    /* Either: rows [r0, r1) of the outputs, one thread, `rt_scratch(worker)` holds node->worker_scratch bytes.
     * Chains of such operations run tile by tile; the bits of a row must not depend on r0, r1. */
    void (*forward_rows)(const rt_call *c, int64_t r0, int64_t r1, int worker);
    /* Optional, where a column of the outputs needs only the same column of input 0 (of each part of it): these columns of all
     * outputs, at once when the operation before in the chain has made them. The same bits as forward_rows. Takes no scratch. True: of what it
     * took a finite value became infinite by rounding, which the maker reports. */
    bool (*forward_columns)(const rt_call *c, const rt_columns_made *made);
    /* Or: tasks, in any order, each by one thread with rows of its own. `tasks` counts them, 0 after a failure, once a run; for the others it
     * may leave what they need in the scratch. */
    int64_t (*tasks)(const rt_call *c);
    rt_task_rows (*task_rows)(const rt_call *c, int64_t task);
    void (*forward_task)(const rt_call *c, int64_t task, int worker);
    /* Or: the whole, which calls rt_parallel itself. An operation may have both; infer then chooses (rt_node.few). */
    void (*forward)(const rt_call *c);
    void (*backward)(const rt_call *c); /* the whole; calls rt_parallel itself; NULL where nothing is differentiable */
    /* What a run of each takes at least (graph.h); both come zeroed. Asked for after planning; `backward` is taken where there is one. */
    void (*work)(const rt_graph *g, const rt_node *n, rt_work *forward, rt_work *backward);
};

struct rt_node {
    const rt_op *op;
    const char *role;
    rt_prec prec;
    const void *attr; /* the operation's own struct, copied by rt_graph_add */
    rt_ref in[RT_MAX_IN], out[RT_MAX_OUT];
    int segment;
    /* set by infer: */
    size_t scratch, worker_scratch, cache;
    int64_t prepare_tasks, rows;
    int64_t parts, unit; /* forward_columns: how many equal parts input 0 has, and of what its columns come in multiples; 0: does not apply */
    bool panels;        /* the cache holds what the products read */
    bool few;           /* the kernels for few rows: `forward` runs, also where there is forward_rows */
    bool half;          /* the forward pass by the processor's half instructions (kernels/half.h); hands no columns on */
    const char *kernel; /* static text, for printing */
};

/* ---------------------------------------------------------------- builders */
/* Adds a node; returns its first output, fills outs[0..n_out) when given. The null reference after any error. */
rt_ref rt_graph_add(rt_graph *g, const rt_op *op, const char *role, rt_prec prec, const void *attr, size_t attr_bytes,
                    const rt_ref *in, int n_in, rt_ref *outs);

/* ------------------------------------------------------------ inside infer */
bool rt_infer_has(const rt_node *n, int k);                              /* the optional input is there */
const rt_tensor *rt_infer_in(const rt_graph *g, const rt_node *n, int k); /* shape and dtype (data may be NULL) */
bool rt_infer_constant(const rt_graph *g, const rt_node *n, int k);      /* a weight that never changes: may be cached */
const rt_pieces *rt_infer_pieces(const rt_graph *g, const rt_node *n, int k); /* NULL: the input has data */
bool rt_infer_state(const rt_graph *g, const rt_node *n, int k);         /* it may be written in place */
bool rt_infer_cache_panels(const rt_graph *g);                            /* caches hold f32, whatever the weights are */
bool rt_infer_few_rows(const rt_graph *g, const rt_node *n);              /* the kernels for few rows are wanted */
bool rt_infer_differentiated(const rt_graph *g, const rt_node *n);       /* some input leads to a trained parameter: backward may run */
/* Refusals. The first names both sides: "student.layers.3.ffn_norm (rmsnorm): input 0 is f32, the contract says bf16; ..." */
rt_status rt_infer_dtype(rt_graph *g, const rt_node *n, int k, rt_dtype expected);
rt_status rt_infer_shape(rt_graph *g, const rt_node *n, int k, int ndim, const int64_t *dim); /* dim -1: any */
rt_status rt_infer_fail(rt_graph *g, const rt_node *n, rt_status s, const char *format, ...) RT_PRINTF(4, 5);
rt_status rt_infer_out(rt_graph *g, rt_node *n, int k, rt_dtype t, int ndim, const int64_t *dim);
/* The contract must be one of those whose acc and grad are f64 for f64 and f32 for all others. */
rt_status rt_infer_compute(rt_graph *g, const rt_node *n, rt_dtype *compute);

/* ------------------------------------------------------------- inside work */
/* Adds the bytes of the inputs and outputs in `bits` that are there, and of gradients those that flow. */
void rt_work_values(const rt_graph *g, const rt_node *n, unsigned bits, rt_work *w);
void rt_work_gradients(const rt_graph *g, const rt_node *n, unsigned bits, rt_work *w);
bool rt_work_wants(const rt_graph *g, const rt_node *n, int k); /* the gradient of input k flows */
/* A `work` as it stands: all inputs and outputs; backward what `saves` names, and all gradients. No products. */
void rt_work_operands(const rt_graph *g, const rt_node *n, rt_work *forward, rt_work *backward);

/* -------------------------------------------------------------- at run time */
/* Records a failure (overflow, bad token id) from any thread; the run stops after this step with "<role> (<op>): text". */
void rt_call_fail(const rt_call *c, rt_status s, const char *format, ...) RT_PRINTF(3, 4);
/* Of an operation with RT_OP_COLUMNS and `next`: the next one's parts and unit; and its forward_columns, for a few rows at a time. */
int64_t rt_call_parts(const rt_call *c);
int64_t rt_call_unit(const rt_call *c);
bool rt_call_hand_on(const rt_call *c, const rt_columns_made *made);
#define RT_ATTR(type, call) ((const type *)(call)->node->attr)
#endif
