/* compare.h - two models, checkpoints or runs beside each other: every tensor, the configuration, the tokenizer, what both
 * predict, and, of runs, the job and the evaluations.
 *
 * Tensors are paired by name and read where they are mapped: memory does not grow with the model. Only the probe (logits) opens
 * both for use, which copies experts. */
#ifndef RETORT_COMPARE_COMPARE_H
#define RETORT_COMPARE_COMPARE_H
#include <retort/base/json.h>
#include <retort/io/tensor_difference.h>
#include <retort/infer/frozen.h>

typedef enum rt_probe_wish { RT_PROBE_AUTO, RT_PROBE_YES, RT_PROBE_NO } rt_probe_wish; /* AUTO: unless the weights are the same */
typedef struct rt_compare_options {
    const char *a, *b;   /* each: a run (its newest sound checkpoint), a checkpoint, or a Hugging Face directory */
    bool exact;          /* equal means the same bits and dtypes; else ||a - b|| <= tolerance ||a||, whatever the dtype */
    double tolerance;
    int probe;           /* rt_probe_wish */
    const char *data;    /* a text or a shard to probe with, by A's tokenizer; or NULL */
    const char *ids;     /* lines of ids to probe with; or NULL. Neither: ids by a fixed seed */
    int64_t probe_tokens;
    rt_activations activations;
} rt_compare_options;

/* A tensor of either, or of both. Names of a checkpoint's other files have the file in front: "optimizer.safetensors: m.x". */
typedef struct rt_compared {
    const char *name;
    const rt_tensor *a, *b; /* NULL: only the other has it */
    bool same_shape, equal; /* equal: as the options say */
    bool other;             /* of one of a checkpoint's other files */
    rt_tensor_difference d; /* of tensors of one shape */
} rt_compared;

typedef struct rt_compare_probe {
    const char *source;  /* what was run: "ids by a fixed seed", the file; NULL: nothing */
    char skipped[512];   /* why nothing was; "" when it was */
    int64_t positions, top1_changed, routes, routes_flipped;
    double max_abs, kl, reverse_kl; /* of logits; KL(A, B), KL(B, A) at temperature 1, nats a position */
} rt_compare_probe;

typedef struct rt_compare_side {
    const char *given;
    char *path;         /* the model directory */
    rt_hf *files;
    char tokenizer[65]; /* its hash; "": there is none */
    char tokenizer_error[512]; /* why it could not be read; "": it could, or there is none */
    int64_t tokenizer_size;
    json_t *config;     /* config.json as it stands */
    json_t *manifest;   /* of a checkpoint; NULL for a plain directory */
    json_t *last, *best; /* evaluations in a run's log, by step and by ce; NULL where there are none */
} rt_compare_side;

typedef struct rt_comparison {
    rt_compare_side a, b;
    rt_compared *tensors; /* weights of both first, worst first; then tensors of other files, likewise; then what only one has, by name */
    int64_t count, only_a, only_b, other_shape, other_dtype, different; /* different: of those in both, not equal */
    bool same_architecture; /* what is computed from config.json: sizes and options */
    bool same_tokenizer;    /* or one of them has none */
    bool same_weights;      /* all of the same bits */
    json_t *config_differences; /* rt_json_differences */
    json_t *job_differences;    /* of two checkpoints; else NULL */
    rt_compare_probe probe;
    bool equal; /* tensors, architecture and tokenizer; the probe, the job and the evaluations are told, not judged */
} rt_comparison;

typedef struct rt_compare rt_compare;
/* RT_E_INPUT when either cannot be opened. */
rt_status rt_compare_open(rt_compare **out, const rt_compare_options *o, rt_error *err) RT_NODISCARD;
void rt_compare_close(rt_compare *c); /* NULL is fine */
const rt_comparison *rt_compare_result(const rt_compare *c);
/* A page for people: tensors of a kind in one line, or with `all` every tensor. */
void rt_compare_text(const rt_comparison *c, bool all, rt_buf *out);
json_t *rt_compare_json(const rt_comparison *c); /* NULL: out of memory */
#endif
