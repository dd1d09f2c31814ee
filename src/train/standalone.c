/* standalone.c - evaluation outside a run. */
#include <retort/base/file.h>
#include <retort/io/checkpoint.h>
#include <retort/infer/expert_report.h>
#include <retort/train/standalone.h>
#include <stdio.h>
#include <string.h>

struct rt_standalone {
    rt_standalone_options o;
    char *path; /* the model directory */
    bool from_checkpoint;
    rt_job job; /* of a checkpoint; else defaults */
    rt_frozen model, teacher_files;
    rt_corpus_set data;       /* a checkpoint's own */
    rt_token_stream *stream;  /* --data */
    rt_tokenizer *tokenizer;
    rt_chat *chat;
    rt_tokenizer_vocab vocab;
    rt_workspace *space; /* teacher, projections and evaluation run one after another */
    rt_forward teacher;
    rt_projector *projector;
    rt_router_state *states;
    rt_evaluator *evaluator;
    rt_windows windows;
    const rt_tokenizer *tokens; /* of the data: `tokenizer` or the corpus set's */
    int64_t head_rows;
};

/* ----------------------------------------------------------- configuration */

static rt_status read_manifest(rt_standalone *s, rt_error *err) {
    char path[4096];
    json_t *manifest;
    snprintf(path, sizeof path, "%s/MANIFEST.json", s->path);
    if (!rt_file_exists(path)) return rt_job_init(&s->job, err);
    RT_TRY(rt_checkpoint_verify(s->path, err));
    RT_TRY(rt_checkpoint_manifest(s->path, &manifest, err));
    s->from_checkpoint = true;
    s->head_rows = json_integer_value(json_object_get(manifest, "head_rows"));
    rt_status status = rt_job_from_json(json_object_get(manifest, "configuration"), path, &s->job, err);
    json_decref(manifest);
    return status;
}

static const char *teacher_path(const rt_standalone *s) { return s->o.teacher ? s->o.teacher : s->from_checkpoint ? s->job.teacher.path : NULL; }

/* The temperature `kl` is reported at: that of the job's first tempered loss. */
static double job_temperature(const rt_job *job) {
    for (int64_t i = 0; i < job->objective.count; i++)
        if (strcmp(rt_job_objectives(job)[i].loss, "next_token") != 0 && strcmp(rt_job_objectives(job)[i].loss, "balance") != 0 &&
            strcmp(rt_job_objectives(job)[i].loss, "router_z") != 0)
            return rt_job_objectives(job)[i].temperature;
    return 1;
}

static int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
static void defaults(rt_standalone *s) {
    int64_t longest = rt_model_longest(&s->model.weights.config);
    if (s->o.T == 0) s->o.T = s->from_checkpoint ? s->job.data.sequence_length : least(1024, longest);
    if (s->o.batch == 0) s->o.batch = s->from_checkpoint ? s->job.data.batch : (2048 + s->o.T - 1) / s->o.T;
    if (s->o.temperature == 0) s->o.temperature = s->from_checkpoint ? job_temperature(&s->job) : 1;
    if (!s->o.separator) s->o.separator = s->job.data.separator;
    if (!s->o.text_key) s->o.text_key = s->job.data.text_key;
}

/* -------------------------------------------------------------------- data */

static rt_status open_given(rt_standalone *s, rt_token_view *view, rt_error *err) {
    RT_TRY(rt_model_tokenizer(&s->tokenizer, s->o.tokenizer ? s->o.tokenizer : s->path, err));
    RT_TRY(rt_chat_open(&s->chat, s->tokenizer, s->o.chat_template ? s->o.chat_template : s->job.data.chat_template, err));
    rt_corpus_options c = rt_corpus_options_of(&s->job.data, s->chat);
    c.separator = s->o.separator, c.key = s->o.text_key;
    if (s->o.csv_column) c.column = s->o.csv_column;
    RT_TRY(rt_tokenizer_vocab_make(&s->vocab, s->tokenizer, err));
    RT_TRY(rt_token_stream_load(&s->stream, s->o.data.item, (int)s->o.data.count, &c, s->tokenizer, &s->vocab, err));
    *view = rt_token_stream_all(s->stream);
    s->tokens = s->tokenizer;
    return RT_OK;
}
static rt_status open_data(rt_standalone *s, rt_error *err) {
    rt_token_view view;
    if (s->o.data.count) RT_TRY(open_given(s, &view, err));
    else if (!s->from_checkpoint) return rt_fail(err, RT_E_USAGE, "no data: give --data FILE (only a checkpoint knows its validation data)");
    else {
        RT_TRY(rt_corpus_set_open(&s->data, &s->job, s->o.tokenizer ? s->o.tokenizer : s->path, err));
        view = s->data.valid;
        s->tokens = s->data.tokenizer;
    }
    int32_t highest = rt_token_stream_about(view.stream).highest;
    if (highest >= s->model.weights.config.vocab_size)
        return rt_fail(err, RT_E_INPUT, "data: token id %d is beyond the model's vocabulary of %lld", highest, (long long)s->model.weights.config.vocab_size);
    return rt_windows_make(&s->windows, view, s->o.T, s->o.disjoint, err);
}
/* Of model and teacher, whichever has experts; that of a checkpoint's job is for its teacher. */
static rt_status bound_experts(rt_standalone *s, rt_error *err) {
    rt_frozen *const all[] = {&s->model, &s->teacher_files};
    int64_t asked = s->o.expert_budget, stored = s->from_checkpoint && !s->o.teacher ? s->job.teacher.expert_budget : 0;
    if (asked > 0 && !s->model.weights.bank && !s->teacher_files.weights.bank)
        return rt_fail(err, RT_E_CONFIG, "found an expert budget, but there is no model with experts");
    for (int i = 0; i < 2; i++)
        if (all[i]->weights.bank && rt_weights_expert_budget(&all[i]->weights, asked > 0 ? asked : i ? stored : 0, err) != RT_OK)
            return rt_error_prefix(err, "%s", all[i]->path);
    return RT_OK;
}
static int64_t vocabulary(const rt_standalone *s) { return s->tokens ? rt_tokenizer_size(s->tokens) : s->model.weights.config.vocab_size; }

