/* batch.c - windows and batches; see batch.h for the definition. */
#include <retort/text/batch.h>
#include <retort/base/mem.h>
#include <string.h>

rt_status rt_windows_make(rt_windows *w, rt_token_view view, int64_t T, bool disjoint, rt_error *err) {
    int64_t tokens = view.end - view.begin;
    if (T < 1 + disjoint)
        return rt_fail(err, RT_E_ARG, "sequence length %lld, at least %d expected", (long long)T, 1 + disjoint);
    if (tokens < 2)
        return rt_fail(err, RT_E_INPUT, "the data holds %lld token%s: nothing can be predicted", (long long)tokens,
                       tokens == 1 ? "" : "s");
    if (disjoint && tokens < T)
        return rt_fail(err, RT_E_INPUT, "the data holds %lld tokens, fewer than one disjoint window of %lld",
                       (long long)tokens, (long long)T);
    *w = (rt_windows){view, T, disjoint ? tokens / T : (tokens - 2) / T + 1, disjoint};
    return RT_OK;
}

enum { ARRAYS = 6 };
static size_t padded_rows(int64_t windows, int64_t T) { return (size_t)(windows * T + 15) / 16 * 16; }
int64_t rt_batch_bytes(int64_t windows, int64_t T) { return (int64_t)((ARRAYS * padded_rows(windows, T) + 3 * ((size_t)T + 1)) * sizeof(int32_t)); }

rt_status rt_batch_create(rt_batch *b, int64_t windows, int64_t T, rt_error *err) {
    *b = (rt_batch){0};
    if (windows < 1 || T < 1 || T > INT32_MAX / windows)
        return rt_fail(err, RT_E_ARG, "a batch of %lld windows of %lld tokens is not possible", (long long)windows,
                       (long long)T);
    size_t rows = (size_t)(windows * T), padded = padded_rows(windows, T);
    int32_t *p = b->block = rt_zalloc((size_t)rt_batch_bytes(windows, T));
    if (!p)
        return rt_fail(err, RT_E_NOMEM, "out of memory for a batch of %lld windows of %lld tokens", (long long)windows,
                       (long long)T);
    b->rows = (int64_t)rows, b->T = T, b->windows = windows;
    int32_t **arrays[ARRAYS] = {&b->ids, &b->targets, &b->position, &b->start, &b->valid, &b->target_bytes};
    for (int i = 0; i < ARRAYS; i++, p += padded) *arrays[i] = p;
    b->scratch = p;
    return RT_OK;
}

void rt_batch_free(rt_batch *b) {
    rt_free(b->block);
    *b = (rt_batch){0};
}

static void pad(rt_batch *b, int64_t row, int64_t end) {
    for (; row < end; row++) {
        b->ids[row] = b->position[row] = b->valid[row] = b->target_bytes[row] = 0;
        b->targets[row] = -1;
        b->start[row] = (int32_t)row;
    }
}

static void set_target(rt_batch *b, const rt_token_stream *s, int64_t row, int32_t id, uint16_t span, bool unmasked) {
    bool scored = unmasked && rt_token_is_target(s, id, span);
    b->targets[row] = scored ? id : -1;
    b->target_bytes[row] = scored ? span & RT_SPAN_BYTES : 0;
    b->supervised += scored;
    b->bytes += b->target_bytes[row];
}

static void fill_window(rt_batch *b, const rt_windows *w, int64_t row, int64_t index) {
    int64_t T = w->T, from = w->view.begin + index * T, left = w->view.end - from;
    int64_t inputs = w->disjoint ? T : left - 1 < T ? left - 1 : T, tokens = inputs + !w->disjoint;
    int32_t *ids = b->scratch, start = (int32_t)row;
    uint16_t *spans = (uint16_t *)(b->scratch + T + 1);
    uint8_t *mask = (uint8_t *)(b->scratch + 2 * (T + 1));
    rt_token_stream_read(w->view.stream, from, tokens, ids, spans);
    rt_token_stream_read_mask(w->view.stream, from, tokens, mask);
    for (int64_t r = 0; r < inputs; r++) {
        if (spans[r] & RT_SPAN_FIRST) start = (int32_t)(row + r);
        b->ids[row + r] = ids[r];
        b->start[row + r] = start;
        b->position[row + r] = (int32_t)(row + r) - start;
        b->valid[row + r] = 1;
        if (r + 1 < tokens)
            set_target(b, w->view.stream, row + r, ids[r + 1], spans[r + 1], mask[r + 1]);
        else
            b->targets[row + r] = -1, b->target_bytes[row + r] = 0;
    }
    b->valid_count += inputs;
    pad(b, row + inputs, row + T);
}

void rt_batch_fill(rt_batch *b, const rt_windows *w, const int64_t *index, int64_t n) {
    b->supervised = b->valid_count = 0, b->bytes = 0, b->filled = n;
    for (int64_t j = 0; j < n; j++) fill_window(b, w, j * b->T, index[j]);
    pad(b, n * b->T, b->rows);
}

int64_t rt_batch_fill_from(rt_batch *b, const rt_windows *w, int64_t first) {
    int64_t n = w->count - first < b->windows ? w->count - first : b->windows;
    if (n < 0) n = 0;
    b->supervised = b->valid_count = 0, b->bytes = 0, b->filled = n;
    for (int64_t j = 0; j < n; j++) fill_window(b, w, j * b->T, first + j);
    pad(b, n * b->T, b->rows);
    return n;
}
