/* student.c - memory and optimizer state of a student. */
#include <retort/io/safetensors.h>
#include <retort/train/student.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool own_master(const rt_slot *s) { return s->t.dtype == RT_F32; }

/* Masters of half weights in a block of their own; the others are views of the weights. */
static rt_status open_masters(rt_student *s, rt_error *err) {
    size_t bytes = 0, at = 0;
    RT_TRY(rt_weights_like(&s->master, &s->weights, RT_F32, err));
    for (int64_t i = 0; i < s->weights.count; i++)
        if (!own_master(&s->weights.slots[i])) bytes += (rt_tensor_bytes(&s->master.slots[i].t) + 63) / 64 * 64;
    if (bytes && !(s->master.block = rt_zalloc(bytes))) return rt_fail(err, RT_E_NOMEM, "out of memory: %zu bytes of master weights", bytes);
    for (int64_t i = 0; i < s->weights.count; i++) {
        rt_tensor *t = &s->master.slots[i].t;
        if (own_master(&s->weights.slots[i])) t->data = s->weights.slots[i].t.data;
        else t->data = (char *)s->master.block + at, at += (rt_tensor_bytes(t) + 63) / 64 * 64;
    }
    return RT_OK;
}

static bool decays(const rt_slot *s, bool all) { return all || (s->role != rt_role_norm && s->role != rt_role_embedding); }

rt_status rt_student_optimizer(rt_student *s, const rt_optim_config *o, bool decay_all, rt_error *err) {
    rt_optim_param *p = rt_zalloc((size_t)s->weights.count * sizeof *p);
    if (!p) return rt_fail(err, RT_E_NOMEM, "out of memory: optimizer");
    for (int64_t i = 0; i < s->weights.count; i++) {
        const rt_slot *w = &s->weights.slots[i];
        p[i] = (rt_optim_param){.name = w->name, .count = rt_tensor_count(&w->t), .master = s->master.slots[i].t.data, .grad = s->grads.slots[i].t.data,
                                .m = s->m.slots[i].t.data, .v = s->v.slots[i].t.data, .decay = decays(w, decay_all),
                                .compute = own_master(w) ? NULL : w->t.data, .compute_dtype = w->t.dtype};
    }
    rt_status status = rt_optim_create(o, p, s->weights.count, &s->optim, err);
    rt_free(p);
    return status;
}

static rt_status lay_out(rt_student *s, const rt_model_config *c, const rt_precision *p, rt_error *err) {
    for (int r = 0; r < RT_ROLE_COUNT; r++)
        if (p->weight[r] == RT_F64) return rt_fail(err, RT_E_UNSUPPORTED, "precision: a student is not trained in f64, which is the tests' reference");
    s->precision = *p;
    RT_TRY(rt_weights_layout(&s->weights, c, p, err));
    rt_weights *f32[] = {&s->grads, &s->m, &s->v};
    for (int i = 0; i < 3; i++) RT_TRY(rt_weights_like(f32[i], &s->weights, RT_F32, err));
    return RT_OK;
}
rt_status rt_student_sketch(rt_student *s, const rt_model_config *c, const rt_precision *p, rt_error *err) {
    *s = (rt_student){0};
    rt_status status = lay_out(s, c, p, err);
    if (status != RT_OK) rt_student_close(s);
    return status;
}

static int64_t padded(const rt_tensor *t) { return (int64_t)(rt_tensor_bytes(t) + 63) / 64 * 64; }
rt_student_bytes rt_student_memory(const rt_student *s) {
    rt_student_bytes b = {0};
    for (int64_t i = 0; i < s->weights.count; i++) {
        b.weights += padded(&s->weights.slots[i].t);
        b.gradients += padded(&s->grads.slots[i].t);
        b.moments += padded(&s->m.slots[i].t) + padded(&s->v.slots[i].t);
        if (!own_master(&s->weights.slots[i])) b.masters += padded(&s->grads.slots[i].t); /* f32 of the same shape */
    }
    return b;
}

static rt_status open_all(rt_student *s, const rt_model_config *c, const rt_precision *p, rt_error *err) {
    RT_TRY(lay_out(s, c, p, err));
    rt_weights *blocks[] = {&s->weights, &s->m, &s->v};
    for (int i = 0; i < 3; i++) RT_TRY(rt_weights_alloc(blocks[i], err));
    return open_masters(s, err);
}

