/* decoder.c - the model planned twice over one cache: for a chunk of rows, and for one row of each sequence. */
#include <retort/ops/ops.h>
#include <retort/infer/decoder.h>
#include <math.h>
#include <string.h>

enum { CHUNK = 512, NO_PACKED_WEIGHTS = 1 /* byte of budget; 0 would be no limit */ };

/* A plan for `rows` rows, and what they are: arrays [rows]. */
typedef struct pass {
    rt_graph *g;
    rt_model model;
    rt_model_inputs in;
    int64_t rows;
    int32_t *ids, *position, *sequence, *valid; /* one block, owned through ids */
} pass;

struct rt_decoder {
    const rt_weights *w;
    const rt_precision *p;
    rt_decoder_options o;
    rt_kv_cache cache;
    int64_t *length; /* [sequences] */
    pass chunk, step;
    rt_graph *head;
    rt_ref hidden, logits;
    rt_tensor rows; /* [sequences, D]: hidden rows whose logits are wanted */
};

/* ------------------------------------------------------------------- plans */

static rt_status make_inputs(pass *s, rt_error *err) {
    if (!(s->ids = rt_zalloc(rt_array_bytes(4 * (size_t)s->rows, sizeof *s->ids)))) return rt_fail(err, RT_E_NOMEM, "out of memory");
    s->position = s->ids + s->rows, s->sequence = s->position + s->rows, s->valid = s->sequence + s->rows;
    int32_t *const data[] = {s->ids, s->position, s->sequence, s->valid};
    rt_ref *const in[] = {&s->in.ids, &s->in.position, &s->in.sequence, &s->in.valid};
    static const char *const names[] = {"ids", "position", "sequence", "valid"};
    for (int i = 0; i < 4; i++) {
        rt_tensor t = rt_tensor_1d(RT_I32, data[i], s->rows);
        *in[i] = rt_graph_input(s->g, names[i], &t);
    }
    return RT_OK;
}

/* Packed copies of weights pay when they are used for every token: for exact steps. */
static rt_status open_pass(rt_decoder *d, pass *s, int64_t rows, bool few, bool pack, rt_error *err) {
    s->rows = rows;
    if (!(s->g = rt_graph_new("model"))) return rt_fail(err, RT_E_NOMEM, "out of memory");
    rt_graph_cache_budget(s->g, pack ? 0 : NO_PACKED_WEIGHTS);
    if (few && !d->o.exact) rt_graph_few_rows(s->g);
    RT_TRY(make_inputs(s, err));
    rt_model_options o = {.length = d->o.positions, .cache = &d->cache};
    RT_TRY(rt_model_build(s->g, d->w, NULL, false, d->p, &o, s->in, &s->model, err));
    rt_graph_output(s->g, s->model.hidden);
    return rt_graph_plan(s->g, false, err);
}
static void close_pass(pass *s) {
    rt_graph_free(s->g);
    rt_model_free(&s->model);
    rt_free(s->ids);
}

static rt_status open_head(rt_decoder *d, rt_error *err) {
    const rt_tensor *h = rt_graph_value(d->step.g, d->step.model.hidden);
    const rt_slot *slot = &d->w->slots[rt_weights_find(d->w, d->w->config.tie_embeddings ? RT_WEIGHT_EMBED : RT_WEIGHT_HEAD, -1)];
    d->rows = rt_tensor_2d(h->dtype, NULL, d->o.sequences, h->dim[1]);
    d->rows.data = rt_zalloc(rt_tensor_bytes(&d->rows));
    if (!d->rows.data || !(d->head = rt_graph_new("logits"))) return rt_fail(err, RT_E_NOMEM, "out of memory");
    if (!d->o.exact) rt_graph_few_rows(d->head);
    rt_prec prec = rt_role_prec(d->p, rt_role_head, d->p->act[rt_role_head], slot->t.dtype == RT_F64 ? RT_F64 : RT_F32);
    prec.weight = slot->t.dtype;
    d->hidden = rt_graph_input(d->head, "hidden", &d->rows);
    d->logits = rt_linear(d->head, d->hidden, rt_graph_param(d->head, "head", &slot->t, NULL), prec, "head");
    rt_graph_output(d->head, d->logits);
    return rt_graph_plan(d->head, false, err);
}

