/* synth.c - `retort data synth`: stories from a grammar whose entropy is known exactly, so that a model's distance from
 * the best possible one can be read off; and a tokenizer trained on them. */
#include <retort/base/command.h>
#include <retort/text/synth.h>
#include <retort/text/tokenizer_train.h>

typedef struct arguments {
    const char *out;
    int64_t bytes, seed, vocab;
} arguments;

static const rt_option options[] = {
    RT_OPT_STRING(arguments, out, NULL, "folder to write to, made if needed", .letter = 'o', .operand = "DIR",
                  .required = true),
    RT_OPT_BYTES(arguments, bytes, "4MiB", 0, 0, "text in all: 90 % train.txt, 5 % each valid.txt and test.txt"),
    RT_OPT_INT(arguments, seed, "1", 0, 0, "another seed, other stories"),
    RT_OPT_INT(arguments, vocab, "1024", 258, 1 << 20, "ids of the tokenizer, learned from train.txt"), RT_OPT_END};

static rt_status make_tokenizer(rt_context *c, const arguments *a, int32_t *size, rt_error *err) {
    rt_corpus_options o = {.separator = "blank_line"};
    const char *train = rt_arena_printf(c->arena, "%s/train.txt", a->out);
    if (!train) return rt_fail(err, RT_E_NOMEM, "out of memory");
    return rt_tokenizer_train(&train, 1, &o, 16 << 20, (int32_t)a->vocab, a->out, size, err);
}

static rt_status run(rt_context *c, const void *given, rt_error *err) {
    static const char *const names[] = {"train", "valid", "test"};
    const arguments *a = given;
    rt_synth_entropy files[3];
    int32_t size;
    RT_TRY(rt_synth_write(a->out, a->bytes, (uint64_t)a->seed, files, err));
    for (int i = 0; i < 3; i++)
        rt_log(RT_LOG_INFO, "%s/%s.txt: %lld stories, %lld bytes; no model goes below %.4f bits per byte", a->out,
               names[i], (long long)files[i].documents, (long long)files[i].bytes,
               files[i].bits / (double)files[i].bytes);
    RT_TRY(make_tokenizer(c, a, &size, err));
    rt_log(RT_LOG_INFO, "%s/tokenizer.json: byte-level BPE, %d ids", a->out, size);
    return RT_OK;
}

const rt_command rt_command_data_synth = {"data synth",
                                          "stories from a grammar of known entropy, with a tokenizer",
                                          "--out DIR [--bytes N] [--seed S] [--vocab V]",
                                          "Writes train.txt, valid.txt and test.txt (stories separated by blank lines: "
                                          "train on them with data.separator = blank_line),\n"
                                          "tokenizer.json, and source.json with the exact entropy of each file.",
                                          options,
                                          sizeof(arguments),
                                          run};
