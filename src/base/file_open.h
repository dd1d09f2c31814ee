/* file_open.h - shared by file.c and file_map.c. */
#ifndef RT_BASE_FILE_OPEN_H
#define RT_BASE_FILE_OPEN_H
#include <retort/base/status.h>
#include <stdint.h>

/* A regular file opened for reading, and its size: a device or a pipe has none, and a read of it may never end. */
rt_status rt_file_open_regular(const char *path, int *descriptor, int64_t *size, rt_error *err) RT_NODISCARD;
#endif
