/* dtype.h - element types, the numeric contract of an operation, and scalar conversions.
 *
 * Half types are structs, so that no arithmetic on them compiles: a value becomes f32 only by an explicit conversion. */
#ifndef RETORT_TENSOR_DTYPE_H
#define RETORT_TENSOR_DTYPE_H
#include <retort/base/status.h>
#include <stdbool.h>
#include <stdint.h>

/*      name  bytes  safetensors name */
#define RT_DTYPE_LIST(X)                                                                                               \
    X(none, 0, "")                                                                                                     \
    X(f64, 8, "F64") X(f32, 4, "F32") X(f16, 2, "F16") X(bf16, 2, "BF16") X(i64, 8, "I64") X(i32, 4, "I32") X(u8, 1, "U8")
typedef enum rt_dtype {
#define X(name, bytes, st) rt_##name##_t,
    RT_DTYPE_LIST(X)
#undef X
        RT_DTYPE_COUNT
} rt_dtype;
#define RT_NONE rt_none_t
#define RT_F64 rt_f64_t
#define RT_F32 rt_f32_t
#define RT_F16 rt_f16_t
#define RT_BF16 rt_bf16_t
#define RT_I64 rt_i64_t
#define RT_I32 rt_i32_t
#define RT_U8 rt_u8_t

size_t rt_dtype_size(rt_dtype t);
const char *rt_dtype_name(rt_dtype t); /* "f32" */
bool rt_dtype_parse(const char *name, rt_dtype *t); /* "f32", "float32", "F32", "half", ... */
static inline bool rt_dtype_is_half(rt_dtype t) { return t == RT_F16 || t == RT_BF16; }
static inline bool rt_dtype_is_float(rt_dtype t) { return t >= RT_F64 && t <= RT_BF16; }

typedef struct rt_f16 { uint16_t bits; } rt_f16;   /* IEEE binary16 */
typedef struct rt_bf16 { uint16_t bits; } rt_bf16; /* upper half of binary32 */
/* Round to nearest, ties to even. f16: overflow becomes infinity, subnormals are kept. NaN stays NaN. */
rt_f16 rt_f32_to_f16(float x);
float rt_f16_to_f32(rt_f16 x);
rt_bf16 rt_f32_to_bf16(float x);
float rt_bf16_to_f32(rt_bf16 x);

/* The contract of one operation call. Operands are compared with it when the operation is built, never converted.
 *   y[out] = round( acc( x[in] . w[weight] ) ),  dx[grad] = acc(...),  dw += acc(...) in `grad`'s type.
 * acc and grad are f64 for f64 operands and f32 for all others. weight is RT_NONE where there is none. */
typedef struct rt_prec {
    rt_dtype in, weight, acc, out, grad;
} rt_prec;
/* Everything in t; half types accumulate and differentiate in f32. */
rt_prec rt_prec_uniform(rt_dtype t);
bool rt_prec_equal(rt_prec a, rt_prec b);
/* "f16 f16 f32 f16 f32", in the order of the struct; returns buffer. */
const char *rt_prec_text(rt_prec p, char buffer[48]);
#endif
