/* compare.c - the tensors of two models, paired by name; then the verdict. */
#include "compare/private.h"
#include <retort/base/file.h>
#include <retort/base/json_difference.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A checkpoint's other tensors, compared where both have the file. */
static const char *const others[] = {"optimizer.safetensors", "projector.safetensors"};
enum { OTHERS = 2 };

struct rt_compare {
    rt_compare_options o;
    rt_comparison r;
    rt_safetensors *more[OTHERS][2];
    rt_arena arena;
    int64_t capacity;
};
static rt_status out_of_memory(rt_error *err) { return rt_fail(err, RT_E_NOMEM, "out of memory: comparison"); }

/* ------------------------------------------------------------------- pairing */

static void add(rt_compare *c, const char *name, const rt_tensor *a, const rt_tensor *b, bool other) {
    if (a || b) c->r.tensors[c->r.count++] = (rt_compared){.name = name, .a = a, .b = b, .other = other, .d = {.first = -1, .worst = -1}};
}
static rt_status add_weights(rt_compare *c, const rt_compare_side *of, const rt_compare_side *other, bool is_a, rt_error *err) {
    const rt_model_config *m = rt_hf_config(of->files);
    for (int64_t i = 0, n = rt_weight_count(m); i < n; i++) {
        rt_weight_spec w = rt_weight_at(m, i);
        const rt_tensor *own = rt_hf_weight(of->files, i), *theirs = rt_hf_find(other->files, w.name);
        if (!is_a && theirs) continue; /* paired already */
        const char *name = rt_arena_strdup(&c->arena, w.name);
        if (!name) return out_of_memory(err);
        add(c, name, is_a ? own : NULL, is_a ? theirs : own, false);
    }
    return RT_OK;
}
static rt_status add_other_file(rt_compare *c, int k, bool is_a, rt_error *err) {
    rt_safetensors *of = c->more[k][!is_a], *other = c->more[k][is_a];
    for (int64_t i = 0; i < rt_safetensors_count(of); i++) {
        const rt_named_tensor *t = rt_safetensors_at(of, i);
        const rt_tensor *theirs = rt_safetensors_find(other, t->name);
        if (!is_a && theirs) continue;
        const char *name = rt_arena_printf(&c->arena, "%s: %s", others[k], t->name);
        if (!name) return out_of_memory(err);
        add(c, name, is_a ? &t->tensor : NULL, is_a ? theirs : &t->tensor, true);
    }
    return RT_OK;
}
static rt_status open_others(rt_compare *c, rt_error *err) {
    for (int k = 0; k < OTHERS; k++) {
        const char *a = rt_arena_printf(&c->arena, "%s/%s", c->r.a.path, others[k]), *b = rt_arena_printf(&c->arena, "%s/%s", c->r.b.path, others[k]);
        if (!a || !b) return out_of_memory(err);
        if (!rt_file_exists(a) || !rt_file_exists(b)) continue;
        RT_TRY(rt_safetensors_open(a, &c->more[k][0], err));
        RT_TRY(rt_safetensors_open(b, &c->more[k][1], err));
        c->capacity += rt_safetensors_count(c->more[k][0]) + rt_safetensors_count(c->more[k][1]);
    }
    return RT_OK;
}
static rt_status pair_tensors(rt_compare *c, rt_error *err) {
    RT_TRY(open_others(c, err));
    c->capacity += rt_weight_count(rt_hf_config(c->r.a.files)) + rt_weight_count(rt_hf_config(c->r.b.files));
    c->r.tensors = rt_alloc(rt_array_bytes((size_t)c->capacity, sizeof *c->r.tensors));
    if (!c->r.tensors) return out_of_memory(err);
    RT_TRY(add_weights(c, &c->r.a, &c->r.b, true, err));
    RT_TRY(add_weights(c, &c->r.b, &c->r.a, false, err));
    for (int k = 0; k < OTHERS; k++)
        for (int is_a = 1; c->more[k][1] && is_a >= 0; is_a--) RT_TRY(add_other_file(c, k, is_a, err));
    return RT_OK;
}

/* ----------------------------------------------------------------- difference */

