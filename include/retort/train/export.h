/* export.h - a model as a plain Hugging Face folder in one dtype, written, read again and compared before it appears.
 *
 * Every tensor, the router's included, is rounded to nearest even. The folder is built beside its place under a temporary name;
 * it takes the place only if (a) every tensor read back is the source's weight rounded, bit for bit, by another code path, and
 * (b) the folder's logits on the probe equal, bit for bit, those of the rounded weights in memory, both with f32 activations. What
 * rounding costs is reported: KL from the unrounded model (with its own precision policy), changed first choices, flipped routes.
 * A weight that is not finite, or beyond the range of f16, is RT_E_NUMERIC with the tensor's name; a difference is RT_E_CHECK.
 * After any error the place holds what it held before. */
#ifndef RETORT_TRAIN_EXPORT_H
#define RETORT_TRAIN_EXPORT_H
#include <retort/base/status.h>
#include <retort/tensor/dtype.h>

#define RT_EXPORT_MARK "retort-export.json" /* in every export: what it was made from, and its files */

typedef struct rt_export_options {
    rt_dtype dtype;       /* f32, f16 or bf16 */
    bool force;           /* replace a folder of files that is no export; never one that holds folders */
    const int32_t *probe; /* ids of a text; NULL: 512 random ids */
    int64_t probe_ids;
} rt_export_options;

typedef struct rt_export_report {
    int64_t tensors, weights, bytes; /* tensors, their elements, bytes of model.safetensors */
    int64_t changed;                 /* weights that rounding changed */
    int64_t positions;               /* of the probe */
    double kl;                       /* mean KL(model || export) in nats, tau 1 */
    int64_t top1_changed;            /* positions whose likeliest token is another */
    int64_t routes, routes_flipped;  /* (position, layer, chosen expert); those the export does not choose */
} rt_export_report;

/* source: a checkpoint (its manifest is verified) or a plain folder. out: a free name, an empty folder, or an earlier export, which
 * is replaced; anything else is RT_E_USAGE. Tokenizer files of the source are copied as they are. */
rt_status rt_export_hf(const char *source, const char *out, const rt_export_options *o, rt_export_report *r, rt_error *err) RT_NODISCARD;
#endif
