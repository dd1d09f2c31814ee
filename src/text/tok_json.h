/* tok_json.h - reading a JSON tree with errors that say where: "FILE: model.merges[3]: expected a string, found 7". */
#ifndef TEXT_TOK_JSON_H
#define TEXT_TOK_JSON_H
#include <retort/base/mem.h>
#include <retort/base/status.h>
#include <jansson.h>

typedef struct tok_node {
    const json_t *json; /* borrowed; NULL: absent */
    const char *file;
    char path[120];
} tok_node;

tok_node rt_tok_key(const tok_node *n, const char *key); /* json = NULL when absent or when n is no object */
tok_node rt_tok_item(const tok_node *n, size_t index);
bool rt_tok_absent(const tok_node *n); /* not there, or null */
/* Records "FILE: PATH: message". */
rt_status rt_tok_fail(const tok_node *n, rt_status s, rt_error *err, const char *format, ...) RT_PRINTF(4, 5);
rt_status rt_tok_expect(const tok_node *n, json_type type, rt_error *err) RT_NODISCARD;

/* Members of an object; absent or null gives the default. */
rt_status rt_tok_bool(const tok_node *n, const char *key, bool otherwise, bool *out, rt_error *err) RT_NODISCARD;
rt_status rt_tok_integer(const tok_node *n, const char *key, int64_t low, int64_t high, int64_t *out,
                         rt_error *err) RT_NODISCARD;
/* otherwise NULL: the member must be there. The text is borrowed from the tree; bytes may be NULL. */
rt_status rt_tok_string(const tok_node *n, const char *key, const char *otherwise, const char **out, size_t *bytes,
                        rt_error *err) RT_NODISCARD;
/* The text of a node itself. */
rt_status rt_tok_text_of(const tok_node *n, const char **out, size_t *bytes, rt_error *err) RT_NODISCARD;
/* Is `word` among names (NULL-terminated)? index, or a refusal that lists the nearest. */
rt_status rt_tok_choice(const tok_node *n, const char *word, const char *const *names, int *index,
                        rt_error *err) RT_NODISCARD;
#endif
