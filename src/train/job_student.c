/* job_student.c - the keys of the student: what is unset follows from the family or from the model it starts from, what is
 * set and says something else than that model is refused. */
#include "train/job_private.h"
#include <retort/io/hf.h>
#include <retort/infer/frozen.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

static const struct {
    const char *name;
    size_t key, field;
    int64_t unset, usual; /* usual: of a random student */
} sizes[] = {
#define X(name, unset, usual) {#name, offsetof(rt_job_student, name), offsetof(rt_model_config, name), unset, usual}
    X(vocab_size, 0, 0), X(hidden_size, 0, 256), X(layers, 0, 4), X(heads, 0, 8), X(kv_heads, 0, 4), X(head_dim, 0, 0), X(ffn_size, 0, 512),
    X(experts, -1, -1), X(experts_per_token, -1, -1), X(max_position, 0, 0),
#undef X
};
static const struct {
    const char *name;
    size_t key, field;
    double usual;
} numbers[] = {
#define X(name, usual) {#name, offsetof(rt_job_student, name), offsetof(rt_model_config, name), usual}
    X(rope_theta, 10000), X(norm_eps, 1e-5),
#undef X
};
enum { SIZES = sizeof sizes / sizeof *sizes, NUMBERS = sizeof numbers / sizeof *numbers };

static int64_t *size_key(rt_job_student *s, int i) { return (int64_t *)(void *)((char *)s + sizes[i].key); }
static double *number_key(rt_job_student *s, int i) { return (double *)(void *)((char *)s + numbers[i].key); }
static int64_t size_of(const rt_model_config *c, int i) { return *(const int64_t *)(const void *)((const char *)c + sizes[i].field); }
static double number_of(const rt_model_config *c, int i) { return *(const double *)(const void *)((const char *)c + numbers[i].field); }

/* ------------------------------------------------------------------ family */

static bool automatic(const rt_job_student *s) { return strcmp(s->arch, "auto") == 0; }

bool rt_job_moe(const rt_job *job) {
    const rt_arch *arch = rt_arch_find(job->student.arch);
    return arch ? arch->moe : automatic(&job->student) && job->student.init != RT_INIT_CHECKPOINT;
}

static rt_status unknown_family(const char *name, rt_error *err) {
    const char *near = rt_nearest(name, rt_arch_names());
    return rt_fail(err, RT_E_CONFIG, "student.arch: found '%.40s', expected a model family%s%s%s", name, near ? "; did you mean '" : "",
                   near ? near : "", near ? "'?" : "");
}

/* Families a student can have: complete on disk without parts that are not trained here. The others are read, as teachers. */
static rt_status check_family(const char *name, rt_error *err) {
    static const char *const families[] = {"llama", "mistral", "qwen2", "qwen3", "mixtral", "qwen3_moe", NULL};
    if (!rt_arch_find(name)) return unknown_family(name, err);
    for (int i = 0; families[i]; i++)
        if (strcmp(name, families[i]) == 0) return RT_OK;
    return rt_fail(err, RT_E_CONFIG, "student.arch: found %s, which is read as a teacher only, expected llama, mistral, qwen2, qwen3, mixtral or qwen3_moe", name);
}

static rt_status check_init(const rt_job_student *s, rt_error *err) {
    static const char *const names[] = {"random", "checkpoint", "upcycle"};
    if (s->init == RT_INIT_RANDOM && s->from)
        return rt_fail(err, RT_E_CONFIG, "student.from is set, and student.init is random; set it to checkpoint or upcycle");
    if (s->init != RT_INIT_RANDOM && !s->from) return rt_fail(err, RT_E_CONFIG, "student.init is %s, and student.from is not set", names[s->init]);
    return RT_OK;
}

/* The architecture of the files the student starts from; no weight is touched. */
static rt_status source_config(const rt_job_student *s, rt_model_config *out, rt_error *err) {
    rt_buf config = {0};
    char *path;
    RT_TRY(rt_model_path(s->from, &path, err));
    rt_buf_printf(&config, "%s/config.json", path);
    rt_free(path);
    rt_status status = config.failed ? rt_fail(err, RT_E_NOMEM, "out of memory") : rt_hf_config_read(config.data, out, err);
    rt_buf_free(&config);
    return status;
}

rt_status rt_job_resolve_family(rt_job *job, rt_error *err) {
    rt_job_student *s = &job->student;
    rt_model_config source;
    RT_TRY(check_init(s, err));
    if (!automatic(s)) return check_family(s->arch, err);
    if (s->init == RT_INIT_RANDOM) return s->arch = "mixtral", RT_OK;
    RT_TRY(source_config(s, &source, err));
    const rt_arch *arch = s->init == RT_INIT_CHECKPOINT ? source.arch : rt_upcycle_arch(source.arch);
    if (!arch) return rt_upcycle_refuse(source.arch, NULL, s->from, err);
    s->arch = arch->name;
    return check_family(s->arch, err);
}

/* ------------------------------------------------------------------- sizes */

static void usual_experts(rt_job *job) {
    rt_job_student *s = &job->student;
    int64_t slices = s->init == RT_INIT_UPCYCLE ? s->granularity : 1;
    bool moe = rt_job_moe(job);
    if (s->experts < 0) s->experts = moe ? 8 * slices : 0;
    if (s->experts_per_token < 0) s->experts_per_token = moe ? 2 * slices : 0;
}

