/* export.c - `retort export`: a checkpoint as a plain Hugging Face folder, written, read again, compared. */
#include <retort/base/command.h>
#include <retort/base/file.h>
#include <retort/text/tokenizer.h>
#include <retort/train/export.h>
#include <retort/train/frozen.h>
#include <string.h>

typedef struct arguments {
    const char *model, *format, *dtype, *out, *probe;
    bool force, json;
} arguments;

static const rt_option options[] = {
    RT_OPT_STRING(arguments, model, NULL, "a run, a checkpoint, or any Hugging Face folder", .positional = true, .required = true, .operand = "CKPT"),
    RT_OPT_STRING(arguments, format, "hf", "hf: a Hugging Face folder", .operand = "FORMAT"),
    RT_OPT_STRING(arguments, dtype, NULL, "f32, f16 or bf16: every tensor, rounded to nearest even", .required = true, .operand = "TYPE"),
    RT_OPT_STRING(arguments, out, NULL, "the folder to make; an earlier export there is replaced", .letter = 'o', .required = true, .operand = "PATH"),
    RT_OPT_STRING(arguments, probe, NULL, "text to compare on, its first 4096 tokens (default: 512 random ids)", .operand = "FILE"),
    RT_OPT_FLAG(arguments, force, "no", "replace a folder of files that is no export"),
    RT_OPT_FLAG(arguments, json, "no", "print the report as JSON"),
    RT_OPT_END};

enum { PROBE_BYTES = 1 << 20, PROBE_IDS = 4096 };

static rt_status parse(const arguments *a, rt_dtype *t, rt_error *err) {
    if (strcmp(a->format, "hf") != 0)
        return rt_fail(err, RT_E_UNSUPPORTED, "--format %.40s: not in this version, which writes: hf", a->format);
    if (rt_dtype_parse(a->dtype, t) && (*t == RT_F32 || *t == RT_F16 || *t == RT_BF16)) return RT_OK;
    return rt_fail(err, RT_E_UNSUPPORTED, "--dtype %.40s: not in this version, which writes: f32, f16, bf16", a->dtype);
}

static rt_status read_probe(const arguments *a, const char *model, rt_ids *ids, rt_error *err) {
    rt_tokenizer *t = NULL;
    rt_buf text = {0};
    if (!a->probe) return RT_OK;
    rt_status s = rt_tokenizer_load(&t, model, err);
    if (s == RT_OK) s = rt_file_read(a->probe, PROBE_BYTES, &text, err);
    if (s == RT_OK) s = rt_tokenizer_encode(t, text.data ? text.data : "", text.size, true, ids, err);
    if (s == RT_OK && ids->size == 0) s = rt_fail(err, RT_E_INPUT, "%s: holds no token", a->probe);
    if (ids->size > PROBE_IDS) ids->size = PROBE_IDS;
    rt_buf_free(&text);
    rt_tokenizer_free(t);
    return s;
}

static rt_status print_json(rt_context *c, const rt_export_report *r, rt_error *err) {
    return rt_out_json(c, json_pack("{s:I, s:I, s:I, s:I, s:I, s:f, s:I, s:I, s:I}", "tensors", (json_int_t)r->tensors, "weights", (json_int_t)r->weights,
                                    "bytes", (json_int_t)r->bytes, "weights_changed", (json_int_t)r->changed, "probe_positions",
                                    (json_int_t)r->positions, "probe_kl", r->kl, "probe_top1_changed", (json_int_t)r->top1_changed,
                                    "probe_routes", (json_int_t)r->routes, "probe_routes_flipped", (json_int_t)r->routes_flipped), err);
}
static rt_status print(rt_context *c, const arguments *a, const rt_export_report *r, rt_error *err) {
    if (a->json) return print_json(c, r, err);
    RT_TRY(rt_out_printf(c, err, "%s: %lld tensors, %lld weights in %s, %lld bytes\n", a->out, (long long)r->tensors, (long long)r->weights, a->dtype,
                         (long long)r->bytes));
    RT_TRY(rt_out_printf(c, err, "  read again: every tensor is the model's, rounded; logits on %lld probe ids have the same bits\n",
                         (long long)r->positions));
    RT_TRY(rt_out_printf(c, err, "  rounding: %lld weights changed; KL from the model %.3g nats; %lld first choices of %lld changed", (long long)r->changed,
                         r->kl, (long long)r->top1_changed, (long long)r->positions));
    if (r->routes) RT_TRY(rt_out_printf(c, err, "; %lld routes of %lld flipped", (long long)r->routes_flipped, (long long)r->routes));
    return rt_out(c, "\n", 1, err);
}

static rt_status run(rt_context *c, const void *given, rt_error *err) {
    const arguments *a = given;
    rt_export_report report;
    rt_export_options o = {.force = a->force};
    rt_ids ids = {0};
    char *model;
    RT_TRY(parse(a, &o.dtype, err));
    RT_TRY(rt_model_path(a->model, &model, err));
    rt_status s = read_probe(a, model, &ids, err);
    if (a->probe) o.probe = ids.data, o.probe_ids = ids.size;
    if (s == RT_OK) s = rt_export_hf(model, a->out, &o, &report, err);
    if (s == RT_OK) s = print(c, a, &report, err);
    rt_ids_free(&ids);
    rt_free(model);
    return s;
}

const rt_command rt_command_export = {
    "export", "a checkpoint as a plain Hugging Face folder, compared after writing", "CKPT --dtype f32|f16|bf16 --out PATH [--format hf] [options]",
    "The folder appears only when every tensor, read back, is the checkpoint's rounded to nearest even, and its logits on the probe are, bit "
    "for bit, those of the rounded weights. Exit code 1 tells of a difference, 4 of a weight that the dtype cannot hold.",
    options, sizeof(arguments), run};
