/* loader.c - see loader.h. The other ranks' windows are counted by filling one spare batch: N must cover all of them.
 */
#include <retort/text/loader.h>
#include <retort/base/mem.h>
#include <retort/base/rng.h>
#include <math.h>

struct rt_loader {
    rt_windows windows;
    rt_loader_options o;
    rt_cursor cursor;
    rt_loader_source *sources; /* [source_count] */
    int64_t source_count, places;
    int64_t supervised, valid;
    rt_batch spare;  /* with several ranks: another rank's micro-batch */
    int64_t *index;  /* [batch] windows of the micro-batch being built */
    rt_batch *micro; /* [accumulate] */
};

static rt_status check(const rt_loader_options *o, rt_token_view view, rt_error *err) {
    if (o->T < 1 || o->batch < 1 || o->accumulate < 1 || o->ranks < 1 || o->rank < 0 || o->rank >= o->ranks)
        return rt_fail(err, RT_E_ARG, "loader: T %lld, batch %lld, accumulate %lld, rank %lld of %lld do not fit",
                       (long long)o->T, (long long)o->batch, (long long)o->accumulate, (long long)o->rank,
                       (long long)o->ranks);
    int64_t tokens = view.end - view.begin;
    if (tokens == 0) return rt_fail(err, RT_E_INPUT, "the training data is empty");
    if (tokens - 1 < o->T)
        return rt_fail(err, RT_E_INPUT, "the training data holds %lld tokens, a sequence length of %lld needs %lld",
                       (long long)tokens, (long long)o->T, (long long)o->T + 1);
    return RT_OK;
}

static rt_status allocate(rt_loader *l, rt_error *err) {
    l->index = rt_alloc(rt_array_bytes((size_t)l->o.batch, sizeof *l->index));
    l->micro = rt_zalloc(rt_array_bytes((size_t)l->o.accumulate, sizeof *l->micro));
    if (!l->index || !l->micro) return rt_fail(err, RT_E_NOMEM, "out of memory for a loader");
    for (int64_t m = 0; m < l->o.accumulate; m++) RT_TRY(rt_batch_create(&l->micro[m], l->o.batch, l->o.T, err));
    return l->o.ranks > 1 ? rt_batch_create(&l->spare, l->o.batch, l->o.T, err) : RT_OK;
}

/* ------------------------------------------------------------------ sources */

/* Windows of [begin, end) of the stream's tokens: those whose first token lies there. */
static int64_t windows_before(const rt_loader *l, int64_t token) {
    int64_t at = token - l->windows.view.begin, n = at <= 0 ? 0 : (at + l->o.T - 1) / l->o.T;
    return n < l->windows.count ? n : l->windows.count;
}

static rt_status weigh(rt_loader *l, const int64_t *starts, rt_error *err) {
    for (int64_t s = 0; s < l->source_count; s++) {
        double w = l->o.weights ? l->o.weights[s] : 1;
        int64_t first = s ? windows_before(l, starts[s]) : 0;
        int64_t end = s + 1 < l->source_count ? windows_before(l, starts[s + 1]) : l->windows.count;
        if (!(w >= 0 && w <= 1e6)) return rt_fail(err, RT_E_ARG, "weight %g of source %lld, expected 0 to 1000000", w, (long long)s + 1);
        l->sources[s] = (rt_loader_source){first, end - first, llround(w * (double)(end - first))};
        l->places += l->sources[s].places;
    }
    return l->places > 0 ? RT_OK : rt_fail(err, RT_E_ARG, "the weights leave no window of the training data");
}

static rt_status open_sources(rt_loader *l, rt_error *err) {
    int64_t count = 0;
    const int64_t *starts = rt_token_stream_sources(l->windows.view.stream, &count);
    if (!l->o.weights) count = 0;
    else if (count != l->o.weight_count)
        return rt_fail(err, RT_E_ARG, "%lld weights for %lld sources of training data", (long long)l->o.weight_count, (long long)count);
    l->source_count = count ? count : 1;
    l->sources = rt_zalloc(rt_array_bytes((size_t)l->source_count, sizeof *l->sources));
    if (!l->sources) return rt_fail(err, RT_E_NOMEM, "out of memory for a loader");
    return weigh(l, starts, err);
}

