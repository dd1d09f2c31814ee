/* model_text.c - a model as a page of at most 80 columns; with `all`, every tensor. */
#include "cli/model_page.h"
#include <retort/base/threads.h>
#include <stdio.h>
#include <string.h>

enum { INDENT = 15 }; /* of what is said of the architecture */

/* -------------------------------------------------------------------- numbers */

/* 131.1 M; exact below 10000. */
static const char *count_text(int64_t n, char b[24]) {
    static const char *const units[] = {"", " k", " M", " B", " T"};
    double x = (double)n;
    int u = 0;
    for (; x >= 10000 || (u && x >= 1000); u++) x /= 1000;
    if (u == 0) snprintf(b, 24, "%lld", (long long)n);
    else snprintf(b, 24, "%.4g%s", x, units[u]);
    return b;
}
static const char *bytes_text(int64_t n, char b[24]) {
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    double x = (double)n;
    int u = 0;
    for (; x >= 1024 && u < 4; u++) x /= 1024;
    snprintf(b, 24, u == 0 ? "%.0f %s" : x < 10 ? "%.2f %s" : "%.1f %s", x, units[u]);
    return b;
}
static const char *shape_text(int ndim, const int64_t *dim, char b[48]) {
    if (ndim == 2) snprintf(b, 48, "[%lld, %lld]", (long long)dim[0], (long long)dim[1]);
    else snprintf(b, 48, "[%lld]", (long long)dim[0]);
    return b;
}
/* "0-3, 7, 9-11" */
static void add_ranges(const int32_t *layer, int64_t n, rt_buf *out) {
    for (int64_t i = 0; i < n; i++) {
        int64_t last = i;
        while (last + 1 < n && layer[last + 1] == layer[last] + 1) last++;
        rt_buf_printf(out, "%s%d", i ? ", " : "", layer[i]);
        if (last > i) rt_buf_printf(out, "-%d", layer[last]);
        i = last;
    }
}

/* --------------------------------------------------------------- architecture */

/* 46,702,792,704 */
static void add_exactly(int64_t n, rt_buf *out) {
    char digits[32];
    int k = snprintf(digits, sizeof digits, "%lld", (long long)n);
    for (int i = 0; i < k; i++) {
        if (i && (k - i) % 3 == 0) rt_buf_putc(out, ',');
        rt_buf_putc(out, digits[i]);
    }
}
static void add_parameters(const char *indent, int64_t total, int64_t active, const char *what, rt_buf *out) {
    rt_buf_puts(out, indent);
    add_exactly(total, out);
    rt_buf_puts(out, what);
    if (active != total) rt_buf_puts(out, "; active for each token "), add_exactly(active, out);
    rt_buf_putc(out, '\n');
}
static void add_head(const rt_model_page *p, rt_buf *out) {
    const rt_model_config *c = rt_hf_config(p->m);
    rt_param_count n = rt_model_parameters(c);
    char total[24], active[24];
    rt_buf_printf(out, "%s\n  %s (%s), %s parameters", rt_hf_path(p->m), c->arch->name, c->arch->hf_class, count_text(n.total, total));
    if (n.active != n.total) rt_buf_printf(out, ", %s active", count_text(n.active, active));
    rt_buf_putc(out, '\n');
    if (*p->hash) rt_buf_printf(out, "  hash %s\n", p->hash);
    rt_buf_puts(out, "\nparameters\n");
    add_parameters("  ", n.total, n.active, "", out);
    add_parameters("  ", n.total_body, n.active_body, " without embedding and head", out);
}

