/* export.h - a model as a plain Hugging Face folder or as one GGUF file, written, read again and compared before it appears.
 *
 * In a folder every tensor, the router's included, is rounded to nearest even; in a GGUF file vectors and routers stay f32
 * (io/gguf_model.h). The export is built beside its place under a temporary name; it takes the place only if (a) every tensor read
 * back is the source's weight rounded (or quantized), bit for bit, by another code path, and (b) the logits of what was read on the
 * probe equal, bit for bit, those of the rounded weights in memory, both with f32 activations. What rounding costs is reported: KL from
 * the unrounded model (with its own precision policy), changed first choices, flipped routes. A weight that is not finite, or beyond
 * the range of f16, is RT_E_NUMERIC with the tensor's name; a difference is RT_E_CHECK. After any error the place holds what it held
 * before. */
#ifndef RETORT_EXPORT_EXPORT_H
#define RETORT_EXPORT_EXPORT_H
#include <retort/base/status.h>
#include <retort/tensor/dtype.h>

#define RT_EXPORT_MARK "retort-export.json" /* in every folder: what it was made from, and its files */
enum { RT_EXPORT_PART = 5 }; /* GB of a part of model.safetensors, unless said otherwise */

typedef struct rt_export_options {
    rt_dtype dtype;       /* f32, f16 or bf16; f32 with q8_0 */
    bool gguf, q8_0;      /* a file instead of a folder; matrices in blocks of 8 bits (only there) */
    bool no_tokenizer;    /* GGUF: leave it out */
    int64_t part_bytes;   /* folder: most bytes of tensors in one file; 0: 5 GB */
    bool force;           /* replace a folder of files that is no export (never one that holds folders), or a file that is none */
    const int32_t *probe; /* ids of a text; NULL: 512 random ids */
    int64_t probe_ids;
} rt_export_options;

typedef struct rt_export_report {
    int64_t tensors, weights, bytes; /* tensors, their elements, bytes of the files that hold them */
    int64_t files;                   /* that hold them */
    int64_t changed;                 /* weights that rounding changed */
    int64_t kept_f16;                /* q8_0: matrices whose rows are no multiple of 32 */
    int64_t positions;               /* of the probe */
    rt_dtype activations;            /* of the model's residual stream, which it was run with; the export was run with f32 */
    double kl;                       /* mean KL(model || export) in nats, tau 1 */
    int64_t top1_changed;            /* positions whose likeliest token is another */
    int64_t routes, routes_flipped;  /* (position, layer, chosen expert); those the export does not choose */
} rt_export_report;

/* source: a checkpoint (its manifest is verified), a plain folder or a GGUF file. out, a folder: a free name, an empty folder, or an
 * earlier export, which is replaced; a file: a free name or a GGUF file of ours; anything else is RT_E_USAGE. The tokenizer comes
 * along; what a GGUF file's readers do otherwise at its edges is logged as a warning. */
rt_status rt_export_model(const char *source, const char *out, const rt_export_options *o, rt_export_report *r, rt_error *err) RT_NODISCARD;
#endif
