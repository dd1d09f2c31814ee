/* expert_job.c - see expert_job.h. */
#include "ops/expert_job.h"
#include <string.h>

rt_expert_sizes rt_expert_sizes_of(const rt_tensor *x, const rt_tensor *w, const rt_tensor *gate_up) {
    rt_expert_sizes z = {.N = x->dim[0], .D = x->dim[1], .k = w->dim[1], .E = gate_up->dim[0], .F = gate_up->dim[1] / 2};
    z.pairs = z.N * z.k;
    z.slots = rt_places_slots(z.pairs, z.E);
    z.tiles = rt_places_tiles(z.pairs, z.E);
    return z;
}

static size_t rows_bytes(rt_expert_sizes z, size_t size) { return rt_align64((size_t)(z.slots * z.D) * size); }
static size_t tiles_bytes(rt_expert_sizes z) { return rt_align64((size_t)z.tiles * sizeof(rt_tile)); }
static size_t experts_bytes(rt_expert_sizes z) { return rt_align64((size_t)z.E * sizeof(int32_t)); }
static size_t matrices_bytes(rt_expert_sizes z) { return rt_align64((size_t)z.E * sizeof(rt_expert_matrix)); }
static size_t list_bytes(rt_expert_sizes z) { return 2 * tiles_bytes(z) + 2 * experts_bytes(z) + 2 * matrices_bytes(z); }
static size_t trace_bytes(rt_expert_sizes z) { return (size_t)(z.tiles * 2 * z.D) * sizeof(double); }
size_t rt_expert_scratch(rt_expert_sizes z, size_t size, bool trace) {
    return rt_align64(rows_bytes(z, size) + list_bytes(z) + (trace ? trace_bytes(z) : 0));
}

rt_expert_job rt_expert_job_open(const rt_call *c) {
    rt_expert_job j = {.call = c, .z = rt_expert_sizes_of(&c->in[X], &c->in[W], &c->in[GATE_UP])};
    char *s = (char *)c->scratch + rows_bytes(j.z, rt_compute_size(c->node));
    j.places = rt_places_view(c->out[PLACES].data, j.z.pairs, j.z.E);
    j.list = rt_take(&s, tiles_bytes(j.z)), j.wave_tiles = rt_take(&s, tiles_bytes(j.z));
    j.experts = rt_take(&s, experts_bytes(j.z)), j.here = rt_take(&s, experts_bytes(j.z));
    j.gate_up = rt_take(&s, matrices_bytes(j.z)), j.down = rt_take(&s, matrices_bytes(j.z));
    j.partial = (double *)(void *)s;
    return j;
}

/* ------------------------------------------------------------------- waves */

bool rt_expert_summon(rt_expert_job *j, int64_t n, int64_t *taken) {
    const rt_call *c = j->call;
    rt_error err = {0};
    *taken = n;
    if (c->pieces[GATE_UP] && rt_bank_acquire(c->pieces[GATE_UP]->bank, c->pieces[GATE_UP]->first, j->wave, n, taken, &err) != RT_OK)
        return rt_call_fail(c, err.status, "%s", err.text), false;
    memset(j->here, 0, (size_t)j->z.E * sizeof *j->here);
    for (int64_t i = 0; i < *taken; i++) {
        int32_t e = j->wave[i];
        j->here[e] = 1;
        j->gate_up[e] = rt_expert_matrix_of(&c->in[GATE_UP], c->pieces[GATE_UP], e);
        j->down[e] = rt_expert_matrix_of(&c->in[DOWN], c->pieces[DOWN], e);
    }
    return true;
}
/* The wave's tiles keep the order of the list: largest first. */
static int64_t pick_tiles(rt_expert_job *j) {
    int64_t n = 0;
    for (int64_t i = 0; i < j->tiles; i++)
        if (j->here[j->list[i].expert]) j->wave_tiles[n++] = j->list[i];
    return n;
}
bool rt_expert_waves(rt_expert_job *j, bool by_tile, rt_task_fn task) {
    int64_t n = rt_places_experts(&j->places, j->experts), taken;
    j->tiles = by_tile ? rt_places_list(&j->places, j->list) : 0;
    for (int64_t done = 0; done < n; done += taken) {
        j->wave = j->experts + done;
        if (!rt_expert_summon(j, n - done, &taken)) return false;
        rt_parallel(by_tile ? pick_tiles(j) : taken, task, j);
    }
    return true;
}