static void add_attention(const rt_model_config *c, rt_buf *out) {
    static const char *const norms[] = {"", "queries and keys normed, each head by itself", "queries and keys normed over all heads"};
    rt_buf_printf(out, "  attention    %lld heads of %lld", (long long)c->heads, (long long)c->head_dim);
    if (c->kv_heads != c->heads) rt_buf_printf(out, ", %lld of keys and values", (long long)c->kv_heads);
    rt_buf_putc(out, '\n');
    if (c->qkv_bias) rt_buf_printf(out, "%*sbiases on queries, keys and values\n", INDENT, "");
    if (c->arch->qk_norm) rt_buf_printf(out, "%*s%s\n", INDENT, "", norms[c->arch->qk_norm]);
}
static void add_feed_forward(const rt_model_config *c, rt_buf *out) {
    if (!c->experts) {
        rt_buf_printf(out, "  feed-forward dense, width %lld\n", (long long)c->ffn_size);
        return;
    }
    rt_buf_printf(out, "  feed-forward %lld experts of width %lld, %lld for each token%s\n", (long long)c->experts, (long long)c->ffn_size,
                  (long long)c->experts_per_token, c->norm_topk ? "; weights sum to 1" : "; weights not renormalised");
    if (c->shared_size) rt_buf_printf(out, "               and one shared expert of width %lld\n", (long long)c->shared_size);
    int32_t dense[RT_MAX_LAYERS];
    int64_t n = 0;
    for (int64_t l = 0; l < c->layers; l++)
        if (!rt_model_mixture(c, l)) dense[n++] = (int32_t)l;
    if (n == 0) return;
    rt_buf_puts(out, "               dense, width ");
    rt_buf_printf(out, "%lld, in layers ", (long long)c->dense_ffn_size);
    add_ranges(dense, n, out);
    rt_buf_putc(out, '\n');
}
static void add_positions(const rt_model_config *c, rt_buf *out) {
    rt_buf_printf(out, "  positions    %lld, rope base %g", (long long)c->max_position, c->rope_theta);
    if (c->rope.kind == RT_ROPE_LINEAR) rt_buf_printf(out, ", scaled linearly by %g", c->rope.factor);
    if (c->rope.kind == RT_ROPE_LLAMA3)
        rt_buf_printf(out, ",\n               scaled as Llama 3 does: factor %g, frequencies %g to %g, from %lld", c->rope.factor, c->rope.low_freq_factor,
                      c->rope.high_freq_factor, (long long)c->rope.original_max_position);
    rt_buf_putc(out, '\n');
    if (c->sliding_window > 0) rt_buf_printf(out, "               sliding window of %lld: longer texts are refused\n", (long long)c->sliding_window);
}
static void add_vocabulary(const rt_model_page *p, rt_buf *out) {
    const rt_model_config *c = rt_hf_config(p->m);
    int64_t V = p->tokenizer ? rt_tokenizer_size(p->tokenizer) : c->vocab_size;
    rt_buf_printf(out, "  vocabulary   %lld, %s\n", (long long)c->vocab_size, c->tie_embeddings ? "the head is the embedding (tied)" : "embedding and head are two");
    if (V < c->vocab_size) rt_buf_printf(out, "               %lld rows more than the tokenizer has ids: padding\n", (long long)(c->vocab_size - V));
    if (V > c->vocab_size) rt_buf_printf(out, "               the tokenizer has %lld ids more: it is another model's\n", (long long)(V - c->vocab_size));
}
static void add_architecture(const rt_model_page *p, rt_buf *out) {
    const rt_model_config *c = rt_hf_config(p->m);
    rt_buf_printf(out, "\narchitecture\n  layers       %lld of width %lld, norms with eps %g\n", (long long)c->layers, (long long)c->hidden_size, c->norm_eps);
    add_attention(c, out);
    add_feed_forward(c, out);
    add_positions(c, out);
    add_vocabulary(p, out);
}

/* -------------------------------------------------------------------- weights */

