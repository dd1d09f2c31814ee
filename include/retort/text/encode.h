/* encode.h - a tokenizer applied to files: token streams, shards, lines of ids; and what a shard holds.
 *
 * What a token covers is exact: the ranges of the tokenizer's spans, which follow one another through the whole
 * document; special tokens cover nothing, also where the text spells them (decision 16). */
#ifndef RETORT_TEXT_ENCODE_H
#define RETORT_TEXT_ENCODE_H
#include <retort/text/corpus.h>
#include <retort/text/token_stream.h>
#include <retort/text/tokenizer.h>

/* The rt_vocab of a tokenizer (borrowed: its hash), with token_bytes from rt_tokenizer_token_bytes, owned. */
typedef struct rt_tokenizer_vocab {
    rt_vocab vocab;
    uint16_t *token_bytes; /* owned [vocab.size] */
} rt_tokenizer_vocab;
rt_status rt_tokenizer_vocab_make(rt_tokenizer_vocab *v, const rt_tokenizer *t, rt_error *err) RT_NODISCARD;
void rt_tokenizer_vocab_free(rt_tokenizer_vocab *v); /* all-zero is fine */

/* Files to one stream, in the order given: X.bin are shards, anything else is text (corpus.h; `o` may be NULL). `v` and
 * `t` must outlive the stream; both NULL: shards only, and their ids are not checked against a vocabulary. */
rt_status rt_token_stream_load(rt_token_stream **s, const char *const *paths, int count, const rt_corpus_options *o,
                               const rt_tokenizer *t, const rt_tokenizer_vocab *v, rt_error *err) RT_NODISCARD;
/* The front of one text file: documents until they have so many tokens. */
rt_status rt_token_stream_sample(rt_token_stream **s, const char *path, int64_t tokens, const rt_corpus_options *o,
                                 const rt_tokenizer *t, const rt_tokenizer_vocab *v, rt_error *err) RT_NODISCARD;
bool rt_is_shard(const char *path); /* by its name: X.bin */
/* Text files to one shard; `info` may be NULL. */
rt_status rt_shard_make(const char *out, const char *const *paths, int count, const rt_corpus_options *o,
                        const rt_tokenizer *t, rt_shard_info *info, rt_error *err) RT_NODISCARD;

/* Receives finished pieces of output. */
typedef rt_status (*rt_text_sink)(void *context, const char *text, size_t bytes, rt_error *err);
/* Each document as one line of space-separated ids. With o->separator "line" and keep_empty there is a line for every
 * line. */
rt_status rt_encode_files(const char *const *paths, int count, const rt_corpus_options *o, const rt_tokenizer *t,
                          bool add_special, rt_text_sink sink, void *context, rt_error *err) RT_NODISCARD;
/* The inverse: each line of ids as its text and a line end. RT_E_INPUT names file, line and column of what is no id. */
rt_status rt_decode_files(const char *const *paths, int count, const rt_tokenizer *t, bool skip_special,
                          rt_text_sink sink, void *context, rt_error *err) RT_NODISCARD;
/* The lines of ids of a file ("-": standard input), blank ones left out; an error of fn's gets file and line in front. */
typedef rt_status (*rt_id_line_fn)(void *context, const int32_t *ids, int64_t n, rt_error *err);
rt_status rt_id_lines(const char *path, rt_id_line_fn fn, void *context, rt_error *err) RT_NODISCARD;
/* What a shard holds, for people ("key: value" lines), with the first `show` tokens; `t` may be NULL. */
rt_status rt_shard_inspect(const char *path, const rt_tokenizer *t, int64_t show, rt_buf *out,
                           rt_error *err) RT_NODISCARD;
#endif
