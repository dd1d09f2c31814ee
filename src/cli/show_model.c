/* show_model.c - `retort show model`: what a model is, as a good table of contents. No page of its weights is read, and its memory is
 * planned, not taken: it answers at once, whatever the size. */
#include "cli/model_page.h"
#include <retort/base/command.h>
#include <retort/base/file.h>
#include <stdio.h>
#include <string.h>

typedef struct arguments {
    const char *model, *dtype;
    int64_t sequence_length, batch;
    bool all, hash, json;
} arguments;

static const char *const dtypes[] = {"f32", "f16", "bf16", NULL};
static const rt_option options[] = {
    RT_OPT_STRING(arguments, model, NULL, "a Hugging Face directory, a checkpoint, a run, or a GGUF file", .positional = true, .operand = "DIR", .required = true),
    RT_OPT_FLAG(arguments, all, "no", "every tensor by name; layers that are alike are not folded"),
    RT_OPT_INT(arguments, sequence_length, "0", 0, 1048576, "tokens in a window, for the memory; 0: 256 to train, 1024 to run, or what it has", .operand = "T"),
    RT_OPT_INT(arguments, batch, "8", 1, 65536, "windows at a time in training, for the memory"),
    RT_OPT_NAME(arguments, dtype, "f32", dtypes, "of the weights in training, for the memory"),
    RT_OPT_FLAG(arguments, hash, "no", "also the hash of the weights (reads all of them)"),
    RT_OPT_FLAG(arguments, json, "no", "print JSON"), RT_OPT_END};

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }

static rt_status measure_files(rt_model_page *p, rt_error *err) {
    for (int64_t i = 0; i < rt_hf_file_count(p->m); i++) {
        int64_t n = 0;
        RT_TRY(rt_file_size(rt_safetensors_path(rt_hf_file(p->m, i)), &n, err));
        p->file_bytes += n;
    }
    return RT_OK;
}
static void read_tokenizer(rt_model_page *p) {
    char path[4200], packed[4200];
    rt_error why = {0};
    snprintf(path, sizeof path, "%s/tokenizer.json", rt_hf_path(p->m)), snprintf(packed, sizeof packed, "%s/tokenizer.json.gz", rt_hf_path(p->m));
    if (!rt_file_exists(path) && !rt_file_exists(packed)) return;
    if (rt_model_tokenizer(&p->tokenizer, rt_hf_path(p->m), &why) == RT_OK) return;
    p->tokenizer = NULL;
    snprintf(p->tokenizer_error, sizeof p->tokenizer_error, "%s", why.text);
}

static rt_status plan(rt_model_page *p, const rt_frozen *f, rt_error *err) {
    const rt_model_config *c = rt_hf_config(p->m);
    rt_precision student = rt_precision_student(p->student);
    p->precision = f->precision;
    p->key_values = rt_footprint_key_values(c, &f->precision);
    RT_TRY(rt_footprint_run(f, p->run_T, &p->run, err));
    return rt_footprint_train(c, &student, p->T, p->batch, &p->train, err);
}
/* A model that cannot be computed with (two dtypes in one role) can be looked at all the same. */
static rt_status plan_memory(rt_model_page *p, const arguments *a, rt_error *err) {
    rt_frozen f;
    rt_error why = {0};
    int64_t longest = rt_model_longest(rt_hf_config(p->m));
    if (a->sequence_length > longest)
        return rt_fail(err, RT_E_USAGE, "--sequence-length %lld: the model has %lld positions", (long long)a->sequence_length, (long long)longest);
    p->T = a->sequence_length ? a->sequence_length : least(256, longest);
    p->run_T = a->sequence_length ? a->sequence_length : least(1024, longest);
    p->batch = a->batch;
    rt_dtype_parse(a->dtype, &p->student);
    rt_status s = rt_frozen_describe(&f, rt_hf_path(p->m), RT_ACTIVATIONS_STORED, &p->copied, &why);
    if (s == RT_OK) s = plan(p, &f, &why);
    rt_frozen_close(&f);
    p->described = s == RT_OK;
    snprintf(p->memory_error, sizeof p->memory_error, "%s", why.text);
    return s == RT_E_NOMEM ? rt_fail(err, s, "%s", why.text) : RT_OK;
}

static rt_status gather(rt_model_page *p, const arguments *a, rt_error *err) {
    rt_hf_hash hash = {""};
    RT_TRY(rt_layer_groups_make(&p->groups, p->m, err));
    RT_TRY(measure_files(p, err));
    read_tokenizer(p);
    RT_TRY(plan_memory(p, a, err));
    if (a->hash) RT_TRY(rt_hf_content_hash(p->m, &hash, err));
    snprintf(p->hash, sizeof p->hash, "%s", hash.hex);
    return RT_OK;
}
static rt_status tell(rt_context *c, const arguments *a, const rt_model_page *p, rt_error *err) {
    rt_buf page = {0};
    if (a->json) return rt_out_json(c, rt_model_json(p), err);
    rt_model_text(p, a->all, &page);
    return rt_out_buf(c, &page, err);
}

static rt_status run(rt_context *c, const void *given, rt_error *err) {
    const arguments *a = given;
    rt_model_page p = {0};
    rt_hf *m;
    char *path;
    RT_TRY(rt_model_path(a->model, &path, err));
    rt_status s = rt_hf_open(path, &m, err);
    rt_free(path);
    RT_TRY(s);
    p.m = m;
    s = gather(&p, a, err);
    if (s == RT_OK) s = tell(c, a, &p, err);
    rt_layer_groups_free(&p.groups);
    rt_tokenizer_free(p.tokenizer);
    rt_hf_close(m);
    return s;
}

const rt_command rt_command_show_model = {"show model",
                                          "what a model is: sizes, weights, dtypes, tokenizer, memory",
                                          "DIR [--all] [--sequence-length T] [--batch N] [--json]",
                                          "Memory is what the plans of these uses come to; nothing is run and no weight is read. To train: what a job without\n"
                                          "a teacher takes (a teacher adds what `to run it` says of the teacher); run.recompute trades time for activations.",
                                          options,
                                          sizeof(arguments),
                                          run};
