/* record.c - see record.h. */
#include <retort/text/chat.h>
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

/* The member `key`, or "b" within "a" for "a.b"; a member that is spelled with the point takes precedence. */
static const json_t *member(const json_t *record, const char *key) {
    char name[128];
    const json_t *v = json_object_get(record, key);
    for (const char *dot; !v && record && (dot = strchr(key, '.')) && (size_t)(dot - key) < sizeof name; key = dot + 1) {
        memcpy(name, key, (size_t)(dot - key)), name[dot - key] = 0;
        record = json_object_get(record, name);
        v = json_object_get(record, dot + 1);
    }
    return v;
}

static rt_status as_conversation(json_t *record, const json_t *messages, const rt_record_place *at, rt_error *err) {
    json_t *list;
    if (!at->conversations)
        return rt_fail(err, RT_E_INPUT, "%s:%lld: a conversation (a list of messages), where only texts can be used", at->path, (long long)at->line);
    rt_error why = {0};
    rt_status s = rt_chat_messages(messages, &list, &why);
    if (s != RT_OK) return rt_fail(err, s, "%s:%lld: %s", at->path, (long long)at->line, why.text);
    if (json_object_set_new(record, "messages", list) == 0) return RT_OK;
    return rt_fail(err, RT_E_NOMEM, "%s:%lld: out of memory for a record", at->path, (long long)at->line);
}

static rt_status content_of(json_t *record, const char *key, const rt_record_place *at, rt_buf *out, bool *conversation, rt_error *err) {
    if (!json_is_object(record))
        return rt_fail(err, RT_E_INPUT, "%s:%lld: a record must be an object (found %s)", at->path, (long long)at->line, kind(record));
    const json_t *v = member(record, key);
    if (!v) v = json_object_get(record, "messages");
    if (!v) v = json_object_get(record, "conversations");
    if (!v) return missing(record, key, at->path, at->line, err);
    *conversation = json_is_array(v);
    if (*conversation) return as_conversation(record, v, at, err);
    if (!json_is_string(v))
        return rt_fail(err, RT_E_INPUT, "%s:%lld: \"%s\" must be a string (found %s)", at->path, (long long)at->line, key, kind(v));
    rt_buf_add(out, json_string_value(v), json_string_length(v));
    return out->failed ? rt_fail(err, RT_E_NOMEM, "%s:%lld: out of memory for a record", at->path, (long long)at->line) : RT_OK;
}

rt_status rt_record_read(const char *line, size_t bytes, const char *key, const rt_record_place *at, rt_buf *out, json_t **record, rt_error *err) {
    json_t *v;
    rt_error e = {0};
    bool conversation = false;
    *record = NULL;
    rt_status s = rt_json_parse(line, bytes, "", &v, &e);
    if (s == RT_E_NOMEM) return rt_fail(err, s, "%s:%lld: out of memory for a record", at->path, (long long)at->line);
    if (s != RT_OK) { /* ":1:COLUMN: reason", since a record is one line */
        const char *reason = strncmp(e.text, ":1:", 3) == 0 ? e.text + 3 : e.text;
        return rt_fail(err, s, "%s:%lld:%s", at->path, (long long)at->line, reason);
    }
    s = content_of(v, key, at, out, &conversation, err);
    if (s == RT_OK && conversation) *record = v;
    else json_decref(v);
    if (s == RT_OK && conversation) rt_buf_add(out, "", 0);
    return s == RT_OK && out->failed ? rt_fail(err, RT_E_NOMEM, "%s:%lld: out of memory for a record", at->path, (long long)at->line) : s;
}

const json_t *rt_record_messages(const json_t *record) { return json_object_get(record, "messages"); }
const json_t *rt_record_tools(const json_t *record) { return json_object_get(record, "tools"); }