static bool same_bits(const rt_compared *t) { return t->same_shape && !t->d.widened && t->d.differing == 0; }
static bool equal(const rt_compare_options *o, const rt_compared *t) {
    if (!t->same_shape) return false;
    return o->exact ? same_bits(t) : t->d.relative <= o->tolerance;
}
static rt_status compare_tensors(rt_compare *c, rt_error *err) {
    rt_comparison *r = &c->r;
    r->same_weights = true;
    for (int64_t i = 0; i < r->count; i++) {
        rt_compared *t = &r->tensors[i];
        r->only_a += !t->b, r->only_b += !t->a;
        t->same_shape = t->a && t->b && rt_tensor_same_shape(t->a, t->b);
        if (t->same_shape) RT_TRY(rt_tensor_difference_of(t->a, t->b, &t->d, err));
        t->equal = equal(&c->o, t);
        r->same_weights &= same_bits(t);
        if (!t->a || !t->b) continue;
        r->other_shape += !t->same_shape, r->other_dtype += t->a->dtype != t->b->dtype, r->different += !t->equal;
    }
    return RT_OK;
}

static int rank(const rt_compared *t) { return !t->b ? 4 : !t->a ? 5 : 2 * t->other + t->same_shape; }
static int worst_first(const void *a, const void *b) {
    const rt_compared *x = a, *y = b;
    if (rank(x) != rank(y)) return rank(x) - rank(y);
    if (x->d.relative != y->d.relative) return x->d.relative > y->d.relative ? -1 : 1;
    if (x->d.differing != y->d.differing) return x->d.differing > y->d.differing ? -1 : 1;
    return strcmp(x->name, y->name);
}

/* ------------------------------------------------------------------------ all */

static rt_status compare_configurations(rt_compare *c, rt_error *err) {
    rt_comparison *r = &c->r;
    r->same_architecture = rt_model_config_equal(rt_hf_config(r->a.files), rt_hf_config(r->b.files));
    r->same_tokenizer = !*r->a.tokenizer || !*r->b.tokenizer || strcmp(r->a.tokenizer, r->b.tokenizer) == 0;
    r->config_differences = rt_json_differences(r->a.config, r->b.config);
    if (!r->config_differences) return out_of_memory(err);
    if (!r->a.manifest || !r->b.manifest) return RT_OK;
    r->job_differences = rt_json_differences(json_object_get(r->a.manifest, "configuration"), json_object_get(r->b.manifest, "configuration"));
    return r->job_differences ? RT_OK : out_of_memory(err);
}

static rt_status compare_all(rt_compare *c, rt_error *err) {
    rt_comparison *r = &c->r;
    RT_TRY(rt_compare_side_open(&r->a, c->o.a, err));
    RT_TRY(rt_compare_side_open(&r->b, c->o.b, err));
    RT_TRY(pair_tensors(c, err));
    RT_TRY(compare_tensors(c, err));
    qsort(r->tensors, (size_t)r->count, sizeof *r->tensors, worst_first);
    RT_TRY(compare_configurations(c, err));
    r->equal = r->different == 0 && r->only_a == 0 && r->only_b == 0 && r->same_architecture && r->same_tokenizer;
    return rt_compare_probe_run(r, &c->o, err);
}

rt_status rt_compare_open(rt_compare **out, const rt_compare_options *o, rt_error *err) {
    rt_compare *c = *out = rt_zalloc(sizeof *c);
    if (!c) return out_of_memory(err);
    c->o = *o;
    rt_status s = compare_all(c, err);
    if (s != RT_OK) rt_compare_close(c), *out = NULL;
    return s;
}
void rt_compare_close(rt_compare *c) {
    if (!c) return;
    rt_compare_side_close(&c->r.a), rt_compare_side_close(&c->r.b);
    for (int k = 0; k < OTHERS; k++) rt_safetensors_close(c->more[k][0]), rt_safetensors_close(c->more[k][1]);
    json_decref(c->r.config_differences), json_decref(c->r.job_differences);
    rt_free(c->r.tensors);
    rt_arena_free(&c->arena);
    rt_free(c);
}
const rt_comparison *rt_compare_result(const rt_compare *c) { return &c->r; }
