/* gguf_tokenizer.h - the two kinds of tokenizer that GGUF can say, each in a file of its own. */
#ifndef IO_GGUF_TOKENIZER_H
#define IO_GGUF_TOKENIZER_H
#include <jansson.h>
#include <retort/io/gguf_model.h>

typedef struct gguf_vocab {
    rt_gguf_meta *meta;
    const rt_tokenizer *t;
    const rt_model_config *c;
    const json_t *root;   /* tokenizer.json */
    int32_t *types;       /* [vocab_size], of llama.h's llama_token_type */
    rt_gguf_notes *notes;
} gguf_vocab;
enum { TOKEN_NORMAL = 1, TOKEN_UNKNOWN, TOKEN_CONTROL, TOKEN_USER_DEFINED, TOKEN_UNUSED, TOKEN_BYTE };

/* tokenizer.ggml.model "gpt2": byte-level BPE; puts pre and merges. */
rt_status rt_gguf_put_byte_level(const gguf_vocab *v, rt_error *err) RT_NODISCARD;
/* tokenizer.ggml.model "llama": SentencePiece BPE with bytes; puts scores and the space prefix, and marks the bytes. */
rt_status rt_gguf_put_sentencepiece(const gguf_vocab *v, rt_error *err) RT_NODISCARD;

/* Merge i as its two tokens' texts. */
typedef struct gguf_merge {
    const char *left, *right;
    size_t left_bytes, right_bytes;
} gguf_merge;
bool rt_gguf_merge_at(const json_t *merges, size_t i, gguf_merge *out);
rt_status rt_gguf_unsaid(rt_error *err, const char *format, ...) RT_PRINTF(2, 3); /* "the tokenizer's ...; --no-tokenizer leaves it out" */
void rt_gguf_note(rt_gguf_notes *n, const char *format, ...) RT_PRINTF(2, 3);
/* "type" of an object; "" of what is none. */
const char *rt_gguf_step(const json_t *step);
#endif
