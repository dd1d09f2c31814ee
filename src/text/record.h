/* record.h - one record of a .jsonl file: its text, or its conversation. */
#ifndef RETORT_SRC_TEXT_RECORD_H
#define RETORT_SRC_TEXT_RECORD_H
#include <retort/base/json.h>

typedef struct rt_record_place { /* for errors */
    const char *path;
    int64_t line;
    bool conversations; /* they are welcome */
} rt_record_place;

/* The member `key` ("a.b": b within a) of the JSON object in `line`: a string is appended to `out`. A list is a
 * conversation, and so is the member "messages" or "conversations" of a record without `key`: then *record is the record
 * (a new reference) and nothing is appended. Errors name the nearest key when the member is missing. */
rt_status rt_record_read(const char *line, size_t bytes, const char *key, const rt_record_place *at, rt_buf *out,
                         json_t **record, rt_error *err) RT_NODISCARD;
/* Of a conversation, borrowed; NULL gives NULL. */
const json_t *rt_record_messages(const json_t *record);
const json_t *rt_record_tools(const json_t *record);
#endif
