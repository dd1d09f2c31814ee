/* logits.c - `retort logits`: a model's logits for given ids, as raw numbers for other programs. */
#include <retort/base/command.h>
#include <retort/base/file.h>
#include <retort/text/encode.h>
#include <retort/infer/expert_report.h>
#include <retort/infer/logits.h>

typedef struct arguments {
    const char *model, *ids, *out;
    int activations;
    int64_t expert_budget;
} arguments;

static const char *const activations[] = {"stored", "native", "f32", NULL}; /* in the order of rt_activations */
static const rt_option options[] = {
    RT_OPT_STRING(arguments, model, NULL, "a run, a checkpoint or a Hugging Face folder", .positional = true, .required = true, .operand = "MODEL"),
    RT_OPT_STRING(arguments, ids, NULL, "text: a row of token ids per line, all of one length", .required = true, .operand = "FILE"),
    RT_OPT_STRING(arguments, out, NULL, "gets little-endian f32 [rows, T, V]", .letter = 'o', .required = true, .operand = "FILE"),
    RT_OPT_ENUM(arguments, activations, "stored", activations, "stored: as the checkpoint says, native where it says nothing"),
    RT_OPT_BYTES(arguments, expert_budget, "0", 0, 1e15, "memory for experts; the least recently used leave; 0: no bound", .operand = "BYTES"),
    RT_OPT_END};

typedef struct job {
    const rt_frozen *model;
    rt_logits logits;
    rt_file_writer out;
    int64_t rows, T;
} job;

static rt_status add_f32(rt_file_writer *w, const double *x, int64_t n, rt_error *err) {
    for (int64_t i = 0; i < n; i++) {
        float y = (float)x[i];
        RT_TRY(rt_file_writer_add(w, &y, sizeof y, err));
    }
    return RT_OK;
}

/* The first row sets the length. */
static rt_status row(void *context, const int32_t *ids, int64_t n, rt_error *err) {
    job *j = context;
    const rt_tensor *z;
    if (j->rows == 0) {
        j->T = n;
        RT_TRY(rt_logits_open(&j->logits, &j->model->weights, &j->model->precision, n, err));
    }
    if (n != j->T) return rt_fail(err, RT_E_INPUT, "%lld ids, but the rows before it have %lld", (long long)n, (long long)j->T);
    RT_TRY(rt_logits_run(&j->logits, ids, n, &z, err));
    j->rows++;
    if (z->dtype == RT_F64) return add_f32(&j->out, z->data, rt_tensor_count(z), err);
    return rt_file_writer_add(&j->out, z->data, rt_tensor_bytes(z), err);
}

static rt_status write_file(job *j, const arguments *a, rt_error *err) {
    RT_TRY(rt_file_writer_open(a->out, &j->out, err));
    rt_status s = rt_id_lines(a->ids, row, j, err);
    rt_logits_close(&j->logits);
    if (s == RT_OK) s = rt_file_writer_commit(&j->out, err);
    rt_file_writer_discard(&j->out);
    return s;
}

static rt_status run(rt_context *c, const void *given, rt_error *err) {
    const arguments *a = given;
    rt_frozen model;
    RT_TRY(rt_frozen_open(&model, a->model, (rt_activations)a->activations, err));
    job j = {.model = &model};
    rt_status s = rt_weights_expert_budget(&model.weights, a->expert_budget, err);
    if (s == RT_OK) s = write_file(&j, a, err);
    rt_experts_log("experts", &model.weights);
    int64_t V = model.weights.config.vocab_size;
    rt_frozen_close(&model);
    return s == RT_OK ? rt_out_printf(c, err, "%s: f32 [%lld, %lld, %lld]\n", a->out, (long long)j.rows, (long long)j.T, (long long)V) : s;
}

const rt_command rt_command_logits = {"logits", "a model's logits for given token ids, as raw f32",
                                      "MODEL --ids FILE --out FILE [--activations stored|native|f32]", NULL, options, sizeof(arguments), run};
