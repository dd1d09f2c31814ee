/* rng.h - counter-based random numbers: Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3").
 *
 * A number is a pure function of (seed, stream, index): no state to save, none to race for, none that depends on the
 * order of calls. Streams separate uses: one per parameter tensor, per data epoch, per sampler. */
#ifndef RETORT_BASE_RNG_H
#define RETORT_BASE_RNG_H
#include <stdint.h>

typedef struct rt_rng {
    uint64_t seed, stream;
} rt_rng;

rt_rng rt_rng_make(uint64_t seed, const char *stream_name, uint64_t stream_index);
uint64_t rt_rng_u64(rt_rng r, uint64_t index);
double rt_rng_uniform(rt_rng r, uint64_t index);                 /* [0, 1), 53 bits */
double rt_rng_normal(rt_rng r, uint64_t index);                  /* N(0, 1), Box-Muller in f64 */
uint64_t rt_rng_below(rt_rng r, uint64_t index, uint64_t bound); /* [0, bound), unbiased to 2^-64 */
/* The i-th element of a seeded permutation of [0, n), without storing it (cycle-walking Feistel network). */
uint64_t rt_rng_permute(rt_rng r, uint64_t i, uint64_t n);
#endif
