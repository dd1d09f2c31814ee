/* head.h - loops over a tile of the vocabulary, transposed: z [ids][rows], so that lanes are tokens.
 *
 * With log p = (z - max)/tau - log (max and log per row: the log-sum-exp in two parts, so that nothing large is rounded),
 * d = log p - log q, and g(d) = exp(-d) - 1 + d >= 0:
 *   KL(p,q) = sum p g(d)                 as sum p d, because both p and q sum to 1; but no term can be negative, d = 0 gives
 *                                        exactly 0, and errors of the log-sum-exps cancel in first order
 *   JSD     = sum beta p g(log p/M) + (1-beta) q g(log q/M),   M = beta p + (1-beta) q
 * Near d = 0, g is d^2 times a polynomial. Sums of a tile are in the compute type, over tiles in f64 (ops/head_rows.c).
 *
 * Arrays are f32, or f64 for the f64 contract: rt_head_kernels_of(dtype). `rows` is a multiple of 16. A row's bits depend
 * neither on `rows` nor on its place. */
#ifndef RETORT_KERNELS_HEAD_H
#define RETORT_KERNELS_HEAD_H
#include <retort/tensor/dtype.h>
#include <stdint.h>

enum { RT_HEAD_STUDENT, RT_HEAD_TEACHER, RT_HEAD_SUMS = 2, RT_HEAD_TOP = 5, RT_HEAD_SCALES = 32 };

typedef struct rt_head_logits {
    const void *z;          /* [ids][rows] */
    const void *max, *log;  /* [rows], at the tile's temperature */
} rt_head_logits;

/* What a loss sees of a tile, for one term of the objective. */
typedef struct rt_head_tile {
    rt_dtype dtype;
    int64_t rows, ids, first_id, vocab;
    double temperature, beta, label_smoothing;
    rt_head_logits side[2];
    const int32_t *target;         /* [rows]; -1: not supervised */
    void *sum[RT_HEAD_SUMS];       /* [rows]: overwritten with the sums over this tile's ids */
    const void *total[RT_HEAD_SUMS]; /* [rows]: the sums over the vocabulary (gradients of losses that ask for them) */
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
    /* The RT_HEAD_TOP largest of each of 16 rows, descending, ties to the lower id, -1 where there are fewer ids. */
    void (*top)(const void *z, int64_t ids, int64_t rows, int32_t *top /* [RT_HEAD_TOP][rows] */);

    void (*logits)(const rt_head_tile *t);                /* sum[0] = sum z */
    void (*kl)(const rt_head_tile *t, int p, int q);      /* sum[0] = KL(p,q); p, q: RT_HEAD_STUDENT or RT_HEAD_TEACHER */
    void (*tv)(const rt_head_tile *t);                    /* sum[0] = sum |p-q|/2, sum[1] = -sum q sign(p-q)/2 */
    void (*overlap)(const rt_head_tile *t);               /* sum[0] = sum min(p,q) */
    void (*jsd)(const rt_head_tile *t);                   /* sum[0] = JSD, sum[1] = (1-beta) sum q log(q/M) */

    void (*softmax_grad)(const rt_head_tile *t, double factor, double shift); /* dz += gain (factor q + shift) */
    void (*kl_grad)(const rt_head_tile *t, double factor);                    /* dz += gain factor (q - p) */
    void (*kl_both)(const rt_head_tile *t, double factor);                    /* kl(teacher, student), and kl_grad */
    void (*reverse_grad)(const rt_head_tile *t, double factor);               /* dz += gain factor q (log q/p - total[0]) */
    void (*tv_grad)(const rt_head_tile *t, double factor);                    /* dz += gain factor q (-sign(p-q)/2 - total[1]) */
    void (*jsd_grad)(const rt_head_tile *t, double factor);                   /* dz += gain factor q ((1-beta) log(q/M) - total[1]) */
} rt_head_kernels;

const rt_head_kernels *rt_head_kernels_of(rt_dtype dtype);
#endif
