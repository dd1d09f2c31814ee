/* train_tokenizer.c - `retort data train-tokenizer`: a byte-level BPE from texts. */
#include <retort/base/command.h>
#include <retort/text/tokenizer_train.h>

typedef struct arguments {
    rt_strings data, special;
    const char *out, *separator, *text_key;
    int64_t vocab, limit;
    int pattern;
} arguments;

static const char *const patterns[] = {"gpt2", "llama3", "qwen2", NULL}; /* in the order of rt_word_pattern */

static const rt_option options[] = {
    RT_OPT_STRINGS(arguments, data, NULL, "texts to learn from: .txt, .jsonl, .csv, .tsv, also .gz", .operand = "FILE...",
                   .required = true),
    RT_OPT_STRING(arguments, out, NULL, "folder to write to, made if needed", .letter = 'o', .operand = "DIR",
                  .required = true),
    RT_OPT_INT(arguments, vocab, "4096", 258, 1 << 20, "ids in all: 256 bytes, <|bos|>, <|eos|>, and merges"),
    RT_OPT_ENUM(arguments, pattern, "gpt2", patterns,
                "what cuts words: gpt2, llama3 (three digits at most), qwen2 (single digits)"),
    RT_OPT_STRINGS(arguments, special, "[]", "further special tokens, after <|bos|> and <|eos|>",
                   .operand = "TOKEN..."),
    RT_OPT_STRING(arguments, separator, "none",
                  "between the documents of a text: none, line, blank_line, or a text of your own", .operand = "TEXT"),
    RT_OPT_STRING(arguments, text_key, "text", "the member of a .jsonl record that holds the text", .operand = "KEY"),
    RT_OPT_BYTES(arguments, limit, "256MiB", 0, 0, "bytes of text to use; 0: all"),
    RT_OPT_END};

static rt_status run(rt_context *c, const void *given, rt_error *err) {
    const arguments *a = given;
    rt_corpus_options o = {.separator = a->separator, .key = a->text_key};
    rt_bpe_train_options how = {.vocab = (int32_t)a->vocab,
                                .bos_eos = true,
                                .pattern = (rt_word_pattern)a->pattern,
                                .special = a->special.item,
                                .special_count = (int)a->special.count};
    int32_t size;
    (void)c;
    RT_TRY(rt_tokenizer_train_as(a->data.item, (int)a->data.count, &o, a->limit, &how, a->out, &size, err));
    rt_log(RT_LOG_INFO, "%s/tokenizer.json: byte-level BPE, %d ids", a->out, size);
    if (size < a->vocab)
        rt_log(RT_LOG_WARNING, "the text has no more pairs to merge: %d ids instead of %lld", size,
               (long long)a->vocab);
    return RT_OK;
}

const rt_command rt_command_data_train_tokenizer = {"data train-tokenizer",
                                                    "a byte-level BPE tokenizer from texts",
                                                    "--data FILE... --out DIR [options]",
                                                    NULL,
                                                    options,
                                                    sizeof(arguments),
                                                    run};
