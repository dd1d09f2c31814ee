/* optim.c - one step: norm, clip, one fused pass a block. Blocks of 65536 elements are the tasks; within a block, tiles of
 * 1024 stay in the first cache while they are updated, summed and rounded, so that memory is read and written once. */
#include "optim/method.h"
#include <retort/base/mem.h>
#include <retort/base/threads.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { BLOCK = 65536, TILE = 1024 };

#define X(name) extern const rt_optim_method rt_optim_##name;
#include "optim/optimizers.def"
#undef X
static const rt_optim_method *const methods[] = {
#define X(name) &rt_optim_##name,
#include "optim/optimizers.def"
#undef X
};
const char *const rt_optim_names[] = {
#define X(name) #name,
#include "optim/optimizers.def"
#undef X
    NULL};

typedef struct block {
    const rt_optim_param *param;
    int64_t start, count;
    double grad, weight, update; /* sums of squares */
} block;
struct rt_optim {
    const rt_optim_method *method;
    rt_optim_config config;
    rt_optim_param *params;
    block *blocks;
    int64_t param_count, block_count, steps;
    rt_optim_scalars scalars; /* of the step in progress */
    double norm_seconds, update_seconds; /* of the last step */
};

/* ------------------------------------------------------------------ checks */

static const rt_optim_method *find(const char *name) {
    for (size_t i = 0; i < sizeof methods / sizeof *methods; i++)
        if (strcmp(methods[i]->name, name) == 0) return methods[i];
    return NULL;
}

static rt_status check_config(const rt_optim_config *c, rt_error *err) {
    if (!find(c->name)) return rt_fail(err, RT_E_CONFIG, "unknown optimizer '%s' (there is: %s)", c->name, rt_optim_names[0]);
    if (!(c->beta1 >= 0 && c->beta1 < 1 && c->beta2 >= 0 && c->beta2 < 1))
        return rt_fail(err, RT_E_ARG, "optimizer.betas: found [%g, %g], expected numbers in [0, 1)", c->beta1, c->beta2);
    if (!isnormal((float)c->eps) || c->eps < 0)
        return rt_fail(err, RT_E_ARG, "optimizer.eps: found %g, expected a normal positive f32 number", c->eps);
    if (!(c->weight_decay >= 0 && isfinite(c->weight_decay) && c->clip >= 0 && isfinite(c->clip)))
        return rt_fail(err, RT_E_ARG, "optimizer: weight_decay and clip must be finite and not negative");
    return RT_OK;
}

static rt_status check_param(const rt_optim_param *p, rt_error *err) {
    if (p->count <= 0) return rt_fail(err, RT_E_ARG, "parameter '%s' has no elements", p->name);
    if (!p->grad) return rt_fail(err, RT_E_ARG, "parameter '%s' is trainable but receives no gradient", p->name);
    if (!p->master || !p->m || !p->v) return rt_fail(err, RT_E_ARG, "parameter '%s' lacks a master copy or a moment", p->name);
    rt_dtype t = p->compute_dtype;
    if (p->compute && t != RT_F32 && !rt_dtype_is_half(t))
        return rt_fail(err, RT_E_DTYPE, "parameter '%s': compute copy is %s, expected f32, f16 or bf16", p->name, rt_dtype_name(t));
    return RT_OK;
}

typedef struct span {
    uintptr_t from, to;
    const char *name;
} span;
static int by_address(const void *a, const void *b) {
    uintptr_t x = ((const span *)a)->from, y = ((const span *)b)->from;
    return (x > y) - (x < y);
}
static span span_of(const void *p, size_t bytes, const char *name) { return (span){(uintptr_t)p, (uintptr_t)p + bytes, name}; }

