/* build.c - leaves, nodes and the checks that operations share. Sticky: after the first error nothing is added. */
#include "graph/internal.h"
#include <stdio.h>
#include <string.h>

void rt_graph_free(rt_graph *g) {
    if (!g) return;
    for (int i = 0; g->cache && i < g->n_nodes; i++) rt_free(g->cache[i]);
    rt_free(g->profile);
    if (g->space) rt_workspace_leave(g->space, g);
    else rt_free(g->memory);
    rt_free(g->own);
    rt_free(g->buffers);
    rt_free(g->values);
    rt_free(g->nodes);
    rt_free(g->recompute);
    rt_arena_free(&g->arena);
    rt_free(g);
}

rt_status rt_graph_status(const rt_graph *g) { return g->error.status; }
const char *rt_graph_error(const rt_graph *g) { return g->error.text; }
rt_status rt_graph_nomem(rt_graph *g, rt_error *err) { return rt_fail(err, RT_E_NOMEM, "%s: out of memory", g->name ? g->name : "graph"); }

/* Doubles the array when it is full; the old one is given back. */
static bool grow(void **array, int *capacity, int needed, size_t size) {
    if (needed <= *capacity) return true;
    int next = needed < 64 ? 64 : needed * 2;
    void *p = rt_realloc(*array, rt_array_bytes((size_t)next, size));
    if (!p) return false;
    *array = p;
    *capacity = next;
    return true;
}

rt_graph *rt_graph_new(const char *name) {
    rt_graph *g = rt_zalloc(sizeof *g);
    if (!g) return NULL;
    g->name = rt_arena_strdup(&g->arena, name);
    g->scope = "";
    if (!g->name || !grow((void **)&g->values, &g->cap_values, 1, sizeof *g->values)) return rt_graph_free(g), NULL;
    g->values[g->n_values++] = (rt_value){.producer = -1, .tile_step = -1, .d_from = -1}; /* 0 is the null reference */
    rt_graph_segment(g, false);
    return g;
}

static rt_value *new_value(rt_graph *g) {
    if (g->error.status) return NULL;
    if (g->planned) return rt_fail(&g->error, RT_E_ARG, "%s: nothing can be added after planning", g->name), NULL;
    if (!grow((void **)&g->values, &g->cap_values, g->n_values + 1, sizeof *g->values)) return rt_graph_nomem(g, &g->error), NULL;
    rt_value *v = &g->values[g->n_values++];
    *v = (rt_value){.producer = -1};
    return v;
}
static rt_ref last_value(const rt_graph *g) { return (rt_ref){g->n_values - 1}; }
static rt_dtype gradient_dtype(rt_dtype t) { return t == RT_F64 ? RT_F64 : RT_F32; }

static rt_ref leaf(rt_graph *g, rt_leaf kind, const char *name, const rt_tensor *t) {
    rt_value *v = new_value(g);
    if (!v) return RT_NULL;
    v->t = *t;
    v->leaf = kind;
    v->kept = true;
    v->name = rt_arena_strdup(&g->arena, name);
    if (!v->name) return rt_graph_nomem(g, &g->error), RT_NULL;
    return last_value(g);
}

rt_ref rt_graph_input(rt_graph *g, const char *name, const rt_tensor *t) { return leaf(g, RT_LEAF_INPUT, name, t); }
rt_ref rt_graph_variable(rt_graph *g, const char *name, const rt_tensor *t) { return leaf(g, RT_LEAF_VARIABLE, name, t); }
rt_ref rt_graph_state(rt_graph *g, const char *name, const rt_tensor *t) { return leaf(g, RT_LEAF_STATE, name, t); }
void rt_graph_bind(rt_graph *g, rt_ref input, void *data) {
    if (input.id > 0) g->values[input.id].t.data = data;
}

void rt_graph_pieces(rt_graph *g, rt_ref leaf, const rt_pieces *pieces) {
    if (leaf.id > 0) g->values[leaf.id].pieces = pieces;
}

rt_ref rt_graph_param(rt_graph *g, const char *name, const rt_tensor *value, const rt_tensor *grad) {
    if (!grad) return leaf(g, RT_LEAF_CONSTANT, name, value);
    rt_ref r = leaf(g, RT_LEAF_TRAINED, name, value);
    if (rt_ref_is_null(r)) return r;
    if (grad->dtype != gradient_dtype(value->dtype) || !rt_tensor_same_shape(value, grad)) {
        char a[96], b[96];
        rt_fail(&g->error, RT_E_DTYPE, "%s.%s: gradient is %s, expected %s of the weight's shape (%s)", g->name, name,
                rt_tensor_text(grad, a), rt_dtype_name(gradient_dtype(value->dtype)), rt_tensor_text(value, b));
        return RT_NULL;
    }
    rt_value *v = &g->values[r.id];
    v->d = *grad;
    if (g->plans_gradients) v->d.data = NULL;
    v->needs_grad = true;
    return r;
}

