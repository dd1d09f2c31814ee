/* test_tokenizer_library.c - ids and texts that Hugging Face's own library gives for the small tokenizers of
 * tokenizer_samples.c: the npm package tokenizers, version 0.23.2, with what the post-processor puts around. */
#include "tokenizer_kit.h"
#include "tokenizer_samples.h"
#include <stdlib.h>
#include <string.h>

static rt_error err;

typedef struct vector {
    const char *sample, *text, *ids; /* with special tokens */
    const char *decoded, *plain;     /* with and without them */
} vector;
static const vector vectors[] = {
    {"llama2", "ab cat", "1 9 5 16", "<s> ab cat", "ab cat"},
    {"llama2", " cat  a", "1 3 16 3 9", "<s>  cat  a", " cat  a"},
    {"llama2", "a</s>cat <s> b", "1 9 2 16 3 1 3 3 5", "<s> a</s> cat <s>  b", "a cat   b"},
    {"llama2", "caf\u00e9 \u00e9x", "1 3 6 4 12 13 0 3 12 13 0", "<s> ca\u00e9<unk> \u00e9<unk>", "ca\u00e9 \u00e9"},
    {"llama2", "catcat ab", "1 16 15 9 5", "<s> catcat ab", "catcat ab"},
    {"mistral", "ab cat", "1 9 5 16", "<s> ab cat", "ab cat"},
    {"mistral", " cat  a", "1 16 3 9", "<s> cat  a", "cat  a"},
    {"mistral", "a</s>cat <s> b", "1 9 2 15 3 1 3 5", "<s> a</s>cat <s> b", "acat  b"},
    {"mistral", "\u00e9 ab", "1 3 12 13 9 5", "<s> \u00e9 ab", "\u00e9 ab"},
    {"mistral", "a </s> cat", "1 9 3 2 16", "<s> a </s> cat", "a  cat"},
    {"metaspace always", "ab cat", "9 5 16", "ab cat", "ab cat"},
    {"metaspace always", " cat  a", "16 3 9", "cat  a", "cat  a"},
    {"metaspace always", "a</s>cat <s> b", "9 2 16 3 1 3 5", "a</s> cat <s> b", "a cat  b"},
    {"metaspace always", "\u2581a b", "9 3 5", "a b", "a b"},
    {"metaspace of old files", "ab cat", "10 16", "ab cat", "ab cat"},
    {"metaspace of old files", " cat  a", "16 3 9", " cat  a", " cat  a"},
    {"metaspace of old files", "a</s>cat zz", "4 2 15 3 0 0", "a</s>cat <unk><unk>", "acat "},
    {"llama3", "hello the cat's", "40 28 31 0 16 35 2", "<|begin|>hello the cat'", "hello the cat'"},
    {"llama3", " the12345", "40 31 33 8 9", "<|begin|> the12345", " the12345"},
    {"llama3", "the'T at\n\n a  the \n", "40 30 2 34 23 1 1 34 0 31 0 1", "<|begin|>the' at\n\n a  the \n",
     "the' at\n\n a  the \n"},
    {"llama3", "caf\u00e9<|end|>the", "40 16 14 39 41 30", "<|begin|>ca\u00e9<|end|>the", "ca\u00e9the"},
    {"llama3", "  12 123 1234", "40 0 0 32 0 33 0 33 8", "<|begin|>  12 123 1234", "  12 123 1234"},
    {"qwen2", "hello the cat's", "19 18 20 20 21 31 0 16 35 2", "hello the cat'", "hello the cat'"},
    {"qwen2", " the12345", "31 5 6 7 8 9", " the12345", " the12345"},
    {"qwen2", "cafe\u0301 caf\u00e9", "16 14 39 0 16 14 39", "ca\u00e9 ca\u00e9", "ca\u00e9 ca\u00e9"},
    {"qwen2", "the\r\n  a<|end|>", "30 1 0 34 41", "the\n  a<|end|>", "the\n  a"},
    {"gpt2 with a space in front", "the cat", "31 0 16 35", " the cat", " the cat"},
    {"gpt2 with a space in front", "", "", "", ""},
    {"gpt2 with a space in front", " the", "31", " the", " the"},
    {"gpt2 with a space in front", "a 12  ", "34 0 32 0 0", " a 12  ", " a 12  "},
    {"byte-level normalizer", "the cat cafe\u0301", "30 0 16 35 0 42", "the cat caf\u00e9", "the cat caf\u00e9"},
    {"byte-level normalizer", "the caf\u00e9<|end|>at", "30 0 42 41 35", "the caf\u00e9<|end|>at",
     "the caf\u00e9<|end|>at"},
    {"byte-level normalizer", "12 123", "32 0 33", "12 123", "12 123"},
    {"clip", "Cat's  CAT AT", "0 14 7 0 14 13 0", "<|end|>cat ' <|end|>cat at <|end|>", "cat ' cat at"},
    {"clip", "caf\u00e9 cat\u00e9 11", "0 4 2 0 15 16 4 2 5 15 16 12 12 0",
     "<|end|>ca<|end|>\u00c3\u00a9 cat\u00c3\u00a9 1 1 <|end|>", "ca\u00c3\u00a9 cat\u00c3\u00a9 1 1"},
    {"clip", "b at!", "0 9 13 0 0", "<|end|>b at <|end|><|end|>", "b at"},
    {"prefix", "at bat tab", "7 9 3 4 5", "at bat tab", "at bat tab"},
    {"prefix", "bat xyz t", "9 0 3", "bat <unk> t", "bat <unk> t"},
    {"prefix", "a-bat", "1 0 9", "a <unk> bat", "a <unk> bat"},
    {"t5", "the cat", "4 12 1", "the cat</s>", "the cat"},
    {"t5", "caf\u00e9 cafe\u0301 \u2122", "5 19 2 10 5 19 2 10 3 17 16 1", "ca<unk>e ca<unk>e TM</s>", "cae cae TM"},
    {"t5", "\u2460\tcat\r\nhe \u00ad", "3 18 12 3 13 1", "1 cat he</s>", "1 cat he"},
    {"t5", "a\u00adt \uff21\u0301 xyz", "3 6 3 15 3 2 1", "at A <unk></s>", "at A "},
    {"t5", "", "1", "</s>", ""},
    {"t5", " the  xx the", "4 3 2 4 1", "the <unk> the</s>", "the  the"},
    {"albert", "The CAT", "0 4 11 1", "<pad> the cat</s>", "the cat"},
    {"albert", "caf\u00e9 \u2460", "0 5 17 2 10 3 16 1", "<pad> ca<unk>e 1</s>", "cae 1"},
    {"albert", "hexz M\u00fcz", "0 3 12 22 23 3 2 1", "<pad> hexz <unk></s>", "hexz "},
    {"albert", "``a  t", "0 3 2 17 3 8 1", "<pad> <unk>a t</s>", "a t"},
    {"albert", "yy the yy", "0 3 2 4 3 2 1", "<pad> <unk> the <unk></s>", " the "},
    {"bert", "The cats, unaffable!", "2 4 5 6 12 7 8 9 11 3", "[CLS] the cats, unaffable! [SEP]",
     "the cats, unaffable!"},
    {"bert", "caf\u00e9 CAFE\u0301 \u4e2d\u6587", "2 10 10 14 15 3", "[CLS] cafe cafe \u4e2d \u6587 [SEP]",
     "cafe cafe \u4e2d \u6587"},
    {"bert", "do not a.", "2 16 18 20 13 3", "[CLS] do not a. [SEP]", "do not a."},
    {"bert", "unaffablecats cat", "2 1 5 3", "[CLS] [UNK] cat [SEP]", "cat"},
    {"bert", "x\007\u200bcat\u00a0a", "2 1 20 3", "[CLS] [UNK] a [SEP]", "a"},
    {"bert", "[CLS] the [SEP]", "2 2 4 3 3", "[CLS] [CLS] the [SEP] [SEP]", "the"},
    {"word level", "the cat 12", "1 2 4 0", "the cat 1 <unk>", "the cat 1 <unk>"},
    {"word level", "a.. th'e \u200bcat", "3 7 10 8 9 2", "a .. th ' e cat", "a .. th ' e cat"},
    {"word level", "a\u200db", "3 0", "a <unk>", "a <unk>"},
    {"word level, runs", "  the cat.. 12", "1 2 7 5", "the cat .. 12", "the cat .. 12"},
    {"word level, runs", "th e  12.a", "10 9 5 6 3", "th e 12 . a", "th e 12 . a"},
    {"word level, fixed length", "thea\uff112..", "10 0 5 7", "th <unk> 12 ..", "th <unk> 12 .."},
    {"word level, fixed length", "\u2460\u2461e", "5 9", "12 e", "12 e"},
    {"flags", "at <w> a<w> <w>", "4 5 9 5 1 0 0 0 5 9", "at <w> a<unk><unk><unk> <w>", "at <w> a<unk><unk><unk> <w>"},
    {"flags", "at <l>  <r>  at", "4 10 5 5 11 4", "at<l>  <r>at", "at<l>  <r>at"},
    {"flags", "a <lr> <lr> b", "1 12 12 2", "a<lr><lr>b", "a<lr><lr>b"},
    {"flags", "<n><N> A", "13 13 5 1", "<n><n> a", "<n><n> a"},
    {"flags", "at a at a, xat a", "14 5 14 0 18 4 5 1", "at a at a<unk> xat a", "at a at a<unk> xat a"},
    {"flags", "a <l>b a<l>b bbb bbbb", "1 10 2 5 1 10 2 5 17 5 17 2", "a<l>b a<l>b bbb bbbb", "a<l>b a<l>b  b"},
    {"flags", "<r> x  x at", "11 18 18 4", "<r> x xat", "<r> x xat"},
};

