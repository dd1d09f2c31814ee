/* trainer_open.c - everything a run needs, opened, checked against each other and planned, in the order of dependence. */
#include "train/trainer_private.h"
#include <string.h>

rt_precision rt_job_student_precision(const rt_job *job) {
    static const struct { rt_role role; rt_precision_role key; } map[] = {
        {rt_role_embedding, RT_ROLE_EMBEDDING}, {rt_role_residual, RT_ROLE_RESIDUAL}, {rt_role_norm, RT_ROLE_NORM}, {rt_role_attention, RT_ROLE_ATTENTION},
        {rt_role_router, RT_ROLE_ROUTER}, {rt_role_expert, RT_ROLE_EXPERT}, {rt_role_head, RT_ROLE_HEAD}};
    rt_precision p;
    for (size_t i = 0; i < sizeof map / sizeof *map; i++) p.weight[map[i].role] = p.act[map[i].role] = rt_job_role_dtype(job, map[i].key);
    return p;
}

/* Where a tokenizer is looked for when the job names none. */
static const char *tokenizer_home(const rt_trainer *t) { return t->teacher_files.path ? t->teacher_files.path : t->from; }

static rt_status open_teacher_files(rt_trainer *t, rt_error *err) {
    const rt_job *job = t->job;
    if (!job->teacher.path) return RT_OK;
    bool native = strcmp(job->precision.teacher, "native") == 0;
    RT_TRY(rt_frozen_open(&t->teacher_files, job->teacher.path, native ? RT_ACTIVATIONS_NATIVE : RT_ACTIVATIONS_F32, err));
    if (rt_weights_expert_budget(&t->teacher_files.weights, job->teacher.expert_budget, err) != RT_OK) return rt_error_prefix(err, "teacher.expert_budget");
    rt_dtype asserted;
    if (strcmp(job->teacher.dtype, "any") != 0 && rt_dtype_parse(job->teacher.dtype, &asserted))
        RT_TRY(rt_hf_assert_dtype(t->teacher_files.files, asserted, err));
    return RT_OK;
}

/* Apart from the opening, since it reads every byte: what is wrong with the data is said before. */
static rt_status plan_teacher(rt_trainer *t, rt_error *err) {
    const rt_job *job = t->job;
    if (!job->teacher.path) return RT_OK;
    if (!t->sketch) RT_TRY(rt_hf_content_hash(t->teacher_files.files, &t->teacher_hash, err));
    rt_forward_options o = {.name = "teacher", .windows = job->data.batch, .T = job->data.sequence_length, .cache_budget = job->teacher.pack_budget,
                            .cache_panels = job->teacher.cache_panels, .space = t->space, .sketch = t->sketch};
    return rt_forward_open(&t->teacher, &t->teacher_files.weights, &t->teacher_files.precision, &o, err);
}

/* V: highest token id + 1, without a tokenizer what the job or the teacher says (decisions.md, 15). */
static int64_t vocabulary(const rt_trainer *t) {
    if (t->data.tokenizer) return t->data.vocab.vocab.size;
    if (t->job->student.vocab_size) return t->job->student.vocab_size;
    if (t->teacher_files.files) return rt_hf_config(t->teacher_files.files)->vocab_size;
    return rt_token_stream_about(t->data.train_stream).highest + 1;
}

static rt_status check_tokens(const rt_trainer *t, rt_error *err) {
    const rt_token_stream *streams[] = {t->data.train_stream, t->data.valid_stream};
    for (int i = 0; i < 2; i++) {
        if (!streams[i]) continue;
        int32_t highest = rt_token_stream_about(streams[i]).highest;
        if (highest >= t->config.vocab_size)
            return rt_fail(err, RT_E_INPUT, "%s data: token id %d is beyond the student's vocabulary of %lld", i ? "validation" : "training", highest,
                           (long long)t->config.vocab_size);
    }
    return RT_OK;
}

