/* few.c - picks the kernels for few rows by level and storage type. They are in isa/few.c. */
#include "kernels/few.h"
#include "kernels/isa.h"
#include "kernels/isa/few.h"
#include <assert.h>

RT_ISA_DECLARE(const rt_few_kernels, rt_few_table);
static const rt_few_kernels *kernels(void) { return RT_ISA_PICK(rt_few_table); }

static int storage(rt_dtype t) {
    assert(t == RT_F32 || rt_dtype_is_half(t));
    return t == RT_F32 ? 0 : t == RT_F16 ? 1 : 2;
}
void rt_few_dots_f32(const rt_few_f32 *p) { kernels()->dots[storage(p->type)](p); }
void rt_few_sums_f32(const rt_few_f32 *p) { kernels()->sums[storage(p->type)](p); }

void rt_few_dots_f64(const rt_few_f64 *p) {
    assert(p->type == RT_F64);
    kernels()->dots_f64(p);
}
void rt_few_sums_f64(const rt_few_f64 *p) {
    assert(p->type == RT_F64);
    kernels()->sums_f64(p);
}
