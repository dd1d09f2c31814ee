/* for_each_type.h - one body, compiled for float and for double, by inclusion (no macro bodies, so a debugger sees
 * lines).
 *
 *     #ifndef T                                 // the file proper: includes, non-generic code, then
 *     #define RT_BODY "ops/add.c"               // itself
 *     #include "kernels/for_each_type.h"
 *     #else                                     // the body, seen twice
 *     static void F(forward)(const T *x, T *y, int64_t n) { F(rt_rows)()->scale((T)2, x, y, n); }
 *     #endif
 *
 * In a body: T the type; F(name) = name_f32 or name_f64; RT_T = RT_F32 or RT_F64; M(sqrt) = sqrtf or sqrt.
 * A body includes nothing (T, F and M are macros). The same device declares typed headers (rows.h). */
#define T       float
#define F(name) name##_f32
#define M(name) name##f
#define RT_T    RT_F32
#include RT_BODY
#undef T
#undef F
#undef M
#undef RT_T
#define T       double
#define F(name) name##_f64
#define M(name) name
#define RT_T    RT_F64
#include RT_BODY
#undef T
#undef F
#undef M
#undef RT_T
#undef RT_BODY