static rt_status open_all(rt_decoder *d, rt_error *err) {
    int64_t longest = rt_model_longest(&d->w->config), chunk = d->o.chunk > 0 ? d->o.chunk : CHUNK;
    if (d->o.positions < 1 || d->o.positions > longest || d->o.sequences < 1)
        return rt_fail(err, RT_E_CONFIG, "%lld sequences of %lld positions: the model has %lld", (long long)d->o.sequences, (long long)d->o.positions, (long long)longest);
    if (!(d->length = rt_zalloc(rt_array_bytes((size_t)d->o.sequences, sizeof *d->length)))) return rt_fail(err, RT_E_NOMEM, "out of memory");
    RT_TRY(rt_kv_cache_open(&d->cache, &d->w->config, d->p, d->o.sequences, d->o.positions, err));
    if (chunk > d->o.positions) chunk = d->o.positions;
    RT_TRY(open_pass(d, &d->chunk, chunk, chunk <= RT_DECODER_FEW, false, err));
    RT_TRY(open_pass(d, &d->step, d->o.sequences, true, true, err));
    return open_head(d, err);
}

rt_status rt_decoder_open(rt_decoder **out, const rt_weights *w, const rt_precision *p, const rt_decoder_options *o, rt_error *err) {
    rt_decoder *d = *out = rt_zalloc(sizeof *d);
    if (!d) return rt_fail(err, RT_E_NOMEM, "out of memory");
    d->w = w, d->p = p, d->o = *o;
    rt_status s = open_all(d, err);
    if (s != RT_OK) rt_decoder_close(d), *out = NULL;
    return s;
}

void rt_decoder_close(rt_decoder *d) {
    if (!d) return;
    close_pass(&d->chunk);
    close_pass(&d->step);
    rt_graph_free(d->head);
    rt_kv_cache_close(&d->cache);
    rt_free(d->rows.data);
    rt_free(d->length);
    rt_free(d);
}

/* -------------------------------------------------------------------- runs */

static void put_row(pass *s, int64_t row, int32_t id, int64_t position, int32_t sequence) {
    s->ids[row] = id;
    s->position[row] = (int32_t)position;
    s->sequence[row] = sequence;
    s->valid[row] = sequence >= 0;
}
static void pad(pass *s, int64_t from) {
    for (int64_t i = from; i < s->rows; i++) put_row(s, i, 0, 0, -1);
}
static void want(rt_decoder *d, const pass *s, int64_t row, int64_t to) {
    const rt_tensor *h = rt_graph_value(s->g, s->model.hidden);
    size_t bytes = rt_tensor_bytes(&d->rows) / (size_t)d->rows.dim[0];
    memcpy((char *)d->rows.data + (size_t)to * bytes, (const char *)h->data + (size_t)row * bytes, bytes);
}

static bool all_finite(const rt_tensor *t, int64_t rows) {
    bool all = true;
    for (int64_t i = 0; i < rows * t->dim[1]; i++) all &= (bool)isfinite(t->dtype == RT_F64 ? ((const double *)t->data)[i] : (double)((const float *)t->data)[i]);
    return all;
}
static rt_status run_head(rt_decoder *d, const pass *s, int64_t count, const rt_tensor **logits, rt_error *err) {
    RT_TRY(rt_graph_forward(d->head, err));
    *logits = rt_graph_value(d->head, d->logits);
    if (all_finite(*logits, count)) return RT_OK;
    RT_TRY(rt_graph_find_nonfinite(s->g, err)); /* names the operation */
    RT_TRY(rt_graph_find_nonfinite(d->head, err));
    return rt_fail(err, RT_E_NUMERIC, "logits are not finite");
}

