/* check.c - an export read again: its tensors against the source rounded number by number (dtype.h, not the kernels that
 * wrote it), its logits against the rounded weights in memory, and what rounding cost against the model as it was. */
#include "export/private.h"
#include <retort/base/file.h>
#include <retort/base/rng.h>
#include <retort/losses/losses.h>
#include <retort/ops/head.h>
#include <retort/infer/logits.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* ------------------------------------------------------------------ tensors */

static float number(const rt_tensor *t, int64_t i) {
    switch (t->dtype) {
    case RT_F16: return rt_f16_to_f32(((const rt_f16 *)t->data)[i]);
    case RT_BF16: return rt_bf16_to_f32(((const rt_bf16 *)t->data)[i]);
    default: return ((const float *)t->data)[i];
    }
}
static uint32_t f32_bits(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}
/* Number i of the source as a type stores it. Of q8_0: its block's scale, and the nearest multiple of it, halves away from zero. */
static float block_scale(const rt_tensor *from, int64_t i) {
    float most = 0;
    for (int64_t k = i / RT_Q8_0_BLOCK * RT_Q8_0_BLOCK, end = k + RT_Q8_0_BLOCK; k < end; k++) most = fmaxf(most, fabsf(number(from, k)));
    return most / 127;
}
static float stored(rt_gguf_type t, const rt_tensor *from, int64_t i, float d) {
    float x = number(from, i);
    switch (t) {
    case RT_GGUF_TYPE_F16: return rt_f16_to_f32(rt_f32_to_f16(x));
    case RT_GGUF_TYPE_BF16: return rt_bf16_to_f32(rt_f32_to_bf16(x));
    case RT_GGUF_TYPE_Q8_0: return rt_f16_to_f32(rt_f32_to_f16(d)) * (float)(int)roundf(x * (d > 0 ? 1 / d : 0));
    default: return x;
    }
}
static rt_status check_tensor(const rt_tensor *from, const rt_tensor *to, const rt_rounded *rounded, int64_t index, rt_export_report *r, rt_error *err) {
    rt_gguf_type t = rounded->types[index];
    rt_weight_spec w = rt_weight_at(rounded->config, index);
    rt_dtype expected = rounded->tensors[index].dtype;
    if (to->dtype != expected) return rt_fail(err, RT_E_CHECK, "tensor %s was written as %s, expected %s", w.name, rt_dtype_name(to->dtype), rt_dtype_name(expected));
    r->tensors++;
    r->weights += rt_tensor_count(from);
    float d = 0;
    for (int64_t i = 0; i < rt_tensor_count(from); i++) {
        if (t == RT_GGUF_TYPE_Q8_0 && i % RT_Q8_0_BLOCK == 0) d = block_scale(from, i);
        float x = number(from, i), held = stored(t, from, i, d), found = number(to, i);
        if (f32_bits(found) != f32_bits(held))
            return rt_fail(err, RT_E_CHECK, "tensor %s: number %lld is %.9g in the export, expected %.9g rounded to %s", w.name, (long long)i,
                           (double)found, (double)x, rt_gguf_type_find((uint32_t)t)->name);
        r->changed += found != x;
    }
    return RT_OK;
}
static rt_status check_tensors(const rt_hf *source, const rt_hf *export, const rt_rounded *rounded, const rt_export_options *o, rt_export_report *r,
                               rt_error *err) {
    if (!rt_model_config_equal(rounded->config, rt_hf_config(export))) return rt_fail(err, RT_E_CHECK, "the configuration read again differs from the model's");
    for (int64_t i = 0; i < rounded->count; i++) {
        r->kept_f16 += o->q8_0 && rounded->types[i] == RT_GGUF_TYPE_F16;
        RT_TRY(check_tensor(rt_hf_weight(source, i), rt_hf_weight(export, i), rounded, i, r, err));
    }
    return RT_OK;
}

/* -------------------------------------------------------------------- probe */

enum { SOURCE, EXPORT, ROUNDED, MODELS, PROBE = 512, PROBE_T = 128 };
typedef struct probe {
    const rt_export_options *o;
    rt_export_report *r;
    rt_weights rounded;
    rt_logits model[MODELS];
    int32_t random[PROBE];
    const int32_t *ids;
    int64_t count, T;
    rt_graph *g; /* KL and first choices of the export against the source */
    rt_ref targets, source, export, out;
    int32_t *supervised; /* [T] */
    double kl, agreed;
} probe;

