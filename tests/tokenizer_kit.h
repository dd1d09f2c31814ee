/* tokenizer_kit.h - what the suites of tokenizers share: small tokenizer.json texts, and ways to run them. */
#ifndef RETORT_TESTS_TOKENIZER_KIT_H
#define RETORT_TESTS_TOKENIZER_KIT_H
#include "harness.h"
#include <retort/text/tokenizer.h>

/* SentencePiece style; PRE, POST and DECODER may be replaced. Ids: 0 <unk>, 1 <s>, 2 </s>, 3 mark, 4 a, 5 b, 6 mark+a,
 * 7 ab, 8 mark+ab, 9.. the bytes of U+00E9; 11 [M], which is added. */
#define SMALL(normalizer, pre, decoder, merges)                                                                        \
    "{\"added_tokens\": [{\"id\": 0, \"content\": \"<unk>\", \"special\": true}, {\"id\": 1, \"content\": \"<s>\", "   \
    "\"special\": true},"                                                                                              \
    "{\"id\": 2, \"content\": \"</s>\", \"special\": true}, {\"id\": 11, \"content\": \"[M]\", \"lstrip\": true, "     \
    "\"rstrip\": true,"                                                                                                \
    "\"normalized\": false}], \"normalizer\": " normalizer ", \"pre_tokenizer\": " pre                                 \
    ", \"post_processor\": {\"type\":"                                                                                 \
    "\"TemplateProcessing\", \"single\": [{\"SpecialToken\": {\"id\": \"<s>\", \"type_id\": 0}}, {\"Sequence\": "      \
    "{\"id\": \"A\"}}],"                                                                                               \
    "\"special_tokens\": {\"<s>\": {\"ids\": [1]}}}, \"decoder\": " decoder                                            \
    ", \"model\": {\"type\": \"BPE\", \"unk_token\": \"<unk>\","                                                       \
    "\"fuse_unk\": true, \"byte_fallback\": true, \"vocab\": {\"<unk>\": 0, \"<s>\": 1, \"</s>\": 2, \"\u2581\": 3, "  \
    "\"a\": 4, \"b\": 5,"                                                                                              \
    "\"\u2581a\": 6, \"ab\": 7, \"\u2581ab\": 8, \"<0xC3>\": 9, \"<0xA9>\": 10}, \"merges\": " merges "}}"
#define SP_NORMALIZER                                                                                                  \
    "{\"type\": \"Sequence\", \"normalizers\": [{\"type\": \"Prepend\", \"prepend\": \"\u2581\"},"                     \
    "{\"type\": \"Replace\", \"pattern\": {\"String\": \" \"}, \"content\": \"\u2581\"}]}"
#define SP_DECODER                                                                                                     \
    "{\"type\": \"Sequence\", \"decoders\": [{\"type\": \"Replace\", \"pattern\": {\"String\": \"\u2581\"}, "          \
    "\"content\": \" \"},"                                                                                             \
    "{\"type\": \"ByteFallback\"}, {\"type\": \"Fuse\"}, {\"type\": \"Strip\", \"content\": \" \", \"start\": 1, "     \
    "\"stop\": 0}]}"
#define MERGES       "[\"\u2581 a\", [\"a\", \"b\"], [\"\u2581\", \"ab\"]]"
#define SMALL_SP     SMALL(SP_NORMALIZER, "null", SP_DECODER, MERGES)
#define META(scheme) "{\"type\": \"Metaspace\", \"replacement\": \"\u2581\", \"prepend_scheme\": \"" scheme "\"}"

rt_tokenizer *tok_from_text(const char *json); /* fails the test when it does not load; NULL then */
rt_tokenizer *tok_fixture(const char *name);   /* tokenizers/NAME of the fixtures; NULL after a loud skip */
extern const char tok_rhyme[];
rt_tokenizer *tok_trained(int32_t vocab, rt_buf *json); /* on the rhyme, with bos and eos around; its file in json */
char *tok_read_file(const char *path, size_t *n);       /* rt_free */

/* The ids and their begins as "id@begin id@begin ..."; static buffer. */
const char *tok_encoded(const rt_tokenizer *t, const char *text, bool special);
/* The ids alone, "id id ..."; static buffer. An error's text when it is refused. */
const char *tok_ids(const rt_tokenizer *t, const char *text, bool special);
bool tok_decodes(const rt_tokenizer *t, const int32_t *ids, int64_t n, bool skip, const char *wanted);
/* What every text must satisfy: ids as wanted (NULL: any), the same with and without spans and cache, spans that tile
 * the text, decode gives `back` (NULL: no claim). */
bool tok_check_text(rt_encoder *e, const rt_tokenizer *t, const char *text, size_t n, const rt_ids *wanted,
                    const char *back);
#endif
