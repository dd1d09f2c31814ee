/* yaml.c - libyaml's events made into a tree, within bounds. The parser holds one event at a time, freed by the next. */
#include <retort/base/file.h>
#include <retort/base/yaml.h>
#include <stdio.h>
#include <string.h>
#include <yaml.h>

enum { MAX_BYTES = 1 << 20, MAX_DEPTH = 32, MAX_NODES = 20000, MAX_KEYS = 256 };

typedef struct reader {
    yaml_parser_t parser;
    yaml_event_t event; /* zeroed when there is none */
    rt_arena *arena;
    const char *file;
    int nodes;
    rt_error *err;
} reader;

static rt_status nomem(reader *r) { return rt_fail(r->err, RT_E_NOMEM, "%s: out of memory", r->file); }
static rt_status refuse(reader *r, const char *what) {
    yaml_mark_t m = r->event.start_mark;
    return rt_fail(r->err, RT_E_CONFIG, "%s:%zu:%zu: %s", r->file, m.line + 1, m.column + 1, what);
}

static rt_status advance(reader *r) {
    yaml_event_delete(&r->event);
    if (yaml_parser_parse(&r->parser, &r->event)) return RT_OK;
    const yaml_parser_t *p = &r->parser;
    if (p->error == YAML_MEMORY_ERROR) return nomem(r);
    if (p->error == YAML_READER_ERROR)
        return rt_fail(r->err, RT_E_CONFIG, "%s: byte %zu: %s", r->file, p->problem_offset, p->problem);
    return rt_fail(r->err, RT_E_CONFIG, "%s:%zu:%zu: %s", r->file, p->problem_mark.line + 1, p->problem_mark.column + 1,
                   p->problem ? p->problem : "not YAML");
}

static rt_status scalar_text(reader *r, const char **out) {
    const char *value = (const char *)r->event.data.scalar.value;
    if (strlen(value) != r->event.data.scalar.length) return refuse(r, "a NUL character in a scalar");
    *out = rt_arena_strdup(r->arena, value);
    return *out ? RT_OK : nomem(r);
}

/* What has no place in a configuration: a second name for a value, or a type other than the option's own. */
static const char *decoration(const yaml_event_t *e) {
    const yaml_char_t *anchor = NULL, *tag = NULL;
    if (e->type == YAML_ALIAS_EVENT) return "aliases (*name) are not accepted: write the value out";
    if (e->type == YAML_SCALAR_EVENT) anchor = e->data.scalar.anchor, tag = e->data.scalar.tag;
    if (e->type == YAML_SEQUENCE_START_EVENT) anchor = e->data.sequence_start.anchor, tag = e->data.sequence_start.tag;
    if (e->type == YAML_MAPPING_START_EVENT) anchor = e->data.mapping_start.anchor, tag = e->data.mapping_start.tag;
    if (anchor) return "anchors (&name) are not accepted: write the value out where it is used";
    return tag ? "tags (!type) are not accepted: each key has its own type" : NULL;
}

static rt_status build(reader *r, int depth, rt_node **out);

static rt_status add_key(reader *r, const rt_node *map, rt_node *place) {
    if (r->event.type != YAML_SCALAR_EVENT || decoration(&r->event)) return refuse(r, "a key must be a plain name");
    if (map->count >= MAX_KEYS) return refuse(r, "too many keys in one mapping");
    RT_TRY(scalar_text(r, &place->key));
    place->key_line = (int)r->event.start_mark.line + 1;
    place->key_column = (int)r->event.start_mark.column + 1;
    for (const rt_node *n = map->first; n; n = n->next)
        if (strcmp(n->key, place->key) == 0)
            return rt_fail(r->err, RT_E_CONFIG, "%s:%d:%d: key '%.60s' given twice (first on line %d)", r->file, place->key_line,
                           place->key_column, place->key, n->key_line);
    return advance(r);
}

