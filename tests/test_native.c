/* test_native.c - what "native half precision" means, operation by operation (decision: each output is rounded once to the file's
 * dtype; inside an operation all is f32; logits stay f32). Every operation of a whole model is compared with its formula in f64 on
 * the operation's actual inputs, rounded at the same place: at least 99 % equal, none more than 1 ulp of the half type apart. A sum
 * whose terms cancel has no such promise (its f32 rounding errors are of the size of the terms, not of the result): there the
 * difference may also be 8 x 2^-24 of the sum of the terms' sizes. And what happens beyond the largest f16. */
#include "fixture_models.h"
#include "graph/internal.h"
#include "harness.h"
#include "loss_graph.h"
#include "small_model.h"
#include "stacked.h"
#include <retort/infer/logits.h>
#include <math.h>
#include <string.h>

typedef struct operands {
    const rt_model_config *c;
    rt_tensor in[RT_MAX_IN]; /* f64, or i32; data NULL where absent */
    rt_tensor out;           /* f64, zeroed */
    double *terms;           /* per output the sum of its terms' sizes; zeroed, stays so where nothing is summed */
} operands;

static double *f64(const rt_tensor *t) { return t->data; }
static const int32_t *i32(const rt_tensor *t) { return t->data; }

/* ----------------------------------------------------------------- formulas */

