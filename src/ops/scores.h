/* scores.h - what the losses on router scores share: scores [N,E] in the compute type, valid i32 [N], fixed blocks of rows. */
#ifndef RETORT_OPS_SCORES_H
#define RETORT_OPS_SCORES_H
#include <retort/graph/op.h>

enum { RT_SCORE_ROWS = 128 };
typedef struct rt_span {
    int64_t from, to;
} rt_span;

rt_status rt_infer_scores(rt_graph *g, rt_node *n, int scores, int valid); /* checks both inputs; no weight in the contract */
int64_t rt_count_valid(const rt_tensor *valid);
static inline bool rt_is_valid(const rt_tensor *valid, int64_t row) { return ((const int32_t *)valid->data)[row] != 0; }
static inline int64_t rt_score_blocks(const rt_tensor *scores) { return (scores->dim[0] + RT_SCORE_ROWS - 1) / RT_SCORE_ROWS; }
static inline rt_span rt_score_block(const rt_tensor *scores, int64_t b) {
    int64_t end = (b + 1) * RT_SCORE_ROWS;
    return (rt_span){b * RT_SCORE_ROWS, end < scores->dim[0] ? end : scores->dim[0]};
}
#endif
