/* head.c - picks the vocabulary kernels of this processor. The kernels are in isa/head.c. */
#include "kernels/head.h"
#include "kernels/isa.h"

RT_ISA_DECLARE(const rt_head_kernels, rt_head_table_f32);
RT_ISA_DECLARE(const rt_head_kernels, rt_head_table_f64);

const rt_head_kernels *rt_head_kernels_of(rt_dtype dtype) {
    return dtype == RT_F64 ? RT_ISA_PICK(rt_head_table_f64) : RT_ISA_PICK(rt_head_table_f32);
}