/* ----------------------------------------------------------------- teacher */

static rt_status check_tokenizers(const rt_standalone *s, int kind, const char *path, rt_error *err) {
    rt_tokenizer *own = NULL;
    rt_error ignored = {0};
    bool found = rt_model_tokenizer(&own, path, &ignored) == RT_OK;
    rt_tokenizer_id teacher = {found ? rt_tokenizer_hash(own) : NULL, found ? rt_tokenizer_size(own) : rt_hf_config(s->teacher_files.files)->vocab_size};
    rt_tokenizer_id student = {s->tokens ? rt_tokenizer_hash(s->tokens) : NULL, vocabulary(s)};
    rt_status status = rt_projector_check(kind, teacher, student, err);
    rt_tokenizer_free(own);
    return status;
}

static rt_status open_projector(rt_standalone *s, int kind, rt_error *err) {
    char path[4096];
    rt_projector_options p = {.kind = kind, .teacher = &s->teacher_files.weights, .teacher_precision = &s->teacher_files.precision,
                              .student = &s->model.weights, .dtype = RT_NONE, .vocab = vocabulary(s), .space = s->space};
    RT_TRY(rt_projector_open(&s->projector, &p, err));
    if (kind == RT_PROJECTOR_SHARED) return RT_OK;
    snprintf(path, sizeof path, "%s/projector.safetensors", s->path);
    RT_TRY(rt_projector_load(s->projector, path, err));
    return rt_projector_refresh(s->projector, err);
}

static rt_status open_teacher(rt_standalone *s, rt_error *err) {
    const char *path = teacher_path(s);
    if (!path) return RT_OK;
    bool own = s->from_checkpoint && s->job.teacher.path; /* the run's own teacher and projector */
    bool native = !own || strcmp(s->job.precision.teacher, "native") == 0;
    int kind = own && !s->o.teacher ? s->job.projector.kind : RT_PROJECTOR_SHARED;
    RT_TRY(rt_frozen_open(&s->teacher_files, path, native ? RT_ACTIVATIONS_NATIVE : RT_ACTIVATIONS_F32, err));
    RT_TRY(check_tokenizers(s, kind, s->teacher_files.path, err));
    rt_forward_options f = {.name = "teacher", .windows = s->o.batch, .T = s->o.T, .cache_budget = s->job.teacher.pack_budget,
                            .cache_panels = s->job.teacher.cache_panels, .space = s->space};
    RT_TRY(rt_forward_open(&s->teacher, &s->teacher_files.weights, &s->teacher_files.precision, &f, err));
    return open_projector(s, kind, err);
}

/* --------------------------------------------------------------------- all */

static rt_status open_evaluator(rt_standalone *s, rt_error *err) {
    const rt_router *router;
    RT_TRY(rt_router_find(s->job.router.policy, &router, err));
    rt_evaluator_options e = {.weights = &s->model.weights, .precision = &s->model.precision, .teacher = teacher_path(s) ? &s->teacher : NULL,
                              .projector = s->projector, .windows = s->o.batch, .T = s->o.T, .vocab = vocabulary(s), .temperature = s->o.temperature,
                              .trace = s->model.weights.config.experts > 0, .router = router, .head_budget = s->job.run.head_budget, .space = s->space};
    return rt_evaluator_open(&s->evaluator, &e, err);
}

