/* job.h - a reference job as files in a temporary folder and a trainer over them, so that a bench runs the trainer itself.
 *
 * R1. Teacher: dense Llama, width 512, 8 layers, 8 heads, ffn 1408, random f16 weights, untied. Student: Mixtral, width 256, 4
 * layers, 8 heads with 4 for keys, 8 experts of 512, top 2, untied, f32. V 8192; 8 x 256 random tokens a step;
 * .7 forward_kl (tau 2) + .3 next_token + balance + router_z; AdamW; coherence trace on. */
#ifndef BENCH_JOB_H
#define BENCH_JOB_H
#include <retort/train/trainer.h>

typedef struct bench_job_spec {
    int64_t V;          /* the tokenizer's size: 256 to 16 million */
    int64_t T, windows; /* of a step */
    int64_t tokens;     /* of the training file */
    bool teacher;       /* R1's, or of another width, with as many heads of 64, and of so many layers; 0: R1's */
    int64_t teacher_width, teacher_layers;
    const char *const *sets, *const *more; /* assignments of the job, NULL-terminated; more may be NULL */
} bench_job_spec;

typedef struct bench_job {
    char folder[64];
    rt_job job;
    rt_trainer *trainer;
    rt_step_report report; /* of the last bench_job_step */
    double tokens;         /* of a step */
    int64_t T;
} bench_job;

bench_job_spec bench_job_r1(void);
/* The trainer is begun: step 0. */
rt_status bench_job_open(bench_job *b, const bench_job_spec *o, rt_error *err) RT_NODISCARD;
void bench_job_close(bench_job *b);
rt_status bench_job_step(void *job, rt_error *err) RT_NODISCARD; /* a bench_case's run */
const rt_model_config *bench_job_teacher(const bench_job *b);    /* NULL: none */
/* Useful arithmetic of a step: 2 x teacher + 6 x active student parameters a token, embeddings not counted, heads counted,
 * attention not; and of the evaluation of as many tokens: 2 x both. */
double bench_job_flop(const bench_job *b);
double bench_job_evaluation_flop(const bench_job *b);
uint64_t bench_job_hash(const bench_job *b); /* of the student's weights: equal for any number of threads */
#endif
