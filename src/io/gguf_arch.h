/* gguf_arch.h - the table of gguf.def, shared by writing and reading. */
#ifndef IO_GGUF_ARCH_H
#define IO_GGUF_ARCH_H
#include <retort/model/config.h>
#include <retort/text/tokenizer.h>

#define RT_GGUF_ROPE_FREQS "rope_freqs.weight" /* f32 [head_dim/2]: by what llama3's rule divides each frequency */
#define RT_GGUF_LLAMA3 "retort.rope.llama3."   /* the rule's own numbers, f64, which the tensor alone does not tell */

typedef struct gguf_arch {
    const char *family, *architecture;
    bool interleaved, norm_topk;
    const char *names[RT_WEIGHT_KINDS]; /* printf patterns of the layer; NULL: the architecture has no such tensor */
} gguf_arch;
const gguf_arch *rt_gguf_arch_of(const char *family);                         /* NULL: cannot be written */
const gguf_arch *rt_gguf_arch_named(const char *architecture, size_t n, bool moe); /* NULL: cannot be read */
/* The factors of llama3's rule; a model that has it. */
void rt_gguf_rope_factors(const rt_model_config *c, float *factor /* [head_dim/2] */);
/* The tokenizer's where it has them, else the configuration's. */
void rt_gguf_special_ids(const rt_tokenizer *t, const rt_model_config *c, int64_t *bos, int64_t *eos);
enum { RT_GGUF_MAX_HALF_HEAD = 1 << 11 };
#endif
