/* dtype.c - names, sizes and scalar conversions of element types. The fast conversions of rows are kernels. */
#include <retort/tensor/dtype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

static const struct {
    const char *name, *st;
    size_t bytes;
} table[RT_DTYPE_COUNT] = {
#define X(name, bytes, st) {#name, st, bytes},
    RT_DTYPE_LIST(X)
#undef X
};

size_t rt_dtype_size(rt_dtype t) { return table[t].bytes; }
const char *rt_dtype_name(rt_dtype t) { return table[t].name; }

bool rt_dtype_parse(const char *name, rt_dtype *t) {
    static const struct {
        const char *name;
        rt_dtype t;
    } synonyms[] = {{"float16", RT_F16}, {"half", RT_F16}, {"bfloat16", RT_BF16}, {"float32", RT_F32}, {"float", RT_F32},
                    {"float64", RT_F64}, {"double", RT_F64}};
    for (int i = 1; i < RT_DTYPE_COUNT; i++)
        if (strcasecmp(name, table[i].name) == 0) return *t = (rt_dtype)i, true;
    for (size_t i = 0; i < sizeof synonyms / sizeof *synonyms; i++)
        if (strcasecmp(name, synonyms[i].name) == 0) return *t = synonyms[i].t, true;
    return false;
}

typedef union bits32 {
    float f;
    uint32_t u;
} bits32;

rt_bf16 rt_f32_to_bf16(float x) {
    bits32 b = {.f = x};
    if ((b.u & 0x7fffffffu) > 0x7f800000u) return (rt_bf16){(uint16_t)(b.u >> 16 | 0x40)};
    return (rt_bf16){(uint16_t)((b.u + 0x7fffu + (b.u >> 16 & 1)) >> 16)};
}
float rt_bf16_to_f32(rt_bf16 x) { return ((bits32){.u = (uint32_t)x.bits << 16}).f; }

rt_f16 rt_f32_to_f16(float x) {
    bits32 b = {.f = x};
    uint32_t sign = b.u >> 16 & 0x8000u, a = b.u & 0x7fffffffu;
    if (a > 0x7f800000u) return (rt_f16){(uint16_t)(sign | 0x7e00u | (a >> 13 & 0x1ffu))}; /* NaN */
    if (a >= 0x477ff000u) return (rt_f16){(uint16_t)(sign | 0x7c00u)};                    /* >= 65520 */
    if (a < 0x38800000u) { /* below 2^-14: subnormal; adding 0.5 aligns and rounds the significand in the hardware */
        bits32 s = {.u = a};
        s.f += 0.5f;
        return (rt_f16){(uint16_t)(sign | (s.u - 0x3f000000u))};
    }
    return (rt_f16){(uint16_t)(sign | ((a - 0x38000000u + 0xfffu + (a >> 13 & 1)) >> 13))};
}

float rt_f16_to_f32(rt_f16 x) {
    uint32_t sign = (uint32_t)(x.bits & 0x8000u) << 16, e = x.bits >> 10 & 31, m = x.bits & 0x3ffu;
    if (e == 31) /* a NaN becomes quiet, as in hardware */
        return ((bits32){.u = sign | 0x7f800000u | (m ? 0x400000u : 0) | m << 13}).f;
    if (e == 0) {
        bits32 s = {.f = (float)m * 0x1p-24f};
        s.u |= sign;
        return s.f;
    }
    return ((bits32){.u = sign | (e + 112) << 23 | m << 13}).f;
}

rt_prec rt_prec_uniform(rt_dtype t) {
    rt_dtype wide = t == RT_F64 ? RT_F64 : RT_F32;
    return (rt_prec){t, t, wide, t, wide};
}
bool rt_prec_equal(rt_prec a, rt_prec b) {
    return a.in == b.in && a.weight == b.weight && a.acc == b.acc && a.out == b.out && a.grad == b.grad;
}
const char *rt_prec_text(rt_prec p, char buffer[48]) {
    snprintf(buffer, 48, "%s %s %s %s %s", rt_dtype_name(p.in), rt_dtype_name(p.weight), rt_dtype_name(p.acc),
             rt_dtype_name(p.out), rt_dtype_name(p.grad));
    return buffer;
}
