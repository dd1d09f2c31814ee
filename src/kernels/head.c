/* head.c - picks the vocabulary kernels of this processor. The kernels are in isa/head.c. */
#include "kernels/head.h"
#include "kernels/isa.h"

RT_ISA_DECLARE(const rt_head_kernels, rt_head_table_f32);
RT_ISA_DECLARE(const rt_head_kernels, rt_head_table_f64);

const rt_head_kernels *rt_head_kernels_of(rt_dtype dtype) {
    return dtype == RT_F64 ? RT_ISA_PICK(rt_head_table_f64) : RT_ISA_PICK(rt_head_table_f32);
}

int rt_head_sum_at(int kind, double beta) {
    if ((kind != RT_SUM_JSD && kind != RT_SUM_JSD_SLOPE) || (beta > 0 && beta < 1)) return kind;
    if (beta > 0) return RT_SUM_REVERSE_KL;
    return kind == RT_SUM_JSD ? RT_SUM_KL : -1;
}
