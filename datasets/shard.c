/* shard.c - `retort data shard`: texts to a token shard, which trains and evaluates without being tokenized again. */
#include <retort/base/command.h>
#include <retort/text/encode.h>
#include <time.h>

typedef struct arguments {
    const char *tokenizer, *out, *separator, *text_key, *csv_column, *chat_template;
    bool csv_header;
    rt_strings inputs;
} arguments;

static const rt_option options[] = {
    RT_OPT_STRINGS(arguments, inputs, NULL, "texts: .txt, .jsonl (texts or conversations), .csv, .tsv, also .gz; -: standard input", .positional = true,
                   .operand = "INPUT...", .required = true),
    RT_OPT_STRING(arguments, tokenizer, NULL, "folder with tokenizer.json, or the file", .letter = 't',
                  .operand = "DIR", .required = true),
    RT_OPT_STRING(arguments, out, NULL, "shard to write, with .json and .spans beside it", .letter = 'o',
                  .operand = "X.bin", .required = true),
    RT_OPT_STRING(arguments, separator, "none",
                  "between the documents of a text: none, line, blank_line, or a text of your own", .operand = "TEXT"),
    RT_OPT_STRING(arguments, text_key, "text", "the member of a .jsonl record that holds the text, a.b for b within a; without it messages", .operand = "KEY"),
    RT_OPT_STRING(arguments, csv_column, "text", "the column of a .csv or .tsv: its name, or its number from 1", .operand = "COLUMN"),
    RT_OPT_FLAG(arguments, csv_header, "yes", "a .csv or .tsv begins with the names of its columns"),
    RT_OPT_STRING(arguments, chat_template, NULL, "for conversations: a file, or one of the tokenizer's by name", .operand = "TEMPLATE"),
    RT_OPT_END};

static double seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static rt_status run(rt_context *c, const void *given, rt_error *err) {
    const arguments *a = given;
    rt_corpus_options o = {.separator = a->separator, .key = a->text_key, .column = a->csv_column, .no_header = !a->csv_header};
    rt_shard_info n;
    rt_tokenizer *t;
    double start = seconds();
    (void)c;
    RT_TRY(rt_tokenizer_load(&t, a->tokenizer, err));
    rt_status s = rt_chat_open(&o.chat, t, a->chat_template, err);
    if (s == RT_OK) s = rt_shard_make(a->out, a->inputs.item, (int)a->inputs.count, &o, t, &n, err);
    rt_chat_free(o.chat);
    rt_tokenizer_free(t);
    if (s == RT_OK)
        rt_log(RT_LOG_INFO, "%s: %lld documents, %lld tokens, %.3f bytes a token (%.1f MB/s)", a->out,
               (long long)n.documents, (long long)n.tokens, (double)n.bytes / (double)n.tokens,
               (double)n.bytes / (seconds() - start) * 1e-6);
    if (s == RT_OK && n.masked)
        rt_log(RT_LOG_INFO, "%lld of them are targets (%.1f %%): what assistants say", (long long)n.unmasked, 100.0 * (double)n.unmasked / (double)n.tokens);
    return s;
}

const rt_command rt_command_data_shard = {
    "data shard",
    "texts to a token shard",
    "--tokenizer DIR --out X.bin INPUT... [options]",
    "The layout is llm.c's (256 int32 of header, then 16- or 32-bit ids). Beside it lie X.bin.json (counts, the "
    "tokenizer's hash)\n"
    "and X.bin.spans (the bytes of text each token covers, and where documents begin). Conversations (records with\n"
    "messages or conversations) are rendered with the tokenizer's chat template, and X.bin.mask says what of them is learnt.",
    options,
    sizeof(arguments),
    run};
