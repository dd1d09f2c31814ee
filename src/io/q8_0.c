/* q8_0.c - blocks of 32 numbers: an f16 scale and 32 signed bytes. Formula and source in gguf.h. */
#include <retort/io/gguf.h>
#include <retort/tensor/dtype.h>
#include <math.h>
#include <string.h>

static float largest(const float *x) {
    float most = 0;
    for (int i = 0; i < RT_Q8_0_BLOCK; i++) most = fmaxf(most, fabsf(x[i]));
    return most;
}

bool rt_q8_0_store(const float *x, int64_t n, void *blocks) {
    bool overflow = false;
    for (int64_t b = 0; b < n / RT_Q8_0_BLOCK; b++, x += RT_Q8_0_BLOCK) {
        char *out = (char *)blocks + b * RT_Q8_0_BYTES;
        float d = largest(x) / 127, inverse = d >= 0x1p-126f ? 1 / d : 0; /* a subnormal scale is 0 in f16, and 1 / d beyond f32 */
        rt_f16 scale = rt_f32_to_f16(d);
        overflow |= !isfinite(rt_f16_to_f32(scale));
        memcpy(out, &scale, sizeof scale);
        for (int i = 0; i < RT_Q8_0_BLOCK; i++) out[2 + i] = (char)(int8_t)roundf(x[i] * inverse);
    }
    return overflow;
}

void rt_q8_0_load(const void *blocks, int64_t n, float *x) {
    for (int64_t b = 0; b < n / RT_Q8_0_BLOCK; b++, x += RT_Q8_0_BLOCK) {
        const signed char *in = (const signed char *)blocks + b * RT_Q8_0_BYTES;
        rt_f16 scale;
        memcpy(&scale, in, sizeof scale);
        float d = rt_f16_to_f32(scale);
        for (int i = 0; i < RT_Q8_0_BLOCK; i++) x[i] = d * (float)in[2 + i];
    }
}
