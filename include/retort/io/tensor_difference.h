/* tensor_difference.h - how far two tensors of one shape are from each other.
 *
 * Numbers are compared as f64, to which f16, bf16, f32, i32 and u8 widen exactly (i64 beyond 2^53 is rounded; equality is by
 * bits all the same). Sums are f64 in a fixed order: the same digits for any number of threads. Nothing is copied: both
 * tensors are read in pieces, equal ones at the speed of memory. */
#ifndef RETORT_IO_TENSOR_DIFFERENCE_H
#define RETORT_IO_TENSOR_DIFFERENCE_H
#include <retort/tensor/tensor.h>

typedef struct rt_tensor_difference {
    int64_t elements;
    /* Elements that are not the same bits: 0 and -0 differ, equal NaNs do not. Of tensors of two dtypes the widened bits count. */
    int64_t differing;
    int64_t nonfinite;  /* of these, pairs without a finite difference: NaN or an infinity against something else */
    int64_t first;      /* index of the first that differs; -1: none */
    int64_t worst;      /* index of the largest finite |a - b|; -1: all are 0 */
    double max_abs;     /* max |a - b|, infinite where nonfinite > 0 */
    double norm;        /* ||a||, finite elements only; NaN where the bits are the same, for then it is not computed */
    double relative;    /* ||a - b|| / ||a||: 0 when nothing differs, infinite when only a is 0 or nonfinite > 0 */
    bool widened;       /* the dtypes are two */
} rt_tensor_difference;

/* RT_E_SHAPE when the shapes differ; RT_E_NOMEM. */
rt_status rt_tensor_difference_of(const rt_tensor *a, const rt_tensor *b, rt_tensor_difference *out, rt_error *err) RT_NODISCARD;
/* Element i as f64. */
double rt_tensor_element(const rt_tensor *t, int64_t i);
#endif
