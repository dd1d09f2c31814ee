/* hf_generation.h - which ids end a text, as a model directory says. */
#ifndef RETORT_IO_HF_GENERATION_H
#define RETORT_IO_HF_GENERATION_H
#include <retort/text/tokenizer.h>

/* Appends the ids of eos_token_id (one, or a list) of config.json and of generation_config.json, each once. Either file, or the
 * key, may be absent. RT_E_INPUT: a damaged file, or a value that is no id. */
rt_status rt_hf_end_ids(const char *directory, rt_ids *out, rt_error *err) RT_NODISCARD;
#endif
