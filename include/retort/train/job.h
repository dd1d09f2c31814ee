/* job.h - the configuration of a training or distillation run: one struct, its tables, its checks.
 *
 * The order of effect is defaults < file < preset < command line. rt_job_finish fills in what depends on other keys and
 * checks keys against each other; the resolved job, written as JSON, reads back as the same job: it is stored in every run
 * and checkpoint. All strings live in the job's arena (or are borrowed from something that outlives it).
 *
 *     rt_job job;
 *     RT_TRY(rt_job_load("job.yaml", sets, count, &job, err));   ...   rt_job_free(&job); */
#ifndef RETORT_TRAIN_JOB_H
#define RETORT_TRAIN_JOB_H
#include <retort/base/options.h>
#include <retort/model/config.h>
#include <retort/optim/optim.h>
#include <retort/optim/schedule.h>
#include <retort/train/upcycle.h>

typedef struct rt_job_teacher {
    const char *path;  /* NULL: no teacher */
    const char *dtype; /* what the files' matrices must be, or "any" */
    int64_t pack_budget, expert_budget; /* bytes; expert_budget 0: no bound */
    bool cache_panels; /* packed weights in f32 */
} rt_job_teacher;

typedef enum rt_projector_kind { RT_PROJECTOR_AUTO, RT_PROJECTOR_NONE, RT_PROJECTOR_SHARED, RT_PROJECTOR_FACTORED } rt_projector_kind;
typedef enum rt_projector_update { RT_PROJECTOR_ALWAYS, RT_PROJECTOR_PREFIT } rt_projector_update;
typedef struct rt_job_projector {
    int kind, update; /* never AUTO once finished */
    int64_t prefit_steps;
    double lambda;
} rt_job_projector;

typedef enum rt_student_init { RT_INIT_RANDOM, RT_INIT_CHECKPOINT, RT_INIT_UPCYCLE } rt_student_init;
typedef struct rt_job_student { /* once finished, a start from files has their sizes in all of these */
    int init;
    const char *from, *arch; /* arch: a family once finished, "auto" before */
    int64_t granularity;     /* upcycle: slices of the dense feed-forward layer, one an expert */
    double upcycle_noise;    /* upcycle: noise on the experts, relative to the root mean square of the dense matrix */
    int64_t vocab_size;      /* 0: the tokenizer's */
    int64_t hidden_size, layers, heads, kv_heads, head_dim, ffn_size, experts, experts_per_token, max_position;
    double rope_theta, norm_eps;
    bool tie;
} rt_job_student;

typedef struct rt_job_router {
    const char *policy;
} rt_job_router;

typedef struct rt_job_data {
    rt_strings train, valid;
    const char *tokenizer; /* NULL: the teacher's or the checkpoint's */
    rt_reals weights;      /* of the train files; none: all 1 */
    const char *separator, *text_key, *csv_column;
    bool csv_header;
    const char *chat_template; /* NULL: the tokenizer's own */
    int64_t sequence_length, batch, accumulate;
    double valid_fraction;
} rt_job_data;

typedef struct rt_job_objective {
    const char *loss;
    double weight, final_weight, temperature, final_temperature; /* final ones: those of the start once finished, if unset */
    int schedule;                                                /* rt_schedule_kind: the course from start to final */
    double beta, label_smoothing;
} rt_job_objective;

typedef struct rt_job_optimizer {
    const char *name;
    double lr, weight_decay, eps, clip;
    rt_reals betas; /* two */
    bool decay_all;
} rt_job_optimizer;

typedef enum rt_precision_role {
    RT_ROLE_EMBEDDING, RT_ROLE_ATTENTION, RT_ROLE_NORM, RT_ROLE_ROUTER, RT_ROLE_EXPERT, RT_ROLE_RESIDUAL, RT_ROLE_HEAD,
    RT_ROLE_PROJECTOR, RT_ROLE_LOSS
} rt_precision_role;
typedef struct rt_job_precision {
    const char *student; /* a dtype */
    const char *teacher; /* "native" or "f32" */
    const char *embedding, *attention, *norm, *router, *expert, *residual, *head, *projector, *loss; /* a dtype or "inherit" */
} rt_job_precision;

