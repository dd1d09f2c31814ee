/* safetensors.h - the tensor file of Hugging Face: u64 length (little-endian), a JSON header of that length, raw data.
 *   {"__metadata__": {key: text}, name: {"dtype": "F16", "shape": [rows, columns], "data_offsets": [begin, end]}, ...}
 * Offsets count from the header's end. Source: github.com/huggingface/safetensors, "Format".
 *
 * A file is mapped, not read, and believed only after these checks: header within the file and at most 100 MB; unique
 * names; known dtypes; sizes = dtype x shape; ranges that follow each other without overlap or hole to the file's end.
 * So a file that is too short is refused at opening; one that is shortened later ends the process when the lost part is read
 * (base/file.h). */
#ifndef RETORT_IO_SAFETENSORS_H
#define RETORT_IO_SAFETENSORS_H
#include <retort/tensor/tensor.h>

typedef struct rt_named_tensor {
    const char *name;
    rt_tensor tensor;
} rt_named_tensor;

typedef struct rt_safetensors rt_safetensors;
/* RT_E_INPUT, with the name of the file, when it cannot be opened or is not sound. */
rt_status rt_safetensors_open(const char *path, rt_safetensors **out, rt_error *err) RT_NODISCARD;
void rt_safetensors_close(rt_safetensors *s); /* NULL is fine; ends the life of every tensor of the file */

int64_t rt_safetensors_count(const rt_safetensors *s);
/* In the order of names (bytes). The data is the mapped file itself, read-only: writing to it is a crash. Only where the
 * file's layout puts a tensor at an address that is no multiple of its element size (old writers did not pad the header)
 * the data is a 64-byte aligned copy. */
const rt_named_tensor *rt_safetensors_at(const rt_safetensors *s, int64_t i);
const rt_tensor *rt_safetensors_find(const rt_safetensors *s, const char *name); /* NULL if absent */
const char *rt_safetensors_metadata(const rt_safetensors *s, const char *key);   /* NULL if absent */
const char *rt_safetensors_path(const rt_safetensors *s);

/* Makes tensor i's data available just before it is written; *data may be reused after the next call. */
typedef rt_status (*rt_safetensors_source)(void *context, int64_t i, const void **data, rt_error *err);
typedef struct rt_safetensors_write_options {
    const char *const *metadata;  /* key, text, key, text, ..., NULL; NULL for {"format": "pt"} */
    rt_safetensors_source source; /* NULL: the tensors' own data; else data pointers are ignored (may be NULL) */
    void *context;
} rt_safetensors_write_options;
/* Writes atomically (the path holds the old file or the whole new one) and synced. Nothing is converted or gathered: each
 * tensor's bytes go from its memory to the file. Order: larger element sizes first, then names, as the reference writer
 * does; the header is padded so that data starts at a multiple of 64. Same tensors, same bytes. options may be NULL. */
rt_status rt_safetensors_write(const char *path, const rt_named_tensor *tensors, int64_t count,
                               const rt_safetensors_write_options *options, rt_error *err) RT_NODISCARD;
#endif
