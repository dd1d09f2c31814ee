/* weights.c - slots: layout, memory, initialisation, and the way from and to the tensors of a file. */
#include "model/expert_bank.h"
#include <retort/base/rng.h>
#include <retort/model/weights.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

static const rt_role roles[RT_WEIGHT_KINDS] = {
    [RT_WEIGHT_EMBED] = rt_role_embedding,     [RT_WEIGHT_ATTN_NORM] = rt_role_norm,      [RT_WEIGHT_QUERY] = rt_role_attention,
    [RT_WEIGHT_KEY] = rt_role_attention,       [RT_WEIGHT_VALUE] = rt_role_attention,     [RT_WEIGHT_QUERY_BIAS] = rt_role_attention,
    [RT_WEIGHT_KEY_BIAS] = rt_role_attention,  [RT_WEIGHT_VALUE_BIAS] = rt_role_attention, [RT_WEIGHT_QUERY_NORM] = rt_role_norm,
    [RT_WEIGHT_KEY_NORM] = rt_role_norm,       [RT_WEIGHT_ATTN_OUT] = rt_role_attention,  [RT_WEIGHT_FFN_NORM] = rt_role_norm,
    [RT_WEIGHT_FFN_GATE] = rt_role_expert,     [RT_WEIGHT_FFN_UP] = rt_role_expert,       [RT_WEIGHT_FFN_DOWN] = rt_role_expert,
    [RT_WEIGHT_ROUTER] = rt_role_router,       [RT_WEIGHT_SHARED_SCORE] = rt_role_expert, [RT_WEIGHT_SHARED_GATE] = rt_role_expert,
    [RT_WEIGHT_SHARED_UP] = rt_role_expert,    [RT_WEIGHT_SHARED_DOWN] = rt_role_expert,  [RT_WEIGHT_EXPERT_GATE] = rt_role_expert,
    [RT_WEIGHT_EXPERT_UP] = rt_role_expert,    [RT_WEIGHT_EXPERT_DOWN] = rt_role_expert,  [RT_WEIGHT_FINAL_NORM] = rt_role_norm,
    [RT_WEIGHT_HEAD] = rt_role_head};

/* Of the files' weights, those that open a slot: expert 0's gate opens gate_up, its down opens down. */
static bool opens_slot(const rt_weight_spec *s) { return s->expert < 0 || (s->expert == 0 && s->kind != RT_WEIGHT_EXPERT_UP); }

static rt_tensor slot_shape(const rt_model_config *c, const rt_weight_spec *s, rt_dtype t) {
    if (s->expert < 0) return rt_tensor_make(t, s->ndim, s->dim, NULL);
    int64_t rows = s->kind == RT_WEIGHT_EXPERT_GATE ? 2 * c->ffn_size : c->ffn_size;
    return rt_tensor_3d(t, NULL, c->experts, rows, c->hidden_size);
}
static const char *slot_name(rt_weights *w, const rt_weight_spec *s) {
    if (s->expert < 0) return rt_arena_strdup(&w->arena, s->name);
    return rt_arena_printf(&w->arena, "layers.%d.experts.%s", s->layer, s->kind == RT_WEIGHT_EXPERT_GATE ? "gate_up" : "down");
}

rt_status rt_weights_layout(rt_weights *w, const rt_model_config *c, const rt_precision *p, rt_error *err) {
    *w = (rt_weights){.config = *c};
    int64_t files = rt_weight_count(c);
    w->slots = rt_arena_alloc(&w->arena, rt_array_bytes((size_t)files, sizeof *w->slots));
    if (!w->slots) return rt_fail(err, RT_E_NOMEM, "out of memory: %lld weights", (long long)files);
    for (int64_t i = 0; i < files; i++) {
        rt_weight_spec s = rt_weight_at(c, i);
        if (!opens_slot(&s)) continue;
        rt_slot *slot = &w->slots[w->count++];
        *slot = (rt_slot){.kind = s.kind, .layer = s.layer, .name = slot_name(w, &s), .t = slot_shape(c, &s, p->weight[roles[s.kind]]), .role = roles[s.kind]};
        if (!slot->name) return rt_fail(err, RT_E_NOMEM, "out of memory: names of weights");
    }
    return RT_OK;
}

rt_status rt_weights_like(rt_weights *w, const rt_weights *of, rt_dtype t, rt_error *err) {
    *w = (rt_weights){.config = of->config, .count = of->count};
    w->slots = rt_arena_alloc(&w->arena, (size_t)of->count * sizeof *w->slots);
    if (!w->slots) return rt_fail(err, RT_E_NOMEM, "out of memory: %lld weights", (long long)of->count);
    for (int64_t i = 0; i < of->count; i++) {
        w->slots[i] = of->slots[i];
        w->slots[i].pieces = (rt_pieces){0};
        w->slots[i].name = rt_arena_strdup(&w->arena, of->slots[i].name);
        w->slots[i].t = rt_tensor_make(t, of->slots[i].t.ndim, of->slots[i].t.dim, NULL);
        if (!w->slots[i].name) return rt_fail(err, RT_E_NOMEM, "out of memory: names of weights");
    }
    return RT_OK;
}

