/* rows.c - picks the row kernels of this processor. The kernels are in isa/rows.c. */
#include "kernels/rows.h"
#include "kernels/isa.h"

RT_ISA_DECLARE(const rt_row_kernels_f32, rt_row_table_f32);
RT_ISA_DECLARE(const rt_row_kernels_f64, rt_row_table_f64);

const rt_row_kernels_f32 *rt_rows_f32(void) { return RT_ISA_PICK(rt_row_table_f32); }
const rt_row_kernels_f64 *rt_rows_f64(void) { return RT_ISA_PICK(rt_row_table_f64); }