rt_status rt_student_open(rt_student *s, const rt_model_config *c, const rt_precision *p, rt_error *err) {
    *s = (rt_student){0};
    rt_status status = open_all(s, c, p, err);
    if (status != RT_OK) rt_student_close(s);
    return status;
}

void rt_student_close(rt_student *s) {
    rt_optim_free(s->optim);
    rt_weights_free(&s->master), rt_weights_free(&s->m), rt_weights_free(&s->v), rt_weights_free(&s->grads), rt_weights_free(&s->weights);
    *s = (rt_student){0};
}

void rt_student_start(rt_student *s, uint64_t seed) {
    rt_weights_init(&s->master, seed);
    rt_optim_refresh(s->optim);
}

void rt_student_adopt(rt_student *s) {
    for (int64_t i = 0; i < s->weights.count; i++) {
        const rt_tensor *w = &s->weights.slots[i].t;
        float *master = s->master.slots[i].t.data;
        for (int64_t k = 0, n = rt_tensor_count(w); k < n && w->dtype != RT_F32; k++)
            master[k] = w->dtype == RT_F16 ? rt_f16_to_f32(((const rt_f16 *)w->data)[k]) : rt_bf16_to_f32(((const rt_bf16 *)w->data)[k]);
    }
}

/* --------------------------------------------------------- optimizer state */

enum { PARTS = 3 };
static const char *const part_names[PARTS] = {"m", "v", "master"};
static const rt_weights *part(const rt_student *s, int k) { return k == 0 ? &s->m : k == 1 ? &s->v : &s->master; }
static bool stored(const rt_student *s, int k, int64_t i) { return k < 2 || !own_master(&s->weights.slots[i]); }

static rt_status list_tensors(const rt_student *s, rt_arena *arena, rt_named_tensor **out, int64_t *count, rt_error *err) {
    rt_named_tensor *t = *out = rt_arena_alloc(arena, (size_t)(PARTS * s->weights.count) * sizeof *t);
    *count = 0;
    for (int k = 0; t && k < PARTS; k++)
        for (int64_t i = 0; i < s->weights.count; i++) {
            if (!stored(s, k, i)) continue;
            t[*count] = (rt_named_tensor){rt_arena_printf(arena, "%s.%s", part_names[k], s->weights.slots[i].name), part(s, k)->slots[i].t};
            if (!t[(*count)++].name) t = NULL;
            if (!t) break;
        }
    return t ? RT_OK : rt_fail(err, RT_E_NOMEM, "out of memory: optimizer state");
}

rt_status rt_student_save_optimizer(const char *path, void *student, rt_error *err) {
    rt_student *s = student;
    rt_arena arena = {0};
    rt_named_tensor *tensors;
    int64_t count;
    char steps[32];
    snprintf(steps, sizeof steps, "%lld", (long long)rt_optim_steps(s->optim));
    const char *metadata[] = {"steps", steps, NULL};
    rt_status status = list_tensors(s, &arena, &tensors, &count, err);
    if (status == RT_OK) status = rt_safetensors_write(path, tensors, count, &(rt_safetensors_write_options){.metadata = metadata}, err);
    rt_arena_free(&arena);
    return status;
}

static rt_status load_tensors(rt_student *s, const rt_safetensors *file, rt_error *err) {
    char name[256];
    for (int k = 0; k < PARTS; k++)
        for (int64_t i = 0; i < s->weights.count; i++) {
            if (!stored(s, k, i)) continue;
            const rt_tensor *to = &part(s, k)->slots[i].t;
            snprintf(name, sizeof name, "%s.%s", part_names[k], s->weights.slots[i].name);
            const rt_tensor *from = rt_safetensors_find(file, name);
            if (!from || from->dtype != to->dtype || !rt_tensor_same_shape(from, to))
                return rt_fail(err, RT_E_INPUT, "%s: tensor '%s' is %s", rt_safetensors_path(file), name, from ? "of another shape or dtype" : "missing");
            memcpy(to->data, from->data, rt_tensor_bytes(to));
        }
    return RT_OK;
}

rt_status rt_student_load_optimizer(rt_student *s, const char *path, rt_error *err) {
    rt_safetensors *file;
    RT_TRY(rt_safetensors_open(path, &file, err));
    const char *steps = rt_safetensors_metadata(file, "steps");
    rt_status status = steps ? load_tensors(s, file, err) : rt_fail(err, RT_E_INPUT, "%s: the metadata have no 'steps'", path);
    if (status == RT_OK) rt_optim_set_steps(s->optim, strtoll(steps, NULL, 10));
    rt_safetensors_close(file);
    return status;
}
