/* coherence.c - cosines of expert outputs with their mixture, and their averages. See coherence.h. */
#include <math.h>
#include <retort/base/mem.h>
#include <retort/routers/coherence.h>
#include <string.h>

static size_t sums(const rt_coherence *c) { return (size_t)(2 * c->experts * c->width); }

rt_status rt_coherence_open(rt_coherence *c, int64_t experts, int64_t width, rt_error *err) {
    *c = (rt_coherence){.experts = experts, .width = width};
    size_t rows = rt_array_bytes((size_t)experts + 1, 2 * sizeof(double)), bytes = rt_array_bytes((size_t)width + 1, rows);
    c->memory = rt_zalloc(bytes); /* (E+1)(D+1) pairs of numbers: sums, counts and a row for the mixture */
    if (!c->memory) return rt_fail(err, RT_E_NOMEM, "out of memory: coherence sums of %lld experts", (long long)experts);
    c->sum = c->memory;
    c->count = (int64_t *)(c->sum + sums(c));
    return RT_OK;
}
void rt_coherence_close(rt_coherence *c) {
    rt_free(c->memory);
    *c = (rt_coherence){0};
}
void rt_coherence_reset(rt_coherence *c) {
    memset(c->sum, 0, sums(c) * sizeof *c->sum);
    memset(c->count, 0, (size_t)c->experts * sizeof *c->count);
    c->tokens = 0;
}

void rt_coherence_add(rt_coherence *c, const rt_tensor *trace, const rt_tensor *ids, const rt_tensor *valid) {
    const double *t = trace->data;
    for (size_t i = 0; i < sums(c); i++) c->sum[i] += t[i];
    int64_t k = ids->dim[1];
    for (int64_t n = 0; n < ids->dim[0]; n++) {
        if (valid && !((const int32_t *)valid->data)[n]) continue;
        c->tokens++;
        for (int64_t j = 0; j < k; j++) c->count[((const int32_t *)ids->data)[n * k + j]]++;
    }
}
void rt_coherence_merge(rt_coherence *c, const rt_coherence *o) {
    for (size_t i = 0; i < sums(c); i++) c->sum[i] += o->sum[i];
    for (int64_t e = 0; e < c->experts; e++) c->count[e] += o->count[e];
    c->tokens += o->tokens;
}

/* ------------------------------------------------------------------ report */

/* The mixture's sum is that of all weighted outputs; it lives behind the sums. */
static double *mixture(const rt_coherence *c) {
    double *mix = (double *)(c->count + c->experts);
    memset(mix, 0, (size_t)c->width * sizeof *mix);
    for (int64_t e = c->experts; e < 2 * c->experts; e++)
        for (int64_t d = 0; d < c->width; d++) mix[d] += c->sum[e * c->width + d];
    return mix;
}
/* cos(s, mix), or cos(s, mix - own). False when a side has no more length than rounding leaves of sums of this size. */
static bool cosine(const rt_coherence *c, const double *mix, int64_t expert, bool without, double *cos) {
    const double *s = c->sum + expert * c->width, *own = s + c->experts * c->width;
    double ss = 0, mm = 0, sm = 0, scale = 0;
    for (int64_t d = 0; d < c->width; d++) {
        double m = without ? mix[d] - own[d] : mix[d];
        ss += s[d] * s[d], mm += m * m, sm += s[d] * m;
        scale += own[d] * own[d] + mix[d] * mix[d];
    }
    *cos = 0;
    double least = 1e-24 * scale;
    if (!(ss > least) || !(mm > least)) return false;
    *cos = fmax(-1, fmin(1, sm / (sqrt(ss) * sqrt(mm))));
    return true;
}
static rt_expert_coherence one_expert(const rt_coherence *c, const double *mix, int64_t e, double neff) {
    rt_expert_coherence x = {.tokens = c->count[e]};
    if (x.tokens == 0) return x;
    x.valid = cosine(c, mix, e, false, &x.phi);
    x.loo_valid = cosine(c, mix, e, true, &x.phi_loo);
    x.phi_norm = x.phi * sqrt(neff);
    return x;
}

rt_layer_coherence rt_coherence_report(const rt_coherence *c, double neff, rt_expert_coherence *experts) {
    rt_layer_coherence l = {0};
    int64_t pairs = 0;
    const double *mix = mixture(c);
    for (int64_t e = 0; e < c->experts; e++) pairs += c->count[e];
    for (int64_t e = 0; e < c->experts; e++) {
        const rt_expert_coherence *x = &experts[e];
        experts[e] = one_expert(c, mix, e, neff);
        double share = pairs ? (double)x->tokens / (double)pairs : 0;
        l.psi += share * x->phi;
        l.psi_loo += share * x->phi_loo;
        l.valid |= x->valid;
        l.loo_valid |= x->loo_valid;
    }
    return l;
}

/* ---------------------------------------------------------------- averages */

const double rt_ema_decay[RT_EMA_RATES] = {0.9, 0.99, 0.999};

rt_status rt_ema_open(rt_ema *e, int64_t tracks, rt_error *err) {
    *e = (rt_ema){.tracks = tracks, .mean = rt_zalloc(rt_array_bytes((size_t)tracks, (RT_EMA_RATES + 1) * 8))};
    if (!e->mean) return rt_fail(err, RT_E_NOMEM, "out of memory: averages of %lld tracks", (long long)tracks);
    e->observations = (int64_t *)(e->mean + RT_EMA_RATES * tracks);
    return RT_OK;
}
void rt_ema_close(rt_ema *e) {
    rt_free(e->mean);
    *e = (rt_ema){0};
}
void rt_ema_observe(rt_ema *e, int64_t track, double x) {
    for (int r = 0; r < RT_EMA_RATES; r++) {
        double *m = &e->mean[r * e->tracks + track], d = rt_ema_decay[r];
        *m = d * *m + (1 - d) * x;
    }
    e->observations[track]++;
}
double rt_ema_value(const rt_ema *e, int rate, int64_t track) {
    int64_t n = e->observations[track];
    return n ? e->mean[rate * e->tracks + track] / -expm1((double)n * log(rt_ema_decay[rate])) : (double)NAN;
}
double rt_ema_drift(const rt_ema *e, int64_t track) { return rt_ema_value(e, RT_EMA_FAST, track) - rt_ema_value(e, RT_EMA_SLOW, track); }
