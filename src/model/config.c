/* config.c - checks of an architecture's sizes, the list of its weights, its parameter counts.
 *
 * The list is not stored: weight i is computed from the sizes. A layer has the weights that every layer has, then those of
 * a dense block, or those of a mixture and b for each of its E experts; so within a layer i splits by division. */
#include <retort/model/config.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

typedef enum scope { FIRST, LAYER, DENSE, MIXTURE, EXPERT, LAST } scope;
typedef enum letter { ONE, V, D, Q, K, H, G, M, F, S, E } letter;
#define LETTER_1 ONE
#define LETTER_V V
#define LETTER_D D
#define LETTER_Q Q
#define LETTER_K K
#define LETTER_H H
#define LETTER_G G
#define LETTER_M M
#define LETTER_F F
#define LETTER_S S
#define LETTER_E E
static const struct {
    const char *text;
    scope scope;
    letter rows, columns;
} kinds[RT_WEIGHT_KINDS] = {
#define X(kind, text, scope, rows, columns) {text, scope, LETTER_##rows, LETTER_##columns},
    RT_WEIGHT_LIST(X)
#undef X
};
const char *rt_weight_kind_text(rt_weight_kind k) { return kinds[k].text; }

rt_model_config rt_model_config_default(const rt_arch *arch) {
    return (rt_model_config){.arch = arch, .norm_eps = 1e-5, .rope_theta = arch->rope_theta, .bos_id = -1, .eos_id = -1, .pad_id = -1,
                             .norm_topk = arch->norm_topk, .qkv_bias = arch->names[RT_WEIGHT_QUERY_BIAS] != NULL,
                             .rope = {.kind = RT_ROPE_PLAIN, .factor = 1}};
}

/* ------------------------------------------------------------------ checks */

/* Far beyond any model, and small enough that layers * experts * 3 * ffn * hidden * 8 bytes stays below 2^63. */
static const int64_t max_vocab = 1 << 24, max_hidden = 1 << 16, max_layers = RT_MAX_LAYERS, max_heads = 1 << 10,
                     max_head_dim = 1 << 12, max_ffn = 1 << 18, max_experts = 1 << 12, max_position = 1 << 28;

static rt_status check_range(const char *what, int64_t value, int64_t least, int64_t most, rt_error *err) {
    if (value >= least && value <= most) return RT_OK;
    return rt_fail(err, RT_E_CONFIG, "%s is %lld, expected %lld to %lld", what, (long long)value, (long long)least,
                   (long long)most);
}
static rt_status check_sizes(const rt_model_config *c, rt_error *err) {
    RT_TRY(check_range("vocab_size", c->vocab_size, 1, max_vocab, err));
    RT_TRY(check_range("hidden_size", c->hidden_size, 1, max_hidden, err));
    RT_TRY(check_range("layers", c->layers, 1, max_layers, err));
    RT_TRY(check_range("heads", c->heads, 1, max_heads, err));
    RT_TRY(check_range("kv_heads", c->kv_heads, 1, max_heads, err));
    RT_TRY(check_range("head_dim", c->head_dim, 2, max_head_dim, err));
    RT_TRY(check_range("ffn_size", c->ffn_size, 1, max_ffn, err));
    RT_TRY(check_range("max_position", c->max_position, 1, max_position, err));
    RT_TRY(check_range("sliding_window", c->sliding_window, 0, max_position, err));
    if (c->heads % c->kv_heads)
        return rt_fail(err, RT_E_CONFIG, "heads %lld is not a multiple of kv_heads %lld", (long long)c->heads,
                       (long long)c->kv_heads);
    if (c->head_dim % 2)
        return rt_fail(err, RT_E_CONFIG, "head_dim is %lld, expected an even number (rotary pairs)", (long long)c->head_dim);
    return RT_OK;
}
static bool has_dense_layer(const rt_model_config *c) {
    for (int64_t l = 0; l < c->layers; l++)
        if (c->dense[l / 64] >> (l % 64) & 1) return true;
    return false;
}
static rt_status check_experts(const rt_model_config *c, rt_error *err) {
    bool dense = has_dense_layer(c);
    if (dense && !(c->arch->moe && c->arch->dense_layers))
        return rt_fail(err, RT_E_CONFIG, "arch %s has no dense layers among those with experts", c->arch->name);
    RT_TRY(check_range("dense_ffn_size", c->dense_ffn_size, dense, max_ffn, err));
    RT_TRY(check_range("shared_size", c->shared_size, c->arch->shared_expert, c->arch->shared_expert ? max_ffn : 0, err));
    if (!c->arch->moe) {
        if (c->experts || c->experts_per_token)
            return rt_fail(err, RT_E_CONFIG, "experts is %lld, but arch %s is dense", (long long)c->experts, c->arch->name);
        return RT_OK;
    }
    RT_TRY(check_range("experts", c->experts, 1, max_experts, err));
    return check_range("experts_per_token", c->experts_per_token, 1, c->experts, err);
}
static rt_status check_real(const char *what, double value, double least, double most, rt_error *err) {
    if (isfinite(value) && value >= least && value <= most) return RT_OK;
    return rt_fail(err, RT_E_CONFIG, "%s is %g, expected %g to %g", what, value, least, most);
}
static rt_status check_rope(const rt_model_config *c, rt_error *err) {
    const rt_rope_scaling *r = &c->rope;
    RT_TRY(check_real("rope_theta", c->rope_theta, 1, 1e12, err));
    if (r->kind == RT_ROPE_PLAIN) return RT_OK;
    RT_TRY(check_real("rope_scaling.factor", r->factor, 1, 1e6, err));
    if (r->kind == RT_ROPE_LINEAR) return RT_OK;
    RT_TRY(check_real("rope_scaling.low_freq_factor", r->low_freq_factor, 1e-6, 1e6, err));
    RT_TRY(check_real("rope_scaling.high_freq_factor", r->high_freq_factor, 1e-6, 1e6, err));
    RT_TRY(check_range("rope_scaling.original_max_position", r->original_max_position, 1, max_position, err));
    if (r->high_freq_factor <= r->low_freq_factor)
        return rt_fail(err, RT_E_CONFIG, "rope_scaling.high_freq_factor %g is not above low_freq_factor %g",
                       r->high_freq_factor, r->low_freq_factor);
    return RT_OK;
}