static void embed(operands *o) {
    int64_t D = o->out.dim[1];
    for (int64_t n = 0; n < o->out.dim[0]; n++) memcpy(f64(&o->out) + n * D, f64(&o->in[1]) + i32(&o->in[0])[n] * D, (size_t)D * 8);
}
static void linear(operands *o) {
    int64_t N = o->out.dim[0], O = o->out.dim[1], K = o->in[0].dim[1], column = 0;
    for (int i = 2; i < 5 && o->in[i].data; column += o->in[i++].dim[0])
        for (int64_t n = 0; n < N; n++)
            for (int64_t r = 0; r < o->in[i].dim[0]; r++) {
                double y = o->in[1].data ? f64(&o->in[1])[n * O + column + r] : 0;
                if (o->in[i + 3].data) y += f64(&o->in[i + 3])[r];
                double *terms = &o->terms[n * O + column + r];
                for (int64_t k = 0; k < K; k++) {
                    double term = f64(&o->in[0])[n * K + k] * f64(&o->in[i])[r * K + k];
                    y += term, *terms += fabs(term);
                }
                f64(&o->out)[n * O + column + r] = y;
            }
}
static void rmsnorm(operands *o) {
    int64_t D = o->out.dim[1];
    for (int64_t n = 0; n < o->out.dim[0]; n++) {
        const double *x = f64(&o->in[0]) + n * D;
        double square = 0;
        for (int64_t d = 0; d < D; d++) square += x[d] * x[d];
        for (int64_t d = 0; d < D; d++) f64(&o->out)[n * D + d] = x[d] / sqrt(square / (double)D + o->c->norm_eps) * f64(&o->in[1])[d];
    }
}
static void normalised_groups(const operands *o, int64_t n, int64_t from, int64_t to, const rt_tensor *w) {
    int64_t C = o->out.dim[1], width = w->dim[0];
    for (int64_t at = from; at < to; at += width) {
        const double *x = f64(&o->in[0]) + n * C + at;
        double square = 0;
        for (int64_t d = 0; d < width; d++) square += x[d] * x[d];
        for (int64_t d = 0; d < width; d++) f64(&o->out)[n * C + at + d] = x[d] / sqrt(square / (double)width + o->c->norm_eps) * f64(w)[d];
    }
}
static void qk_norm(operands *o) {
    int64_t Q = o->c->heads * o->c->head_dim, K = o->c->kv_heads * o->c->head_dim;
    memcpy(o->out.data, o->in[0].data, rt_tensor_bytes(&o->out));
    for (int64_t n = 0; n < o->out.dim[0]; n++) {
        normalised_groups(o, n, 0, Q, &o->in[1]);
        normalised_groups(o, n, Q, Q + K, &o->in[2]);
    }
}
static void gate(operands *o) {
    int64_t K = o->in[0].dim[1], D = o->out.dim[1];
    for (int64_t n = 0; n < o->out.dim[0]; n++) {
        double score = 0;
        for (int64_t k = 0; k < K; k++) score += f64(&o->in[0])[n * K + k] * f64(&o->in[1])[k];
        for (int64_t d = 0; d < D; d++) f64(&o->out)[n * D + d] = f64(&o->in[2])[n * D + d] / (1 + exp(-score));
    }
}
static void rope(operands *o) {
    int64_t C = o->out.dim[1], dim = o->c->head_dim, half = dim / 2, turned = (o->c->heads + o->c->kv_heads) * dim;
    for (int64_t n = 0; n < o->out.dim[0]; n++)
        for (int64_t j = 0; j < C; j++) {
            const double *x = f64(&o->in[0]) + n * C;
            int64_t at = i32(&o->in[1])[n] * half + j % half;
            double c = f64(&o->in[2])[at], s = f64(&o->in[3])[at];
            double y = j >= turned ? x[j] : j % dim < half ? x[j] * c - x[j + half] * s : x[j] * c + x[j - half] * s;
            f64(&o->out)[n * C + j] = y;
        }
}
static double key_dot(const operands *o, int64_t n, int64_t m, int64_t h) {
    int64_t dim = o->c->head_dim, C = o->in[0].dim[1], group = o->c->heads / o->c->kv_heads;
    const double *q = f64(&o->in[0]) + n * C + h * dim, *k = f64(&o->in[0]) + m * C + (o->c->heads + h / group) * dim;
    double s = 0;
    for (int64_t d = 0; d < dim; d++) s += q[d] * k[d];
    return s / sqrt((double)dim);
}
static void attention_head(operands *o, int64_t n, int64_t h) {
    int64_t dim = o->c->head_dim, C = o->in[0].dim[1], group = o->c->heads / o->c->kv_heads;
    double sum = 0, largest = -HUGE_VAL, *y = f64(&o->out) + n * o->out.dim[1] + h * dim, *terms = o->terms + n * o->out.dim[1] + h * dim;
    for (int64_t m = i32(&o->in[1])[n]; m <= n; m++) largest = fmax(largest, key_dot(o, n, m, h));
    for (int64_t m = i32(&o->in[1])[n]; m <= n; m++) {
        const double *v = f64(&o->in[0]) + m * C + (o->c->heads + o->c->kv_heads + h / group) * dim;
        double p = exp(key_dot(o, n, m, h) - largest);
        sum += p;
        for (int64_t d = 0; d < dim; d++) y[d] += p * v[d], terms[d] += fabs(p * v[d]);
    }
    for (int64_t d = 0; d < dim; d++) y[d] /= sum, terms[d] /= sum;
}
static void attention(operands *o) {
    for (int64_t n = 0; n < o->out.dim[0]; n++)
        for (int64_t h = 0; h < o->c->heads; h++) attention_head(o, n, h);
}
static double silu(double x) { return x / (1 + exp(-x)); }
static void swiglu(operands *o) {
    int64_t F = o->out.dim[1];
    for (int64_t i = 0; i < rt_tensor_count(&o->out); i++) {
        const double *row = f64(&o->in[0]) + i / F * 2 * F;
        f64(&o->out)[i] = silu(row[i % F]) * row[F + i % F];
    }
}
static void add(operands *o) {
    for (int64_t i = 0; i < rt_tensor_count(&o->out); i++) f64(&o->out)[i] = f64(&o->in[0])[i] + f64(&o->in[1])[i];
}
static void cast(operands *o) { memcpy(o->out.data, o->in[0].data, rt_tensor_bytes(&o->out)); }
/* softmax over all, taken at the k largest (ties to the lower id), renormalised where the model says so */
static void route(operands *o) {
    int64_t E = o->in[0].dim[1], k = o->out.dim[1];
    for (int64_t n = 0; n < o->out.dim[0]; n++) {
        const double *s = f64(&o->in[0]) + n * E;
        double sum = 0, all = 0, *w = f64(&o->out) + n * k;
        for (int64_t e = 0; e < E; e++) {
            int64_t above = 0;
            for (int64_t j = 0; j < E; j++) above += s[j] > s[e] || (s[j] == s[e] && j < e);
            all += exp(s[e]);
            if (above < k) sum += w[above] = exp(s[e]);
        }
        for (int64_t j = 0; j < k; j++) w[j] /= o->c->norm_topk ? sum : all;
    }
}
static double expert_hidden(const operands *o, const double *x, int64_t e, int64_t f) {
    int64_t D = o->in[0].dim[1], F = o->in[5].dim[1];
    const double *gate = f64(&o->in[4]) + (e * 2 * F + f) * D, *up = gate + F * D;
    double g = 0, u = 0;
    for (int64_t d = 0; d < D; d++) g += gate[d] * x[d], u += up[d] * x[d];
    return silu(g) * u;
}
static void experts(operands *o) {
    int64_t D = o->in[0].dim[1], F = o->in[5].dim[1], k = o->in[2].dim[1];
    for (int64_t i = 0; i < rt_tensor_count(&o->in[2]); i++) {
        int64_t n = i / k, e = i32(&o->in[2])[i];
        for (int64_t f = 0; f < F; f++) {
            double a = f64(&o->in[1])[i] * expert_hidden(o, f64(&o->in[0]) + n * D, e, f);
            for (int64_t d = 0; d < D; d++) {
                double term = a * f64(&o->in[5])[(e * F + f) * D + d];
                f64(&o->out)[n * D + d] += term, o->terms[n * D + d] += fabs(term);
            }
        }
    }
}
static const struct {
    const char *op;
    void (*formula)(operands *o);
} formulas[] = {{"embed", embed}, {"linear", linear}, {"rmsnorm", rmsnorm}, {"qk_norm", qk_norm}, {"rope", rope}, {"attention", attention},
                {"swiglu", swiglu}, {"gate", gate}, {"add", add}, {"cast", cast}, {"route", route}, {"experts", experts}, {NULL, NULL}};

