/* projector_state.c - a projector's state as a file of a checkpoint. Its tensors have the very bits the forward pass
 * reads. */
#include "train/projector_private.h"
#include <retort/io/safetensors.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TENSORS = 4 * RT_PROJECTOR_PARTS };
static const char *const names[RT_PROJECTOR_PARTS][4] = {
    {"projector.weight", "projector.weight.master", "projector.weight.m", "projector.weight.v"},
    {"projector.bias", "projector.bias.master", "projector.bias.m", "projector.bias.v"}};

static int64_t list(const rt_projector *p, rt_named_tensor *out) {
    int64_t n = 0;
    for (int i = 0; i < RT_PROJECTOR_PARTS; i++) {
        const rt_projector_part *a = &p->part[i];
        const rt_tensor *t[] = {&a->value, &a->master, &a->m, &a->v};
        for (int k = 0; k < (p->optim ? 4 : 1); k++) out[n++] = (rt_named_tensor){names[i][k], *t[k]};
    }
    return n;
}

rt_status rt_projector_save(const char *path, void *projector, rt_error *err) {
    const rt_projector *p = projector;
    if (p->kind == RT_PROJECTOR_SHARED) return rt_fail(err, RT_E_ARG, "%s: a shared projector has no state", path);
    rt_named_tensor tensors[TENSORS];
    char steps[32];
    snprintf(steps, sizeof steps, "%lld", (long long)rt_projector_steps(p));
    const char *const metadata[] = {"format", "retort projector", "steps", steps, NULL};
    return rt_safetensors_write(path, tensors, list(p, tensors), &(rt_safetensors_write_options){.metadata = metadata},
                                err);
}

/* ---------------------------------------------------------------------- load */

static rt_status read_steps(const rt_safetensors *f, int64_t *steps, rt_error *err) {
    const char *text = rt_safetensors_metadata(f, "steps");
    char *end = NULL;
    *steps = text ? strtoll(text, &end, 10) : -1;
    if (text && end != text && !*end && *steps >= 0) return RT_OK;
    return rt_fail(err, RT_E_INPUT, "%s: metadata 'steps' is '%s', expected a count", rt_safetensors_path(f),
                   text ? text : "absent");
}

static rt_status check(const rt_safetensors *f, const rt_named_tensor *want, rt_error *err) {
    char a[96], b[96];
    const rt_tensor *t = rt_safetensors_find(f, want->name);
    if (!t) return rt_fail(err, RT_E_INPUT, "%s: %s is missing", rt_safetensors_path(f), want->name);
    bool same = rt_tensor_same_shape(t, &want->tensor);
    if (same && t->dtype == want->tensor.dtype) return RT_OK;
    return rt_fail(err, same ? RT_E_DTYPE : RT_E_SHAPE, "%s: %s is %s, the projector's is %s", rt_safetensors_path(f),
                   want->name, rt_tensor_text(t, a), rt_tensor_text(&want->tensor, b));
}

static rt_status load_from(rt_projector *p, const rt_safetensors *f, rt_error *err) {
    rt_named_tensor tensors[TENSORS];
    int64_t count = list(p, tensors), steps;
    RT_TRY(read_steps(f, &steps, err));
    for (int64_t i = 0; i < count; i++) RT_TRY(check(f, &tensors[i], err));
    for (int64_t i = 0; i < count; i++)
        memcpy(tensors[i].tensor.data, rt_safetensors_find(f, tensors[i].name)->data,
               rt_tensor_bytes(&tensors[i].tensor));
    if (p->optim) rt_optim_set_steps(p->optim, steps);
    return RT_OK;
}

rt_status rt_projector_load(rt_projector *p, const char *path, rt_error *err) {
    if (p->kind == RT_PROJECTOR_SHARED) return rt_fail(err, RT_E_ARG, "%s: a shared projector has no state", path);
    rt_safetensors *f;
    RT_TRY(rt_safetensors_open(path, &f, err));
    rt_status s = load_from(p, f, err);
    rt_safetensors_close(f);
    return s;
}
