/* options.c - tables against structs: defaults, a mapping of a file, one assignment, and back to JSON. */
#include "base/options_private.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PATH = 160, WHERE = 400 };
typedef struct reading {
    const char *file;
    rt_arena *arena;
    rt_error *err;
} reading;

static rt_status nomem(const reading *r) { return rt_fail(r->err, RT_E_NOMEM, "%s: out of memory", r->file); }

/* ---------------------------------------------------------------- defaults */

static rt_status list_from_text(const reading *r, const rt_option *o, const char *text, void *field);

rt_status rt_options_defaults(const rt_option *table, void *out, rt_arena *arena, rt_error *err) {
    reading r = {"default", arena, err};
    for (const rt_option *o = table; o->name; o++) {
        void *field = rt_option_field(o, out);
        if (o->type == RT_OPTION_SECTION) RT_TRY(rt_options_defaults(o->table, field, arena, err));
        else if (!o->fallback) continue;
        else if (rt_option_is_scalar(o)) RT_TRY(rt_option_parse(o, o->fallback, field, o->name, RT_E_CONFIG, arena, err));
        else RT_TRY(list_from_text(&r, o, o->fallback, field));
    }
    return RT_OK;
}

/* -------------------------------------------------------------- from a tree */

static const char *where(const reading *r, int line, int column, const char *path, char buffer[WHERE]) {
    const char *colon = *path ? ": " : "";
    if (line) snprintf(buffer, WHERE, "%.200s:%d:%d%s%s", r->file, line, column, colon, path);
    else snprintf(buffer, WHERE, "%.200s%s%s", r->file, colon, path);
    return buffer;
}

static const rt_option *find(const rt_option *table, const char *name, size_t length) {
    for (; table->name; table++)
        if (strlen(table->name) == length && memcmp(table->name, name, length) == 0) return table;
    return NULL;
}

static rt_status unknown_key(const reading *r, const rt_option *table, const char *place, const char *key, const char *path) {
    const char *names[64], *near;
    int n = 0;
    for (; table->name && n < 63; table++) names[n++] = table->name;
    names[n] = NULL;
    char hint[96] = "";
    if ((near = rt_nearest(key, names))) snprintf(hint, sizeof hint, " (did you mean '%s'?)", near);
    return rt_fail(r->err, RT_E_CONFIG, "%s: unknown key '%.60s'%s%s%s", place, key, *path ? " in " : "", path, hint);
}

static rt_status misfit(const reading *r, const rt_option *o, const rt_node *n, const char *path) {
    char place[WHERE], found[64], expects[160];
    return rt_fail(r->err, RT_E_CONFIG, "%s: found %s, expected %s", where(r, n->line, n->column, path, place),
                   rt_node_text(n, found), rt_option_expects(o, expects));
}

static rt_status read_map(const reading *r, const rt_option *table, void *out, const rt_node *map, const char *path);
static rt_status read_value(const reading *r, const rt_option *o, void *field, const rt_node *n, const char *path);

static rt_status read_scalar(const reading *r, const rt_option *o, void *field, const rt_node *n, const char *path) {
    char place[WHERE];
    if (n->kind != RT_NODE_SCALAR || rt_node_is_null(n)) return misfit(r, o, n, path);
    return rt_option_parse(o, n->text, field, where(r, n->line, n->column, path, place), RT_E_CONFIG, r->arena, r->err);
}

/* A list replaces what was there, default or not. */
static rt_status read_list(const reading *r, const rt_option *o, void *field, const rt_node *n, const char *path) {
    char item_path[PATH];
    if (o->type == RT_OPTION_STRINGS && n->kind == RT_NODE_SCALAR && !rt_node_is_null(n)) {
        *(rt_strings *)field = (rt_strings){0};
        return read_scalar(r, o, field, n, path);
    }
    if (n->kind != RT_NODE_LIST) return misfit(r, o, n, path);
    if (o->type == RT_OPTION_STRINGS) *(rt_strings *)field = (rt_strings){0};
    else *(rt_reals *)field = (rt_reals){0};
    int64_t i = 0;
    for (const rt_node *item = n->first; item; item = item->next, i++) {
        snprintf(item_path, PATH, "%.120s[%lld]", path, (long long)i);
        RT_TRY(read_scalar(r, o, field, item, item_path));
    }
    return RT_OK;
}

