/* convert.h - the table of conversion kernels of one ISA level, as isa/convert.c defines and ../convert.c uses it.
 * Index h: 0 = f16, 1 = bf16. */
#ifndef RETORT_KERNELS_ISA_CONVERT_H
#define RETORT_KERNELS_ISA_CONVERT_H
#include <stdbool.h>
#include <stdint.h>

typedef struct rt_convert_kernels {
    void (*load[2])(const uint16_t *src, float *dst, int64_t n);
    bool (*store[2])(const float *src, uint16_t *dst, int64_t n); /* true: a finite value became infinite */
    bool (*round[2])(float *x, int64_t n);
    /* 16 rows, given by pointers, of n elements -> dst [n, 16] with row stride ldd. */
    void (*transpose)(const float *const *row, int64_t n, float *dst, int64_t ldd);
    void (*transpose_half[2])(const uint16_t *const *row, int64_t n, float *dst, int64_t ldd);
} rt_convert_kernels;
#endif
