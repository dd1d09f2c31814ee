/* sampling.c - choosing an id. Candidates come off a heap in the order of their logits, as many as are needed: sorting a whole
 * vocabulary would take longer than a small model's forward pass. */
#include <retort/base/mem.h>
#include <retort/base/rng.h>
#include <retort/infer/sampling.h>
#include <math.h>

rt_status rt_sampler_open(rt_sampler *m, const rt_sampling *s, int64_t vocab, rt_error *err) {
    *m = (rt_sampler){.s = *s, .vocab = vocab};
    if (!s->greedy && !(s->temperature > 0 && isfinite(s->temperature)))
        return rt_fail(err, RT_E_ARG, "temperature is %g, expected a positive number", s->temperature);
    if (s->top_k < 0 || !(s->top_p >= 0 && s->top_p <= 1) || !(s->min_p >= 0 && s->min_p <= 1) || vocab < 1)
        return rt_fail(err, RT_E_ARG, "top_k %lld, top_p %g, min_p %g of %lld ids", (long long)s->top_k, s->top_p, s->min_p, (long long)vocab);
    m->order = rt_alloc((size_t)vocab * sizeof *m->order);
    m->p = rt_alloc((size_t)vocab * sizeof *m->p);
    if (m->order && m->p) return RT_OK;
    rt_sampler_close(m);
    return rt_fail(err, RT_E_NOMEM, "out of memory: %lld candidates", (long long)vocab);
}
void rt_sampler_close(rt_sampler *m) {
    rt_free(m->order), rt_free(m->p);
    *m = (rt_sampler){0};
}

/* One row of logits. */
typedef struct row {
    const float *f32;
    const double *f64;
} row;
static row row_of(const rt_tensor *t, int64_t i) {
    if (t->dtype == RT_F64) return (row){NULL, (const double *)t->data + i * t->dim[1]};
    return (row){(const float *)t->data + i * t->dim[1], NULL};
}
static double logit(row z, int64_t i) { return z.f64 ? z.f64[i] : (double)z.f32[i]; }

static int32_t largest(row z, int64_t vocab) {
    int32_t best = 0;
    for (int32_t i = 1; i < vocab; i++)
        if (logit(z, i) > logit(z, best)) best = i;
    return best;
}

/* ------------------------------------------------------------ in their order */

static bool before(row z, int32_t a, int32_t b) {
    double x = logit(z, a), y = logit(z, b);
    return x > y || (x == y && a < b);
}
static void sink(row z, int32_t *heap, int64_t at, int64_t n) {
    int32_t id = heap[at];
    for (int64_t child; (child = 2 * at + 1) < n; at = child) {
        if (child + 1 < n && before(z, heap[child + 1], heap[child])) child++;
        if (!before(z, heap[child], id)) break;
        heap[at] = heap[child];
    }
    heap[at] = id;
}
static void make_heap(row z, int32_t *heap, int64_t n) {
    for (int64_t i = 0; i < n; i++) heap[i] = (int32_t)i;
    for (int64_t i = n / 2 - 1; i >= 0; i--) sink(z, heap, i, n);
}
/* The next of n left; it then stands at heap[n - 1]. */
static int32_t pop(row z, int32_t *heap, int64_t n) {
    int32_t first = heap[0];
    heap[0] = heap[n - 1];
    sink(z, heap, 0, n - 1);
    return heap[n - 1] = first;
}

/* ------------------------------------------------------------------ choosing */

/* The candidate at which the sum of p passes u: i-th candidate is order[at + i * step]. Rounding may leave none: the first. */
static int32_t draw(const double *p, const int32_t *order, int64_t at, int64_t step, int64_t n, double u) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        if ((sum += p[i]) > u) return order[at + i * step];
    return order[at];
}
static double total(const double *p, int64_t n) {
    double sum = 0;
    for (int64_t i = 0; i < n; i++) sum += p[i];
    return sum;
}

/* p[0..n) of all ids in their own order; the sum. */
static double weigh_all(rt_sampler *m, row z, double top) {
    double sum = 0;
    for (int64_t i = 0; i < m->vocab; i++) {
        m->order[i] = (int32_t)i;
        sum += m->p[i] = exp((logit(z, i) - top) / m->s.temperature);
    }
    return sum;
}
static bool has_top_k(const rt_sampler *m) { return m->s.top_k > 0 && m->s.top_k < m->vocab; }
static bool has_top_p(const rt_sampler *m) { return m->s.top_p > 0 && m->s.top_p < 1; }

/* Candidates by descending logit at order[vocab - 1], order[vocab - 2], ..., their p in p[0..n); returns n. All that top_k leaves;
 * without it, no more than top_p or min_p will keep. */
static int64_t best_first(rt_sampler *m, row z, double top) {
    int64_t V = m->vocab, most = has_top_k(m) ? m->s.top_k : V, n = 0;
    double share = has_top_p(m) && !has_top_k(m) ? m->s.top_p * weigh_all(m, z, top) : (double)INFINITY, sum = 0;
    make_heap(z, m->order, V);
    for (; n < most && sum < share; n++) {
        double p = exp((logit(z, m->order[0]) - top) / m->s.temperature);
        if (p < m->s.min_p && !has_top_p(m)) break;
        pop(z, m->order, V - n);
        sum += m->p[n] = p;
    }
    return n;
}
/* What top_p (of a choice by top_k) and then min_p leave of n candidates, at least one. */
static int64_t cut(const rt_sampler *m, int64_t n) {
    int64_t kept = 0;
    double sum = 0, share = has_top_p(m) && has_top_k(m) ? m->s.top_p * total(m->p, n) : (double)INFINITY;
    while (kept < n && sum < share) sum += m->p[kept++];
    while (kept > 1 && m->p[kept - 1] < m->s.min_p) kept--;
    return kept;
}

int32_t rt_sampler_pick(rt_sampler *m, const rt_tensor *logits, int64_t at, int64_t stream, int64_t place) {
    row z = row_of(logits, at);
    int32_t best = largest(z, m->vocab);
    if (m->s.greedy) return best;
    double u = rt_rng_uniform(rt_rng_make(m->s.seed, "generate", (uint64_t)stream), (uint64_t)place), top = logit(z, best);
    if (!has_top_k(m) && !has_top_p(m) && m->s.min_p == 0) {
        double sum = weigh_all(m, z, top);
        return draw(m->p, m->order, 0, 1, m->vocab, u * sum);
    }
    int64_t n = cut(m, best_first(m, z, top));
    return draw(m->p, m->order, m->vocab - 1, -1, n, u * total(m->p, n));
}