static size_t padded(const rt_tensor *t) { return (rt_tensor_bytes(t) + 63) / 64 * 64; }

rt_status rt_weights_alloc(rt_weights *w, rt_error *err) {
    size_t bytes = 0, at = 0;
    for (int64_t i = 0; i < w->count; i++) bytes += padded(&w->slots[i].t);
    if (!(w->block = rt_zalloc(bytes))) return rt_fail(err, RT_E_NOMEM, "out of memory: %zu bytes of weights", bytes);
    w->block_bytes = bytes;
    for (int64_t i = 0; i < w->count; i++) {
        w->slots[i].t.data = (char *)w->block + at;
        at += padded(&w->slots[i].t);
    }
    return RT_OK;
}

void rt_weights_free(rt_weights *w) {
    rt_bank_close(w->bank);
    rt_free(w->block);
    rt_arena_free(&w->arena);
    *w = (rt_weights){0};
}

int64_t rt_weights_find(const rt_weights *w, rt_weight_kind kind, int layer) {
    for (int64_t i = 0; i < w->count; i++)
        if (w->slots[i].kind == kind && w->slots[i].layer == layer) return i;
    return -1;
}

/* ---------------------------------------------------------- initialisation */

static void put(rt_tensor *t, int64_t i, double x) {
    switch (t->dtype) {
    case RT_F64: ((double *)t->data)[i] = x; break;
    case RT_F16: ((rt_f16 *)t->data)[i] = rt_f32_to_f16((float)x); break;
    case RT_BF16: ((rt_bf16 *)t->data)[i] = rt_f32_to_bf16((float)x); break;
    default: ((float *)t->data)[i] = (float)x;
    }
}
/* Standard deviation of a kind; what writes into the residual stream is divided by sqrt(2 layers). */
static double deviation(rt_weight_kind k, int64_t layers) {
    switch (k) {
    case RT_WEIGHT_QUERY_BIAS:
    case RT_WEIGHT_KEY_BIAS:
    case RT_WEIGHT_VALUE_BIAS: return 0;
    case RT_WEIGHT_ATTN_OUT:
    case RT_WEIGHT_FFN_DOWN:
    case RT_WEIGHT_SHARED_DOWN:
    case RT_WEIGHT_EXPERT_DOWN: return 0.02 * (1 / sqrt(2.0 * (double)layers));
    default: return 0.02;
    }
}
void rt_weights_init(rt_weights *w, uint64_t seed) {
    for (int64_t k = 0; k < w->count; k++) {
        rt_slot *s = &w->slots[k];
        rt_rng r = rt_rng_make(seed, s->name, 0);
        double scale = deviation(s->kind, w->config.layers);
        for (int64_t i = 0, n = rt_tensor_count(&s->t); i < n; i++)
            put(&s->t, i, s->role == rt_role_norm ? 1.0 : scale * rt_rng_normal(r, (uint64_t)i));
    }
}

/* -------------------------------------------------------- files and slots */

/* Where weight `spec` of a file stands in its slot: slot index and, when stacked, the element offset of its block. */
static int64_t place(const rt_weights *w, const rt_weight_spec *spec, int64_t *offset) {
    int64_t F = w->config.ffn_size, D = w->config.hidden_size;
    bool down = spec->kind == RT_WEIGHT_EXPERT_DOWN;
    *offset = 0;
    if (spec->expert < 0) return rt_weights_find(w, spec->kind, spec->layer);
    *offset = down ? spec->expert * F * D : spec->expert * 2 * F * D + (spec->kind == RT_WEIGHT_EXPERT_UP ? F * D : 0);
    return rt_weights_find(w, down ? RT_WEIGHT_EXPERT_DOWN : RT_WEIGHT_EXPERT_GATE, spec->layer);
}

static void transpose(const char *from, int64_t rows, int64_t columns, char *to, size_t size) {
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < columns; j++) memcpy(to + (size_t)(j * rows + i) * size, from + (size_t)(i * columns + j) * size, size);
}

