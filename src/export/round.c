/* round.c - the weights as an export holds them, in memory: what its readers compute with. */
#include "kernels/convert.h"
#include "export/private.h"
#include <string.h>

static rt_status nomem(rt_error *err) { return rt_fail(err, RT_E_NOMEM, "out of memory: the rounded weights"); }

/* -------------------------------------------------------------------- plan */

static rt_gguf_type type_of(rt_dtype t) { return t == RT_F16 ? RT_GGUF_TYPE_F16 : t == RT_BF16 ? RT_GGUF_TYPE_BF16 : RT_GGUF_TYPE_F32; }
static rt_dtype dtype_of(rt_gguf_type t) { return t == RT_GGUF_TYPE_F16 ? RT_F16 : t == RT_GGUF_TYPE_BF16 ? RT_BF16 : RT_F32; }

/* One dtype a role: f32 where types differ or are blocks. */
static void role_dtypes(const rt_rounded *r, rt_dtype role[RT_ROLE_COUNT]) {
    for (int64_t i = 0; i < r->count; i++) {
        rt_dtype *of = &role[rt_weight_role(rt_weight_at(r->config, i).kind)], t = dtype_of(r->types[i]);
        *of = *of == RT_NONE || *of == t ? t : RT_F32;
    }
}
rt_status rt_rounded_plan(rt_rounded *r, const rt_model_config *config, const rt_export_options *o, rt_error *err) {
    rt_gguf_type file = o->q8_0 ? RT_GGUF_TYPE_Q8_0 : type_of(o->dtype);
    rt_dtype role[RT_ROLE_COUNT] = {RT_NONE};
    *r = (rt_rounded){.config = config, .count = rt_weight_count(config)};
    r->types = rt_zalloc(rt_array_bytes((size_t)r->count, sizeof *r->types));
    r->tensors = rt_zalloc(rt_array_bytes((size_t)r->count, sizeof *r->tensors));
    if (!r->types || !r->tensors) return rt_rounded_free(r), nomem(err);
    for (int64_t i = 0; i < r->count; i++) {
        rt_weight_spec w = rt_weight_at(config, i);
        r->types[i] = o->gguf ? rt_gguf_weight_type(&w, file) : file;
    }
    role_dtypes(r, role);
    for (int64_t i = 0; i < r->count; i++) {
        rt_weight_spec w = rt_weight_at(config, i);
        r->tensors[i] = rt_tensor_make(role[rt_weight_role(w.kind)], w.ndim, w.dim, NULL);
    }
    return RT_OK;
}
void rt_rounded_free(rt_rounded *r) {
    rt_free(r->types), rt_free(r->tensors), rt_free(r->block);
    *r = (rt_rounded){0};
}

/* -------------------------------------------------------------------- numbers */

static size_t padded(const rt_tensor *t) { return (rt_tensor_bytes(t) + 63) / 64 * 64; }
static rt_status reserve(rt_rounded *r, rt_error *err) {
    size_t bytes = 0, at = 0;
    for (int64_t i = 0; i < r->count; i++) bytes += padded(&r->tensors[i]);
    if (!(r->block = rt_alloc(bytes))) return nomem(err);
    for (int64_t i = 0; i < r->count; at += padded(&r->tensors[i++])) r->tensors[i].data = (char *)r->block + at;
    return RT_OK;
}

enum { PIECE = 4096 }; /* numbers; a multiple of every block */
/* Stored in another type than it is computed with: through it. */
static rt_status widen(const rt_tensor *from, rt_gguf_type t, const rt_tensor *to, const char *name, rt_error *err) {
    char stored[4 * PIECE];
    for (int64_t i = 0, n = rt_tensor_count(from); i < n; i += PIECE) {
        int64_t piece = n - i < PIECE ? n - i : PIECE;
        float *out = (float *)to->data + i;
        RT_TRY(rt_gguf_store(t, from, i, piece, stored, name, err));
        if (t == RT_GGUF_TYPE_Q8_0) rt_q8_0_load(stored, piece, out);
        else rt_rows_load_f32(dtype_of(t), stored, out, piece);
    }
    return RT_OK;
}
rt_status rt_rounded_fill(rt_rounded *r, const rt_hf *source, rt_error *err) {
    RT_TRY(reserve(r, err));
    for (int64_t i = 0; i < r->count; i++) {
        rt_weight_spec w = rt_weight_at(rt_hf_config(source), i);
        const rt_tensor *from = rt_hf_weight(source, i), *to = &r->tensors[i];
        bool as_stored = r->types[i] != RT_GGUF_TYPE_Q8_0 && dtype_of(r->types[i]) == to->dtype;
        if (as_stored) RT_TRY(rt_gguf_store(r->types[i], from, 0, rt_tensor_count(from), to->data, w.name, err));
        else RT_TRY(widen(from, r->types[i], to, w.name, err));
    }
    return RT_OK;
}
