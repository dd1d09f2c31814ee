/* bpe_train.h - trains a byte-level BPE tokenizer and writes it as a tokenizer.json that ours and Hugging Face's
 * library read.
 *
 * Words are cut by GPT-2's expression; then the most frequent adjacent pair is merged, again and again (Sennrich et al.
 * 2016). Ties go to the lower ids, so a text and its options give one tokenizer. Ids: <|bos|> 0 and <|eos|> 1 if asked
 * for, the 256 bytes in the order of their visible characters, then the merges as they were learned. */
#ifndef RETORT_TEXT_BPE_TRAIN_H
#define RETORT_TEXT_BPE_TRAIN_H
#include <retort/base/mem.h>
#include <retort/base/status.h>

typedef struct rt_bpe_train_options {
    int32_t vocab;     /* ids in all; fewer when the text runs out of pairs */
    int64_t min_count; /* a pair must occur so often to be merged; 0 means 2 */
    bool bos_eos;      /* special tokens <|bos|> and <|eos|> */
    bool add_special;  /* with bos_eos: a template that puts them around a text */
} rt_bpe_train_options;

/* Appends the file's bytes to json. text: UTF-8, trained on as one text. RT_E_ARG: vocab below the 256 bytes and
 * specials. */
rt_status rt_bpe_train(const char *text, size_t bytes, const rt_bpe_train_options *options, rt_buf *json,
                       rt_error *err) RT_NODISCARD;
#endif
