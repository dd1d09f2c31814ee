/* gguf_model.h - a model as one GGUF file: which architectures there are, how a configuration and its weights are said, and
 * what a reader gets back.
 *
 * Architectures and names: src/io/gguf.def; the keys stand in docs/formats.md. Sources: github.com/ggml-org/llama.cpp,
 * gguf-py/gguf/constants.py (keys), convert_hf_to_gguf.py (row order, types), src/llama-model.cpp (what is read). Matrices keep
 * their [out,in] layout. In the architecture llama the rows of each head of q and k are reordered, (2, half) -> (half, 2), since its
 * rope turns neighbours; the experts of a layer lie one after the other in one tensor [E,out,in]. Vectors (norms, biases) and
 * routers are f32. A matrix whose rows are no multiple of 32 stays f16 in a q8_0 file. Reals are f32 in the format.
 *
 * RT_E_UNSUPPORTED: what the format's readers would compute otherwise, with the reason. */
#ifndef RETORT_IO_GGUF_MODEL_H
#define RETORT_IO_GGUF_MODEL_H
#include <retort/io/gguf.h>
#include <retort/model/config.h>
#include <retort/tensor/tensor.h>
#include <retort/text/tokenizer.h>

/* ------------------------------------------------------------------ writing */

/* The configuration that a reader of the file will have: the architecture's first family, reals as f32 holds them, as many
 * positions as attention is full for, the tokenizer's special ids (t may be NULL), no training keys. It computes what `c` computes but for
 * that rounding. */
rt_status rt_gguf_config(const rt_model_config *c, const rt_tokenizer *t, rt_model_config *held, rt_error *err) RT_NODISCARD;
/* How a weight is stored in a file of F32, F16, BF16 or Q8_0. */
rt_gguf_type rt_gguf_weight_type(const rt_weight_spec *w, rt_gguf_type file);
/* n numbers of `from` (f32, f16, bf16), from number `first`, as the bytes of a type: rounded to nearest even, or blocks. RT_E_NUMERIC
 * names the tensor that holds what is not finite, or beyond the range of f16. */
rt_status rt_gguf_store(rt_gguf_type t, const rt_tensor *from, int64_t first, int64_t n, void *out, const char *name, rt_error *err) RT_NODISCARD;

/* Puts the tokenizer as keys tokenizer.*: `vocab` tokens (unused ones are named), at most that many may be in use. What a reader would
 * do otherwise is refused; what it does otherwise only at the edge (NFC) is told to `note`. */
typedef struct rt_gguf_notes { /* start with {0} */
    rt_buf text;               /* a line each */
} rt_gguf_notes;
rt_status rt_gguf_put_tokenizer(rt_gguf_meta *m, const rt_tokenizer *t, const rt_model_config *c, const char *chat_template, rt_gguf_notes *notes,
                                rt_error *err) RT_NODISCARD;

typedef struct rt_gguf_options {
    rt_gguf_type type;              /* F32, F16, BF16 or Q8_0 */
    const char *name;               /* general.name, or NULL */
    const rt_tokenizer *tokenizer;  /* or NULL: a file that its readers know to be without */
    const char *chat_template;      /* NULL: what the tokenizer's configuration has */
    const char *const *marks;       /* key, text, key, text, ..., NULL; or NULL */
} rt_gguf_options;
/* Weights in the order of rt_weight_at, in memory at once but written row by row. */
rt_status rt_gguf_model_write(const char *path, const rt_model_config *c, const rt_tensor *const *weights, const rt_gguf_options *o, rt_gguf_notes *notes,
                              rt_error *err) RT_NODISCARD;

/* ------------------------------------------------------------------ reading */

typedef struct rt_gguf_model rt_gguf_model;
/* Every weight of the configuration there with its shape, and no tensor unexplained. */
rt_status rt_gguf_model_open(const char *path, rt_gguf_model **out, rt_error *err) RT_NODISCARD;
void rt_gguf_model_close(rt_gguf_model *m); /* NULL is fine; ends the life of every tensor */
const rt_model_config *rt_gguf_model_config(const rt_gguf_model *m);
const rt_gguf *rt_gguf_model_file(const rt_gguf_model *m);
/* Weight i of rt_weight_at: a view of the file where it lies there as it is computed with; a copy where rows were reordered, or,
 * in a file with quantized tensors, where f32 is made of them (of all, for one dtype). */
const rt_tensor *rt_gguf_model_weight(const rt_gguf_model *m, int64_t i);
/* The file's tokenizer, where it holds tokenizer.huggingface.json; RT_E_INPUT where it does not. */
bool rt_gguf_has_tokenizer(const char *path);
rt_status rt_gguf_tokenizer(const char *path, rt_tokenizer **out, rt_error *err) RT_NODISCARD;
#endif
