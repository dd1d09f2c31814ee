/* trainer.h - a run in memory: teacher, student, projector, data, one optimizer step at a time.
 *
 *   rt_trainer_open -> (rt_trainer_begin | rt_trainer_restore) -> rt_trainer_step ... rt_trainer_evaluate ... rt_trainer_save
 * A step is: the whole optimizer batch (so N is known), micro-batches of teacher, projector, student forward and backward,
 * one optimizer step, then the one place where state changes: averages, router state, projector. */
#ifndef RETORT_TRAIN_TRAINER_H
#define RETORT_TRAIN_TRAINER_H
#include <retort/text/loader.h>
#include <retort/train/corpus_set.h>
#include <retort/train/evaluate.h>
#include <retort/train/phases.h>
#include <retort/infer/frozen.h>
#include <retort/train/start.h>

enum { RT_OBJECTIVE_MAX = RT_HEAD_TERMS_MAX - RT_METRIC_TERMS };
/* The objective, resolved: vocabulary losses are terms of the head, router losses are nodes. The metrics of evaluation follow
 * the objective's terms, inactive in training: both tapes have one list of terms. */
typedef struct rt_objective {
    rt_head_term terms[RT_HEAD_TERMS_MAX];
    const rt_job_objective *term_of[RT_OBJECTIVE_MAX], *balance, *router_z; /* NULL: not in the objective */
    int n_terms, n_all; /* of the objective; with the metrics */
    double temperature; /* of the distillation loss at the start; what evaluation reports as `kl` */
} rt_objective;

typedef struct rt_trainer {
    const rt_job *job;
    bool sketch;                 /* planned, without memory: it can be measured and described, nothing else */
    rt_corpus_estimate estimate; /* of a sketch: its data, which is not opened */
    rt_model_config config;
    rt_objective objective;
    rt_corpus_set data;
    char *from;     /* directory of the initial weights; NULL: random */
    rt_hf *source;  /* its files, until the weights are there */
    json_t *start;  /* what rt_start_json says of them; of a restored run, what was said when it began */
    rt_frozen teacher_files;
    rt_workspace *space; /* teacher, projections, student and evaluation run one after another */
    rt_forward teacher;
    rt_hf_hash teacher_hash;
    rt_projector *projector;
    rt_projection *projection;
    rt_student student;
    const rt_router *router;
    rt_router_state *router_states; /* [layers] */
    rt_ema *ema;                    /* [layers]: phi of each expert */
    rt_expert_coherence *phi;       /* [experts] working memory */
    double *slow;                   /* [experts] working memory */
    rt_step_graph graph;
    rt_measures measures;
    rt_evaluator *evaluator;
    rt_windows valid_windows;
    rt_loader *loader;
    int64_t step, tokens;           /* optimizer steps done; supervised tokens seen */
    int64_t best_step;
    double best_ce;                 /* of the evaluations; best_step -1: none yet */
    rt_phases *phases;              /* borrowed; NULL: not measured */
} rt_trainer;

typedef struct rt_step_report {
    int64_t step, tokens;     /* after the step; supervised tokens of the step */
    double lr, total;         /* total: the objective's value */
    rt_optim_stats optim;
    double seconds;
} rt_step_report;

/* Everything is opened, checked and planned, nothing is computed. head_rows 0: from the budget. The job is borrowed. */
rt_status rt_trainer_open(rt_trainer **out, const rt_job *job, int64_t head_rows, rt_error *err) RT_NODISCARD;
/* The same plans without their memory: no weight is allocated or read, no data beyond a look at its size, nothing is computed. */
rt_status rt_trainer_sketch(rt_trainer **out, const rt_job *job, int64_t head_rows, rt_error *err) RT_NODISCARD;
/* A sketch's plans again for a job that differs in sizes of data, of plans or of the run only; files stay open. */
rt_status rt_trainer_replan(rt_trainer *sketch, const rt_job *job, int64_t head_rows, rt_error *err) RT_NODISCARD;
void rt_trainer_close(rt_trainer *t); /* NULL is fine */
/* Step 0: the weights a run begins with (start.h); once, by rt_trainer_begin if by nobody before. */
rt_status rt_trainer_start(rt_trainer *t, rt_error *err) RT_NODISCARD;
/* Step 0: initial weights, and the projector's closed form and pre-fit (each: told of its steps; false interrupts). */
rt_status rt_trainer_begin(rt_trainer *t, bool (*each)(void *context, int64_t step, double ce), void *context, rt_error *err) RT_NODISCARD;
/* One optimizer step. After RT_E_NUMERIC nothing has changed, unless it names the projector: then the student has moved, and the
 * trainer is to be closed (the last checkpoint is whole). */
rt_status rt_trainer_step(rt_trainer *t, rt_step_report *r, rt_error *err) RT_NODISCARD;
/* Of the validation data; remembers the best. Changes nothing else. */
rt_status rt_trainer_evaluate(rt_trainer *t, rt_evaluation *v, rt_error *err) RT_NODISCARD;

/* A checkpoint under ROOT/step-...; facts (borrowed) go into the manifest beside the configuration and the policy. */
rt_status rt_trainer_save(rt_trainer *t, const char *root, const json_t *facts, rt_error *err) RT_NODISCARD;
/* Continues from a verified checkpoint directory. */
rt_status rt_trainer_restore(rt_trainer *t, const char *checkpoint, rt_error *err) RT_NODISCARD;

/* Value, weight of objective entry i (as in the job) over the last step. */
double rt_trainer_objective_value(const rt_trainer *t, int64_t i);
rt_precision rt_job_student_precision(const rt_job *job);
#endif