/* ----------------------------------------------------------------- marking */

void rt_graph_scope(rt_graph *g, const char *format, ...) {
    char text[256];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    const char *scope = rt_arena_strdup(&g->arena, text);
    if (scope) g->scope = scope;
    else rt_graph_nomem(g, &g->error);
}
void rt_graph_segment(rt_graph *g, bool recompute) {
    if (!grow((void **)&g->recompute, &g->cap_segments, g->n_segments + 1, sizeof *g->recompute)) {
        rt_graph_nomem(g, &g->error);
        return;
    }
    g->segment = g->n_segments++;
    g->recompute[g->segment] = recompute;
}
void rt_graph_output(rt_graph *g, rt_ref r) {
    if (r.id > 0) g->values[r.id].output = g->values[r.id].kept = true;
}
void rt_graph_loss(rt_graph *g, rt_ref r, const double *gain) {
    if (r.id <= 0) return;
    rt_value *v = &g->values[r.id];
    if (v->t.dtype != RT_F64 || rt_tensor_count(&v->t) != 1) {
        char b[96];
        rt_fail(&g->error, RT_E_SHAPE, "%s: a loss is f64 [1], '%s' is %s", g->name, v->name, rt_tensor_text(&v->t, b));
        return;
    }
    v->gain = gain;
    rt_graph_output(g, r);
}
void rt_graph_cache_budget(rt_graph *g, int64_t bytes) { g->cache_budget = bytes; }
void rt_graph_cache_panels(rt_graph *g) { g->cache_panels = true; }
void rt_graph_sketch(rt_graph *g) { g->sketch = true; }
void rt_graph_workspace(rt_graph *g, rt_workspace *w) { g->space = w; }
void rt_graph_plan_gradients(rt_graph *g) { g->plans_gradients = true; }
void rt_graph_no_chains(rt_graph *g) { g->no_chains = true; }
void rt_graph_few_rows(rt_graph *g) { g->few_rows = true; }

const rt_tensor *rt_graph_value(const rt_graph *g, rt_ref r) { return &g->values[r.id].t; }
const rt_tensor *rt_graph_gradient(const rt_graph *g, rt_ref r) { return &g->values[r.id].d; }

/* ------------------------------------------------------------------- nodes */

static const char *role_name(rt_graph *g, const char *role) {
    return rt_arena_printf(&g->arena, "%s%s%s.%s", g->name, *g->scope ? "." : "", g->scope, role);
}

static bool take_inputs(rt_graph *g, rt_node *n, const rt_ref *in, int n_in) {
    if (n_in > n->op->n_in) return rt_infer_fail(g, n, RT_E_ARG, "%d inputs given, it has %d", n_in, n->op->n_in), false;
    for (int k = 0; k < n->op->n_in; k++) {
        n->in[k] = k < n_in ? in[k] : RT_NULL;
        if (!rt_infer_has(n, k) && !(n->op->optional & RT_IN(k))) return rt_infer_fail(g, n, RT_E_ARG, "input %d is missing", k), false;
        if (rt_infer_pieces(g, n, k) && !(n->op->pieces & RT_IN(k)))
            return rt_infer_fail(g, n, RT_E_ARG, "input %d ('%s') comes in pieces, expected one tensor", k, g->values[n->in[k].id].name), false;
    }
    return true;
}

bool rt_infer_differentiated(const rt_graph *g, const rt_node *n) {
    bool needs = false;
    for (int k = 0; k < n->op->n_in; k++) needs |= (n->op->diff & RT_IN(k)) && n->in[k].id > 0 && g->values[n->in[k].id].needs_grad;
    return needs;
}
/* Outputs depend on a trained parameter when a differentiated input does. */
static void spread_gradients(rt_graph *g, const rt_node *n) {
    bool needs = rt_infer_differentiated(g, n);
    for (int k = 0; needs && k < n->op->n_out; k++)
        if (rt_dtype_is_float(g->values[n->out[k].id].t.dtype)) g->values[n->out[k].id].needs_grad = true;
}

rt_ref rt_graph_add(rt_graph *g, const rt_op *op, const char *role, rt_prec prec, const void *attr, size_t attr_bytes,
                    const rt_ref *in, int n_in, rt_ref *outs) {
    for (int k = 0; outs && k < op->n_out; k++) outs[k] = RT_NULL;
    if (g->error.status) return RT_NULL;
    if (!grow((void **)&g->nodes, &g->cap_nodes, g->n_nodes + 1, sizeof *g->nodes)) return rt_graph_nomem(g, &g->error), RT_NULL;
    rt_node *n = &g->nodes[g->n_nodes];
    *n = (rt_node){.op = op, .role = role_name(g, role), .prec = prec, .segment = g->segment, .kernel = op->name};
    void *copy = rt_arena_alloc(&g->arena, attr_bytes);
    if (!n->role || !copy) return rt_graph_nomem(g, &g->error), RT_NULL;
    if (attr_bytes) memcpy(copy, attr, attr_bytes);
    n->attr = copy;
    if (!take_inputs(g, n, in, n_in) || op->infer(g, n) != RT_OK) {
        rt_fail(&g->error, RT_E_ARG, "%s (%s): refused without a reason", n->role, op->name);
        return RT_NULL;
    }
    if (n->rows == 0) n->rows = g->values[n->out[0].id].t.dim[0];
    if (op->flags & RT_OP_KEEP)
        for (int k = 0; k < op->n_out; k++) g->values[n->out[k].id].kept = true;
    spread_gradients(g, n);
    g->n_nodes++;
    for (int k = 0; outs && k < op->n_out; k++) outs[k] = n->out[k];
    return n->out[0];
}

