/* upcycle.c - see upcycle.h for what is made and why it computes the dense model's function. */
#include "kernels/convert.h"
#include <retort/base/rng.h>
#include <retort/train/upcycle.h>
#include <math.h>
#include <string.h>

/* ---------------------------------------------------------------- families */

/* The feed-forward part, of one kind or another; every other weight is carried over. */
static bool feed_forward(int kind) { return kind >= RT_WEIGHT_FFN_GATE && kind <= RT_WEIGHT_EXPERT_DOWN; }

static bool takes_over(const rt_arch *to, const rt_arch *dense) {
    bool renormalises = to->norm_topk || to->norm_topk_key;
    if (dense->moe || !to->moe || !renormalises || to->shared_expert || to->config_path[0] || to->qk_norm != dense->qk_norm) return false;
    for (int k = 0; k < RT_WEIGHT_KINDS; k++)
        if (!feed_forward(k) && !to->names[k] != !dense->names[k]) return false;
    return true;
}

const rt_arch *rt_upcycle_arch(const rt_arch *dense) {
    for (const char *const *name = rt_arch_names(); *name; name++)
        if (takes_over(rt_arch_find(*name), dense)) return rt_arch_find(*name);
    return NULL;
}

rt_status rt_upcycle_refuse(const rt_arch *dense, const rt_arch *to, const char *where, rt_error *err) {
    const rt_arch *fits = rt_upcycle_arch(dense);
    if (dense->moe)
        return rt_fail(err, RT_E_CONFIG, "student.init upcycle: %s is a %s and has experts already (init: checkpoint starts from it)", where, dense->name);
    if (!fits) return rt_fail(err, RT_E_CONFIG, "student.init upcycle: %s is a %s, which no family with experts takes over weight by weight", where, dense->name);
    return rt_fail(err, RT_E_CONFIG, "student.arch: found %s, expected %s: %s is a %s", to ? to->name : "none", fits->name, where, dense->name);
}

static rt_status check_multiple(const char *what, int64_t value, int64_t g, rt_error *err) {
    if (value % g == 0) return RT_OK;
    return rt_fail(err, RT_E_CONFIG, "student.%s: found %lld, expected a multiple of student.granularity %lld", what, (long long)value, (long long)g);
}

rt_status rt_upcycle_config(const rt_model_config *dense, const rt_arch *to, const rt_upcycle *u, const char *where, rt_model_config *out, rt_error *err) {
    if (!takes_over(to, dense->arch)) return rt_upcycle_refuse(dense->arch, to, where, err);
    if (dense->ffn_size % u->granularity)
        return rt_fail(err, RT_E_CONFIG, "student.granularity: found %lld, expected a divisor of %lld, the inner width of %s", (long long)u->granularity,
                       (long long)dense->ffn_size, where);
    RT_TRY(check_multiple("experts", u->experts, u->granularity, err));
    RT_TRY(check_multiple("experts_per_token", u->experts_per_token, u->granularity, err));
    *out = *dense;
    out->arch = to;
    out->ffn_size = dense->ffn_size / u->granularity;
    out->experts = u->experts, out->experts_per_token = u->experts_per_token;
    out->norm_topk = true;
    out->dense_ffn_size = to->dense_layers ? dense->ffn_size : 0;
    rt_error local = {0};
    rt_status status = rt_model_config_check(out, &local);
    return status == RT_OK ? RT_OK : rt_fail(err, status, "student: %s", local.text);
}

/* ----------------------------------------------------------------- weights */

enum { PIECE = 4096, MATRICES = 3 };
typedef struct maker {
    const rt_hf *dense;
    const rt_upcycle *u;
    const rt_model_config *config; /* of the mixture */
    float *buffer;                 /* the largest weight that is converted or made */
    rt_tensor out;                 /* what was made last */
    int rms_layer;
    double rms[MATRICES]; /* of the dense layer's gate, up, down; < 0: not yet */
    rt_status status;
    rt_error *err;
} maker;

static int64_t slice_of(const maker *m, int expert) { return expert % m->u->granularity; }
static int64_t copy_of(const maker *m, int expert) { return expert / m->u->granularity; }
static const char *at(const rt_tensor *t, int64_t element) { return (const char *)t->data + (size_t)element * rt_dtype_size(t->dtype); }

static const rt_tensor *dense_weight(const maker *m, rt_weight_kind kind, int layer) {
    rt_weight_spec spec;
    if (kind >= RT_WEIGHT_EXPERT_GATE && kind <= RT_WEIGHT_EXPERT_DOWN) kind = kind - RT_WEIGHT_EXPERT_GATE + RT_WEIGHT_FFN_GATE;
    return rt_weight_find(rt_hf_config(m->dense), kind, layer, -1, &spec) ? rt_hf_find(m->dense, spec.name) : NULL;
}

