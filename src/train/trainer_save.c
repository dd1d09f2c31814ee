/* trainer_save.c - a checkpoint: the student as a model directory, optimizer, projector, state, and what it was made with. */
#include "kernels/gemm.h"
#include "kernels/half.h"
#include "kernels/isa.h"
#include "train/trainer_private.h"
#include <retort/base/file.h>
#include <retort/io/checkpoint.h>
#include <stdio.h>
#include <stdlib.h>

enum { FILES_MAX = 9 };

static rt_status write_config(const char *path, void *context, rt_error *err) {
    const rt_trainer *t = context;
    return rt_hf_config_write(path, &t->config, t->student.precision.weight[rt_role_embedding], err);
}
static rt_status write_generation(const char *path, void *context, rt_error *err) { return rt_hf_generation_config_write(path, &((const rt_trainer *)context)->config, err); }
static rt_status write_state(const char *path, void *context, rt_error *err) {
    json_t *state = rt_trainer_state_json(context);
    rt_status s = state ? rt_json_save(path, state, err) : rt_fail(err, RT_E_NOMEM, "out of memory: state.json");
    json_decref(state);
    return s;
}
static rt_status write_tokenizer(const char *path, void *context, rt_error *err) {
    size_t n;
    const char *text = rt_tokenizer_json(((const rt_trainer *)context)->data.tokenizer, &n);
    return rt_file_write_atomic(path, text, n, err);
}
static rt_status write_tokenizer_config(const char *path, void *context, rt_error *err) {
    size_t n;
    const char *text = rt_tokenizer_config_json(((const rt_trainer *)context)->data.tokenizer, &n);
    return rt_file_write_atomic(path, text, n, err);
}

/* The template that the job names, so that what was learnt can be asked for; else the tokenizer's own file. NULL: none. */
static const char *chat_template(const rt_trainer *t, size_t *n) {
    if (t->data.chat && t->job->data.chat_template) return rt_chat_source(t->data.chat, n);
    return t->data.tokenizer ? rt_tokenizer_chat_file(t->data.tokenizer, n) : NULL;
}
static rt_status write_chat(const char *path, void *context, rt_error *err) {
    size_t n;
    const char *text = chat_template(context, &n);
    return rt_file_write_atomic(path, text, n, err);
}

/* One stacked weight after another is gathered into one buffer, as large as the largest weight of the files. */
typedef struct gather {
    const rt_weights *w;
    rt_tensor *list;
    void *buffer;
} gather;
static rt_status source(void *context, int64_t i, const void **data, rt_error *err) {
    const gather *g = context;
    (void)err;
    *data = rt_weights_get(g->w, i, g->buffer).data;
    return RT_OK;
}
static rt_status write_weights(const char *path, void *context, rt_error *err) {
    const rt_trainer *t = context;
    const rt_model_config *c = &t->config;
    int64_t n = rt_weight_count(c);
    gather g = {&t->student.weights, rt_zalloc((size_t)n * sizeof *g.list), rt_alloc((size_t)(c->hidden_size * c->ffn_size) * sizeof(double))};
    rt_status s = g.list && g.buffer ? RT_OK : rt_fail(err, RT_E_NOMEM, "out of memory: weights to write");
    for (int64_t i = 0; s == RT_OK && i < n; i++) {
        g.list[i] = rt_weights_get(g.w, i, g.buffer);
        g.list[i].data = NULL;
    }
    if (s == RT_OK) s = rt_hf_weights_write(path, c, g.list, &(rt_safetensors_write_options){.source = source, .context = &g}, err);
    rt_free(g.list), rt_free(g.buffer);
    return s;
}

static int list_files(rt_trainer *t, rt_checkpoint_file *f) {
    int n = 0;
    size_t bytes;
    f[n++] = (rt_checkpoint_file){"config.json", write_config, t};
    f[n++] = (rt_checkpoint_file){"generation_config.json", write_generation, t};
    f[n++] = (rt_checkpoint_file){"model.safetensors", write_weights, t};
    f[n++] = (rt_checkpoint_file){"optimizer.safetensors", rt_student_save_optimizer, &t->student};
    f[n++] = (rt_checkpoint_file){"state.json", write_state, t};
    if (t->projector && rt_projector_kind_of(t->projector) != RT_PROJECTOR_SHARED) f[n++] = (rt_checkpoint_file){"projector.safetensors", rt_projector_save, t->projector};
    if (t->data.tokenizer) f[n++] = (rt_checkpoint_file){"tokenizer.json", write_tokenizer, t};
    if (t->data.tokenizer && rt_tokenizer_config_json(t->data.tokenizer, &bytes)) f[n++] = (rt_checkpoint_file){"tokenizer_config.json", write_tokenizer_config, t};
    if (chat_template(t, &bytes)) f[n++] = (rt_checkpoint_file){"chat_template.jinja", write_chat, t};
    return n;
}

