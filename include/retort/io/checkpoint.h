/* checkpoint.h - folders ROOT/step-00000500 that are whole or not there.
 *
 * A checkpoint is a set of files, given by the caller as functions that write them, and MANIFEST.json, which holds size
 * and CRC-32 of each file, facts of the caller's (configuration, precision policy, versions) and a CRC-32 of itself. It is
 * built under a temporary name, every file synced, the manifest last, and then renamed; so after a crash at any moment
 * ROOT holds the old state or the new one. Reading trusts only what the manifest confirms.
 *
 * One process writes to a ROOT at a time. Errors: RT_E_IO for what cannot be written (a full disk), RT_E_INPUT for what is
 * damaged; one line that names the file. */
#ifndef RETORT_IO_CHECKPOINT_H
#define RETORT_IO_CHECKPOINT_H
#include <retort/base/json.h>

typedef struct rt_checkpoint_file {
    const char *name; /* a plain file name */
    rt_status (*write)(const char *path, void *context, rt_error *err);
    void *context;
} rt_checkpoint_file;

/* Saves; an existing checkpoint of the same step is replaced. `facts` (borrowed, may be NULL) is an object whose members go
 * into the manifest; "format", "step", "files" and "crc32" are not free. After an error ROOT holds what it held before; it may hold the new one too if only the last sync failed. */
rt_status rt_checkpoint_save(const char *root, int64_t step, const rt_checkpoint_file *files, int count, const json_t *facts,
                             rt_error *err) RT_NODISCARD;

/* Every file present with its size and CRC, the manifest with its own; the error names the first that is not. */
rt_status rt_checkpoint_verify(const char *path, rt_error *err) RT_NODISCARD;
/* The manifest, its own CRC checked (the files' are not); owned by the caller. */
rt_status rt_checkpoint_manifest(const char *path, json_t **out, rt_error *err) RT_NODISCARD;

/* Told of each damaged checkpoint that is passed over. NULL is fine. */
typedef struct rt_checkpoint_listener {
    void (*damaged)(void *context, const char *reason);
    void *context;
} rt_checkpoint_listener;
/* The newest checkpoint that verifies: *path is owned (rt_free), or NULL, with RT_OK, when there is none. */
rt_status rt_checkpoint_newest(const char *root, const rt_checkpoint_listener *listener, char **path, int64_t *step,
                               rt_error *err) RT_NODISCARD;
/* Keeps the newest `keep` (at least 1) that verify, the step `best` (-1: none), and whatever is newer than the oldest kept;
 * removes the others, and none at all unless `keep` sound ones are there. */
rt_status rt_checkpoint_prune(const char *root, int keep, int64_t best, const rt_checkpoint_listener *listener,
                              rt_error *err) RT_NODISCARD;
/* At the start of a run: removes what a crash left half-built or half-removed; a checkpoint that was being replaced comes
 * back. */
rt_status rt_checkpoint_clean(const char *root, rt_error *err) RT_NODISCARD;

/* ROOT/step-00000500, owned; NULL: out of memory. */
char *rt_checkpoint_path(const char *root, int64_t step);
#endif
