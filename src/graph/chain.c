/* chain.c - one step of the schedule as calls and tasks; see chain.h. */
#include "graph/chain.h"
#include <retort/base/threads.h>
#include <string.h>

/* -------------------------------------------------------------------- calls */

static rt_tensor bound(const rt_value *v, const rt_use *use) {
    rt_tensor t = v->t;
    if (use->replay) t.data = v->replay;
    return t;
}
static rt_tensor gradient(const rt_value *v, const rt_use *use) {
    rt_tensor d = v->d;
    if (!use->gradient) d.data = NULL;
    return d;
}

static void make_call(rt_graph *g, const rt_step *s, int at, unsigned fresh, rt_call *c) {
    int index = g->order[at];
    const rt_node *n = &g->nodes[index];
    c->node = n;
    c->fresh = fresh;
    c->next = NULL;
    c->scratch = g->scratch[at];
    c->cache = g->cache[index];
    c->cache_ready = g->cache_ready[index];
    c->fault = &g->fault;
    for (int k = 0; k < n->op->n_in; k++) {
        c->pieces[k] = g->values[n->in[k].id].pieces;
        if (!rt_infer_has(n, k)) { c->in[k] = c->din[k] = (rt_tensor){0}; continue; }
        const rt_value *v = &g->values[n->in[k].id];
        rt_use use = rt_graph_use(g, n, s->kind, n->in[k].id, RT_IN(k));
        c->in[k] = bound(v, &use);
        c->din[k] = gradient(v, &use);
    }
    for (int k = 0; k < n->op->n_out; k++) {
        const rt_value *v = &g->values[n->out[k].id];
        rt_use use = rt_graph_use(g, n, s->kind, n->out[k].id, RT_OUT(k));
        c->out[k] = bound(v, &use);
        c->dout[k] = gradient(v, &use);
    }
}

/* Large tiles, whose products read a panel for many rows, but two for each thread. A row's bits do not depend on it (decisions.md, 2). */
enum { SMALLEST_TILE = 32 };
static int64_t tile_size(const rt_step *s, int64_t rows) {
    int64_t each = (rows / (2 * rt_threads()) + 15) / 16 * 16, least = each > SMALLEST_TILE ? each : SMALLEST_TILE;
    return least < s->tile_rows ? least : s->tile_rows;
}

void rt_chain_open(rt_graph *g, int t, unsigned fresh, rt_chain *ch) {
    const rt_step *s = &g->steps[t];
    *ch = (rt_chain){.g = g, .step = s, .t = t, .rows = g->nodes[g->order[s->first]].rows};
    ch->tile_rows = tile_size(s, ch->rows);
    for (int i = 0; i < s->count; i++) {
        const rt_node *n = &g->nodes[g->order[s->first + i]];
        make_call(g, s, s->first + i, fresh, &ch->call[i]);
        ch->first_task[i + 1] = ch->first_task[i] + (n->op->prepare && s->kind != RT_BACKWARD ? n->prepare_tasks : 0);
    }
}

/* ------------------------------------------------------------------- panels */

void rt_chain_prepare(void *chain, int64_t task, int worker) {
    const rt_chain *ch = chain;
    int i = 0;
    int64_t since = ch->g->profile ? rt_profile_now() : 0;
    while (task >= ch->first_task[i + 1]) i++;
    ch->call[i].node->op->prepare(&ch->call[i], task - ch->first_task[i], worker);
    if (ch->g->profile) rt_profile_part(ch->g, ch->g->order[ch->step->first + i], since);
}
void rt_chain_ready(rt_chain *ch) {
    for (int i = 0; i < ch->step->count; i++)
        if (ch->call[i].cache && ch->step->kind != RT_BACKWARD) ch->g->cache_ready[ch->g->order[ch->step->first + i]] = true;
}

/* -------------------------------------------------------------------- tiles */

/* Values that live inside the chain: row r0 of the tensor is the first row of the worker's tile memory. */
static void aim_at_tile(const rt_chain *ch, rt_tensor *t, int id, int64_t r0, char *tiles) {
    const rt_value *v = &ch->g->values[id];
    if (id <= 0 || v->tile_step != ch->t) return;
    t->dtype = v->tile_dtype;
    size_t row = rt_tensor_bytes(t) / (size_t)t->dim[0];
    t->data = (void *)((uintptr_t)(tiles + v->tile_at) - (uintptr_t)r0 * row);
}

