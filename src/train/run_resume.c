/* run_resume.c - finding where to continue, and refusing to continue something else. */
#include "kernels/gemm.h"
#include "kernels/half.h"
#include "kernels/isa.h"
#include "train/run_private.h"
#include <retort/base/file.h>
#include <retort/io/checkpoint.h>
#include <retort/base/threads.h>
#include <string.h>

static void damaged(void *context, const char *reason) {
    (void)context;
    rt_log(RT_LOG_WARNING, "passed over a damaged checkpoint: %s", reason);
}

/* Keys that a continued run may change: they do not enter any number of the run. */
static bool may_change(const char *section, const char *key) {
    static const char *const free_keys[] = {"out", "stop_after", "threads", "keep", "log_every", "save_every", "memory_limit", NULL};
    if (strcmp(section, "run") != 0) return false;
    for (int i = 0; free_keys[i]; i++)
        if (strcmp(key, free_keys[i]) == 0) return true;
    return false;
}

/* With as few digits as tell the number: 0.003, not 0.0030000000000000001. */
static void add_value(const json_t *v, rt_buf *out) {
    char text[32];
    if (!json_is_real(v)) {
        rt_json_dump(v ? v : json_null(), 0, out);
        return;
    }
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, json_real_value(v));
        if (strtod(text, NULL) == json_real_value(v)) break;
    }
    rt_buf_puts(out, text);
}
static rt_status differs(const char *checkpoint, const char *section, const char *key, const json_t *stored, const json_t *now, rt_error *err) {
    rt_buf a = {0}, b = {0};
    add_value(stored, &a);
    add_value(now, &b);
    rt_status s = rt_fail(err, RT_E_CONFIG, "cannot resume %s: %s%s%s was %.80s there and is %.80s now", checkpoint, section, *key ? "." : "", key,
                          a.data ? a.data : "?", b.data ? b.data : "?");
    rt_buf_free(&a), rt_buf_free(&b);
    return s;
}

static rt_status same_section(const char *checkpoint, const char *section, json_t *stored, json_t *now, rt_error *err) {
    const char *key;
    json_t *value;
    if (!json_is_object(now)) return json_equal(stored, now) ? RT_OK : differs(checkpoint, section, "", stored, now, err);
    json_object_foreach(now, key, value) {
        json_t *before = json_object_get(stored, key);
        if (!may_change(section, key) && !json_equal(before, value)) return differs(checkpoint, section, key, before, value, err);
    }
    return RT_OK;
}

static rt_status same_job(const rt_job *job, const char *checkpoint, json_t *manifest, rt_error *err) {
    json_t *now = rt_job_json(job), *stored = json_object_get(manifest, "configuration"), *value;
    const char *section;
    rt_status s = now ? RT_OK : rt_fail(err, RT_E_NOMEM, "out of memory: configuration");
    json_object_foreach(now, section, value)
        if (s == RT_OK) s = same_section(checkpoint, section, json_object_get(stored, section), value, err);
    json_decref(now);
    return s;
}

/* Bits are promised for one binary, one library and one ISA level (docs/numerics.md). */
static void warn_elsewhere(const char *checkpoint, const json_t *manifest) {
    const char *const made[][2] = {{"version", RT_VERSION}, {"isa", rt_isa_name(rt_isa_level())}, {"products", rt_gemm_f32_library()},
                                   {"half_products", rt_half_summary()}};
    for (size_t i = 0; i < sizeof made / sizeof *made; i++) {
        const char *stored = json_string_value(json_object_get(manifest, made[i][0]));
        if (stored && strcmp(stored, made[i][1]) != 0)
            rt_log(RT_LOG_WARNING, "%s was made with %s %s, this is %s: bits may differ from an uninterrupted run", checkpoint, made[i][0], stored, made[i][1]);
    }
}

rt_status rt_resume_find(rt_run_state *r, char **checkpoint, int64_t *keep, int64_t *head_rows, rt_error *err) {
    rt_checkpoint_listener listener = {damaged, NULL};
    json_t *manifest;
    int64_t step;
    *keep = *head_rows = 0;
    RT_TRY(rt_checkpoint_newest(r->root, &listener, checkpoint, &step, err));
    if (!*checkpoint) return RT_OK;
    RT_TRY(rt_checkpoint_manifest(*checkpoint, &manifest, err));
    rt_status s = same_job(r->job, *checkpoint, manifest, err);
    rt_json root = rt_json_root(manifest, *checkpoint);
    if (s == RT_OK) s = rt_json_int(&root, "log_bytes", 0, (int64_t)1 << 53, keep, err);
    if (s == RT_OK) s = rt_json_int(&root, "head_rows", 1, 1 << 20, head_rows, err);
    warn_elsewhere(*checkpoint, manifest);
    json_decref(manifest);
    return s;
}
