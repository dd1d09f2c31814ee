/* frozen.h - a model directory opened to be used, not trained: files mapped, weights borrowed, precision resolved. */
#ifndef RETORT_INFER_FROZEN_H
#define RETORT_INFER_FROZEN_H
#include <retort/io/hf.h>
#include <retort/model/weights.h>
#include <retort/text/tokenizer.h>

typedef enum rt_activations { RT_ACTIVATIONS_STORED, RT_ACTIVATIONS_NATIVE, RT_ACTIVATIONS_F32 } rt_activations;

/* The model a user means: of a run's folder its newest sound checkpoint, else the path itself, a directory or a GGUF file. Owned
 * (rt_free). */
rt_status rt_model_path(const char *given, char **path, rt_error *err) RT_NODISCARD;

/* The tokenizer beside (or, in a GGUF file, in) the model at such a path, or of what rt_tokenizer_load takes. */
rt_status rt_model_tokenizer(rt_tokenizer **out, const char *path, rt_error *err) RT_NODISCARD;
/* There is one: a tokenizer.json (or .json.gz) in the directory, or a part of the file; it may still not load. */
bool rt_model_has_tokenizer(const char *path);

typedef struct rt_frozen {
    char *path; /* the directory itself, as rt_model_path finds it */
    rt_hf *files;
    rt_weights weights;
    rt_precision precision;
    bool stored; /* the policy came from the checkpoint's manifest */
} rt_frozen;

/* Weight dtypes are those of the files, per role (a role with two dtypes is RT_E_UNSUPPORTED). Activations: STORED: as the
 * checkpoint's policy says, native where none is stored; NATIVE: in the embedding's dtype; F32: f32 over the same weights. */
rt_status rt_frozen_open(rt_frozen *f, const char *directory, rt_activations activations, rt_error *err) RT_NODISCARD;
/* The same for looking, not for use: the weights have shapes and dtypes but no data, of which nothing is read. `copied`: bytes
 * of experts that are packed at their first use, none of halves. */
rt_status rt_frozen_describe(rt_frozen *f, const char *directory, rt_activations activations, int64_t *copied, rt_error *err) RT_NODISCARD;
void rt_frozen_close(rt_frozen *f); /* an all-zero one is fine */
/* The policy a checkpoint stores; *found is false where there is none (a plain directory). A damaged manifest is RT_E_INPUT. */
rt_status rt_frozen_stored_precision(const char *directory, rt_precision *p, bool *found, rt_error *err) RT_NODISCARD;
#endif