/* The entry that takes a maker's columns. */
struct rt_next {
    rt_graph *g;
    rt_call call;
    int maker, taker; /* nodes */
};
int64_t rt_call_parts(const rt_call *c) { return c->next->call.node->parts; }
int64_t rt_call_unit(const rt_call *c) { return c->next->call.node->unit; }
bool rt_call_hand_on(const rt_call *c, const rt_columns_made *made) {
    const struct rt_next *next = c->next;
    int64_t since = next->g->profile ? rt_profile_now() : 0;
    bool overflow = next->call.node->op->forward_columns(&next->call, made);
    if (next->g->profile) rt_profile_move(next->g, next->maker, next->taker, since);
    return overflow;
}

typedef struct tile {
    const rt_chain *ch;
    int64_t r0, r1;
    char *memory;
    int worker;
} tile;
static rt_call call_of(const tile *t, int i) {
    rt_call c = t->ch->call[i];
    for (int k = 0; k < c.node->op->n_in; k++) aim_at_tile(t->ch, &c.in[k], c.node->in[k].id, t->r0, t->memory);
    for (int k = 0; k < c.node->op->n_out; k++) aim_at_tile(t->ch, &c.out[k], c.node->out[k].id, t->r0, t->memory);
    return c;
}
/* Entry i, with the one after it where that takes the columns; returns what comes next. False in *more: stop. */
static int run_entry(const tile *t, int i, bool *more) {
    const rt_chain *ch = t->ch;
    const int *node = ch->g->order + ch->step->first;
    bool hands_on = !ch->look && i + 1 < ch->step->count && ch->g->handed[ch->step->first + i + 1];
    struct rt_next next;
    rt_call c = call_of(t, i);
    if (hands_on) {
        next = (struct rt_next){ch->g, call_of(t, i + 1), node[i], node[i + 1]};
        c.next = &next;
    }
    int64_t since = ch->g->profile ? rt_profile_now() : 0;
    c.node->op->forward_rows(&c, t->r0, t->r1, t->worker);
    if (ch->look && ch->look(ch, &c, i, t->r0, t->r1)) *more = false;
    if (ch->g->profile) rt_profile_part(ch->g, node[i], since);
    return i + 1 + hands_on;
}
static rt_rows tile_rows(const rt_chain *ch, int64_t task) {
    int64_t size = ch->tile_rows, end = (task + 1) * size;
    return (rt_rows){task * size, end < ch->rows ? end : ch->rows};
}
static void run_tile(const rt_chain *ch, int64_t task, int worker) {
    rt_rows rows = tile_rows(ch, task);
    tile t = {ch, rows.from, rows.to, (char *)rt_scratch(worker) + ch->g->worker_scratch, worker};
    bool more = true;
    for (int i = 0; more && i < ch->step->count;) i = run_entry(&t, i, &more);
}

/* -------------------------------------------------------------------- tasks */

int64_t rt_chain_tasks(const rt_chain *ch) {
    if (ch->tile_rows > 0) return (ch->rows + ch->tile_rows - 1) / ch->tile_rows;
    return ch->call[0].node->op->tasks(&ch->call[0]);
}
rt_task_rows rt_chain_task_rows(const rt_chain *ch, int64_t task) {
    if (ch->step->tile_rows == 0) return ch->call[0].node->op->task_rows(&ch->call[0], task);
    rt_rows rows = tile_rows(ch, task);
    return (rt_task_rows){rows, rows};
}
static void run_task(const rt_chain *ch, int64_t task, int worker) {
    int64_t since = ch->g->profile ? rt_profile_now() : 0;
    ch->call[0].node->op->forward_task(&ch->call[0], task, worker);
    if (ch->g->profile) rt_profile_part(ch->g, ch->g->order[ch->step->first], since);
}
void rt_chain_task(void *chain, int64_t task, int worker) {
    const rt_chain *ch = chain;
    if (ch->step->tile_rows > 0) run_tile(ch, task, worker);
    else run_task(ch, task, worker);
}
