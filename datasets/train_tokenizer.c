/* train_tokenizer.c - `retort data train-tokenizer`: a byte-level BPE from texts. */
#include <retort/base/command.h>
#include <retort/text/tokenizer_train.h>

typedef struct arguments {
    rt_strings data;
    const char *out, *separator, *text_key;
    int64_t vocab, limit;
} arguments;

static const rt_option options[] = {
    RT_OPT_STRINGS(arguments, data, NULL, "texts to learn from: .txt, .jsonl, also .gz", .operand = "FILE...",
                   .required = true),
    RT_OPT_STRING(arguments, out, NULL, "folder to write to, made if needed", .letter = 'o', .operand = "DIR",
                  .required = true),
    RT_OPT_INT(arguments, vocab, "4096", 258, 1 << 20, "ids in all: 256 bytes, <|bos|>, <|eos|>, and merges"),
    RT_OPT_STRING(arguments, separator, "none",
                  "between the documents of a text: none, line, blank_line, or a text of your own", .operand = "TEXT"),
    RT_OPT_STRING(arguments, text_key, "text", "the member of a .jsonl record that holds the text", .operand = "KEY"),
    RT_OPT_BYTES(arguments, limit, "256MiB", 0, 0, "bytes of text to use; 0: all"),
    RT_OPT_END};

static rt_status run(rt_context *c, const void *given, rt_error *err) {
    const arguments *a = given;
    rt_corpus_options o = {.separator = a->separator, .key = a->text_key};
    int32_t size;
    (void)c;
    RT_TRY(rt_tokenizer_train(a->data.item, (int)a->data.count, &o, a->limit, (int32_t)a->vocab, a->out, &size, err));
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