static bool decodes_to(const rt_tokenizer *t, const char *ids, bool skip, const char *wanted) {
    rt_ids list = {0};
    for (const char *p = ids; *p; p += strcspn(p, " "), p += strspn(p, " "))
        rt_ids_add(&list, (int32_t)strtol(p, NULL, 10));
    bool same = tok_decodes(t, list.data, list.size, skip, wanted);
    rt_ids_free(&list);
    return same;
}

static void the_library_agrees(void) {
    for (size_t i = 0; i < sizeof vectors / sizeof *vectors; i++) {
        const vector *v = &vectors[i];
        rt_tokenizer *t = tok_from_text(tokenizer_sample_json(v->sample));
        const char *ids = tok_ids(t, v->text, true);
        RT_CHECK(strcmp(ids, v->ids) == 0, "%s: '%s' gives %s, expected %s", v->sample, v->text, ids, v->ids);
        RT_CHECK(decodes_to(t, v->ids, false, v->decoded), "%s: %s, expected '%s'", v->sample, v->ids, v->decoded);
        RT_CHECK(decodes_to(t, v->ids, true, v->plain), "%s: %s, expected '%s'", v->sample, v->ids, v->plain);
        rt_encoder *e = NULL;
        RT_OK_OR_FAIL(rt_encoder_new(&e, t, &err));
        RT_CHECK(tok_check_text(e, t, v->text, strlen(v->text), NULL, NULL), "%s: spans of '%s'", v->sample, v->text);
        rt_encoder_free(e), rt_tokenizer_free(t);
    }
}

RT_SUITE(tokenizer_library) { RT_TEST(the_library_agrees); }
