/* attention.c - workspace sizes and the choice of kernels. The kernels are in isa/attention.c. */
#ifndef T
#include "kernels/attention.h"
#include "kernels/isa.h"
#include "kernels/isa/attention.h"

RT_ISA_DECLARE(const rt_attention_kernels, rt_attention_table);
static const rt_attention_kernels *kernels(void) { return RT_ISA_PICK(rt_attention_table); }

/* (length * per_key + fixed) * head_dim, padded to 16, + extra, in bytes. */
static size_t bytes(int64_t length, int64_t head_dim, int64_t per_key, int64_t fixed, int64_t extra, int64_t size) {
    int64_t n, width = (head_dim + 15) / 16 * 16;
    if (__builtin_mul_overflow(length, per_key, &n) || __builtin_add_overflow(n, fixed, &n) ||
        __builtin_mul_overflow(n, width, &n) || __builtin_add_overflow(n, extra, &n) ||
        __builtin_mul_overflow(n, size, &n))
        return SIZE_MAX;
    return (size_t)n;
}

#define RT_BODY "kernels/attention.c"
#include "kernels/for_each_type.h"
#else
/* Copies of k, v; q, q transposed and o of one query tile; the scores of one tile. */
size_t F(rt_attention_forward_workspace)(int64_t length, int64_t head_dim) {
    return bytes(length, head_dim, 2, 3 * FORWARD_QUERIES, FORWARD_QUERIES * FORWARD_KEYS, sizeof(T));
}
/* Copies of k, v, and dk, dv; q, do, o, dq, and q, do, o transposed, of one query tile; scores and their gradients. */
size_t F(rt_attention_backward_workspace)(int64_t length, int64_t head_dim) {
    return bytes(length, head_dim, 4, 7 * BACKWARD_QUERIES, 2 * BACKWARD_QUERIES * BACKWARD_KEYS, sizeof(T));
}
bool F(rt_attention_forward)(const F(rt_attention_forward_call) * c, void *workspace) {
    return kernels()->F(forward)(c, workspace);
}
void F(rt_attention_backward)(const F(rt_attention_backward_call) * c, void *workspace) {
    kernels()->F(backward)(c, workspace);
}
#endif
