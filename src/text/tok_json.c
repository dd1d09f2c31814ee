/* tok_json.c - JSON access whose every refusal names the file and the place in it. */
#include "text/tok_json.h"
#include <stdio.h>
#include <string.h>

static const char *type_name(const json_t *j) {
    static const char *const names[] = {"an object", "an array", "a string", "an integer",
                                        "a real",    "true",     "false",    "null"};
    return j ? names[json_typeof(j)] : "nothing";
}

tok_node rt_tok_key(const tok_node *n, const char *key) {
    tok_node child = {json_object_get(n->json, key), n->file, ""};
    snprintf(child.path, sizeof child.path, "%.80s%s%.36s", n->path, *n->path ? "." : "", key);
    return child;
}
tok_node rt_tok_item(const tok_node *n, size_t index) {
    tok_node child = {json_array_get(n->json, index), n->file, ""};
    snprintf(child.path, sizeof child.path, "%.90s[%zu]", n->path, index);
    return child;
}
bool rt_tok_absent(const tok_node *n) { return !n->json || json_is_null(n->json); }

rt_status rt_tok_fail(const tok_node *n, rt_status s, rt_error *err, const char *format, ...) {
    char text[320];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return rt_fail(err, s, "%s: %s%s%s", n->file, n->path, *n->path ? ": " : "", text);
}

static bool is_type(const json_t *j, json_type type) {
    if (!j) return false;
    return type == JSON_TRUE ? json_is_boolean(j) : json_typeof(j) == type;
}
rt_status rt_tok_expect(const tok_node *n, json_type type, rt_error *err) {
    static const char *const names[] = {"an object", "an array", "a string", "an integer", "a real", "true or false"};
    if (is_type(n->json, type)) return RT_OK;
    return rt_tok_fail(n, RT_E_INPUT, err, "expected %s, found %s", names[type], type_name(n->json));
}

rt_status rt_tok_bool(const tok_node *n, const char *key, bool otherwise, bool *out, rt_error *err) {
    tok_node child = rt_tok_key(n, key);
    *out = otherwise;
    if (rt_tok_absent(&child)) return RT_OK;
    RT_TRY(rt_tok_expect(&child, JSON_TRUE, err));
    *out = json_is_true(child.json);
    return RT_OK;
}
rt_status rt_tok_integer(const tok_node *n, const char *key, int64_t low, int64_t high, int64_t *out, rt_error *err) {
    tok_node child = rt_tok_key(n, key);
    RT_TRY(rt_tok_expect(&child, JSON_INTEGER, err));
    *out = json_integer_value(child.json);
    if (*out >= low && *out <= high) return RT_OK;
    return rt_tok_fail(&child, RT_E_INPUT, err, "%lld is not in %lld..%lld", (long long)*out, (long long)low,
                       (long long)high);
}
rt_status rt_tok_text_of(const tok_node *n, const char **out, size_t *bytes, rt_error *err) {
    RT_TRY(rt_tok_expect(n, JSON_STRING, err));
    *out = json_string_value(n->json);
    if (bytes) *bytes = json_string_length(n->json);
    return RT_OK;
}
rt_status rt_tok_string(const tok_node *n, const char *key, const char *otherwise, const char **out, size_t *bytes,
                        rt_error *err) {
    tok_node child = rt_tok_key(n, key);
    if (!otherwise || !rt_tok_absent(&child)) return rt_tok_text_of(&child, out, bytes, err);
    *out = otherwise;
    if (bytes) *bytes = strlen(otherwise);
    return RT_OK;
}

rt_status rt_tok_choice(const tok_node *n, const char *word, const char *const *names, int *index, rt_error *err) {
    for (*index = 0; names[*index]; ++*index)
        if (strcmp(word, names[*index]) == 0) return RT_OK;
    const char *near = rt_nearest(word, names);
    return rt_tok_fail(n, RT_E_UNSUPPORTED, err, "'%.60s' is not supported%s%s%s", word, near ? " (nearest: " : "",
                       near ? near : "", near ? ")" : "");
}