static void add_row(const rt_layer_group *g, const rt_weight_row *r, rt_buf *out) {
    char shape[48], n[24], bytes[24], tensors[48];
    int64_t layers = g->layers ? g->layers : 1, elements = rt_row_elements(r) * r->tensors * layers;
    if (r->tensors > 1 && layers > 1) snprintf(tensors, sizeof tensors, "%lld x %lld", (long long)layers, (long long)r->tensors);
    else snprintf(tensors, sizeof tensors, "%lld", (long long)(layers * r->tensors));
    rt_buf_printf(out, "%s%-*s %-17s %-5s %9s %10s %11s\n", g->layers ? "  " : "", g->layers ? 20 : 22, rt_weight_kind_text(r->kind),
                  shape_text(r->ndim, r->dim, shape), rt_dtype_name(r->dtype), tensors, count_text(elements, n),
                  bytes_text(elements * (int64_t)rt_dtype_size(r->dtype), bytes));
}
static void add_groups(const rt_model_page *p, rt_buf *out) {
    rt_buf_printf(out, "\n%-22s %-17s %-5s %9s %10s %11s\n", "weights", "shape", "dtype", "tensors", "parameters", "size");
    for (int64_t i = 0; i < p->groups.count; i++) {
        const rt_layer_group *g = &p->groups.of[i];
        if (g->layers) {
            rt_buf_puts(out, g->layers > 1 ? "layers " : "layer ");
            add_ranges(g->layer, g->layers, out);
            if (g->layers > 1) rt_buf_printf(out, " x %lld", (long long)g->layers);
            rt_buf_putc(out, '\n');
        }
        for (int k = 0; k < g->rows; k++) add_row(g, &g->row[k], out);
    }
}
static void add_tensors(const rt_model_page *p, rt_buf *out) {
    char b[48];
    const rt_model_config *c = rt_hf_config(p->m);
    rt_buf_printf(out, "\n%-58s %-17s %-5s %14s\n", "tensor", "shape", "dtype", "bytes");
    for (int64_t i = 0; i < rt_weight_count(c); i++) {
        rt_weight_spec w = rt_weight_at(c, i);
        const rt_tensor *t = rt_hf_weight(p->m, i);
        rt_buf_printf(out, "%-58s %-17s %-5s %14zu\n", w.name, shape_text(w.ndim, w.dim, b), rt_dtype_name(t->dtype), rt_tensor_bytes(t));
    }
}

static bool same_dtypes(const rt_precision *p, int r, int k) { return p->weight[r] == p->weight[k] && p->act[r] == p->act[k]; }
/* Roles of one pair of dtypes together: "f16 weights, f32 activations: embedding, norm". */
static void add_dtypes(const rt_model_page *p, rt_buf *out) {
    rt_buf_puts(out, "\ndtypes\n");
    for (int r = 0; r < RT_ROLE_COUNT; r++) {
        int first = 0, n = 0;
        while (!same_dtypes(&p->precision, r, first)) first++;
        if (first < r) continue; /* told with that one */
        for (int k = 0; k < RT_ROLE_COUNT; k++) n += same_dtypes(&p->precision, r, k);
        rt_buf_printf(out, "  weights %s, activations %s: ", rt_dtype_name(p->precision.weight[r]), rt_dtype_name(p->precision.act[r]));
        if (n == RT_ROLE_COUNT) rt_buf_puts(out, "every role");
        for (int k = r; k < RT_ROLE_COUNT && n < RT_ROLE_COUNT; k++)
            if (same_dtypes(&p->precision, r, k)) rt_buf_printf(out, "%s%s", k > r ? ", " : "", rt_role_name((rt_role)k));
        rt_buf_putc(out, '\n');
    }
}
static void add_files(const rt_model_page *p, rt_buf *out) {
    char b[24];
    int64_t n = rt_hf_file_count(p->m);
    rt_buf_printf(out, "\nfiles\n  %lld safetensors file%s, %s, %lld weights", (long long)n, n == 1 ? "" : "s", bytes_text(p->file_bytes, b), (long long)rt_weight_count(rt_hf_config(p->m)));
    if (rt_hf_ignored(p->m)) rt_buf_printf(out, "; %lld tensors more that are not needed", (long long)rt_hf_ignored(p->m));
    rt_buf_putc(out, '\n');
    for (int64_t i = 0; n > 1 && i < n; i++) {
        const char *path = rt_safetensors_path(rt_hf_file(p->m, i)), *slash = strrchr(path, '/');
        rt_buf_printf(out, "    %s: %lld tensors\n", slash ? slash + 1 : path, (long long)rt_safetensors_count(rt_hf_file(p->m, i)));
    }
}

/* ------------------------------------------------------------------ tokenizer */

