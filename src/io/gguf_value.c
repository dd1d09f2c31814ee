/* gguf_value.c - what the bytes of an opened GGUF file mean: numbers, texts, arrays, and the data of tensors. */
#include "kernels/convert.h"
#include <retort/io/gguf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ------------------------------------------------------------------ numbers */

static size_t bytes_of(rt_gguf_kind k) {
    switch (k) {
#define X(name, number, bytes)                                                                                         \
    case RT_GGUF_##name: return bytes;
        RT_GGUF_KINDS(X)
#undef X
    default: return 0;
    }
}
static uint64_t raw(const unsigned char *data, size_t n) {
    uint64_t x = 0;
    memcpy(&x, data, n);
    return x;
}
static bool integer(rt_gguf_kind k, const unsigned char *data, int64_t *out) {
    size_t n = bytes_of(k);
    bool is_signed = k == RT_GGUF_I8 || k == RT_GGUF_I16 || k == RT_GGUF_I32 || k == RT_GGUF_I64;
    bool is_unsigned = k == RT_GGUF_U8 || k == RT_GGUF_U16 || k == RT_GGUF_U32 || k == RT_GGUF_U64 || k == RT_GGUF_BOOL;
    if (!is_signed && !is_unsigned) return false;
    uint64_t x = raw(data, n), top = (uint64_t)1 << (8 * n - 1);
    if (is_signed && n < 8 && (x & top)) x -= top << 1; /* the sign goes up */
    if (is_unsigned && x > INT64_MAX) return false;
    *out = (int64_t)x;
    return true;
}
/* 1e-05f is 9.99999974737875e-06; who wrote it meant 1e-05. */
static double shortest(float x) {
    char digits[32];
    for (int n = 6; n < 9; n++) {
        snprintf(digits, sizeof digits, "%.*g", n, (double)x);
        if (strtof(digits, NULL) == x) return strtod(digits, NULL);
    }
    return (double)x;
}
static bool real(rt_gguf_kind k, const unsigned char *data, double *out) {
    float x;
    if (k == RT_GGUF_F64) return memcpy(out, data, sizeof *out), true;
    if (k != RT_GGUF_F32) return false;
    memcpy(&x, data, sizeof x);
    *out = shortest(x);
    return true;
}

bool rt_gguf_int(const rt_gguf_value *v, int64_t *out) { return v && integer(v->kind, v->data, out); }
bool rt_gguf_real(const rt_gguf_value *v, double *out) { return v && real(v->kind, v->data, out); }
bool rt_gguf_text(const rt_gguf_value *v, const char **text, size_t *bytes) {
    if (!v || v->kind != RT_GGUF_TEXT) return false;
    *text = (const char *)v->data;
    *bytes = (size_t)v->count;
    return true;
}
static const unsigned char *item(const rt_gguf_value *v, uint64_t i) {
    return v && v->kind == RT_GGUF_ARRAY && i < v->count && bytes_of(v->element) ? v->data + i * bytes_of(v->element) : NULL;
}
bool rt_gguf_item_int(const rt_gguf_value *v, uint64_t i, int64_t *out) {
    const unsigned char *at = item(v, i);
    return at && integer(v->element, at, out);
}
bool rt_gguf_item_real(const rt_gguf_value *v, uint64_t i, double *out) {
    const unsigned char *at = item(v, i);
    return at && real(v->element, at, out);
}
/* The reader walked over all of them, so their lengths lie in the file. */
bool rt_gguf_next_text(const rt_gguf_value *v, rt_gguf_texts *place, const char **text, size_t *bytes) {
    if (!v || v->kind != RT_GGUF_ARRAY || v->element != RT_GGUF_TEXT || place->index >= v->count) return false;
    const unsigned char *p = place->index++ ? place->at : v->data;
    *bytes = (size_t)raw(p, 8);
    *text = (const char *)p + 8;
    place->at = p + 8 + *bytes;
    return true;
}

/* -------------------------------------------------------------------- data */

bool rt_gguf_load(const rt_gguf_tensor *t, int64_t first, int64_t n, float *out) {
    const char *data = t->data;
    switch (t->type) {
    case RT_GGUF_TYPE_F32: memcpy(out, data + 4 * first, 4 * (size_t)n); return true;
    case RT_GGUF_TYPE_F16: rt_rows_load_f32(RT_F16, data + 2 * first, out, n); return true;
    case RT_GGUF_TYPE_BF16: rt_rows_load_f32(RT_BF16, data + 2 * first, out, n); return true;
    case RT_GGUF_TYPE_Q8_0: rt_q8_0_load(data + first / RT_Q8_0_BLOCK * RT_Q8_0_BYTES, n, out); return true;
    default: return false;
    }
}
