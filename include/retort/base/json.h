/* json.h - thin conveniences over jansson (use jansson itself for building values).
 *
 * Linking this file makes jansson allocate through rt_alloc, from before main. A value read from a file is looked at
 * through a cursor, which lives on the stack and knows the way it came, so that an error names file and path:
 *     config.json: rope_scaling.factor: found a string, expected a number
 * Reading: sizes are bounded, duplicate keys refused. Writing: doubles with 17 digits, which read back exactly. */
#ifndef RETORT_BASE_JSON_H
#define RETORT_BASE_JSON_H
#include <retort/base/mem.h>
#include <jansson.h>

/* A file of at most `limit` bytes (0: 64 MiB) holding one object or array; `*out` is owned (json_decref).
 * Errors: "FILE:LINE:COL: reason". Integers beyond 64 bits become reals. */
rt_status rt_json_load(const char *path, size_t limit, json_t **out, rt_error *err) RT_NODISCARD;
/* The same from memory; `name` stands for the file in errors. */
rt_status rt_json_parse(const char *text, size_t size, const char *name, json_t **out, rt_error *err) RT_NODISCARD;
/* The same, but strings may hold NUL: read them with their length (tokens of a vocabulary). */
rt_status rt_json_parse_nul(const char *text, size_t size, const char *name, json_t **out, rt_error *err) RT_NODISCARD;
/* Indented, with a final newline, through rt_file_write_atomic. `value` is borrowed; NULL is out of memory. */
rt_status rt_json_save(const char *path, const json_t *value, rt_error *err) RT_NODISCARD;
/* Appends the text; indent 0 puts all on one line. Sets out->failed when out of memory. */
void rt_json_dump(const json_t *value, int indent, rt_buf *out);
/* A number; a non-finite one, which JSON lacks, becomes the string "nan", "inf" or "-inf". NULL: out of memory. */
json_t *rt_json_number(double x);

typedef struct rt_json {
    const json_t *value; /* borrowed */
    const char *file;
    const struct rt_json *parent; /* must outlive this cursor */
    const char *key;              /* in parent, or NULL: element `index` */
    size_t index;
} rt_json;
rt_json rt_json_root(const json_t *value, const char *file);

bool rt_json_has(const rt_json *object, const char *key); /* present and not null */
/* Into an object by key, into an array by index. RT_E_INPUT when absent or of another type. */
rt_status rt_json_object(const rt_json *object, const char *key, rt_json *out, rt_error *err) RT_NODISCARD;
rt_status rt_json_array(const rt_json *object, const char *key, rt_json *out, rt_error *err) RT_NODISCARD;
size_t rt_json_count(const rt_json *array);
rt_status rt_json_item(const rt_json *array, size_t index, json_type type, rt_json *out, rt_error *err) RT_NODISCARD;
/* Scalars of an object. An integral real counts as an integer, an integer as a real; strings are borrowed. */
rt_status rt_json_int(const rt_json *object, const char *key, int64_t min, int64_t max, int64_t *out, rt_error *err) RT_NODISCARD;
rt_status rt_json_real(const rt_json *object, const char *key, double *out, rt_error *err) RT_NODISCARD;
rt_status rt_json_bool(const rt_json *object, const char *key, bool *out, rt_error *err) RT_NODISCARD;
rt_status rt_json_string(const rt_json *object, const char *key, const char **out, rt_error *err) RT_NODISCARD;
/* The scalar a cursor stands on (for elements of arrays). */
rt_status rt_json_as_int(const rt_json *c, int64_t min, int64_t max, int64_t *out, rt_error *err) RT_NODISCARD;
rt_status rt_json_as_real(const rt_json *c, double *out, rt_error *err) RT_NODISCARD;
rt_status rt_json_as_string(const rt_json *c, const char **out, rt_error *err) RT_NODISCARD;
/* RT_E_INPUT with "FILE: path: " in front of the message. */
rt_status rt_json_fail(const rt_json *c, rt_error *err, const char *format, ...) RT_PRINTF(3, 4);
#endif
