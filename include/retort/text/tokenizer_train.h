/* tokenizer_train.h - a tokenizer from text files: reads them, trains (bpe_train.h), writes a folder that loads again.
 */
#ifndef RETORT_TEXT_TOKENIZER_TRAIN_H
#define RETORT_TEXT_TOKENIZER_TRAIN_H
#include <retort/text/bpe_train.h>
#include <retort/text/corpus.h>
#include <stdint.h>

/* Trains on the documents of the files, at most `limit` bytes of them (0: all; whole documents, but for the last, which
 * is cut between characters), and writes dir/tokenizer.json and tokenizer_config.json. Special tokens: <|bos|>,
 * <|eos|>; nothing is put around a text unless asked for. *size: ids in the vocabulary, fewer than `vocab` when the
 * text runs out of pairs. RT_E_ARG: vocab below 258. */
rt_status rt_tokenizer_train(const char *const *paths, int count, const rt_corpus_options *o, int64_t limit,
                             int32_t vocab, const char *dir, int32_t *size, rt_error *err) RT_NODISCARD;
/* The same with options of your own: pattern, special tokens. */
rt_status rt_tokenizer_train_as(const char *const *paths, int count, const rt_corpus_options *o, int64_t limit,
                                const rt_bpe_train_options *how, const char *dir, int32_t *size,
                                rt_error *err) RT_NODISCARD;
#endif
