/* checkpoint_find.c - which checkpoints a folder holds, which of them are sound, which can go. */
#include "io/checkpoint_manifest.h"
#include "io/checkpoint_names.h"
#include <retort/base/file.h>
#include <retort/io/checkpoint.h>
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static rt_status out_of_memory(const char *root, rt_error *err) { return rt_fail(err, RT_E_NOMEM, "%s: out of memory", root); }

/* The step of a name that is `kind` and at least 8 digits; -1 for any other name. */
static int64_t step_of(const char *name, const char *kind) {
    size_t n = strlen(kind), digits = 0;
    if (strncmp(name, kind, n) != 0) return -1;
    while (isdigit((unsigned char)name[n + digits])) digits++;
    if (digits < 8 || digits > 18 || name[n + digits]) return -1;
    return strtoll(name + n, NULL, 10);
}

/* ------------------------------------------------------------------ listing */

typedef rt_status (*visit_fn)(void *context, const char *root, const char *name, rt_error *err);
static rt_status each_entry(const char *root, visit_fn visit, void *context, rt_error *err) {
    DIR *d = opendir(root);
    if (!d) return errno == ENOENT ? RT_OK : rt_fail(err, RT_E_INPUT, "%s: %s", root, strerror(errno));
    rt_status status = RT_OK;
    for (struct dirent *e; status == RT_OK && (e = readdir(d));) status = visit(context, root, e->d_name, err);
    closedir(d);
    return status;
}
static rt_status note_step(void *steps, const char *root, const char *name, rt_error *err) {
    int64_t step = step_of(name, RT_STEP);
    if (step >= 0) rt_buf_add(steps, &step, sizeof step);
    return ((rt_buf *)steps)->failed ? out_of_memory(root, err) : RT_OK;
}
static int newest_first(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return x > y ? -1 : x < y;
}
/* All steps as int64, newest first. The caller frees `out`, also after an error. */
static rt_status list_steps(const char *root, rt_buf *out, rt_error *err) {
    RT_TRY(each_entry(root, note_step, out, err));
    if (out->size) qsort(out->data, out->size / sizeof(int64_t), sizeof(int64_t), newest_first);
    return RT_OK;
}
static size_t step_count(const rt_buf *steps) { return steps->size / sizeof(int64_t); }
static int64_t step_at(const rt_buf *steps, size_t i) { return ((const int64_t *)(const void *)steps->data)[i]; }

/* ---------------------------------------------------------------- soundness */

/* *sound tells; damage is no error here but news. */
static rt_status examine(const char *path, const rt_checkpoint_listener *listener, bool *sound, rt_error *err) {
    rt_error why = {0};
    rt_status status = rt_checkpoint_verify(path, &why);
    if (status == RT_E_NOMEM) return rt_fail(err, status, "%s", why.text);
    *sound = status == RT_OK;
    if (!*sound && listener && listener->damaged) listener->damaged(listener->context, why.text);
    return RT_OK;
}

static rt_status first_sound(const char *root, const rt_buf *steps, const rt_checkpoint_listener *listener, char **path,
                             int64_t *step, rt_error *err) {
    for (size_t i = 0; i < step_count(steps); i++) {
        bool sound = false;
        char *p = rt_checkpoint_path(root, step_at(steps, i));
        if (!p) return out_of_memory(root, err);
        rt_status status = examine(p, listener, &sound, err);
        if (sound) return *path = p, *step = step_at(steps, i), RT_OK;
        rt_free(p);
        RT_TRY(status);
    }
    return RT_OK;
}
rt_status rt_checkpoint_newest(const char *root, const rt_checkpoint_listener *listener, char **path, int64_t *step,
                               rt_error *err) {
    rt_buf steps = {0};
    *path = NULL;
    *step = -1;
    rt_status status = list_steps(root, &steps, err);
    if (status == RT_OK) status = first_sound(root, &steps, listener, path, step, err);
    rt_buf_free(&steps);
    return status;
}

/* ----------------------------------------------------------------- removing */

/* The rename comes first: what is half-removed must not look like a checkpoint. */
static rt_status remove_step(const char *root, int64_t step, rt_error *err) {
    char *path = rt_checkpoint_path(root, step), *gone = rt_checkpoint_name(root, RT_GONE, step);
    rt_status status = path && gone ? rt_tree_remove(gone, err) : out_of_memory(root, err);
    if (status == RT_OK) status = rt_file_rename(path, gone, err);
    if (status == RT_OK) status = rt_tree_remove(gone, err);
    rt_free(path);
    rt_free(gone);
    return status;
}
/* The index after the `keep`-th sound one, or the end when there are fewer. */
static rt_status end_of_kept(const char *root, const rt_buf *steps, int keep, const rt_checkpoint_listener *listener,
                             size_t *end, rt_error *err) {
    for (*end = 0; *end < step_count(steps) && keep > 0; ++*end) {
        bool sound = false;
        char *path = rt_checkpoint_path(root, step_at(steps, *end));
        rt_status status = path ? examine(path, listener, &sound, err) : out_of_memory(root, err);
        rt_free(path);
        RT_TRY(status);
        keep -= sound;
    }
    return RT_OK;
}
rt_status rt_checkpoint_prune(const char *root, int keep, int64_t best, const rt_checkpoint_listener *listener, rt_error *err) {
    rt_buf steps = {0};
    size_t end = 0;
    if (keep < 1) return rt_fail(err, RT_E_ARG, "keep is %d, expected at least 1", keep);
    rt_status status = list_steps(root, &steps, err);
    if (status == RT_OK) status = end_of_kept(root, &steps, keep, listener, &end, err);
    for (size_t i = end; i < step_count(&steps) && status == RT_OK; i++)
        if (step_at(&steps, i) != best) status = remove_step(root, step_at(&steps, i), err);
    rt_buf_free(&steps);
    return status;
}

static rt_status bring_back_or_remove(const char *root, const char *path, int64_t step, rt_error *err) {
    char *final = rt_checkpoint_path(root, step);
    if (!final) return out_of_memory(root, err);
    rt_status status = rt_dir_exists(final) ? rt_tree_remove(path, err) : rt_file_rename(path, final, err);
    rt_free(final);
    return status;
}
static rt_status clean_entry(void *context, const char *root, const char *name, rt_error *err) {
    (void)context;
    if (strncmp(name, RT_TEMPORARY, strlen(RT_TEMPORARY)) != 0) return RT_OK;
    char *path = rt_path_join(root, name);
    if (!path) return out_of_memory(root, err);
    int64_t step = step_of(name, RT_OLD);
    rt_status status = step >= 0 ? bring_back_or_remove(root, path, step, err) : rt_tree_remove(path, err);
    rt_free(path);
    return status;
}
rt_status rt_checkpoint_clean(const char *root, rt_error *err) { return each_entry(root, clean_entry, NULL, err); }