static rt_status add_section(const reading *r, const rt_option *o, rt_sections *list, void **out) {
    *out = rt_option_grow(&list->item, &list->count, o->size, r->arena);
    if (!*out) return nomem(r);
    return rt_options_defaults(o->table, *out, r->arena, r->err);
}

static rt_status read_sections(const reading *r, const rt_option *o, rt_sections *list, const rt_node *n, const char *path) {
    char item_path[PATH];
    if (n->kind != RT_NODE_LIST) return misfit(r, o, n, path);
    *list = (rt_sections){0};
    for (const rt_node *item = n->first; item; item = item->next) {
        void *section;
        snprintf(item_path, PATH, "%.120s[%lld]", path, (long long)list->count);
        RT_TRY(add_section(r, o, list, &section));
        RT_TRY(read_map(r, o->table, section, item, item_path));
    }
    return RT_OK;
}

static rt_status read_value(const reading *r, const rt_option *o, void *field, const rt_node *n, const char *path) {
    switch (o->type) {
    case RT_OPTION_STRINGS:
    case RT_OPTION_REALS: return read_list(r, o, field, n, path);
    case RT_OPTION_SECTION: return read_map(r, o->table, field, n, path);
    case RT_OPTION_SECTIONS: return read_sections(r, o, field, n, path);
    default: return read_scalar(r, o, field, n, path);
    }
}

static rt_status read_map(const reading *r, const rt_option *table, void *out, const rt_node *map, const char *path) {
    char place[WHERE], child_path[PATH], found[64];
    if (map->kind != RT_NODE_MAP)
        return rt_fail(r->err, RT_E_CONFIG, "%s: found %s, expected a mapping", where(r, map->line, map->column, path, place),
                       rt_node_text(map, found));
    for (const rt_node *n = map->first; n; n = n->next) {
        const rt_option *o = find(table, n->key, strlen(n->key));
        if (!o) return unknown_key(r, table, where(r, n->key_line, n->key_column, "", place), n->key, path);
        snprintf(child_path, PATH, "%.120s%s%.30s", path, *path ? "." : "", n->key);
        RT_TRY(read_value(r, o, rt_option_field(o, out), n, child_path));
    }
    return RT_OK;
}

rt_status rt_options_read(const rt_option *table, void *out, const rt_node *map, const char *file, rt_arena *arena, rt_error *err) {
    reading r = {file, arena, err};
    return read_map(&r, table, out, map, "");
}

/* ----------------------------------------------------------- one assignment */

static rt_status list_from_text(const reading *r, const rt_option *o, const char *text, void *field) {
    rt_node *n;
    RT_TRY(rt_yaml_parse(text, strlen(text), r->file, r->arena, &n, r->err));
    n->line = 0; /* "default:1:1" would tell nobody anything */
    return read_value(r, o, field, n, o->name);
}

static rt_status set_at(const reading *r, const rt_option *table, void *out, const char *key, const char *equals);

/* "objective.0.weight": `key` stands at the index. */
static rt_status set_in_list(const reading *r, const rt_option *o, rt_sections *list, const char *key, const char *equals) {
    char *end;
    unsigned long index = strtoul(key, &end, 10);
    if (end == key || *end != '.' || index > (unsigned long)list->count || list->count >= 1000)
        return rt_fail(r->err, RT_E_CONFIG, "%s: '%s' has %lld entries: expected '%s.INDEX.KEY=VALUE', INDEX 0 to %lld", r->file,
                       o->name, (long long)list->count, o->name, (long long)list->count);
    void *section = index < (unsigned long)list->count ? (char *)list->item + index * o->size : NULL;
    if (!section) RT_TRY(add_section(r, o, list, &section));
    return set_at(r, o->table, section, end + 1, equals);
}