/* Whatever a step writes belongs to one parameter: groups partition the parameters. */
static rt_status check_partition(const rt_optim_param *params, int64_t count, rt_error *err) {
    span *spans = rt_alloc(rt_array_bytes((size_t)count, 4 * sizeof *spans));
    if (!spans) return rt_fail(err, RT_E_NOMEM, "out of memory");
    size_t n = 0;
    for (const rt_optim_param *p = params; p < params + count; p++) {
        size_t bytes = (size_t)p->count * sizeof(float);
        spans[n++] = span_of(p->master, bytes, p->name);
        spans[n++] = span_of(p->m, bytes, p->name);
        spans[n++] = span_of(p->v, bytes, p->name);
        if (p->compute) spans[n++] = span_of(p->compute, (size_t)p->count * rt_dtype_size(p->compute_dtype), p->name);
    }
    qsort(spans, n, sizeof *spans, by_address);
    rt_status status = RT_OK;
    for (size_t i = 1; i < n && status == RT_OK; i++)
        if (spans[i].from < spans[i - 1].to)
            status = rt_fail(err, RT_E_ARG, "parameters '%s' and '%s' share memory: one of them is in two groups",
                             spans[i - 1].name, spans[i].name);
    rt_free(spans);
    return status;
}

/* ------------------------------------------------------------------ create */

static int64_t blocks_of(const rt_optim_param *p) { return (p->count + BLOCK - 1) / BLOCK; }

static void cut(rt_optim *o) {
    block *b = o->blocks;
    for (const rt_optim_param *p = o->params; p < o->params + o->param_count; p++)
        for (int64_t start = 0; start < p->count; start += BLOCK)
            *b++ = (block){.param = p, .start = start, .count = p->count - start < BLOCK ? p->count - start : BLOCK};
}

rt_status rt_optim_create(const rt_optim_config *config, const rt_optim_param *params, int64_t count, rt_optim **out, rt_error *err) {
    int64_t blocks = 0;
    *out = NULL;
    RT_TRY(check_config(config, err));
    for (int64_t i = 0; i < count; i++) {
        RT_TRY(check_param(&params[i], err));
        blocks += blocks_of(&params[i]);
    }
    RT_TRY(check_partition(params, count, err));
    rt_optim *o = rt_zalloc(sizeof *o);
    if (!o) return rt_fail(err, RT_E_NOMEM, "out of memory");
    *o = (rt_optim){.method = find(config->name), .config = *config, .param_count = count, .block_count = blocks};
    o->params = rt_alloc(rt_array_bytes((size_t)count, sizeof *o->params));
    o->blocks = rt_alloc(rt_array_bytes((size_t)blocks, sizeof *o->blocks));
    if (!o->params || !o->blocks) {
        rt_optim_free(o);
        return rt_fail(err, RT_E_NOMEM, "out of memory: %lld blocks of the optimizer", (long long)blocks);
    }
    if (count) memcpy(o->params, params, (size_t)count * sizeof *params);
    cut(o);
    *out = o;
    return RT_OK;
}

void rt_optim_free(rt_optim *o) {
    if (!o) return;
    rt_free(o->params);
    rt_free(o->blocks);
    rt_free(o);
}
int64_t rt_optim_steps(const rt_optim *o) { return o->steps; }
/* The norm reads gradients; the update reads those, master and moments, and writes the latter three and the copy. */
rt_optim_cost rt_optim_cost_get(const rt_optim *o) {
    rt_optim_cost c = {.norm_seconds = o->norm_seconds, .update_seconds = o->update_seconds};
    for (const rt_optim_param *p = o->params; p < o->params + o->param_count; p++) {
        c.norm_bytes += (double)p->count * sizeof(float);
        c.update_bytes += (double)p->count * (7 * sizeof(float) + (p->compute ? (double)rt_dtype_size(p->compute_dtype) : 0));
    }
    return c;
}
void rt_optim_set_steps(rt_optim *o, int64_t steps) { o->steps = steps; }

/* -------------------------------------------------------------------- step */

static void *half_at(const rt_optim_param *p, int64_t i) { return (char *)p->compute + (size_t)i * rt_dtype_size(p->compute_dtype); }

static void grad_task(void *context, int64_t task, int worker) {
    (void)worker;
    block *b = &((rt_optim *)context)->blocks[task];
    b->grad = rt_optim_sum_squares(b->count, b->param->grad + b->start);
}

