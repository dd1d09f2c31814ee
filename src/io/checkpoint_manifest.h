/* checkpoint_manifest.h - MANIFEST.json, shared by saving and finding checkpoints. */
#ifndef IO_CHECKPOINT_MANIFEST_H
#define IO_CHECKPOINT_MANIFEST_H
#include <retort/base/json.h>

#define RT_MANIFEST "MANIFEST.json"
/* "DIR/NAME", owned; NULL: out of memory. */
char *rt_path_join(const char *directory, const char *name);
/* {"format", "step", facts..., "files": {}}; owned; NULL: out of memory. */
json_t *rt_manifest_make(int64_t step, const json_t *facts);
/* Enters DIR/NAME as it is on disk. */
rt_status rt_manifest_add(json_t *manifest, const char *directory, const char *name, rt_error *err) RT_NODISCARD;
/* Adds the manifest's own CRC and writes it. */
rt_status rt_manifest_seal(json_t *manifest, const char *directory, rt_error *err) RT_NODISCARD;
#endif