static rt_status set_at(const reading *r, const rt_option *table, void *out, const char *key, const char *equals) {
    size_t length = strcspn(key, ".=");
    const rt_option *o = find(table, key, length);
    bool deeper = key[length] == '.' && key + length < equals;
    if (!o) {
        char name[64];
        snprintf(name, sizeof name, "%.*s", (int)(length < 60 ? length : 60), key);
        return unknown_key(r, table, r->file, name, "");
    }
    void *field = rt_option_field(o, out);
    if (deeper && o->type == RT_OPTION_SECTION) return set_at(r, o->table, field, key + length + 1, equals);
    if (deeper && o->type == RT_OPTION_SECTIONS) return set_in_list(r, o, field, key + length + 1, equals);
    if (deeper) return rt_fail(r->err, RT_E_CONFIG, "%s: '%s' is a value and has no keys", r->file, o->name);
    if (!rt_option_is_scalar(o)) return list_from_text(r, o, equals + 1, field);
    return rt_option_parse(o, equals + 1, field, r->file, RT_E_CONFIG, r->arena, r->err);
}

rt_status rt_options_set(const rt_option *table, void *out, const char *assignment, rt_arena *arena, rt_error *err) {
    char name[160];
    const char *equals = strchr(assignment, '=');
    snprintf(name, sizeof name, "--set %.120s", assignment);
    if (!equals) return rt_fail(err, RT_E_CONFIG, "%s: expected KEY=VALUE", name);
    reading r = {name, arena, err};
    return set_at(&r, table, out, assignment, equals);
}

/* ------------------------------------------------------------------ to JSON */

static json_t *item_json(const rt_option *o, const void *field, int64_t i) {
    if (o->type == RT_OPTION_STRINGS) return json_string(((const rt_strings *)field)->item[i]);
    if (o->type == RT_OPTION_REALS) return rt_json_number(((const rt_reals *)field)->item[i]);
    return rt_options_json(o->table, (const char *)((const rt_sections *)field)->item + (size_t)i * o->size);
}

static json_t *list_json(const rt_option *o, const void *field) {
    json_t *list = json_array();
    int64_t count = o->type == RT_OPTION_STRINGS ? ((const rt_strings *)field)->count
                    : o->type == RT_OPTION_REALS ? ((const rt_reals *)field)->count
                                                 : ((const rt_sections *)field)->count;
    for (int64_t i = 0; i < count && list; i++)
        if (json_array_append_new(list, item_json(o, field, i)) != 0) json_decref(list), list = NULL;
    return list;
}

static json_t *value_json(const rt_option *o, const void *field) {
    switch (o->type) {
    case RT_OPTION_FLAG: return json_boolean(*(const bool *)field);
    case RT_OPTION_INT:
    case RT_OPTION_BYTES:
        if (o->choices && *(const int64_t *)field < 0) return json_string(o->choices[-1 - *(const int64_t *)field]);
        return json_integer(*(const int64_t *)field);
    case RT_OPTION_REAL: return rt_json_number(*(const double *)field);
    case RT_OPTION_STRING: return json_string(*(const char *const *)field);
    case RT_OPTION_ENUM: return json_string(o->choices[*(const int *)field]);
    case RT_OPTION_SECTION: return rt_options_json(o->table, field);
    default: return list_json(o, field);
    }
}

json_t *rt_options_json(const rt_option *table, const void *in) {
    json_t *object = json_object();
    for (const rt_option *o = table; o->name && object; o++) {
        const void *field = (const char *)in + o->offset;
        if (o->type == RT_OPTION_STRING && !*(const char *const *)field) continue;
        if (json_object_set_new(object, o->name, value_json(o, field)) != 0) json_decref(object), object = NULL;
    }
    return object;
}
