/* run_profile.h - where a run's time and memory go, by role: what `--profile` prints and the record `profile` holds.
 *
 * A role is the nodes of one name in all layers ("student.experts.backward"), or something outside the tapes. Its limit is the
 * longer of flops / product rate and bytes / copy rate (rt_graph_works; kernels/measure.h), the rates measured before and
 * after the run. The first step, which packs weights and touches memory, is not counted. No bit of the run changes.
 *
 *     rt_run_profile *p;                      NULL: all of this does nothing
 *     rt_run_profile_open(&p, err);           before the trainer takes memory
 *     rt_run_profile_begin(p, t, err);        then, for each step: rt_run_profile_before, the step and its log, rt_run_profile_after
 *     rt_run_profile_end(p, t, err);          what memory there is; the trainer may be closed then
 *     rt_run_profile_rates(p, err);  rt_run_profile_text(p, &text);  rt_run_profile_json(p);  rt_run_profile_close(p); */
#ifndef RT_TRAIN_RUN_PROFILE_H
#define RT_TRAIN_RUN_PROFILE_H
#include <retort/train/trainer.h>

typedef enum rt_profile_group { RT_GROUP_TEACHER, RT_GROUP_PROJECTOR, RT_GROUP_FORWARD, RT_GROUP_HEAD, RT_GROUP_BACKWARD, RT_GROUP_OPTIMIZER,
    RT_GROUP_HOST, RT_GROUPS } rt_profile_group;
typedef struct rt_profile_role {
    char name[72];  /* "teacher.qkv" */
    const char *label; /* what the table calls it within its group: "qkv" */
    rt_profile_group group;
    rt_work work;   /* of a step */
    double seconds; /* of all counted steps */
} rt_profile_role;

/* Buffers of the student's arena at its fullest moment, of one role. */
typedef struct rt_profile_held {
    const char *role;
    int64_t bytes[3]; /* by rt_held */
} rt_profile_held;

typedef struct rt_profile_memory {
    int64_t weights, masters, gradients, moments; /* of the student; f32 weights are their own masters */
    int64_t files, packed;                        /* the teacher: weights in mapped files; in the layout of the products */
    int64_t step, evaluation, teacher, projector; /* arenas */
    int64_t scratch;                              /* of all threads */
    int64_t peak;                                 /* resident, of the process, without the yardsticks; 0: unknown */
    rt_graph_moment moment;                       /* the student's arena at its fullest */
} rt_profile_memory;

typedef struct rt_profile_tape {
    rt_graph *g;
    int64_t nodes;
    int *role[2];    /* [nodes] of forward, backward */
    double *seen[2]; /* [nodes] seconds that are counted, or are not to be */
} rt_profile_tape;

enum { RT_PROFILE_TAPES = 3 };
typedef struct rt_run_profile {
    rt_phases phases, before;
    rt_profile_tape tape[RT_PROFILE_TAPES];
    int tapes, roles, held, host; /* host: index of the first role outside the tapes */
    rt_profile_role *role;
    rt_profile_held *hold;
    int64_t skipped, steps, last_step, tokens;
    double seconds;            /* of the counted steps, their log included */
    rt_work evaluation;        /* of all evaluations */
    double product[2], copy[2]; /* before, after: GFLOP/s, GB/s */
    int rates;
    rt_profile_memory memory;
    rt_arena arena;
} rt_run_profile;

rt_status rt_run_profile_open(rt_run_profile **out, rt_error *err) RT_NODISCARD;
void rt_run_profile_close(rt_run_profile *p);
rt_status rt_run_profile_begin(rt_run_profile *p, rt_trainer *t, rt_error *err) RT_NODISCARD;
void rt_run_profile_before(rt_run_profile *p);
void rt_run_profile_after(rt_run_profile *p, const rt_trainer *t, const rt_step_report *s);
void rt_run_profile_evaluated(rt_run_profile *p, const rt_trainer *t, const rt_evaluation *v);
rt_status rt_run_profile_end(rt_run_profile *p, const rt_trainer *t, rt_error *err) RT_NODISCARD;
rt_status rt_run_profile_rates(rt_run_profile *p, rt_error *err) RT_NODISCARD;
static inline bool rt_run_profile_began(const rt_run_profile *p) { return p && p->hold; }
static inline rt_phases *rt_run_profile_phases(rt_run_profile *p) { return p ? &p->phases : NULL; }

/* run_profile_report.c. Seconds that the work takes at least, and what sets them: "products", "memory"; "caches" where most of what is
 * read and written lives in tiles of rows, so that no rate measured here is its limit; NULL: no work. */
double rt_run_profile_limit(const rt_run_profile *p, const rt_work *w, const char **set_by);
json_t *rt_run_profile_json(const rt_run_profile *p); /* NULL: out of memory */
void rt_run_profile_text(const rt_run_profile *p, rt_buf *out);
#endif
