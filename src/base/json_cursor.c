/* json_cursor.c - typed access to JSON that came from outside; every refusal says file, path, found, expected. */
#include <retort/base/json.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* By json_type. */
static const char *const type_names[] = {"an object", "an array", "a string", "an integer",
                                         "a number",  "true",     "false",    "null"};
static const char *type_name(const json_t *v) { return v ? type_names[json_typeof(v)] : "nothing"; }

/* Writes "a.b[3]" from the root down; returns the length. */
static size_t path_text(const rt_json *c, char *out, size_t size) {
    if (!c->parent) return *out = 0, 0;
    size_t n = path_text(c->parent, out, size);
    int k = c->key ? snprintf(out + n, size - n, "%s%s", n ? "." : "", c->key) : snprintf(out + n, size - n, "[%zu]", c->index);
    return k < 0 ? n : n + (size_t)k < size ? n + (size_t)k : size - 1;
}

rt_status rt_json_fail(const rt_json *c, rt_error *err, const char *format, ...) {
    char path[160], text[256];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    const char *colon = path_text(c, path, sizeof path) ? ": " : "";
    return rt_fail(err, RT_E_INPUT, "%s: %s%s%s", c->file, path, colon, text);
}

rt_json rt_json_root(const json_t *value, const char *file) { return (rt_json){.value = value, .file = file}; }

bool rt_json_has(const rt_json *object, const char *key) {
    const json_t *v = json_object_get(object->value, key);
    return v && !json_is_null(v);
}

static rt_json child(const rt_json *object, const char *key) {
    return (rt_json){json_object_get(object->value, key), object->file, object, key, 0};
}
static rt_status expect(const rt_json *c, json_type type, const char *expected, rt_error *err) {
    if (c->value && json_typeof(c->value) == type) return RT_OK;
    return rt_json_fail(c, err, "found %s, expected %s", type_name(c->value), expected);
}

rt_status rt_json_object(const rt_json *object, const char *key, rt_json *out, rt_error *err) {
    *out = child(object, key);
    return expect(out, JSON_OBJECT, "an object", err);
}
rt_status rt_json_array(const rt_json *object, const char *key, rt_json *out, rt_error *err) {
    *out = child(object, key);
    return expect(out, JSON_ARRAY, "an array", err);
}
size_t rt_json_count(const rt_json *array) { return json_array_size(array->value); }

rt_status rt_json_item(const rt_json *array, size_t index, json_type type, rt_json *out, rt_error *err) {
    *out = (rt_json){json_array_get(array->value, index), array->file, array, NULL, index};
    return expect(out, type, type_names[type], err);
}

rt_status rt_json_as_int(const rt_json *c, int64_t min, int64_t max, int64_t *out, rt_error *err) {
    double x = json_is_real(c->value) ? json_real_value(c->value) : 0;
    bool integral = json_is_integer(c->value) || (json_is_real(c->value) && x == floor(x) && fabs(x) <= 0x1p53);
    if (!integral) return rt_json_fail(c, err, "found %s, expected an integer", type_name(c->value));
    int64_t i = json_is_integer(c->value) ? json_integer_value(c->value) : (int64_t)x;
    if (i < min || i > max)
        return rt_json_fail(c, err, "found %lld, expected %lld to %lld", (long long)i, (long long)min, (long long)max);
    *out = i;
    return RT_OK;
}
rt_status rt_json_as_real(const rt_json *c, double *out, rt_error *err) {
    if (!json_is_number(c->value)) return rt_json_fail(c, err, "found %s, expected a number", type_name(c->value));
    *out = json_number_value(c->value);
    return RT_OK;
}
rt_status rt_json_as_string(const rt_json *c, const char **out, rt_error *err) {
    RT_TRY(expect(c, JSON_STRING, "a string", err));
    *out = json_string_value(c->value);
    return RT_OK;
}

rt_status rt_json_int(const rt_json *object, const char *key, int64_t min, int64_t max, int64_t *out, rt_error *err) {
    rt_json c = child(object, key);
    return rt_json_as_int(&c, min, max, out, err);
}
rt_status rt_json_real(const rt_json *object, const char *key, double *out, rt_error *err) {
    rt_json c = child(object, key);
    return rt_json_as_real(&c, out, err);
}
rt_status rt_json_bool(const rt_json *object, const char *key, bool *out, rt_error *err) {
    rt_json c = child(object, key);
    if (!json_is_boolean(c.value)) return rt_json_fail(&c, err, "found %s, expected true or false", type_name(c.value));
    *out = json_is_true(c.value);
    return RT_OK;
}
rt_status rt_json_string(const rt_json *object, const char *key, const char **out, rt_error *err) {
    rt_json c = child(object, key);
    return rt_json_as_string(&c, out, err);
}
