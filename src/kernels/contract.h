/* contract.h - which precisions have a kernel. A contract is found by exact match or not at all; nothing is widened
 * silently.
 *
 * A row of the table states a meaning, not an implementation: operands are converted exactly to `acc`, products and
 * sums are formed in `acc`, and the result is rounded once to `out`; gradients are in `grad`. */
#ifndef RETORT_KERNELS_CONTRACT_H
#define RETORT_KERNELS_CONTRACT_H
#include <retort/tensor/dtype.h>

typedef struct rt_contract {
    const char *kernel; /* what runs it: "gemm_f32", "gemm_f32 on converted panels", "gemm_f64" */
    rt_prec prec;
} rt_contract;

/* NULL when no kernel has exactly this contract. Operations without a weight ask with weight = RT_NONE. */
const rt_contract *rt_contract_find(rt_prec p);
/* The contract that differs in the fewest places (first in the table among equals); never NULL. For error texts. */
const rt_contract *rt_contract_nearest(rt_prec p);
/* All of them, for `doctor` and for tests. */
const rt_contract *rt_contract_table(int *count);
/* RT_OK, or RT_E_PREC: "no kernel for f16 f32 f16 f16 f32 (nearest: f16 f32 f32 f16 f32)". */
rt_status rt_contract_check(rt_prec p, rt_error *err) RT_NODISCARD;
#endif
