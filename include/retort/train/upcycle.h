/* upcycle.h - a mixture of experts from a dense model: copies of its feed-forward layers, whole or in slices, and a random
 * router, so that the mixture computes the dense model's function until it is trained.
 *
 * The dense layer is a sum over its inner width F:  FFN(x) = sum_f d_f a_f(x),  a_f = silu(g_f x) (u_f x), with g_f, u_f rows
 * of gate and up, d_f columns of down. With g slices (granularity) and C = E/g copies, expert (c, s), number c g + s, is slice
 * s of copy c:
 *
 *     gate, up: rows f in [s F/g, (s+1) F/g);   down: columns of the same f, times g;   router row: r_c
 *
 * The slices of a copy have one router row, so they have one score z_c, to the bit (suite row_invariance). The routes take the
 * k highest scores, ties to the lower id: sorted so, each copy is one run of g neighbours, also where copies tie; a cut after
 * k, a multiple of g, falls between copies. So whole copies are chosen, for every token, by the order of the experts alone.
 * Renormalised, each slice of a chosen copy weighs w_c / g, with w = softmax of the k/g chosen z_c, sum w_c = 1:
 *
 *     y = sum_c sum_s (w_c/g) sum_{f in s} g d_f a_f = sum_c w_c FFN(x) = FFN(x)
 *
 * In exact arithmetic; in f32 the order of sums differs, and down is rounded once more unless g is a power of two. First
 * order in 2^-24: |y - FFN(x)| <= (2F + k + 4) 2^-24 sum_f |d_f a_f(x)|, elementwise, for equal a_f.
 *
 * Families that do not renormalise, or add a shared expert, have no such start and are refused.
 * Copies: Komatsuzaki et al. 2022 (Sparse Upcycling, arXiv 2212.05055). Slices, router rows repeated over them, and weights
 * scaled to make up for it: He et al. 2024 (arXiv 2410.07524, "virtual groups"). Here the chosen probabilities are
 * renormalised, so the factor is g, and down takes all of it. */
#ifndef RETORT_TRAIN_UPCYCLE_H
#define RETORT_TRAIN_UPCYCLE_H
#include <retort/io/hf.h>
#include <retort/model/weights.h>

typedef struct rt_upcycle {
    int64_t experts, experts_per_token; /* of the mixture: multiples of granularity */
    int64_t granularity;                /* g; 1: whole copies */
    double noise; /* each expert weight plus noise x root mean square of its dense matrix x N(0,1), before the factor g; 0: none */
    uint64_t seed; /* of router, N(0, 0.02), and noise */
} rt_upcycle;

/* The first family that takes a dense one over: the same weights outside the feed-forward layer, a router, experts, chosen
 * probabilities renormalised. NULL: none does, or `dense` has experts. */
const rt_arch *rt_upcycle_arch(const rt_arch *dense);
/* RT_E_CONFIG: why not into `to` (NULL: into no family). `where` names the dense model. */
rt_status rt_upcycle_refuse(const rt_arch *dense, const rt_arch *to, const char *where, rt_error *err);

/* The mixture's architecture; RT_E_CONFIG when family or numbers do not fit the dense model `where`. */
rt_status rt_upcycle_config(const rt_model_config *dense, const rt_arch *to, const rt_upcycle *u, const char *where, rt_model_config *out,
                            rt_error *err) RT_NODISCARD;
/* Fills `w`, allocated, all f32, of that architecture, from the files of the dense model: f32, f16 or bf16, widened. */
rt_status rt_upcycle_weights(rt_weights *w, const rt_hf *dense, const rt_upcycle *u, rt_error *err) RT_NODISCARD;
#endif
