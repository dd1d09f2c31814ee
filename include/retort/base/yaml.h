/* yaml.h - a YAML (or JSON) text as a small tree that remembers where everything stood.
 *
 * Scalars stay text: what `1e-3`, `no` or `0123` means is decided by the option that reads them (options.h). One
 * document; no anchors, aliases, tags or duplicate keys; at most 1 MiB, 32 levels, 20 000 nodes, 256 keys a mapping. */
#ifndef RETORT_BASE_YAML_H
#define RETORT_BASE_YAML_H
#include <retort/base/json.h>

typedef enum rt_node_kind { RT_NODE_SCALAR, RT_NODE_LIST, RT_NODE_MAP } rt_node_kind;
typedef struct rt_node {
    rt_node_kind kind;
    bool quoted;      /* a scalar in quotes: never null */
    int line, column; /* from 1; 0: not from a file */
    const char *text; /* of a scalar */
    const char *key;  /* in a mapping, else NULL */
    int key_line, key_column;
    struct rt_node *first, *next; /* children, in order */
    int64_t count;
} rt_node;

/* The tree lives in `arena`. `name` stands for the file in errors (RT_E_CONFIG, "FILE:LINE:COL: ..."). An empty text
 * is an empty mapping. */
rt_status rt_yaml_parse(const char *text, size_t size, const char *name, rt_arena *arena, rt_node **out, rt_error *err) RT_NODISCARD;
rt_status rt_yaml_load(const char *path, rt_arena *arena, rt_node **out, rt_error *err) RT_NODISCARD;
/* The same tree from JSON (a stored configuration); numbers with 17 digits. */
rt_status rt_node_from_json(const json_t *value, rt_arena *arena, rt_node **out, rt_error *err) RT_NODISCARD;
/* "a mapping", "a list", "'text'" (cut at 40 characters), "no value"; returns buffer. */
const char *rt_node_text(const rt_node *n, char buffer[64]);
bool rt_node_is_null(const rt_node *n); /* nothing, ~ or null, unquoted */
#endif