static rt_status usual_sizes(rt_job *job, rt_error *err) {
    rt_job_student *s = &job->student;
    for (int i = 0; i < SIZES; i++)
        if (*size_key(s, i) == sizes[i].unset) *size_key(s, i) = sizes[i].usual;
    for (int i = 0; i < NUMBERS; i++)
        if (*number_key(s, i) == 0) *number_key(s, i) = numbers[i].usual;
    usual_experts(job);
    if (s->head_dim == 0 && s->hidden_size % s->heads == 0) s->head_dim = s->hidden_size / s->heads;
    if (s->max_position == 0) s->max_position = job->data.sequence_length > 2048 ? job->data.sequence_length : 2048;
    if (s->head_dim > 0) return RT_OK;
    return rt_fail(err, RT_E_CONFIG, "student.hidden_size %lld is no multiple of student.heads %lld; set student.head_dim",
                   (long long)s->hidden_size, (long long)s->heads);
}

/* What the files say, which a resolved job repeats: read only as long as something is unset, so that a stored job can be read
 * where the files are gone. */
static rt_status sizes_of_source(rt_job *job, rt_error *err) {
    rt_job_student *s = &job->student;
    rt_model_config source, c;
    bool unset = false;
    if (s->init == RT_INIT_UPCYCLE) usual_experts(job);
    for (int i = 0; i < SIZES; i++) unset |= *size_key(s, i) == sizes[i].unset;
    for (int i = 0; i < NUMBERS; i++) unset |= *number_key(s, i) == 0;
    if (!unset) return RT_OK;
    RT_TRY(source_config(s, &source, err));
    RT_TRY(rt_job_started_config(job, &source, &c, err));
    for (int i = 0; i < SIZES; i++) *size_key(s, i) = size_of(&c, i);
    for (int i = 0; i < NUMBERS; i++) *number_key(s, i) = number_of(&c, i);
    s->tie = c.tie_embeddings;
    return RT_OK;
}

rt_status rt_job_resolve_student(rt_job *job, rt_error *err) {
    RT_TRY(rt_job_resolve_family(job, err));
    return job->student.init == RT_INIT_RANDOM ? usual_sizes(job, err) : sizes_of_source(job, err);
}

/* ------------------------------------------------------- the architecture */

rt_status rt_job_student_config(const rt_job *job, int64_t vocab_size, rt_model_config *out, rt_error *err) {
    const rt_job_student *s = &job->student;
    const rt_arch *arch = rt_arch_find(s->arch);
    if (!arch) return unknown_family(s->arch, err);
    rt_model_config c = rt_model_config_default(arch);
    c.vocab_size = vocab_size, c.hidden_size = s->hidden_size, c.layers = s->layers, c.ffn_size = s->ffn_size;
    c.heads = s->heads, c.kv_heads = s->kv_heads, c.head_dim = s->head_dim;
    c.experts = s->experts, c.experts_per_token = s->experts_per_token;
    c.norm_eps = s->norm_eps, c.rope_theta = s->rope_theta, c.max_position = s->max_position;
    c.tie_embeddings = s->tie;
    c.norm_topk = arch->moe;
    c.dense_ffn_size = arch->dense_layers ? s->ffn_size : 0;
    *out = c;
    rt_error local = {0};
    rt_status status = rt_model_config_check(&c, &local);
    return status == RT_OK ? RT_OK : rt_fail(err, status, "student: %s", local.text);
}

rt_upcycle rt_job_upcycle(const rt_job *job) {
    const rt_job_student *s = &job->student;
    return (rt_upcycle){s->experts, s->experts_per_token, s->granularity, s->upcycle_noise, (uint64_t)job->run.seed};
}

static rt_status agree(const rt_job_student *given, const rt_model_config *c, rt_error *err) {
    rt_job_student copy = *given, *s = &copy;
    for (int i = 0; i < SIZES; i++)
        if (*size_key(s, i) != sizes[i].unset && *size_key(s, i) != size_of(c, i))
            return rt_fail(err, RT_E_CONFIG, "student.%s: found %lld, expected %lld, as student.from %s has it%s", sizes[i].name, (long long)*size_key(s, i),
                           (long long)size_of(c, i), s->from, s->granularity > 1 && strcmp(sizes[i].name, "ffn_size") == 0 ? ", sliced" : "");
    for (int i = 0; i < NUMBERS; i++)
        if (*number_key(s, i) != 0 && *number_key(s, i) != number_of(c, i))
            return rt_fail(err, RT_E_CONFIG, "student.%s: found %g, expected %g, as student.from %s has it", numbers[i].name, *number_key(s, i),
                           number_of(c, i), s->from);
    if (s->tie && !c->tie_embeddings) return rt_fail(err, RT_E_CONFIG, "student.tie: found yes, expected no, as student.from %s has it", s->from);
    return RT_OK;
}

rt_status rt_job_started_config(const rt_job *job, const rt_model_config *source, rt_model_config *out, rt_error *err) {
    const rt_job_student *s = &job->student;
    const rt_arch *arch = rt_arch_find(s->arch);
    if (!arch) return unknown_family(s->arch, err);
    if (s->init == RT_INIT_UPCYCLE) {
        rt_upcycle u = rt_job_upcycle(job);
        RT_TRY(rt_upcycle_config(source, arch, &u, s->from, out, err));
    } else {
        *out = *source;
        if (source->arch != arch)
            return rt_fail(err, RT_E_CONFIG, "student.from %s is a %s, and student.arch says %s", s->from, source->arch->name, s->arch);
    }
    return agree(s, out, err);
}
