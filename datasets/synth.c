/* synth.c - `retort data synth`: stories from a grammar whose entropy is known exactly, so that a model's distance from the best
 * possible one can be read off. */
#include <retort/base/command.h>
#include <retort/text/synth.h>

typedef struct arguments {
    const char *out;
    int64_t bytes, seed;
} arguments;

static const rt_option options[] = {
    RT_OPT_STRING(arguments, out, NULL, "folder to write to, made if needed", .letter = 'o', .operand = "DIR", .required = true),
    RT_OPT_BYTES(arguments, bytes, "1MiB", 1e4, 1e12, "text in all: 90 % train.txt, 5 % each valid.txt and test.txt"),
    RT_OPT_INT(arguments, seed, "1", 0, 9e15, "another seed, other stories"),
    RT_OPT_END};

static rt_status run(rt_context *c, const void *given, rt_error *err) {
    static const char *const names[] = {"train", "valid", "test"};
    const arguments *a = given;
    rt_synth_entropy files[3];
    RT_TRY(rt_synth_write(a->out, a->bytes, (uint64_t)a->seed, files, err));
    for (int i = 0; i < 3; i++)
        RT_TRY(rt_out_printf(c, err, "%s/%s.txt  %lld stories, %lld bytes, at best %.4f bits per byte\n", a->out, names[i],
                             (long long)files[i].documents, (long long)files[i].bytes, files[i].bits / (double)files[i].bytes));
    return RT_OK;
}

const rt_command rt_command_data_synth = {"data synth", "stories from a grammar of known entropy, with a tokenizer",
                                          "--out DIR [--bytes N] [--seed S]", NULL, options, sizeof(arguments), run};
