/* bpe_train.h - trains a byte-level BPE tokenizer and writes it as a tokenizer.json that ours and Hugging Face's
 * library read.
 *
 * Words are cut by an expression; then the most frequent adjacent pair is merged, again and again (Sennrich et al.
 * 2016). Ties go to the lower ids, so a text and its options give one tokenizer. Ids: <|bos|> 0 and <|eos|> 1 if asked
 * for, other special tokens as they are listed, the 256 bytes in the order of their visible characters, then the merges
 * as they were learned. */
#ifndef RETORT_TEXT_BPE_TRAIN_H
#define RETORT_TEXT_BPE_TRAIN_H
#include <retort/base/mem.h>
#include <retort/base/status.h>

/* What cuts words: the expressions of three families. They differ in digits (all in a run, three at most, one by one),
 * in line ends, and in the mark before a word that GPT-2's leaves alone. */
typedef enum rt_word_pattern { RT_WORDS_GPT2, RT_WORDS_LLAMA3, RT_WORDS_QWEN2 } rt_word_pattern;

typedef struct rt_bpe_train_options {
    int32_t vocab;     /* ids in all; fewer when the text runs out of pairs */
    int64_t min_count; /* a pair must occur so often to be merged; 0 means 2 */
    bool bos_eos;      /* special tokens <|bos|> and <|eos|> */
    bool add_special;  /* with bos_eos: a template that puts them around a text */
    rt_word_pattern pattern;
    const char *const *special; /* [special_count] further special tokens, borrowed; different, none of them empty */
    int special_count;
} rt_bpe_train_options;

/* Appends the file's bytes to json. text: UTF-8, trained on as one text. RT_E_ARG: vocab below the 256 bytes and
 * specials; a special token that is empty, no UTF-8, given twice or a byte's character. */
rt_status rt_bpe_train(const char *text, size_t bytes, const rt_bpe_train_options *options, rt_buf *json,
                       rt_error *err) RT_NODISCARD;
#endif
