/* r1.h - the reference job R1 as files in a temporary folder and a job over them, so that a bench runs the trainer itself.
 *
 * Teacher: dense Llama, width 512, 8 layers, 8 heads, ffn 1408, random f16 weights, untied. Student: Mixtral, width 256, 4
 * layers, 8 heads with 4 for keys, 8 experts of 512, top 2, untied, f32. V 8192; 8 x 256 random tokens a step;
 * .7 forward_kl (tau 2) + .3 next_token + balance + router_z; AdamW; coherence trace on. */
#ifndef BENCH_R1_H
#define BENCH_R1_H
#include <retort/train/trainer.h>

typedef struct r1 {
    char folder[64];
    rt_job job;
    rt_trainer *trainer;
    double teacher_body, student_body; /* active parameters of the layers */
} r1;

/* `set`: one more assignment of the job ("precision.teacher=f32"), or NULL. The trainer is begun: step 0. */
rt_status r1_open(r1 *b, const char *set, rt_error *err) RT_NODISCARD;
void r1_close(r1 *b);
/* Useful arithmetic of a step: 2 x teacher + 6 x active student parameters a token, embeddings not counted, heads counted. */
double r1_operations(const r1 *b);
uint64_t r1_hash(const r1 *b); /* of the student's weights: equal for any number of threads */
#endif
