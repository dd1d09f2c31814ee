/* hf.h - a model as a Hugging Face directory: config.json, model.safetensors (or shards with
 * model.safetensors.index.json), generation_config.json.
 *
 * What is opened is complete: every weight of the configuration is there with its shape, and nothing else is, but for
 * tensors that are known to be redundant (rotary tables, which are recomputed in f32; a stored copy of a tied head).
 * A configuration that asks for something not computed here is refused with the key and the reason. */
#ifndef RETORT_IO_HF_H
#define RETORT_IO_HF_H
#include <retort/io/safetensors.h>
#include <retort/model/config.h>

/* ------------------------------------------------------------ configuration */

/* The file config.json itself. RT_E_INPUT: malformed or impossible; RT_E_UNSUPPORTED: means something not computed here. */
rt_status rt_hf_config_read(const char *path, rt_model_config *out, rt_error *err) RT_NODISCARD;
/* As transformers 4.40 and later load it; `dtype` becomes torch_dtype (what the weights beside it are stored as). Read
 * again it gives an equal configuration, to the last bit of each number. */
rt_status rt_hf_config_write(const char *path, const rt_model_config *c, rt_dtype dtype, rt_error *err) RT_NODISCARD;
/* generation_config.json: the special ids, for programs that generate. */
rt_status rt_hf_generation_config_write(const char *path, const rt_model_config *c, rt_error *err) RT_NODISCARD;

/* ------------------------------------------------------------------- weights */

typedef struct rt_hf rt_hf;
rt_status rt_hf_open(const char *directory, rt_hf **out, rt_error *err) RT_NODISCARD;
void rt_hf_close(rt_hf *m); /* NULL is fine; ends the life of every tensor */

const char *rt_hf_path(const rt_hf *m);
int64_t rt_hf_file_count(const rt_hf *m);
const rt_safetensors *rt_hf_file(const rt_hf *m, int64_t i); /* by name */
const rt_model_config *rt_hf_config(const rt_hf *m);
/* Views as safetensors.h describes; the dtype is each tensor's own. */
const rt_tensor *rt_hf_weight(const rt_hf *m, int64_t i);             /* i of rt_weight_at */
const rt_tensor *rt_hf_find(const rt_hf *m, const char *tensor_name); /* NULL if absent or not a weight of the model */
int64_t rt_hf_weight_bytes(const rt_hf *m);                           /* of all weights together */
int64_t rt_hf_ignored(const rt_hf *m);                                /* redundant tensors that were skipped */

/* The dtype that all matrices have; RT_NONE if they differ. */
rt_dtype rt_hf_matrix_dtype(const rt_hf *m);
/* RT_E_DTYPE naming the first matrix that is not t: what `teacher.dtype` asserts. */
rt_status rt_hf_assert_dtype(const rt_hf *m, rt_dtype t, rt_error *err) RT_NODISCARD;

/* Names the weights by content: SHA-256 over the sorted list of (name, dtype, shape, SHA-256 of the data). It does not
 * depend on how the tensors are spread over files, and reads every byte: equal before and after means unchanged. */
typedef struct rt_hf_hash {
    char hex[65];
} rt_hf_hash;
rt_status rt_hf_content_hash(const rt_hf *m, rt_hf_hash *out, rt_error *err) RT_NODISCARD;

/* The file model.safetensors: `weights` are in the order of rt_weight_at and checked against it; options as in
 * rt_safetensors_write. */
rt_status rt_hf_weights_write(const char *path, const rt_model_config *c, const rt_tensor *weights,
                              const rt_safetensors_write_options *options, rt_error *err) RT_NODISCARD;
/* A model directory: model.safetensors, generation_config.json and, last, config.json with the embedding's dtype as
 * torch_dtype. Each file is written atomically, the directory is not: that is checkpoint.h's business. */
rt_status rt_hf_write(const char *directory, const rt_model_config *c, const rt_tensor *weights,
                      const rt_safetensors_write_options *options, rt_error *err) RT_NODISCARD;
#endif
