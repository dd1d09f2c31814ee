/* generate.c - sampling, and the loop around a forward pass that grows. */
#include <retort/base/rng.h>
#include <retort/train/generate.h>
#include <math.h>
#include <stdlib.h>

/* ----------------------------------------------------------------- sampling */

static double logit(const rt_tensor *t, int64_t i) {
    return t->dtype == RT_F64 ? ((const double *)t->data)[i] : (double)((const float *)t->data)[i];
}
static int32_t largest(const rt_tensor *t, int64_t vocab) {
    int32_t best = 0;
    for (int32_t i = 1; i < vocab; i++)
        if (logit(t, i) > logit(t, best)) best = i;
    return best;
}
/* By descending logit, ties by ascending id. */
static int by_logit(const void *a, const void *b, void *logits) {
    int32_t i = *(const int32_t *)a, j = *(const int32_t *)b;
    double x = logit(logits, i), y = logit(logits, j);
    return x > y ? -1 : x < y ? 1 : (i > j) - (i < j);
}
static int64_t candidates(const rt_sampling *s, const rt_tensor *t, int64_t vocab, int32_t *order) {
    rt_tensor logits = *t;
    for (int32_t i = 0; i < vocab; i++) order[i] = i;
    if (s->top_k == 0 || s->top_k >= vocab) return vocab;
    qsort_r(order, (size_t)vocab, sizeof *order, by_logit, &logits);
    return s->top_k;
}

int32_t rt_sample(const rt_sampling *s, const rt_tensor *t, int64_t vocab, int64_t place, int32_t *order) {
    int32_t best = largest(t, vocab);
    if (s->greedy) return best;
    int64_t n = candidates(s, t, vocab, order);
    double total = 0, sum = 0;
    for (int64_t i = 0; i < n; i++) total += exp((logit(t, order[i]) - logit(t, best)) / s->temperature);
    double u = total * rt_rng_uniform(rt_rng_make(s->seed, "generate", 0), (uint64_t)place);
    for (int64_t i = 0; i < n; i++)
        if ((sum += exp((logit(t, order[i]) - logit(t, best)) / s->temperature)) > u) return order[i];
    return best;
}

/* --------------------------------------------------------------------- loop */

typedef struct writer {
    const rt_weights *w;
    const rt_precision *p;
    const rt_generation *o;
    int64_t vocab, T; /* T: rows of the present plan */
    rt_logits logits;
    int32_t *order;
} writer;

/* A plan that holds n ids: 64, 128, ... up to the model's positions. */
static rt_status make_room(writer *r, int64_t n, rt_error *err) {
    int64_t T = r->T ? r->T : 64, most = r->w->config.max_position;
    if (n <= r->T) return RT_OK;
    while (T < n) T *= 2;
    r->T = T < most ? T : most;
    rt_logits_close(&r->logits);
    return rt_logits_open_last(&r->logits, r->w, r->p, r->T, err);
}

static rt_status next(writer *r, rt_ids *ids, rt_error *err) {
    const rt_tensor *z;
    RT_TRY(make_room(r, ids->size, err));
    RT_TRY(rt_logits_run(&r->logits, ids->data, ids->size, &z, err));
    rt_ids_add(ids, rt_sample(&r->o->sampling, z, r->vocab, ids->size, r->order));
    if (ids->failed) return rt_fail(err, RT_E_NOMEM, "out of memory: %lld ids", (long long)ids->size);
    return r->o->chosen ? r->o->chosen(r->o->context, ids, err) : RT_OK;
}

static bool ends(const rt_generation *o, int32_t id) {
    for (int64_t i = 0; o->ends && i < o->ends->size; i++)
        if (o->ends->data[i] == id) return true;
    return id == o->end;
}

static rt_status write_on(writer *r, rt_ids *ids, rt_stop *why, rt_error *err) {
    for (int64_t i = 0; i < r->o->tokens; i++) {
        if (ids->size > r->w->config.max_position) return *why = RT_STOP_POSITIONS, RT_OK;
        RT_TRY(next(r, ids, err));
        if (ends(r->o, ids->data[ids->size - 1])) return *why = RT_STOP_END, RT_OK;
    }
    return *why = RT_STOP_TOKENS, RT_OK;
}

static rt_status check(const writer *r, const rt_ids *ids, rt_error *err) {
    const rt_sampling *s = &r->o->sampling;
    if (!s->greedy && !(s->temperature > 0 && isfinite(s->temperature)))
        return rt_fail(err, RT_E_ARG, "temperature is %g, expected a positive number", s->temperature);
    if (s->top_k < 0 || r->vocab < 1 || r->vocab > r->w->config.vocab_size)
        return rt_fail(err, RT_E_ARG, "top_k %lld of %lld ids of %lld", (long long)s->top_k, (long long)r->vocab, (long long)r->w->config.vocab_size);
    if (ids->size < 1) return rt_fail(err, RT_E_ARG, "the prompt has no token to begin with");
    if (ids->size > r->w->config.max_position)
        return rt_fail(err, RT_E_ARG, "the prompt has %lld tokens, the model has %lld positions", (long long)ids->size, (long long)r->w->config.max_position);
    return RT_OK;
}

rt_status rt_generate(const rt_weights *w, const rt_precision *p, const rt_generation *o, rt_ids *ids, rt_stop *why, rt_error *err) {
    writer r = {.w = w, .p = p, .o = o, .vocab = o->vocab ? o->vocab : w->config.vocab_size};
    RT_TRY(check(&r, ids, err));
    if (!(r.order = rt_alloc((size_t)r.vocab * sizeof *r.order))) return rt_fail(err, RT_E_NOMEM, "out of memory");
    rt_status s = write_on(&r, ids, why, err);
    rt_logits_close(&r.logits);
    rt_free(r.order);
    return s;
}