static rt_status student_config(rt_trainer *t, rt_error *err) {
    const rt_job *job = t->job;
    int64_t V = vocabulary(t);
    if (job->student.init == RT_INIT_RANDOM) {
        if (job->student.vocab_size && job->student.vocab_size < V)
            return rt_fail(err, RT_E_CONFIG, "student.vocab_size %lld is smaller than the tokenizer's %lld", (long long)job->student.vocab_size, (long long)V);
        RT_TRY(rt_job_student_config(job, V, &t->config, err));
    } else {
        RT_TRY(rt_hf_open(t->from, &t->source, err));
        RT_TRY(rt_job_started_config(job, rt_hf_config(t->source), &t->config, err));
        if (V > t->config.vocab_size)
            return rt_fail(err, RT_E_CONFIG, "the tokenizer has %lld ids, student.from %s %lld rows", (long long)V, job->student.from, (long long)t->config.vocab_size);
    }
    if (t->data.tokenizer) {
        t->config.bos_id = rt_tokenizer_bos(t->data.tokenizer);
        t->config.eos_id = rt_tokenizer_eos(t->data.tokenizer);
    }
    if (job->data.sequence_length > rt_model_longest(&t->config))
        return rt_fail(err, RT_E_CONFIG, "data.sequence_length %lld is beyond the student's %lld positions", (long long)job->data.sequence_length,
                       (long long)rt_model_longest(&t->config));
    return check_tokens(t, err);
}

/* Both tokenizers must give the same ids; without a tokenizer beside the teacher the sizes must agree. */
static rt_status check_tokenizers(const rt_trainer *t, rt_error *err) {
    rt_tokenizer *own = NULL;
    if (rt_model_has_tokenizer(t->job->teacher.path)) RT_TRY(rt_model_tokenizer(&own, t->job->teacher.path, err));
    int64_t teacher_rows = rt_hf_config(t->teacher_files.files)->vocab_size;
    rt_tokenizer_id teacher = {own ? rt_tokenizer_hash(own) : NULL, own ? rt_tokenizer_size(own) : teacher_rows};
    rt_tokenizer_id student = {t->data.tokenizer ? rt_tokenizer_hash(t->data.tokenizer) : NULL, vocabulary(t)};
    rt_status s = rt_projector_check(t->job->projector.kind, teacher, student, err);
    rt_tokenizer_free(own);
    if (s == RT_OK && vocabulary(t) > teacher_rows)
        s = rt_fail(err, RT_E_CONFIG, "the tokenizer has %lld ids, the teacher's matrices %lld rows", (long long)vocabulary(t), (long long)teacher_rows);
    return s;
}

static rt_status open_projector(rt_trainer *t, rt_error *err) {
    if (!t->job->teacher.path) return RT_OK;
    rt_optim_config optimizer = rt_job_optim_config(t->job);
    rt_dtype dtype = RT_NONE;
    if (strcmp(t->job->precision.projector, "inherit") != 0) rt_dtype_parse(t->job->precision.projector, &dtype);
    rt_projector_options o = {.kind = t->job->projector.kind, .teacher = &t->teacher_files.weights, .teacher_precision = &t->teacher_files.precision,
                              .student = &t->student.weights, .dtype = dtype, .vocab = vocabulary(t), .optimizer = &optimizer, .space = t->space,
                              .sketch = t->sketch};
    RT_TRY(rt_projector_open(&t->projector, &o, err));
    bool trains = rt_projector_trainable(t->projector) && t->job->projector.update == RT_PROJECTOR_ALWAYS;
    return rt_projection_open(&t->projection, t->projector, rt_forward_hidden(&t->teacher), trains ? RT_PROJECTION_TRAIN : RT_PROJECTION_HIDDEN,
                              t->job->run.head_budget, err);
}

