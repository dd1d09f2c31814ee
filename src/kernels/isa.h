/* isa.h - which level of x86-64 the row kernels use.
 *
 * Every source in src/kernels/isa is compiled once per level (cmake/isa.cmake) with RT_ISA = v2, v3, v4 or base. Such a
 * file defines nothing but statics and one constant table per kernel family, named RT_ISA_NAME(family), e.g.
 * rt_row_table_f32_v4. The code outside declares and picks it:
 *
 *     RT_ISA_DECLARE(const rt_row_kernels_f32, rt_row_table_f32);
 *     const rt_row_kernels_f32 *rt_rows_f32(void) { return RT_ISA_PICK(rt_row_table_f32); }
 *
 * The level is found once, from the processor. v3 and v4 give the same bits (both have FMA); v2 and base do not. */
#ifndef RETORT_KERNELS_ISA_H
#define RETORT_KERNELS_ISA_H
#include <stdbool.h>

typedef enum rt_isa { RT_ISA_LOWEST, RT_ISA_MIDDLE, RT_ISA_HIGHEST, RT_ISA_COUNT } rt_isa;

rt_isa rt_isa_level(void);
/* What the processor has, at most the level that the build allows (-DRT_ISA_LIMIT=v3, for tests of the others on a new machine). */
rt_isa rt_isa_of_processor(void);
const char *rt_isa_name(rt_isa level); /* "v2", "v3", "v4"; "base" on other processors */
/* For tests: use this level from now on; NULL = the processor's own. False when the processor does not have it. */
bool rt_isa_force(const char *name);

#define RT_ISA_PASTE_(a, b) a##_##b
#define RT_ISA_PASTE(a, b)  RT_ISA_PASTE_(a, b)
#define RT_ISA_NAME(name)   RT_ISA_PASTE(name, RT_ISA)

#if defined __x86_64__
#define RT_ISA_DECLARE(type, name)                                                                                     \
    extern type RT_ISA_PASTE(name, v2);                                                                                \
    extern type RT_ISA_PASTE(name, v3);                                                                                \
    extern type RT_ISA_PASTE(name, v4)
#define RT_ISA_PICK(name)                                                                                              \
    (rt_isa_level() == RT_ISA_HIGHEST  ? &RT_ISA_PASTE(name, v4)                                                       \
     : rt_isa_level() == RT_ISA_MIDDLE ? &RT_ISA_PASTE(name, v3)                                                       \
                                       : &RT_ISA_PASTE(name, v2))
#else
#define RT_ISA_DECLARE(type, name) extern type RT_ISA_PASTE(name, base)
#define RT_ISA_PICK(name)          (&RT_ISA_PASTE(name, base))
#endif
#endif
