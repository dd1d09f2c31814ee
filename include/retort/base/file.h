/* file.h - whole files: read with a bound, map, checksum, and write so that a crash leaves the old file or the new one.
 *
 * Errors name the path and the system's reason. What cannot be read is RT_E_INPUT; a failed write (a full disk among
 * others) is RT_E_IO; neither leaves a half-written file under its final name. */
#ifndef RETORT_BASE_FILE_H
#define RETORT_BASE_FILE_H
#include <retort/base/mem.h>

/* Appends the file's bytes to `out`; refuses more than `limit` bytes. The caller frees `out`, also after an error. */
rt_status rt_file_read(const char *path, size_t limit, rt_buf *out, rt_error *err) RT_NODISCARD;

/* A read-only view of a whole file; an empty file is {"", 0}. What is cut off a file while it is mapped can no longer be read:
 * the system ends the process (SIGBUS) at the first touch. Replace files, never shorten them. */
typedef struct rt_map {
    const unsigned char *data;
    size_t size;
} rt_map;
rt_status rt_file_map(const char *path, rt_map *out, rt_error *err) RT_NODISCARD;
void rt_file_unmap(rt_map *map); /* an all-zero map is fine */
/* Hints about a range of a map; memory of another kind is left alone. Neither changes what is read. Want: the range is read
 * from the disk now, at full speed. Drop: this process gives its whole pages back; they stay in the system's cache while it
 * has room, and return when they are read again. */
void rt_file_want(const void *bytes, size_t n);
void rt_file_drop(const void *bytes, size_t n);

/* CRC-32 (zlib's) and size of a whole file; either result may be NULL. */
rt_status rt_file_crc32(const char *path, uint32_t *crc, int64_t *size, rt_error *err) RT_NODISCARD;
bool rt_file_exists(const char *path);
bool rt_dir_exists(const char *path);
rt_status rt_file_size(const char *path, int64_t *size, rt_error *err) RT_NODISCARD;

/* Writes `path` in pieces under a temporary name beside it; commit syncs it, renames it and syncs the folder.
 * After an error, or instead of commit, discard removes the temporary file. Both close the writer; discard after
 * either is harmless. crc and size are those of the bytes written so far. */
typedef struct rt_file_writer {
    int descriptor;
    uint32_t crc;
    int64_t size;
    char *path, *temporary;
} rt_file_writer;
rt_status rt_file_writer_open(const char *path, rt_file_writer *w, rt_error *err) RT_NODISCARD;
rt_status rt_file_writer_add(rt_file_writer *w, const void *bytes, size_t n, rt_error *err) RT_NODISCARD;
rt_status rt_file_writer_commit(rt_file_writer *w, rt_error *err) RT_NODISCARD;
void rt_file_writer_discard(rt_file_writer *w);
/* The three in one. */
rt_status rt_file_write_atomic(const char *path, const void *bytes, size_t n, rt_error *err) RT_NODISCARD;

rt_status rt_dir_make(const char *path, rt_error *err) RT_NODISCARD; /* with its parents; an existing one is fine */
/* Renames a file or folder onto a name that is free (or a file) and syncs the parent folder. */
rt_status rt_file_rename(const char *from, const char *to, rt_error *err) RT_NODISCARD;
/* Removes a file or a folder with all in it; what does not exist is fine. Links are removed, not followed. */
rt_status rt_tree_remove(const char *path, rt_error *err) RT_NODISCARD;

/* The n-th write, sync or rename from now fails as on a full disk; 0 = never (default). Test use. */
void rt_file_fail_at(int64_t nth_call_from_now);
/* What the writers ask before each such call (also for other modules that write): true = act as if the disk were full,
 * errno is set. */
bool rt_file_told_to_fail(void);
#endif
