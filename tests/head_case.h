/* head_case.h - one run of the head on random or given data, for test_head.c and test_losses.c. */
#ifndef RT_TESTS_HEAD_CASE_H
#define RT_TESTS_HEAD_CASE_H
#include "harness.h"
#include <retort/losses/losses.h>
#include <retort/ops/head.h>

typedef struct head_case {
    /* set by the test */
    int64_t N, D[2], V, padded; /* padded: rows of the weights (0: V) */
    rt_prec prec[2];            /* acc RT_NONE: no such side */
    bool given[2];              /* logits instead of hidden and weight */
    bool evaluate;
    bool fresh;                 /* gradients hold NaN and are overwritten, instead of cleared and added to */
    double scale;               /* of the weights or logits (0: 1) */
    int64_t rows, budget;
    const rt_head_term *terms;
    int n_terms;
    int32_t *active;      /* [terms]; NULL: no such input */
    double *temperatures; /* [terms]; NULL: no such input */
    /* made by head_case_make, filled at random; the test may overwrite */
    rt_tensor hidden[2], weight[2], logits[2], d_hidden, d_weight, d_logits, out;
    int32_t *target;
    double gains[RT_HEAD_TERMS_MAX];
    int64_t rows_used;
    rt_graph_stats stats;
} head_case;

void head_case_make(head_case *c);
rt_ref head_case_build(head_case *c, rt_graph *g); /* the head on leaves of its own; its output */
rt_status head_case_run(head_case *c, rt_error *err); /* gradients are cleared, then added to; out is overwritten */
void head_case_free(head_case *c);
double head_case_report(const head_case *c, int term);
bool head_case_same(const rt_tensor *a, const rt_tensor *b); /* bit for bit */
/* Every loss and metric; and a case of several tiles and chunks with all of them. */
enum { HEAD_ALL = 11 };
extern const rt_head_term head_all[HEAD_ALL];
head_case head_case_big(int64_t rows);
extern const rt_prec head_f64, head_f32, head_f16; /* head_f16: f16 weight and hidden, f32 logits */
#endif
