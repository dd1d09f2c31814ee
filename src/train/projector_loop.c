/* projector_loop.c - the two loops of a projector over data: its fitting before training, and the measuring of its fit.
 */
#include <retort/base/rng.h>
#include <retort/train/projector.h>

/* ------------------------------------------------------------------- prefit */

typedef struct prefit {
    rt_projector *p;
    rt_forward *teacher;
    rt_projection *plan;
    rt_loader *loader;
    const rt_projector_prefit *o;
} prefit;

/* One optimizer batch; *mean is its cross-entropy before the step. */
static rt_status one_step(prefit *f, double *mean, rt_error *err) {
    double sum, count, total = 0;
    rt_loader_next(f->loader);
    double supervised = (double)rt_loader_supervised(f->loader), gain = supervised > 0 ? 1 / supervised : 0;
    for (int64_t i = 0; i < f->o->accumulate; i++) {
        const rt_batch *b = rt_loader_batch(f->loader, i);
        RT_TRY(rt_forward_run(f->teacher, b, err));
        RT_TRY(rt_projection_run(f->plan, b->targets, gain, err));
        rt_projection_sum(f->plan, &sum, &count);
        total += sum;
    }
    *mean = total * gain;
    return rt_projector_step(f->p, f->o->lr, NULL, err);
}

static rt_status prefit_steps(prefit *f, rt_token_view train, rt_error *err) {
    const rt_projector_prefit *o = f->o;
    uint64_t seed = rt_rng_u64(rt_rng_make(o->seed, "projector.prefit", 0), 0);
    rt_loader_options options = {.T = o->T, .batch = o->batch, .accumulate = o->accumulate, .seed = seed,
                                 .weights = o->weights, .weight_count = o->weight_count};
    RT_TRY(rt_loader_create(&f->loader, train, &options, err));
    RT_TRY(rt_projection_open(&f->plan, f->p, rt_forward_hidden(f->teacher), RT_PROJECTION_TRAIN, o->budget, err));
    for (int64_t step = 0; step < o->steps; step++) {
        double mean;
        RT_TRY(one_step(f, &mean, err));
        if (o->each && !o->each(o->context, step, mean))
            return rt_fail(err, RT_E_INTERRUPTED, "interrupted after step %lld of the projector's fitting",
                           (long long)step + 1);
    }
    return RT_OK;
}

rt_status rt_projector_run_prefit(rt_projector *p, rt_forward *teacher, rt_token_view train,
                                  const rt_projector_prefit *o, rt_error *err) {
    if (rt_projector_kind_of(p) == RT_PROJECTOR_SHARED || o->steps == 0) return RT_OK;
    if (!rt_projector_trainable(p))
        return rt_fail(err, RT_E_ARG, "projector: opened for evaluation, it cannot be fitted");
    prefit f = {.p = p, .teacher = teacher, .o = o};
    rt_status s = prefit_steps(&f, train, err);
    rt_projection_close(f.plan);
    rt_loader_free(f.loader);
    return s;
}

/* ---------------------------------------------------------------------- fit */

static rt_status measure(rt_projection *x, rt_forward *teacher, const rt_windows *w, rt_batch *b, double *kl,
                         rt_error *err) {
    double sum = 0, count = 0, s, n;
    for (int64_t first = 0; first < w->count; first += b->windows) {
        rt_batch_fill_from(b, w, first);
        RT_TRY(rt_forward_run(teacher, b, err));
        RT_TRY(rt_projection_run(x, b->targets, 0, err));
        rt_projection_sum(x, &s, &n);
        sum += s, count += n;
    }
    *kl = count > 0 ? sum / count : 0;
    return RT_OK;
}

rt_status rt_projector_kl(rt_projector *p, rt_forward *teacher, const rt_windows *w, int64_t limit, int64_t budget,
                          double *kl, rt_error *err) {
    rt_windows first = *w;
    rt_projection *x = NULL;
    rt_batch b = {0};
    if (limit > 0 && limit < first.count) first.count = limit;
    *kl = 0;
    rt_status s = rt_batch_create(&b, teacher->rows / w->T, w->T, err);
    if (s == RT_OK) s = rt_projection_open(&x, p, rt_forward_hidden(teacher), RT_PROJECTION_COMPARE, budget, err);
    if (s == RT_OK) s = measure(x, teacher, &first, &b, kl, err);
    rt_projection_close(x);
    rt_batch_free(&b);
    return s;
}
