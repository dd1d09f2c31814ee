/* eval.c - `retort eval`: measures a model on data, alone or against a teacher. */
#include <retort/base/command.h>
#include <retort/base/threads.h>
#include <retort/train/standalone.h>
#include <math.h>

typedef struct arguments {
    const char *model, *teacher, *tokenizer, *separator, *text_key, *csv_column, *chat_template, *json, *baseline;
    rt_strings data;
    int64_t sequence_length, batch, limit, threads, expert_budget;
    double temperature;
    int activations;
    bool disjoint;
} arguments;

static const char *const activations[] = {"stored", "native", "f32", NULL};
static const rt_option options[] = {
    RT_OPT_STRING(arguments, model, NULL, "a run, a checkpoint, a Hugging Face directory, or a GGUF file", .positional = true, .operand = "MODEL", .required = true),
    RT_OPT_STRINGS(arguments, data, NULL, "texts or shards (none: the checkpoint's validation data)", .letter = 'd', .operand = "FILE..."),
    RT_OPT_STRING(arguments, teacher, NULL, "compare with this model (none: the checkpoint's teacher)", .letter = 't', .operand = "DIR"),
    RT_OPT_STRING(arguments, json, NULL, "write everything measured; - for standard output", .operand = "FILE"),
    RT_OPT_STRING(arguments, baseline, NULL, "JSON of an earlier eval: adds gap_closed, the share of the way to the teacher", .operand = "FILE"),
    RT_OPT_INT(arguments, sequence_length, "0", 0, 1048576, "tokens in a window; 0: the checkpoint's, or at most 1024", .operand = "T"),
    RT_OPT_INT(arguments, batch, "0", 0, 65536, "windows at a time; 0: the checkpoint's, or about 2048 tokens"),
    RT_OPT_INT(arguments, limit, "0", 0, 1e15, "stop after so many scored tokens; 0: all", .operand = "TOKENS"),
    RT_OPT_REAL(arguments, temperature, "0", 0, 1e3, "of `kl`; 0: the checkpoint's, or 1"),
    RT_OPT_ENUM(arguments, activations, "stored", activations, "precision of activations: as stored, native (the files' dtype), or f32"),
    RT_OPT_FLAG(arguments, disjoint, "no", "windows on their own, T - 1 targets each: the usual perplexity of other programs"),
    RT_OPT_STRING(arguments, tokenizer, NULL, "folder with tokenizer.json (none: the model's)", .operand = "DIR"),
    RT_OPT_STRING(arguments, separator, NULL, "what parts the documents of a text: none, line, blank_line, or a text", .operand = "TEXT"),
    RT_OPT_STRING(arguments, text_key, NULL, "the member of a .jsonl record that holds the text", .operand = "KEY"),
    RT_OPT_STRING(arguments, csv_column, NULL, "the column of a .csv or .tsv that holds the text", .operand = "COLUMN"),
    RT_OPT_STRING(arguments, chat_template, NULL, "for conversations: a file, or one of the tokenizer's by name", .operand = "TEMPLATE"),
    RT_OPT_BYTES(arguments, expert_budget, "0", 0, 1e15, "memory for the experts; the least recently used leave; 0: the checkpoint's for its teacher, else no bound", .operand = "BYTES"),
    RT_OPT_INT(arguments, threads, "0", 0, 256, "0: all cores"),
    RT_OPT_END};

static rt_status add_gap(json_t *o, const rt_evaluation *v, const char *path, rt_error *err) {
    json_t *file;
    double ce = 0;
    RT_TRY(rt_json_load(path, 0, &file, err));
    rt_json root = rt_json_root(file, path);
    rt_status s = rt_json_real(&root, "ce", &ce, err);
    json_decref(file);
    RT_TRY(s);
    double gap = ce - v->teacher_ce;
    if (!v->with_teacher) return rt_fail(err, RT_E_USAGE, "--baseline needs a teacher to measure the gap to");
    return json_object_set_new(o, "gap_closed", gap != 0 ? rt_json_number((ce - v->ce) / gap) : json_null()) == 0 ? RT_OK : rt_fail(err, RT_E_NOMEM, "out of memory");
}

