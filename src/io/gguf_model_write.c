/* gguf_model_write.c - a configuration as metadata, weights as tensors: what gguf_model.h says, one row at a time. */
#include "io/gguf_arch.h"
#include "kernels/convert.h"
#include <retort/io/gguf_model.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

static rt_status nomem(rt_error *err) { return rt_fail(err, RT_E_NOMEM, "out of memory"); }

/* ------------------------------------------------------------------ numbers */

enum { PIECE = 4096 }; /* a multiple of every block */
static bool all_finite(const float *x, int64_t n) {
    bool all = true;
    for (int64_t i = 0; i < n; i++) all &= (bool)isfinite(x[i]);
    return all;
}
static const char *type_name(rt_gguf_type t) {
    return t == RT_GGUF_TYPE_Q8_0 ? "q8_0" : t == RT_GGUF_TYPE_F16 ? "f16" : t == RT_GGUF_TYPE_BF16 ? "bf16" : "f32";
}
static bool store_piece(rt_gguf_type t, const float *x, int64_t n, void *out) {
    switch (t) {
    case RT_GGUF_TYPE_Q8_0: return rt_q8_0_store(x, n, out);
    case RT_GGUF_TYPE_F16: return rt_rows_store_f32(RT_F16, x, out, n);
    case RT_GGUF_TYPE_BF16: return rt_rows_store_f32(RT_BF16, x, out, n);
    default: return rt_rows_store_f32(RT_F32, x, out, n);
    }
}
rt_status rt_gguf_store(rt_gguf_type t, const rt_tensor *from, int64_t first, int64_t n, void *out, const char *name, rt_error *err) {
    const rt_gguf_type_info *info = rt_gguf_type_find((uint32_t)t);
    size_t size = rt_dtype_size(from->dtype);
    float x[PIECE];
    if (from->dtype == RT_F64) return rt_fail(err, RT_E_UNSUPPORTED, "tensor %s is f64, expected f32, f16 or bf16", name);
    for (int64_t i = 0; i < n; i += PIECE) {
        int64_t piece = n - i < PIECE ? n - i : PIECE;
        rt_rows_load_f32(from->dtype, (const char *)from->data + (size_t)(first + i) * size, x, piece);
        if (!all_finite(x, piece)) return rt_fail(err, RT_E_NUMERIC, "tensor %s holds a number that is not finite", name);
        if (store_piece(t, x, piece, (char *)out + i / info->block * info->bytes))
            return rt_fail(err, RT_E_NUMERIC, "tensor %s holds a number beyond the range of %s", name, type_name(t));
    }
    return RT_OK;
}

rt_gguf_type rt_gguf_weight_type(const rt_weight_spec *w, rt_gguf_type file) {
    if (w->ndim == 1 || w->kind == RT_WEIGHT_ROUTER) return RT_GGUF_TYPE_F32;
    return file == RT_GGUF_TYPE_Q8_0 && w->dim[1] % RT_Q8_0_BLOCK ? RT_GGUF_TYPE_F16 : file;
}

/* ----------------------------------------------------------------- metadata */

typedef struct writing {
    const rt_model_config *c;
    const gguf_arch *arch;
    const rt_tensor *const *weights;
    const rt_gguf_options *o;
    rt_arena arena;
    rt_gguf_meta meta;
    rt_gguf_entry *entries;
    struct block {
        int64_t first, stride; /* weights of the entry: first, first + stride, ...; -1: the rope factors */
    } *blocks;
    int64_t count;
} writing;

/* "llama.rope.freq_base" */
static const char *key(char buffer[96], const writing *w, const char *name) {
    snprintf(buffer, 96, "%s.%s", w->arch->architecture, name);
    return buffer;
}
static void put_u32(writing *w, const char *name, int64_t x) {
    char k[96];
    rt_gguf_put_u32(&w->meta, key(k, w, name), (uint32_t)x);
}
static void put_f32(writing *w, const char *name, double x) {
    char k[96];
    rt_gguf_put_f32(&w->meta, key(k, w, name), (float)x);
}
static void put_string(writing *w, const char *k, const char *text) { rt_gguf_put_text(&w->meta, k, text, strlen(text)); }

