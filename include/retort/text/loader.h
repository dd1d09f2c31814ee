/* loader.h - training batches: an endless, seeded order of windows, with a cursor that can be saved.
 *
 * Each epoch visits every window once, in the order rt_rng_permute(rng(seed, "data.epoch", epoch), i, windows). An
 * optimizer batch takes the next batch * accumulate * ranks windows of that order, running on into the next epoch;
 * micro-batch m of rank r gets those from (m * ranks + r) * batch on. So `batch` 8 with `accumulate` 1 sees the windows
 * of 1 with 8 (decision 11), and what a run sees depends on nothing but the data, T, seed and the product.
 *
 * Weights: a window belongs to the source (token_stream.h) in which its first token lies. Source s with n windows and
 * weight w has m = round(w n) places in an epoch: floor(m / n) times every window, and for the remaining r = m mod n
 * places the next r windows of an endless walk, in which pass p goes through all n windows in the order
 * rt_rng_permute(rng(seed, "data.source", s 2^32 + p), i, n). So over the epochs no window of a source is seen more than
 * once more often than another. The epoch's order permutes all places. With every weight 1 the places are the windows,
 * and the order is that without weights, bit for bit. */
#ifndef RETORT_TEXT_LOADER_H
#define RETORT_TEXT_LOADER_H
#include <retort/text/batch.h>

typedef struct rt_loader_options {
    int64_t T;           /* sequence length */
    int64_t batch;       /* windows per micro-batch; 0 = 1 */
    int64_t accumulate;  /* micro-batches per optimizer batch; 0 = 1 */
    int64_t rank, ranks; /* this process and their number; 0, 0 = alone */
    uint64_t seed;
    const double *weights; /* [weight_count] of the stream's sources, >= 0; NULL: all 1. Read by rt_loader_create only */
    int64_t weight_count;
} rt_loader_options;

typedef struct rt_cursor {
    int64_t epoch, index; /* the next optimizer batch begins at place `index` of the epoch's order */
} rt_cursor;

typedef struct rt_loader rt_loader;
/* Allocates all it will ever need. The view's stream must outlive it. RT_E_INPUT: no data, or fewer than T + 1 tokens;
 * RT_E_ARG: weights that do not fit the sources, or leave no window. */
rt_status rt_loader_create(rt_loader **l, rt_token_view view, const rt_loader_options *o, rt_error *err) RT_NODISCARD;
void rt_loader_free(rt_loader *l); /* NULL is fine */

/* Builds the whole next optimizer batch and moves the cursor behind it. Cannot fail. */
void rt_loader_next(rt_loader *l);
const rt_batch *rt_loader_batch(const rt_loader *l, int64_t micro); /* [0, accumulate), valid until the next call */
/* Over the whole optimizer batch, all micro-batches and ranks: N of the losses, known before the first forward. */
int64_t rt_loader_supervised(const rt_loader *l);
int64_t rt_loader_valid(const rt_loader *l);

int64_t rt_loader_windows(const rt_loader *l); /* places per epoch */
/* Of source s: its windows, and the places they have in an epoch. Without weights there is one source: all data. */
typedef struct rt_loader_source {
    int64_t first, windows, places;
} rt_loader_source;
const rt_loader_source *rt_loader_sources(const rt_loader *l, int64_t *count);
rt_cursor rt_loader_cursor(const rt_loader *l);
/* Continue from a saved cursor, exactly. RT_E_INPUT when it does not fit the data (other data, another T). */
rt_status rt_loader_seek(rt_loader *l, rt_cursor c, rt_error *err) RT_NODISCARD;
#endif