static rt_status open_all(rt_standalone *s, rt_error *err) {
    if (!(s->space = rt_workspace_new())) return rt_fail(err, RT_E_NOMEM, "out of memory");
    RT_TRY(rt_model_path(s->o.model, &s->path, err));
    RT_TRY(read_manifest(s, err));
    RT_TRY(rt_frozen_open(&s->model, s->path, s->o.activations, err));
    defaults(s);
    RT_TRY(open_data(s, err));
    RT_TRY(open_teacher(s, err));
    RT_TRY(bound_experts(s, err));
    return open_evaluator(s, err);
}

rt_status rt_standalone_open(rt_standalone **out, const rt_standalone_options *o, rt_error *err) {
    rt_standalone *s = *out = rt_zalloc(sizeof *s);
    if (!s) return rt_fail(err, RT_E_NOMEM, "out of memory");
    s->o = *o;
    rt_status status = open_all(s, err);
    if (status != RT_OK) rt_standalone_close(s), *out = NULL;
    return status;
}

void rt_standalone_close(rt_standalone *s) {
    if (!s) return;
    rt_evaluator_close(s->evaluator);
    rt_projector_close(s->projector);
    rt_forward_close(&s->teacher);
    rt_workspace_free(s->space);
    rt_frozen_close(&s->teacher_files);
    rt_frozen_close(&s->model);
    rt_token_stream_free(s->stream);
    rt_tokenizer_vocab_free(&s->vocab);
    rt_chat_free(s->chat);
    rt_tokenizer_free(s->tokenizer);
    rt_corpus_set_close(&s->data);
    rt_job_free(&s->job);
    rt_free(s->path);
    rt_free(s);
}

rt_status rt_standalone_run(rt_standalone *s, int64_t limit, rt_evaluation *v, rt_error *err) {
    if (limit == 0 && s->from_checkpoint && !s->o.data.count) limit = s->job.run.eval_tokens;
    RT_TRY(rt_evaluator_run(s->evaluator, &s->windows, limit, v, err));
    rt_experts_log("experts", &s->model.weights);
    rt_experts_log("teacher's experts", &s->teacher_files.weights);
    return RT_OK;
}

/* -------------------------------------------------------------- provenance */

static bool text(json_t *o, const char *key, const char *value) { return !value || json_object_set_new(o, key, json_string(value)) == 0; }

static json_t *provenance(const rt_standalone *s) {
    rt_hf_hash model = {""}, teacher = {""};
    rt_error err = {0};
    rt_buf policy = {0};
    char data[65];
    rt_token_view_hash(&s->windows.view, data);
    rt_precision_text(&s->model.precision, &policy);
    json_t *o = json_pack("{s:b, s:I, s:I, s:b}", "measured", 1, "sequence_length", (json_int_t)s->o.T, "windows", (json_int_t)s->windows.count, "disjoint", s->o.disjoint);
    bool ok = o && rt_hf_content_hash(s->model.files, &model, &err) == RT_OK && text(o, "model", s->path) && text(o, "model_hash", model.hex) && text(o, "data_hash", data) &&
              text(o, "tokenizer_hash", s->tokens ? rt_tokenizer_hash(s->tokens) : NULL) && text(o, "precision", policy.data) && text(o, "version", RT_VERSION);
    if (ok && s->projector) ok = rt_hf_content_hash(s->teacher_files.files, &teacher, &err) == RT_OK && text(o, "teacher", teacher_path(s)) && text(o, "teacher_hash", teacher.hex);
    if (ok && s->from_checkpoint) ok = json_object_set_new(o, "seed", json_integer(s->job.run.seed)) == 0;
    rt_buf_free(&policy);
    if (!ok) json_decref(o);
    return ok ? o : NULL;
}
static bool experts(json_t *o, const rt_standalone *s) {
    const struct { const char *key; const rt_weights *w; } all[] = {{"experts", &s->model.weights}, {"teacher_experts", &s->teacher_files.weights}};
    bool ok = true;
    for (int i = 0; i < 2; i++)
        if (all[i].w->bank) ok = json_object_set_new(o, all[i].key, rt_experts_json(all[i].w)) == 0 && ok;
    return ok;
}

json_t *rt_standalone_json(rt_standalone *s, const rt_evaluation *v) {
    json_t *o = rt_evaluator_json(s->evaluator, v);
    bool ok = o && json_object_set_new(o, "provenance", provenance(s)) == 0 && experts(o, s);
    if (ok && s->projector) {
        rt_param_count big = rt_model_parameters(rt_hf_config(s->teacher_files.files)), small = rt_model_parameters(&s->model.weights.config);
        ok = json_object_set_new(o, "compression", rt_json_number((double)big.total / (double)small.total)) == 0 &&
             json_object_set_new(o, "compression_active", rt_json_number((double)big.active / (double)small.active)) == 0;
    }
    if (!ok) json_decref(o);
    return ok ? o : NULL;
}
