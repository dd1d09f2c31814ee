/* private.h - the steps of an export: rounding (round.c), writing (export.c, gguf.c), the tokenizer's files
 * (tokenizer.c), comparing (check.c), the place it takes (place.c). */
#ifndef RT_EXPORT_PRIVATE_H
#define RT_EXPORT_PRIVATE_H
#include <jansson.h>
#include <retort/io/gguf_model.h>
#include <retort/export/export.h>
#include <retort/infer/frozen.h>

/* What a reader of the export has: its configuration, and the weights in the order of rt_weight_at. */
typedef struct rt_rounded {
    const rt_model_config *config;
    rt_gguf_type *types; /* as each is stored */
    rt_tensor *tensors;  /* the stored numbers, in the dtype they are computed with */
    int64_t count;
    void *block;
} rt_rounded;
/* Types and shapes alone; then the numbers. A Hugging Face folder has one dtype; a GGUF file's types are rt_gguf_weight_type's, and what
 * is read of it has one dtype a role. `config` is borrowed. */
rt_status rt_rounded_plan(rt_rounded *r, const rt_model_config *config, const rt_export_options *o, rt_error *err) RT_NODISCARD;
rt_status rt_rounded_fill(rt_rounded *r, const rt_hf *source, rt_error *err) RT_NODISCARD;
void rt_rounded_free(rt_rounded *r);

/* Reads the folder or file again and compares; fills the report. RT_E_CHECK names the first difference. */
rt_status rt_export_check(const char *path, const rt_frozen *source, const rt_rounded *rounded, const rt_export_options *o,
                          rt_export_report *report, rt_error *err) RT_NODISCARD;

/* Writes the source's tokenizer into the folder, if it has one, complete: a missing tokenizer_config.json is made. Adds the names. */
rt_status rt_export_tokenizer(const char *from, const rt_model_config *c, const char *to, json_t *names, rt_error *err) RT_NODISCARD;

typedef struct rt_export_place {
    char *final, *building, *old; /* rt_free; all beside each other */
} rt_export_place;
/* Finds the names, makes the parent folder, removes what an interrupted export left, and refuses what must not be replaced. */
rt_status rt_export_place_open(rt_export_place *p, const char *source, const char *out, bool force, rt_error *err) RT_NODISCARD;
rt_status rt_export_place_publish(const rt_export_place *p, rt_error *err) RT_NODISCARD;
/* The same for a file: it replaces a GGUF file of ours, with `force` any file, never a folder. */
rt_status rt_export_file_open(rt_export_place *p, const char *source, const char *out, bool force, rt_error *err) RT_NODISCARD;
rt_status rt_export_file_publish(const rt_export_place *p, rt_error *err) RT_NODISCARD;
void rt_export_place_close(rt_export_place *p); /* removes `building` if it is still there */

#define RT_EXPORT_KEY "retort.version" /* in every GGUF file of ours */
#endif