static double root_mean_square(const rt_tensor *t) {
    float x[PIECE];
    double sum = 0;
    int64_t n = rt_tensor_count(t);
    for (int64_t i = 0; i < n; i += PIECE) {
        int64_t piece = n - i < PIECE ? n - i : PIECE;
        rt_rows_load_f32(t->dtype, at(t, i), x, piece);
        for (int64_t k = 0; k < piece; k++) sum += (double)x[k] * (double)x[k];
    }
    return sqrt(sum / (double)n);
}
/* Once per matrix, not once per expert: experts of a layer are made one after another. */
static double noise_of(maker *m, const rt_weight_spec *w, const rt_tensor *dense) {
    int matrix = (int)w->kind - RT_WEIGHT_EXPERT_GATE;
    if (m->u->noise == 0) return 0;
    for (int i = 0; i < MATRICES && w->layer != m->rms_layer; i++) m->rms[i] = -1;
    m->rms_layer = w->layer;
    if (m->rms[matrix] < 0) m->rms[matrix] = root_mean_square(dense);
    return m->u->noise * m->rms[matrix];
}

/* x = factor (x + deviation N(0,1)): one rounding, and none where there is nothing to do or the factor is a power of two. */
static void disturb(const maker *m, int64_t weight, double deviation, double factor, int64_t n) {
    rt_rng r = rt_rng_make(m->u->seed, "upcycle noise", (uint64_t)weight);
    if (deviation == 0 && factor == 1) return;
    for (int64_t i = 0; i < n; i++) {
        double noise = deviation == 0 ? 0 : deviation * rt_rng_normal(r, (uint64_t)i);
        m->buffer[i] = (float)(factor * ((double)m->buffer[i] + noise));
    }
}

static void make_router(const maker *m, const rt_weight_spec *w) {
    rt_rng r = rt_rng_make(m->u->seed, "upcycle router", (uint64_t)w->layer);
    for (int64_t e = 0; e < w->dim[0]; e++)
        for (int64_t d = 0; d < w->dim[1]; d++)
            m->buffer[e * w->dim[1] + d] = (float)(0.02 * rt_rng_normal(r, (uint64_t)(copy_of(m, (int)e) * w->dim[1] + d)));
}

/* Rows of gate and up, columns of down; [rows, columns] of the slice. */
static void make_expert(maker *m, int64_t weight, const rt_weight_spec *w, const rt_tensor *dense) {
    bool down = w->kind == RT_WEIGHT_EXPERT_DOWN;
    int64_t rows = w->dim[0], columns = w->dim[1], slice = slice_of(m, w->expert), n = rows * columns;
    if (!down) rt_rows_load_f32(dense->dtype, at(dense, slice * n), m->buffer, n);
    for (int64_t i = 0; down && i < rows; i++)
        rt_rows_load_f32(dense->dtype, at(dense, i * dense->dim[1] + slice * columns), m->buffer + i * columns, columns);
    disturb(m, weight, noise_of(m, w, dense), down ? (double)m->u->granularity : 1, n);
}

static const rt_tensor *refuse(maker *m, const rt_weight_spec *w, const rt_tensor *t) {
    if (!t) m->status = rt_fail(m->err, RT_E_INPUT, "%s: no weight for %s", rt_hf_path(m->dense), w->name);
    else m->status = rt_fail(m->err, RT_E_UNSUPPORTED, "%s: the weight for %s is %s, expected f32, f16 or bf16", rt_hf_path(m->dense), w->name, rt_dtype_name(t->dtype));
    return NULL;
}

/* Weight i of the mixture in f32: a view of the file where it lies there as it is needed, else made in the buffer. */
static const rt_tensor *make(void *context, int64_t i) {
    maker *m = context;
    rt_weight_spec w = rt_weight_at(m->config, i);
    m->out = rt_tensor_make(RT_F32, w.ndim, w.dim, m->buffer);
    if (w.kind == RT_WEIGHT_ROUTER) return make_router(m, &w), &m->out;
    const rt_tensor *dense = dense_weight(m, w.kind, w.layer);
    if (!dense || dense->dtype == RT_F64) return refuse(m, &w, dense);
    if (w.expert >= 0) return make_expert(m, i, &w, dense), &m->out;
    if (dense->dtype == RT_F32) return dense;
    rt_rows_load_f32(dense->dtype, dense->data, m->buffer, rt_tensor_count(dense));
    return &m->out;
}

static int64_t largest(const rt_model_config *c) {
    int64_t most = 0;
    for (int64_t i = 0; i < rt_weight_count(c); i++) {
        rt_weight_spec w = rt_weight_at(c, i);
        int64_t n = w.ndim == 2 ? w.dim[0] * w.dim[1] : w.dim[0];
        most = n > most ? n : most;
    }
    return most;
}

rt_status rt_upcycle_weights(rt_weights *w, const rt_hf *dense, const rt_upcycle *u, rt_error *err) {
    rt_error missing = {0};
    maker m = {.dense = dense, .u = u, .config = &w->config, .rms_layer = -1, .status = RT_OK, .err = err};
    m.buffer = rt_alloc((size_t)largest(&w->config) * sizeof *m.buffer);
    if (!m.buffer) return rt_fail(err, RT_E_NOMEM, "out of memory: weights of the experts");
    rt_status s = rt_weights_copy(w, make, &m, &missing);
    rt_free(m.buffer);
    if (m.status != RT_OK) return m.status;
    return s == RT_OK ? RT_OK : rt_fail(err, s, "%s", missing.text);
}
