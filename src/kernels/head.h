/* head.h - loops over a tile of the vocabulary, transposed: z [ids][rows], so that lanes are tokens.
 *
 * With log p = (z - max)/tau - log (max and log per row: the log-sum-exp in two parts, so that nothing large is rounded) and
 * d = log p - log q:
 *   KL(p,q) = sum p g(d), g(d) = exp(-d) - 1 + d >= 0     as sum p d, because both p and q sum to 1; but no term can be negative,
 *                                                         d = 0 gives exactly 0, and errors of the log-sum-exps cancel in first order
 *   JSD     = sum beta p log(p/M) + (1-beta) q log(q/M),  M = beta p + (1-beta) q;  its terms, too, are not negative and 0 at d = 0.
 *             By definition, KL(p,q) at beta 0 and KL(q,p) at beta 1.
 * How they are made from two exps: isa/divergence.h. Sums of a tile are in the compute type, over tiles in f64 (ops/head_rows.c); a
 * sum has the same bits whichever others are made with it.
 *
 * Arrays are f32, or f64 for the f64 contract: rt_head_kernels_of(dtype). `rows` is a multiple of 16. A row's bits depend
 * neither on `rows` nor on its place. */
#ifndef RETORT_KERNELS_HEAD_H
#define RETORT_KERNELS_HEAD_H
#include <retort/tensor/dtype.h>
#include <stdint.h>

enum { RT_HEAD_STUDENT, RT_HEAD_TEACHER, RT_HEAD_TOP = 5, RT_HEAD_TOP_ROWS = 64, RT_HEAD_SCALES = 32 };

/* Sums over the vocabulary; p the teacher's and q the student's distribution. Sets of them have the bit 1 << RT_SUM_... */
enum {
    RT_SUM_LOGITS,     /* sum z of the student */
    RT_SUM_KL,         /* KL(p,q) */
    RT_SUM_REVERSE_KL, /* KL(q,p) */
    RT_SUM_OVERLAP,    /* sum min(p,q) */
    RT_SUM_TV,         /* sum |p-q|/2 */
    RT_SUM_TV_SLOPE,   /* -sum q sign(p-q)/2 */
    RT_SUM_JSD,
    RT_SUM_JSD_SLOPE, /* (1-beta) sum q log(q/M) */
    RT_SUM_KINDS
};

typedef struct rt_head_logits {
    const void *z;          /* [ids][rows] */
    const void *max, *log;  /* [rows], at the tile's temperature */
} rt_head_logits;

/* What a loss sees of a tile, for one term of the objective; or what is wanted of a tile for several. */
typedef struct rt_head_tile {
    rt_dtype dtype;
    int64_t rows, ids, first_id, vocab;
    double temperature, beta, label_smoothing;
    rt_head_logits side[2];
    const int32_t *target;         /* [rows]; -1: not supervised */
    void *sum[RT_SUM_KINDS];         /* [rows]: overwritten with the sums over this tile's ids; NULL: not wanted */
    const void *total[RT_SUM_KINDS]; /* [rows]: the sums over the vocabulary (gradients of losses that ask for them) */
    const void *gain;              /* [rows]; 0 for rows that are not supervised */
    void *dz;                      /* [ids][rows]; with `fresh` overwritten, else added to */
    bool fresh;
} rt_head_tile;

/* What is wanted of a tile of one side's logits: the maximum, and for each scale sum e and sum e^2 (either may be NULL) of
 * e = exp(scale (z - max)). */
typedef struct rt_head_partials {
    int64_t rows;
    void *max; /* [rows] */
    int count;
    double scale[RT_HEAD_SCALES];
    void *sum[RT_HEAD_SCALES], *squares[RT_HEAD_SCALES]; /* [rows] */
} rt_head_partials;

typedef struct rt_head_kernels {
    void (*partials)(const void *z, int64_t ids, const rt_head_partials *p);
    /* The whole vocabulary from its tiles, for 16 rows; part arrays of consecutive tiles lie `stride` elements apart. */
    void (*join_max)(const void *part, int64_t tiles, int64_t stride, void *max);
    void (*join_exp)(const void *part_max, const void *part_sum, int64_t tiles, int64_t stride, double scale, const void *max,
                     double *sum);
    /* The RT_HEAD_TOP largest of each of `count` rows (a multiple of 16, at most RT_HEAD_TOP_ROWS), descending, ties to the lower id,
     * -1 where there are fewer ids. */
    void (*top)(const void *z, int64_t ids, int64_t rows, int64_t count, int32_t *top /* [RT_HEAD_TOP][rows] */);

    void (*sums)(const rt_head_tile *t); /* all that t->sum asks for, at its temperature and beta */

    void (*softmax_grad)(const rt_head_tile *t, double factor, double shift); /* dz += gain (factor q + shift) */
    void (*kl_grad)(const rt_head_tile *t, double factor);      /* dz += gain factor (q - p); and RT_SUM_KL where it is asked for */
    void (*reverse_grad)(const rt_head_tile *t, double factor); /* dz += gain factor q (log q/p - total[REVERSE_KL]) */
    void (*tv_grad)(const rt_head_tile *t, double factor);      /* dz += gain factor q (-sign(p-q)/2 - total[TV_SLOPE]) */
    void (*jsd_grad)(const rt_head_tile *t, double factor);     /* dz += gain factor q ((1-beta) log(q/M) - total[JSD_SLOPE]) */
} rt_head_kernels;

const rt_head_kernels *rt_head_kernels_of(rt_dtype dtype);
/* The sum that a kind is at this beta: JSD's are KL's at its ends, and at 0 no slope is needed (-1). */
int rt_head_sum_at(int kind, double beta);
#endif