/* Place -> window. */
static int64_t window_at(const rt_loader *l, int64_t epoch, int64_t place) {
    int64_t s = 0;
    while (place >= l->sources[s].places) place -= l->sources[s++].places;
    const rt_loader_source *of = &l->sources[s];
    int64_t rest = of->places % of->windows;
    if (place < of->places - rest) return of->first + place % of->windows;
    int64_t walked = epoch * rest + place - (of->places - rest), pass = walked / of->windows;
    rt_rng r = rt_rng_make(l->o.seed, "data.source", ((uint64_t)s << 32) + (uint64_t)pass);
    return of->first + (int64_t)rt_rng_permute(r, (uint64_t)(walked % of->windows), (uint64_t)of->windows);
}

rt_status rt_loader_create(rt_loader **out, rt_token_view view, const rt_loader_options *options, rt_error *err) {
    rt_loader_options o = *options;
    *out = NULL;
    if (!o.batch) o.batch = 1;
    if (!o.accumulate) o.accumulate = 1;
    if (!o.ranks) o.ranks = 1;
    RT_TRY(check(&o, view, err));
    rt_loader *l = rt_zalloc(sizeof *l);
    if (!l) return rt_fail(err, RT_E_NOMEM, "out of memory for a loader");
    l->o = o;
    rt_status s = rt_windows_make(&l->windows, view, o.T, false, err);
    if (s == RT_OK) s = open_sources(l, err);
    if (s == RT_OK) s = allocate(l, err);
    l->o.weights = NULL;
    if (s != RT_OK) return rt_loader_free(l), s;
    *out = l;
    return RT_OK;
}

void rt_loader_free(rt_loader *l) {
    if (!l) return;
    for (int64_t m = 0; l->micro && m < l->o.accumulate; m++) rt_batch_free(&l->micro[m]);
    rt_batch_free(&l->spare);
    rt_free(l->sources);
    rt_free(l->micro);
    rt_free(l->index);
    rt_free(l);
}

static int64_t take(rt_loader *l) {
    rt_rng r = rt_rng_make(l->o.seed, "data.epoch", (uint64_t)l->cursor.epoch);
    int64_t place = (int64_t)rt_rng_permute(r, (uint64_t)l->cursor.index, (uint64_t)l->places);
    int64_t window = window_at(l, l->cursor.epoch, place);
    if (++l->cursor.index == l->places) l->cursor = (rt_cursor){l->cursor.epoch + 1, 0};
    return window;
}

void rt_loader_next(rt_loader *l) {
    l->supervised = l->valid = 0;
    for (int64_t m = 0; m < l->o.accumulate; m++)
        for (int64_t rank = 0; rank < l->o.ranks; rank++) {
            rt_batch *b = rank == l->o.rank ? &l->micro[m] : &l->spare;
            for (int64_t j = 0; j < l->o.batch; j++) l->index[j] = take(l);
            rt_batch_fill(b, &l->windows, l->index, l->o.batch);
            l->supervised += b->supervised;
            l->valid += b->valid_count;
        }
}

const rt_batch *rt_loader_batch(const rt_loader *l, int64_t micro) { return &l->micro[micro]; }
int64_t rt_loader_supervised(const rt_loader *l) { return l->supervised; }
int64_t rt_loader_valid(const rt_loader *l) { return l->valid; }
int64_t rt_loader_windows(const rt_loader *l) { return l->places; }
const rt_loader_source *rt_loader_sources(const rt_loader *l, int64_t *count) {
    *count = l->source_count;
    return l->sources;
}
rt_cursor rt_loader_cursor(const rt_loader *l) { return l->cursor; }

rt_status rt_loader_seek(rt_loader *l, rt_cursor c, rt_error *err) {
    if (c.epoch < 0 || c.index < 0 || c.index >= l->places)
        return rt_fail(err, RT_E_INPUT, "data cursor (epoch %lld, window %lld) does not fit data of %lld windows",
                       (long long)c.epoch, (long long)c.index, (long long)l->places);
    l->cursor = c;
    return RT_OK;
}
