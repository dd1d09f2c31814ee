/* contract.c - the table. Every half contract can run as an f32 kernel on exactly converted operands: a product of two
 * halves is exact in f32, so one meaning serves all libraries. Where the processor multiplies halves itself, an operation
 * may run on that instead (half.h), and then says so in listings: the meaning is the same. */
#include "kernels/contract.h"
#include <stdio.h>

#define F64_KERNEL  "f64"
#define F32_KERNEL  "f32"
#define HALF_KERNEL "f32 on converted operands"
#define ROW(kernel, in, weight, acc, out, grad)                                                                        \
    {                                                                                                                  \
        kernel, { RT_##in, RT_##weight, RT_##acc, RT_##out, RT_##grad }                                                \
    }
/* The contracts of one half type, with a weight, without one, and with nothing but a weight (embedding). */
#define HALF_ROWS(H)                                                                                                   \
    ROW(HALF_KERNEL, H, H, F32, H, F32), ROW(HALF_KERNEL, H, H, F32, F32, F32),                                        \
        ROW(HALF_KERNEL, F32, H, F32, F32, F32), ROW(HALF_KERNEL, F32, H, F32, H, F32),                                \
        ROW(HALF_KERNEL, H, F32, F32, F32, F32), ROW(HALF_KERNEL, H, F32, F32, H, F32),                                \
        ROW(HALF_KERNEL, F32, F32, F32, H, F32), ROW(HALF_KERNEL, H, NONE, F32, H, F32),                               \
        ROW(HALF_KERNEL, H, NONE, F32, F32, F32), ROW(HALF_KERNEL, F32, NONE, F32, H, F32),                            \
        ROW(HALF_KERNEL, NONE, H, F32, H, F32), ROW(HALF_KERNEL, NONE, H, F32, F32, F32),                              \
        ROW(HALF_KERNEL, NONE, F32, F32, H, F32)

static const rt_contract table[] = {
    ROW(F64_KERNEL, F64, F64, F64, F64, F64),
    ROW(F64_KERNEL, F64, NONE, F64, F64, F64),
    ROW(F64_KERNEL, NONE, F64, F64, F64, F64),
    ROW(F32_KERNEL, F32, F32, F32, F32, F32),
    ROW(F32_KERNEL, F32, NONE, F32, F32, F32),
    ROW(F32_KERNEL, NONE, F32, F32, F32, F32),
    HALF_ROWS(F16),
    HALF_ROWS(BF16),
    ROW(HALF_KERNEL, F16, NONE, F32, BF16, F32), /* casts between the halves */
    ROW(HALF_KERNEL, BF16, NONE, F32, F16, F32),
};
enum { ROWS = sizeof table / sizeof *table };

const rt_contract *rt_contract_table(int *count) {
    *count = ROWS;
    return table;
}
const rt_contract *rt_contract_find(rt_prec p) {
    for (int i = 0; i < ROWS; i++)
        if (rt_prec_equal(table[i].prec, p)) return &table[i];
    return NULL;
}

static int differences(rt_prec a, rt_prec b) {
    return (a.in != b.in) + (a.weight != b.weight) + (a.acc != b.acc) + (a.out != b.out) + (a.grad != b.grad);
}
const rt_contract *rt_contract_nearest(rt_prec p) {
    const rt_contract *best = table;
    for (int i = 1; i < ROWS; i++)
        if (differences(table[i].prec, p) < differences(best->prec, p)) best = &table[i];
    return best;
}

rt_status rt_contract_check(rt_prec p, rt_error *err) {
    if (rt_contract_find(p)) return RT_OK;
    char found[48], near[48];
    return rt_fail(err, RT_E_PREC, "no kernel for %s (in weight acc out grad); nearest: %s", rt_prec_text(p, found),
                   rt_prec_text(rt_contract_nearest(p)->prec, near));
}
