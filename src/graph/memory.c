/* memory.c - the lifetime of every buffer, read off the schedule, and its place in one block.
 *
 * A value that lives only inside one chain of rows gets no buffer at all: it lives in a worker's tile memory. Greedy by
 * size: each buffer at the lowest offset that is free during its life (the planner of the sketch, and of most engines). */
#include "graph/internal.h"
#include <retort/base/threads.h>
#include <stdlib.h>
#include <string.h>

enum { ALIGN = 64 };
#ifdef RT_MEMCHECK
enum { REDZONE = 64 };
#else
enum { REDZONE = 0 };
#endif

rt_use rt_graph_use(const rt_graph *g, const rt_node *n, rt_kind kind, int id, unsigned bit) {
    const rt_value *v = &g->values[id];
    bool is_input = bit < RT_OUT(0), reads = kind != RT_BACKWARD || (n->op->saves & bit);
    bool again = kind != RT_FORWARD && rt_replayed(g, v) && g->nodes[v->producer].segment == n->segment;
    bool differentiates = kind == RT_BACKWARD || (kind == RT_FORWARD && rt_is_terminal(g, n) && is_input);
    return (rt_use){reads && !again, reads && again, differentiates && v->live && (!is_input || (n->op->diff & bit))};
}

typedef struct range {
    int from, to; /* first and last step; from < 0: never */
} range;
typedef struct lives {
    range value, replay, gradient;
} lives;

static void touch(range *r, int step) {
    if (r->from < 0) r->from = step;
    r->to = step;
}

static void touch_all(const rt_graph *g, lives *life, int step, const rt_node *n, rt_kind kind) {
    for (int k = 0; k < n->op->n_in + n->op->n_out; k++) {
        bool out = k >= n->op->n_in;
        int slot = out ? k - n->op->n_in : k, id = out ? n->out[slot].id : n->in[slot].id;
        if (id <= 0) continue;
        rt_use use = rt_graph_use(g, n, kind, id, out ? RT_OUT(slot) : RT_IN(slot));
        if (use.value) touch(&life[id].value, step);
        if (use.replay) touch(&life[id].replay, step);
        if (use.gradient) touch(&life[id].gradient, step);
    }
}

/* Its last step, or the next where that may begin before this one has ended. */
static int freed_after(const rt_graph *g, int to) { return to + 1 < g->n_forward && g->steps[to + 1].flows ? to + 1 : to; }
static rt_status want(rt_graph *g, void **slot, size_t bytes, range r, bool own, rt_error *err) {
    if (r.from < 0 || bytes == 0) return RT_OK;
    if (g->n_buffers == g->cap_buffers) {
        int next = g->cap_buffers ? 2 * g->cap_buffers : 256;
        rt_buffer *b = rt_realloc(g->buffers, (size_t)next * sizeof *b);
        if (!b) return rt_graph_nomem(g, err);
        g->buffers = b;
        g->cap_buffers = next;
    }
    g->buffers[g->n_buffers++] = (rt_buffer){(bytes + ALIGN - 1) / ALIGN * ALIGN + REDZONE, 0, r.from, freed_after(g, r.to), own, slot, NULL};
    return RT_OK;
}

/* --------------------------------------------------------------- placement */

static int by_size(const void *a, const void *b) {
    const rt_buffer *x = a, *y = b;
    if (x->bytes != y->bytes) return x->bytes < y->bytes ? 1 : -1;
    if (x->from != y->from) return x->from < y->from ? -1 : 1;
    return x->slot < y->slot ? -1 : x->slot > y->slot;
}
static bool overlap(const rt_buffer *x, const rt_buffer *y) {
    return x->from <= y->to && y->from <= x->to && x->at < y->at + y->bytes && y->at < x->at + x->bytes;
}
size_t rt_graph_pack(rt_buffer *b, int n) {
    size_t total = 0;
    if (n > 1) qsort(b, (size_t)n, sizeof *b, by_size);
    for (int i = 0; i < n; i++) {
        for (bool moved = true; moved;) {
            moved = false;
            for (int j = 0; j < i; j++)
                if (overlap(&b[i], &b[j])) b[i].at = b[j].at + b[j].bytes, moved = true;
        }
        if (b[i].at + b[i].bytes > total) total = b[i].at + b[i].bytes;
    }
    return total;
}

/* ------------------------------------------------------------- tile memory */

