/* rounded.c - picks the rounding row kernels of this processor. The kernels are in isa/rounded.c. */
#include "kernels/rounded.h"
#include "kernels/isa.h"
#include <assert.h>

RT_ISA_DECLARE(const rt_rounded_kernels, rt_rounded_table_f16);
RT_ISA_DECLARE(const rt_rounded_kernels, rt_rounded_table_bf16);

const rt_rounded_kernels *rt_rounded(rt_dtype half) {
    assert(rt_dtype_is_half(half));
    return half == RT_BF16 ? RT_ISA_PICK(rt_rounded_table_bf16) : RT_ISA_PICK(rt_rounded_table_f16);
}
