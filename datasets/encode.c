/* encode.c - `retort data encode`: texts to lines of token ids. */
#include <retort/base/command.h>
#include <retort/text/encode.h>

typedef struct arguments {
    const char *tokenizer, *text_key, *csv_column, *chat_template;
    rt_strings inputs;
    bool jsonl, whole, add_special_tokens, csv_header;
} arguments;

static const rt_option options[] = {
    RT_OPT_STRINGS(arguments, inputs, "[-]", "texts, also .gz; -: standard input", .positional = true,
                   .operand = "INPUT..."),
    RT_OPT_STRING(arguments, tokenizer, NULL, "folder with tokenizer.json, or the file", .letter = 't',
                  .operand = "DIR", .required = true),
    RT_OPT_FLAG(arguments, jsonl, "no", "inputs are JSON records, one a line, whatever their names"),
    RT_OPT_STRING(arguments, text_key, "text", "the member of a record that holds the text", .operand = "KEY"),
    RT_OPT_STRING(arguments, csv_column, "text", "the column of a .csv or .tsv: its name, or its number from 1", .operand = "COLUMN"),
    RT_OPT_FLAG(arguments, csv_header, "yes", "a .csv or .tsv begins with the names of its columns"),
    RT_OPT_STRING(arguments, chat_template, NULL, "for conversations: a file, or one of the tokenizer's by name", .operand = "TEMPLATE"),
    RT_OPT_FLAG(arguments, whole, "no", "a file is one text, not one a line"),
    RT_OPT_FLAG(arguments, add_special_tokens, "no", "with what the tokenizer puts around a text (bos, eos)"),
    RT_OPT_END};

static rt_status run(rt_context *c, const void *given, rt_error *err) {
    const arguments *a = given;
    rt_corpus_options o = {.format = a->jsonl   ? RT_CORPUS_JSONL
                                     : a->whole ? RT_CORPUS_TEXT
                                                : RT_CORPUS_AUTO,
                           .separator = a->whole ? "none" : "line",
                           .key = a->text_key,
                           .column = a->csv_column,
                           .no_header = !a->csv_header,
                           .keep_empty = true};
    rt_tokenizer *t;
    if (a->jsonl && a->whole) return rt_fail(err, RT_E_USAGE, "--jsonl and --whole exclude each other");
    RT_TRY(rt_tokenizer_load(&t, a->tokenizer, err));
    rt_status s = rt_chat_open(&o.chat, t, a->chat_template, err);
    if (s == RT_OK) s = rt_encode_files(a->inputs.item, (int)a->inputs.count, &o, t, a->add_special_tokens, rt_out_sink, c, err);
    rt_chat_free(o.chat);
    rt_tokenizer_free(t);
    return s;
}

const rt_command rt_command_data_encode = {
    "data encode",
    "texts to lines of token ids",
    "--tokenizer DIR [INPUT...] [options]",
    "Prints a line of space-separated ids for every line of a text, every record of a .jsonl, or (--whole) every file.",
    options,
    sizeof(arguments),
    run};
