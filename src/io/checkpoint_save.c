/* checkpoint_save.c - builds a checkpoint under a temporary name and renames it into place.
 *
 * Names in ROOT: step-N is a checkpoint; .tmp-new-N is being built, .tmp-old-N was step-N and is being replaced,
 * .tmp-gone-N is being removed. Only a rename makes or unmakes a step-N, so it is never seen half-done. */
#include "io/checkpoint_manifest.h"
#include "io/checkpoint_names.h"
#include <retort/base/file.h>
#include <retort/io/checkpoint.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

char *rt_checkpoint_name(const char *root, const char *kind, int64_t step) {
    char name[48];
    snprintf(name, sizeof name, "%s%08lld", kind, (long long)step);
    return rt_path_join(root, name);
}
char *rt_checkpoint_path(const char *root, int64_t step) { return rt_checkpoint_name(root, RT_STEP, step); }

static rt_status check_names(const rt_checkpoint_file *files, int count, rt_error *err) {
    for (int i = 0; i < count; i++) {
        const char *name = files[i].name;
        if (!*name || *name == '.' || strchr(name, '/') || strcmp(name, RT_MANIFEST) == 0)
            return rt_fail(err, RT_E_ARG, "a checkpoint cannot hold a file named '%.80s'", name);
        for (int j = 0; j < i; j++)
            if (strcmp(name, files[j].name) == 0) return rt_fail(err, RT_E_ARG, "two files of a checkpoint are named %.80s", name);
    }
    return RT_OK;
}

static rt_status check_facts(const json_t *facts, rt_error *err) {
    static const char *const taken[] = {"format", "step", "files", "crc32"};
    if (facts && !json_is_object(facts)) return rt_fail(err, RT_E_ARG, "the facts of a manifest are not an object");
    for (size_t i = 0; i < sizeof taken / sizeof *taken; i++)
        if (json_object_get(facts, taken[i])) return rt_fail(err, RT_E_ARG, "a manifest's \"%s\" is not free", taken[i]);
    return RT_OK;
}

/* A writer of ours has synced its file already; of any other one it is not known. */
static rt_status sync_file(const char *path, rt_error *err) {
    int d = open(path, O_RDONLY | O_CLOEXEC);
    bool ok = d >= 0 && !rt_file_told_to_fail() && fsync(d) == 0;
    rt_status status = ok ? RT_OK : rt_fail(err, RT_E_IO, "%s: cannot sync: %s", path, strerror(errno));
    if (d >= 0) close(d);
    return status;
}
static rt_status write_file(const char *directory, const rt_checkpoint_file *f, json_t *manifest, rt_error *err) {
    char *path = rt_path_join(directory, f->name);
    if (!path) return rt_fail(err, RT_E_NOMEM, "%s: out of memory", directory);
    rt_status status = f->write(path, f->context, err);
    if (status == RT_OK) status = sync_file(path, err);
    rt_free(path);
    RT_TRY(status);
    return rt_manifest_add(manifest, directory, f->name, err);
}

typedef struct names {
    char *building, *final, *old;
} names;
static rt_status build(const names *n, int64_t step, const rt_checkpoint_file *files, int count, const json_t *facts,
                       rt_error *err) {
    RT_TRY(rt_tree_remove(n->building, err));
    RT_TRY(rt_dir_make(n->building, err));
    json_t *manifest = rt_manifest_make(step, facts);
    rt_status status = manifest ? RT_OK : rt_fail(err, RT_E_NOMEM, "%s: out of memory", n->building);
    for (int i = 0; i < count && status == RT_OK; i++) status = write_file(n->building, &files[i], manifest, err);
    if (status == RT_OK) status = rt_manifest_seal(manifest, n->building, err); /* syncs the folder as well */
    json_decref(manifest);
    return status;
}

/* No system call replaces a folder everywhere, so the old one steps aside; rt_checkpoint_clean knows the way back. */
static rt_status replace(const names *n, rt_error *err) {
    RT_TRY(rt_tree_remove(n->old, err));
    rt_status status = rt_file_rename(n->final, n->old, err);
    if (status == RT_OK) status = rt_file_rename(n->building, n->final, err);
    if (status == RT_OK) return rt_tree_remove(n->old, err);
    if (!rt_dir_exists(n->final) && rename(n->old, n->final) != 0)
        rt_error_prefix(err, "%s stands at %s", n->final, n->old);
    return status;
}
static rt_status publish(const names *n, rt_error *err) {
    return rt_dir_exists(n->final) ? replace(n, err) : rt_file_rename(n->building, n->final, err);
}

rt_status rt_checkpoint_save(const char *root, int64_t step, const rt_checkpoint_file *files, int count, const json_t *facts,
                             rt_error *err) {
    RT_TRY(check_names(files, count, err));
    RT_TRY(check_facts(facts, err));
    RT_TRY(rt_dir_make(root, err));
    names n = {rt_checkpoint_name(root, RT_NEW, step), rt_checkpoint_path(root, step), rt_checkpoint_name(root, RT_OLD, step)};
    rt_status status = n.building && n.final && n.old ? RT_OK : rt_fail(err, RT_E_NOMEM, "%s: out of memory", root);
    if (status == RT_OK) status = build(&n, step, files, count, facts, err);
    if (status == RT_OK) status = publish(&n, err);
    if (status != RT_OK && n.building && rt_tree_remove(n.building, NULL) != RT_OK)
        rt_error_prefix(err, "%s is left over", n.building); /* until rt_checkpoint_clean */
    rt_free(n.building);
    rt_free(n.final);
    rt_free(n.old);
    return status;
}