rt_status rt_model_config_check(const rt_model_config *c, rt_error *err) {
    if (!c->arch) return rt_fail(err, RT_E_CONFIG, "arch is not set");
    RT_TRY(check_sizes(c, err));
    RT_TRY(check_experts(c, err));
    RT_TRY(check_real("norm_eps", c->norm_eps, 1e-12, 1e-1, err));
    RT_TRY(check_rope(c, err));
    RT_TRY(check_real("router_aux_coef", c->router_aux_coef, 0, 1e6, err));
    RT_TRY(check_range("bos_id", c->bos_id, -1, c->vocab_size - 1, err));
    RT_TRY(check_range("eos_id", c->eos_id, -1, c->vocab_size - 1, err));
    return check_range("pad_id", c->pad_id, -1, c->vocab_size - 1, err);
}

static bool same_rope(const rt_rope_scaling *a, const rt_rope_scaling *b) {
    if (a->kind != b->kind) return false;
    if (a->kind == RT_ROPE_PLAIN) return true;
    if (a->factor != b->factor || a->kind == RT_ROPE_LINEAR) return a->factor == b->factor;
    return a->low_freq_factor == b->low_freq_factor && a->high_freq_factor == b->high_freq_factor &&
           a->original_max_position == b->original_max_position;
}
bool rt_model_config_equal(const rt_model_config *a, const rt_model_config *b) {
    return a->arch == b->arch && a->vocab_size == b->vocab_size && a->hidden_size == b->hidden_size &&
           a->layers == b->layers && a->heads == b->heads && a->kv_heads == b->kv_heads && a->head_dim == b->head_dim &&
           a->ffn_size == b->ffn_size && a->experts == b->experts && a->experts_per_token == b->experts_per_token &&
           a->shared_size == b->shared_size && a->dense_ffn_size == b->dense_ffn_size && memcmp(a->dense, b->dense, sizeof a->dense) == 0 &&
           a->qkv_bias == b->qkv_bias && a->sliding_window == b->sliding_window &&
           a->norm_eps == b->norm_eps && a->rope_theta == b->rope_theta && same_rope(&a->rope, &b->rope) &&
           a->max_position == b->max_position && a->bos_id == b->bos_id && a->eos_id == b->eos_id &&
           a->pad_id == b->pad_id && a->tie_embeddings == b->tie_embeddings && a->norm_topk == b->norm_topk &&
           a->router_aux_coef == b->router_aux_coef;
}

/* ----------------------------------------------------------------- weights */

static bool present(const rt_model_config *c, int kind) {
    bool bias = kind == RT_WEIGHT_QUERY_BIAS || kind == RT_WEIGHT_KEY_BIAS || kind == RT_WEIGHT_VALUE_BIAS;
    return c->arch->names[kind] && !(kind == RT_WEIGHT_HEAD && c->tie_embeddings) && !(bias && !c->qkv_bias);
}
static int64_t count_scope(const rt_model_config *c, scope s) {
    int64_t n = 0;
    for (int k = 0; k < RT_WEIGHT_KINDS; k++) n += kinds[k].scope == s && present(c, k);
    return n;
}
static rt_weight_kind nth_of_scope(const rt_model_config *c, scope s, int64_t n) {
    for (int k = 0; k < RT_WEIGHT_KINDS; k++)
        if (kinds[k].scope == s && present(c, k) && n-- == 0) return (rt_weight_kind)k;
    return RT_WEIGHT_KINDS;
}

