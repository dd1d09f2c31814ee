/* place.c - where an export goes: it is built as .NAME.export beside NAME; an older one steps aside as .NAME.replaced
 * while the new one takes its name, and is removed last. */
#include "export/private.h"
#include <retort/base/file.h>
#include <retort/base/log.h>
#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static rt_status nomem(rt_error *err) { return rt_fail(err, RT_E_NOMEM, "out of memory"); }

/* --------------------------------------------------------- may it be replaced */

static bool listed(const json_t *mark, const char *name) {
    size_t i;
    json_t *file;
    if (strcmp(name, RT_EXPORT_MARK) == 0) return true;
    json_array_foreach(json_object_get(mark, "files"), i, file) {
        if (json_is_string(file) && strcmp(json_string_value(file), name) == 0) return true;
    }
    return false;
}
static bool is_folder(const char *parent, const char *name) {
    char path[8192];
    struct stat s;
    snprintf(path, sizeof path, "%s/%s", parent, name);
    return lstat(path, &s) == 0 && S_ISDIR(s.st_mode);
}
static rt_status check_entry(const char *folder, const char *name, const json_t *mark, bool force, rt_error *err) {
    if (is_folder(folder, name))
        return rt_fail(err, RT_E_USAGE, "%s: holds the folder %s, which no export does: choose another place", folder, name);
    if (force || (mark && listed(mark, name))) return RT_OK;
    if (mark) return rt_fail(err, RT_E_USAGE, "%s: holds %s, which the export before did not write (--force replaces all)", folder, name);
    return rt_fail(err, RT_E_USAGE, "%s: is not empty and no earlier export (--force replaces it)", folder);
}
static rt_status check_entries(const char *folder, const json_t *mark, bool force, rt_error *err) {
    DIR *d = opendir(folder);
    if (!d) return rt_fail(err, RT_E_USAGE, "%s: is not a folder that can be read", folder);
    rt_status s = RT_OK;
    for (struct dirent *e; s == RT_OK && (e = readdir(d));)
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0) s = check_entry(folder, e->d_name, mark, force, err);
    closedir(d);
    return s;
}
static rt_status check_folder(const char *folder, bool force, rt_error *err) {
    char path[8192];
    json_t *mark = NULL;
    snprintf(path, sizeof path, "%s/" RT_EXPORT_MARK, folder);
    if (rt_file_exists(path) && rt_json_load(path, 1 << 20, &mark, NULL) == RT_E_NOMEM) return nomem(err);
    rt_status s = check_entries(folder, mark, force, err);
    json_decref(mark);
    return s;
}
/* The source must not lie in what is replaced. */
static rt_status check_source(const char *folder, const char *source, rt_error *err) {
    char real[PATH_MAX];
    size_t n = strlen(folder);
    if (!realpath(source, real) || strncmp(real, folder, n) != 0 || (real[n] != '/' && real[n] != 0)) return RT_OK;
    return rt_fail(err, RT_E_USAGE, "%s: the model to export lies there: choose another place", folder);
}

/* -------------------------------------------------------------------- names */

static char *beside(const char *path, const char *end) {
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    rt_buf b = {0};
    rt_buf_printf(&b, "%.*s.%s.%s", (int)(name - path), path, name, end);
    char *s = b.failed ? NULL : rt_strdup(b.data);
    rt_buf_free(&b);
    return s;
}
/* As it is known to the system when it exists; otherwise as given, without '/' at its end. */
static char *final_name(const char *out) {
    char real[PATH_MAX];
    size_t n = strlen(out);
    if (realpath(out, real)) return rt_strdup(real);
    while (n > 1 && out[n - 1] == '/') n--;
    return rt_strndup(out, n);
}
static rt_status make_parent(const char *path, rt_error *err) {
    const char *slash = strrchr(path, '/');
    if (!slash || slash == path) return RT_OK;
    char *parent = rt_strndup(path, (size_t)(slash - path));
    rt_status s = parent ? rt_dir_make(parent, err) : nomem(err);
    rt_free(parent);
    return s;
}