/* --------------------------------------------------------------- comparison */

/* Half numbers in their order, as integers: neighbours differ by 1. */
static int32_t ordinal(uint16_t bits) { return bits & 0x8000 ? -(int32_t)(bits & 0x7fff) : (int32_t)bits; }
static uint16_t half_bits(rt_dtype t, double x) { return t == RT_F16 ? rt_f32_to_f16((float)x).bits : rt_f32_to_bf16((float)x).bits; }

static void compare_half(const rt_tensor *got, const operands *o, const char *role) {
    int64_t n = rt_tensor_count(got), equal = 0;
    int32_t worst = 0;
    for (int64_t i = 0; i < n; i++) {
        int32_t apart = abs(ordinal(((const uint16_t *)got->data)[i]) - ordinal(half_bits(got->dtype, f64(&o->out)[i])));
        bool cancelled = fabs(rt_get(got, i) - f64(&o->out)[i]) <= 8 * 0x1p-24 * o->terms[i];
        if (!cancelled && apart > worst) worst = apart;
        equal += apart == 0;
    }
    RT_CHECK(worst <= 1 && equal * 100 >= n * 99, "%s: %d ulp apart, %.2f %% equal", role, worst, 100.0 * (double)equal / (double)n);
}
static void compare_f32(const rt_tensor *got, const rt_tensor *want, const char *role) {
    double worst = 0, largest = 0;
    for (int64_t i = 0; i < rt_tensor_count(got); i++) {
        worst = fmax(worst, fabs(rt_get(got, i) - f64(want)[i]));
        largest = fmax(largest, fabs(f64(want)[i]));
    }
    RT_CHECK(worst <= 2e-6 * largest, "%s: f32 output %.3g apart of %.3g", role, worst, largest);
}

static rt_tensor as_f64(const rt_tensor *t) {
    rt_tensor x = rt_tensor_make(t->dtype == RT_I32 ? RT_I32 : RT_F64, t->ndim, t->dim, NULL);
    if (!t->data) return x;
    x.data = rt_zalloc(rt_tensor_bytes(&x));
    for (int64_t i = 0; i < rt_tensor_count(t); i++) rt_put(&x, i, rt_get(t, i));
    return x;
}
/* Of a value, or of a leaf that comes in pieces. */
static rt_tensor operand(const rt_value *v) {
    if (!v->pieces) return as_f64(&v->t);
    rt_tensor whole = stacked_pieces(&v->t, v->pieces), x = as_f64(&whole);
    rt_free(whole.data);
    return x;
}

static void check_node(const rt_graph *g, const rt_node *n, const rt_model_config *c) {
    operands o = {.c = c};
    int f = 0;
    while (formulas[f].op && strcmp(formulas[f].op, n->op->name) != 0) f++;
    RT_CHECK(formulas[f].op != NULL, "no formula for '%s'", n->op->name);
    if (!formulas[f].op) return;
    for (int k = 0; k < n->op->n_in; k++)
        if (n->in[k].id > 0) o.in[k] = operand(&g->values[n->in[k].id]);
    const rt_tensor *got = &g->values[n->out[0].id].t;
    o.out = rt_tensor_make(RT_F64, got->ndim, got->dim, rt_zalloc(8 * (size_t)rt_tensor_count(got)));
    o.terms = rt_zalloc(8 * (size_t)rt_tensor_count(got));
    formulas[f].formula(&o);
    if (rt_dtype_is_half(got->dtype)) compare_half(got, &o, n->role);
    else compare_f32(got, &o.out, n->role);
    for (int k = 0; k < n->op->n_in; k++) rt_free(o.in[k].data);
    rt_free(o.out.data);
    rt_free(o.terms);
}