static rt_status build_children(reader *r, rt_node *parent, yaml_event_type_t end, int depth) {
    rt_node **tail = &parent->first;
    RT_TRY(advance(r));
    for (; r->event.type != end; parent->count++) {
        rt_node key = {0};
        if (parent->kind == RT_NODE_MAP) RT_TRY(add_key(r, parent, &key));
        rt_node *child = NULL;
        RT_TRY(build(r, depth + 1, &child));
        child->key = key.key, child->key_line = key.key_line, child->key_column = key.key_column;
        *tail = child;
        tail = &child->next;
        RT_TRY(advance(r));
    }
    return RT_OK;
}

/* The node that starts with the current event; on success the current event is its last. */
static rt_status build(reader *r, int depth, rt_node **out) {
    const char *why = decoration(&r->event);
    if (why) return refuse(r, why);
    if (depth > MAX_DEPTH) return refuse(r, "nested more than 32 levels deep");
    if (++r->nodes > MAX_NODES) return refuse(r, "more than 20000 values");
    rt_node *n = *out = rt_arena_alloc(r->arena, sizeof *n);
    if (!n) return nomem(r);
    n->line = (int)r->event.start_mark.line + 1;
    n->column = (int)r->event.start_mark.column + 1;
    switch (r->event.type) {
    case YAML_SCALAR_EVENT:
        n->quoted = r->event.data.scalar.style != YAML_PLAIN_SCALAR_STYLE;
        return scalar_text(r, &n->text);
    case YAML_SEQUENCE_START_EVENT: n->kind = RT_NODE_LIST; return build_children(r, n, YAML_SEQUENCE_END_EVENT, depth);
    case YAML_MAPPING_START_EVENT: n->kind = RT_NODE_MAP; return build_children(r, n, YAML_MAPPING_END_EVENT, depth);
    default: return refuse(r, "a value was expected here");
    }
}

static rt_status build_document(reader *r, rt_node **out) {
    RT_TRY(advance(r)); /* stream start */
    RT_TRY(advance(r));
    if (r->event.type == YAML_STREAM_END_EVENT) {
        *out = rt_arena_alloc(r->arena, sizeof **out);
        if (!*out) return nomem(r);
        **out = (rt_node){.kind = RT_NODE_MAP, .line = 1, .column = 1};
        return RT_OK;
    }
    RT_TRY(advance(r)); /* document start */
    RT_TRY(build(r, 0, out));
    RT_TRY(advance(r)); /* document end */
    RT_TRY(advance(r));
    return r->event.type == YAML_STREAM_END_EVENT ? RT_OK : refuse(r, "a second document; one is expected");
}

rt_status rt_yaml_parse(const char *text, size_t size, const char *name, rt_arena *arena, rt_node **out, rt_error *err) {
    reader r = {.arena = arena, .file = name, .err = err};
    *out = NULL;
    if (size > MAX_BYTES) return rt_fail(err, RT_E_CONFIG, "%s: found %zu bytes, expected at most %d", name, size, MAX_BYTES);
    if (!yaml_parser_initialize(&r.parser)) return nomem(&r);
    yaml_parser_set_input_string(&r.parser, (const unsigned char *)text, size);
    rt_status status = build_document(&r, out);
    yaml_event_delete(&r.event);
    yaml_parser_delete(&r.parser);
    return status;
}

rt_status rt_yaml_load(const char *path, rt_arena *arena, rt_node **out, rt_error *err) {
    rt_buf b = {0};
    rt_status status = rt_file_read(path, MAX_BYTES, &b, err);
    if (status == RT_OK) status = rt_yaml_parse(b.data, b.size, path, arena, out, err);
    rt_buf_free(&b);
    return status;
}

bool rt_node_is_null(const rt_node *n) {
    return n->kind == RT_NODE_SCALAR && !n->quoted && (!*n->text || strcmp(n->text, "~") == 0 || strcmp(n->text, "null") == 0);
}
const char *rt_node_text(const rt_node *n, char buffer[64]) {
    if (n->kind == RT_NODE_SCALAR && !rt_node_is_null(n)) snprintf(buffer, 64, "'%.40s'", n->text);
    else snprintf(buffer, 64, "%s", n->kind == RT_NODE_MAP ? "a mapping" : n->kind == RT_NODE_LIST ? "a list" : "no value");
    return buffer;
}