static bool add_text(json_t *o, const char *key, const char *text) { return !text || json_object_set_new(o, key, json_string(text)) == 0; }

/* What evaluation and a resumed run read: configuration, policy, what data and teacher were. */
static json_t *manifest_facts(const rt_trainer *t, const json_t *given) {
    rt_buf policy = {0};
    json_t *o = given ? json_deep_copy(given) : json_object();
    rt_precision_text(&t->student.precision, &policy);
    bool ok = o && !policy.failed && json_object_set_new(o, "configuration", rt_job_json(t->job)) == 0 && add_text(o, "precision", policy.data) &&
              add_text(o, "version", RT_VERSION) && add_text(o, "isa", rt_isa_name(rt_isa_level())) &&
              add_text(o, "products", rt_gemm_f32_library()) && add_text(o, "half_products", rt_half_summary()) &&
              add_text(o, "train_hash", t->data.train_hash) && add_text(o, "valid_hash", t->data.valid_hash) &&
              add_text(o, "tokenizer_hash", t->data.tokenizer ? rt_tokenizer_hash(t->data.tokenizer) : NULL) &&
              add_text(o, "teacher_hash", t->job->teacher.path ? t->teacher_hash.hex : NULL) &&
              (!t->start || json_object_set(o, "start", t->start) == 0) && json_object_set_new(o, "head_rows", json_integer(t->graph.head_rows)) == 0;
    rt_buf_free(&policy);
    if (!ok) json_decref(o);
    return ok ? o : NULL;
}

rt_status rt_trainer_save(rt_trainer *t, const char *root, const json_t *facts, rt_error *err) {
    rt_checkpoint_file files[FILES_MAX];
    json_t *all = manifest_facts(t, facts);
    if (!all) return rt_fail(err, RT_E_NOMEM, "out of memory: manifest");
    rt_status s = rt_checkpoint_save(root, t->step, files, list_files(t, files), all, err);
    json_decref(all);
    return s;
}

/* ----------------------------------------------------------------- restore */

static const rt_tensor *from_files(void *context, int64_t i) { return rt_hf_weight(context, i); }

static rt_status restore_weights(rt_trainer *t, const char *directory, rt_error *err) {
    rt_hf *files;
    RT_TRY(rt_hf_open(directory, &files, err));
    rt_status s = rt_model_config_equal(rt_hf_config(files), &t->config)
                      ? rt_weights_copy(&t->student.weights, from_files, files, err)
                      : rt_fail(err, RT_E_INPUT, "%s: config.json describes another model than the job", directory);
    rt_hf_close(files);
    return s;
}
static rt_status restore_state(rt_trainer *t, const char *path, rt_error *err) {
    json_t *state;
    RT_TRY(rt_json_load(path, (size_t)256 << 20, &state, err));
    rt_status s = rt_trainer_state_read(t, state, path, err);
    json_decref(state);
    return s;
}

/* What the run began with is said by its checkpoints: the files it came from may have changed since. */
static rt_status restore_start(rt_trainer *t, const char *checkpoint, rt_error *err) {
    json_t *manifest;
    RT_TRY(rt_checkpoint_manifest(checkpoint, &manifest, err));
    json_decref(t->start);
    t->start = json_incref(json_object_get(manifest, "start"));
    json_decref(manifest);
    rt_hf_close(t->source);
    t->source = NULL;
    return RT_OK;
}

rt_status rt_trainer_restore(rt_trainer *t, const char *checkpoint, rt_error *err) {
    char path[4096];
    RT_TRY(restore_start(t, checkpoint, err));
    RT_TRY(restore_weights(t, checkpoint, err));
    rt_student_adopt(&t->student);
    snprintf(path, sizeof path, "%s/optimizer.safetensors", checkpoint);
    RT_TRY(rt_student_load_optimizer(&t->student, path, err));
    snprintf(path, sizeof path, "%s/state.json", checkpoint);
    RT_TRY(restore_state(t, path, err));
    if (!t->projector || rt_projector_kind_of(t->projector) == RT_PROJECTOR_SHARED) return RT_OK;
    snprintf(path, sizeof path, "%s/projector.safetensors", checkpoint);
    RT_TRY(rt_projector_load(t->projector, path, err));
    return rt_projector_refresh(t->projector, err);
}
