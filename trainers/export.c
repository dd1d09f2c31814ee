/* export.c - `retort export`: a checkpoint as a plain Hugging Face folder or a GGUF file, written, read again, compared. */
#include <retort/base/command.h>
#include <retort/base/file.h>
#include <retort/text/tokenizer.h>
#include <retort/export/export.h>
#include <retort/infer/frozen.h>
#include <string.h>

typedef struct arguments {
    const char *model, *dtype, *out, *probe;
    int format;
    int64_t max_shard_size;
    bool no_tokenizer, force, json;
} arguments;

enum { HF, GGUF };
static const char *const formats[] = {"hf", "gguf", NULL};

static const rt_option options[] = {
    RT_OPT_STRING(arguments, model, NULL, "a run, a checkpoint, any Hugging Face folder, or a GGUF file", .positional = true, .required = true, .operand = "CKPT"),
    RT_OPT_ENUM(arguments, format, "hf", formats, "hf: a Hugging Face folder; gguf: a file for llama.cpp and its kin"),
    RT_OPT_STRING(arguments, dtype, NULL, "f32, f16 or bf16: rounded to nearest even; gguf also q8_0: blocks of 32", .required = true, .operand = "TYPE"),
    RT_OPT_STRING(arguments, out, NULL, "the folder or file to make; an earlier export there is replaced", .letter = 'o', .required = true, .operand = "PATH"),
    RT_OPT_BYTES(arguments, max_shard_size, "5GB", 1, 1e18, "hf: larger models are parted into files of at most this much"),
    RT_OPT_FLAG(arguments, no_tokenizer, "no", "gguf: leave the tokenizer out"),
    RT_OPT_STRING(arguments, probe, NULL, "text to compare on, its first 4096 tokens (default: 512 random ids)", .operand = "FILE"),
    RT_OPT_FLAG(arguments, force, "no", "replace a folder of files, or a file, that is no export"),
    RT_OPT_FLAG(arguments, json, "no", "print the report as JSON"),
    RT_OPT_END};

enum { PROBE_BYTES = 1 << 20, PROBE_IDS = 4096 };

static rt_status parse(const arguments *a, rt_export_options *o, rt_error *err) {
    bool gguf = a->format == GGUF, q8_0 = gguf && strcmp(a->dtype, "q8_0") == 0;
    rt_dtype t = RT_F32;
    bool known = q8_0 || (rt_dtype_parse(a->dtype, &t) && (t == RT_F32 || t == RT_F16 || t == RT_BF16));
    *o = (rt_export_options){.dtype = t, .gguf = gguf, .q8_0 = q8_0, .no_tokenizer = a->no_tokenizer, .part_bytes = a->max_shard_size, .force = a->force};
    if (known) return RT_OK;
    return rt_fail(err, RT_E_UNSUPPORTED, "--dtype %.40s: --format %s takes f32, f16, bf16%s", a->dtype, formats[a->format], gguf ? ", q8_0" : "");
}

static rt_status read_probe(const arguments *a, const char *model, rt_ids *ids, rt_error *err) {
    rt_tokenizer *t = NULL;
    rt_buf text = {0};
    if (!a->probe) return RT_OK;
    rt_status s = rt_model_tokenizer(&t, model, err);
    if (s == RT_OK) s = rt_file_read(a->probe, PROBE_BYTES, &text, err);
    if (s == RT_OK) s = rt_tokenizer_encode(t, text.data ? text.data : "", text.size, true, ids, err);
    if (s == RT_OK && ids->size == 0) s = rt_fail(err, RT_E_INPUT, "%s: holds no token", a->probe);
    if (ids->size > PROBE_IDS) ids->size = PROBE_IDS;
    rt_buf_free(&text);
    rt_tokenizer_free(t);
    return s;
}

static rt_status print_json(rt_context *c, const rt_export_report *r, rt_error *err) {
    return rt_out_json(c, json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:f, s:I, s:I, s:I}", "files", (json_int_t)r->files, "kept_f16",
                                    (json_int_t)r->kept_f16, "tensors", (json_int_t)r->tensors, "weights", (json_int_t)r->weights,
                                    "bytes", (json_int_t)r->bytes, "weights_changed", (json_int_t)r->changed, "probe_positions",
                                    (json_int_t)r->positions, "probe_kl", r->kl, "probe_top1_changed", (json_int_t)r->top1_changed,
                                    "probe_routes", (json_int_t)r->routes, "probe_routes_flipped", (json_int_t)r->routes_flipped), err);
}
static rt_status print(rt_context *c, const arguments *a, const rt_export_report *r, rt_error *err) {
    if (a->json) return print_json(c, r, err);
    RT_TRY(rt_out_printf(c, err, "%s: %lld tensors, %lld weights in %s, %lld bytes", a->out, (long long)r->tensors, (long long)r->weights, a->dtype,
                         (long long)r->bytes));
    if (r->files > 1) RT_TRY(rt_out_printf(c, err, " in %lld files", (long long)r->files));
    RT_TRY(rt_out_printf(c, err, "\n  read again: every tensor is the model's, rounded; logits on %lld probe ids have the same bits\n",
                         (long long)r->positions));
    if (r->kept_f16) RT_TRY(rt_out_printf(c, err, "  %lld matrices are kept in f16: their rows are no multiple of 32\n", (long long)r->kept_f16));
    RT_TRY(rt_out_printf(c, err, "  rounding: %lld weights changed; KL from the model %.3g nats; %lld first choices of %lld changed", (long long)r->changed,
                         r->kl, (long long)r->top1_changed, (long long)r->positions));
    if (r->routes) RT_TRY(rt_out_printf(c, err, "; %lld routes of %lld flipped", (long long)r->routes_flipped, (long long)r->routes));
    if (r->activations != RT_F32)
        RT_TRY(rt_out_printf(c, err, "\n  (the model itself computes with %s activations, which is part of these differences)", rt_dtype_name(r->activations)));
    return rt_out(c, "\n", 1, err);
}

static rt_status run(rt_context *c, const void *given, rt_error *err) {
    const arguments *a = given;
    rt_export_report report;
    rt_export_options o;
    rt_ids ids = {0};
    char *model;
    RT_TRY(parse(a, &o, err));
    RT_TRY(rt_model_path(a->model, &model, err));
    rt_status s = read_probe(a, model, &ids, err);
    if (a->probe) o.probe = ids.data, o.probe_ids = ids.size;
    if (s == RT_OK) s = rt_export_model(model, a->out, &o, &report, err);
    if (s == RT_OK) s = print(c, a, &report, err);
    rt_ids_free(&ids);
    rt_free(model);
    return s;
}

const rt_command rt_command_export = {
    "export", "a checkpoint as a plain Hugging Face folder or a GGUF file, compared after writing",
    "CKPT --dtype f32|f16|bf16|q8_0 --out PATH [--format hf|gguf] [options]",
    "The export appears only when every tensor, read back, is the checkpoint's rounded to nearest even (or quantized), and its logits on the "
    "probe are, bit for bit, those of the rounded weights. Exit code 1 tells of a difference, 4 of a weight that the dtype cannot hold.",
    options, sizeof(arguments), run};
