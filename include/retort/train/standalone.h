/* standalone.h - evaluation outside a run: a checkpoint, a run's newest checkpoint, or a plain model directory, with or without
 * a teacher. For a checkpoint everything not asked for is what its manifest stores (decisions.md, 14), so that all numbers but
 * the speed equal the trainer's. */
#ifndef RETORT_TRAIN_STANDALONE_H
#define RETORT_TRAIN_STANDALONE_H
#include <retort/train/corpus_set.h>
#include <retort/train/evaluate.h>
#include <retort/infer/frozen.h>

typedef struct rt_standalone_options {
    const char *model;     /* a checkpoint, a run's folder (its newest sound checkpoint), or a Hugging Face directory */
    rt_strings data;       /* none: the checkpoint's validation data */
    const char *teacher;   /* NULL: the checkpoint's */
    const char *tokenizer; /* NULL: the model's own */
    const char *separator, *text_key, *csv_column, *chat_template; /* NULL: the checkpoint's, or the defaults */
    int64_t T, batch;      /* 0: the checkpoint's, or min(1024, the model's) and what makes about 2048 rows */
    double temperature;    /* 0: the checkpoint's, or 1 */
    rt_activations activations;
    bool disjoint;
    int64_t expert_budget; /* bytes, of the model's experts and of the teacher's alike; 0: the checkpoint's, or no bound */
} rt_standalone_options;

typedef struct rt_standalone rt_standalone;
rt_status rt_standalone_open(rt_standalone **out, const rt_standalone_options *o, rt_error *err) RT_NODISCARD;
void rt_standalone_close(rt_standalone *s); /* NULL is fine */
rt_status rt_standalone_run(rt_standalone *s, int64_t limit, rt_evaluation *v, rt_error *err) RT_NODISCARD;
/* Of the last run: everything of rt_evaluator_json, compression and provenance. NULL: out of memory. */
json_t *rt_standalone_json(rt_standalone *s, const rt_evaluation *v);
#endif
