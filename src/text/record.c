/* record.c - the text of one JSONL record. */
#include <retort/base/json.h>
#include <string.h>
#include "text/record.h"

static rt_status missing(const json_t *object, const char *key, const char *path, int64_t number, rt_error *err) {
    enum { NAMES = 64 };
    const char *names[NAMES + 1], *name;
    json_t *value;
    int n = 0;
    json_object_foreach((json_t *)object, name, value) if (n < NAMES) names[n++] = name;
    names[n] = NULL;
    const char *near = n == 1 ? names[0] : rt_nearest(key, names);
    return rt_fail(err, RT_E_INPUT, "%s:%lld: the record has no \"%s\"%s%s%s", path, (long long)number, key,
                   near ? "; did you mean \"" : "", near ? near : "", near ? "\"?" : "");
}

static const char *kind(const json_t *v) {
    static const char *const names[] = {"an object", "an array", "a string", "a number",
                                        "a number",  "true",     "false",    "null"};
    return names[json_typeof(v)];
}

static rt_status text_of(const json_t *record, const char *key, const char *path, int64_t number, rt_buf *out,
                         rt_error *err) {
    if (!json_is_object(record))
        return rt_fail(err, RT_E_INPUT, "%s:%lld: a record must be an object (found %s)", path, (long long)number,
                       kind(record));
    const json_t *v = json_object_get(record, key);
    if (!v) return missing(record, key, path, number, err);
    if (!json_is_string(v))
        return rt_fail(err, RT_E_INPUT, "%s:%lld: \"%s\" must be a string (found %s)", path, (long long)number, key,
                       kind(v));
    rt_buf_add(out, json_string_value(v), json_string_length(v));
    return out->failed ? rt_fail(err, RT_E_NOMEM, "%s:%lld: out of memory for a record", path, (long long)number)
                       : RT_OK;
}

rt_status rt_record_text(const char *line, size_t bytes, const char *key, const char *path, int64_t number, rt_buf *out,
                         rt_error *err) {
    json_t *record;
    rt_error e = {0};
    rt_status s = rt_json_parse(line, bytes, "", &record, &e);
    if (s == RT_E_NOMEM) return rt_fail(err, s, "%s:%lld: out of memory for a record", path, (long long)number);
    if (s != RT_OK) { /* ":1:COLUMN: reason", since a record is one line */
        const char *reason = strncmp(e.text, ":1:", 3) == 0 ? e.text + 3 : e.text;
        return rt_fail(err, s, "%s:%lld:%s", path, (long long)number, reason);
    }
    s = text_of(record, key, path, number, out, err);
    json_decref(record);
    return s;
}
