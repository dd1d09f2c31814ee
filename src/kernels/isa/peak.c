/* peak.c - independent multiply-adds in registers, to see what one core could do at this level. */
#include "kernels/isa/block.h"
#include "kernels/isa/peak.h"

/* The register block of the products itself, on operands of one cache line's reach (K rows of 64-byte vectors, ld 0).
 */
static double multiply_adds(int64_t rounds, float *sink) {
    _Alignas(64) float a[BLOCK_ROWS * 8] = {0}, b[64] = {0};
    enum { DEPTH = 4096 };
    for (int64_t r = 0; r < rounds; r++)
        block_product_f32(BLOCK_ROWS, BLOCK_VECTORS * (VECTOR_BYTES / 4), DEPTH, a, 8, 0, b, 0, sink, 64, true);
    return (double)rounds * DEPTH * 2 * BLOCK_ROWS * BLOCK_VECTORS * (VECTOR_BYTES / 4);
}
extern const rt_peak_kernel RT_ISA_NAME(rt_peak_table);
const rt_peak_kernel RT_ISA_NAME(rt_peak_table) = multiply_adds;
