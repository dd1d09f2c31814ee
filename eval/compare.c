/* compare.c - `retort compare`: two models, checkpoints or runs beside each other. */
#include <retort/base/command.h>
#include <retort/base/threads.h>
#include <retort/compare/compare.h>
#include <stdlib.h>
#include <string.h>

typedef struct arguments {
    const char *a, *b, *data, *ids, *json, *tolerance;
    int64_t probe_tokens, threads;
    int activations;
    bool all, probe;
} arguments;

static const char *const activations[] = {"stored", "native", "f32", NULL}; /* in the order of rt_activations */
static const rt_option options[] = {
    RT_OPT_STRING(arguments, a, NULL, "a run, a checkpoint, or a Hugging Face directory", .positional = true, .operand = "A", .required = true),
    RT_OPT_STRING(arguments, b, NULL, "another", .positional = true, .operand = "B", .required = true),
    RT_OPT_STRING(arguments, tolerance, NULL, "equal: ||a - b|| <= X ||a|| of each tensor, whatever the dtypes (none: the same bits)", .operand = "X"),
    RT_OPT_FLAG(arguments, all, "no", "every tensor by name, not one line a kind"),
    RT_OPT_STRING(arguments, json, NULL, "write everything; - for standard output", .operand = "FILE"),
    RT_OPT_STRING(arguments, data, NULL, "compare logits on this text or shard, by A's tokenizer", .letter = 'd', .operand = "FILE"),
    RT_OPT_STRING(arguments, ids, NULL, "compare logits on these lines of token ids", .operand = "FILE"),
    RT_OPT_FLAG(arguments, probe, "yes", "compare logits, unless the weights are the same"),
    RT_OPT_INT(arguments, probe_tokens, "512", 1, 1e9, "at most so many ids", .operand = "N"),
    RT_OPT_ENUM(arguments, activations, "stored", activations, "precision of activations: as stored, native (the files' dtype), or f32"),
    RT_OPT_INT(arguments, threads, "0", 0, 256, "0: all cores"),
    RT_OPT_END};

static rt_status read_tolerance(const char *text, rt_compare_options *o, rt_error *err) {
    char *end;
    o->exact = !text;
    if (!text) return RT_OK;
    o->tolerance = strtod(text, &end);
    if (*text && !*end && o->tolerance >= 0) return RT_OK;
    return rt_fail(err, RT_E_USAGE, "option '--tolerance': found '%.40s', expected a number of at least 0", text);
}

static rt_status report(rt_context *c, const arguments *a, const rt_comparison *r, rt_error *err) {
    rt_buf page = {0};
    if (a->json && strcmp(a->json, "-") == 0) return rt_out_json(c, rt_compare_json(r), err);
    if (a->json) {
        json_t *value = rt_compare_json(r);
        rt_status s = rt_json_save(a->json, value, err);
        json_decref(value);
        RT_TRY(s);
    }
    rt_compare_text(r, a->all, &page);
    return rt_out_buf(c, &page, err);
}
static rt_status verdict(const rt_comparison *r, rt_error *err) {
    if (r->equal) return RT_OK;
    return rt_fail(err, RT_E_CHECK, "they differ: %lld tensors%s%s%s", (long long)(r->different + r->only_a + r->only_b), r->only_a || r->only_b ? " (some are only in one)" : "",
                   r->same_architecture ? "" : ", what config.json asks for", r->same_tokenizer ? "" : ", the tokenizer");
}

static rt_status run(rt_context *c, const void *given, rt_error *err) {
    const arguments *a = given;
    rt_compare_options o = {.a = a->a, .b = a->b, .data = a->data, .ids = a->ids, .probe = a->probe ? RT_PROBE_AUTO : RT_PROBE_NO,
                            .probe_tokens = a->probe_tokens, .activations = (rt_activations)a->activations};
    rt_compare *compare;
    RT_TRY(read_tolerance(a->tolerance, &o, err));
    if (a->data && a->ids) return rt_fail(err, RT_E_USAGE, "--data and --ids are two ways to say the same; give one");
    rt_threads_set((int)a->threads);
    RT_TRY(rt_compare_open(&compare, &o, err));
    rt_status s = report(c, a, rt_compare_result(compare), err);
    if (s == RT_OK) s = verdict(rt_compare_result(compare), err);
    rt_compare_close(compare);
    return s;
}

const rt_command rt_command_compare = {
    "compare",
    "two models, checkpoints or runs: tensors, numbers, configuration",
    "A B [--tolerance X] [--data FILE] [--all] [--json FILE]",
    "Exit code 0: tensors, configuration and tokenizer are equal; 1: they are not. Tensors of two dtypes are compared as the f64\n"
    "numbers both stand for; without --tolerance they are not equal all the same. relative is ||a - b|| / ||a||, differ the share of\n"
    "elements whose bits differ. Of two checkpoints the optimizer's and the projector's tensors are compared too, and the jobs are\n"
    "listed key by key; of runs, the last and the best evaluation. The logits, the jobs and the evaluations do not decide.",
    options,
    sizeof(arguments),
    run};
