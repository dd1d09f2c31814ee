/* yaml_json.c - JSON values as the same tree, so that a stored configuration goes through the same option tables. */
#include <retort/base/yaml.h>

enum { MAX_DEPTH = 32 };

static rt_status build(const json_t *v, const char *key, int depth, rt_arena *arena, rt_node **out, rt_error *err);

static rt_status add(const json_t *v, const char *key, int depth, rt_arena *arena, rt_node *parent, rt_node ***tail, rt_error *err) {
    RT_TRY(build(v, key, depth + 1, arena, *tail, err));
    *tail = &(**tail)->next;
    parent->count++;
    return RT_OK;
}

static const char *scalar(const json_t *v, rt_arena *arena) {
    switch (json_typeof(v)) {
    case JSON_STRING: return rt_arena_strdup(arena, json_string_value(v));
    case JSON_INTEGER: return rt_arena_printf(arena, "%lld", (long long)json_integer_value(v));
    case JSON_REAL: return rt_arena_printf(arena, "%.17g", json_real_value(v));
    case JSON_TRUE: return "true";
    case JSON_FALSE: return "false";
    default: return "null";
    }
}

static rt_status build(const json_t *v, const char *key, int depth, rt_arena *arena, rt_node **out, rt_error *err) {
    if (depth > MAX_DEPTH) return rt_fail(err, RT_E_CONFIG, "configuration nested more than %d levels deep", MAX_DEPTH);
    rt_node *n = *out = rt_arena_alloc(arena, sizeof *n), **tail = n ? &n->first : NULL;
    if (!n || (key && !(n->key = rt_arena_strdup(arena, key)))) return rt_fail(err, RT_E_NOMEM, "out of memory");
    n->kind = json_is_object(v) ? RT_NODE_MAP : json_is_array(v) ? RT_NODE_LIST : RT_NODE_SCALAR;
    n->quoted = json_is_string(v);
    if (n->kind == RT_NODE_SCALAR && !(n->text = scalar(v, arena))) return rt_fail(err, RT_E_NOMEM, "out of memory");
    const char *name;
    json_t *child;
    size_t i;
    json_object_foreach((json_t *)(uintptr_t)v, name, child) RT_TRY(add(child, name, depth, arena, n, &tail, err));
    json_array_foreach(v, i, child) RT_TRY(add(child, NULL, depth, arena, n, &tail, err));
    return RT_OK;
}

rt_status rt_node_from_json(const json_t *value, rt_arena *arena, rt_node **out, rt_error *err) {
    return build(value, NULL, 0, arena, out, err);
}