static rt_status open_routers(rt_trainer *t, rt_error *err) {
    RT_TRY(rt_router_find(t->job->router.policy, &t->router, err));
    t->router_states = rt_zalloc((size_t)t->config.layers * sizeof *t->router_states);
    t->ema = rt_zalloc((size_t)t->config.layers * sizeof *t->ema);
    t->phi = rt_zalloc((size_t)t->config.experts * sizeof *t->phi);
    t->slow = rt_zalloc((size_t)t->config.experts * sizeof *t->slow);
    if (!t->router_states || !t->ema || !t->phi || !t->slow) return rt_fail(err, RT_E_NOMEM, "out of memory: router state");
    rt_router_options o = {t->config.experts, t->config.experts_per_token, t->config.norm_topk};
    for (int64_t l = 0; l < t->config.layers && t->config.experts > 0; l++) {
        RT_TRY(rt_router_state_open(&t->router_states[l], t->router, &o, err));
        RT_TRY(rt_ema_open(&t->ema[l], t->config.experts, err));
    }
    return RT_OK;
}

/* A step is one backward pass: its gradients need not outlive it but for the optimizer, and take the place of activations. */
bool rt_job_one_run(const rt_job *job) { return job->data.accumulate == 1; }

static rt_status open_graphs(rt_trainer *t, int64_t head_rows, rt_error *err) {
    const rt_job *job = t->job;
    rt_step_options s = {.name = "student", .windows = job->data.batch, .T = job->data.sequence_length, .vocab = vocabulary(t), .recompute = job->run.recompute,
                         .trace = job->run.trace && t->config.experts > 0, .router = t->router, .states = t->router_states, .terms = t->objective.terms,
                         .n_terms = t->objective.n_all, .head_budget = job->run.head_budget, .head_rows = head_rows, .train = true, .plan_gradients = rt_job_one_run(job), .space = t->space,
                         .sketch = t->sketch};
    if (t->projector) s.teacher = (rt_teacher_side){rt_projection_hidden(t->projection), rt_projector_matrix(t->projector), rt_projector_prec(t->projector)};
    RT_TRY(rt_step_graph_open(&t->graph, &t->student.weights, &t->student.grads, &t->student.precision, &s, err));
    for (int i = t->objective.n_terms; i < t->objective.n_all; i++) t->graph.term_active[i] = 0;
    RT_TRY(rt_measures_open(&t->measures, &t->config, &t->graph, t->objective.terms, s.trace, err));
    rt_evaluator_options e = {.weights = &t->student.weights, .precision = &t->student.precision, .teacher = job->teacher.path ? &t->teacher : NULL,
                              .projector = t->projector, .objective = t->objective.terms, .n_objective = t->objective.n_terms,
                              .windows = job->data.batch, .T = s.T, .vocab = s.vocab, .temperature = t->objective.temperature,
                              .trace = s.trace, .router = t->router, .states = t->router_states, .head_budget = job->run.head_budget,
                              .head_rows = t->graph.head_rows, .space = t->space, .sketch = t->sketch};
    return rt_evaluator_open(&t->evaluator, &e, err);
}

static rt_status open_data(rt_trainer *t, rt_error *err) {
    const rt_job_data *d = &t->job->data;
    rt_loader_options o = {.T = d->sequence_length, .batch = d->batch, .accumulate = d->accumulate, .seed = (uint64_t)t->job->run.seed,
                           .weights = d->weights.item, .weight_count = d->weights.count};
    RT_TRY(rt_loader_create(&t->loader, t->data.train, &o, err));
    return rt_windows_make(&t->valid_windows, t->data.valid, d->sequence_length, false, err);
}

static rt_status open_optimizer(rt_trainer *t, rt_error *err) {
    rt_optim_config optimizer = rt_job_optim_config(t->job);
    if (rt_job_one_run(t->job)) rt_step_graph_gradients(&t->graph, &t->student.grads);
    return rt_student_optimizer(&t->student, &optimizer, t->job->optimizer.decay_all, err);
}

static rt_status open_corpora(rt_trainer *t, rt_error *err) {
    if (t->sketch) return rt_corpus_set_sketch(&t->data, t->job, tokenizer_home(t), &t->estimate, err);
    return rt_corpus_set_open(&t->data, t->job, tokenizer_home(t), err);
}
static rt_status open_student(rt_trainer *t, rt_error *err) {
    rt_precision p = rt_job_student_precision(t->job);
    if (t->sketch) return rt_student_sketch(&t->student, &t->config, &p, err);
    RT_TRY(rt_student_open(&t->student, &t->config, &p, err));
    return rt_job_one_run(t->job) ? RT_OK : rt_weights_alloc(&t->student.grads, err);
}

