/* tensor.h - a dense row-major array: dtype, shape, pointer. No arithmetic, no ownership of its own.
 *
 * A tensor is a view; whoever allocated `data` frees it. Its dtype never changes: a conversion makes a new tensor. */
#ifndef RETORT_TENSOR_TENSOR_H
#define RETORT_TENSOR_TENSOR_H
#include <retort/tensor/dtype.h>

#define RT_MAX_DIMS 4
typedef struct rt_tensor {
    rt_dtype dtype;
    int ndim;
    int64_t dim[RT_MAX_DIMS];
    void *data;
} rt_tensor;

rt_tensor rt_tensor_make(rt_dtype t, int ndim, const int64_t *dim, void *data);
/* rt_tensor_1d(RT_F32, data, n) ... */
rt_tensor rt_tensor_1d(rt_dtype t, void *data, int64_t n);
rt_tensor rt_tensor_2d(rt_dtype t, void *data, int64_t rows, int64_t columns);
rt_tensor rt_tensor_3d(rt_dtype t, void *data, int64_t a, int64_t b, int64_t c);
int64_t rt_tensor_count(const rt_tensor *t); /* number of elements */
size_t rt_tensor_bytes(const rt_tensor *t);
bool rt_tensor_same_shape(const rt_tensor *a, const rt_tensor *b);
/* "f32 [512,64]"; returns buffer. */
const char *rt_tensor_text(const rt_tensor *t, char buffer[96]);
/* FNV-1a over dtype, shape and bytes: to see that something did not change. */
uint64_t rt_tensor_hash(const rt_tensor *t);
#endif
