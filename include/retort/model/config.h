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

/* kind, name for people, where it occurs, rows and columns: V vocabulary, D width, Q heads*head_dim, K kv_heads*head_dim,
 * F ffn width, E experts; 1: the weight is a vector. The order is the order of rt_weight_at(). */
#define RT_WEIGHT_LIST(X)                                                                                              \
    X(EMBED, "embedding", FIRST, V, D)                                                                                 \
    X(ATTN_NORM, "attention norm", LAYER, D, 1)                                                                        \
    X(QUERY, "query", LAYER, Q, D)                                                                                     \
    X(KEY, "key", LAYER, K, D)                                                                                         \
    X(VALUE, "value", LAYER, K, D)                                                                                     \
    X(ATTN_OUT, "attention output", LAYER, D, Q)                                                                       \
    X(FFN_NORM, "ffn norm", LAYER, D, 1)                                                                               \
    X(ROUTER, "router", LAYER, E, D)                                                                                   \
    X(FFN_GATE, "ffn gate", EXPERT, F, D)                                                                              \
    X(FFN_UP, "ffn up", EXPERT, F, D)                                                                                  \
    X(FFN_DOWN, "ffn down", EXPERT, D, F)                                                                              \
    X(FINAL_NORM, "final norm", LAST, D, 1)                                                                            \
    X(HEAD, "head", LAST, V, D)
typedef enum rt_weight_kind {
#define X(kind, text, scope, rows, columns) RT_WEIGHT_##kind,
    RT_WEIGHT_LIST(X)
#undef X
        RT_WEIGHT_KINDS
} rt_weight_kind;
const char *rt_weight_kind_text(rt_weight_kind k); /* "attention norm" */

enum { RT_NO_KEY = -1 };
/* A family: what its configuration and its tensors are called on disk, and what differs in the computation. */
typedef struct rt_arch {
    const char *name;                   /* "mixtral": our name and Hugging Face's model_type */
    const char *hf_class;               /* "MixtralForCausalLM" */
    bool moe;                           /* experts >= 1, a router in each layer */
    bool norm_topk;                     /* chosen probabilities are renormalised to sum 1 */
    double rope_theta;                  /* what config.json means when it does not say */
    int64_t sliding_window;             /* likewise: 0 none, RT_NO_KEY where the family has no such key */
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

typedef struct rt_model_config {
    const rt_arch *arch;
    int64_t vocab_size, hidden_size, layers, heads, kv_heads, head_dim, ffn_size;
    int64_t experts, experts_per_token; /* 0 and 0: dense */
    double norm_eps, rope_theta;
    rt_rope_scaling rope;
    int64_t max_position;
    int64_t bos_id, eos_id, pad_id; /* -1: none */
    bool tie_embeddings;            /* the head is the embedding; there is no head weight */
    bool norm_topk;                 /* as the family says, unless its configuration may choose */
    double router_aux_coef;         /* informational: carried from and to config.json */
} rt_model_config;

/* A family's defaults: eps 1e-5, its theta and renormalisation, no scaling, no special ids; sizes are 0. */
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
/* The weights of a checked configuration, i in [0, count): embedding; per layer attention, norms, router, then expert by
 * expert; final norm; head unless tied. */
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
