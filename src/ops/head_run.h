/* head_run.h - the inside of the head: what the builder resolved, where a chunk's arrays lie, and the passes.
 *
 * head.c builds and checks; head_layout.c places; head_plan.c decides what a run needs; head_rows.c does everything about
 * rows and terms (log-sum-exps, sums, values); head_products.c everything about matrices. N tokens, C rows of a chunk,
 * V vocabulary, D width. */
#ifndef RT_OPS_HEAD_RUN_H
#define RT_OPS_HEAD_RUN_H
#include <retort/graph/op.h>
#include <retort/ops/head.h>
#include "kernels/head.h"

enum {
    RT_HEAD_TILE = 256,       /* ids of a tile */
    RT_HEAD_PANEL = 128,      /* ids whose weights are converted at a time */
    RT_HEAD_SEGMENTS = 16,    /* partial sums of dH; fixed, summed in order */
    RT_HEAD_ROWS_MAX = 512,
    RT_HEAD_BLOCK = 64,       /* rows of a task that loads or reduces */
    RT_HEAD_WORKERS = 4,      /* counted in the budget: rows a chunk must not depend on the threads */
    RT_HEAD_EXPS_MAX = 2 * RT_HEAD_TERMS_MAX,
    RT_HEAD_SUMS_MAX = 2 * RT_HEAD_TERMS_MAX, /* no record wants more than two */
};
/* Inputs of the operation. */
enum { IN_HIDDEN, IN_WEIGHT, IN_LOGITS, IN_SIDE = 3, IN_TARGETS = 6, IN_GAINS, IN_ACTIVE, IN_TEMPERATURES, IN_COUNT };

typedef struct rt_head_attr {
    rt_prec prec[2];        /* student, teacher */
    bool present[2], given[2], half_weight[2], half_hidden[2];
    int64_t N, D[2], vocab, rows; /* rows: of a full chunk; 0 when the budget is too small */
    int64_t budget;
    int terms_given, n_terms;
    rt_head_term term[RT_HEAD_TERMS_MAX]; /* temperatures resolved */
    bool adjustable; /* temperatures may change from run to run */
    int exps_max;    /* log-sum-exps there is room for */
    int sums_max;    /* and sums over the vocabulary */
    bool top[2]; /* some term needs them */
    int width;
} rt_head_attr;

/* A sum over the vocabulary that terms share: the same kind, at the same temperature and beta where these matter. */
typedef struct rt_head_sum {
    int kind, of; /* RT_SUM_...; the first term that has it */
    int maker;    /* the term whose gradient makes it along the way; -1: made before all gradients */
    int group;    /* then: with which others */
} rt_head_sum;
/* What the sums made in one loop have in common. */
typedef struct rt_head_group {
    double temperature, beta; /* beta -1: none needs it */
    int exp_of[2];
} rt_head_group;

/* What one run needs; nothing is made for an inactive term. */
typedef struct rt_head_plan {
    bool active[RT_HEAD_TERMS_MAX], used[2], top[2];
    bool pulls[RT_HEAD_TERMS_MAX]; /* has a gradient that is wanted and not zero */
    double temperature[RT_HEAD_TERMS_MAX];
    /* Distinct (side, temperature) whose log-sum-exp some active term needs. */
    int n_exps, exp_side[RT_HEAD_EXPS_MAX];
    double exp_temperature[RT_HEAD_EXPS_MAX];
    int exp_of[RT_HEAD_TERMS_MAX][2]; /* -1: not needed */
    int n_sums, sum_of[RT_HEAD_TERMS_MAX][RT_SUM_KINDS]; /* by the term's kind; -1: not needed */
    rt_head_sum sum[RT_HEAD_SUMS_MAX];
    int n_groups;
    rt_head_group group[RT_HEAD_SUMS_MAX];
} rt_head_plan;

/* Byte offsets in the operation's scratch and, last, in a worker's. T is f32 or f64. */
typedef struct rt_head_place {
    size_t hidden_t[2]; /* T [D][C] */
    size_t hidden;      /* T [C][D], the student's when it is stored half */
    size_t z[2];        /* T [V][C] */
    size_t sum;         /* T [tiles][sums][C] */
    size_t max[2];      /* T [C] */
    size_t log, lse;    /* T, f64 [exps][C] */
    size_t total, total64; /* T, f64 [sums][C] */
    size_t gain;        /* T [terms][C] */
    size_t target;      /* i32 [C] */
    size_t top[2];      /* i32 [5][C] */
    size_t part;        /* T [tiles][2 + exps][C], exps those of the run: both maxima, sums of exps; until they are joined */
    size_t d_hidden;    /* T [segments][C][D], in the same place: needed after that */
    size_t bytes;
    size_t panel, dz, worker_bytes; /* T [panel][D], T [tile][C] */
} rt_head_place;
void rt_head_layout(const rt_head_attr *a, int64_t rows, rt_head_place *p);
int64_t rt_head_bytes(const rt_head_attr *a, int64_t rows);

typedef struct rt_head_run {
    const rt_call *call;
    const rt_head_attr *a;
    rt_head_plan plan;
    const rt_head_kernels *kernels;
    rt_head_place at;
    char *base;
    size_t size;      /* of T */
    int64_t tiles, segment_tiles, segments;
    int64_t r0, n, C; /* the chunk: first row, count, count rounded up to 16 */
    bool backward;    /* some gradient is wanted and not zero */
} rt_head_run;

static inline void *rt_head_at(const rt_head_run *r, size_t offset, int64_t elements) {
    return r->base + offset + (size_t)elements * r->size;
}
static inline int64_t rt_head_ids(const rt_head_run *r, int64_t tile) {
    int64_t left = r->a->vocab - tile * RT_HEAD_TILE;
    return left < RT_HEAD_TILE ? left : RT_HEAD_TILE;
}
static inline void *rt_head_logits_at(const rt_head_run *r, int side, int64_t tile) {
    return rt_head_at(r, r->at.z[side], tile * RT_HEAD_TILE * r->C);
}

/* head_plan.c */
int rt_head_exps_max(const rt_head_attr *a);
int rt_head_sums_max(const rt_head_attr *a);
bool rt_head_plan_make(const rt_call *c, rt_head_plan *p); /* false: nothing to do, or the temperatures are refused */

/* head_rows.c */
void rt_head_begin_rows(const rt_head_run *r);              /* targets and gains of the chunk */
void rt_head_tile_sums(const rt_head_run *r, int64_t tile); /* maxima and sums of exps of a tile */
void rt_head_join(const rt_head_run *r);                    /* log-sum-exps and largest ids of the chunk's rows */
void rt_head_sums(const rt_head_run *r);                    /* pass 2 */
void rt_head_dz(const rt_head_run *r, int64_t tile, void *dz); /* pass 3 of a tile: dz, and the sums made along the way */
void rt_head_finish(const rt_head_run *r, bool along);      /* row sums over the tiles, of pass 2 or made along the way */
void rt_head_report_rows(const rt_head_run *r);             /* adds the chunk's positions to the output, in order */

/* head_products.c */
typedef struct rt_head_products {
    void (*load)(const rt_head_run *r);   /* transposed hidden rows */
    void (*logits)(const rt_head_run *r); /* pass 1, with rt_head_tile_sums */
    void (*backward)(const rt_head_run *r); /* pass 3, with rt_head_dz: dW, dH or the gradient of given logits */
} rt_head_products;
extern const rt_head_products rt_head_products_f32, rt_head_products_f64;
#endif