static bool lives_in_chain(const rt_graph *g, const rt_value *v, const lives *l) {
    if (v->producer < 0 || v->output || l->value.from < 0 || l->value.from != l->value.to || v->t.dim[0] != g->nodes[v->producer].rows) return false;
    const rt_step *s = &g->steps[l->value.from];
    return s->tile_rows > 0 && s->count > 1;
}
static int index_in_step(const rt_graph *g, const rt_step *s, int node) {
    for (int i = 0; i < s->count; i++)
        if (g->order[s->first + i] == node) return i;
    return 0;
}
static int last_reader(const rt_graph *g, const rt_step *s, int id) {
    int last = index_in_step(g, s, g->values[id].producer);
    for (int i = 0; i < s->count; i++) {
        const rt_node *n = &g->nodes[g->order[s->first + i]];
        for (int k = 0; k < n->op->n_in; k++)
            if (n->in[k].id == id) last = i;
    }
    return last;
}
/* Entry i of step t takes the columns of the entry before, whose output nobody else reads. */
static bool takes_columns(const rt_graph *g, const rt_step *s, int t, int i) {
    const rt_node *maker = &g->nodes[g->order[s->first + i - 1]], *taker = &g->nodes[g->order[s->first + i]];
    int id = maker->out[0].id, readers = 0;
    bool makes = (maker->op->flags & RT_OP_COLUMNS) && !maker->half;
    bool able = makes && taker->op->forward_columns && taker->unit > 0 && taker->unit * taker->parts <= RT_COLUMNS_MAX;
    if (!able || taker->in[0].id != id || g->values[id].tile_step != t) return false;
    for (int j = 0; j < g->n_nodes; j++)
        for (int k = 0; g->used[j] && k < g->nodes[j].op->n_in; k++) readers += g->nodes[j].in[k].id == id;
    return readers == 1;
}
/* Places the values that live only in step t; their times are the positions in the chain. */
static rt_status place_tiles(rt_graph *g, int t, const lives *life, rt_error *err) {
    rt_step *s = &g->steps[t];
    if (s->tile_rows == 0 || s->count < 2 || s->kind != RT_FORWARD) return RT_OK;
    rt_buffer *b = rt_alloc((size_t)s->count * RT_MAX_OUT * sizeof *b);
    if (!b) return rt_graph_nomem(g, err);
    int count = 0;
    for (int i = 0; i < s->count; i++) {
        const rt_node *n = &g->nodes[g->order[s->first + i]];
        for (int k = 0; k < n->op->n_out; k++) {
            int id = n->out[k].id;
            rt_value *v = &g->values[id];
            if (!lives_in_chain(g, v, &life[id])) continue;
            v->tile_step = t;
            v->tile_dtype = rt_dtype_is_half(v->t.dtype) ? RT_F32 : v->t.dtype;
            size_t row = (size_t)(rt_tensor_count(&v->t) / v->t.dim[0]) * rt_dtype_size(v->tile_dtype);
            b[count++] = (rt_buffer){(row * (size_t)s->tile_rows + ALIGN - 1) / ALIGN * ALIGN, 0, i, last_reader(g, s, id), false, NULL, &v->tile_at};
        }
    }
    for (int i = 1; i < s->count; i++) g->handed[s->first + i] = takes_columns(g, s, t, i);
    for (int i = 0; i < count; i++) b[i].from -= g->handed[s->first + b[i].from]; /* written while the maker still reads what it makes it of */
    s->tile_bytes = rt_graph_pack(b, count);
    for (int i = 0; i < count; i++) *b[i].tile = b[i].at;
    rt_free(b);
    return RT_OK;
}

/* --------------------------------------------------------------------- all */

/* A gradient that the plan holds: to the end, for the optimizer. One that no loss reaches is zero, and nobody ever writes it. */
static rt_status want_parameter(rt_graph *g, rt_value *v, const lives *l, rt_error *err) {
    if (v->leaf != RT_LEAF_TRAINED || !g->plans_gradients || !g->train) return RT_OK;
    range r = {l->gradient.from < 0 ? g->n_steps : l->gradient.from, g->n_steps};
    return want(g, &v->d.data, rt_tensor_bytes(&v->d), r, l->gradient.from < 0, err);
}
static rt_status want_values(rt_graph *g, const lives *life, rt_error *err) {
    for (int i = 1; i < g->n_values; i++) {
        rt_value *v = &g->values[i];
        v->d_from = life[i].gradient.from;
        if (v->leaf != RT_NOT_LEAF) {
            RT_TRY(want_parameter(g, v, &life[i], err));
            continue;
        }
        range life_v = life[i].value;
        if (v->output && life_v.from >= 0) life_v.to = g->n_steps;
        if (v->tile_step < 0) RT_TRY(want(g, &v->t.data, rt_tensor_bytes(&v->t), life_v, v->output && g->space, err));
        RT_TRY(want(g, &v->replay, rt_tensor_bytes(&v->t), life[i].replay, false, err));
        range life_d = life[i].gradient;
        if (v->gain && v->live) life_d = (range){g->n_forward, life_d.to < g->n_forward ? g->n_forward : life_d.to}, v->d_from = -1;
        RT_TRY(want(g, &v->d.data, rt_tensor_bytes(&v->d), life_d, false, err));
    }
    return RT_OK;
}

static rt_status want_scratch(rt_graph *g, rt_error *err) {
    for (int t = 0; t < g->n_steps; t++) {
        size_t worker = 0;
        for (int i = 0; i < g->steps[t].count; i++) {
            int at = g->steps[t].first + i;
            const rt_node *n = &g->nodes[g->order[at]];
            RT_TRY(want(g, &g->scratch[at], n->scratch, (range){t, t}, false, err));
            if (n->worker_scratch > worker) worker = n->worker_scratch;
        }
        worker = (worker + ALIGN - 1) / ALIGN * ALIGN;
        if (worker > g->worker_scratch) g->worker_scratch = worker;
    }
    return RT_OK;
}

