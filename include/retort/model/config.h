/* config.h - the architecture of a model: plain sizes and options, the table of families, and the list of weights that
 * follows from both.
 *
 * A family (rt_arch) is one entry of src/model/archs.def. Everything else that needs to know which weights a model has -
 * loading, checking, initialising, writing, counting, `show model` - walks rt_weight_at(). Matrices are [out,in], as in
 * the files. Reading and writing config.json is io's business (io/hf.h). */
#ifndef RETORT_MODEL_CONFIG_H
#define RETORT_MODEL_CONFIG_H
#include <retort/base/status.h>
#include <stdbool.h>
#include <stdint.h>

/* kind, name for people, where it occurs, rows and columns. Where: LAYER every block, DENSE blocks whose feed-forward part is
 * dense, MIXTURE blocks with experts, EXPERT each expert of those. V vocabulary, D width, Q heads*head_dim, K kv_heads*head_dim,
 * H and G what the norms of queries and keys span (rt_qk_norms), M width of a dense feed-forward part, F of an expert, S of the
 * shared expert, E experts; 1 in the columns: the weight is a vector. The order is the order of rt_weight_at(). */
#define RT_WEIGHT_LIST(X)                                                                                              \
    X(EMBED, "embedding", FIRST, V, D)                                                                                 \
    X(ATTN_NORM, "attention norm", LAYER, D, 1)                                                                        \
    X(QUERY, "query", LAYER, Q, D)                                                                                     \
    X(KEY, "key", LAYER, K, D)                                                                                         \
    X(VALUE, "value", LAYER, K, D)                                                                                     \
    X(QUERY_BIAS, "query bias", LAYER, Q, 1)                                                                           \
    X(KEY_BIAS, "key bias", LAYER, K, 1)                                                                               \
    X(VALUE_BIAS, "value bias", LAYER, K, 1)                                                                           \
    X(QUERY_NORM, "query norm", LAYER, H, 1)                                                                           \
    X(KEY_NORM, "key norm", LAYER, G, 1)                                                                               \
    X(ATTN_OUT, "attention output", LAYER, D, Q)                                                                       \
    X(FFN_NORM, "ffn norm", LAYER, D, 1)                                                                               \
    X(FFN_GATE, "ffn gate", DENSE, M, D)                                                                               \
    X(FFN_UP, "ffn up", DENSE, M, D)                                                                                   \
    X(FFN_DOWN, "ffn down", DENSE, D, M)                                                                               \
    X(ROUTER, "router", MIXTURE, E, D)                                                                                 \
    X(SHARED_SCORE, "shared expert's gate", MIXTURE, 1, D)                                                             \
    X(SHARED_GATE, "shared expert gate", MIXTURE, S, D)                                                                \
    X(SHARED_UP, "shared expert up", MIXTURE, S, D)                                                                    \
    X(SHARED_DOWN, "shared expert down", MIXTURE, D, S)                                                                \
    X(EXPERT_GATE, "expert gate", EXPERT, F, D)                                                                        \
    X(EXPERT_UP, "expert up", EXPERT, F, D)                                                                            \
    X(EXPERT_DOWN, "expert down", EXPERT, D, F)                                                                        \
    X(FINAL_NORM, "final norm", LAST, D, 1)                                                                            \
    X(HEAD, "head", LAST, V, D)
typedef enum rt_weight_kind {
#define X(kind, text, scope, rows, columns) RT_WEIGHT_##kind,
    RT_WEIGHT_LIST(X)
#undef X
        RT_WEIGHT_KINDS
} rt_weight_kind;
const char *rt_weight_kind_text(rt_weight_kind k); /* "attention norm" */

/* RMSNorm of queries and keys before rope: over each head, or over all heads together. */
typedef enum rt_qk_norm { RT_QK_NORM_NONE, RT_QK_NORM_HEAD, RT_QK_NORM_ALL } rt_qk_norms;
/* Where a family says how far attention looks back: nowhere; in sliding_window; there, but only with use_sliding_window. */
typedef enum rt_window_key { RT_WINDOW_NONE, RT_WINDOW_PLAIN, RT_WINDOW_SWITCHED } rt_window_key;

/* A family: what its configuration and its tensors are called on disk, and what differs in the computation. An entry of
 * archs.def names what it has; what it leaves out is zero. */