static rt_status prepare(rt_export_place *p, const char *source, const char *out, bool force, rt_error *err) {
    p->final = final_name(out);
    p->building = p->final ? beside(p->final, "export") : NULL;
    p->old = p->final ? beside(p->final, "replaced") : NULL;
    if (!p->final || !p->building || !p->old) return nomem(err);
    if (strlen(p->final) + 64 > PATH_MAX) return rt_fail(err, RT_E_USAGE, "the name of the place is too long");
    RT_TRY(make_parent(p->final, err));
    if (access(p->final, F_OK) != 0 && rt_dir_exists(p->old)) RT_TRY(rt_file_rename(p->old, p->final, err)); /* a crash between two renames */
    RT_TRY(rt_tree_remove(p->building, err));
    RT_TRY(rt_tree_remove(p->old, err));
    if (access(p->final, F_OK) != 0) return RT_OK;
    RT_TRY(check_source(p->final, source, err));
    return check_folder(p->final, force, err);
}

rt_status rt_export_place_open(rt_export_place *p, const char *source, const char *out, bool force, rt_error *err) {
    *p = (rt_export_place){0};
    if (!*out) return rt_fail(err, RT_E_USAGE, "the place of the export has no name");
    rt_status s = prepare(p, source, out, force, err);
    if (s != RT_OK) rt_export_place_close(p);
    return s;
}

/* A rename may have happened although its sync failed. */
static void go_back(const rt_export_place *p, bool replaces, rt_error *err) {
    if (!rt_dir_exists(p->building)) rename(p->final, p->building);
    if (replaces && rt_dir_exists(p->old) && rename(p->old, p->final) != 0) rt_error_prefix(err, "%s stands at %s", p->final, p->old);
}
rt_status rt_export_place_publish(const rt_export_place *p, rt_error *err) {
    bool replaces = rt_dir_exists(p->final);
    rt_status s = replaces ? rt_file_rename(p->final, p->old, err) : RT_OK;
    if (s == RT_OK) s = rt_file_rename(p->building, p->final, err);
    if (s != RT_OK) return go_back(p, replaces, err), s;
    if (rt_tree_remove(p->old, NULL) != RT_OK) rt_log(RT_LOG_WARNING, "%s is left over", p->old);
    return RT_OK;
}

/* --------------------------------------------------------------------- a file */

static bool same_file(const char *a, const char *b) {
    struct stat x, y;
    return stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}
static bool is_ours(const char *path) {
    rt_gguf *g = NULL;
    bool ours = rt_gguf_is(path) && rt_gguf_open(path, &g, NULL) == RT_OK && rt_gguf_find(g, RT_EXPORT_KEY);
    rt_gguf_close(g);
    return ours;
}
static rt_status prepare_file(rt_export_place *p, const char *source, const char *out, bool force, rt_error *err) {
    size_t n = strlen(out);
    if (rt_dir_exists(out) || out[n - 1] == '/') return rt_fail(err, RT_E_USAGE, "%s: is a folder, expected the name of a file", out);
    p->final = final_name(out);
    p->building = p->final ? beside(p->final, "export") : NULL;
    if (!p->final || !p->building) return nomem(err);
    if (strlen(p->final) + 64 > PATH_MAX) return rt_fail(err, RT_E_USAGE, "the name of the place is too long");
    RT_TRY(make_parent(p->final, err));
    RT_TRY(rt_tree_remove(p->building, err));
    if (same_file(p->final, source)) return rt_fail(err, RT_E_USAGE, "%s: is the model to export: choose another place", p->final);
    if (access(p->final, F_OK) != 0 || force || is_ours(p->final)) return RT_OK;
    return rt_fail(err, RT_E_USAGE, "%s: is no export of ours (--force replaces it)", p->final);
}
rt_status rt_export_file_open(rt_export_place *p, const char *source, const char *out, bool force, rt_error *err) {
    *p = (rt_export_place){0};
    if (!*out) return rt_fail(err, RT_E_USAGE, "the place of the export has no name");
    rt_status s = prepare_file(p, source, out, force, err);
    if (s != RT_OK) rt_export_place_close(p);
    return s;
}
rt_status rt_export_file_publish(const rt_export_place *p, rt_error *err) { return rt_file_rename(p->building, p->final, err); }

void rt_export_place_close(rt_export_place *p) {
    if (p->building && rt_tree_remove(p->building, NULL) != RT_OK) rt_log(RT_LOG_WARNING, "%s is left over", p->building);
    rt_free(p->final), rt_free(p->building), rt_free(p->old);
    *p = (rt_export_place){0};
}
