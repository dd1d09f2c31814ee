/* checkpoint_manifest.c - MANIFEST.json: {"format": 1, "step", facts..., "files": {name: {"size", "crc32"}}, "crc32"}.
 * The last member is the CRC-32 of the object without it, written compactly in the same order of members. */
#include "io/checkpoint_manifest.h"
#include <retort/base/file.h>
#include <retort/io/checkpoint.h>
#include <string.h>
#include <zlib.h>

enum { FORMAT = 1 };

char *rt_path_join(const char *directory, const char *name) {
    size_t n = strlen(directory), k = strlen(name);
    char *path = rt_alloc(n + k + 2);
    if (!path) return NULL;
    memcpy(path, directory, n);
    path[n] = '/';
    memcpy(path + n + 1, name, k + 1);
    return path;
}
static rt_status out_of_memory(const char *where, rt_error *err) {
    return rt_fail(err, RT_E_NOMEM, "%s: out of memory", where);
}

/* ------------------------------------------------------------------ writing */

/* One by one: jansson's json_object_update returns 0 also when it ran out of memory on the way. */
static bool add_facts(json_t *m, const json_t *facts) {
    const char *key;
    json_t *value;
    bool ok = true;
    json_object_foreach((json_t *)(uintptr_t)facts, key, value) ok = ok && json_object_set(m, key, value) == 0;
    return ok;
}

json_t *rt_manifest_make(int64_t step, const json_t *facts) {
    json_t *m = json_pack("{s:i, s:I}", "format", FORMAT, "step", (json_int_t)step);
    bool ok = m && add_facts(m, facts) && json_object_set_new(m, "files", json_object()) == 0;
    if (ok) return m;
    json_decref(m);
    return NULL;
}

rt_status rt_manifest_add(json_t *manifest, const char *directory, const char *name, rt_error *err) {
    uint32_t crc = 0;
    int64_t size = 0;
    char *path = rt_path_join(directory, name);
    if (!path) return out_of_memory(directory, err);
    rt_status status = rt_file_crc32(path, &crc, &size, err);
    rt_free(path);
    RT_TRY(status);
    json_t *entry = json_pack("{s:I, s:I}", "size", (json_int_t)size, "crc32", (json_int_t)crc);
    if (json_object_set_new(json_object_get(manifest, "files"), name, entry) != 0) return out_of_memory(directory, err);
    return RT_OK;
}

static rt_status own_crc(const json_t *manifest, const char *path, uint32_t *crc, rt_error *err) {
    rt_buf b = {0};
    rt_json_dump(manifest, 0, &b);
    rt_status status = b.failed ? out_of_memory(path, err) : RT_OK;
    if (status == RT_OK) *crc = (uint32_t)crc32_z(0, (const Bytef *)b.data, b.size);
    rt_buf_free(&b);
    return status;
}
rt_status rt_manifest_seal(json_t *manifest, const char *directory, rt_error *err) {
    uint32_t crc = 0;
    RT_TRY(own_crc(manifest, directory, &crc, err));
    if (json_object_set_new(manifest, "crc32", json_integer(crc)) != 0) return out_of_memory(directory, err);
    char *path = rt_path_join(directory, RT_MANIFEST);
    if (!path) return out_of_memory(directory, err);
    rt_status status = rt_json_save(path, manifest, err);
    rt_free(path);
    return status;
}

/* ------------------------------------------------------------------ reading */

/* Takes "crc32" out of the manifest, so that what is left is what was summed. */
static rt_status check_manifest(json_t *manifest, const char *path, rt_error *err) {
    rt_json root = rt_json_root(manifest, path), files;
    int64_t written, format;
    uint32_t crc = 0;
    RT_TRY(rt_json_int(&root, "format", FORMAT, FORMAT, &format, err));
    RT_TRY(rt_json_object(&root, "files", &files, err));
    RT_TRY(rt_json_int(&root, "crc32", 0, UINT32_MAX, &written, err));
    json_object_del(manifest, "crc32");
    RT_TRY(own_crc(manifest, path, &crc, err));
    if (crc == written) return RT_OK;
    return rt_fail(err, RT_E_INPUT, "%s: is damaged (its CRC-32 is %08x, recorded is %08x)", path, crc, (unsigned)written);
}
rt_status rt_checkpoint_manifest(const char *directory, json_t **out, rt_error *err) {
    *out = NULL;
    char *path = rt_path_join(directory, RT_MANIFEST);
    if (!path) return out_of_memory(directory, err);
    rt_status status = rt_json_load(path, 0, out, err);
    if (status == RT_OK && (status = check_manifest(*out, path, err)) != RT_OK) {
        json_decref(*out);
        *out = NULL;
    }
    rt_free(path);
    return status;
}

static rt_status compare_file(const char *path, int64_t size, int64_t crc, rt_error *err) {
    uint32_t found_crc = 0;
    int64_t found = 0;
    if (!rt_file_exists(path)) return rt_fail(err, RT_E_INPUT, "%s: is missing", path);
    RT_TRY(rt_file_size(path, &found, err));
    if (found != size)
        return rt_fail(err, RT_E_INPUT, "%s: is damaged (it has %lld bytes, recorded are %lld)", path, (long long)found,
                       (long long)size);
    RT_TRY(rt_file_crc32(path, &found_crc, NULL, err));
    if (found_crc == crc) return RT_OK;
    return rt_fail(err, RT_E_INPUT, "%s: is damaged (its CRC-32 is %08x, recorded is %08x)", path, found_crc, (unsigned)crc);
}
static rt_status verify_file(const char *directory, const rt_json *files, const char *name, rt_error *err) {
    rt_json entry;
    int64_t size, crc;
    if (!*name || *name == '.' || strchr(name, '/')) return rt_json_fail(files, err, "found '%.80s', expected the name of a file beside it", name);
    RT_TRY(rt_json_object(files, name, &entry, err));
    RT_TRY(rt_json_int(&entry, "size", 0, INT64_MAX, &size, err));
    RT_TRY(rt_json_int(&entry, "crc32", 0, UINT32_MAX, &crc, err));
    char *path = rt_path_join(directory, name);
    if (!path) return out_of_memory(directory, err);
    rt_status status = compare_file(path, size, crc, err);
    rt_free(path);
    return status;
}
rt_status rt_checkpoint_verify(const char *directory, rt_error *err) {
    json_t *manifest, *value;
    const char *name;
    RT_TRY(rt_checkpoint_manifest(directory, &manifest, err));
    rt_json root = rt_json_root(manifest, RT_MANIFEST), files;
    rt_status status = rt_json_object(&root, "files", &files, err);
    if (status == RT_OK)
        json_object_foreach((json_t *)(uintptr_t)files.value, name, value)
            if (status == RT_OK) status = verify_file(directory, &files, name, err);
    json_decref(manifest);
    return status;
}