typedef struct rt_arch {
    const char *name;     /* "mixtral": our name and Hugging Face's model_type */
    const char *hf_class; /* "MixtralForCausalLM" */
    bool moe;             /* experts >= 1, a router in each layer that is not dense */
    bool norm_topk;       /* chosen probabilities are renormalised to sum 1 ... */
    const char *norm_topk_key; /* ... unless this key says otherwise; NULL: it cannot */
    const char *experts_key, *expert_size_key; /* "num_experts", "moe_intermediate_size" */
    bool shared_expert;   /* shared_expert_intermediate_size, weighted by the sigmoid of a score */
    bool dense_layers;    /* mlp_only_layers and decoder_sparse_step make some layers dense, of intermediate_size */
    rt_qk_norms qk_norm;
    rt_window_key window;
    int64_t sliding_window; /* what config.json means when it does not say: 0 none */
    double rope_theta;      /* likewise */
    int64_t head_dim;       /* likewise; 0: hidden_size / heads */
    int64_t bos_id, eos_id, pad_id; /* likewise; -1: none */
    const char *config_path[3]; /* keys that lead to the language model's part of config.json; none: it is the whole */
    const char *prefix;      /* of every tensor name; NULL: none. What lies outside it belongs to other parts */
    const char *names[RT_WEIGHT_KINDS]; /* printf patterns of (layer, expert); NULL where the family has no such weight */
} rt_arch;
const rt_arch *rt_arch_find(const char *name);      /* NULL if unknown */
const rt_arch *rt_arch_find_class(const char *hf_class);
const char *const *rt_arch_names(void);             /* NULL-terminated, for lists and nearest names */

typedef enum rt_rope_scaling_kind { RT_ROPE_PLAIN, RT_ROPE_LINEAR, RT_ROPE_LLAMA3 } rt_rope_scaling_kind;
typedef struct rt_rope_scaling {
    rt_rope_scaling_kind kind;
    double factor;                             /* linear, llama3 */
    double low_freq_factor, high_freq_factor;  /* llama3 */
    int64_t original_max_position;             /* llama3 */
} rt_rope_scaling;

enum { RT_MAX_LAYERS = 1024, RT_DENSE_WORDS = RT_MAX_LAYERS / 64 };
typedef struct rt_model_config {
    const rt_arch *arch;
    int64_t vocab_size, hidden_size, layers, heads, kv_heads, head_dim;
    int64_t ffn_size; /* inner width of the feed-forward part; of each expert where there are experts */
    int64_t experts, experts_per_token; /* 0 and 0: dense */
    int64_t shared_size;    /* inner width of the shared expert; 0: none */
    int64_t dense_ffn_size; /* of the dense layers of a mixture; without such layers it is carried only */
    uint64_t dense[RT_DENSE_WORDS]; /* bit l: layer l of a mixture is dense */
    bool qkv_bias;
    double norm_eps, rope_theta;
    rt_rope_scaling rope;
    int64_t max_position;
    int64_t sliding_window; /* 0: none. Full attention is computed, which is the same up to this many tokens */
    int64_t bos_id, eos_id, pad_id; /* -1: none */
    bool tie_embeddings;            /* the head is the embedding; there is no head weight */
    bool norm_topk;                 /* chosen probabilities sum to 1; as the family says, unless its configuration may choose */
    double router_aux_coef;         /* informational: carried from and to config.json */
} rt_model_config;

/* Layer l has experts and a router. */
static inline bool rt_model_mixture(const rt_model_config *c, int64_t l) { return c->experts > 0 && !(c->dense[l / 64] >> (l % 64) & 1); }
/* The longest sequence that is computed: of the positions, those within a sliding window. */
static inline int64_t rt_model_longest(const rt_model_config *c) {
    return c->sliding_window > 0 && c->sliding_window < c->max_position ? c->sliding_window : c->max_position;
}

/* A family's defaults: eps 1e-5, its theta, biases and renormalisation, no scaling, no special ids; sizes are 0. */
rt_model_config rt_model_config_default(const rt_arch *arch);
/* RT_E_CONFIG with a one-line reason when sizes are absent, absurd or do not fit together. After it, products of sizes
 * (parameters, bytes in f64) fit into int64_t. */
rt_status rt_model_config_check(const rt_model_config *c, rt_error *err) RT_NODISCARD;
bool rt_model_config_equal(const rt_model_config *a, const rt_model_config *b);

enum { RT_WEIGHT_NAME = 128 };
typedef struct rt_weight_spec {
    rt_weight_kind kind;
    int layer, expert; /* -1 where there is none */
    int ndim;          /* 1 or 2 */
    int64_t dim[2];
    char name[RT_WEIGHT_NAME]; /* the tensor's name in the files of the family */
} rt_weight_spec;
/* The weights of a checked configuration, i in [0, count): embedding; per layer attention, norms, then the dense ffn or router,
 * shared expert and expert by expert; final norm; head unless tied. */
int64_t rt_weight_count(const rt_model_config *c);
rt_weight_spec rt_weight_at(const rt_model_config *c, int64_t i);
/* One weight by its place; expert -1 for a dense block. False if the model has no such weight. */
bool rt_weight_find(const rt_model_config *c, rt_weight_kind kind, int layer, int expert, rt_weight_spec *out);

/* Active: what one token meets, experts_per_token of the experts. Body: without the vocabulary-sized matrices (embedding
 * and head), the "non-embedding" number of model cards. A tied matrix counts once. */
typedef struct rt_param_count {
    int64_t total, active, total_body, active_body;
} rt_param_count;
rt_param_count rt_model_parameters(const rt_model_config *c);
#endif
