/* probe.c - what two models predict for the same ids: logits one window at a time, their Kullback-Leibler divergences
 * by the losses of training (the head, on given logits), first choices, and the experts chosen. */
#include "compare/private.h"
#include <retort/base/rng.h>
#include <retort/losses/losses.h>
#include <retort/ops/head.h>
#include <retort/text/encode.h>
#include <retort/infer/logits.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { A, B, SIDES, T_MAX = 128, TERMS = 3 };
typedef struct probe {
    rt_comparison *c;
    const rt_compare_options *o;
    rt_frozen model[SIDES];
    rt_logits logits[SIDES];
    rt_ids ids, lengths; /* windows of at most T ids, one after another */
    int64_t T, V;
    rt_graph *g;
    rt_ref targets, a, b, out;
    int32_t *supervised; /* [T] */
    double kl, reverse_kl, agreed;
} probe;

/* ------------------------------------------------------------------------ ids */

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
/* Cut into windows; no more than probe_tokens altogether. */
static rt_status add_ids(void *context, const int32_t *ids, int64_t n, rt_error *err) {
    probe *p = context;
    n = least(n, p->o->probe_tokens - p->ids.size);
    for (int64_t i = 0; i < n; i += p->T) {
        int64_t length = least(p->T, n - i);
        for (int64_t k = i; k < i + length; k++) {
            if (ids[k] < 0 || ids[k] >= p->V) return rt_fail(err, RT_E_INPUT, "id %d is beyond the vocabulary of %lld", ids[k], (long long)p->V);
            rt_ids_add(&p->ids, ids[k]);
        }
        rt_ids_add(&p->lengths, (int32_t)length);
    }
    return p->ids.failed || p->lengths.failed ? rt_fail(err, RT_E_NOMEM, "out of memory: ids") : RT_OK;
}

static rt_status add_seeded(probe *p, rt_error *err) {
    rt_rng r = rt_rng_make(1, "compare probe", 0);
    int32_t ids[T_MAX];
    for (int64_t done = 0; done < p->o->probe_tokens; done += p->T) {
        for (int64_t i = 0; i < p->T; i++) ids[i] = (int32_t)rt_rng_below(r, (uint64_t)(done + i), (uint64_t)p->V);
        RT_TRY(add_ids(p, ids, p->T, err));
    }
    return RT_OK;
}

/* The text's tokens in order, documents after one another. */
static rt_status read_stream(probe *p, const rt_tokenizer *t, rt_error *err) {
    rt_tokenizer_vocab vocab = {0};
    rt_token_stream *stream = NULL;
    rt_status s = t ? rt_tokenizer_vocab_make(&vocab, t, err) : RT_OK;
    if (s == RT_OK) s = rt_token_stream_load(&stream, &p->o->data, 1, NULL, t, t ? &vocab : NULL, err);
    int64_t n = s == RT_OK ? least(rt_token_stream_about(stream).tokens, p->o->probe_tokens) : 0;
    int32_t ids[T_MAX];
    for (int64_t i = 0; s == RT_OK && i < n; i += p->T) {
        rt_token_stream_read(stream, i, least(p->T, n - i), ids, NULL);
        s = add_ids(p, ids, least(p->T, n - i), err);
    }
    rt_token_stream_free(stream);
    rt_tokenizer_vocab_free(&vocab);
    return s;
}
static rt_status add_data(probe *p, rt_error *err) {
    rt_tokenizer *t = NULL;
    if (*p->c->a.tokenizer) RT_TRY(rt_model_tokenizer(&t, p->c->a.path, err));
    rt_status s = read_stream(p, t, err);
    rt_tokenizer_free(t);
    return s;
}

static rt_status choose_ids(probe *p, rt_error *err) {
    p->c->probe.source = p->o->ids ? p->o->ids : p->o->data ? p->o->data : "ids by a fixed seed";
    RT_TRY(p->o->ids ? rt_id_lines(p->o->ids, add_ids, p, err) : p->o->data ? add_data(p, err) : add_seeded(p, err));
    return p->ids.size ? RT_OK : rt_fail(err, RT_E_INPUT, "%s: no ids to probe with", p->c->probe.source);
}

/* -------------------------------------------------------------------- numbers */

static rt_status open_head(probe *p, rt_error *err) {
    static const rt_head_term terms[TERMS] = {{.loss = &rt_loss_kl_t1}, {.loss = &rt_loss_reverse_kl}, {.loss = &rt_loss_top1_agreement}};
    rt_tensor logits = rt_tensor_2d(RT_F32, NULL, p->T, p->V), targets = rt_tensor_1d(RT_I32, NULL, p->T);
    p->supervised = rt_zalloc((size_t)p->T * sizeof *p->supervised);
    p->g = rt_graph_new("compare");
    if (!p->g || !p->supervised) return rt_fail(err, RT_E_NOMEM, "out of memory: the probe");
    targets.data = p->supervised;
    p->targets = rt_graph_input(p->g, "targets", &targets);
    p->a = rt_graph_input(p->g, "a", &logits);
    p->b = rt_graph_input(p->g, "b", &logits);
    rt_prec f32 = rt_prec_uniform(RT_F32);
    rt_head_config c = {.student = {.logits = p->b, .prec = f32}, .teacher = {.logits = p->a, .prec = f32}, .targets = p->targets, .terms = terms,
                        .n_terms = TERMS, .vocab = p->V};
    p->out = rt_head(p->g, &c, "kl", NULL);
    rt_graph_output(p->g, p->out);
    return rt_graph_plan(p->g, false, err);
}