static const rt_tensor *tensor_of(void *context, int64_t i) { return &((const rt_rounded *)context)->tensors[i]; }

/* The dtypes of the rounded weights, f32 activations: what (b) compares. */
static rt_precision precision_of(const rt_rounded *r) {
    rt_precision p = rt_precision_teacher(r->tensors[0].dtype, false);
    for (int64_t i = 0; i < r->count; i++) p.weight[rt_weight_role(rt_weight_at(r->config, i).kind)] = r->tensors[i].dtype;
    return p;
}
static rt_status open_models(probe *p, const rt_frozen *source, const rt_frozen *export, const rt_rounded *rounded, rt_error *err) {
    rt_precision plain = precision_of(rounded);
    if (!rt_precision_equal(&plain, &export->precision)) return rt_fail(err, RT_E_CHECK, "the export's dtypes are not those it was written with");
    RT_TRY(rt_weights_layout(&p->rounded, rounded->config, &plain, err));
    RT_TRY(rt_weights_borrow(&p->rounded, tensor_of, (void *)(uintptr_t)rounded, err));
    RT_TRY(rt_logits_open(&p->model[SOURCE], &source->weights, &source->precision, p->T, err));
    RT_TRY(rt_logits_open(&p->model[EXPORT], &export->weights, &export->precision, p->T, err));
    return rt_logits_open(&p->model[ROUNDED], &p->rounded, &plain, p->T, err);
}

static rt_status open_comparison(probe *p, int64_t V, rt_error *err) {
    static const rt_head_term terms[] = {{.loss = &rt_loss_kl_t1}, {.loss = &rt_loss_top1_agreement}};
    rt_tensor logits = rt_tensor_2d(RT_F32, NULL, p->T, V), targets = rt_tensor_1d(RT_I32, NULL, p->T);
    p->supervised = rt_zalloc((size_t)p->T * sizeof *p->supervised);
    p->g = rt_graph_new("probe");
    if (!p->g || !p->supervised) return rt_fail(err, RT_E_NOMEM, "out of memory: the probe");
    targets.data = p->supervised;
    p->targets = rt_graph_input(p->g, "targets", &targets);
    p->source = rt_graph_input(p->g, "source", &logits);
    p->export = rt_graph_input(p->g, "export", &logits);
    rt_prec f32 = rt_prec_uniform(RT_F32);
    rt_head_config c = {.student = {.logits = p->export, .prec = f32}, .teacher = {.logits = p->source, .prec = f32}, .targets = p->targets,
                        .terms = terms, .n_terms = 2, .vocab = V};
    p->out = rt_head(p->g, &c, "kl", NULL);
    rt_graph_output(p->g, p->out);
    return rt_graph_plan(p->g, false, err);
}

static void choose_ids(probe *p, const rt_model_config *c) {
    rt_rng r = rt_rng_make(1, "export probe", 0);
    for (int i = 0; i < PROBE; i++) p->random[i] = (int32_t)rt_rng_below(r, (uint64_t)i, (uint64_t)c->vocab_size);
    p->ids = p->o->probe ? p->o->probe : p->random;
    p->count = p->o->probe ? p->o->probe_ids : PROBE;
    p->T = rt_model_longest(c) < PROBE_T ? rt_model_longest(c) : PROBE_T;
}

/* Choices of the source that the export does not make. */
static void count_flips(probe *p, int64_t n) {
    const rt_forward *a = &p->model[SOURCE].forward, *b = &p->model[EXPORT].forward;
    for (int64_t l = 0; l < a->model.n_layers && !rt_ref_is_null(a->model.layers[l].ids); l++) {
        const rt_tensor *x = rt_graph_value(a->g, a->model.layers[l].ids), *y = rt_graph_value(b->g, b->model.layers[l].ids);
        const int32_t *from = x->data, *to = y->data;
        int64_t k = x->dim[1];
        for (int64_t i = 0; i < n * k; i++) {
            bool kept = false;
            for (int64_t j = 0; j < k; j++) kept |= to[i / k * k + j] == from[i];
            p->r->routes++;
            p->r->routes_flipped += !kept;
        }
    }
}

