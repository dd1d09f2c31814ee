/* batch.h - windows of a token stream and batches of windows: THE place where inputs and targets are shifted by one.
 *
 * Window i of a view takes tokens [iT, iT + T]: T inputs, and as targets the token after each. Neighbouring windows
 * share that one token, so every token but a document's first is a target exactly once. The last window may be short;
 * it is padded. Disjoint windows (the usual perplexity of other programs) take [iT, iT + T) alone: T inputs, T - 1
 * targets, the last row without one; an incomplete last window is dropped.
 *
 * Documents in one window do not see each other: row r attends to rows [start[r], r], and its position counts from
 * there. */
#ifndef RETORT_TEXT_BATCH_H
#define RETORT_TEXT_BATCH_H
#include <retort/text/token_stream.h>

typedef struct rt_windows {
    rt_token_view view;
    int64_t T, count;
    bool disjoint;
} rt_windows;
/* RT_E_ARG: T < 1 (disjoint: < 2); RT_E_INPUT: fewer than two tokens, or disjoint and fewer than T. */
rt_status rt_windows_make(rt_windows *w, rt_token_view view, int64_t T, bool disjoint, rt_error *err) RT_NODISCARD;

/* One micro-batch. Arrays are [rows]; rows of window j are [jT, (j+1)T). Read-only for its users. */
typedef struct rt_batch {
    int64_t rows, T, windows;        /* rows = windows * T */
    int32_t *ids;                    /* input token; padding 0 */
    int32_t *targets;                /* the next token; -1: not supervised (padding, bos, masked, the end of a view) */
    int32_t *position;               /* from 0 at the document's first row in this window; padding 0 */
    int32_t *start;                  /* row of the batch at which that document begins; padding: the row itself */
    int32_t *valid;                  /* 1; padding 0 */
    int32_t *target_bytes;           /* original bytes the target covers; 0 without a target */
    int64_t supervised, valid_count; /* rows with a target; rows that are not padding */
    int64_t filled;                  /* windows that are not padding altogether */
    double bytes;                    /* sum of target_bytes */
    int32_t *scratch;                /* [T+1] ids, [T+1] uint16 spans, [T+1] uint8 mask, each at a multiple of T+1 */
    void *block;                     /* the one allocation */
} rt_batch;
/* RT_E_ARG: windows or T < 1, or windows * T >= 2^31. */
rt_status rt_batch_create(rt_batch *b, int64_t windows, int64_t T, rt_error *err) RT_NODISCARD;
int64_t rt_batch_bytes(int64_t windows, int64_t T); /* of its one allocation */
void rt_batch_free(rt_batch *b); /* an all-zero batch is fine */
/* Fills the batch with windows index[0, n), the rest with padding; n <= b->windows, b->T == w->T. No allocation. */
void rt_batch_fill(rt_batch *b, const rt_windows *w, const int64_t *index, int64_t n);
/* The same with windows first, first + 1, ... (at most b->windows of them): evaluation in order. Returns how many. */
int64_t rt_batch_fill_from(rt_batch *b, const rt_windows *w, int64_t first);
#endif