static rt_status check(const rt_decoder *d, int64_t sequence, int64_t more, rt_error *err) {
    if (sequence < 0 || sequence >= d->o.sequences) return rt_fail(err, RT_E_ARG, "sequence %lld of %lld", (long long)sequence, (long long)d->o.sequences);
    if (more >= 1 && d->length[sequence] + more <= d->o.positions) return RT_OK;
    return rt_fail(err, RT_E_ARG, "%lld rows more than the %lld of sequence %lld, there are %lld positions", (long long)more, (long long)d->length[sequence],
                   (long long)sequence, (long long)d->o.positions);
}

/* Which kernels run depends on the rows left alone: a sequence's bits not on how many sequences there are. */
static pass *pass_for(rt_decoder *d, int64_t left) { return left <= RT_DECODER_FEW && d->chunk.rows > RT_DECODER_FEW ? &d->step : &d->chunk; }

rt_status rt_decoder_prefill(rt_decoder *d, int64_t sequence, const int32_t *ids, int64_t n, const rt_tensor **logits, rt_error *err) {
    RT_TRY(check(d, sequence, n, err));
    const pass *last = NULL;
    for (int64_t done = 0, rows; done < n; done += rows) {
        pass *s = pass_for(d, n - done);
        rows = n - done < s->rows ? n - done : s->rows;
        for (int64_t i = 0; i < rows; i++) put_row(s, i, ids[done + i], d->length[sequence] + done + i, (int32_t)sequence);
        pad(s, rows);
        RT_TRY(rt_graph_forward(s->g, err));
        want(d, s, rows - 1, 0);
        last = s;
    }
    RT_TRY(run_head(d, last, 1, logits, err));
    d->length[sequence] += n;
    return RT_OK;
}

rt_status rt_decoder_step(rt_decoder *d, const int32_t *sequence, const int32_t *ids, int64_t count, const rt_tensor **logits, rt_error *err) {
    if (count < 1 || count > d->o.sequences) return rt_fail(err, RT_E_ARG, "%lld of %lld sequences", (long long)count, (long long)d->o.sequences);
    for (int64_t i = 0; i < count; i++) {
        RT_TRY(check(d, sequence[i], 1, err));
        put_row(&d->step, i, ids[i], d->length[sequence[i]], sequence[i]);
    }
    pad(&d->step, count);
    RT_TRY(rt_graph_forward(d->step.g, err));
    for (int64_t i = 0; i < count; i++) want(d, &d->step, i, i);
    RT_TRY(run_head(d, &d->step, count, logits, err));
    for (int64_t i = 0; i < count; i++) d->length[sequence[i]]++;
    return RT_OK;
}

/* --------------------------------------------------------------- sequences */

int64_t rt_decoder_length(const rt_decoder *d, int64_t sequence) { return d->length[sequence]; }
void rt_decoder_cut(rt_decoder *d, int64_t sequence, int64_t length) {
    if (length >= 0 && length < d->length[sequence]) d->length[sequence] = length;
}
void rt_decoder_copy(rt_decoder *d, int64_t from, int64_t to) {
    if (from == to) return;
    rt_kv_cache_copy(&d->cache, from, to, d->length[from]);
    d->length[to] = d->length[from];
}

rt_decoder_memory rt_decoder_memory_get(const rt_decoder *d) {
    rt_decoder_memory m = {.keys_values = (int64_t)d->cache.bytes};
    const rt_graph *const graphs[] = {d->chunk.g, d->step.g, d->head};
    for (int i = 0; i < 3; i++) {
        rt_graph_stats s = rt_graph_stats_get(graphs[i]);
        m.activations += s.arena_bytes;
        m.packed += s.cache_bytes;
    }
    return m;
}
