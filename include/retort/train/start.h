/* start.h - what a student is before its first step: random weights, those of a checkpoint, or a dense model's, upcycled.
 *
 * Weights from files go into the f32 masters: f32 as it is, f16 and bf16 widened, which is exact. What the forward pass reads
 * is their rounding to the precision policy, as after every step. */
#ifndef RETORT_TRAIN_START_H
#define RETORT_TRAIN_START_H
#include <retort/train/job.h>
#include <retort/train/student.h>

/* `source`: the files of student.from, of which `s` has the architecture (rt_job_started_config); NULL for a random start.
 * RT_E_NUMERIC names a weight that is not finite, or not in the dtype of its role. */
rt_status rt_start_weights(rt_student *s, const rt_job *job, const rt_hf *source, rt_error *err) RT_NODISCARD;
/* One line for people: "upcycled from DIR (a llama): 8 experts, 2 a token, each a copy; 20 weights f16 -> f32". */
void rt_start_text(const rt_student *s, const rt_job *job, const rt_hf *source, rt_buf *out);
/* For the log and the manifest: init, seed; from files path, arch, hash, conversions; of an upcycled start its keys. Reads
 * every byte of the files. */
rt_status rt_start_json(const rt_student *s, const rt_job *job, const rt_hf *source, json_t **out, rt_error *err) RT_NODISCARD;
#endif