/* What is read, and what is known then. */
static rt_status open_sources(rt_trainer *t, rt_error *err) {
    RT_TRY(rt_objective_resolve(&t->objective, t->job, err));
    if (t->job->student.from) RT_TRY(rt_model_path(t->job->student.from, &t->from, err));
    RT_TRY(open_teacher_files(t, err));
    RT_TRY(open_corpora(t, err));
    RT_TRY(student_config(t, err));
    return t->job->teacher.path ? check_tokenizers(t, err) : RT_OK;
}
/* What takes the memory. */
static rt_status open_plans(rt_trainer *t, int64_t head_rows, rt_error *err) {
    if (!(t->space = rt_workspace_new())) return rt_fail(err, RT_E_NOMEM, "out of memory: trainer");
    RT_TRY(plan_teacher(t, err));
    if (!t->sketch) RT_TRY(open_data(t, err));
    RT_TRY(open_student(t, err));
    RT_TRY(open_projector(t, err));
    RT_TRY(open_routers(t, err));
    RT_TRY(open_graphs(t, head_rows, err));
    return t->sketch ? RT_OK : open_optimizer(t, err);
}

static rt_status open_all(rt_trainer **out, const rt_job *job, int64_t head_rows, bool sketch, rt_error *err) {
    rt_trainer *t = *out = rt_zalloc(sizeof *t);
    if (!t) return rt_fail(err, RT_E_NOMEM, "out of memory: trainer");
    t->job = job;
    t->sketch = sketch;
    t->best_step = -1;
    rt_status s = open_sources(t, err);
    rt_mem_trim(); /* what parsing left over */
    if (s == RT_OK) s = open_plans(t, head_rows, err);
    if (s != RT_OK) rt_trainer_close(t), *out = NULL;
    else if (!sketch) rt_mem_trim(); /* smaller plans */
    return s;
}
rt_status rt_trainer_open(rt_trainer **out, const rt_job *job, int64_t head_rows, rt_error *err) { return open_all(out, job, head_rows, false, err); }
rt_status rt_trainer_sketch(rt_trainer **out, const rt_job *job, int64_t head_rows, rt_error *err) { return open_all(out, job, head_rows, true, err); }

/* In the reverse of the order they were opened in; can be opened again. */
static void close_plans(rt_trainer *t) {
    rt_evaluator_close(t->evaluator);
    rt_measures_close(&t->measures);
    rt_step_graph_close(&t->graph);
    for (int64_t l = 0; l < t->config.layers; l++) {
        if (t->ema) rt_ema_close(&t->ema[l]);
        if (t->router_states) rt_router_state_close(&t->router_states[l]);
    }
    rt_free(t->ema), rt_free(t->router_states), rt_free(t->phi), rt_free(t->slow);
    rt_projection_close(t->projection);
    rt_projector_close(t->projector);
    rt_loader_free(t->loader);
    rt_student_close(&t->student);
    rt_forward_close(&t->teacher);
    rt_workspace_free(t->space);
    t->space = NULL;
    t->evaluator = NULL, t->ema = NULL, t->router_states = NULL, t->phi = NULL, t->slow = NULL;
    t->projection = NULL, t->projector = NULL, t->loader = NULL;
}
rt_status rt_trainer_replan(rt_trainer *t, const rt_job *job, int64_t head_rows, rt_error *err) {
    close_plans(t);
    t->job = job;
    RT_TRY(rt_objective_resolve(&t->objective, job, err));
    return open_plans(t, head_rows, err);
}

void rt_trainer_close(rt_trainer *t) {
    if (!t) return;
    close_plans(t);
    rt_frozen_close(&t->teacher_files);
    rt_corpus_set_close(&t->data);
    rt_hf_close(t->source);
    json_decref(t->start);
    rt_free(t->from);
    rt_free(t);
}
