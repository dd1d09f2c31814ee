/* tensor.c - shapes and views. */
#include <retort/tensor/tensor.h>
#include <stdio.h>

rt_tensor rt_tensor_make(rt_dtype t, int ndim, const int64_t *dim, void *data) {
    rt_tensor x = {.dtype = t, .ndim = ndim, .data = data};
    for (int i = 0; i < ndim && i < RT_MAX_DIMS; i++) x.dim[i] = dim[i];
    return x;
}
rt_tensor rt_tensor_1d(rt_dtype t, void *data, int64_t n) { return rt_tensor_make(t, 1, (int64_t[]){n}, data); }
rt_tensor rt_tensor_2d(rt_dtype t, void *data, int64_t rows, int64_t columns) {
    return rt_tensor_make(t, 2, (int64_t[]){rows, columns}, data);
}
rt_tensor rt_tensor_3d(rt_dtype t, void *data, int64_t a, int64_t b, int64_t c) {
    return rt_tensor_make(t, 3, (int64_t[]){a, b, c}, data);
}
int64_t rt_tensor_count(const rt_tensor *t) {
    int64_t n = 1;
    for (int i = 0; i < t->ndim; i++) n *= t->dim[i];
    return n;
}
size_t rt_tensor_bytes(const rt_tensor *t) { return (size_t)rt_tensor_count(t) * rt_dtype_size(t->dtype); }
bool rt_tensor_same_shape(const rt_tensor *a, const rt_tensor *b) {
    if (a->ndim != b->ndim) return false;
    for (int i = 0; i < a->ndim; i++)
        if (a->dim[i] != b->dim[i]) return false;
    return true;
}
const char *rt_tensor_text(const rt_tensor *t, char buffer[96]) {
    int n = snprintf(buffer, 96, "%s [", rt_dtype_name(t->dtype));
    for (int i = 0; i < t->ndim && n < 90; i++) n += snprintf(buffer + n, 96 - (size_t)n, "%s%lld", i ? "," : "", (long long)t->dim[i]);
    if (n < 95) snprintf(buffer + n, 96 - (size_t)n, "]");
    return buffer;
}
uint64_t rt_tensor_hash(const rt_tensor *t) {
    uint64_t h = 1469598103934665603ull;
    const uint8_t *p = t->data;
    size_t n = rt_tensor_bytes(t);
    h = (h ^ (uint64_t)t->dtype) * 1099511628211ull;
    for (int i = 0; i < t->ndim; i++) h = (h ^ (uint64_t)t->dim[i]) * 1099511628211ull;
    for (size_t i = 0; i < n; i++) h = (h ^ p[i]) * 1099511628211ull;
    return h;
}