static rt_status compare(probe *p, const rt_tensor *const *z, int64_t n, rt_error *err) {
    for (int64_t i = 0; i < p->T; i++) p->supervised[i] = i < n ? 0 : -1;
    rt_graph_bind(p->g, p->source, z[SOURCE]->data);
    rt_graph_bind(p->g, p->export, z[EXPORT]->data);
    RT_TRY(rt_graph_forward(p->g, err));
    const rt_tensor *t = rt_graph_value(p->g, p->out);
    const double *row = t->data;
    int64_t width = t->dim[1];
    p->kl += rt_vocab_report(&rt_loss_kl_t1, row, width) * (double)n;
    p->agreed += rt_vocab_report(&rt_loss_top1_agreement, row + width, width) * (double)n;
    p->r->positions += n;
    count_flips(p, n);
    return RT_OK;
}

static rt_status run_window(probe *p, int64_t first, int64_t n, rt_error *err) {
    const rt_tensor *z[MODELS];
    for (int m = 0; m < MODELS; m++) RT_TRY(rt_logits_run(&p->model[m], p->ids + first, n, &z[m], err));
    size_t bytes = (size_t)(n * z[EXPORT]->dim[1]) * sizeof(float);
    if (memcmp(z[EXPORT]->data, z[ROUNDED]->data, bytes) != 0)
        return rt_fail(err, RT_E_CHECK, "the export's logits are not those of the rounded weights (probe ids %lld to %lld)", (long long)first, (long long)(first + n));
    return compare(p, z, n, err);
}

static rt_status run_probe(probe *p, const rt_frozen *source, const rt_frozen *export, const rt_rounded *rounded, rt_error *err) {
    choose_ids(p, rounded->config);
    RT_TRY(open_models(p, source, export, rounded, err));
    RT_TRY(open_comparison(p, rounded->config->vocab_size, err));
    for (int64_t i = 0; i < p->count; i += p->T) RT_TRY(run_window(p, i, p->count - i < p->T ? p->count - i : p->T, err));
    if (p->r->positions == 0) return rt_fail(err, RT_E_ARG, "the probe has no ids");
    p->r->kl = p->kl / (double)p->r->positions;
    p->r->top1_changed = p->r->positions - (int64_t)(p->agreed + 0.5);
    return RT_OK;
}

static rt_status check_logits(const rt_frozen *source, const rt_frozen *export, const rt_rounded *rounded, const rt_export_options *o,
                              rt_export_report *r, rt_error *err) {
    probe *p = rt_zalloc(sizeof *p);
    if (!p) return rt_fail(err, RT_E_NOMEM, "out of memory: the probe");
    p->o = o, p->r = r;
    rt_status s = run_probe(p, source, export, rounded, err);
    for (int m = 0; m < MODELS; m++) rt_logits_close(&p->model[m]);
    rt_graph_free(p->g);
    rt_weights_free(&p->rounded);
    rt_free(p->supervised);
    rt_free(p);
    return s;
}

/* Bytes of the files that hold the weights. */
static rt_status measure(const char *path, const rt_rounded *rounded, const rt_export_options *o, rt_export_report *r, rt_error *err) {
    char name[RT_HF_PART_NAME], file[8192];
    r->files = 1;
    if (o->gguf) return rt_file_size(path, &r->bytes, err);
    r->files = rt_hf_parts(rounded->config, rounded->tensors, o->part_bytes);
    for (int64_t i = 0, bytes; i < r->files; i++, r->bytes += bytes) {
        snprintf(file, sizeof file, "%s/%s", path, rt_hf_part_name(name, i, r->files));
        RT_TRY(rt_file_size(file, &bytes, err));
    }
    return RT_OK;
}
rt_status rt_export_check(const char *path, const rt_frozen *source, const rt_rounded *rounded, const rt_export_options *o,
                          rt_export_report *r, rt_error *err) {
    rt_frozen export;
    *r = (rt_export_report){0};
    RT_TRY(measure(path, rounded, o, r, err));
    RT_TRY(rt_frozen_open(&export, path, RT_ACTIVATIONS_F32, err));
    rt_status s = check_tensors(source->files, export.files, rounded, o, r, err);
    if (s == RT_OK) s = check_logits(source, &export, rounded, o, r, err);
    rt_frozen_close(&export);
    return s;
}