static rt_status print(rt_context *c, const rt_evaluation *v, const json_t *o, rt_error *err) {
    rt_buf b = {0};
    rt_buf_printf(&b, "tokens            %lld\ncross-entropy     %.6f\nperplexity        %.6f\n", (long long)v->tokens, v->ce, v->perplexity);
    if (!isnan(v->bits_per_byte)) rt_buf_printf(&b, "bits per byte     %.6f\n", v->bits_per_byte);
    if (v->with_teacher)
        rt_buf_printf(&b, "teacher ce        %.6f\nKL (tau 1)        %.6f\nKL (job's tau)    %.6f\nreverse KL        %.6f\nJSD               %.6f\n"
                          "top-1 agreement   %.4f\ntop-5 overlap     %.4f\nacceptance        %.4f  (%.2f, %.2f, %.2f tokens a pass, drafts of 2, 4, 8)\n",
                      v->teacher_ce, v->kl_t1, v->kl, v->reverse_kl, v->jsd, v->top1_agreement, v->top5_overlap, v->acceptance, v->drafts[0], v->drafts[1], v->drafts[2]);
    rt_buf_printf(&b, "calibration error %.6f\n", v->calibration_error);
    const json_t *layers = json_object_get(o, "layers"), *gap = json_object_get(o, "gap_closed");
    if (json_array_size(layers)) rt_buf_printf(&b, "router z          %.6f\nbalance           %.6f\n", v->router_z, v->balance);
    for (size_t i = 0; i < json_array_size(layers); i++) {
        const json_t *l = json_array_get(layers, i), *psi = json_object_get(l, "psi");
        rt_buf_printf(&b, "layer %-3zu         z %.4f  neff %.2f  max_vio %.3f  dead %.2f", i, json_number_value(json_object_get(l, "router_z")),
                      json_number_value(json_object_get(l, "neff")), json_number_value(json_object_get(l, "max_vio")), json_number_value(json_object_get(l, "dead_fraction")));
        if (json_is_number(psi)) rt_buf_printf(&b, "  coherence %.4f", json_number_value(psi));
        rt_buf_putc(&b, '\n');
    }
    if (json_is_number(gap)) rt_buf_printf(&b, "gap closed        %.4f\n", json_number_value(gap));
    rt_buf_printf(&b, "tokens/s          %.0f\n", v->seconds > 0 ? (double)v->tokens / v->seconds : 0);
    return rt_out_buf(c, &b, err);
}

static rt_status report(rt_context *c, const arguments *a, const rt_evaluation *v, json_t *o, rt_error *err) {
    if (!o) return rt_fail(err, RT_E_NOMEM, "out of memory: report");
    if (a->baseline) RT_TRY(add_gap(o, v, a->baseline, err));
    if (a->json && a->json[0] == '-' && !a->json[1]) return rt_out_json(c, json_incref(o), err);
    if (a->json) RT_TRY(rt_json_save(a->json, o, err));
    return print(c, v, o, err);
}

static rt_status run(rt_context *c, const void *given, rt_error *err) {
    const arguments *a = given;
    rt_standalone_options o = {.model = a->model, .data = a->data, .teacher = a->teacher, .tokenizer = a->tokenizer, .separator = a->separator,
                               .text_key = a->text_key, .csv_column = a->csv_column, .chat_template = a->chat_template, .T = a->sequence_length, .batch = a->batch, .temperature = a->temperature,
                               .activations = (rt_activations)a->activations, .disjoint = a->disjoint, .expert_budget = a->expert_budget};
    rt_standalone *s;
    rt_evaluation v;
    rt_threads_set((int)a->threads);
    RT_TRY(rt_standalone_open(&s, &o, err));
    rt_status status = rt_standalone_run(s, a->limit, &v, err);
    json_t *json = status == RT_OK ? rt_standalone_json(s, &v) : NULL;
    if (status == RT_OK) status = report(c, a, &v, json, err);
    json_decref(json);
    rt_standalone_close(s);
    return status;
}

const rt_command rt_command_eval = {
    "eval",
    "measure a model on data, alone or against a teacher",
    "MODEL --data FILE... [--teacher DIR] [--json FILE] [options]",
    "For a checkpoint, what is not given is what its run used: validation data, teacher, window, temperature, precision;\n"
    "then every number but the speed equals the run's own evaluation, digit for digit.",
    options,
    sizeof(arguments),
    run};
