/* json_difference.c - see json_difference.h. */
#include <retort/base/json_difference.h>

static bool walk(const json_t *a, const json_t *b, const char *path, json_t *out);

static bool add(const json_t *a, const json_t *b, const char *path, json_t *out) {
    json_t *o = json_pack("{s:s}", "key", path);
    bool ok = o && (!a || json_object_set(o, "a", (json_t *)(uintptr_t)a) == 0) && (!b || json_object_set(o, "b", (json_t *)(uintptr_t)b) == 0);
    if (ok) return json_array_append_new(out, o) == 0;
    json_decref(o);
    return false;
}
static bool member(const json_t *a, const json_t *b, const char *path, const char *key, json_t *out) {
    rt_buf name = {0};
    rt_buf_printf(&name, "%s%s%s", path, *path ? "." : "", key);
    bool ok = !name.failed && walk(json_object_get(a, key), json_object_get(b, key), name.data, out);
    rt_buf_free(&name);
    return ok;
}
/* An integral real is the integer: programs write 1.0 and 1 for the same. */
static bool same(const json_t *a, const json_t *b) {
    bool mixed = (json_is_integer(a) && json_is_real(b)) || (json_is_real(a) && json_is_integer(b));
    return mixed ? json_number_value(a) == json_number_value(b) : json_equal(a, b);
}
static bool walk(const json_t *a, const json_t *b, const char *path, json_t *out) {
    const char *key;
    json_t *value;
    bool ok = true;
    if (!json_is_object(a) || !json_is_object(b)) return (!a && !b) || (a && b && same(a, b)) || add(a, b, path, out);
    json_object_foreach((json_t *)(uintptr_t)a, key, value) ok = ok && member(a, b, path, key, out);
    json_object_foreach((json_t *)(uintptr_t)b, key, value)
        if (!json_object_get(a, key)) ok = ok && member(a, b, path, key, out);
    return ok;
}

json_t *rt_json_differences(const json_t *a, const json_t *b) {
    json_t *out = json_array();
    if (out && walk(a, b, "", out)) return out;
    json_decref(out);
    return NULL;
}
