/* student.h - the model that is trained: compute weights, f32 gradients, f32 masters and moments, the optimizer over them.
 *
 * A weight stored in f32 is its own master; a half weight is refreshed from its f32 master by one rounding after each step
 * (decisions.md, 20: a checkpoint's model.safetensors holds the weights the forward pass reads). */
#ifndef RETORT_TRAIN_STUDENT_H
#define RETORT_TRAIN_STUDENT_H
#include <retort/model/weights.h>
#include <retort/optim/optim.h>

typedef struct rt_student {
    rt_precision precision;
    rt_weights weights;         /* what the forward pass reads */
    rt_weights grads, m, v;     /* f32 */
    rt_weights master;          /* f32; slots of f32 weights point into `weights` */
    rt_optim *optim;
} rt_student;

/* Allocates all but the gradients, which have shapes alone: their memory is rt_weights_alloc's or a plan's. Moments are zero, weights
 * too: fill them (rt_weights_init, rt_weights_copy), then rt_student_adopt. */
rt_status rt_student_open(rt_student *s, const rt_model_config *c, const rt_precision *p, rt_error *err) RT_NODISCARD;
/* Once the gradients have their place, for good. decay_all: weight decay on norms and embeddings too. */
rt_status rt_student_optimizer(rt_student *s, const rt_optim_config *o, bool decay_all, rt_error *err) RT_NODISCARD;
/* The same shapes and dtypes without memory, for plans that are only measured (rt_graph_sketch). */
rt_status rt_student_sketch(rt_student *s, const rt_model_config *c, const rt_precision *p, rt_error *err) RT_NODISCARD;
/* What a student takes, opened or sketched. */
typedef struct rt_student_bytes {
    int64_t weights, masters, gradients, moments;
} rt_student_bytes;
rt_student_bytes rt_student_memory(const rt_student *s);
void rt_student_close(rt_student *s); /* an all-zero one is fine */
void rt_student_start(rt_student *s, uint64_t seed); /* random, the masters first: half weights are their roundings */
void rt_student_adopt(rt_student *s);               /* masters from the weights, after those were filled */

/* Masters, moments and the step count: a safetensors file and back, bit for bit. `student`: an rt_student; the signature is
 * rt_checkpoint_file's. */
rt_status rt_student_save_optimizer(const char *path, void *student, rt_error *err) RT_NODISCARD;
rt_status rt_student_load_optimizer(rt_student *s, const char *path, rt_error *err) RT_NODISCARD;
#endif
