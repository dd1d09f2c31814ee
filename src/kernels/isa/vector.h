/* vector.h - one register of this level's width as a type, a multiply-add of it, the sum of its lanes, a question of all lanes. Included by isa/ files only. */
#ifndef RETORT_KERNELS_VECTOR_H
#define RETORT_KERNELS_VECTOR_H
#include "kernels/isa/block.h"
#if defined __x86_64__
#include <immintrin.h>
#endif

typedef float vec_f32 __attribute__((vector_size(VECTOR_BYTES), may_alias));
typedef double vec_f64 __attribute__((vector_size(VECTOR_BYTES), may_alias));
typedef float vec_at_f32 __attribute__((vector_size(VECTOR_BYTES), may_alias, aligned(sizeof(float))));
typedef double vec_at_f64 __attribute__((vector_size(VECTOR_BYTES), may_alias, aligned(sizeof(double))));

#if defined __AVX512F__
INLINE vec_f32 vec_fma_f32(vec_f32 a, vec_f32 b, vec_f32 c) {
    return (vec_f32)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
}
INLINE vec_f64 vec_fma_f64(vec_f64 a, vec_f64 b, vec_f64 c) {
    return (vec_f64)_mm512_fmadd_pd((__m512d)a, (__m512d)b, (__m512d)c);
}
#elif defined __FMA__
INLINE vec_f32 vec_fma_f32(vec_f32 a, vec_f32 b, vec_f32 c) {
    return (vec_f32)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
}
INLINE vec_f64 vec_fma_f64(vec_f64 a, vec_f64 b, vec_f64 c) {
    return (vec_f64)_mm256_fmadd_pd((__m256d)a, (__m256d)b, (__m256d)c);
}
#else
INLINE vec_f32 vec_fma_f32(vec_f32 a, vec_f32 b, vec_f32 c) { return a * b + c; }
INLINE vec_f64 vec_fma_f64(vec_f64 a, vec_f64 b, vec_f64 c) { return a * b + c; }
#endif

/* The lanes' sum by the tree of lanes_sum: each time the upper half is added to the lower. */
#if defined __x86_64__
INLINE float quad_sum(__m128 a) {
    a = _mm_add_ps(a, _mm_movehl_ps(a, a));
    return _mm_cvtss_f32(_mm_add_ss(a, _mm_shuffle_ps(a, a, 1)));
}
INLINE double pair_sum(__m128d a) { return _mm_cvtsd_f64(_mm_add_sd(a, _mm_unpackhi_pd(a, a))); }
#if defined __AVX2__
INLINE float oct_sum(__m256 a) { return quad_sum(_mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1))); }
INLINE double four_sum(__m256d a) { return pair_sum(_mm_add_pd(_mm256_castpd256_pd128(a), _mm256_extractf128_pd(a, 1))); }
#endif
#endif
#if defined __AVX512F__
INLINE float vec_sum_f32(vec_f32 a) { return oct_sum(_mm256_add_ps(_mm512_castps512_ps256((__m512)a), _mm512_extractf32x8_ps((__m512)a, 1))); }
INLINE double vec_sum_f64(vec_f64 a) { return four_sum(_mm256_add_pd(_mm512_castpd512_pd256((__m512d)a), _mm512_extractf64x4_pd((__m512d)a, 1))); }
#elif defined __AVX2__
INLINE float vec_sum_f32(vec_f32 a) { return oct_sum((__m256)a); }
INLINE double vec_sum_f64(vec_f64 a) { return four_sum((__m256d)a); }
#elif defined __x86_64__
INLINE float vec_sum_f32(vec_f32 a) { return quad_sum((__m128)a); }
INLINE double vec_sum_f64(vec_f64 a) { return pair_sum((__m128d)a); }
#else
INLINE float vec_sum_f32(vec_f32 a) { return (a[0] + a[2]) + (a[1] + a[3]); }
INLINE double vec_sum_f64(vec_f64 a) { return a[0] + a[1]; }
#endif

/* Some lane of a is above that of b; a NaN never is. */
#if defined __AVX512F__
INLINE bool vec_any_above_f32(vec_f32 a, vec_f32 b) { return _mm512_cmp_ps_mask((__m512)a, (__m512)b, _CMP_GT_OQ) != 0; }
INLINE bool vec_any_above_f64(vec_f64 a, vec_f64 b) { return _mm512_cmp_pd_mask((__m512d)a, (__m512d)b, _CMP_GT_OQ) != 0; }
#elif defined __AVX2__
INLINE bool vec_any_above_f32(vec_f32 a, vec_f32 b) { return _mm256_movemask_ps((__m256)(a > b)) != 0; }
INLINE bool vec_any_above_f64(vec_f64 a, vec_f64 b) { return _mm256_movemask_pd((__m256d)(a > b)) != 0; }
#elif defined __x86_64__
INLINE bool vec_any_above_f32(vec_f32 a, vec_f32 b) { return _mm_movemask_ps((__m128)(a > b)) != 0; }
INLINE bool vec_any_above_f64(vec_f64 a, vec_f64 b) { return _mm_movemask_pd((__m128d)(a > b)) != 0; }
#else
INLINE bool vec_any_above_f32(vec_f32 a, vec_f32 b) { return a[0] > b[0] || a[1] > b[1] || a[2] > b[2] || a[3] > b[3]; }
INLINE bool vec_any_above_f64(vec_f64 a, vec_f64 b) { return a[0] > b[0] || a[1] > b[1]; }
#endif
#endif
