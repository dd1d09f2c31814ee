/* tokenizer_samples.h - small tokenizer.json texts: Llama 2 and 3, Mistral, Qwen2, GPT-2, CLIP, T5, ALBERT, BERT in
 * miniature, and what else there is of models, steps and flags. Suites compare them with Hugging Face's library, fuzz
 * and damage them. */
#ifndef RETORT_TESTS_TOKENIZER_SAMPLES_H
#define RETORT_TESTS_TOKENIZER_SAMPLES_H

typedef struct tokenizer_sample {
    const char *name, *json;
} tokenizer_sample;
extern const tokenizer_sample tokenizer_samples[];   /* the last has no name */
const char *tokenizer_sample_json(const char *name); /* fails the test when there is none */
#endif