static uint32_t file_type(rt_gguf_type t) { /* llama.h, enum llama_ftype */
    return t == RT_GGUF_TYPE_F32 ? 0 : t == RT_GGUF_TYPE_F16 ? 1 : t == RT_GGUF_TYPE_Q8_0 ? 7 : 32;
}
static void put_general(writing *w) {
    put_string(w, "general.architecture", w->arch->architecture);
    put_string(w, "general.type", "model");
    if (w->o->name) put_string(w, "general.name", w->o->name);
    rt_gguf_put_u32(&w->meta, "general.alignment", 32);
    rt_gguf_put_u32(&w->meta, "general.file_type", file_type(w->o->type));
    rt_gguf_put_u32(&w->meta, "general.quantization_version", 2);
    for (const char *const *m = w->o->marks; m && *m; m += 2) put_string(w, m[0], m[1]);
}
static void put_sizes(writing *w) {
    const rt_model_config *c = w->c;
    put_u32(w, "vocab_size", c->vocab_size);
    put_u32(w, "context_length", rt_model_longest(c));
    put_u32(w, "embedding_length", c->hidden_size);
    put_u32(w, "block_count", c->layers);
    put_u32(w, "feed_forward_length", c->dense_ffn_size ? c->dense_ffn_size : c->ffn_size);
    put_u32(w, "attention.head_count", c->heads);
    put_u32(w, "attention.head_count_kv", c->kv_heads);
    put_u32(w, "attention.key_length", c->head_dim);
    put_u32(w, "attention.value_length", c->head_dim);
    put_f32(w, "attention.layer_norm_rms_epsilon", c->norm_eps);
}
static void put_experts(writing *w) {
    char k[96];
    if (!w->c->experts) return;
    put_u32(w, "expert_count", w->c->experts);
    put_u32(w, "expert_used_count", w->c->experts_per_token);
    put_u32(w, "expert_feed_forward_length", w->c->ffn_size);
    if (w->c->shared_size) put_u32(w, "expert_shared_feed_forward_length", w->c->shared_size);
    put_u32(w, "expert_gating_func", 1); /* softmax: llama-hparams.h */
    rt_gguf_put_bool(&w->meta, key(k, w, "expert_weights_norm"), w->c->norm_topk);
}
static void put_rope(writing *w) {
    const rt_rope_scaling *r = &w->c->rope;
    char k[96];
    put_u32(w, "rope.dimension_count", w->c->head_dim);
    put_f32(w, "rope.freq_base", w->c->rope_theta);
    if (r->kind == RT_ROPE_LINEAR) {
        put_string(w, key(k, w, "rope.scaling.type"), "linear");
        put_f32(w, "rope.scaling.factor", r->factor);
    }
    if (r->kind != RT_ROPE_LLAMA3) return;
    rt_gguf_put_f64(&w->meta, RT_GGUF_LLAMA3 "factor", r->factor);
    rt_gguf_put_f64(&w->meta, RT_GGUF_LLAMA3 "low_freq_factor", r->low_freq_factor);
    rt_gguf_put_f64(&w->meta, RT_GGUF_LLAMA3 "high_freq_factor", r->high_freq_factor);
    rt_gguf_put_u32(&w->meta, RT_GGUF_LLAMA3 "original_context_length", (uint32_t)r->original_max_position);
}
/* A file without a tokenizer says so; its special ids are the configuration's. */
static void put_no_tokenizer(writing *w) {
    put_string(w, "tokenizer.ggml.model", "no_vocab");
    if (w->c->bos_id >= 0) rt_gguf_put_u32(&w->meta, "tokenizer.ggml.bos_token_id", (uint32_t)w->c->bos_id);
    if (w->c->eos_id >= 0) rt_gguf_put_u32(&w->meta, "tokenizer.ggml.eos_token_id", (uint32_t)w->c->eos_id);
    if (w->c->pad_id >= 0) rt_gguf_put_u32(&w->meta, "tokenizer.ggml.padding_token_id", (uint32_t)w->c->pad_id);
}

/* -------------------------------------------------------------------- table */

/* Weight i opens an entry, or is a further expert of an open one. */
static rt_status add_weight(writing *w, int64_t i, rt_error *err) {
    rt_weight_spec s = rt_weight_at(w->c, i);
    const char *name = rt_arena_printf(&w->arena, w->arch->names[s.kind], s.layer);
    if (!name) return nomem(err);
    for (int64_t j = w->count - 1; s.expert > 0; j--) {
        if (strcmp(w->entries[j].name, name) != 0) continue;
        if (s.expert == 1) w->blocks[j].stride = i - w->blocks[j].first;
        return RT_OK;
    }
    rt_gguf_entry *e = &w->entries[w->count];
    *e = (rt_gguf_entry){.name = name, .type = rt_gguf_weight_type(&s, w->o->type)};
    if (s.expert == 0) e->dim[e->ndim++] = w->c->experts;
    for (int d = 0; d < s.ndim; d++) e->dim[e->ndim++] = s.dim[d];
    w->blocks[w->count++] = (struct block){i, 0};
    return RT_OK;
}
static rt_status make_table(writing *w, rt_error *err) {
    size_t n = (size_t)rt_weight_count(w->c) + 1;
    w->entries = rt_arena_alloc(&w->arena, rt_array_bytes(n, sizeof *w->entries));
    w->blocks = rt_arena_alloc(&w->arena, rt_array_bytes(n, sizeof *w->blocks));
    if (!w->entries || !w->blocks) return nomem(err);
    if (w->c->rope.kind == RT_ROPE_LLAMA3) {
        w->entries[0] = (rt_gguf_entry){RT_GGUF_ROPE_FREQS, RT_GGUF_TYPE_F32, 1, {w->c->head_dim / 2}};
        w->blocks[w->count++].first = -1;
    }
    for (int64_t i = 0; i < (int64_t)n - 1; i++) RT_TRY(add_weight(w, i, err));
    return RT_OK;
}