static int64_t extent(const rt_model_config *c, letter l) {
    bool all = c->arch->qk_norm == RT_QK_NORM_ALL;
    switch (l) {
    case V: return c->vocab_size;
    case D: return c->hidden_size;
    case Q: return c->heads * c->head_dim;
    case K: return c->kv_heads * c->head_dim;
    case H: return all ? c->heads * c->head_dim : c->head_dim;
    case G: return all ? c->kv_heads * c->head_dim : c->head_dim;
    case M: return c->experts ? c->dense_ffn_size : c->ffn_size;
    case F: return c->ffn_size;
    case S: return c->shared_size;
    case E: return c->experts;
    default: return 1;
    }
}
static rt_weight_spec describe(const rt_model_config *c, rt_weight_kind kind, int64_t layer, int64_t expert) {
    rt_weight_spec w = {.kind = kind, .layer = (int)layer, .expert = (int)expert, .ndim = kinds[kind].columns == ONE ? 1 : 2,
                        .dim = {extent(c, kinds[kind].rows), extent(c, kinds[kind].columns)}};
    int prefix = snprintf(w.name, sizeof w.name, "%s", c->arch->prefix ? c->arch->prefix : "");
    snprintf(w.name + prefix, sizeof w.name - (size_t)prefix, c->arch->names[kind], w.layer, w.expert);
    return w;
}

/* The parts of a block's list, in order. */
typedef struct block {
    int64_t common, dense, mixture, each;
} block;
static block block_of(const rt_model_config *c) {
    return (block){count_scope(c, LAYER), count_scope(c, DENSE), count_scope(c, MIXTURE), count_scope(c, EXPERT)};
}
static int64_t block_size(const rt_model_config *c, const block *b, int64_t l) {
    return b->common + (rt_model_mixture(c, l) ? b->mixture + b->each * c->experts : b->dense);
}
int64_t rt_weight_count(const rt_model_config *c) {
    block b = block_of(c);
    int64_t n = count_scope(c, FIRST) + count_scope(c, LAST);
    for (int64_t l = 0; l < c->layers; l++) n += block_size(c, &b, l);
    return n;
}
static rt_weight_spec in_block(const rt_model_config *c, const block *b, int64_t l, int64_t i) {
    if (i < b->common) return describe(c, nth_of_scope(c, LAYER, i), l, -1);
    i -= b->common;
    if (!rt_model_mixture(c, l)) return describe(c, nth_of_scope(c, DENSE, i), l, -1);
    if (i < b->mixture) return describe(c, nth_of_scope(c, MIXTURE, i), l, -1);
    i -= b->mixture;
    return describe(c, nth_of_scope(c, EXPERT, i % b->each), l, i / b->each);
}
rt_weight_spec rt_weight_at(const rt_model_config *c, int64_t i) {
    block b = block_of(c);
    int64_t first = count_scope(c, FIRST), l = 0;
    if (i < first) return describe(c, nth_of_scope(c, FIRST, i), -1, -1);
    for (i -= first; l < c->layers && i >= block_size(c, &b, l); l++) i -= block_size(c, &b, l);
    if (l < c->layers) return in_block(c, &b, l, i);
    return describe(c, nth_of_scope(c, LAST, i), -1, -1);
}

static bool scope_in_layer(const rt_model_config *c, scope s, int64_t layer) {
    if (s == FIRST || s == LAST) return layer == -1;
    if (layer < 0 || layer >= c->layers) return false;
    return s == LAYER || (s == DENSE) == !rt_model_mixture(c, layer);
}
bool rt_weight_find(const rt_model_config *c, rt_weight_kind kind, int layer, int expert, rt_weight_spec *out) {
    scope s = kinds[kind].scope;
    if (!present(c, (int)kind) || !scope_in_layer(c, s, layer)) return false;
    if (s == EXPERT ? expert < 0 || expert >= c->experts : expert != -1) return false;
    *out = describe(c, kind, layer, expert);
    return true;
}

/* How often a weight of this scope occurs, and how often a token meets it. */
static int64_t occurrences(const rt_model_config *c, scope s, bool met) {
    int64_t mixtures = 0;
    if (s == FIRST || s == LAST) return 1;
    if (s == LAYER) return c->layers;
    for (int64_t l = 0; l < c->layers; l++) mixtures += rt_model_mixture(c, l);
    if (s == DENSE) return c->layers - mixtures;
    return s == MIXTURE ? mixtures : mixtures * (met ? c->experts_per_token : c->experts);
}
rt_param_count rt_model_parameters(const rt_model_config *c) {
    rt_param_count p = {0};
    for (int k = 0; k < RT_WEIGHT_KINDS; k++) {
        if (!present(c, k)) continue;
        bool vocabulary = k == RT_WEIGHT_EMBED || k == RT_WEIGHT_HEAD;
        int64_t one = extent(c, kinds[k].rows) * extent(c, kinds[k].columns);
        int64_t all = one * occurrences(c, kinds[k].scope, false), met = one * occurrences(c, kinds[k].scope, true);
        p.total += all, p.active += met;
        if (!vocabulary) p.total_body += all, p.active_body += met;
    }
    return p;
}