static rt_status check_dtype(const rt_slot *s, const rt_weight_spec *spec, const rt_tensor *from, rt_error *err) {
    if (from->dtype == s->t.dtype) return RT_OK;
    return rt_fail(err, RT_E_DTYPE, "%s is %s, the precision policy says %s", spec->name, rt_dtype_name(from->dtype), rt_dtype_name(s->t.dtype));
}
static rt_status copy_one(rt_weights *w, const rt_weight_spec *spec, const rt_tensor *from, rt_error *err) {
    int64_t offset;
    rt_slot *s = &w->slots[place(w, spec, &offset)];
    RT_TRY(check_dtype(s, spec, from, err));
    size_t size = rt_dtype_size(s->t.dtype);
    char *to = (char *)s->t.data + (size_t)offset * size;
    if (spec->expert >= 0 && spec->kind == RT_WEIGHT_EXPERT_DOWN) transpose(from->data, spec->dim[0], spec->dim[1], to, size);
    else memcpy(to, from->data, rt_tensor_bytes(from));
    return RT_OK;
}

static rt_status missing(const rt_weight_spec *s, rt_error *err) { return rt_fail(err, RT_E_INPUT, "weight %s is missing", s->name); }

rt_status rt_weights_copy(rt_weights *w, rt_weight_source source, void *context, rt_error *err) {
    for (int64_t i = 0; i < rt_weight_count(&w->config); i++) {
        rt_weight_spec spec = rt_weight_at(&w->config, i);
        const rt_tensor *t = source(context, i);
        if (!t) return missing(&spec, err);
        RT_TRY(copy_one(w, &spec, t, err));
    }
    return RT_OK;
}

static int part_of(rt_weight_kind k) { return k == RT_WEIGHT_EXPERT_GATE ? RT_EXPERT_GATE : k == RT_WEIGHT_EXPERT_UP ? RT_EXPERT_UP : RT_EXPERT_DOWN; }
static const void **expert_view(const rt_weights *w, const rt_weight_spec *spec) {
    return &w->views[rt_expert_unit(w, spec->layer, spec->expert) * RT_EXPERT_PARTS + part_of(spec->kind)];
}
/* The first tensor of a slot sets its dtype. */
static rt_status borrow_one(rt_weights *w, const rt_weight_spec *spec, const rt_tensor *from, rt_error *err) {
    int64_t offset;
    rt_slot *s = &w->slots[place(w, spec, &offset)];
    if (opens_slot(spec)) s->t.dtype = from->dtype;
    if (spec->expert < 0) s->t.data = from->data;
    else *expert_view(w, spec) = from->data;
    return check_dtype(s, spec, from, err);
}
rt_status rt_weights_borrow(rt_weights *w, rt_weight_source source, void *context, rt_error *err) {
    size_t units = (size_t)(w->config.experts * w->config.layers);
    if (units && !(w->views = rt_arena_alloc(&w->arena, rt_array_bytes(units, RT_EXPERT_PARTS * sizeof *w->views))))
        return rt_fail(err, RT_E_NOMEM, "out of memory: %zu experts", units);
    for (int64_t i = 0; i < rt_weight_count(&w->config); i++) {
        rt_weight_spec spec = rt_weight_at(&w->config, i);
        const rt_tensor *t = source(context, i);
        if (!t) return missing(&spec, err);
        RT_TRY(borrow_one(w, &spec, t, err));
    }
    return units ? rt_expert_bank_open(w, err) : RT_OK;
}

rt_status rt_weights_expert_budget(rt_weights *w, int64_t bytes, rt_error *err) {
    int64_t least = w->bank ? rt_bank_stats_get(w->bank).unit_bytes : 0;
    if (bytes > 0 && !w->bank) return rt_fail(err, RT_E_CONFIG, "found an expert budget of %lld bytes, but the model has no experts", (long long)bytes);
    if (bytes > 0 && bytes < least)
        return rt_fail(err, RT_E_CONFIG, "found an expert budget of %lld bytes, expected at least %lld, the bytes of one expert", (long long)bytes, (long long)least);
    if (w->bank) rt_bank_limit(w->bank, bytes);
    return RT_OK;
}

rt_tensor rt_weights_get(const rt_weights *w, int64_t i, void *buffer) {
    rt_weight_spec spec = rt_weight_at(&w->config, i);
    int64_t offset;
    const rt_slot *s = &w->slots[place(w, &spec, &offset)];
    size_t size = rt_dtype_size(s->t.dtype);
    rt_tensor t = rt_tensor_make(s->t.dtype, spec.ndim, spec.dim, NULL);
    if (s->pieces.bank) return t.data = (void *)(uintptr_t)*expert_view(w, &spec), t;
    t.data = (char *)s->t.data + (size_t)offset * size;
    if (spec.expert < 0 || spec.kind != RT_WEIGHT_EXPERT_DOWN) return t;
    transpose(t.data, spec.dim[1], spec.dim[0], buffer, size);
    t.data = buffer;
    return t;
}