/* --------------------------------------------------------------------- data */

/* Where row r of the file stands in a Hugging Face matrix: rope's pairs, there half a head apart, are neighbours here. */
static int64_t source_row(const writing *w, const rt_weight_spec *s, int64_t r) {
    int64_t d = w->c->head_dim, in_head = r % d;
    if (!w->arch->interleaved || (s->kind != RT_WEIGHT_QUERY && s->kind != RT_WEIGHT_KEY)) return r;
    return r - in_head + in_head % 2 * (d / 2) + in_head / 2;
}
enum { ROWS_BYTES = 1 << 20 };
static rt_status put_weight(writing *w, int64_t i, rt_gguf_type t, rt_file_writer *out, rt_error *err) {
    rt_weight_spec s = rt_weight_at(w->c, i);
    const rt_gguf_type_info *info = rt_gguf_type_find((uint32_t)t);
    int64_t rows = s.dim[0], columns = s.ndim == 2 ? s.dim[1] : 1;
    if (s.ndim == 1 && source_row(w, &s, 1) == 1) rows = 1, columns = s.dim[0]; /* a vector is one row, unless it is reordered */
    int64_t bytes = columns / info->block * info->bytes, group = ROWS_BYTES / bytes < 1 ? 1 : ROWS_BYTES / bytes;
    if (group > rows) group = rows;
    char *block = rt_alloc(rt_array_bytes((size_t)group, (size_t)bytes));
    rt_status status = block ? RT_OK : nomem(err);
    for (int64_t r = 0; r < rows && status == RT_OK; r += group) {
        int64_t n = rows - r < group ? rows - r : group;
        for (int64_t k = 0; k < n && status == RT_OK; k++)
            status = rt_gguf_store(t, w->weights[i], source_row(w, &s, r + k) * columns, columns, block + k * bytes, s.name, err);
        if (status == RT_OK) status = rt_file_writer_add(out, block, (size_t)(n * bytes), err);
    }
    rt_free(block);
    return status;
}
static rt_status put_entry(void *context, int64_t i, rt_file_writer *out, rt_error *err) {
    writing *w = context;
    const rt_gguf_entry *e = &w->entries[i];
    float factors[RT_GGUF_MAX_HALF_HEAD];
    if (w->blocks[i].first < 0) {
        rt_gguf_rope_factors(w->c, factors);
        return rt_file_writer_add(out, factors, (size_t)e->dim[0] * sizeof *factors, err);
    }
    int64_t experts = e->ndim == 3 ? e->dim[0] : 1;
    for (int64_t x = 0; x < experts; x++) RT_TRY(put_weight(w, w->blocks[i].first + x * w->blocks[i].stride, e->type, out, err));
    return RT_OK;
}

static rt_status write_all(writing *w, const char *path, rt_gguf_notes *notes, rt_error *err) {
    put_general(w);
    put_sizes(w);
    put_experts(w);
    put_rope(w);
    if (w->o->tokenizer) RT_TRY(rt_gguf_put_tokenizer(&w->meta, w->o->tokenizer, w->c, w->o->chat_template, notes, err));
    else put_no_tokenizer(w);
    RT_TRY(make_table(w, err));
    return rt_gguf_write(path, &w->meta, w->entries, w->count, put_entry, w, err);
}
rt_status rt_gguf_model_write(const char *path, const rt_model_config *c, const rt_tensor *const *weights, const rt_gguf_options *o, rt_gguf_notes *notes,
                              rt_error *err) {
    writing w = {.c = c, .arch = rt_gguf_arch_of(c->arch->name), .weights = weights, .o = o};
    rt_model_config held;
    RT_TRY(rt_gguf_config(c, o->tokenizer, &held, err));
    rt_status s = write_all(&w, path, notes, err);
    rt_gguf_meta_free(&w.meta);
    rt_arena_free(&w.arena);
    return s;
}
