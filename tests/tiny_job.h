/* tiny_job.h - a whole distillation that takes seconds: synthetic stories, a byte-level tokenizer trained on them, a random
 * f16 llama as teacher, and the configuration of a small mixture-of-experts student (256 tokens a step, 40 steps, which
 * is more than one epoch). Everything is made once per process; tests only read it. */
#ifndef RETORT_TESTS_TINY_JOB_H
#define RETORT_TESTS_TINY_JOB_H
#include "harness.h"
#include <retort/base/json.h>
#include <retort/train/trainer.h>

enum { RT_TINY_T = 32, RT_TINY_BATCH = 4, RT_TINY_ACCUMULATE = 2, RT_TINY_STEPS = 40, RT_TINY_VOCAB = 300, RT_TINY_PADDING = 4 };

typedef struct rt_tiny {
    char yaml[640], teacher[640], train[640], valid[640];
} rt_tiny;
const rt_tiny *rt_tiny_files(void);

/* The job with assignments on top, up to NULL; `out` may be NULL. Free it. A failure fails the test. */
void rt_tiny_job(rt_job *job, const char *out, const char *const *sets);
#define RT_TINY_JOB(job, out, ...) rt_tiny_job(job, out, (const char *const[]){__VA_ARGS__ __VA_OPT__(, ) NULL})

/* A model directory of random weights, f16, with `vocab` + padding rows and the tokenizer beside it (NULL: none). */
void rt_tiny_teacher(const char *dir, int64_t vocab, int64_t positions, const char *tokenizer_json);

/* Runs the job into a fresh directory (static, 4 in rotation) and returns the path of its last checkpoint. */
const char *rt_tiny_run(bool resume, const char *out, const char *const *sets);
#define RT_TINY_RUN(out, ...) rt_tiny_run(false, out, (const char *const[]){__VA_ARGS__ __VA_OPT__(, ) NULL})
#define RT_TINY_RESUME(out, ...) rt_tiny_run(true, out, (const char *const[]){__VA_ARGS__ __VA_OPT__(, ) NULL})

/* Every file that two checkpoints' manifests list has the same bytes; except: a file that may differ, or NULL. */
void rt_same_checkpoint(const char *a, const char *b, const char *except);
/* The records of a run's log of one kind, in order, without what is a time. Owned. */
json_t *rt_log_records(const char *out, const char *kind);
#endif
