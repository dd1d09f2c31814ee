/* corpus_private.h - between corpus_set.c, which opens a job's data, and corpus_sketch.c, which only looks at it. */
#ifndef RT_TRAIN_CORPUS_PRIVATE_H
#define RT_TRAIN_CORPUS_PRIVATE_H
#include <retort/train/corpus_set.h>

rt_status rt_corpus_set_check(const rt_job *job, rt_error *err) RT_NODISCARD;
rt_status rt_corpus_set_tokenizer(rt_corpus_set *c, const rt_job_data *d, const char *fallback,
                                  rt_error *err) RT_NODISCARD;
rt_status rt_corpus_set_load(rt_token_stream **s, rt_corpus_set *c, const rt_job_data *d, const rt_strings *files,
                             rt_error *err) RT_NODISCARD;
#endif
