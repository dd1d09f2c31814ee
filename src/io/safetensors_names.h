/* safetensors_names.h - what reader and writer share. */
#ifndef IO_SAFETENSORS_NAMES_H
#define IO_SAFETENSORS_NAMES_H
#include <retort/tensor/dtype.h>

static inline const char *rt_dtype_file_name(rt_dtype t) {
    static const char *const names[RT_DTYPE_COUNT] = {
#define X(name, bytes, file_name) file_name,
        RT_DTYPE_LIST(X)
#undef X
    };
    return names[t];
}
/* 1 to 255 bytes without control characters: what can stand in a one-line message. */
bool rt_tensor_name_plain(const char *name);
#endif