static rt_status measure(rt_graph *g, lives *life, rt_error *err) {
    for (int i = 0; i < g->n_values; i++) {
        life[i] = (lives){{-1, -1}, {-1, -1}, {-1, -1}};
        g->values[i].tile_step = g->values[i].d_from = -1;
    }
    for (int t = 0; t < g->n_steps; t++)
        for (int i = 0; i < g->steps[t].count; i++) touch_all(g, life, t, &g->nodes[g->order[g->steps[t].first + i]], g->steps[t].kind);
    for (int t = 0; t < g->n_forward; t++) RT_TRY(place_tiles(g, t, life, err));
    RT_TRY(want_values(g, life, err));
    return want_scratch(g, err);
}

/* The buffers of the workspace come first; the others lie side by side. */
static void place_own(rt_graph *g) {
    g->n_shared = 0;
    for (int i = 0; i < g->n_buffers; i++) {
        rt_buffer b = g->buffers[i];
        if (b.own) continue;
        g->buffers[i] = g->buffers[g->n_shared];
        g->buffers[g->n_shared++] = b;
    }
    for (int i = g->n_shared; i < g->n_buffers; i++) {
        g->buffers[i].at = g->own_bytes;
        g->own_bytes += g->buffers[i].bytes;
    }
}
static size_t most_alive(const rt_graph *g) {
    size_t most = 0;
    for (int t = 0; t <= g->n_steps; t++) {
        size_t alive = 0;
        for (int i = 0; i < g->n_buffers; i++)
            if (g->buffers[i].own || (g->buffers[i].from <= t && t <= g->buffers[i].to)) alive += g->buffers[i].bytes;
        if (alive > most) most = alive;
    }
    return most;
}

void rt_graph_lay(rt_graph *g, void *memory) {
    g->memory = memory;
    for (int i = 0; i < g->n_shared; i++) *g->buffers[i].slot = (char *)memory + g->buffers[i].at;
}
static rt_status nothing_left(const rt_graph *g, size_t bytes, rt_error *err) {
    return rt_fail(err, RT_E_NOMEM, "%s: out of memory: %zu bytes of activations", g->name, bytes);
}
static rt_status lay_own(rt_graph *g, rt_error *err) {
    if (g->own_bytes > 0 && !(g->own = rt_zalloc(g->own_bytes))) return nothing_left(g, g->own_bytes, err); /* zero: gradients that no loss reaches */
    for (int i = g->n_shared; i < g->n_buffers; i++) *g->buffers[i].slot = (char *)g->own + g->buffers[i].at;
    return RT_OK;
}

rt_status rt_graph_place(rt_graph *g, rt_error *err) {
    lives *life = rt_alloc(rt_array_bytes((size_t)g->n_values, sizeof *life));
    if (!life) return rt_graph_nomem(g, err);
    rt_status s = measure(g, life, err);
    rt_free(life);
    RT_TRY(s);
    place_own(g);
    g->memory_bytes = rt_graph_pack(g->buffers, g->n_shared);
    g->live_bytes = most_alive(g);
    if (!g->sketch) RT_TRY(lay_own(g, err));
    if (g->space) return rt_workspace_join(g->space, g, err);
    if (g->sketch) return RT_OK;
    void *memory = rt_alloc(g->memory_bytes);
    if (!memory) return nothing_left(g, g->memory_bytes, err);
    rt_parallel_fill(memory, 0xff, g->memory_bytes); /* touched now, so that a step never faults pages in; NaN, so that nothing unset is read unseen */
    rt_graph_lay(g, memory);
    return RT_OK;
}

/* Outputs of the run before still lie where other buffers, and their redzones, come first. */
void rt_graph_guard_reset(rt_graph *g) {
#ifdef RT_MEMCHECK
    memset(g->memory, 0xff, g->memory_bytes);
    for (int i = g->n_shared; i < g->n_buffers; i++) {
        const rt_buffer *b = &g->buffers[i];
        bool written = b->from < g->n_steps; /* not so a gradient that no loss reaches: it stays zero, but for its redzone */
        size_t from = written ? 0 : b->bytes - REDZONE;
        memset((char *)g->own + b->at + from, 0xff, b->bytes - from);
    }
#else
    (void)g;
#endif
}
void rt_graph_guard_check(rt_graph *g, int step) {
#ifdef RT_MEMCHECK
    for (int i = 0; i < g->n_buffers; i++) {
        const rt_buffer *b = &g->buffers[i];
        if (step < b->from || step > b->to) continue;
        const unsigned char *zone = (const unsigned char *)(i < g->n_shared ? g->memory : g->own) + b->at + b->bytes - REDZONE;
        for (int k = 0; k < REDZONE; k++)
            if (zone[k] != 0xff) abort(); /* a bug of ours: an operation wrote behind its buffer */
    }
    for (int i = 0; i < g->n_shared; i++)
        if (g->buffers[i].to == step) memset((char *)g->memory + g->buffers[i].at, 0xff, g->buffers[i].bytes);
#else
    (void)g, (void)step;
#endif
}