/* ---------------------------------------------------------- inside an infer */

bool rt_infer_has(const rt_node *n, int k) { return n->in[k].id > 0; }
const rt_tensor *rt_infer_in(const rt_graph *g, const rt_node *n, int k) { return &g->values[n->in[k].id].t; }
const rt_pieces *rt_infer_pieces(const rt_graph *g, const rt_node *n, int k) { return g->values[n->in[k].id].pieces; }
bool rt_infer_constant(const rt_graph *g, const rt_node *n, int k) { return g->values[n->in[k].id].leaf == RT_LEAF_CONSTANT; }
bool rt_infer_state(const rt_graph *g, const rt_node *n, int k) { return g->values[n->in[k].id].leaf == RT_LEAF_STATE; }
bool rt_infer_cache_panels(const rt_graph *g) { return g->cache_panels; }
bool rt_infer_few_rows(const rt_graph *g, const rt_node *n) { return g->few_rows && !rt_infer_differentiated(g, n); }

rt_status rt_infer_fail(rt_graph *g, const rt_node *n, rt_status s, const char *format, ...) {
    if (g->error.status) return s;
    va_list args;
    va_start(args, format);
    rt_vfail(&g->error, s, format, args);
    va_end(args);
    rt_error_prefix(&g->error, "%s (%s)", n->role, n->op->name);
    return s;
}

rt_status rt_infer_dtype(rt_graph *g, const rt_node *n, int k, rt_dtype expected) {
    const rt_value *v = &g->values[n->in[k].id];
    if (v->t.dtype == expected) return RT_OK;
    return rt_infer_fail(g, n, RT_E_DTYPE, "input %d ('%s') is %s, the contract says %s; add a cast or change the precision policy", k,
                         v->name, rt_dtype_name(v->t.dtype), rt_dtype_name(expected));
}

rt_status rt_infer_shape(rt_graph *g, const rt_node *n, int k, int ndim, const int64_t *dim) {
    const rt_value *v = &g->values[n->in[k].id];
    bool same = v->t.ndim == ndim;
    for (int i = 0; same && i < ndim; i++) same = dim[i] < 0 || dim[i] == v->t.dim[i];
    if (same) return RT_OK;
    rt_tensor want = rt_tensor_make(v->t.dtype, ndim, dim, NULL);
    char a[96], b[96];
    return rt_infer_fail(g, n, RT_E_SHAPE, "input %d ('%s') is %s, expected %s (-1: any)", k, v->name, rt_tensor_text(&v->t, a),
                         rt_tensor_text(&want, b));
}

rt_status rt_infer_out(rt_graph *g, rt_node *n, int k, rt_dtype t, int ndim, const int64_t *dim) {
    rt_tensor shape = rt_tensor_make(t, ndim, dim, NULL); /* before the values move: dim may lie in one of them */
    rt_value *v = new_value(g);
    if (!v) return g->error.status;
    v->t = v->d = shape;
    v->d.dtype = gradient_dtype(t);
    v->name = n->role;
    v->producer = g->n_nodes;
    n->out[k] = last_value(g);
    return RT_OK;
}

rt_status rt_infer_compute(rt_graph *g, const rt_node *n, rt_dtype *compute) {
    rt_prec p = n->prec;
    bool f64 = p.in == RT_F64 || p.out == RT_F64 || p.acc == RT_F64 || p.weight == RT_F64 || p.grad == RT_F64;
    rt_dtype wide = f64 ? RT_F64 : RT_F32;
    bool pure = !f64 || (p.in == RT_F64 && p.out == RT_F64 && (p.weight == RT_F64 || p.weight == RT_NONE));
    bool floats = rt_dtype_is_float(p.in) && rt_dtype_is_float(p.out) && (p.weight == RT_NONE || rt_dtype_is_float(p.weight));
    *compute = wide;
    if (pure && floats && p.acc == wide && p.grad == wide) return RT_OK;
    char b[48];
    return rt_infer_fail(g, n, RT_E_PREC, "no kernel for the contract '%s' (acc and grad are f32, or everything is f64)", rt_prec_text(p, b));
}