static void largest_difference(probe *p, const float *x, const float *y, int64_t n) {
    double most = p->c->probe.max_abs;
    for (int64_t i = 0; i < n; i++) {
        double d = fabs((double)x[i] - (double)y[i]);
        most = d > most ? d : most;
    }
    p->c->probe.max_abs = most;
}
static const rt_tensor *chosen(const rt_forward *f, int64_t layer) {
    return layer < f->model.n_layers && !rt_ref_is_null(f->model.layers[layer].ids) ? rt_graph_value(f->g, f->model.layers[layer].ids) : NULL;
}
/* Experts that A chose and B, in the same layer, did not; where both have as many to choose from. */
static void count_flips(probe *p, int64_t n) {
    rt_compare_probe *r = &p->c->probe;
    const rt_tensor *x, *y;
    if (rt_hf_config(p->c->a.files)->experts != rt_hf_config(p->c->b.files)->experts) return;
    for (int64_t l = 0; l < p->logits[A].forward.model.n_layers; l++) {
        if (!(x = chosen(&p->logits[A].forward, l)) || !(y = chosen(&p->logits[B].forward, l)) || x->dim[1] != y->dim[1]) continue;
        const int32_t *from = x->data, *to = y->data;
        for (int64_t i = 0, k = x->dim[1]; i < n * k; i++) {
            bool kept = false;
            for (int64_t j = 0; j < k; j++) kept |= to[i / k * k + j] == from[i];
            r->routes++;
            r->routes_flipped += !kept;
        }
    }
}

static rt_status run_window(probe *p, const int32_t *ids, int64_t n, rt_error *err) {
    const rt_tensor *z[SIDES];
    for (int m = 0; m < SIDES; m++) {
        rt_status s = rt_logits_run(&p->logits[m], ids, n, &z[m], err);
        if (s != RT_OK) return rt_error_prefix(err, "%s", p->model[m].path), s;
    }
    for (int64_t i = 0; i < p->T; i++) p->supervised[i] = i < n ? 0 : -1;
    rt_graph_bind(p->g, p->a, z[A]->data);
    rt_graph_bind(p->g, p->b, z[B]->data);
    RT_TRY(rt_graph_forward(p->g, err));
    const rt_tensor *t = rt_graph_value(p->g, p->out);
    const double *row = t->data;
    int64_t width = t->dim[1];
    p->kl += rt_vocab_report(&rt_loss_kl_t1, row, width) * (double)n;
    p->reverse_kl += rt_vocab_report(&rt_loss_reverse_kl, row + width, width) * (double)n;
    p->agreed += rt_vocab_report(&rt_loss_top1_agreement, row + 2 * width, width) * (double)n;
    p->c->probe.positions += n;
    largest_difference(p, z[A]->data, z[B]->data, n * p->V);
    count_flips(p, n);
    return RT_OK;
}

/* ------------------------------------------------------------------------ all */

static rt_status run_all(probe *p, rt_error *err) {
    RT_TRY(rt_frozen_open(&p->model[A], p->c->a.path, p->o->activations, err));
    RT_TRY(rt_frozen_open(&p->model[B], p->c->b.path, p->o->activations, err));
    RT_TRY(choose_ids(p, err));
    for (int m = 0; m < SIDES; m++) RT_TRY(rt_logits_open(&p->logits[m], &p->model[m].weights, &p->model[m].precision, p->T, err));
    RT_TRY(open_head(p, err));
    for (int64_t i = 0, at = 0; i < p->lengths.size; at += p->lengths.data[i++]) RT_TRY(run_window(p, p->ids.data + at, p->lengths.data[i], err));
    rt_compare_probe *r = &p->c->probe;
    r->kl = p->kl / (double)r->positions, r->reverse_kl = p->reverse_kl / (double)r->positions;
    r->top1_changed = r->positions - (int64_t)(p->agreed + 0.5);
    return RT_OK;
}

static const char *reason_not_to(const rt_comparison *c, const rt_compare_options *o) {
    const rt_model_config *a = rt_hf_config(c->a.files), *b = rt_hf_config(c->b.files);
    if (o->probe == RT_PROBE_NO) return "not asked for";
    if (a->vocab_size != b->vocab_size) return "the vocabularies have different sizes";
    if (rt_hf_matrix_dtype(c->a.files) == RT_F64 || rt_hf_matrix_dtype(c->b.files) == RT_F64) return "f64 models have no f32 logits";
    if (o->probe == RT_PROBE_AUTO && !o->data && !o->ids && c->same_weights && c->same_architecture) return "the weights are the same bits";
    return NULL;
}

rt_status rt_compare_probe_run(rt_comparison *c, const rt_compare_options *o, rt_error *err) {
    const char *reason = reason_not_to(c, o);
    if (reason) return snprintf(c->probe.skipped, sizeof c->probe.skipped, "%s", reason), RT_OK;
    const rt_model_config *a = rt_hf_config(c->a.files), *b = rt_hf_config(c->b.files);
    probe p = {.c = c, .o = o, .V = a->vocab_size, .T = least(T_MAX, least(rt_model_longest(a), rt_model_longest(b)))};
    rt_status s = run_all(&p, err);
    for (int m = 0; m < SIDES; m++) rt_logits_close(&p.logits[m]), rt_frozen_close(&p.model[m]);
    rt_graph_free(p.g);
    rt_ids_free(&p.ids), rt_ids_free(&p.lengths);
    rt_free(p.supervised);
    if (s != RT_E_NUMERIC && s != RT_E_UNSUPPORTED) return s;
    snprintf(c->probe.skipped, sizeof c->probe.skipped, "%s", err ? err->text : ""); /* damaged weights can be compared all the same */
    rt_error_clear(err);
    return RT_OK;
}
