/* export_private.h - the steps of an export: rounding and writing (export.c), comparing (export_check.c), the place it takes
 * (export_place.c). */
#ifndef RT_TRAIN_EXPORT_PRIVATE_H
#define RT_TRAIN_EXPORT_PRIVATE_H
#include <retort/train/export.h>
#include <retort/train/frozen.h>

/* The weights in the export's dtype, as the files will hold them: tensors in the order of rt_weight_at. */
typedef struct rt_rounded {
    const rt_model_config *config;
    rt_tensor *tensors;
    int64_t count;
    void *block;
} rt_rounded;
rt_status rt_rounded_make(rt_rounded *r, const rt_hf *source, rt_dtype t, rt_error *err) RT_NODISCARD;
void rt_rounded_free(rt_rounded *r);

/* Reads `directory` again and compares; fills the report. RT_E_CHECK names the first difference. */
rt_status rt_export_check(const char *directory, const rt_frozen *source, const rt_rounded *rounded, const rt_export_options *o,
                          rt_export_report *report, rt_error *err) RT_NODISCARD;

typedef struct rt_export_place {
    char *final, *building, *old; /* rt_free; all beside each other */
} rt_export_place;
/* Finds the names, makes the parent folder, removes what an interrupted export left, and refuses what must not be replaced. */
rt_status rt_export_place_open(rt_export_place *p, const char *source, const char *out, bool force, rt_error *err) RT_NODISCARD;
rt_status rt_export_place_publish(const rt_export_place *p, rt_error *err) RT_NODISCARD;
void rt_export_place_close(rt_export_place *p); /* removes `building` if it is still there */
#endif
