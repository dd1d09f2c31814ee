/* decode.c - `retort data decode`: lines of token ids to texts, the inverse of `data encode`. */
#include <retort/base/command.h>
#include <retort/text/encode.h>

typedef struct arguments {
    const char *tokenizer;
    rt_strings inputs;
    bool skip_special_tokens;
} arguments;

static const rt_option options[] = {
    RT_OPT_STRINGS(arguments, inputs, "[-]", "lines of ids, also .gz; -: standard input", .positional = true,
                   .operand = "INPUT..."),
    RT_OPT_STRING(arguments, tokenizer, NULL, "folder with tokenizer.json, or the file", .letter = 't',
                  .operand = "DIR", .required = true),
    RT_OPT_FLAG(arguments, skip_special_tokens, "no", "leave out bos, eos and their like"), RT_OPT_END};

static rt_status run(rt_context *c, const void *given, rt_error *err) {
    const arguments *a = given;
    rt_tokenizer *t;
    RT_TRY(rt_tokenizer_load(&t, a->tokenizer, err));
    rt_status s = rt_decode_files(a->inputs.item, (int)a->inputs.count, t, a->skip_special_tokens, rt_out_sink, c, err);
    rt_tokenizer_free(t);
    return s;
}

const rt_command rt_command_data_decode = {"data decode",
                                           "lines of token ids to texts",
                                           "--tokenizer DIR [INPUT...] [options]",
                                           "Prints the text of each line of ids and a line end.",
                                           options,
                                           sizeof(arguments),
                                           run};