enum { RT_MEMORY_AUTO = -1 }; /* what the machine has */
typedef struct rt_job_run {
    const char *out;
    int64_t seed, eval_every, save_every, log_every, keep, threads, stop_after, head_budget, eval_tokens;
    int64_t memory_limit; /* bytes; RT_MEMORY_AUTO; 0: whatever the job takes */
    bool recompute, trace;
} rt_job_run;

typedef struct rt_job {
    rt_job_teacher teacher;
    rt_job_projector projector;
    rt_job_student student;
    rt_job_router router;
    rt_job_data data;
    rt_sections objective; /* of rt_job_objective */
    rt_job_optimizer optimizer;
    rt_schedule schedule;
    rt_job_precision precision;
    rt_job_run run;
    rt_arena arena;
} rt_job;

/* The whole way: defaults, the file (NULL: none), the assignments in order (those of `objective` last, since the default
 * objective depends on the other keys), finish. On failure the job is freed. */
rt_status rt_job_load(const char *path, const char *const *sets, int64_t count, rt_job *job, rt_error *err) RT_NODISCARD;
/* From a stored resolved configuration; `where` names it in errors. */
rt_status rt_job_from_json(const json_t *value, const char *where, rt_job *job, rt_error *err) RT_NODISCARD;
/* The steps, for commands that put options of their own in between. Free the job also after an error. */
rt_status rt_job_init(rt_job *job, rt_error *err) RT_NODISCARD;
rt_status rt_job_read(rt_job *job, const char *path, rt_error *err) RT_NODISCARD;
rt_status rt_job_preset(rt_job *job, const char *size, rt_error *err) RT_NODISCARD; /* the student's sizes */
rt_status rt_job_set(rt_job *job, const char *assignment, rt_error *err) RT_NODISCARD;
rt_status rt_job_set_all(rt_job *job, const char *const *sets, int64_t count, rt_error *err) RT_NODISCARD; /* in the right order */
rt_status rt_job_finish(rt_job *job, rt_error *err) RT_NODISCARD; /* idempotent */
void rt_job_free(rt_job *job);

json_t *rt_job_json(const rt_job *job); /* NULL: out of memory */
const rt_option *rt_job_options(void);
void rt_job_help(rt_buf *out);    /* every key */
void rt_job_presets(rt_buf *out); /* the sizes of --student */

static inline const rt_job_objective *rt_job_objectives(const rt_job *job) { return job->objective.item; }
/* Weight and temperature at an optimizer step. */
double rt_job_weight(const rt_job *job, const rt_job_objective *o, int64_t step);
double rt_job_temperature(const rt_job *job, const rt_job_objective *o, int64_t step);
double rt_job_lr(const rt_job *job, int64_t step);
/* The architecture of a random student with `vocab_size` rows; RT_E_CONFIG when sizes do not fit together. */
rt_status rt_job_student_config(const rt_job *job, int64_t vocab_size, rt_model_config *out, rt_error *err) RT_NODISCARD;
/* That of a student that starts from the model `source`; RT_E_CONFIG where a key says something else, naming both. */
rt_status rt_job_started_config(const rt_job *job, const rt_model_config *source, rt_model_config *out, rt_error *err) RT_NODISCARD;
rt_upcycle rt_job_upcycle(const rt_job *job); /* the keys of init upcycle */
rt_optim_config rt_job_optim_config(const rt_job *job);
/* The dtype of a role: its own key, or what it inherits. The projector inherits from the teacher's files: RT_NONE. */
rt_dtype rt_job_role_dtype(const rt_job *job, rt_precision_role role);
#endif