/* A token comes from a file: nothing of it may steer a terminal. */
static void add_token(const rt_tokenizer *t, const char *what, int32_t id, rt_buf *out) {
    size_t n;
    const char *text = rt_tokenizer_token(t, id, &n);
    if (!text) return;
    rt_buf_printf(out, ", %s %d ", what, id);
    for (size_t i = 0; i < n && i < 40; i++) rt_buf_putc(out, (unsigned char)text[i] < 0x20 || text[i] == 0x7f ? '?' : text[i]);
}
static void add_tokenizer(const rt_model_page *p, rt_buf *out) {
    const rt_tokenizer *t = p->tokenizer;
    int32_t special = 0;
    rt_buf_puts(out, "\ntokenizer\n");
    if (!t) {
        rt_buf_printf(out, "  %s\n", *p->tokenizer_error ? p->tokenizer_error : "none");
        return;
    }
    for (int32_t i = 0; i < rt_tokenizer_size(t); i++) special += rt_tokenizer_is_special(t, i);
    rt_buf_printf(out, "  %s, %d ids\n  %d special", rt_tokenizer_model(t), rt_tokenizer_size(t), special);
    add_token(t, "bos", rt_tokenizer_bos(t), out), add_token(t, "eos", rt_tokenizer_eos(t), out), add_token(t, "unk", rt_tokenizer_unk(t), out);
    rt_buf_printf(out, "\n  hash %s\n", rt_tokenizer_hash(t));
}

/* --------------------------------------------------------------------- memory */

static void add_bytes(const char *what, int64_t n, rt_buf *out) {
    char b[24];
    if (n) rt_buf_printf(out, "    %-44s %11s\n", what, bytes_text(n, b));
}
static void add_two(const char *what, int64_t n, int64_t recomputed, rt_buf *out) {
    char a[24], b[24];
    rt_buf_printf(out, "    %-44s %11s   %11s\n", what, bytes_text(n, a), bytes_text(recomputed, b));
}
int64_t rt_page_run_bytes(const rt_model_page *p) {
    return rt_hf_weight_bytes(p->m) + p->copied + p->run.packed + p->run.activations + p->run.scratch;
}
int64_t rt_page_train_bytes(const rt_model_page *p, bool recompute) {
    const rt_train_memory *m = &p->train;
    return m->weights + m->masters + m->moments + (recompute ? m->recomputed : m->activations) + m->evaluation + m->scratch;
}
static void add_run(const rt_model_page *p, rt_buf *out) {
    char scratch[48];
    snprintf(scratch, sizeof scratch, "scratch of %d threads", rt_threads());
    rt_buf_printf(out, "  to run it, a window of %lld tokens\n", (long long)p->run_T);
    add_bytes("weights, mapped from the files", rt_hf_weight_bytes(p->m), out);
    add_bytes("experts, packed at their first use", p->copied, out);
    add_bytes("weights, packed for the products", p->run.packed, out);
    add_bytes("activations", p->run.activations, out);
    add_bytes(scratch, p->run.scratch, out);
    add_bytes("together", rt_page_run_bytes(p), out);
    rt_buf_printf(out, "  keys and values, 1000 tokens\n");
    add_bytes(rt_dtype_name(p->precision.act[rt_role_attention]), 1000 * p->key_values, out);
}
static void add_train(const rt_model_page *p, rt_buf *out) {
    const rt_train_memory *m = &p->train;
    char scratch[48], title[96];
    snprintf(scratch, sizeof scratch, "scratch of %d threads", rt_threads());
    snprintf(title, sizeof title, "to train it as a student in %s, %lld x %lld tokens", rt_dtype_name(p->student), (long long)p->batch, (long long)p->T);
    rt_buf_printf(out, "  %-58s %13s\n", title, "run.recompute");
    add_bytes("weights", m->weights, out);
    add_bytes("masters (f32)", m->masters, out);
    add_bytes("moments of the optimizer (f32)", m->moments, out);
    add_two("activations, and gradients (f32)", m->activations, m->recomputed, out);
    add_bytes("outputs of evaluation", m->evaluation, out);
    add_bytes(scratch, m->scratch, out);
    add_two("together", rt_page_train_bytes(p, false), rt_page_train_bytes(p, true), out);
}
static void add_memory(const rt_model_page *p, rt_buf *out) {
    rt_buf_puts(out, "\nmemory\n");
    if (!p->described) {
        rt_buf_printf(out, "  not known: %s\n", p->memory_error);
        return;
    }
    add_run(p, out);
    add_train(p, out);
}

void rt_model_text(const rt_model_page *p, bool all, rt_buf *out) {
    add_head(p, out);
    add_architecture(p, out);
    if (all) add_tensors(p, out);
    else add_groups(p, out);
    if (p->described) add_dtypes(p, out);
    add_files(p, out);
    add_tokenizer(p, out);
    add_memory(p, out);
}