/* The model with every value kept. */
static rt_status open_watched(rt_graph *g, const rt_frozen *f, rt_model *m, rt_batch *b, rt_error *err) {
    rt_model_inputs in = rt_batch_inputs(g, b->rows);
    RT_TRY(rt_model_build(g, &f->weights, NULL, false, &f->precision, &(rt_model_options){.length = b->T}, in, m, err));
    for (int i = 1; i < g->n_values; i++) rt_graph_output(g, (rt_ref){i});
    rt_graph_no_chains(g);
    RT_TRY(rt_graph_plan(g, false, err));
    rt_batch_bind(g, in, b);
    return rt_graph_forward(g, err);
}
static void fill(rt_batch *b, const int32_t *ids) {
    for (int64_t i = 0; i < b->rows; i++) {
        b->ids[i] = ids[i];
        b->position[i] = (int32_t)(i % b->T), b->start[i] = (int32_t)(i / b->T * b->T), b->valid[i] = 1;
    }
}
static void check_model(const fixture *f, const char *variant) {
    rt_error err = {0};
    rt_frozen files;
    rt_batch batch = {0};
    rt_model model = {0};
    rt_graph *g = rt_graph_new(variant);
    RT_OK_OR_FAIL(rt_frozen_open(&files, fixture_path(f, variant), RT_ACTIVATIONS_NATIVE, &err));
    RT_OK_OR_FAIL(rt_batch_create(&batch, 2, FIXTURE_T, &err));
    fill(&batch, f->ids);
    if (err.status == RT_OK) RT_OK_OR_FAIL(open_watched(g, &files, &model, &batch, &err));
    for (int i = 0; err.status == RT_OK && i < g->n_nodes; i++) check_node(g, &g->nodes[i], &files.weights.config);
    rt_graph_free(g);
    rt_model_free(&model);
    rt_batch_free(&batch);
    rt_frozen_close(&files);
}

static void each_operation_rounds_once(void) {
    static const char *const models[] = {"llama", "mistral", "qwen2", "qwen3", "mixtral", "qwen2_moe", "qwen3_moe", "olmoe"}, *const variants[] = {"f16", "bf16"};
    for (int i = 0; i < 16; i++) {
        fixture f;
        if (!fixture_open(&f, models[i / 2])) return;
        check_model(&f, variants[i % 2]);
        fixture_close(&f);
    }
}

/* ----------------------------------------------------------------- overflow */

static void overflow_in(rt_weight_kind kind, int layer, float scale, const char *says, int64_t experts_count) {
    rt_error err = {0};
    rt_weights w;
    rt_logits l;
    rt_precision p = rt_precision_teacher(RT_F16, true);
    rt_model_config c = small_config(experts_count);
    const rt_tensor *z;
    small_model(&w, &c, &p, 0.3);
    rt_tensor *t = &w.slots[rt_weights_find(&w, kind, layer)].t;
    for (int64_t i = 0; i < rt_tensor_count(t); i++) rt_put(t, i, (double)scale * rt_get(t, i));
    RT_OK_OR_FAIL(rt_logits_open(&l, &w, &p, 8, &err));
    rt_status s = rt_logits_run(&l, (int32_t[]){1, 5, 9, 13}, 4, &z, &err);
    RT_CHECK(s == RT_E_NUMERIC && strstr(err.text, says), "%s (expected %s)", err.text, says);
    rt_logits_close(&l);
    rt_weights_free(&w);
}
static void f16_overflow_names_operation_and_layer(void) {
    overflow_in(RT_WEIGHT_ATTN_OUT, 1, 1e5f, "layers.1.attn_out (linear)", 0);
    overflow_in(RT_WEIGHT_FFN_DOWN, 0, 1e5f, "layers.0.down (linear)", 0);
    overflow_in(RT_WEIGHT_EXPERT_DOWN, 1, 1e5f, "layers.1.experts (experts)", 4);
}

RT_SUITE(native) {
    RT_TEST(each_operation_rounds_once);
    RT_TEST(f16_overflow_names_operation_and_layer);
}