static void update_task(void *context, int64_t task, int worker) {
    (void)worker;
    rt_optim *o = context;
    block *b = &o->blocks[task];
    const rt_optim_param *p = b->param;
    rt_optim_scalars s = o->scalars;
    float u[TILE];
    if (!p->decay) s.decay = 0;
    b->weight = b->update = 0;
    for (int64_t i = b->start, end = b->start + b->count, n; i < end; i += n) {
        n = end - i < TILE ? end - i : TILE;
        o->method->tile(&s, n, p->grad + i, p->master + i, p->m + i, p->v + i, u);
        b->update += rt_optim_sum_squares(n, u);
        b->weight += rt_optim_sum_squares(n, p->master + i);
        if (p->compute) rt_optim_round(p->compute_dtype, n, p->master + i, half_at(p, i));
    }
}

static void refresh_task(void *context, int64_t task, int worker) {
    (void)worker;
    const block *b = &((rt_optim *)context)->blocks[task];
    const rt_optim_param *p = b->param;
    if (p->compute) rt_optim_round(p->compute_dtype, b->count, p->master + b->start, half_at(p, b->start));
}
void rt_optim_refresh(rt_optim *o) { rt_parallel(o->block_count, refresh_task, o); }

static rt_optim_scalars scalars(const rt_optim *o, double lr, double scale) {
    const rt_optim_config *c = &o->config;
    double t = (double)o->steps + 1;
    return (rt_optim_scalars){
        .lr = (float)lr, .scale = (float)scale, .decay = (float)(lr * c->weight_decay), .eps = (float)c->eps,
        .beta1 = (float)c->beta1, .beta2 = (float)c->beta2, .rest1 = (float)(1 - c->beta1), .rest2 = (float)(1 - c->beta2),
        .correction1 = (float)(1 / (1 - pow(c->beta1, t))), .correction2 = (float)(1 / (1 - pow(c->beta2, t)))};
}

static rt_status not_finite(const rt_optim *o, double norm, rt_error *err) {
    const block *b = o->blocks;
    while (b < o->blocks + o->block_count - 1 && isfinite(b->grad)) b++;
    return rt_fail(err, RT_E_NUMERIC, "optimizer step %lld: the gradient's norm is %g; the first such parameter is '%s'",
                   (long long)o->steps, norm, o->block_count ? b->param->name : "none");
}

static double run(rt_optim *o, rt_task_fn task) { /* over all blocks; the seconds it took */
    struct timespec start, end;
    clock_gettime(CLOCK_MONOTONIC, &start);
    rt_parallel(o->block_count, task, o);
    clock_gettime(CLOCK_MONOTONIC, &end);
    return (double)(end.tv_sec - start.tv_sec) + 1e-9 * (double)(end.tv_nsec - start.tv_nsec);
}

rt_status rt_optim_step(rt_optim *o, double lr, double grad_scale, rt_optim_stats *stats, rt_error *err) {
    rt_optim_stats local, *s = stats ? stats : &local;
    *s = (rt_optim_stats){.clip = 1};
    if (!isfinite(lr) || !isfinite(grad_scale) || lr < 0)
        return rt_fail(err, RT_E_ARG, "optimizer step: learning rate %g, gradient scale %g", lr, grad_scale);
    o->norm_seconds = run(o, grad_task);
    double grad = 0, weight = 0, update = 0;
    for (int64_t i = 0; i < o->block_count; i++) grad += o->blocks[i].grad;
    s->grad_norm = sqrt(grad) * fabs(grad_scale);
    if (!isfinite(s->grad_norm)) return not_finite(o, s->grad_norm, err);
    if (o->config.clip > 0 && s->grad_norm > o->config.clip) s->clip = o->config.clip / s->grad_norm;
    o->scalars = scalars(o, lr, grad_scale * s->clip);
    o->update_seconds = run(o, update_task);
    for (int64_t i = 0; i < o->block_count; i++) weight += o->blocks[i].weight, update += o->blocks[i].update;
    s->param_norm = sqrt(weight);
    s->update_norm = sqrt(update);
    o->steps++;
    return RT_OK;
}
