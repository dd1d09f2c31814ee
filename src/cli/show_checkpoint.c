/* show_checkpoint.c - `retort show checkpoint`: the manifest of a checkpoint, and whether its files are what it says.
 */
#include <retort/base/command.h>
#include <retort/base/file.h>
#include <retort/io/checkpoint.h>
#include <string.h>

typedef struct arguments {
    const char *path;
    bool json;
} arguments;

static const rt_option options[] = {RT_OPT_STRING(arguments, path, NULL,
                                                  "a checkpoint, or a run (then its newest sound one)",
                                                  .positional = true, .operand = "PATH", .required = true),
                                    RT_OPT_FLAG(arguments, json, "no", "print the manifest as it stands"), RT_OPT_END};

static void damaged(void *context, const char *reason) {
    (void)context;
    rt_log(RT_LOG_WARNING, "passed over: %s", reason);
}

/* RUN holds checkpoints/, which holds step folders; any of the three may be given. */
static rt_status find(rt_context *c, const char *path, const char **out, rt_error *err) {
    rt_checkpoint_listener listener = {damaged, NULL};
    const char *manifest = rt_arena_printf(c->arena, "%s/MANIFEST.json", path),
               *below = rt_arena_printf(c->arena, "%s/checkpoints", path);
    if (!manifest || !below) return rt_fail(err, RT_E_NOMEM, "out of memory");
    *out = path;
    if (rt_file_exists(manifest)) return RT_OK;
    int64_t step;
    char *newest;
    RT_TRY(rt_checkpoint_newest(rt_dir_exists(below) ? below : path, &listener, &newest, &step, err));
    if (!newest)
        return rt_fail(err, RT_E_INPUT, "%s: no checkpoint here (neither MANIFEST.json nor a sound step-00000000)",
                       path);
    *out = rt_arena_strdup(c->arena, newest);
    rt_free(newest);
    return *out ? RT_OK : rt_fail(err, RT_E_NOMEM, "out of memory");
}

static rt_status add_files(const rt_json *manifest, rt_buf *out, rt_error *err) {
    rt_json files, one;
    const char *name;
    json_t *value;
    int64_t size, crc;
    RT_TRY(rt_json_object(manifest, "files", &files, err));
    rt_buf_printf(out, "\n%-28s %15s  %s\n", "file", "bytes", "crc32");
    json_object_foreach((json_t *)files.value, name, value) {
        RT_TRY(rt_json_object(&files, name, &one, err));
        RT_TRY(rt_json_int(&one, "size", 0, INT64_MAX, &size, err));
        RT_TRY(rt_json_int(&one, "crc32", 0, UINT32_MAX, &crc, err));
        rt_buf_printf(out, "%-28s %15lld  %08llx\n", name, (long long)size, (unsigned long long)crc);
    }
    return RT_OK;
}

/* Whatever the trainer noted: the configuration, the precision policy, versions. */
static void add_facts(const rt_json *manifest, rt_buf *out) {
    static const char *const own[] = {"format", "step", "files", "crc32"};
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)manifest->value, key, value) {
        bool known = false;
        for (int i = 0; i < 4; i++) known = known || strcmp(key, own[i]) == 0;
        if (known) continue;
        rt_buf_printf(out, "\n%s: ", key);
        rt_json_dump(value, 2, out);
        rt_buf_putc(out, '\n');
    }
}

static rt_status describe(const char *path, json_t *value, rt_buf *out, rt_error *err) {
    rt_json manifest = rt_json_root(value, path);
    int64_t step;
    RT_TRY(rt_json_int(&manifest, "step", 0, INT64_MAX, &step, err));
    rt_buf_printf(out, "%s: step %lld, every file as the manifest says\n", path, (long long)step);
    RT_TRY(add_files(&manifest, out, err));
    add_facts(&manifest, out);
    return RT_OK;
}

static rt_status run(rt_context *c, const void *given, rt_error *err) {
    const arguments *a = given;
    const char *path = a->path;
    json_t *manifest;
    rt_buf page = {0};
    RT_TRY(find(c, a->path, &path, err));
    RT_TRY(rt_checkpoint_verify(path, err));
    RT_TRY(rt_checkpoint_manifest(path, &manifest, err));
    if (a->json) return rt_out_json(c, manifest, err);
    rt_status s = describe(path, manifest, &page, err);
    json_decref(manifest);
    if (s == RT_OK) return rt_out_buf(c, &page, err);
    rt_buf_free(&page);
    return s;
}

const rt_command rt_command_show_checkpoint = {"show checkpoint",
                                               "a checkpoint's manifest, its files verified",
                                               "PATH [--json]",
                                               "Reads every file and compares size and CRC-32 with the manifest; a "
                                               "difference is exit code 3, and the file is named.",
                                               options,
                                               sizeof(arguments),
                                               run};
